"""Leaves that compiled code freezes, and modules that it switches, for a while; what it leaves so is refused at its line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import GradientError, TraceError
from chainrule.nn import functional as F
from tests.tensors.toggle_samples import (
    FROZEN,
    REAL,
    SWITCHED,
    assert_equal,
    flags_of,
    frozen,
    in_use,
    innermost_line,
    network,
)

X = np.array([[1.0, -2.0], [3.0, 5.0], [0.5, 1.0]], np.float32)
SAMPLES = FROZEN | SWITCHED


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_what_is_put_back_is_compiled_and_does_what_eager_mode_does(sample: Callable[[Any, Any], Any]) -> None:
    made: list[Any] = []

    def compiled(step: Any) -> Any:
        made.append(cr.compile(step, keep_gradients=True))
        return made[-1]

    assert_equal(sample(cr, compiled), sample(cr, lambda step: step))
    assert "uncompiled" not in made[0].report()
    # sizes 6 and 4 share a trace; gradients that are there the second time, and another mode, ask for one more
    assert len(made[0].graphs) <= 2, made[0].report()


def test_many_runs_in_one_call_are_those_of_one_after_the_other() -> None:
    def trained(*, at_once: bool) -> Any:
        cr.manual_seed(0)
        G, D = network(cr, 3, 4, 2), network(cr, 2, 4, 1, seed=2)
        of_g, of_d = cr.optim.Adam(G.parameters(), lr=0.01), cr.optim.SGD(D.parameters(), lr=0.02)

        @cr.compile
        def step(real: Any) -> Any:
            noise = cr.randn(real.shape[0], 3, dtype=cr.float64)
            of_d.zero_grad()
            loss = F.softplus(-D(real)).mean() + F.softplus(D(G(noise).detach())).mean()
            loss.backward()
            of_d.step()
            with frozen(D):
                of_g.zero_grad()
                other = F.softplus(-D(G(noise))).mean()
                other.backward()
                of_g.step()
            return loss, other

        rows = np.concatenate(REAL)
        if at_once:
            losses = [x.numpy() for x in step.over(rows, batch_size=4, passes=2)]
        else:
            found = [step(rows[k : k + 4]) for _ in range(2) for k in range(0, 16, 4)]
            losses = [np.stack([part[k].numpy() for part in found]) for k in range(2)]
        return losses, [p.detach().numpy() for p in (*G.parameters(), *D.parameters())]

    assert_equal(trained(at_once=True), trained(at_once=False))


# -- leaves that are left otherwise -------------------------------------------------------------------------------------------


def left_by_module(m: Any) -> None:
    m.requires_grad_(False)  # here


def left_by_parameter(m: Any) -> None:
    for p in m[0].parameters():
        p.requires_grad_(False)
        p.requires_grad_(True)
        p.requires_grad_(False)  # here


def left_by_assignment(m: Any) -> None:
    with frozen(m):
        pass
    m[2].bias.requires_grad = False  # here


@pytest.mark.parametrize("leave", [left_by_module, left_by_parameter, left_by_assignment])
def test_a_leaf_that_is_left_frozen_is_refused_and_is_as_before(leave: Callable[[Any], None]) -> None:
    m = network(cr, 2, 3, 1)
    left = []

    @cr.compile
    def step(x: Any) -> Any:
        y = (m(x) ** 2).sum()
        y.backward()
        if not left:
            leave(m)
        return y

    with pytest.raises(
        TraceError, match=r"requires_grad_\(False\) on a tensor from outside.*'step', which leaves it so"
    ) as e:
        step(REAL[0])
    assert innermost_line(e.value, __file__).endswith("# here")
    assert flags_of(m) == [True] * 4
    assert [p.grad for p in m.parameters()] == [None] * 4
    left.append(1)
    step(REAL[0])
    assert all(p.grad is not None for p in m.parameters())


def test_a_leaf_that_is_left_thawed_is_refused() -> None:
    w = cr.ones(2)

    @cr.compile
    def step(x: Any) -> Any:
        w.requires_grad_()  # here
        (x @ w).sum().backward()
        return w.grad

    with pytest.raises(TraceError, match=r"requires_grad_\(True\) on a tensor from outside.*leaves it so") as e:
        step(X)
    assert innermost_line(e.value, __file__).endswith("# here")
    assert not w.requires_grad
    assert w.grad is None


def test_an_argument_that_is_left_frozen_is_refused() -> None:
    w = cr.ones(2, requires_grad=True)

    @cr.compile
    def step(x: Any, w: Any) -> Any:
        w.requires_grad_(False)  # here
        return x @ w

    with pytest.raises(TraceError, match="leaves it so") as e:
        step(X, w)
    assert innermost_line(e.value, __file__).endswith("# here")
    assert w.requires_grad


def test_a_frozen_leaf_that_becomes_the_result_of_operations_is_refused() -> None:
    w, v = cr.ones(2, requires_grad=True), cr.ones(2, requires_grad=True)

    @cr.compile
    def step(x: Any) -> Any:
        w.requires_grad_(False)  # here
        w.mul_(v)
        w.requires_grad_(True)
        return x @ w

    with pytest.raises(TraceError, match="written into with a tape while it was frozen") as e:
        step(X)
    assert innermost_line(e.value, __file__).endswith("# here")
    assert w.tolist() == [1, 1]


def test_only_leaves_of_numbers_with_a_point_can_be_told() -> None:
    counts = cr.tensor([1, 2])

    def step(x: Any) -> Any:
        counts.requires_grad_()
        return x

    for function in (step, cr.compile(step)):
        with pytest.raises(GradientError, match=r"requires_grad_\(\) on a tensor of int64"):
            function(cr.ones(2))
    with pytest.raises(GradientError, match="that an operation made"):
        cr.compile(lambda x, w: (x * w).requires_grad_(False))(cr.ones(2), cr.ones(2, requires_grad=True))


def test_a_frozen_leaf_outside_has_another_trace() -> None:
    m = network(cr, 2, 3, 1)

    @cr.compile(keep_gradients=True)
    def step(x: Any) -> Any:
        m.zero_grad()
        with frozen(m[0]):
            y = (m(x) ** 2).sum()
        y.backward()
        return y

    step(REAL[0])
    assert [p.grad is None for p in m.parameters()] == [True, True, False, False]
    m[2].bias.requires_grad_(False)
    step(REAL[0])
    assert [p.grad is None for p in m.parameters()] == [True, True, False, True]
    assert flags_of(m) == [True, True, True, False]
    assert len(step.graphs) == 2


def test_no_gradient_reaches_a_leaf_that_was_frozen_after_it_was_used() -> None:
    w = cr.ones(2, requires_grad=True)
    y = (w * 2).sum()
    w.requires_grad_(False)
    y.backward(retain_graph=True)
    assert w.grad is None
    w.requires_grad_(True)
    y.backward()
    assert w.grad.tolist() == [2, 2]


# -- errors between ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ValueError, TypeError, KeyboardInterrupt])
@pytest.mark.parametrize("is_careful", [True, False])
def test_an_error_in_between_leaves_the_model_as_it_was(kind: type[BaseException], is_careful: bool) -> None:
    m = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))
    fails = [True]

    @cr.compile
    def step(x: Any) -> Any:
        with contextlib.ExitStack() as stack:
            if is_careful:
                stack.enter_context(frozen(m))
                stack.enter_context(in_use(m))
            else:
                m.requires_grad_(False)
                m.eval()
            y = m(x).sum()
            if fails:
                raise kind("in between")
            if not is_careful:
                m.requires_grad_(True)
                m.train()
        return y + m(x).sum() * 0

    for _ in range(2):
        with pytest.raises(kind, match="in between"):
            step(X)
        assert flags_of(m) == [True] * 6
        assert all(part.training for part in m.modules())
    fails.clear()
    assert step(X).shape == ()
    assert all(part.training for part in m.modules())


def test_a_caught_error_in_between_is_no_matter() -> None:
    m = network(cr, 2, 3, 1)

    @cr.compile
    def step(x: Any) -> Any:
        try:
            with frozen(m), in_use(m):
                raise ValueError
        except ValueError:
            y = m(x).sum()
        y.backward()
        return y

    step(REAL[0])
    assert all(p.grad is not None for p in m.parameters())
    assert m.training
