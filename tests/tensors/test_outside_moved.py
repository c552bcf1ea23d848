"""States and gradients that change places: an attribute gets what another one held, gradients are handed on or swapped."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest

import chainrule as cr
from chainrule import nn


@pytest.fixture(autouse=True, params=["interpreter", "native"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


class State:
    """What a user keeps between steps."""

    def __init__(self) -> None:
        self.cur = self.prev = cr.zeros(2)
        self.older: Any = None
        self.pair: Any = (self.cur, self.cur)
        self.flat: Any = None
        self.part = nn.BatchNorm1d(2)


def numbers(x: Any) -> Any:
    """Return the values of tensors in a nest."""
    if isinstance(x, cr.Tensor):
        return x.reshape(-1).tolist()
    return [numbers(part) for part in x] if isinstance(x, (list, tuple)) else x


def shifts(s: Any, x: Any) -> None:
    s.prev = s.cur
    s.cur = x + s.cur


def shifts_three(s: Any, x: Any) -> None:
    s.older = s.prev
    s.prev = s.cur
    s.cur = s.cur * 0.5 + x


def shifts_a_history_that_begins_with_none(s: Any, x: Any) -> None:
    s.older = s.prev if s.older is not None else s.cur
    s.prev = s.cur
    s.cur = s.cur + x


def swaps(s: Any, x: Any) -> None:
    s.cur = x * 2
    s.prev, s.cur = s.cur, s.prev


def keeps_a_detached_one(s: Any, x: Any) -> None:
    old = s.cur
    s.cur = x * 3 + old
    s.prev = old.detach()


def keeps_a_view(s: Any, x: Any) -> None:
    s.prev = s.cur[:1]
    s.cur = x + s.cur


def keeps_a_nest(s: Any, x: Any) -> None:
    s.older = [s.cur, x * 1]
    s.cur = x + s.cur


def shifts_nests(s: Any, x: Any) -> None:
    s.older = s.pair
    s.pair = (x * 1, s.pair[0] + x)


def keeps_a_buffer(s: Any, x: Any) -> None:
    s.prev = s.part.running_mean
    s.part.running_mean = s.part.running_mean * 0.5 + x


def sets_what_is_there(s: Any, x: Any) -> None:
    s.prev = s.prev
    s.cur = s.cur + x + s.prev


STEPS = [step for step in list(vars().values()) if isinstance(step, FunctionType) and step.__name__[0] in "sk"]


def left(s: State) -> Any:
    return [numbers(part) for part in (s.cur, s.prev, s.older, s.pair, s.part.running_mean)]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
@pytest.mark.parametrize("how", ["single", "repeat", "over"])
def test_a_state_that_moves_on_is_what_eager_mode_leaves(step: Callable[..., None], how: str) -> None:
    ours, expected = State(), State()

    def advance(x: Any) -> Any:
        x = x.reshape(2)
        step(ours, x)
        return ours.cur.sum()

    compiled = cr.compile(advance)
    rows = cr.arange(12.0).reshape(6, 2)
    for k in range(6):
        row = rows[k] if how != "repeat" else rows[1]
        step(expected, row)
        if how == "single":
            compiled(rows[k : k + 1])
            assert left(ours) == left(expected)
    if how == "repeat":
        compiled.repeat(rows[1:2], times=6)
    elif how == "over":
        compiled.over(rows, batch_size=1)
    assert left(ours) == left(expected)


def test_views_of_what_a_step_made_see_what_becomes_of_it() -> None:
    def step(s: Any, x: Any) -> Any:
        if s.flat is None:
            s.flat = cr.zeros(4)
            s.head, s.tail = s.flat[:2], s.flat[2:]
        s.head.add_(x)
        s.tail.sub_(x)
        return s.flat.sum() + s.head.sum()

    ours, expected = State(), State()
    compiled = cr.compile(lambda x: step(ours, x))
    for k in range(4):
        assert compiled(cr.ones(2) * k).item() == step(expected, cr.ones(2) * k).item()
        assert ours.flat.tolist() == expected.flat.tolist()
    ours.flat.fill_(7)
    assert ours.head.tolist() == [7, 7]


def test_two_views_of_what_a_step_made_share_its_memory() -> None:
    s = State()

    def step(x: Any) -> Any:
        y = x * 2
        s.cur, s.prev = y[:2], y[1:].detach()
        return y.sum()

    cr.compile(step)(cr.ones(3))
    s.cur[1] = 5.0
    assert s.prev.tolist() == [5, 2]


def test_views_of_an_argument_see_what_the_caller_writes_into_it() -> None:
    s = State()

    def step(x: Any) -> Any:
        s.cur, s.prev, s.older = x, x[0], x.detach()[1:]
        return x.sum()

    compiled = cr.compile(step)
    for _ in range(2):
        x = cr.zeros(3, 2)
        compiled(x)
        x.fill_(4.0)
        assert numbers([s.cur, s.prev, s.older]) == [[4.0] * 6, [4.0] * 2, [4.0] * 4]


def test_an_argument_that_is_kept_and_written_into_is_the_callers() -> None:
    s = State()

    def step(x: Any, y: Any) -> Any:
        s.cur = x
        s.cur.mul_(0.5)
        y.add_(1)
        s.older = [y]
        return x.sum()

    compiled = cr.compile(step)
    for _ in range(3):
        x, y = cr.full((2,), 4.0), cr.zeros(2)
        compiled(x, y)
        x.add_(10)
        y.add_(10)
        assert numbers([s.cur, s.older]) == [[12.0, 12.0], [[11.0, 11.0]]]


# -- gradients -------------------------------------------------------------------------------------------------------------


class Learner:
    """Two parameters, and an optimizer of each."""

    def __init__(self) -> None:
        self.p, self.q = nn.Parameter(cr.ones(2)), nn.Parameter(cr.full((2,), 2.0))
        self.of_p, self.of_q = cr.optim.SGD([self.p], lr=0.1, momentum=0.9), cr.optim.SGD([self.q], lr=0.05)
        self.g: Any = cr.zeros(2)

    def left(self) -> Any:
        return [numbers(part) for part in (self.p.detach(), self.q.detach(), self.p.grad, self.q.grad, self.g)]


def keeps_the_last_gradient(a: Any, x: Any) -> None:
    a.g = a.p.grad
    a.p.grad = None
    (a.p * x).pow(2).sum().backward()


def keeps_the_last_gradient_detached(a: Any, x: Any) -> None:
    a.g = None if a.p.grad is None else a.p.grad.detach()
    a.of_p.zero_grad()
    (a.p * x).pow(2).sum().backward()


def keeps_this_gradient(a: Any, x: Any) -> None:
    a.of_p.zero_grad(set_to_none=False)
    (a.p * x).sum().backward()
    a.g = a.p.grad
    a.of_p.step()


def swaps_gradients(a: Any, x: Any) -> None:
    (a.p * x + a.q * a.q * x).sum().backward()
    a.p.grad, a.q.grad = a.q.grad, a.p.grad
    a.of_p.step()
    a.of_q.step()


def hands_a_gradient_on(a: Any, x: Any) -> None:
    a.p.grad = a.q.grad
    a.q.grad = None
    (a.q * x).sum().backward()


def takes_a_kept_one_as_gradient(a: Any, x: Any) -> None:
    a.p.grad = a.g
    (a.p * x).sum().backward()
    a.of_p.step()
    a.g = x * 2


GRADIENTS = [
    keeps_the_last_gradient, keeps_the_last_gradient_detached, keeps_this_gradient, swaps_gradients, hands_a_gradient_on,
    takes_a_kept_one_as_gradient,
]  # fmt: skip


@pytest.mark.parametrize("step", GRADIENTS, ids=lambda step: step.__name__)
@pytest.mark.parametrize("start", ["none", "apart", "one"])
def test_gradients_that_move_on_are_what_eager_mode_leaves(step: Callable[..., None], start: str) -> None:
    def made() -> Learner:
        a = Learner()
        if start != "none":
            a.p.grad, a.q.grad = cr.full((2,), 7.0), cr.full((2,), 8.0)
        if start == "one":
            a.g = a.p.grad
        return a

    ours, expected = made(), made()

    def train(x: Any) -> Any:
        step(ours, x)
        return x.sum()

    compiled = cr.compile(train, keep_gradients=True)
    for k in range(8):
        x = cr.full((2,), 0.5 + k / 4)
        compiled(x)
        step(expected, x)
        assert ours.left() == expected.left()
        if k in (3, 5):  # the caller clears them
            ours.p.grad = expected.p.grad = None
