"""One tensor that is an argument of a compiled function and known to it by name: read it may be, beside the same code run eagerly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import TraceError

X = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


GIVE: dict[str, Callable[[Any], Any]] = {
    "itself": lambda w: w,
    "rows": lambda w: w[:4],
    "every other row": lambda w: w[::2],
    "detached": lambda w: w.detach(),
    "data": lambda w: w.data,
    "another": lambda w: w.detach().clone(),
}


@pytest.mark.parametrize("first", GIVE)
@pytest.mark.parametrize("name", GIVE)
def test_both_are_read(first: str, name: str) -> None:
    w = cr.tensor(X)

    def distances(x: Any) -> Any:
        return ((x[:, None] - w[None]) ** 2).sum(-1)

    compiled = cr.compile(distances)
    for give in (GIVE[first], GIVE[name], GIVE[name]):
        for _ in range(3):
            np.testing.assert_allclose(compiled(give(w)).numpy(), distances(give(w)).numpy(), rtol=1e-5)
    w.mul_(2)
    np.testing.assert_allclose(compiled(GIVE[name](w)).numpy(), distances(GIVE[name](w)).numpy(), rtol=1e-5)
    assert len(compiled.graphs) <= 2  # one row after the other, or not


@pytest.mark.parametrize("name", GIVE)
def test_a_parameter_is_read_without_gradients(name: str) -> None:
    w = nn.Parameter(cr.tensor(X))

    @cr.compile
    def similar(x: Any) -> Any:
        with cr.no_grad():
            return x @ w.t()

    with cr.no_grad():
        given = GIVE[name](w)
    np.testing.assert_allclose(similar(given).numpy(), given.detach().numpy() @ w.detach().numpy().T, rtol=1e-5)


def test_a_gradient_goes_to_the_one_that_wants_it() -> None:
    def run(*, compiled: bool) -> Any:
        w = nn.Parameter(cr.tensor(X))

        def f(x: Any) -> Any:
            (x * w).sum().backward()

        (cr.compile(f) if compiled else f)(w.detach())
        return w.grad.numpy()

    np.testing.assert_allclose(run(compiled=True), run(compiled=False))


def backward(x: Any, w: Any) -> None:
    (x * w).sum().backward()


def gradient(x: Any, w: Any) -> Any:
    return cr.autograd.grad((x * w).sum(), [w])[0]


@pytest.mark.parametrize("is_traced", [False, True], ids=["at first", "at a run"])
@pytest.mark.parametrize("function", [backward, gradient])
def test_a_gradient_that_both_would_share_is_refused(function: Any, is_traced: bool) -> None:
    w = nn.Parameter(cr.tensor(X))
    compiled = cr.compile(lambda x: function(x, w))
    if is_traced:
        for _ in range(4):
            compiled(nn.Parameter(cr.ones(6, 3)))
    before = None if w.grad is None else w.grad.clone()
    with pytest.raises(TraceError, match="shares memory with x, and does more than to read both"):
        compiled(w)
    assert (w.grad is None) if before is None else cr.equal(w.grad, before)


def write_outside(x: Any, w: Any) -> Any:
    w.add_(1)
    return x.sum()


def write_argument(x: Any, w: Any) -> Any:
    x.add_(1)
    return w.sum()


def write_a_view_of_it(x: Any, w: Any) -> Any:
    x[0].add_(1)
    return w.sum()


def write_before_it_is_read(x: Any, w: Any) -> Any:
    w[0].zero_()
    return (x * w).sum()


WRITES = [write_outside, write_argument, write_a_view_of_it, write_before_it_is_read]


@pytest.mark.parametrize("is_traced", [False, True], ids=["at first", "at a run"])
@pytest.mark.parametrize("name", ["itself", "rows", "every other row", "detached", "data"])
@pytest.mark.parametrize("function", WRITES)
def test_a_write_through_one_of_them_is_refused(function: Any, name: str, is_traced: bool) -> None:
    w = cr.tensor(X)

    @cr.compile
    def f(x: Any) -> Any:
        return function(x, w[: len(x)])

    if is_traced:
        f(GIVE[name](cr.ones(6, 3)))
    before = w.numpy().copy()
    with pytest.raises(TraceError, match="shares memory with x"):
        f(GIVE[name](w))
    np.testing.assert_array_equal(w.numpy(), before)


def test_a_step_into_a_weight_at_which_an_argument_looks_is_refused() -> None:
    w = nn.Parameter(cr.tensor(X))
    o = optim.SGD([w], lr=0.1)

    @cr.compile
    def step(x: Any) -> Any:
        o.zero_grad()
        (x * w).sum().backward()
        o.step()
        return x.sum()

    with pytest.raises(TraceError, match="shares memory with x"):
        step(w.detach())
    step(cr.ones(6, 3))
    before = w.detach().numpy().copy()
    with pytest.raises(TraceError, match="shares memory with x"):
        step(w.detach())
    np.testing.assert_array_equal(w.detach().numpy(), before)


def test_a_state_that_is_an_argument_too() -> None:
    class Net:
        def __init__(self) -> None:
            self.h = cr.zeros(3)

    def run(*, compiled: bool) -> list[Any]:
        net = Net()

        def f(x: Any) -> Any:
            net.h = net.h * 0.5 + x + 1
            return net.h.sum()

        call = cr.compile(f) if compiled else f
        found = [call(net.h).item() for _ in range(4)]
        assert not compiled or len(call.graphs) <= 2
        return found

    np.testing.assert_allclose(run(compiled=True), run(compiled=False), rtol=1e-5)


def test_many_runs_in_one_call_read_both() -> None:
    w = cr.tensor(X)
    compiled = cr.compile(lambda x: x @ w.t())
    np.testing.assert_allclose(compiled.over(w, batch_size=2).numpy().reshape(6, 6), X @ X.T, rtol=1e-5)
    np.testing.assert_allclose(compiled.repeat(w, times=3).numpy(), [X @ X.T] * 3, rtol=1e-5)
