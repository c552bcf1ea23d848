"""Losses by name, module and function; targets in the right form; rows and classes with weights."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError
from chainrule.nn import functional as F
from chainrule.training.objective import (
    LOSSES,
    MODULES,
    Objective,
    class_weights,
    default_loss,
    kind_of,
    objective_for,
    tensor_like,
)
from tests.tolerances import assert_close
from tests.training.problems import (
    Recorder,
    classes,
    network,
    numbers,
    rich_network,
    rows_without_times,
    state_bits,
    trainer,
)

Array = np.ndarray


def yes_or_no(rows: int = 40) -> tuple[Array, Array]:
    X, y = classes(rows, kinds=2)
    return X, y


# -- by name, as a module, as a function -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_a_name_a_module_and_a_function_give_the_same_bits(name: str) -> None:
    data = classes() if name in ("cross_entropy", "nll") else yes_or_no() if name.startswith("bce") else numbers()
    outputs = 3 if name in ("cross_entropy", "nll") else 1
    last: list[nn.Module] = [nn.Sigmoid()] if name == "bce" else [nn.LogSoftmax(1)] if name == "nll" else []
    module = next((kind() for kind, other in MODULES.items() if LOSSES[other] is LOSSES[name]), None)
    bits = []
    for loss in (name, module, LOSSES[name], functools.partial(LOSSES[name], reduction="mean")):
        assert loss is not None
        model = nn.Sequential(network(outputs=outputs), *last)
        trainer(model, loss=loss).fit(data)
        bits.append(state_bits(model))
    assert bits[0] == bits[1] == bits[2] == bits[3]


def test_a_loss_of_ones_own_is_a_function_of_outputs_and_targets() -> None:
    X, y = numbers()
    own, named = network(outputs=1), network(outputs=1)
    trainer(own, loss=lambda output, y: ((output - y) ** 2).mean()).fit((X, y))
    trainer(named, loss="mse").fit((X, y))
    assert_close(own[0].weight, named[0].weight)


class Annealed:
    """A loss with a number that callbacks change: its attribute, an entry of its dict, or that of an object in it."""

    def __init__(self, beta: float) -> None:
        self.beta = beta
        self.options = {"beta": beta}
        self.inner = SimpleNamespace(beta=beta)

    def __call__(self, output: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
        return self._scale() * ((output - y) ** 2).mean()

    def method(self, output: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
        return self(output, y)

    def _scale(self) -> float:
        return self.beta + self.options["beta"] + self.inner.beta

    def change(self, kind: str, beta: float) -> None:
        if kind == "attribute":
            self.beta = beta
        elif kind == "entry":
            self.options["beta"] = beta
        else:
            self.inner.beta = beta


beta_of_loss = 1.0


def loss_with_a_global(output: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
    return beta_of_loss * ((output - y) ** 2).mean()


def annealing(kind: str) -> tuple[Any, Any]:
    """Return a loss, and the function that changes its number."""
    if kind in ("attribute", "entry", "object", "method"):
        annealed = Annealed(1.0)
        return annealed.method if kind == "method" else annealed, lambda beta: annealed.change(kind, beta)
    known = {"beta": 1.0}
    if kind == "partial":
        return functools.partial(_scaled, known), lambda beta: known.update(beta=beta)

    def own(output: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
        return _scaled(known, output, y)

    return own, lambda beta: known.update(beta=beta)


def _scaled(known: dict[str, float], output: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
    return known["beta"] * ((output - y) ** 2).mean()


@pytest.mark.parametrize("kind", ["closure", "partial", "attribute", "entry", "object", "method"])
def test_a_number_of_the_loss_that_a_callback_changes_is_the_new_one_from_then_on(kind: str) -> None:
    data, val = numbers(), numbers(20, seed=1)
    histories = []
    for compiled in (True, False):
        loss, change = annealing(kind)

        def after(trainer: Any, epoch: int, row: Any, change: Any = change) -> None:
            change(1.0 + epoch)

        own = trainer(network(outputs=1), loss=loss, compile=compiled, callbacks=[after])
        histories.append(rows_without_times(own.fit(data, val=val)))
    assert histories[0] == histories[1]


def test_a_global_that_the_loss_names_may_change_between_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = []
    for compiled in (True, False):
        monkeypatch.setitem(globals(), "beta_of_loss", 1.0)

        def after(trainer: Any, epoch: int, row: Any) -> None:
            globals()["beta_of_loss"] = 1.0 + epoch

        own = trainer(network(outputs=1), loss=loss_with_a_global, compile=compiled, callbacks=[after])
        histories.append(rows_without_times(own.fit(numbers())))
    assert histories[0] == histories[1]


@pytest.mark.filterwarnings("ignore:not compiled:UserWarning")  # its history says it too
def test_a_loss_that_changes_a_list_runs_uncompiled_and_says_so() -> None:
    seen: list[int] = []

    def loss(output: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
        seen.append(1)
        return ((output - y) ** 2).mean()

    X, y = numbers(32)
    history = trainer(network(outputs=1), loss=loss, epochs=2).fit((X, y))
    assert len(seen) == 4
    assert any("the list 'seen', which 'loss' names, was changed" in note for note in history.notes)


def test_a_loss_of_ones_own_gets_class_numbers_as_integers_and_quantities_as_floats() -> None:
    seen: list[Any] = []

    def loss(output: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
        seen.append((y.dtype, tuple(y.shape)))
        return F.cross_entropy(output, y) if y.dtype == cr.int64 else F.mse_loss(output, y)

    for outputs, data in ((3, classes()), (1, numbers()), (1, yes_or_no()), (2, numbers(outputs=2))):
        trainer(network(outputs=outputs), loss=loss, compile=False, batch_size=None, epochs=1).fit(data)
    assert seen == [(cr.int64, (60,)), (cr.float32, (60, 1)), (cr.float32, (40, 1)), (cr.float32, (60, 2))]


class Scaled(nn.Module):
    """A squared error with something to learn."""

    def __init__(self, scale: nn.Parameter | None = None) -> None:
        super().__init__()
        self.scale = nn.Parameter(cr.ones(1)) if scale is None else scale

    def forward(self, output: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
        return ((output * self.scale - y) ** 2).mean()


def test_a_loss_with_something_to_learn_is_learned_if_the_optimizer_has_it() -> None:
    X, y = numbers()
    model, loss = network(outputs=1), Scaled()
    trainer(model, loss=loss, optimizer=cr.optim.SGD([*model.parameters(), loss.scale], lr=0.1)).fit((X, y))
    assert loss.scale.item() != 1.0


def test_a_loss_with_something_to_learn_is_refused_if_the_optimizer_does_not_have_it() -> None:
    model, loss = network(outputs=1), Scaled()
    for optimizer in ("adam", cr.optim.SGD(model.parameters(), lr=0.1)):
        with pytest.raises(ArgumentError, match=r"the loss Scaled has parameters that .* not improve: scale;.*Adam\("):
            trainer(model, loss=loss, optimizer=optimizer)
    trainer(model, loss=loss.requires_grad_(False)).fit(numbers())
    model.scale = nn.Parameter(cr.ones(1))  # the model's own is among what the optimizer gets
    trainer(model, loss=Scaled(model.scale)).fit(numbers())
    assert model.scale.item() != 1.0


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        ("cross_entropi", ArgumentError, "there is no loss 'cross_entropi'.*Did you mean cross_entropy?"),
        ("zzz", ArgumentError, "expected one of cross_entropy, bce_with_logits"),
        (nn.MSELoss, ArgumentTypeError, r"loss=MSELoss, a class.*Write MSELoss\(\)"),
        (3, ArgumentTypeError, "loss=3; expected a function"),
    ],
)
def test_what_is_no_loss_is_refused_before_training(loss: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trainer(network(), loss=loss)


@pytest.mark.parametrize("value", [lambda output, y: output - y, lambda output, y: 3.0, nn.MSELoss(reduction="none")])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_loss_must_give_one_number(value: Any, compiled: bool) -> None:
    with pytest.raises(ShapeError, match=r"gave (shape \(.*\)|float) for a batch; expected a tensor of one number"):
        trainer(network(outputs=1), loss=value, compile=compiled).fit(numbers())


# -- the loss that fits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "outputs", "expected"),
    [
        ([0.5, 1.0], 1, "mse"),
        ([0.0, 1.0], 2, "mse"),
        ([0, 1], 1, "bce_with_logits"),
        ([False, True], 1, "bce_with_logits"),
        ([0, 2], 1, "mse"),
        ([-1, 1], 1, "mse"),
        ([0, 1], 2, "cross_entropy"),
        ([[0], [2]], 3, "cross_entropy"),
        ([[1, 0], [1, 1]], 2, "bce_with_logits"),
        ([[1, 0], [0, 1]], 2, "cross_entropy"),
        ([[3, 0], [0, 1]], 2, "mse"),
    ],
)
def test_without_a_loss_the_targets_say_which(y: Any, outputs: int, expected: str) -> None:
    assert default_loss(np.array(y), cr.zeros(2, outputs)) == expected
    assert default_loss(cr.tensor(y), cr.zeros(2, outputs)) == expected


def test_the_loss_that_was_taken_can_be_read() -> None:
    own = trainer(network())
    own.fit(classes())
    assert own.objective is not None
    assert (own.objective.name, own.objective.kind, own.objective.classes) == ("cross_entropy", "cross_entropy", True)
    assert repr(own.objective) == "<Objective: cross_entropy, of class numbers>"
    assert repr(Objective(nn.HuberLoss())) == "<Objective: HuberLoss>"


def test_kinds_are_known_through_modules_functions_and_partials() -> None:
    assert kind_of(nn.CrossEntropyLoss(label_smoothing=0.1)) == "cross_entropy"
    assert kind_of(functools.partial(F.nll_loss, ignore_index=3)) == "nll"
    assert kind_of(F.l1_loss) == "mae"
    assert kind_of(lambda output, y: output.sum()) == ""
    assert kind_of(nn.KLDivLoss()) == ""
    assert Objective(functools.partial(F.nll_loss, ignore_index=3)).ignore_index == 3
    assert Objective(nn.CrossEntropyLoss(ignore_index=7)).ignore_index == 7
    assert Objective(nn.NLLLoss()).ignore_index == -100
    assert Objective("nll").ignore_index is None
    assert Objective(F.cross_entropy).ignore_index is None


# -- targets -----------------------------------------------------------------------------------------------------------


def test_targets_in_a_column_and_in_a_row_give_the_same_bits() -> None:
    X, y = numbers()
    row, column, flat = network(outputs=1), network(outputs=1), nn.Sequential(network(outputs=1), nn.Flatten(0))
    trainer(row).fit((X, y))
    trainer(column).fit((X, y[:, None]))
    trainer(flat).fit((X, y[:, None]))
    assert state_bits(row) == state_bits(column)
    assert [*state_bits(row).values()] == [*state_bits(flat).values()]


def test_several_outputs_are_learned_together() -> None:
    X, y = numbers(80, outputs=3)
    own = trainer(network(outputs=3), epochs=60, lr=0.02, metrics=["r2"])
    assert own.fit((X, y), val=(X, y)).best["val_r2"] > 0.8


@pytest.mark.parametrize("loss", ["bce_with_logits", "bce"])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, np.float64])
def test_yes_and_no_may_be_integers_booleans_or_floats(loss: str, dtype: Any) -> None:
    X, y = yes_or_no()
    last: list[nn.Module] = [nn.Sigmoid()] if loss == "bce" else []
    models = [nn.Sequential(network(outputs=1), *last) for _ in range(2)]
    trainer(models[0], loss=loss).fit((X, y.astype(np.float32)))
    trainer(models[1], loss=loss).fit((X, y.astype(dtype)))
    assert state_bits(models[0]) == state_bits(models[1])


def test_rows_of_one_hot_classes_and_of_probabilities_are_classes() -> None:
    X, y = classes()
    hot, numbered, soft = network(), network(), network()
    trainer(hot).fit((X, np.eye(3, dtype=int)[y]))
    trainer(numbered).fit((X, y))
    trainer(soft, loss="cross_entropy").fit((X, np.eye(3)[y]))
    assert_close(hot[0].weight, numbered[0].weight)
    assert state_bits(hot) == state_bits(soft)


def test_several_questions_of_yes_or_no_are_learned_together() -> None:
    X, _ = numbers(80)
    y = (X > 0).astype(int)
    own = trainer(network(outputs=3), epochs=60, lr=0.02)
    own.fit((X, y))
    assert own.objective is not None
    assert own.objective.name == "bce_with_logits"
    assert ((own.predict(X) > 0) == y).mean() > 0.95


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 3], "row 2 has label 3, and the model has 3 outputs; expected labels 0 to 2"),
        ([0, -1, 2], "row 1 has label -1"),
        ([1, 2, 300], "row 2 has label 300"),
    ],
)
def test_a_label_out_of_range_is_named_with_its_row(labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        trainer(network()).fit((np.ones((3, 3)), labels))
    with pytest.raises(DataError, match=f"the validation data: {message}"):
        trainer(network()).fit((np.ones((3, 3)), [0, 1, 2]), val=(np.ones((3, 3)), labels))


def test_rows_of_the_ignored_label_do_not_count() -> None:
    X, y = classes(12)
    model = network()
    recorder = Recorder()
    y[:4] = -100
    loss = nn.CrossEntropyLoss(ignore_index=-100)
    trainer(model, loss=loss, batch_size=None, epochs=1, callbacks=[recorder]).fit((X, y))
    counted = F.cross_entropy(network()(cr.from_numpy(X[4:])), cr.from_numpy(y[4:]))
    assert_close(np.float32(recorder.losses[0]), counted.detach().numpy(), length=12)


@pytest.mark.parametrize("loss", [None, "cross_entropy", F.cross_entropy])
def test_a_label_of_minus_100_is_refused_unless_the_loss_was_told_to_ignore_it(loss: Any) -> None:
    X, y = classes(12)
    y[4] = -100
    with pytest.raises(DataError, match=r"row 4 has label -100.*labels 0 to 2\. Leave such rows out, or.*ignore_index"):
        trainer(network(), loss=loss).fit((X, y))


def test_misfits_of_loss_and_targets_are_explained() -> None:
    X, y = classes(12, kinds=2)
    with pytest.raises(DataError, match=r"row \d+ has label 1, and the model has 1 output;.*bce_with_logits"):
        trainer(network(outputs=1), loss="cross_entropy").fit((X, y))
    with pytest.raises(ShapeError, match=r"outputs have shape \(2,\), and the loss is cross_entropy"):
        trainer(nn.Sequential(network(outputs=1), nn.Flatten(0)), loss="cross_entropy").fit((X, y))
    with pytest.raises(DataError, match=r"y holds float64 numbers, and the loss reads class numbers.*astype\(int\)"):
        trainer(network(), loss="cross_entropy").fit((X, y.astype(float)))
    with pytest.raises(DataError, match=r"row \d+ has target 2, and the loss is bce_with_logits"):
        trainer(network(outputs=1), loss="bce_with_logits").fit((X, y + 1))
    with pytest.raises(ShapeError, match="y has 1 number per row, and the model gives 3 numbers.*mse"):
        trainer(network(), loss="mse").fit(numbers(12))
    with pytest.raises(ShapeError, match="y has 2 numbers per row, and the model gives 1 number"):
        trainer(network(outputs=1)).fit(numbers(12, outputs=2))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda x: (x, x), "the model returned tuple; expected one tensor"),
        (lambda x: x.sum(), r"outputs have shape \(\) for 2 rows of shape \(3,\)"),
        (lambda x: x[:1], r"outputs have shape \(1, 3\) for 2 rows"),
    ],
)
def test_a_model_must_give_a_row_for_each_row(forward: Any, message: str) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(cr.ones(3))

        def forward(self, x: cr.Tensor) -> Any:
            return forward(x * self.weight)

    with pytest.raises((ArgumentTypeError, ShapeError), match=message):
        trainer(Odd()).fit(numbers(12))


# -- weights -----------------------------------------------------------------------------------------------------------


def first_loss(data: tuple[Any, ...], model: nn.Module, **options: Any) -> float:
    recorder = Recorder()
    trainer(model, batch_size=None, epochs=1, callbacks=[recorder], **options).fit(data)
    return recorder.losses[0]


def test_row_weights_give_the_weighted_mean_worked_by_hand() -> None:
    # Outputs 0: the squared errors are 1, 4 and 9, and Σ w e / Σ w = (1·1 + 0·4 + 3·9) / 4 = 7.
    model = nn.Linear(1, 1)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    assert first_loss((np.ones((3, 1)), [1.0, 2.0, 3.0], [1.0, 0.0, 3.0]), model) == 7.0


def test_equal_weights_change_nothing() -> None:
    X, y = classes()
    plain, weighted = network(), network()
    trainer(plain).fit((X, y))
    trainer(weighted).fit((X, y, np.full(60, 2.5)))
    assert_close(weighted[0].weight, plain[0].weight, length=60)


def test_a_weight_of_two_is_a_row_twice() -> None:
    X, y = classes(20)
    weights = np.ones(20)
    weights[:5] = 2.0
    twice, weighted = network(), network()
    trainer(twice, batch_size=None).fit((np.concatenate([X[:5], X]), np.concatenate([y[:5], y])))
    trainer(weighted, batch_size=None).fit((X, y, weights))
    assert_close(weighted[0].weight, twice[0].weight, length=25)


def test_several_outputs_of_a_row_share_its_weight() -> None:
    X, y = numbers(20, outputs=2)
    w = np.linspace(1, 2, 20)
    model = network(outputs=2)
    with cr.no_grad():
        output = model(cr.from_numpy(X)).numpy()
    by_row = ((output - y) ** 2).mean(1)
    expected = (by_row * w).sum() / w.sum()
    assert_close(np.float32(first_loss((X, y, w), model, loss="mse")), np.float32(expected), length=20)


def test_balanced_class_weights_are_scikit_learns() -> None:
    compute = pytest.importorskip("sklearn.utils.class_weight").compute_sample_weight
    y = np.array([0, 0, 0, 0, 2, 2, 1])
    assert_close(class_weights(y, "balanced"), compute("balanced", y))
    assert_close(class_weights(y, {0: 2.0, 1: 0.5}), compute({0: 2.0, 1: 0.5, 2: 1.0}, y))


def test_class_and_row_weights_multiply_and_validation_rows_have_none() -> None:
    X, y = classes()
    both, product = network(), network()
    w = np.linspace(1, 2, 60)
    by_class = np.array([3.0, 1.0, 0.5])
    first = trainer(both, class_weight={0: 3.0, 2: 0.5}).fit((X, y, w), val=(X, y))
    second = trainer(product).fit((X, y, w * by_class[y]), val=(X, y))
    assert state_bits(both) == state_bits(product)
    assert first["val_loss"] == second["val_loss"]


@pytest.mark.oracle
@pytest.mark.parametrize("compiled", [True, False])
def test_class_weights_are_pytorchs_weighted_cross_entropy(compiled: bool) -> None:
    torch = pytest.importorskip("torch")
    X, y = classes()
    weight = [3.0, 1.0, 0.5]
    ours = network()
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))
    theirs.load_state_dict({name: torch.tensor(t.numpy()) for name, t in ours.state_dict().items()})
    trainer(
        ours, optimizer="sgd", lr=0.1, batch_size=None, epochs=5, class_weight=dict(enumerate(weight)), keep_best=False,
        compile=compiled,
    ).fit((X, y))  # fmt: skip
    loss = torch.nn.CrossEntropyLoss(weight=torch.tensor(weight))
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        loss(theirs(torch.tensor(X)), torch.tensor(y)).backward()
        optimizer.step()
    assert_close(ours[0].weight, theirs[0].weight, length=60)


def test_the_losss_own_class_weights_and_reduction_are_kept() -> None:
    X, y = classes(20)
    weight = cr.tensor([3.0, 1.0, 0.5])
    summed = nn.CrossEntropyLoss(weight=weight, reduction="sum")
    w = np.linspace(1, 2, 20)
    each = F.cross_entropy(network()(cr.from_numpy(X)), cr.from_numpy(y), weight=weight, reduction="none")
    expected = float((each.detach().numpy() * w).sum())
    assert_close(np.float32(first_loss((X, y, w), network(), loss=summed)), np.float32(expected), length=20)


def test_a_loss_without_reduction_cannot_weight_rows() -> None:
    X, y = numbers()
    with pytest.raises(ArgumentError, match="row or class weights with the loss <lambda>, which takes no `reduction`"):
        trainer(network(outputs=1), loss=lambda output, y: ((output - y) ** 2).mean()).fit((X, y, np.ones(60)))

    def own(output: cr.Tensor, y: cr.Tensor, reduction: str = "mean") -> cr.Tensor:
        errors = (output - y) ** 2
        return errors if reduction == "none" else errors.mean()

    mine, named = network(outputs=1), network(outputs=1)
    trainer(mine, loss=own).fit((X, y, np.linspace(1, 2, 60)))
    trainer(named, loss="mse").fit((X, y, np.linspace(1, 2, 60)))
    assert_close(mine[0].weight, named[0].weight)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("balance", "class_weight='balance'; expected 'balanced' or a dict"),
        ({5: 1.0}, r"class_weight names 5, which no row has; expected classes of \[0, 1, 2\]"),
        ({0: -1.0}, "expected weights of at least 0"),
        ({0: np.nan}, "expected weights of at least 0"),
        ([1.0, 2.0], "expected 'balanced' or a dict"),
    ],
)
def test_class_weights_that_make_no_sense_are_refused(weight: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        trainer(network(), class_weight=weight).fit(classes())


def test_class_weights_are_for_classes() -> None:
    with pytest.raises(DataError, match="class_weight with targets of float32"):
        trainer(network(outputs=1), class_weight="balanced").fit(numbers())


# -- penalties ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("l1", "l2"), [(0.1, 0.0), (0.0, 0.1), (0.2, 0.1)])
def test_penalties_are_in_the_gradient_and_not_in_the_loss(l1: float, l2: float) -> None:
    X, y = numbers()
    model, before = network(outputs=1), network(outputs=1)
    plain = first_loss((X, y), network(outputs=1))
    loss = first_loss((X, y), model, optimizer="sgd", lr=0.1, l1=l1, l2=l2)
    assert loss == plain
    error = F.mse_loss(before(cr.from_numpy(X)), cr.from_numpy(y)[:, None])
    weights = [before[0].weight, before[2].weight]
    (error + l1 * sum(w.abs().sum() for w in weights) + l2 * sum((w * w).sum() for w in weights)).backward()
    for new, old in zip(model.parameters(), before.parameters(), strict=True):
        assert_close(new, old.detach() - 0.1 * old.grad, length=60)


def test_objectives_of_data_that_fit_no_pattern_keep_their_form() -> None:
    assert objective_for(lambda o, y: o.sum(), np.zeros((2, 3), int), cr.zeros(2, 3)).classes is False
    assert objective_for(lambda o, y: o.sum(), np.zeros(2, int), cr.zeros(2)).classes is False
    assert objective_for("cross_entropy", np.zeros((2, 3)), cr.zeros(2, 3)).classes is False
    assert tensor_like(np.zeros(2, np.uint16), np.float32).dtype == cr.int64


def test_weights_work_with_dropout_and_batch_norm() -> None:
    X, y = classes()
    history = trainer(rich_network(), class_weight="balanced", epochs=30, lr=0.02).fit((X, y), val=(X, y))
    assert history.best["val_loss"] < 0.6
