"""The same gradients, aliases and refusals as PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from tests.tolerances import assert_close

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True"),  # PyTorch's advice
]

RANDOM = np.random.default_rng(0)
X, V = RANDOM.normal(size=(3, 4)), RANDOM.normal(size=(3, 4))


def leaf(lib: Any, value: Any) -> Any:
    return lib.tensor(np.asarray(value).tolist(), dtype=lib.float64, requires_grad=True)


def plain(lib: Any, value: Any) -> Any:
    return lib.tensor(np.asarray(value).tolist(), dtype=lib.float64)


# Each takes a library and returns what is to be equal.


def several_passes(lib: Any) -> Any:
    x = leaf(lib, X)
    held = []
    for factor in (1.0, 2.0):
        (x.sin() * factor).sum().backward()
        held.append(x.grad)
    return [held[0] is held[1], *held]


def clipping_in_place(lib: Any) -> Any:
    a, b = leaf(lib, X), leaf(lib, V)
    (a + b).sum().backward()
    for p in (a, b):
        p.grad.mul_(0.5)
    return a.grad, b.grad


def the_users_gradient(lib: Any) -> Any:
    x, v = leaf(lib, X), plain(lib, V)
    y = x + 0
    y.backward(v, retain_graph=True)
    x.grad.mul_(3)
    y.backward(v)
    return x.grad, v


def the_users_gradient_recorded(lib: Any) -> Any:
    x, v = leaf(lib, X), plain(lib, V)
    (x + 0).backward(v, create_graph=True)
    with lib.no_grad():
        x.grad.mul_(3)
    return x.grad, v


def recorded_then_plain(lib: Any) -> Any:
    x = leaf(lib, X)
    (x**3).sum().backward(retain_graph=True)
    (x**3).sum().backward()
    return x.grad


def chosen_inputs(lib: Any) -> Any:
    a, b = leaf(lib, X), leaf(lib, V)
    h = a * b
    h.tanh().sum().backward(inputs=[b, h], retain_graph=True)
    return a.grad is None, b.grad, h.grad


def chosen_inputs_free_what_they_passed(lib: Any) -> Any:
    a, b = leaf(lib, X), leaf(lib, V)
    h = a.exp()
    k = b.exp()
    (h * k).sum().backward(inputs=[a])
    k.sum().backward()
    return a.grad, b.grad


def towards_a_middle(lib: Any) -> Any:
    x = leaf(lib, X)
    h = x.exp()
    (g,) = lib.autograd.grad(h.sin().sum(), h)
    h.sum().backward()
    return g, x.grad


def retained_middle(lib: Any) -> Any:
    x = leaf(lib, X)
    h = x.sin()
    h.retain_grad()
    (h * h).sum().backward()
    (x.sin() * 1).sum().backward()
    return h.grad, x.grad


def retain_graph_twice(lib: Any) -> Any:
    x = leaf(lib, X)
    y = (x.exp() * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    return x.grad


def weighted_outputs(lib: Any) -> Any:
    x = leaf(lib, X)
    return lib.autograd.grad([x.sin(), x.sum(), (x * x).sum()], [x], [plain(lib, V), None, plain(lib, 3.0)])


def unused(lib: Any) -> Any:
    x, u = leaf(lib, X), leaf(lib, V)
    first = lib.autograd.grad(x.sum(), [x, u], allow_unused=True)
    second = lib.autograd.grad(x.sum(), [x, u], materialize_grads=True)
    return first[0], first[1] is None, *second


def several_roots(lib: Any) -> Any:
    x = leaf(lib, X)
    lib.autograd.backward([x.sin().sum(), x * x], [None, plain(lib, V)])
    return x.grad


def third_derivative(lib: Any) -> Any:
    x = leaf(lib, X)
    y = (x.tanh() * x.exp()).sum()
    found = []
    for _ in range(3):
        (g,) = lib.autograd.grad(y, x, create_graph=True)
        found.append(g)
        y = g.sum()
    return found


def gradient_penalty(lib: Any) -> Any:
    x, w = leaf(lib, X), leaf(lib, V.T)
    (g,) = lib.autograd.grad((x @ w).tanh().sum(), x, create_graph=True)
    loss = (g.pow(2).sum(1).sqrt() - 1).pow(2).mean()
    loss.backward()
    return loss, w.grad, x.grad


def through_the_gradient_argument(lib: Any) -> Any:
    x, v = leaf(lib, X), leaf(lib, V)
    (g,) = lib.autograd.grad(x.sin(), x, v, create_graph=True)
    return lib.autograd.grad(g.sum(), [v, x])


def views_written_in_place(lib: Any) -> Any:
    x = leaf(lib, X)
    y = x * 2
    y[:2].mul_(3)
    (y * y).sum().backward()
    return y, x.grad


def detached_and_back(lib: Any) -> Any:
    x = leaf(lib, X)
    d = x.detach().requires_grad_()
    (d * x.sin()).sum().backward()
    return x.grad, d.grad


def requires_grad_follows(lib: Any) -> Any:
    x = leaf(lib, X)
    with lib.no_grad():
        inside = x * 2
        with lib.enable_grad():
            again = x * 2
    frozen = (x * 2).detach()
    flags = [t.requires_grad for t in (x, x * 2, inside, again, frozen, x > 0, x.argmax())]
    leaves = [t.is_leaf for t in (x, x * 2, inside, again, frozen)]
    return [*flags, *leaves]


CASES = [
    several_passes, clipping_in_place, the_users_gradient, the_users_gradient_recorded, recorded_then_plain, chosen_inputs,
    chosen_inputs_free_what_they_passed, towards_a_middle, retained_middle, retain_graph_twice, weighted_outputs, unused,
    several_roots, third_derivative, gradient_penalty, through_the_gradient_argument, views_written_in_place,
    detached_and_back, requires_grad_follows,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_it_is_as_in_torch(case: Callable[[Any], Any]) -> None:
    ours, theirs = ([r] if hasattr(r, "shape") else list(r) for r in (case(cr), case(torch)))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(b, bool):
            assert a is b
        else:
            assert_close(a, b)


def backward_twice(lib: Any) -> None:
    y = leaf(lib, X).exp().sum()
    y.backward()
    y.backward()


def backward_of_many(lib: Any) -> None:
    (leaf(lib, X) * 2).backward()


def backward_of_a_constant(lib: Any) -> None:
    plain(lib, 1.0).backward()


def grad_of_something_unused(lib: Any) -> None:
    lib.autograd.grad(leaf(lib, X).sum(), leaf(lib, V))


def grad_by_a_constant(lib: Any) -> None:
    lib.autograd.grad(leaf(lib, X).sum(), plain(lib, V))


def a_gradient_of_another_shape(lib: Any) -> None:
    (leaf(lib, X) * 2).backward(plain(lib, V.T))


def no_inputs(lib: Any) -> None:
    leaf(lib, X).sum().backward(inputs=[])


def retain_grad_of_a_constant(lib: Any) -> None:
    plain(lib, X).retain_grad()


def a_kept_value_was_written(lib: Any) -> None:
    h = leaf(lib, X) * 1
    y = h.sin().sum()
    h.mul_(2)
    y.backward()


@pytest.mark.parametrize(
    "case",
    [
        backward_twice, backward_of_many, backward_of_a_constant, grad_of_something_unused, grad_by_a_constant,
        a_gradient_of_another_shape, no_inputs, retain_grad_of_a_constant, a_kept_value_was_written,
    ],
    ids=lambda case: case.__name__,
)  # fmt: skip
def test_it_is_refused_as_in_torch(case: Callable[[Any], None]) -> None:
    with pytest.raises((RuntimeError, ValueError)):
        case(torch)
    with pytest.raises(cr.ChainruleError):
        case(cr)


def test_the_hessian_of_a_small_network() -> None:
    weights = RANDOM.normal(size=3 * 4 + 4)
    rows = RANDOM.normal(size=(6, 3))

    def loss(lib: Any) -> Callable[[Any], Any]:
        x = plain(lib, rows)
        return lambda w: ((x @ w[:12].reshape(3, 4)).tanh() @ w[12:]).sigmoid().log().mean()

    ours = cr.func.hessian(loss(cr))(plain(cr, weights))
    theirs = torch.autograd.functional.hessian(loss(torch), plain(torch, weights))
    assert_close(ours, theirs)
