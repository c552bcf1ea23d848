"""Shapes, broadcasting, zero-sized and 0-d arrays, memory that is not row-major: values and gradients beside PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, mutually_broadcastable_shapes

import chainrule as cr
from tests.tolerances import assert_close

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

Function = Callable[..., Any]
SHAPES = array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "atan2", "logaddexp", "hypot", "remainder", "where", "pow")
REDUCTIONS = ("sum", "mean", "var", "std", "amax", "amin", "logsumexp", "nansum", "norm", "all", "any", "count_nonzero")


@st.composite
def laid_out(draw: st.DrawFn, shape: tuple[int, ...], seed: int) -> Any:
    """Return an array of this shape in some order in memory: permuted, with gaps, or repeated."""
    values = np.random.default_rng(seed).uniform(0.5, 2.5, shape)
    order = draw(st.permutations(range(len(shape))))
    x = np.transpose(values, np.argsort(order)).copy().transpose(order)
    if x.ndim and draw(st.booleans()):
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    elif x.ndim and x.shape[0] and draw(st.booleans()):
        x = np.broadcast_to(x[:1], x.shape)
    return x


def outcome(library: ModuleType, function: Function, arrays: list[Any]) -> list[Any]:
    """Return the result and the gradients of its sum weighted by 1, 2, …; leaves have the arrays' strides."""
    leaves = []
    for x in arrays:
        owner = library.from_numpy(np.array(x))
        leaves.append(owner.requires_grad_())
    y = function(library, *[moved(leaf, x) for leaf, x in zip(leaves, arrays, strict=True)])
    value = y.detach().numpy()
    if not y.requires_grad:
        return [value]
    weights = np.arange(1.0, value.size + 1).reshape(value.shape)
    (y * library.from_numpy(weights)).sum().backward()
    return [
        value,
        *[
            np.zeros(x.shape) if leaf.grad is None else leaf.grad.numpy()
            for leaf, x in zip(leaves, arrays, strict=True)
        ],
    ]


def moved(leaf: Any, like: Any) -> Any:
    """Return a view of the leaf's elements, whose axes lie in memory in the order of the array's."""
    order = [int(k) for k in np.argsort([-step for step in like.strides], kind="stable")]
    back = [int(k) for k in np.argsort(order)]
    return leaf.permute(order).contiguous().permute(back) if order else leaf


def check(function: Function, arrays: list[Any], length: int = 1) -> None:
    for actual, wanted in zip(outcome(cr, function, arrays), outcome(torch, function, arrays), strict=True):
        assert_close(actual, wanted, length=length)


@given(data=st.data(), name=st.sampled_from(BINARY), seed=st.integers(0, 99))
def test_operations_on_two_tensors_broadcast(data: st.DataObject, name: str, seed: int) -> None:
    shapes = data.draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=4)).input_shapes
    arrays = [data.draw(laid_out(shape, seed + k)) for k, shape in enumerate(shapes)]

    def function(library: ModuleType, a: Any, b: Any) -> Any:
        return library.where(a > b, a, b * 2) if name == "where" else getattr(library, name)(a, b)

    check(function, arrays)


@given(data=st.data(), name=st.sampled_from(REDUCTIONS), seed=st.integers(0, 99), keepdim=st.booleans())
def test_reductions_over_any_axes(data: st.DataObject, name: str, seed: int, keepdim: bool) -> None:
    least = 1 if name in ("amax", "amin", "logsumexp", "var", "std") else 0
    shape = data.draw(
        array_shapes(min_dims=1, max_dims=4, min_side=max(least, 2 if name in ("var", "std") else 0), max_side=4)
    )
    axes = data.draw(st.lists(st.integers(-len(shape), len(shape) - 1), min_size=1, unique_by=lambda k: k % len(shape)))
    x = data.draw(laid_out(shape, seed))
    assume(name != "std" or x.std(tuple(axes)).min() > 0.01)  # where it is 0 it has no gradient

    def function(library: ModuleType, x: Any) -> Any:
        if name == "count_nonzero":
            return library.count_nonzero(x, tuple(axes))
        if name == "norm":
            return library.norm(x, 3, axes, keepdim)
        return getattr(library, name)(x, tuple(axes), keepdim=keepdim)

    check(function, [x], length=x.size)


@given(data=st.data(), seed=st.integers(0, 99))
def test_matmul_of_any_axes(data: st.DataObject, seed: int) -> None:
    sizes = st.integers(0, 4)
    n, k, m = data.draw(sizes), data.draw(sizes), data.draw(sizes)
    fronts = data.draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=0, max_side=3)).input_shapes
    a = data.draw(st.sampled_from([(k,), (n, k), (*fronts[0], n, k)]))
    b = data.draw(st.sampled_from([(k,), (k, m), (*fronts[1], k, m)]))
    arrays = [data.draw(laid_out(a, seed)), data.draw(laid_out(b, seed + 1))]
    check(lambda library, a, b: library.matmul(a, b), arrays, length=max(k, 1) * 16)


EQUATIONS = (
    "ij,jk->ik", "ij,kj->ik", "bij,bjk->bik", "bij,bkj->bki", "ij->ji", "ij->", "ij->i", "ii->i", "ii", "i,i->", "i,j->ij",
    "bij,jk", "...i,ij->...j", "...ij,...jk->...ik", "ij,jk,kl->il", "abc,cb->a", "ijk,ijk->k", "ib,jb,kb->ijk", "iij->j",
    "bnhd,bmhd->bhnm", "i...,i...->...",
)  # fmt: skip


@given(data=st.data(), equation=st.sampled_from(EQUATIONS), seed=st.integers(0, 99))
def test_einsum_of_any_sizes(data: st.DataObject, equation: str, seed: int) -> None:
    letters = {c: data.draw(st.integers(0, 3)) for c in equation if c.isalpha()}
    terms = equation.partition("->")[0].split(",")
    shapes = [[letters[c] for c in term.replace("...", "")] for term in terms]
    front = data.draw(st.sampled_from([[], [2], [3, 1]]))
    for term, shape in zip(terms, shapes, strict=True):
        if "..." in term:
            at = term.index("...")
            shape[at:at] = front
    arrays = [data.draw(laid_out(tuple(shape), seed + k)) for k, shape in enumerate(shapes)]
    check(lambda library, *xs: library.einsum(equation, *xs), arrays, length=100)


@given(data=st.data(), shape=SHAPES, seed=st.integers(0, 99))
def test_views_and_shapes(data: st.DataObject, shape: tuple[int, ...], seed: int) -> None:
    n = len(shape)
    axis = data.draw(st.integers(-max(n, 1), max(n, 1) - 1))
    choices: dict[str, Function] = {
        "flatten": lambda library, x: x.flatten(),
        "squeeze": lambda library, x: x.squeeze(),
        "unsqueeze": lambda library, x: x.unsqueeze(axis),
        "reshape": lambda library, x: x.reshape(-1) if 0 not in shape else x.reshape(shape[::-1]),
        "expand": lambda library, x: x.unsqueeze(0).expand(3, *shape),
        "flip": lambda library, x: x.flip([axis]) if n else x.flip([]),
        "repeat": lambda library, x: x.repeat(2, *([1] * n)),
        "tile": lambda library, x: library.tile(x, (2,)),
        "transpose": lambda library, x: x.transpose(0, axis),
        "cumsum": lambda library, x: x.cumsum(axis),
        "softmax": lambda library, x: x.softmax(axis),
        "sort": lambda library, x: x.sort(axis)[0],
        "stack": lambda library, x: library.stack([x, x * 2], axis),
        "roll": lambda library, x: library.roll(x, 2),
        "cat": lambda library, x: library.cat([x, x], axis) if n else x * 1,
        "prod": lambda library, x: library.prod(x),
        "chunk": lambda library, x: library.cat(x.chunk(2, axis)[::-1], axis) if n else x * 1,
    }
    name = data.draw(st.sampled_from(sorted(choices)))
    check(choices[name], [data.draw(laid_out(shape, seed))], length=max(int(np.prod(shape)), 1))
