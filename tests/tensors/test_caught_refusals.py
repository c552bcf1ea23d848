"""What cannot be traced is refused also where the code catches the error: in a run it would not be raised."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ShapeError, TraceError


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


class Holder:
    last: Any = 0.0


def asks_for_the_number(x: Any) -> Any:
    try:
        Holder.last = x.sum().item()
    except Exception:  # noqa: BLE001
        Holder.last = None
    return x


def decides(x: Any) -> Any:
    try:
        if x.sum() > 0:
            return 2 * x
    except Exception:  # noqa: BLE001
        pass
    return 3 * x


def suppresses(x: Any) -> Any:
    weight = 1.0
    with contextlib.suppress(RuntimeError, ValueError, TypeError):
        weight = float(x.sum())
    return x * weight


def returns_in_the_end(x: Any) -> Any:
    weight = 1.0
    try:
        weight = x.sum().item()
    finally:
        return x * weight  # noqa: B012


def asks_for_an_array(x: Any) -> Any:
    try:
        most = x.numpy().max()
    except RuntimeError:
        most = 4.0
    return x * most


def raises_another(x: Any) -> Any:
    try:
        return x * float(x.sum())
    except RuntimeError:
        raise KeyError("weight") from None


def calculates_with_nothing(x: Any) -> Any:
    try:
        weight: Any = float(x.sum())
    except RuntimeError:
        weight = None
    return x * weight


CATCH = [
    asks_for_the_number, decides, suppresses, returns_in_the_end, asks_for_an_array, raises_another,
    calculates_with_nothing,
]  # fmt: skip


@pytest.mark.parametrize("function", CATCH, ids=lambda function: function.__name__)
def test_a_caught_refusal_is_a_refusal(function: Callable[[Any], Any]) -> None:
    with pytest.raises(TraceError, match=r"test_caught_refusals\.py, line \d+; the code that is traced catches this"):
        cr.compile(function)(cr.ones(3))
    assert function(cr.ones(3)).shape == (3,)


def test_what_was_set_after_it_was_caught_is_put_back() -> None:
    box = Holder()
    box.last = 0.0

    @cr.compile
    def function(x: Any) -> Any:
        try:
            box.last = x.sum().item()
        except RuntimeError:
            box.last = None
        return x

    with pytest.raises(TraceError):
        function(cr.ones(3))
    assert box.last == 0.0


@pytest.mark.parametrize("shape", [(8, 4), (6, 4), (5, 4)])
def test_a_size_that_decides_whether_the_code_catches_an_error_is_traced_for(shape: tuple[int, ...]) -> None:
    def function(x: Any) -> Any:
        try:
            return x.reshape(4, -1, 2)
        except ShapeError:
            return 7 * x

    compiled = cr.compile(function)
    for rows in (shape[0], 8, 7, shape[0]):
        x = cr.tensor(np.arange(4 * rows, dtype=np.float32).reshape(rows, 4))
        found, expected = compiled(x), function(x)
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_errors_of_the_code_itself_may_be_caught() -> None:
    table = {"a": 2.0}

    @cr.compile
    def function(x: Any) -> Any:
        try:
            x = x * table["b"]
        except KeyError:
            x = x * table["a"]
        try:
            x = x @ cr.ones(5)
        except ShapeError:
            x = x + 1
        with contextlib.suppress(AttributeError):
            x = x.weight
        return x + hasattr(x, "nothing")

    for _ in range(3):
        assert function(cr.ones(3)).tolist() == [3, 3, 3]
    assert len(function.graphs) == 1


class Scaled(nn.Module):
    """Divides by a number that it asks for, where it can."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x: Any) -> Any:
        try:
            scale = float(x.detach().abs().max())
        except RuntimeError:
            scale = 1.0
        return self.layer(x / scale)


@pytest.mark.filterwarnings("ignore:not compiled:UserWarning")  # its history says it too
def test_fit_runs_such_a_model_uncompiled_and_says_so() -> None:
    rows = 100 * np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    targets = rows[:, :1] / 100
    weights = []
    for compiled in (False, True):
        cr.manual_seed(0)
        trainer = cr.Trainer(Scaled(), loss="mse", epochs=2, batch_size=8, progress=False, compile=compiled)
        trainer.fit((rows, targets))
        weights.append(trainer.model.layer.weight.tolist())
        if compiled:
            assert "not compiled: float()" in trainer.engine()
    assert weights[0] == weights[1]
