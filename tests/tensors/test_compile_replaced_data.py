"""``p.data = …``: the tensor gets other memory, and what looked at the old one keeps it; outside of compiled code and inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import TraceError

torch = pytest.importorskip("torch")


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


def assert_like_torch(program: Callable[[Any, Callable[[Any], Any]], Any]) -> None:
    """Run a program of a library and a decorator with PyTorch, and with chainrule eagerly and compiled."""
    expected = program(torch, lambda f: f)
    assert program(cr, lambda f: f) == expected
    assert program(cr, cr.compile) == expected


def outside(T: Any, compiled: Any) -> Any:
    w = T.nn.Parameter(T.arange(4.0))
    old, row = w.data, w.detach()[1:]
    f = compiled(lambda x: (x * w).sum() + 10 * old.sum() + 100 * row.sum())
    found = [f(T.ones(4)).item()]
    w.data = T.ones(4)
    found += [f(T.ones(4)).item(), old.tolist(), row.tolist()]
    row.fill_(2.0)
    return [*found, f(T.ones(4)).item(), old.tolist(), w.tolist()]


def before_the_first_call(T: Any, compiled: Any) -> Any:
    w = T.nn.Parameter(T.zeros(4))
    old, row = w.detach(), w.data[2:]
    w.data = T.ones(4)
    f = compiled(lambda x: (x * w).sum() + old.sum() + row.sum())
    found = [f(T.ones(4)).item()]
    with T.no_grad():
        w.mul_(3)
        old.add_(1)
    return [*found, f(T.ones(4)).item(), row.tolist()]


def inside(T: Any, compiled: Any) -> Any:
    w = T.nn.Parameter(T.zeros(4))
    old, row = w.data, w.detach()[1:]

    def f(x: Any) -> Any:
        w.data = w.detach() + x
        return (w.sum() + 10 * old.sum() + 100 * row.sum()).detach()

    g = compiled(f)
    return [(g(k * T.ones(4)).item(), old.tolist(), row.tolist(), w.tolist()) for k in (1, 2, 3)]


def steps_that_replace(T: Any, compiled: Any) -> Any:
    model = T.nn.Linear(3, 1)
    for p in model.parameters():
        p.data = T.ones(*p.shape)
    start = [p.data for p in model.parameters()]

    def step(x: Any) -> Any:
        model.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        for p in model.parameters():
            p.data = p.data - 0.125 * p.grad
        return loss.detach()

    run = compiled(step)
    losses = [run(T.ones(2, 3)).item() for _ in range(3)]
    drift = sum(((p - s) ** 2).sum() for p, s in zip(model.parameters(), start, strict=True)).item()
    return losses, drift, [s.tolist() for s in start]


def drift_from_the_start(T: Any, compiled: Any) -> Any:
    model = T.nn.Linear(3, 2)
    start = [p.data for p in model.parameters()]
    f = compiled(lambda: sum(((p - s) ** 2).sum() for p, s in zip(model.parameters(), start, strict=True)))
    found = [f().item()]
    for p in model.parameters():
        p.data = p.data.mul(0) + 1.0
        p.data = p.data + 1.0
    for s in start:
        s.zero_()
    return [*found, f().item()]


def in_another_order(T: Any, compiled: Any) -> Any:
    w = T.ones(2, 3)

    def f(x: Any) -> Any:
        w.reshape(-1).add_(x)  # of what does not lie in one piece a copy, of which w learns nothing
        return w.sum()

    g = compiled(f)
    found = [g(T.ones(6)).item(), w.tolist()]
    w.data = T.arange(6.0).reshape(3, 2).T
    found += [g(T.ones(6)).item(), w.tolist()]
    w.data = T.arange(6.0).reshape(2, 3)
    return [*found, g(T.ones(6)).item(), w.tolist()]


PROGRAMS = (outside, before_the_first_call, inside, steps_that_replace, drift_from_the_start, in_another_order)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_what_shared_the_memory_keeps_the_old_one(program: Callable[[Any, Callable[[Any], Any]], Any]) -> None:
    assert_like_torch(program)


def test_arrays_that_look_at_the_old_memory_keep_it_too() -> None:
    w = nn.Parameter(cr.zeros(3))
    array = w.detach().numpy()

    @cr.compile
    def f(x):
        w.data = w.detach() + x
        return w.sum().detach()

    assert [f(cr.ones(3)).item() for _ in range(3)] == [3, 6, 9]
    assert array.tolist() == [0, 0, 0]


def test_many_runs_in_one_call_leave_the_old_memory_to_others() -> None:
    w = nn.Parameter(cr.zeros(2))
    old = w.data

    def f(x):
        w.data = w.detach() + x.sum(0)
        return w.sum().detach() + old.sum()

    rows = np.ones((6, 2), np.float32)
    assert cr.compile(f).over(rows, batch_size=2).tolist() == [4, 8, 12]
    assert old.tolist() == [0, 0]
    assert w.tolist() == [6, 6]


def test_an_argument_that_shares_the_new_memory_is_seen() -> None:
    w = nn.Parameter(cr.ones(3))

    @cr.compile
    def f(x):
        with cr.no_grad():
            w.mul_(2)
        return x.sum() + w.sum()

    f(cr.ones(3))
    w.data = cr.ones(3)
    alias = w.detach()
    with pytest.raises(TraceError, match="shares memory with x"):
        f(alias)
    assert w.tolist() == [1, 1, 1]


def test_a_model_that_changes_its_dtype_leaves_the_old_weights_to_others() -> None:
    model = nn.Linear(2, 2)
    old, row = model.weight.data, model.weight.detach()[0]
    model.double()
    old.fill_(5.0)
    assert row.tolist() == [5, 5]
    f = cr.compile(lambda x: model(x).sum() + old.sum() + row.sum())
    x = cr.ones(1, 2, dtype=cr.float64)
    assert f(x).item() == pytest.approx(model(x).sum().item() + 30)


def test_other_data_for_a_view_is_refused_inside() -> None:
    flat = cr.zeros(4)
    part = flat[:2]

    @cr.compile
    def f(x):
        part.data = x * 2
        return part.sum()

    with pytest.raises(TraceError, match="view of another one"):
        f(cr.ones(2))
    assert flat.tolist() == [0, 0, 0, 0]


def test_writes_into_what_was_left_are_refused_inside() -> None:
    w = nn.Parameter(cr.zeros(2))
    old = w.data

    @cr.compile
    def f(x):
        w.data = x
        old.add_(1)
        return w.sum()

    with pytest.raises(TraceError, match="gave other data"):
        f(cr.ones(2))
    assert (w.tolist(), old.tolist()) == ([0, 0], [0, 0])
