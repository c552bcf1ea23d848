"""Arrays of NumPy's subclasses, memory maps above all: the same memory, wherever a compiled function meets them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import InPlaceError

NUMBERS = np.arange(12, dtype=np.float32).reshape(3, 4) + 1


class Own(np.ndarray):
    """A subclass of the user's."""


def mapped(folder: Path, mode: Any = "r+") -> Any:
    file = folder / "numbers"
    NUMBERS.tofile(file)
    return np.memmap(file, np.float32, mode, shape=(3, 4))


def loaded(folder: Path) -> Any:
    np.save(folder / "numbers.npy", NUMBERS)
    return np.load(folder / "numbers.npy", mmap_mode="c")


KINDS: dict[str, Callable[[Path], Any]] = {
    "memory map": mapped,
    "loaded as a map": loaded,
    "matrix": lambda folder: NUMBERS.copy().view(np.matrix),
    "masked": lambda folder: np.ma.array(NUMBERS.copy()),
    "own": lambda folder: NUMBERS.copy().view(Own),
    "a part of a map": lambda folder: np.vstack([NUMBERS, NUMBERS]).view(Own)[3:],
}


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


@pytest.fixture(params=KINDS)
def array(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return KINDS[request.param](tmp_path)


def test_as_an_argument(array: Any) -> None:
    double = cr.compile(lambda x: 2 * x)
    for _ in range(20):
        found = double(array)
        assert type(found.numpy()) is np.ndarray
        np.testing.assert_array_equal(found.numpy(), 2 * NUMBERS)
    np.testing.assert_array_equal(double.repeat(array, times=3)[-1].numpy(), 2 * NUMBERS)
    np.testing.assert_array_equal(cr.compile(lambda both: both["x"][0] + 1)({"x": [array]}).numpy(), NUMBERS + 1)


def test_as_an_argument_that_is_written(array: Any) -> None:
    @cr.compile
    def adds(x: Any) -> Any:
        x.add_(1)
        return x.sum()

    assert adds(array).item() == NUMBERS.sum() + 12
    np.testing.assert_array_equal(np.asarray(array), NUMBERS + 1)


def test_as_a_table_and_as_a_buffer(array: Any) -> None:
    table = cr.from_numpy(array)
    assert cr.compile(lambda i: table[i].sum())(cr.tensor([1, 2])).item() == NUMBERS[1:].sum()
    model = nn.Linear(4, 2)
    model.register_buffer("table", table)
    assert cr.compile(lambda x: (x + model.table[0]).sum())(cr.zeros(3, 4)).item() == 3 * NUMBERS[0].sum()
    np.testing.assert_array_equal((table * 2).numpy(), 2 * NUMBERS)


@pytest.mark.parametrize("how", ["call", "repeat"])
def test_as_a_parameter(array: Any, how: str) -> None:
    weight = nn.Parameter(cr.from_numpy(array))
    optimizer = cr.optim.SGD([weight], lr=0.5)

    @cr.compile
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = (weight * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    if how == "repeat":
        step.repeat(cr.ones(3, 4), times=4)
    else:
        for _ in range(4):
            step(cr.ones(3, 4))
    np.testing.assert_array_equal(weight.detach().numpy(), NUMBERS - 2)
    np.testing.assert_array_equal(np.asarray(array), NUMBERS - 2)


def test_a_parameter_in_a_file_that_is_open_for_reading_is_refused(tmp_path: Path) -> None:
    model = nn.Linear(4, 3)
    model.weight = nn.Parameter(cr.from_numpy(mapped(tmp_path, "r")))
    optimizer = cr.optim.SGD(model.parameters(), lr=0.5)

    @cr.compile
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        return loss

    bias = model.bias.tolist()
    rows = np.ones((8, 4), np.float32)
    for run in (lambda: step(rows), lambda: step.over(rows, batch_size=2), lambda: step.repeat(rows, times=5)):
        with pytest.raises(InPlaceError, match=r"writes to Linear\.weight, whose memory is read-only"):
            run()
    with pytest.raises(InPlaceError, match="read-only"):
        cr.fit(model, (rows, np.ones((8, 3), np.float32)), loss="mse", optimizer="sgd", epochs=2, progress=False)
    assert model.bias.tolist() == bias
    np.testing.assert_array_equal(model.weight.detach().numpy(), NUMBERS)
