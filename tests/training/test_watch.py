"""A NaN or an infinity in twenty places: native runs name the batch, layer and operation that the interpreter names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, NotFiniteError
from chainrule.ops import philox
from chainrule.run import NativeProgram, Steps
from chainrule.training.state import first_nonfinite
from tests.training.problems import network, state_bits, trainer

Array = np.ndarray[Any, Any]

ROWS, BATCH = 200, 16  # twelve whole batches and one of 8
COUNT, LAST = 13, 8
MIDDLE = 7


def order(epoch: int = 1) -> Array:
    """The order of the rows in an epoch of seed 0."""
    return philox.permutation(0, epoch - 1, ROWS)


def row_of(batch: int, epoch: int = 1) -> int:
    """A row of a batch of an epoch, both counted from 1."""
    return int(order(epoch)[(batch - 1) * BATCH + 3])


def marked(batch: int, value: float = 1.0, epoch: int = 1) -> tuple[Array, Array]:
    """Rows around 0 of which one, in that batch, has ``value`` in column 0; all others have numbers below 0.4 there."""
    random = np.random.default_rng(0)
    X = random.uniform(-0.4, 0.4, (ROWS, 3)).astype(np.float32)
    X[row_of(batch, epoch), 0] = value
    return X, random.uniform(-1, 1, ROWS).astype(np.float32)


class Function(nn.Module):
    """A layer of one function of its input and, if wanted, a parameter."""

    def __init__(self, function: Callable[..., cr.Tensor], parameter: cr.Tensor | None = None) -> None:
        super().__init__()
        self.__dict__["function"] = function
        self.own = None if parameter is None else nn.Parameter(parameter)

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        return self.function(x) if self.own is None else self.function(x, self.own)


class Counts(nn.Module):
    """Goes wrong at the ``last``-th batch that it sees while it trains."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last
        self.register_buffer("count", cr.zeros(()))

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        if self.training:
            self.count.add_(1)
        return x + (self.last - 0.5 - self.count).log().clamp(max=0.0)


def on_input(function: Callable[..., cr.Tensor], parameter: cr.Tensor | None = None) -> nn.Sequential:
    """A network whose layer 0 is a function of the inputs."""
    cr.manual_seed(0)
    return nn.Sequential(Function(function, parameter), nn.Linear(3, 4), nn.LeakyReLU(), nn.Linear(4, 1))


def plain() -> nn.Sequential:
    cr.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.LeakyReLU(), nn.Linear(6, 1))


def linear() -> nn.Sequential:
    cr.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 1))


def filled(model: nn.Sequential, place: str, value: float, at: Any = ...) -> nn.Sequential:
    with cr.no_grad():
        dict(model.named_parameters())[place][at] = value
    return model


def embedded() -> nn.Sequential:
    cr.manual_seed(0)
    return nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(8, 4), nn.Linear(4, 1))


def codes(batch: int) -> tuple[Array, Array]:
    """Categories 0 … 7 in two columns; one row, in that batch, has category 8."""
    X = np.random.default_rng(0).integers(0, 8, (ROWS, 2))
    X[row_of(batch), 1] = 8
    return X, np.random.default_rng(1).uniform(-1, 1, ROWS).astype(np.float32)


def never(x: cr.Tensor, value: cr.Tensor) -> cr.Tensor:
    """x, whatever the value: it is chosen nowhere."""
    return cr.where(x > 1e6, value, x)


def normed() -> nn.Sequential:
    cr.manual_seed(0)
    return nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))


def big_target() -> tuple[Array, Array]:
    X, y = marked(1)
    y[row_of(MIDDLE)] = 3e38
    return X, y


def big_column() -> tuple[Array, Array]:
    X, y = marked(1)
    X[:, 2] = 3e38
    return X, y


class Case(NamedTuple):
    """What is trained on what; in which epoch and batch, in which place and operation it goes wrong."""

    model: Callable[[], nn.Module]
    data: Callable[[], tuple[Array, Array]]
    batch: int
    place: str
    operation: str
    epoch: int = 1
    options: dict[str, Any] = {}  # noqa: RUF012 - of a tuple, never changed


def steep() -> nn.Sequential:
    return filled(plain(), "0.weight", 3.0)


CASES = {
    "a row of the first batch": Case(steep, lambda: marked(1, 3e38), 1, "the output of layer 0 (Linear)", "contract"),
    "a row of a batch in the middle": Case(
        steep, lambda: marked(MIDDLE, 3e38), MIDDLE, "the output of layer 0 (Linear)", "contract"
    ),
    "a row of the last whole batch": Case(
        steep, lambda: marked(COUNT - 1, 3e38), COUNT - 1, "the output of layer 0 (Linear)", "contract"
    ),
    "a row of the smaller last batch": Case(
        steep, lambda: marked(COUNT, 3e38), COUNT, "the output of layer 0 (Linear)", "contract"
    ),
    "a column": Case(steep, big_column, 1, "the output of layer 0 (Linear)", "contract"),
    "a target": Case(plain, big_target, MIDDLE, "the loss (mse) of finite outputs", "mul"),
    "a weight": Case(
        lambda: filled(on_input(lambda x: x), "1.weight", 1e15, (0, 0)),
        lambda: marked(MIDDLE, 1e25), MIDDLE, "the output of layer 1 (Linear)", "contract",
        options={"optimizer": "sgd", "lr": 1e-30},
    ),
    "a bias": Case(
        lambda: filled(filled(on_input(lambda x: x), "1.bias", 3e38), "3.weight", 2.0),
        lambda: marked(1), 1, "the output of layer 3 (Linear)", "contract",
    ),
    "a row of an embedding": Case(
        lambda: filled(filled(embedded(), "0.weight", 3e38, 8), "2.weight", 2.0),
        lambda: codes(MIDDLE), MIDDLE, "the output of layer 2 (Linear)", "contract",
    ),
    "running statistics": Case(
        normed, lambda: marked(MIDDLE, 1e25), MIDDLE, "0.running_var, which holds inf after the forward pass", "mul",
    ),
    "exp that overflows": Case(
        lambda: on_input(lambda x: (50 * x).exp()), lambda: marked(MIDDLE, 2.0), MIDDLE, "the output of layer 0 (Function)", "exp"
    ),
    "log of 0": Case(
        lambda: on_input(lambda x: (1 - x).log()), lambda: marked(MIDDLE), MIDDLE, "the output of layer 0 (Function)", "log"
    ),
    "division by 0": Case(
        lambda: on_input(lambda x: x / (1 - x)), lambda: marked(COUNT), COUNT, "the output of layer 0 (Function)", "div"
    ),
    "an infinity that an activation hides": Case(
        lambda: nn.Sequential(*filled(network(outputs=1), "0.weight", 3.0), Counts(MIDDLE + 1)),
        lambda: marked(MIDDLE + 1, 3e38), MIDDLE + 1, "the output of layer 0 (Linear)", "contract",
    ),
    "the gradient of a root of 0": Case(
        lambda: on_input(lambda x, p: x * (p - p.detach()).sqrt() + x, cr.ones(3)),
        lambda: marked(MIDDLE), 1, "the gradient of 0.own, computed in layer 0 (Function)", "div",
    ),
    "the gradient of a norm of 0": Case(
        lambda: on_input(lambda x, p: x + (((x - 1) * p)[:, :1] ** 2).sum(1, keepdim=True).sqrt(), cr.ones(3)),
        lambda: marked(MIDDLE), MIDDLE, "the gradient of 0.own, computed in layer 0 (Function)", "div",
    ),
    "the gradient of what nobody chose": Case(
        lambda: on_input(lambda x, p: never(x, ((1 - x) * p).sqrt()), cr.ones(3)),
        lambda: marked(MIDDLE), MIDDLE, "the gradient of 0.own, computed in layer 0 (Function)", "div",
    ),
    "a rate that is too large": Case(
        linear, lambda: (marked(1)[0], 1e3 * marked(1)[1]), 1, "the update of the parameter 0.", "mul in SGD",
        options={"optimizer": "sgd", "lr": 1e38},
    ),
    "a state of the optimizer": Case(
        lambda: on_input(lambda x, p: x + 1e-30 * (p * x.clamp(min=0.9) * 1e30), cr.full((3,), 1e-3)),
        lambda: marked(1), 1, "the update of the optimizer's exp_avg_sq of 0.own", "mul in Adam",
        options={"loss": lambda output, y: (output * 1e25).mean()},
    ),
    "the second epoch": Case(
        lambda: nn.Sequential(*plain(), Counts(COUNT + MIDDLE)), lambda: marked(1), MIDDLE,
        "the output of layer 3 (Counts)", "log", epoch=2,
    ),
}  # fmt: skip


class Native:
    """How often native code ran: single steps, and many in one call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.single = self.many = 0
        run, run_many = NativeProgram.run, Steps.run

        def counted(program: NativeProgram, *args: Any) -> Any:
            self.single += 1
            return run(program, *args)

        def many_counted(steps: Steps, *args: Any) -> Any:
            self.many += 1
            return run_many(steps, *args)

        monkeypatch.setattr(NativeProgram, "run", counted)
        monkeypatch.setattr(Steps, "run", many_counted)


def message_of(case: Case, monkeypatch: pytest.MonkeyPatch, compiled: str) -> tuple[str, cr.Trainer]:
    monkeypatch.setenv("CHAINRULE_COMPILE", compiled)
    own = trainer(case.model(), **{"loss": "mse", **case.options})
    with pytest.raises(NotFiniteError) as raised:
        own.fit(case.data())
    return str(raised.value), own


@pytest.mark.parametrize("name", CASES)
def test_native_code_names_what_the_interpreter_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    interpreted, _ = message_of(case, monkeypatch, "0")
    ran = Native(monkeypatch)
    native, own = message_of(case, monkeypatch, "1")
    assert ran.single
    assert ran.many or case.batch < 3
    assert native == interpreted
    assert native.startswith(f"epoch {case.epoch}")
    assert f"It began with {case.place}" in native or f"It began with the tensor {case.place}" in native
    assert f", in batch {case.batch}: {case.operation} gave " in native
    before = trainer(case.model(), **{"loss": "mse", **case.options, "epochs": 1, "keep_best": False})
    if case.epoch > 1:
        before.fit(case.data())
    assert state_bits(own.model) == state_bits(before.model)


@pytest.mark.parametrize("schedule", [None, "cosine"])
def test_a_batch_of_the_validation_rows_is_named(schedule: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def message(compiled: str) -> str:
        monkeypatch.setenv("CHAINRULE_COMPILE", compiled)
        own = trainer(steep(), loss="mse", schedule=schedule)
        val = np.random.default_rng(1).uniform(-0.4, 0.4, (2500, 3)).astype(np.float32)
        val[1500, 1] = 3e38
        with pytest.raises(NotFiniteError) as raised:
            own.fit(marked(1), val=(val, np.zeros(2500, np.float32)))
        assert len(own.history) == 0
        assert state_bits(own.model) == state_bits(steep())
        return str(raised.value)

    interpreted = message("0")
    ran = Native(monkeypatch)
    native = message("1")
    assert ran.many
    assert native == interpreted
    assert native.startswith("epoch 1: the validation loss is ")
    assert "It began with the output of layer 0 (Linear)" in native
    assert "in batch 6 of the validation data: contract gave inf" in native


def test_what_goes_wrong_in_native_code_alone_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    X, y = marked(1)
    X[:] = 0.5
    X[row_of(MIDDLE), 0] = 1e-40  # native code takes it for 0
    own = trainer(on_input(lambda x: x.log()), loss="mse", seed=0)
    with pytest.raises(
        NotFiniteError, match="It began with log in layer 0, which gave -inf in native code alone"
    ) as raised:
        own.fit((X, y))
    assert f"in batch {MIDDLE}: log gave -inf" in str(raised.value)


def test_an_infinity_that_masks_is_not_taken_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def attention(x: cr.Tensor) -> cr.Tensor:
        scores = cr.where(x > 0.9, float("-inf"), x)  # all of them, in the marked row
        return scores.softmax(1)

    def data() -> tuple[Array, Array]:
        X, y = marked(MIDDLE)
        X[row_of(MIDDLE)] = 1.0
        return X, y

    case = Case(lambda: on_input(attention), data, MIDDLE, "", "")
    interpreted, _ = message_of(case, monkeypatch, "0")
    native, _ = message_of(case, monkeypatch, "1")
    assert native == interpreted
    assert f"in batch {MIDDLE}: softmax gave nan" in native or f"in batch {MIDDLE}: sub gave nan" in native


# -- over --------------------------------------------------------------------------------------------------------------


def compiled_step(model: nn.Module) -> tuple[Any, Any]:
    optimizer = cr.optim.Adam(model.parameters(), lr=0.01)

    @cr.compile
    def step(x: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, optimizer


def data_over(batch: int, value: float) -> tuple[Array, Array]:
    X, y = marked(1)
    X[row_of(1), 0] = 0.0
    X[(batch - 1) * BATCH + 5, 0] = value
    return X, y[:, None]


@pytest.mark.parametrize(("batch", "passes"), [(1, 1), (MIDDLE, 1), (COUNT, 2)])
def test_over_names_batch_operation_and_layer(batch: int, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def message(compiled: str) -> tuple[str, dict[str, bytes], Any]:
        monkeypatch.setenv("CHAINRULE_COMPILE", compiled)
        model = nn.Sequential(Function(lambda x: (1 - x).log()), nn.Dropout(0.2), nn.Linear(3, 1))
        cr.manual_seed(0)
        step, optimizer = compiled_step(model)
        with pytest.raises(NotFiniteError) as raised:
            step.over(*data_over(batch, 1.0), batch_size=BATCH, passes=passes, check_finite=True)
        return str(raised.value), state_bits(model), optimizer.state_dict()

    interpreted, _, _ = message("0")
    ran = Native(monkeypatch)
    native, bits, state = message("1")
    assert ran.single
    assert ran.many or batch == 1
    assert native == interpreted
    assert (
        f"step.over: batch {batch}: a NaN or an infinity appeared. It began with log in layer 0, which gave -inf"
        in native
    )
    # as it was before that batch
    model = nn.Sequential(Function(lambda x: (1 - x).log()), nn.Dropout(0.2), nn.Linear(3, 1))
    cr.manual_seed(0)
    step, _ = compiled_step(model)
    X, y = data_over(batch, 1.0)
    if batch > 1:
        rows = slice((batch - 1) * BATCH)
        step.over(X[rows], y[rows], batch_size=BATCH, check_finite=True)
        assert state_bits(model) == bits
        assert float(state["state"][0]["step"]) == batch - 1


def test_over_gives_the_same_bits_with_and_without_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    found = []
    for check_finite in (False, True):
        model = plain()
        step, _ = compiled_step(model)
        losses = step.over(*data_over(1, 0.0), batch_size=BATCH, passes=3, check_finite=check_finite)
        found.append((losses.numpy().tobytes(), state_bits(model)))
    assert found[0] == found[1]
    assert len(losses) == 3 * COUNT


def test_over_lets_infinities_be_unless_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    step, _ = compiled_step(on_input(lambda x: (1 - x).log()))
    losses = step.over(*data_over(3, 1.0), batch_size=BATCH).numpy()
    assert np.isfinite(losses[:2]).all()
    assert not np.isfinite(losses[2:]).any()
    with pytest.raises(ArgumentError, match="over: got batch_size=0"):
        step.over(*data_over(3, 1.0), batch_size=0, check_finite=True)


def test_a_parameter_is_told_before_a_state_of_the_optimizer() -> None:
    model = plain()
    optimizer = cr.optim.Adam(model.parameters())
    model(cr.ones(2, 3)).sum().backward()
    optimizer.step()
    tensors = dict(model.named_parameters())
    assert first_nonfinite(tensors, optimizer) == ""
    with cr.no_grad():
        optimizer.state[model[2].bias]["exp_avg"].fill_(float("nan"))
    assert first_nonfinite(tensors) == ""
    assert first_nonfinite(tensors, optimizer) == "the optimizer's exp_avg of 2.bias, which holds nan"
    filled(model, "0.weight", float("inf"), (0, 0))
    assert first_nonfinite(tensors, optimizer) == "the parameter 0.weight, which holds inf"
