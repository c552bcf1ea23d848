"""Functions of functions, beside PyTorch's: values, nests, shapes, to third order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.tensors import autograd_functional, func
from tests.tolerances import assert_close

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning"),  # its own, in its jvp
]

RANDOM = np.random.default_rng(0)
A, B = RANDOM.normal(size=(3, 2)), RANDOM.normal(size=(3, 2))
V = RANDOM.normal(size=4)


def both(value: Any) -> tuple[Any, Any]:
    """The same nest of arrays as tensors of ours and of PyTorch's."""
    if isinstance(value, np.ndarray):
        return cr.tensor(value), torch.tensor(value)
    if isinstance(value, dict):
        pairs = {key: both(part) for key, part in value.items()}
        return {k: p[0] for k, p in pairs.items()}, {k: p[1] for k, p in pairs.items()}
    if isinstance(value, (list, tuple)):
        parts = [both(part) for part in value]
        return type(value)([p[0] for p in parts]), type(value)([p[1] for p in parts])
    return value, value


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, cr.Tensor)
        assert ours.requires_grad == theirs.requires_grad
        assert_close(ours, theirs)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert isinstance(ours, (list, tuple))
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b)
    else:
        assert ours == theirs


def agree(transformed: Callable[[Any], Callable[..., Any]], *args: Any) -> None:
    """``transformed(module)`` builds the function with func or torch.func; call both on the same arguments."""
    pairs = [both(arg) for arg in args]
    assert_same(transformed(func)(*[p[0] for p in pairs]), transformed(torch.func)(*[p[1] for p in pairs]))


def smooth(a: Any, b: Any) -> Any:
    return (a.sin() * b.exp()).sum() + (a * a * b).mean()


def several(a: Any, b: Any) -> Any:
    return {"product": a @ b.t(), "pair": [a.tanh(), (b * 2,)]}


def of_nest(parts: Any) -> Any:
    return (parts["w"] * parts["rest"][0]).sum().exp()


@pytest.mark.parametrize("argnums", [0, 1, -1, (0,), (0, 1), (1, 0)])
def test_gradients_by_any_arguments(argnums: Any) -> None:
    agree(lambda m: m.grad(smooth, argnums), A, B)
    agree(lambda m: m.grad_and_value(smooth, argnums=argnums), A, B)


def test_gradients_by_nests_of_arguments() -> None:
    agree(lambda m: m.grad(of_nest), {"w": A, "rest": [B, V], "not used": V})


def test_what_comes_beside_the_value_is_passed_on() -> None:
    agree(lambda m: m.grad(lambda a, b: (smooth(a, b), {"a": a * 2, "n": [b]}), has_aux=True), A, B)
    agree(lambda m: m.grad_and_value(lambda a, b: (smooth(a, b), a), has_aux=True), A, B)
    agree(lambda m: m.jacrev(lambda a: (a.sin(), a * 2), has_aux=True), V)
    agree(lambda m: m.jacfwd(lambda a: (a.sin(), a * 2), has_aux=True), V)
    agree(lambda m: lambda a, v: m.jvp(lambda a: (a.sin(), a * 2), (a,), (v,), has_aux=True), V, V)

    def pulled(m: Any) -> Any:
        def run(a: Any) -> Any:
            y, pull, aux = m.vjp(lambda a: (a.sin(), a * 2), a, has_aux=True)
            return y, pull(y), aux

        return run

    agree(pulled, V)


def test_transformations_nest_to_any_order() -> None:
    x = np.full((), 0.7)
    agree(lambda m: m.grad(m.grad(m.grad(lambda x: x.sin() * x.exp()))), x)
    agree(lambda m: m.jacfwd(m.jacrev(m.grad(lambda a: (a**4).sum()))), V)
    agree(lambda m: m.jacrev(m.jacfwd(lambda a: a**3 * a.sum())), V[:3])
    agree(lambda m: m.hessian(smooth, argnums=(0, 1)), A, B)
    agree(lambda m: m.hessian(lambda a: a.tanh()), V)
    agree(lambda m: lambda x: m.grad(lambda y: x * y.sin())(x), x)
    agree(lambda m: m.grad(lambda x: m.grad(lambda y: x * y * y)(x) * x), x)
    agree(lambda m: m.grad(lambda x: m.jvp(lambda y: y**3 * x, (x,), (x,))[1]), x)
    agree(lambda m: lambda v: m.jvp(m.grad(lambda a: (a**3).sum()), (v,), (v * 2,)), V)
    agree(lambda m: lambda v: m.vjp(m.grad(lambda a: (a**3).sum()), v)[1](v), V)


@pytest.mark.parametrize("name", ["jacrev", "jacfwd"])
def test_jacobians_of_nests_have_the_shape_of_output_and_argument(name: str) -> None:
    agree(lambda m: getattr(m, name)(several), A, B)
    agree(lambda m: getattr(m, name)(several, argnums=(1, 0)), A, B)
    agree(lambda m: getattr(m, name)(lambda p: p["a"] * p["b"].sum()), {"a": A, "b": B})
    agree(lambda m: getattr(m, name)(lambda a: a.sum()), A)
    agree(lambda m: getattr(m, name)(lambda a: a[:2]), V)
    agree(lambda m: getattr(m, name)(lambda a: (a * 2, a * 3)), np.ones(()))


def test_products_with_vectors() -> None:
    def pulled(m: Any) -> Any:
        def run(a: Any, b: Any, w: Any) -> Any:
            y, pull = m.vjp(lambda a, b: (a * b.exp(), a.sum()), a, b)
            return y, pull((w, w.sum())), pull((2 * w, w.sum()))

        return run

    agree(pulled, A, B, B)
    agree(lambda m: lambda a, b, v, w: m.jvp(several, (a, b), (v, w)), A, B, B, A)
    agree(lambda m: lambda a, v: m.jvp(lambda p: p["a"].sin(), ({"a": a},), ({"a": v},)), V, V)


def test_an_argument_that_is_not_used_has_gradient_zero() -> None:
    agree(lambda m: m.grad(lambda a, b: (b * b).sum(), argnums=(0, 1)), A, B)
    agree(lambda m: m.jacrev(lambda a, b: b * 2), A, B)
    agree(lambda m: m.jacfwd(lambda a, b: b * 2), A, B)
    agree(lambda m: lambda a, v: m.jvp(lambda a: V.sum() * (a * 0).detach(), (a,), (v,)), V, V)
    agree(lambda m: lambda a: m.vjp(lambda a: (a * 2).detach(), a)[1](a), V)


def test_a_result_wants_a_gradient_if_something_outside_does() -> None:
    for ours_or_theirs in (0, 1):
        m = (func, torch.func)[ours_or_theirs]
        w = both(V)[ours_or_theirs].requires_grad_()
        x = both(V * 2)[ours_or_theirs]
        found = m.grad(lambda x: (x * x * w).sum())(x)  # noqa: B023 - called at once
        assert found.requires_grad
        (found * found).sum().backward()
        assert_close(w.grad, 8 * V * (2 * V) ** 2)
        inside = m.grad(lambda x: (x * x).sum())(w)
        assert inside.requires_grad
        y, pull = m.vjp(lambda x: x * x, x)
        assert not y.requires_grad
        assert not pull(x)[0].requires_grad
        assert pull(w)[0].requires_grad
        assert not m.hessian(lambda x: (x * x).sum())(x).requires_grad


def test_a_surrounding_no_grad_stops_nothing_and_one_inside_does() -> None:
    for ours_or_theirs, library in ((0, cr), (1, torch)):
        m = (func, torch.func)[ours_or_theirs]
        x = both(V)[ours_or_theirs].requires_grad_()
        with library.no_grad():
            found = m.grad(lambda x: (x * x).sum())(x)
            assert not found.requires_grad
            assert_close(found, 2 * V)
            assert_close(m.jacfwd(lambda x: x * x)(x), np.diag(2 * V))

        def half(x: Any) -> Any:
            with library.no_grad():  # noqa: B023 - called at once
                c = x * x
            return (c * x).sum()

        assert_close(m.grad(half)(x.detach()), V * V)


def test_functional_call_differentiates_by_parameters() -> None:
    layers = [cr.nn.Linear(2, 4), torch.nn.Linear(2, 4).double()]
    weights = {"weight": RANDOM.normal(size=(4, 2)), "bias": RANDOM.normal(size=4)}

    def loss(m: Any, layer: Any) -> Any:
        return lambda weights, x: (m.functional_call(layer, weights, (x,)).tanh() ** 2).sum()

    ours = func.hessian(loss(func, layers[0]))(both(weights)[0], both(A)[0])
    theirs = torch.func.hessian(loss(torch.func, layers[1]))(both(weights)[1], both(A)[1])
    assert_same(ours, theirs)


@pytest.mark.parametrize("create_graph", [False, True])
def test_autograd_functional_is_pytorchs(create_graph: bool) -> None:
    theirs = torch.autograd.functional

    def compare(name: str, function: Any, inputs: Any, *vectors: Any) -> None:
        mine, other = both(inputs), both(vectors)
        for k in range(2):
            for x in mine[k] if isinstance(mine[k], tuple) else (mine[k],):
                x.requires_grad_()
        ours = getattr(autograd_functional, name)(function, mine[0], *other[0], create_graph=create_graph)
        expected = getattr(theirs, name)(function, mine[1], *other[1], create_graph=create_graph)
        assert_same(ours, expected)

    compare("jacobian", lambda a: a.exp() * a.sum(), V)
    compare("jacobian", lambda a, b: (a * b, a.sum()), (A, B))
    compare("hessian", smooth, (A, B))
    compare("hessian", lambda a: (a**3).sum().reshape(1), V)
    compare("vjp", lambda a: a.sin(), V, V)
    compare("vjp", lambda a, b: (a * b).sum(), (A, B))
    compare("vjp", lambda a, b: (a * b, a), (A, B), (B, A))
    compare("jvp", lambda a: a.sin(), V, V)
    compare("jvp", lambda a, b: (a * b, a.exp()), (A, B), (B, A))
    compare("jvp", lambda a: a * 3, np.ones(1))
    compare("hvp", smooth, (A, B), (B, A))
    compare("vhp", smooth, (A, B), (B, A))
    compare("hvp", lambda a: (a**3).sum(), V, V)
