"""The gradient of a large table is a few rows: it is never written whole, and has the interpreter's bits all the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from tests.compiler.native import assert_native

ROWS, WIDTH = 3000, 24  # 288 kB


def trained(compiled: str, monkeypatch: pytest.MonkeyPatch, numbers: list[np.ndarray[Any, Any]], clip: float) -> Any:
    monkeypatch.setenv("CHAINRULE_COMPILE", compiled)
    cr.manual_seed(0)
    table = nn.Embedding(ROWS, WIDTH)
    optimizer = cr.optim.SGD(table.parameters(), lr=0.1, momentum=0.9)

    @cr.compile
    def step(index: Any) -> Any:
        optimizer.zero_grad()
        loss = (table(index) * 3).abs().sum()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(table.parameters(), clip)
        optimizer.step()
        return loss

    for index in numbers:
        step(cr.tensor(index))
    if compiled == "1":
        assert_native(step.report())
        assert "scatter" in str(step.loops)
        wide = [line for line in str(step.loops).splitlines() if f"[{ROWS}, {WIDTH}]" in line and "memory" in line]
        assert not wide, "nothing of the table's size is in memory but the table and its momentum"
    return table.weight.detach().numpy()


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_a_table_is_trained_to_the_same_bits(clip: float, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    numbers = [
        random.integers(0, ROWS, 40),
        np.array([7] * 33),  # one row, again and again
        np.array([ROWS - 1, 0, ROWS - 1, 5, 0]),
        random.integers(0, 50, (6, 9)),  # two axes of numbers
        np.array([2]),
    ]
    native, interpreted = (trained(compiled, monkeypatch, numbers, clip) for compiled in "10")
    if clip:  # the norm is a long sum
        np.testing.assert_allclose(native, interpreted, rtol=2e-6)
    else:
        np.testing.assert_array_equal(native, interpreted)


def test_more_numbers_than_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [np.random.default_rng(1).integers(0, ROWS, 4 * ROWS)]
    native, interpreted = (trained(compiled, monkeypatch, numbers, 0) for compiled in "10")
    np.testing.assert_array_equal(native, interpreted)


def test_a_number_outside_of_the_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")

    @cr.compile
    def gradient(table: Any, index: Any) -> Any:
        table.grad = None
        (table[index] * 2).sum().backward()
        return table.grad

    table = cr.zeros(ROWS, WIDTH, requires_grad=True)
    found = gradient(table, cr.tensor(np.array([1, -1, 1]))).numpy()
    assert np.unique(found, return_counts=True)[1].tolist() == [WIDTH * (ROWS - 2), WIDTH, WIDTH]
    assert (found[1] == 4).all()
    assert (found[-1] == 2).all()
    with pytest.raises(cr.errors.IndexingError, match="3000"):
        gradient(table, cr.tensor(np.array([1, ROWS, 1])))
