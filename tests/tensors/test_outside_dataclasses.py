"""State that objects keep as a dataclass of tensors: replaced at each call, or changed in place, it costs one trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


@dataclass
class State:
    h: Any
    c: Any
    decay: float = 0.5


@dataclass(frozen=True)
class Frozen:
    h: Any
    c: Any
    decay: float = 0.5


@dataclass
class Outer:
    inner: State
    count: Any


class Cell:
    def __init__(self, state: Any) -> None:
        self.state = state

    def new(self, x: Any) -> tuple[Any, Any]:
        s = self.state
        h = cr.tanh(x.mean(0) + s.decay * s.h)
        return h, s.c + h


class Replacing(Cell):
    def step(self, x: Any) -> Any:
        h, c = self.new(x)
        self.state = type(self.state)(h, c)
        return c.sum()


class ByReplace(Cell):
    def step(self, x: Any) -> Any:
        h, c = self.new(x)
        self.state = replace(self.state, h=h, c=c)
        return c.sum()


class InPlace(Cell):
    def step(self, x: Any) -> Any:
        self.state.h, self.state.c = self.new(x)
        return self.state.c.sum()


class Half(Cell):
    def step(self, x: Any) -> Any:
        h, c = self.new(x)
        self.state = State(h, self.state.c)
        return c.sum()


class Nested:
    def __init__(self, state: State) -> None:
        self.state = Outer(state, cr.zeros(()))

    def step(self, x: Any) -> Any:
        s = self.state
        h = cr.tanh(x.mean(0) + s.inner.h)
        self.state = Outer(State(h, s.inner.c + h), s.count + 1)
        return (self.state.inner.c * s.count).sum()


class Module(nn.Module):
    def __init__(self, state: State) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.state = state

    def step(self, x: Any) -> Any:
        h = cr.tanh(self.layer(x.mean(0)) + self.state.h).detach()
        self.state = State(h, self.state.c + h)
        return h.sum()


class Stack:
    """Two layers, each with a state; how these are kept is what derived classes say."""

    def __init__(self, states: Any) -> None:
        self.states = states

    @property
    def state(self) -> Any:
        first, second = self.states.values() if isinstance(self.states, dict) else self.states
        return Outer(first, second.c)

    def passed(self, x: Any, states: Any) -> Any:
        x = x.mean(0)
        for s in states:
            x = cr.tanh(x + s.decay * s.h)
            yield s, x

    def step(self, x: Any) -> Any:
        raise NotImplementedError


class FieldsInAList(Stack):
    def step(self, x: Any) -> Any:
        for s, h in self.passed(x, self.states):
            s.h, s.c = h, s.c + h
        return h.sum()


class OneFieldInAList(Stack):
    def step(self, x: Any) -> Any:
        for s, h in self.passed(x, self.states):
            s.h = h + s.c
        return h.sum()


class ListReplaced(Stack):
    def step(self, x: Any) -> Any:
        self.states = [State(h, s.c + h) for s, h in self.passed(x, self.states)]
        return self.states[-1].h.sum()


class FieldsInADict(Stack):
    def step(self, x: Any) -> Any:
        for s, h in self.passed(x, self.states.values()):
            s.h, s.c = h, s.c + h
        return h.sum()


class DictReplaced(Stack):
    def step(self, x: Any) -> Any:
        new = [State(h, s.c + h) for s, h in self.passed(x, self.states.values())]
        self.states = dict(zip(self.states, new, strict=True))
        return new[-1].h.sum()


def two() -> list[State]:
    return [State(cr.zeros(3), cr.zeros(3)) for _ in range(2)]


KINDS: dict[str, Callable[[], Any]] = {
    "replaced": lambda: Replacing(State(cr.zeros(3), cr.zeros(3))),
    "frozen": lambda: Replacing(Frozen(cr.zeros(3), cr.zeros(3))),
    "by replace()": lambda: ByReplace(State(cr.zeros(3), cr.zeros(3))),
    "in place": lambda: InPlace(State(cr.zeros(3), cr.zeros(3))),
    "one of two": lambda: Half(State(cr.zeros(3), cr.zeros(3))),
    "nested": lambda: Nested(State(cr.zeros(3), cr.zeros(3))),
    "of a module": lambda: Module(State(cr.zeros(3), cr.zeros(3))),
    "fields in a list": lambda: FieldsInAList(two()),
    "fields in a tuple": lambda: FieldsInAList(tuple(two())),
    "one field in a list": lambda: OneFieldInAList(two()),
    "a list that is replaced": lambda: ListReplaced(two()),
    "fields in a dict": lambda: FieldsInADict(dict(zip("ab", two(), strict=True))),
    "a dict that is replaced": lambda: DictReplaced(dict(zip("ab", two(), strict=True))),
}
SINGLE = [kind for kind in KINDS if "list" not in kind and "dict" not in kind and "tuple" not in kind]


def made(kind: str) -> Any:
    cr.manual_seed(0)
    return KINDS[kind]()


def tensors(state: Any) -> list[Any]:
    parts = [state.inner.h, state.inner.c, state.count] if isinstance(state, Outer) else [state.h, state.c]
    return [part.tolist() for part in parts]


@pytest.mark.parametrize("kind", KINDS)
def test_each_call_goes_on_from_the_state_of_the_one_before(kind: str) -> None:
    eager, cell = made(kind), made(kind)
    step = cr.compile(cell.step)
    for k in range(12):
        x = np.full((4, 3), 0.1 * k, np.float32)
        assert step(x).item() == pytest.approx(eager.step(cr.tensor(x)).item(), rel=1e-5), k
    for now, expected in zip(tensors(cell.state), tensors(eager.state), strict=True):
        np.testing.assert_allclose(now, expected, rtol=1e-5)
    assert len(step.graphs) <= 2
    assert "uncompiled" not in step.report()


@pytest.mark.parametrize("kind", SINGLE)
def test_another_state_from_outside_is_found(kind: str) -> None:
    eager, cell = made(kind), made(kind)
    step = cr.compile(cell.step)
    x = np.ones((4, 3), np.float32)
    for k in range(6):
        if k % 2:
            for one in (eager, cell):
                fresh = type(one.state.inner if kind == "nested" else one.state)(cr.full((3,), 0.5), cr.zeros(3))
                one.state = Outer(fresh, cr.ones(())) if kind == "nested" else fresh
        assert step(x).item() == pytest.approx(eager.step(cr.tensor(x)).item(), rel=1e-5), k


@pytest.mark.parametrize("kind", ["fields in a list", "a list that is replaced", "fields in a dict"])
def test_other_states_in_a_container_are_found(kind: str) -> None:
    eager, cell = made(kind), made(kind)
    step = cr.compile(cell.step)
    x = np.ones((4, 3), np.float32)
    for k in range(8):
        for one in (eager, cell):
            first = one.state.inner
            if k == 3:
                first.h = cr.full((3,), 0.5)
            if k == 5:
                one.states = dict(zip("ab", two(), strict=True)) if "dict" in kind else two()
        assert step(x).item() == pytest.approx(eager.step(cr.tensor(x)).item(), rel=1e-5), k


def test_a_number_in_the_dataclass_is_compared() -> None:
    eager, cell = made("replaced"), made("replaced")
    step = cr.compile(cell.step)
    x = np.ones((4, 3), np.float32)
    for k in range(4):
        if k == 2:
            for one in (eager, cell):
                one.state = State(one.state.h, one.state.c, decay=0.25)
        assert step(x).item() == pytest.approx(eager.step(cr.tensor(x)).item(), rel=1e-5), k


def test_a_dataclass_that_somebody_keeps_keeps_its_tensors() -> None:
    cell = made("replaced")
    step = cr.compile(cell.step)
    x = np.ones((4, 3), np.float32)
    kept = []
    for _ in range(3):
        step(x)
        kept.append(cell.state)
    assert len({tuple(state.c.tolist()) for state in kept}) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_many_runs_in_one_call(kind: str) -> None:
    eager, cell = made(kind), made(kind)
    rows = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
    found = cr.compile(cell.step).over(rows, batch_size=4)
    expected = [eager.step(cr.tensor(rows[k : k + 4])).item() for k in (0, 4, 8)]
    np.testing.assert_allclose(found.tolist(), expected, rtol=1e-5)
    for now, wanted in zip(tensors(cell.state), tensors(eager.state), strict=True):
        np.testing.assert_allclose(now, wanted, rtol=1e-5)
