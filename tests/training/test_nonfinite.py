"""A NaN or an infinity names the layer and the batch where it began, and leaves the model as the epoch began."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import NotFiniteError
from tests.training.problems import StopAt, classes, network, numbers, rich_network, state_bits, trainer

both = pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "eager"])


def failing(model: nn.Module, data: Any, **options: Any) -> tuple[str, cr.Trainer]:
    own = trainer(model, **options)
    with pytest.raises(NotFiniteError) as raised:
        own.fit(data)
    assert "expected finite numbers" in str(raised.value)
    return str(raised.value), own


class Function(nn.Module):
    """A layer of one function."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.__dict__["function"] = function

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        return self.function(x)


def ordered(rows: int, batch: int, first_bad: int) -> list[Any]:
    """Batches of zeros, of which one is all ones."""
    batches = [(np.zeros((batch, 2), np.float32), np.zeros(batch, np.float32)) for _ in range(rows // batch)]
    batches[first_bad - 1] = (np.ones((batch, 2), np.float32), np.zeros(batch, np.float32))
    return batches


def on_ones(bad: Any) -> nn.Sequential:
    """A network whose layer 1 goes wrong on inputs of 1 alone: it sees x + 1, between 1 and 2."""
    cr.manual_seed(0)
    first = nn.Linear(2, 2)
    with cr.no_grad():
        first.weight.copy_(cr.eye(2))
        first.bias.fill_(1.0)
    first.requires_grad_(False)
    return nn.Sequential(first, Function(bad), nn.Linear(2, 1))


# -- forward -----------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("bad", "value"),
    [
        (lambda x: (1.5 - x).log(), "nan"),
        (lambda x: 1 / (2 - x), "inf"),
        (lambda x: (2 - x) / (2 - x), "nan"),
        (lambda x: (100 * (x - 1)).exp(), "inf"),
        (lambda x: (1.5 - x).sqrt(), "nan"),
    ],
    ids=["log of a negative", "division by zero", "0 / 0", "exp of 100", "root of a negative"],
)
def test_the_layer_that_made_it_and_the_batch_are_named(bad: Any, value: str, compiled: bool) -> None:
    message, _ = failing(on_ones(bad), ordered(20, 4, 3), compile=compiled)
    assert message.startswith(f"epoch 1, batch 3: the loss is {value}") or "the loss is" in message
    assert "It began with the output of layer 1 (Function), whose inputs reach from 2 to 2, in batch 3" in message
    assert "The model is as it was when the epoch began" in message


@both
def test_a_rate_that_is_far_too_large_is_found_where_the_numbers_overflow(compiled: bool) -> None:
    message, own = failing(network(outputs=1), numbers(64), optimizer="sgd", lr=1e30, compile=compiled)
    assert "Lower the learning rate (now 1e+30)" in message
    assert "layer 2 (Linear)" in message or "the loss (mse) of finite outputs" in message
    assert state_bits(own.model) == state_bits(network(outputs=1))


@both
def test_a_step_that_makes_a_weight_infinite_is_named(compiled: bool) -> None:
    X, y = numbers(64)
    message, _ = failing(nn.Sequential(nn.Linear(3, 1)), (X, 1e3 * y), optimizer="sgd", lr=1e38, compile=compiled)
    assert "the update of the parameter 0." in message
    assert "the step is too large, in batch 1" in message


@both
def test_a_rule_that_divides_0_by_0_is_not_called_too_large_a_step(compiled: bool) -> None:
    X, y = numbers(64)
    model = nn.Sequential(nn.Linear(3, 1))
    optimizer = cr.optim.Adam(model.parameters(), lr=0.01, eps=0.0)
    message, _ = failing(model, (np.zeros_like(X), 0 * y), optimizer=optimizer, compile=compiled)
    assert "the update of the parameter 0." in message
    assert "makes NaN of finite numbers (0 / 0, where eps is 0?), in batch 1" in message


@both
def test_inputs_that_are_too_large_are_found_in_the_layer_that_multiplies_them(compiled: bool) -> None:
    X, y = numbers(64)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    with cr.no_grad():
        model[0].weight.fill_(3.0)
    message, _ = failing(model, (np.full_like(X, 3e38), y), compile=compiled)
    assert (
        "the output of layer 0 (Linear), whose inputs reach from 3e+38 to 3e+38 and whose weights go up to 3" in message
    )


@both
def test_a_loss_that_goes_wrong_on_good_outputs_is_named(compiled: bool) -> None:
    def own_loss(output: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
        return (output - 100).log().mean()

    message, _ = failing(network(outputs=1), numbers(64), loss=own_loss, compile=compiled)
    assert "It began with the loss (own_loss) of finite outputs, which reach from" in message
    assert "in batch 1" in message


@both
def test_a_weight_that_is_infinite_before_training_is_named(compiled: bool) -> None:
    model = network(outputs=1)
    with cr.no_grad():
        model[2].weight[0, 3] = float("inf")
    own = trainer(model, compile=compiled)
    with pytest.raises(NotFiniteError, match=r"the parameter 2.weight, which holds inf before training"):
        own.fit(numbers())


@both
def test_what_a_module_computes_between_its_layers_is_named(compiled: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 1)
            with cr.no_grad():
                self.first.weight.copy_(cr.eye(2))
                self.first.bias.fill_(1.0)
            self.first.requires_grad_(False)

        def forward(self, x: cr.Tensor) -> cr.Tensor:
            return self.second((1.5 - self.first(x)).log())

    class AtItsEnd(Net):
        def forward(self, x: cr.Tensor) -> cr.Tensor:
            return (0.5 - self.second(self.first(x)).abs() - x.sum(1, keepdim=True)).log()

    message, _ = failing(nn.Sequential(Net()), ordered(20, 4, 3), compile=compiled)
    assert (
        "what layer 0 (Net) computes after layer 0.first (Linear) and before layer 0.second (Linear); "
        "that layer's outputs reach from 2 to 2, in batch 3" in message
    )
    message, _ = failing(AtItsEnd(), ordered(20, 4, 3), compile=compiled)
    assert "what the model (AtItsEnd) computes after layer second (Linear) and at its end" in message


@both
def test_batch_norm_dropout_and_embeddings_are_in_the_way_and_do_no_harm(compiled: bool) -> None:
    cr.manual_seed(0)
    bad = Function(lambda x: (x - 1e-3).log())
    model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.BatchNorm1d(8), nn.Dropout(0.5), bad, nn.Linear(8, 1))
    X = np.random.default_rng(0).integers(0, 5, (64, 2))
    message, own = failing(model, (X, np.ones(64)), compile=compiled)
    assert "the output of layer 4 (Function)" in message
    assert own.generator.draw == 0


@both
def test_statistics_that_overflow_are_found_although_the_loss_is_finite(compiled: bool) -> None:
    X, y = numbers(32)
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))
    message, own = failing(model, (X * np.float32(1e30), y), compile=compiled)
    assert "0.running_var, which holds inf" in message
    assert "in batch 1" in message
    assert np.isfinite(own.model[0].running_var.numpy()).all()


# -- backward ----------------------------------------------------------------------------------------------------------


@both
def test_a_layer_that_is_bad_in_its_gradient_alone_is_named(compiled: bool) -> None:
    cr.manual_seed(0)
    root_of_zero = Function(lambda x: (x * 0).sqrt() + x)  # the value is x, the gradient 0 · ∞
    model = nn.Sequential(nn.Linear(2, 3), root_of_zero, nn.Linear(3, 1))
    message, _ = failing(model, ordered(8, 4, 1), compile=compiled)
    assert "the gradient that layer 1 (Function) passes back" in message
    assert "in batch 1" in message


@both
def test_a_loss_that_is_bad_in_its_gradient_alone_is_named(compiled: bool) -> None:
    def root(output: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
        return ((output - output.detach()) ** 2).sum().sqrt() + (output**2).mean()

    message, _ = failing(network(outputs=1), numbers(32), loss=root, compile=compiled)
    assert "the gradient of the loss at the outputs" in message


@both
def test_a_parameter_that_alone_has_a_bad_gradient_is_named(compiled: bool) -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.root = nn.Parameter(cr.zeros(3))

        def forward(self, x: cr.Tensor) -> cr.Tensor:
            return x + self.root.sqrt() * 0

    message, _ = failing(nn.Sequential(nn.Linear(3, 3), Scale(), nn.Linear(3, 1)), numbers(32), compile=compiled)
    assert "the gradient of 1.root, computed in layer 1 (Scale)" in message


# -- later, and with everything in the way -------------------------------------------------------------------------


@both
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_it_is_found_in_a_later_epoch_by_repeating_it(compiled: bool, schedule: str) -> None:
    class Poison(nn.Module):
        """Goes wrong once its own count, a buffer, reaches 8: in epoch 3 of three batches each, the second one."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", cr.zeros(()))

        def forward(self, x: cr.Tensor) -> cr.Tensor:
            if self.training:
                self.count.add_(1)
            return x * (7.5 - self.count).log().clamp(min=-100.0).exp().clamp(max=1.0)

    def model() -> nn.Sequential:
        return nn.Sequential(rich_network(), Poison())

    options: dict[str, Any] = {"epochs": 6, "schedule": schedule, "compile": compiled, "optimizer": "adam", "lr": 0.02}
    message, own = failing(model(), classes(48), **options)
    assert message.startswith("epoch 3, batch 2: the loss is nan. It began with the output of layer 1 (Poison)")
    assert message.count("in batch 2") == 1
    whole = trainer(model(), **options, callbacks=[StopAt(2, 3)], keep_best=False)
    whole.fit(classes(48))
    assert state_bits(own.model) == state_bits(whole.model)
    assert len(own.history) == 2
    with pytest.raises(NotFiniteError, match="epoch 3, batch 2"):  # the same happens again
        own.fit(classes(48))


@both
def test_what_a_callback_did_is_told_as_that(compiled: bool) -> None:
    class Breaks(cr.Callback):
        def __init__(self, epoch: int) -> None:
            self.epoch = epoch

        def on_epoch_begin(self, trainer: cr.Trainer, epoch: int) -> None:
            if epoch == self.epoch:
                with cr.no_grad():
                    trainer.model[0].weight[0, 0] = float("nan")

    class BreaksAmid(cr.Callback):
        def on_batch_end(self, trainer: cr.Trainer, epoch: int, batch: int, *rest: Any) -> None:
            if (epoch, batch) == (2, 2):
                with cr.no_grad():
                    trainer.model[0].weight[0, 0] = float("nan")

    message, _ = failing(network(), classes(48), callbacks=[Breaks(2)], compile=compiled)
    assert "the parameter 0.weight, which holds nan before the first batch: it was changed from outside" in message
    optimizer = cr.optim.Adam((model := network()).parameters(), lr=0.01)

    class BreaksTheOptimizer(cr.Callback):
        def on_epoch_begin(self, trainer: cr.Trainer, epoch: int) -> None:
            if epoch == 2:
                optimizer.state[trainer.model[0].weight]["exp_avg"][2, 1] = float("inf")

    message, _ = failing(model, classes(48), callbacks=[BreaksTheOptimizer()], compile=compiled, optimizer=optimizer)
    assert (
        "It began with the optimizer's exp_avg of 0.weight, which holds inf before the first batch: it was changed from "
        "outside (a callback?)" in message
    )
    assert "native" not in message
    message, own = failing(network(), classes(48), callbacks=[BreaksAmid()], compile=compiled)
    assert message.startswith("epoch 2, batch 3: the loss is nan. It began with something that did not happen again")
    assert np.isfinite(own.model[0].weight.detach().numpy()).all()


@both
def test_a_validation_loss_that_is_not_finite_is_explained(compiled: bool) -> None:
    X, y = numbers(32)
    val = X.copy()
    val[5] = 3e38
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    with cr.no_grad():
        model[0].weight.fill_(5.0)
    own = trainer(model, compile=compiled)
    with pytest.raises(NotFiniteError) as raised:
        own.fit((X, y), val=(val, y))
    message = str(raised.value)
    assert message.startswith("epoch 1: the validation loss is ")
    assert "the output of layer 0 (Linear), whose inputs reach from" in message
    assert "in batch 1 of the validation data" in message
    assert len(own.history) == 0


@both
def test_the_best_weights_so_far_are_not_lost(compiled: bool) -> None:
    class Breaks(cr.Callback):
        def on_epoch_begin(self, trainer: cr.Trainer, epoch: int) -> None:
            if epoch == 3:
                trainer.optimizer.param_groups[0]["lr"] = 1e38

    _, own = failing(network(), classes(48), callbacks=[Breaks()], optimizer="sgd", compile=compiled)
    assert own.best is not None
    assert own.best.weights is not None
    assert len(own.history) == 2
    own.callbacks.clear()
    own.optimizer.param_groups[0]["lr"] = 0.01
    assert own.fit(classes(48)).stopped == "epochs"


def test_gradients_and_hooks_of_the_search_leave_no_trace() -> None:
    model = on_ones(lambda x: (1.5 - x).log())
    failing(model, ordered(20, 4, 3), compile=False)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_loss_that_is_not_finite_is_only_told_where_nothing_is_trained() -> None:
    X, y = numbers(16)
    model = network(outputs=1)
    with cr.no_grad():
        model[2].bias.fill_(float("inf"))
    assert np.isinf(trainer(model, metrics=["mae"]).evaluate((X, y))["loss"])


@both
@pytest.mark.parametrize("where", ["training", "validation"])
def test_rows_that_became_nan_are_named(where: str, compiled: bool) -> None:
    X, y = numbers(64)
    X, other = X.copy(), X[:8].copy()

    def spoil(trainer: Any, epoch: int, row: Any) -> None:
        (X if where == "training" else other)[3, 1] = np.nan

    with pytest.raises(NotFiniteError) as caught:
        cr.fit(
            network(outputs=1), (X, y), val=(other, y[:8]), epochs=3, batch_size=64, progress=False,
            compile=compiled, callbacks=[spoil], seed=0,
        )  # fmt: skip
    message = str(caught.value)
    batch = "in batch 1" if where == "training" else "in batch 1 of the validation data, row 3 of them"
    row = r"\d+" if where == "training" else "3"
    assert re.search(rf"It began with the data: X holds nan in row {row} of the batch, at \[1\], {batch}", message)
    assert "Mend these rows" in message
    assert "learning rate" not in message


@both
@pytest.mark.parametrize("batch_size", [16, 64, None])
def test_the_row_of_the_data_is_named_where_the_rows_are_shuffled(batch_size: int | None, compiled: bool) -> None:
    X, y = numbers(64)
    weights = (np.arange(64) >= 20).astype(np.float32)  # batches without weight are not learned from

    def spoil(trainer: Any, epoch: int, row: Any) -> None:
        X[37, 1] = np.nan

    for data in ((X, y), (X, y, weights)):
        X[37, 1] = 1.0
        with pytest.raises(NotFiniteError, match=r"in batch \d, row 37 of the training data"):
            trainer(network(outputs=1), batch_size=batch_size, compile=compiled, callbacks=[spoil]).fit(data)


@both
def test_a_later_batch_of_rows_that_are_looked_at_has_its_row(compiled: bool) -> None:
    X, y = numbers(400)

    def spoil(trainer: Any, epoch: int, row: Any) -> None:
        X[300, 1] = np.nan

    with pytest.raises(
        NotFiniteError, match="in row 44 of the batch, .* in batch 2 of the validation data, row 300 of"
    ):
        trainer(network(outputs=1), compile=compiled, callbacks=[spoil]).fit(numbers(64), val=(X, y))


def test_a_look_at_validation_rows_that_is_not_compiled_is_told(recwarn: pytest.WarningsRecorder) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def forward(self, x: Any) -> Any:
            y = self.layer(x)
            return y if self.training else y * float(y.abs().max() > 0)

    X, y = numbers(64)
    history = cr.fit(Model(), (X, y), val=(X, y), epochs=2, progress=False)
    said = [str(warning.message) for warning in recwarn]
    assert len(said) == 1, said
    assert said[0].startswith("the look at validation rows is not compiled: ")
    assert said[0] in history.notes
