"""Tensors of one NumPy array, which share memory that neither knows of: what is written through one is not lost on the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import TraceError
from chainrule.tensors.overlaps import Spans


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


def two(array: Any) -> tuple[Any, Any]:
    return cr.from_numpy(array), cr.from_numpy(array)


PAIRS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "the same array": two,
    "views of it": lambda array: (cr.from_numpy(array[:]), cr.from_numpy(array[:])),
    "a part": lambda array: (cr.from_numpy(array), cr.from_numpy(array[2:])),
    "parts that overlap": lambda array: (cr.from_numpy(array[:3]), cr.from_numpy(array[1:])),
    "every other row": lambda array: (cr.from_numpy(array[::2]), cr.from_numpy(array[2:])),
    "by as_tensor": lambda array: (cr.as_tensor(array), cr.asarray(array)),
    "by numpy()": lambda array: (p := cr.from_numpy(array), cr.from_numpy(p.numpy())),
}


@pytest.mark.parametrize("name", PAIRS)
def test_one_is_written_and_the_other_one_read(name: str) -> None:
    array = np.ones((4, 2), np.float32)
    a, b = PAIRS[name](array)

    @cr.compile
    def f(x):
        a.mul_(2)
        return b.sum() + x.sum()

    for _ in range(2):
        with pytest.raises(TraceError, match="shares memory with another one from outside"):
            f(cr.ones(1))
    assert (array == 1).all()


APART: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "halves": lambda array: (cr.from_numpy(array[:2]), cr.from_numpy(array[2:])),
    "rows in turn": lambda array: (cr.from_numpy(array[::2]), cr.from_numpy(array[1::2])),
    "columns": lambda array: (cr.from_numpy(array[:, 0]), cr.from_numpy(array[:, 1])),
}


@pytest.mark.parametrize("name", APART)
def test_parts_that_share_nothing_are_used_together(name: str) -> None:
    array = np.ones((4, 2), np.float32)
    a, b = APART[name](array)

    @cr.compile
    def f(x):
        a.mul_(2)
        return (b.sum() + x.sum()).detach()

    assert [f(cr.ones(1)).item() for _ in range(2)] == [5, 5]
    assert array.sum() == 4 * 4 + 4


def test_tensors_of_one_array_that_are_only_read_are_used_together() -> None:
    a, b = two(np.ones(3, np.float32))
    f = cr.compile(lambda x: (a * b * x).sum())
    assert f(cr.ones(3)).item() == 3


@pytest.mark.parametrize("make", [cr.from_numpy, cr.as_tensor, cr.asarray], ids=lambda make: make.__name__)
def test_writes_into_a_tensor_that_the_code_makes_of_an_array_are_refused(make: Callable[[Any], Any]) -> None:
    buffer = np.zeros((3, 2), np.float32)

    @cr.compile
    def remember(x, i):
        make(buffer)[i] = x
        return x.sum()

    with pytest.raises(TraceError, match="makes of a NumPy array"):
        remember(cr.ones(1, 2), cr.tensor([1]))
    assert (buffer == 0).all()


def test_writes_into_a_copy_of_an_array_are_not() -> None:
    buffer = np.zeros((3, 2), np.float32)

    @cr.compile
    def f(x, i):
        memory = cr.tensor(buffer)
        memory[i] = x
        return memory.sum()

    assert f(cr.ones(1, 2), cr.tensor([1])).item() == 2
    assert (buffer == 0).all()


def test_a_buffer_that_is_written_and_read_anew_is_refused() -> None:
    buffer = np.zeros((3, 2), np.float32)
    store = cr.from_numpy(buffer)

    @cr.compile
    def f(x, i):
        store[i] = x
        return cr.from_numpy(buffer).sum()

    with pytest.raises(TraceError, match="shares memory"):
        f(cr.ones(1, 2), cr.tensor([1]))


@pytest.mark.parametrize(
    "give", [lambda array: array, lambda array: array[1:], cr.from_numpy], ids=["all", "part", "tensor"]
)
def test_an_argument_that_looks_at_what_is_written(give: Callable[[Any], Any]) -> None:
    array = np.ones((3, 2), np.float32)
    state = cr.from_numpy(array)

    @cr.compile
    def f(x):
        state.mul_(2)
        return x.sum()

    assert f(np.ones((3, 2), np.float32)).item() == 6
    assert (array == 2).all()
    with pytest.raises(TraceError, match="shares memory with x"):
        f(give(array))
    assert (array == 2).all()
    assert f(np.ones((3, 2), np.float32)).item() == 6
    assert (array == 4).all()


def test_a_parameter_that_is_an_argument_too_by_its_array() -> None:
    layer = nn.Linear(2, 2)
    optimizer = cr.optim.SGD(layer.parameters(), lr=0.1)

    @cr.compile
    def step(x):
        optimizer.zero_grad()
        loss = layer(x).sum()
        loss.backward()
        optimizer.step()
        return loss

    step(np.ones((2, 2), np.float32))
    before = layer.weight.detach().numpy().copy()
    with pytest.raises(TraceError, match="shares memory with x"):
        step(layer.weight.detach().numpy())
    assert (layer.weight.detach().numpy() == before).all()


def test_spans_find_what_shares_an_element() -> None:
    array = np.zeros((6, 4), np.float32)
    spans = Spans([array[0], array[2], array[4:, 1]])
    seen = {
        "row 0": array[0],
        "in row 2": array[2, 1:3],
        "column 1": array[:, 1],
        "all": array,
        "the end": array[5],
    }
    others = {
        "row 1": array[1],
        "row 3": array[3],
        "column 2 of the end": array[4:, 2],
        "elsewhere": np.zeros(3),
        "nothing": array[2:2],
    }
    assert all(spans.are_seen_by(value) for value in seen.values())
    assert not any(spans.are_seen_by(value) for value in others.values())
    assert not Spans([]).are_seen_by(array)


def tensors_kept(T: Any, compiled: Any, *, state: bool) -> tuple[list[float], list[float]]:
    p = T.nn.Parameter(T.ones(3))
    optimizer = T.optim.SGD([p], lr=0.1, momentum=0.9)
    p.sum().backward()
    optimizer.step()
    kept = optimizer.state[p]["momentum_buffer"] if state else p.grad

    def f(x: Any) -> Any:
        if state:
            optimizer.zero_grad()
        (p * x).sum().backward()
        if state:
            optimizer.step()
        return kept.sum() * 1.0

    run = compiled(f)
    found = [run(T.ones(3)).item()]
    if state:
        optimizer.state[p]["momentum_buffer"] = T.zeros(3)
    else:
        p.grad = T.zeros(3)
    found += [run(T.ones(3)).item(), run(T.ones(3)).item()]
    return found, p.tolist()


@pytest.mark.parametrize("state", [True, False], ids=["momentum", "gradient"])
def test_a_state_or_gradient_that_is_kept_and_replaced(state: bool) -> None:
    torch = pytest.importorskip("torch")
    expected = tensors_kept(torch, lambda f: f, state=state)
    for found, numbers in zip(tensors_kept(cr, cr.compile, state=state), expected, strict=True):
        np.testing.assert_allclose(found, numbers, rtol=1e-6)


def view_of_a_gradient(T: Any, compiled: Any) -> list[float]:
    p = T.nn.Parameter(T.ones(2, 2))
    p.grad = T.zeros(2, 2)
    row = p.grad[0]

    def f(x: Any) -> Any:
        (p * x).sum().backward()
        return row.sum() * 1.0

    run = compiled(f)
    found = [run(T.ones(2, 2)).item() for _ in range(2)]
    p.grad = T.zeros(2, 2)
    return [*found, *[run(T.ones(2, 2)).item() for _ in range(2)]]


def test_a_view_of_a_gradient_that_is_replaced() -> None:
    torch = pytest.importorskip("torch")
    assert view_of_a_gradient(cr, cr.compile) == view_of_a_gradient(torch, lambda f: f)


def test_a_state_that_shares_memory_with_what_is_written_is_refused() -> None:
    array = np.ones(3, np.float32)
    written = cr.from_numpy(array)

    class Cell:
        h = None

    cell = Cell()
    cell.h = cr.zeros(3)

    @cr.compile
    def f(x):
        written.mul_(2)
        cell.h = cell.h + x
        return cell.h.sum() + written.sum()

    x = cr.ones(3)
    assert [f(x).item(), f(x).item()] == [3 + 6, 6 + 12]
    cell.h = cr.from_numpy(array)
    with pytest.raises(TraceError, match="shares memory"):
        f(x)
    cell.h = cr.zeros(3)
    assert f(x).item() == 3 + 24
