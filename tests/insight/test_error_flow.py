from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    GradientError,
    IndexingError,
    NameUnknown,
    NotFiniteError,
    ShapeError,
)
from chainrule.insight import ErrorFlow, LayerFlow, error_flow
from chainrule.nn import functional as F
from tests.tolerances import DIFFERENCES_OF_VALUES, assert_close

RNG = np.random.default_rng(5)
X = RNG.normal(size=(40, 6))
LABELS = RNG.integers(0, 3, 40)
NUMBERS = RNG.normal(size=40)


def network(*middle: nn.Module, inputs: int = 6, hidden: int = 5, outputs: int = 3) -> nn.Sequential:
    cr.manual_seed(1)
    model = nn.Sequential(nn.Linear(inputs, hidden), *middle, nn.Linear(hidden, outputs))
    return model.double()


def shares_add_up(flow: ErrorFlow) -> None:
    for layer in flow:
        assert layer.share.sum() == pytest.approx(1.0, abs=1e-12)


# -- the numbers -------------------------------------------------------------------------------------------------------


def test_a_network_worked_by_hand() -> None:
    # x = (1, 2); z = (0.5, -1); a = relu(z) = (0.5, 0); out = 2 · 0.5 + 3 · 0 = 1; y = 0; L = 1, dL/dout = 2
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).double()
    model.load_state_dict({"0.weight": np.array([[0.5, 0.0], [0.0, -0.5]]), "2.weight": np.array([[2.0, 3.0]])})
    flow = error_flow(model, [[1.0, 2.0]], [0.0])
    hidden, out = flow["0"], flow["2"]
    assert flow.loss == 1.0
    assert hidden.delta is not None
    assert hidden.delta.tolist() == [[4.0, 0.0]]  # 2 · 2, and 0 where relu is off
    assert hidden.contribution.tolist() == [2.0, 0.0]  # a · ∂L/∂a = 0.5 · (2 · 2)
    assert hidden.share.tolist() == [1.0, 0.0]
    assert hidden.inactive.tolist() == [0.0, 1.0]
    assert hidden.dead.tolist() == [False, True]
    assert hidden.dead_share == 0.5
    assert out.delta is not None
    assert out.delta.tolist() == [[2.0]]
    assert out.contribution.tolist() == [2.0]  # the output itself: 1 · 2


def test_means_by_row_and_class_are_those_of_delta() -> None:
    flow = error_flow(network(nn.Tanh()), X, LABELS)
    for layer in flow:
        assert layer.delta is not None
        assert_close(layer.mean_delta, layer.delta.mean(0))
        assert_close(layer.mean_abs_delta, np.abs(layer.delta).mean(0))
        for c in range(3):
            assert_close(layer.delta_by_class[c], layer.delta[c == LABELS].mean(0))
            assert_close(layer.abs_delta_by_class[c], np.abs(layer.delta[c == LABELS]).mean(0))
    assert flow.rows_by_class == tuple(np.bincount(LABELS, minlength=3))
    shares_add_up(flow)


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.SiLU(), nn.ELU(), nn.LeakyReLU(0.1), nn.Softmax(-1)],
)
def test_silencing_a_unit_a_little_changes_the_loss_by_its_contribution(activation: nn.Module) -> None:
    model = network(activation)
    flow = error_flow(model, X, LABELS)

    def loss_with(unit: int, factor: float) -> float:
        def scaled(module: nn.Module, args: Any, a: cr.Tensor) -> cr.Tensor:
            factors = np.ones(5)
            factors[unit] = factor
            return a * cr.from_numpy(factors)

        with activation.register_forward_hook(scaled), cr.no_grad():
            return float(F.cross_entropy(model(cr.tensor(X)), cr.tensor(LABELS)).item())

    h = 1e-6  # a (1 - h): L falls by h · a · ∂L/∂a
    differences = [(loss_with(unit, 1 + h) - loss_with(unit, 1 - h)) / (2 * h) for unit in range(5)]
    assert_close(flow["0"].contribution, np.array(differences), tolerance=DIFFERENCES_OF_VALUES)


def test_delta_is_the_change_of_the_loss_with_the_units_bias() -> None:
    model = network(nn.Sigmoid())
    flow = error_flow(model, X, LABELS)
    h = 1e-6
    for name in ("0", "2"):
        bias = model.get_parameter(f"{name}.bias")
        differences = np.zeros(bias.numel())
        for unit in range(bias.numel()):
            losses = []
            for step in (h, -2 * h):
                with cr.no_grad():
                    bias[unit] += step
                    losses.append(float(F.cross_entropy(model(cr.tensor(X)), cr.tensor(LABELS)).item()))
            with cr.no_grad():
                bias[unit] += h
            differences[unit] = (losses[0] - losses[1]) / (2 * h)
        assert_close(flow[name].mean_delta, differences, tolerance=DIFFERENCES_OF_VALUES)


def test_the_delta_of_a_row_does_not_depend_on_the_other_rows() -> None:
    model = network(nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5))
    whole = error_flow(model, X, LABELS)
    for size in (1, 3, 13, 39, 40, 1000):
        parts = error_flow(model, X, LABELS, batch_size=size)
        for a, b in zip(parts, whole, strict=True):
            assert_close(a.delta, b.delta)
            assert_close(a.contribution, b.contribution)
            assert_close(a.share, b.share)
            assert_close(a.inactive, b.inactive)
            assert a.activation == b.activation
        assert parts.loss == pytest.approx(whole.loss, rel=1e-12)
    alone = error_flow(model, X[7:8], LABELS[7:8])
    assert_close(alone["0"].delta, whole["0"].delta[7:8])  # type: ignore[index]  # δ by row was kept


def test_a_layer_without_error_has_shares_of_0_and_says_so() -> None:
    model = network(nn.ReLU(), outputs=1)
    with cr.no_grad():
        target = model(cr.tensor(X)).squeeze(1)
    flow = error_flow(model, X, target)
    assert flow.loss == 0.0
    assert not flow["0"].share.any()
    assert flow["0"].is_silent
    assert "every contribution is 0" in str(flow)


def test_per_row_delta_can_be_left_out() -> None:
    flow = error_flow(network(nn.ReLU()), X, LABELS, per_row=False)
    assert all(layer.delta is None for layer in flow)
    shares_add_up(flow)


# -- where a is read -----------------------------------------------------------------------------------------------------


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 5)
        self.second = nn.Linear(5, 5)
        self.out = nn.Linear(5, 3)

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        x = F.gelu(self.first(x))
        x = cr.tanh(self.second(x))
        return self.out(x)


class Residual(Functional):
    def forward(self, x: cr.Tensor) -> cr.Tensor:
        x = self.first(x).sigmoid()
        x = x + self.second(x).tanh()
        return self.out(x)


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.out = nn.Linear(3, 4), nn.Linear(3, 2), nn.Linear(6, 3)

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        return self.out(cr.cat([F.silu(self.left(x[:, :3])), F.softplus(self.right(x[:, 3:]))], 1))


class InPlace(Functional):
    def forward(self, x: cr.Tensor) -> cr.Tensor:
        x = F.relu(self.first(x), inplace=True)
        z = self.second(x)
        z += x
        return self.out(F.elu_(z))


def contributions(model: nn.Module, a_of: Any) -> np.ndarray[Any, Any]:
    """a · ∂L/∂a at the tensor that ``a_of`` gives, by the ordinary autograd."""
    a, rest = a_of(cr.tensor(X, dtype=cr.float64))
    a = a.detach().requires_grad_()
    loss = F.cross_entropy(rest(a), cr.tensor(LABELS))
    loss.backward()
    return np.asarray((a.detach() * a.grad).sum(0))


def test_functions_after_a_layer_are_its_activation() -> None:
    cr.manual_seed(0)
    model = Functional().double()
    flow = error_flow(model, X, LABELS)
    assert [layer.name for layer in flow] == ["first", "second", "out"]
    assert [layer.activation for layer in flow] == ["function", "tanh", ""]
    first = contributions(model, lambda x: (F.gelu(model.first(x)), lambda a: model.out(cr.tanh(model.second(a)))))
    assert_close(flow["first"].contribution, first)
    second = contributions(model, lambda x: (cr.tanh(model.second(F.gelu(model.first(x)))), model.out))
    assert_close(flow["second"].contribution, second)


def test_an_activation_ends_where_it_is_joined_with_other_values() -> None:
    cr.manual_seed(0)
    model = Residual().double()
    flow = error_flow(model, X, LABELS)
    assert flow["second"].activation == "tanh"

    def second(x: cr.Tensor) -> Any:
        h = model.first(x).sigmoid()
        return model.second(h).tanh(), lambda a: model.out(h.detach() + a)

    assert_close(flow["second"].contribution, contributions(model, second))


def test_layers_side_by_side_are_each_read_after_their_own_activation() -> None:
    cr.manual_seed(0)
    model = Towers().double()
    flow = error_flow(model, X, LABELS)

    def left(x: cr.Tensor) -> Any:
        other = F.softplus(model.right(x[:, 3:])).detach()
        return F.silu(model.left(x[:, :3])), lambda a: model.out(cr.cat([a, other], 1))

    def right(x: cr.Tensor) -> Any:
        other = F.silu(model.left(x[:, :3])).detach()
        return F.softplus(model.right(x[:, 3:])), lambda a: model.out(cr.cat([other, a], 1))

    assert_close(flow["left"].contribution, contributions(model, left))
    assert_close(flow["right"].contribution, contributions(model, right))


def test_an_activation_whose_value_nobody_kept_ends_before_what_is_not_known() -> None:
    class Shifted(Towers):
        def forward(self, x: cr.Tensor) -> cr.Tensor:
            left = cr.tanh(self.left(x[:, :3])) + cr.ones(4, dtype=x.dtype)  # the constant is on no tape
            return self.out(cr.cat([left, self.right(x[:, 3:])], 1))

    flow = error_flow(Shifted().double(), X, LABELS)
    assert [layer.activation for layer in flow] == ["tanh", "", ""]


def test_writes_in_place_after_a_layer_are_followed() -> None:
    cr.manual_seed(0)
    model = InPlace().double()
    flow = error_flow(model, X, LABELS)

    def first(x: cr.Tensor) -> Any:
        return F.relu(model.first(x)), lambda a: model.out(F.elu(model.second(a) + a))

    def second(x: cr.Tensor) -> Any:
        h = F.relu(model.first(x)).detach()
        return model.second(h), lambda z: model.out(F.elu(z + h))

    assert_close(flow["first"].contribution, contributions(model, first))
    assert_close(flow["second"].contribution, contributions(model, second))
    assert (flow["first"].inactive > 0).any()


def test_normalization_and_activation_belong_to_the_layer_before() -> None:
    model = network(nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.3))
    model.train()
    model(cr.tensor(X))  # moves the running statistics
    flow = error_flow(model, X, LABELS)
    assert flow["0"].title == "0 (Linear → BatchNorm1d → ReLU)"
    eval_model = model.eval()
    expected = contributions(eval_model, lambda x: (eval_model[:3](x), eval_model[4]))
    assert_close(flow["0"].contribution, expected)


def test_an_activation_after_the_last_layer_counts() -> None:
    model = nn.Sequential(network(nn.ReLU()), nn.LogSoftmax(1))
    flow = error_flow(model, X, LABELS, loss=nn.NLLLoss())
    assert flow["0.2"].activation == "LogSoftmax"
    assert_close(flow["0.2"].mean_activation, np.asarray(model(cr.tensor(X)).detach()).mean(0))


def test_a_layer_that_is_called_twice_is_there_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same = nn.Linear(6, 6)
            self.out = nn.Linear(6, 3)

        def forward(self, x: cr.Tensor) -> cr.Tensor:
            return self.out(self.same(self.same(x).relu()).tanh())

    flow = error_flow(Twice(), X, LABELS)
    assert [layer.name for layer in flow] == ["same", "same#2", "out"]
    assert [layer.activation for layer in flow] == ["relu", "tanh", ""]


def test_positions_of_a_row_are_summed() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 4)
            self.out = nn.Linear(4, 3)

        def forward(self, x: cr.Tensor) -> cr.Tensor:
            return self.out(self.inner(x.reshape(-1, 3, 2)).relu().mean(1))

    cr.manual_seed(0)
    model = Positions().double()
    flow = error_flow(model, X, LABELS)
    bias = model.inner.bias
    F.cross_entropy(model(cr.tensor(X)), cr.tensor(LABELS)).backward()
    assert bias is not None
    assert_close(flow["inner"].mean_delta, np.asarray(bias.grad))
    assert flow["inner"].delta is not None
    assert flow["inner"].delta.shape == (40, 4)


def test_layers_that_cannot_be_measured_are_named() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.unused, self.out = nn.Linear(1, 3), nn.Linear(6, 2), nn.Linear(6, 3)

        def forward(self, x: cr.Tensor) -> cr.Tensor:
            self.unused(x)
            return self.out(x) * self.scale(cr.ones(1))

    flow = error_flow(Odd(), X, LABELS)
    assert [layer.name for layer in flow] == ["out"]
    assert len(flow.notes) == 2
    assert "unused is left out" in flow.notes[0]
    assert "scale is left out" in flow.notes[1]
    assert "note: layer unused" in str(flow)


def test_whole_numbers_go_into_an_embedding_as_they_are() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Embedding(10, 4), nn.Linear(8, 2)

        def forward(self, x: cr.Tensor) -> cr.Tensor:
            return self.out(self.table(x).flatten(1))

    flow = error_flow(Words(), RNG.integers(0, 10, (12, 2)), RNG.integers(0, 2, 12))
    assert flow["out"].units == 2


# -- losses and targets ---------------------------------------------------------------------------------------------------


def squared(output: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
    return ((output - y) ** 2).mean()


@pytest.mark.parametrize("loss", [None, "mse", nn.MSELoss(), F.mse_loss, squared])
def test_every_form_of_one_loss_gives_the_same(loss: Any) -> None:
    model = network(nn.Tanh(), outputs=2)
    y = RNG.normal(size=(40, 2))
    flow = error_flow(model, X, y, loss=loss)
    expected = error_flow(model, X, y, loss="mse")
    assert_close(flow["0"].delta, expected["0"].delta)
    assert flow.loss == pytest.approx(expected.loss)
    assert flow.classes == ()


def test_a_loss_module_of_ones_own_is_called_row_by_row() -> None:
    class Squared(nn.Module):
        def forward(self, output: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
            return ((output - y) ** 2).mean()

    model = network(nn.Tanh(), outputs=1)
    flow = error_flow(model, X, NUMBERS, loss=Squared())
    assert flow.loss_name == "Squared"
    assert_close(flow["0"].delta, error_flow(model, X, NUMBERS)["0"].delta)


def test_a_loss_that_does_not_read_the_output_has_no_error() -> None:
    flow = error_flow(network(nn.Tanh(), outputs=1), X, NUMBERS, loss=lambda output, y: (y * y).mean())
    assert all(layer.is_silent for layer in flow)
    assert flow.loss == pytest.approx((NUMBERS**2).mean())


def test_a_sum_over_outputs_stays_a_sum() -> None:
    model = network(nn.Tanh(), outputs=2)
    y = RNG.normal(size=(40, 2))
    mean, total = (error_flow(model, X, y, loss=nn.MSELoss(reduction=r)) for r in ("mean", "sum"))
    assert_close(total["0"].delta, 2 * mean["0"].delta)  # type: ignore[operator]  # δ by row was kept
    by_function = error_flow(model, X, y, loss=lambda o, t, reduction="sum": F.mse_loss(o, t, reduction=reduction))
    assert_close(by_function["0"].delta, total["0"].delta)


def test_the_default_loss_follows_the_targets() -> None:
    assert error_flow(network(nn.ReLU()), X, LABELS).loss_name == "cross_entropy"
    one = network(nn.ReLU(), outputs=1)
    yes_no = error_flow(one, X, LABELS > 0)
    assert yes_no.loss_name == "bce_with_logits"
    assert yes_no.classes == ("0", "1")
    assert error_flow(one, X, NUMBERS).loss_name == "mse"
    assert error_flow(one, X, NUMBERS[:, None]).classes == ()


def test_class_weights_weigh_rows() -> None:
    model = network(nn.ReLU())
    weights = cr.tensor([1.0, 2.0, 0.0], dtype=cr.float64)
    weighted = error_flow(model, X, LABELS, loss=nn.CrossEntropyLoss(weight=weights))
    plain = error_flow(model, X, LABELS)
    assert plain["2"].delta is not None
    assert_close(weighted["2"].delta, plain["2"].delta * np.array([1.0, 2.0, 0.0])[LABELS][:, None])


def test_a_class_without_rows_has_no_mean() -> None:
    flow = error_flow(network(nn.ReLU()), X, LABELS % 2, class_names=["a", "b", "c"])
    assert flow.rows_by_class[2] == 0
    assert np.isnan(flow["0"].delta_by_class[2]).all()
    assert np.isfinite(flow["0"].delta_by_class[:2]).all()
    assert flow.to_dict()["layers"][0]["delta_by_class"][2] == [None] * 5
    assert "most |δ| in class" in str(flow)


# -- nothing is changed ---------------------------------------------------------------------------------------------------


def test_the_model_is_left_as_it_was() -> None:
    model = network(nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5))
    model.train()
    model[1].eval()  # a user's own choice
    F.cross_entropy(model(cr.tensor(X)), cr.tensor(LABELS)).backward()
    gradients = {name: (p.grad, np.array(p.grad)) for name, p in model.named_parameters()}
    state = {name: np.array(t) for name, t in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    random_state = cr.get_rng_state()
    with cr.no_grad():
        error_flow(model, X, LABELS)
        assert not cr.is_grad_enabled()
    assert [module.training for module in model.modules()] == flags
    assert cr.get_rng_state() == random_state
    for name, p in model.named_parameters():
        assert p.grad is gradients[name][0]
        assert_close(p.grad, gradients[name][1])
    for name, t in model.state_dict().items():
        assert_close(t, state[name])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_hooks_go_and_flags_come_back_after_an_error() -> None:
    model = network(nn.ReLU()).train()
    with pytest.raises(ShapeError, match="6 features"):
        error_flow(model, X[:, :4], LABELS)
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_random_layers_that_draw_in_eval_mode_leave_the_random_state() -> None:
    class Noisy(nn.Module):
        def forward(self, x: cr.Tensor) -> cr.Tensor:
            return x + 0.01 * cr.randn(*x.shape, dtype=x.dtype)

    model = network(Noisy(), nn.ReLU())
    before = cr.get_rng_state()
    error_flow(model, X, LABELS)
    assert cr.get_rng_state() == before


def test_frozen_layers_are_measured_too() -> None:
    model = network(nn.Tanh())
    expected = error_flow(model, X, LABELS)
    model.requires_grad_(False)
    flow = error_flow(model, X, LABELS)
    assert_close(flow["0"].delta, expected["0"].delta)
    assert_close(flow["0"].contribution, expected["0"].contribution)
    assert not any(p.requires_grad for p in model.parameters())


def test_a_compiled_and_trained_model_can_be_measured() -> None:
    model = network(nn.ReLU())
    cr.compile(model)(cr.tensor(X))
    shares_add_up(error_flow(model, X, LABELS))


def test_users_hooks_stay_and_their_changes_count() -> None:
    model = network(nn.Identity())
    handle = model[1].register_forward_hook(lambda module, args, out: out * 0.0)
    flow = error_flow(model, X, LABELS)
    assert not flow["0"].mean_activation.any()
    assert len(model[1]._forward_hooks) == 1
    handle.remove()


# -- errors --------------------------------------------------------------------------------------------------------------


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(ArgumentError, match="Sequential has no Linear layer"):
        error_flow(nn.Sequential(nn.ReLU()), X, LABELS)
    with pytest.raises(ArgumentTypeError, match=r"expected an nn\.Module"):
        error_flow(lambda x: x, X, LABELS)  # type: ignore[arg-type]  # what is tested


def test_rows_that_do_not_fit_are_refused() -> None:
    model = network(nn.ReLU())
    with pytest.raises(DataError, match="X has 40 rows, y 39 rows"):
        error_flow(model, X, LABELS[:39])
    with pytest.raises(DataError, match="at least one row"):
        error_flow(model, X[:0], LABELS[:0])
    spoilt = X.copy()
    spoilt[3, 2] = np.nan
    with pytest.raises(DataError, match="nan in row 3, column 2"):
        error_flow(model, spoilt, LABELS)


def test_labels_out_of_range_are_refused() -> None:
    labels = LABELS.copy()
    labels[17] = 3
    with pytest.raises(DataError, match="row 17 has label 3, and the model has 3 outputs"):
        error_flow(network(nn.ReLU()), X, labels)


def test_class_names_that_do_not_fit_are_refused() -> None:
    model = network(nn.ReLU())
    with pytest.raises(ArgumentError, match="2 class_names for 3 classes"):
        error_flow(model, X, LABELS, class_names=["a", "b"])
    with pytest.raises(ArgumentError, match="class indices"):
        error_flow(network(nn.ReLU(), outputs=1), X, NUMBERS, class_names=["a", "b"])


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_a_batch_size_that_makes_no_sense_is_refused(size: Any) -> None:
    with pytest.raises(ArgumentError, match="batch_size"):
        error_flow(network(nn.ReLU()), X, LABELS, batch_size=size)


def test_an_output_without_rows_is_refused() -> None:
    class Total(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(6, 3)

        def forward(self, x: cr.Tensor) -> Any:
            return self.out(x).sum(0)

    with pytest.raises(ShapeError, match="something for each row"):
        error_flow(Total(), X, LABELS)
    with pytest.raises(ArgumentTypeError, match="the model returned tuple"):
        error_flow(Wrapped(lambda out: (out,)), X, LABELS)
    with pytest.raises(ArgumentTypeError, match="int64"):
        error_flow(Wrapped(lambda out: out.argmax(1)), X, LABELS)
    with pytest.raises(GradientError, match="reaches the model's output"):
        error_flow(Wrapped(lambda out: out.detach()), X, LABELS)


class Wrapped(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.out = nn.Linear(6, 3)
        self.function = function

    def forward(self, x: cr.Tensor) -> Any:
        return self.function(self.out(x))


def test_weights_that_are_not_finite_are_named_by_layer() -> None:
    model = network(nn.ReLU())
    with cr.no_grad():
        model[2].weight[0, 0] = float("nan")
    with pytest.raises(NotFiniteError, match=r"layer 2 \(Linear\)"):
        error_flow(model, X, LABELS)


def test_a_gradient_that_is_not_finite_is_named_by_layer() -> None:
    with pytest.raises(NotFiniteError, match=r"gradient at layer out \(Linear\)"):
        error_flow(Wrapped(lambda out: (out * 0.0).sqrt()), X, LABELS)


def test_a_loss_without_one_number_for_each_row_is_refused() -> None:
    model = network(nn.ReLU())
    with pytest.raises(ShapeError, match="gave shape \\(1, 3\\) for row 0 alone"):
        error_flow(model, X, LABELS, loss=lambda output, y: output)
    with pytest.raises(ShapeError, match="one loss for each row"):
        error_flow(model, X, LABELS, loss=lambda output, y, reduction="mean": output.sum())
    with pytest.raises(ArgumentError, match="cross_entropy"):
        error_flow(model, X, LABELS, loss="cross_entropi")


# -- reading it ------------------------------------------------------------------------------------------------------------


def test_the_flow_can_be_read_by_name_and_place() -> None:
    flow = error_flow(network(nn.ReLU()), X, LABELS)
    assert isinstance(flow, ErrorFlow)
    assert isinstance(flow[0], LayerFlow)
    assert flow["2"] is flow[1] is flow[-1]
    assert len(flow) == 2
    with pytest.raises(NameUnknown, match="It has 0, 2"):
        flow["hidden"]
    with pytest.raises(IndexingError, match="layer 5 of 2"):
        flow[5]
    assert repr(flow) == "<ErrorFlow: 2 layers, 40 rows>"


def test_printing_shows_the_units_with_the_largest_share_first() -> None:
    flow = error_flow(network(nn.ReLU(), hidden=12), X, LABELS, class_names=["ant", "bee", "cat"])
    text = str(flow)
    lines = text.splitlines()
    assert lines[0].startswith("Error flow over 40 rows: cross_entropy")
    first = next(k for k, line in enumerate(lines) if line.startswith("0 (Linear → ReLU): 12 units"))
    units = [int(line.split()[0]) for line in lines[first + 2 : first + 10]]
    assert units == flow[0].order[:8].tolist()
    assert "and 4 more units with" in lines[first + 10]
    assert "████" in text
    assert max(map(len, lines)) <= 110


def test_a_dictionary_of_it_can_be_written_as_json() -> None:
    flow = error_flow(network(nn.ReLU()), X, LABELS)
    found = json.loads(json.dumps(flow.to_dict(), allow_nan=False))
    assert found["rows"] == 40
    assert found["layers"][0]["name"] == "0"
    assert sum(found["layers"][0]["share"]) == pytest.approx(1.0)
    assert "delta" not in found["layers"][0]
    assert np.shape(flow.to_dict(per_row=True)["layers"][0]["delta"]) == (40, 5)
