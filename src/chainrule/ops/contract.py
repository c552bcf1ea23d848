"""Sums of products: what matrix product, linear layers, einsum and attention are made of."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import ShapeError
from chainrule.graph import Array, Gradients, Node, Primitive, Spec, op
from chainrule.graph.sizes import numel
from chainrule.ops.rules import Axes, Need, one_dtype
from chainrule.ops.shape import inverse

Pair = tuple[Axes, Axes]
Plan = Callable[[Array, Array], Any]
LARGE = 1 << 14  # elements of a matrix whose packing is worth a transposition of the result


class Contract(Primitive):
    """y = Σ a b over the ``contracted`` axes; ``batch`` axes run along; each a pair (axes of a, axes of b).

    The axes of y: the batch axes, then a's other axes, then b's.
    """

    name = "contract"
    reads = ("b", "a")

    def shape(self, a: Any, b: Any, *, batch: Pair, contracted: Pair) -> Spec:
        for what, (of_a, of_b) in (("the contracted axis", contracted), ("a batch axis", batch)):
            for i, j in zip(of_a, of_b, strict=True):
                if a.shape[i] is not b.shape[j] and a.shape[i] != b.shape[j]:
                    raise ShapeError(
                        f"{what} has {a.shape[i]} elements in {tuple(a.shape)} and {b.shape[j]} in {tuple(b.shape)}",
                        expected="the same number",
                    )
        free_a = free_axes(len(a.shape), batch[0], contracted[0])
        free_b = free_axes(len(b.shape), batch[1], contracted[1])
        sizes = [a.shape[i] for i in (*batch[0], *free_a)] + [b.shape[j] for j in free_b]
        return Spec(tuple(sizes), one_dtype("contract", a, b))

    def evaluate(self, a: Array, b: Array, *, batch: Pair, contracted: Pair) -> Any:
        return plan(a.ndim, b.ndim, batch, contracted)(a, b)

    def lower(self, e: Any, a: Any, b: Any, *, batch: Pair, contracted: Pair) -> Any:
        return e.product(a, b, batch, contracted, self.shape(a, b, batch=batch, contracted=contracted).shape)

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need, batch: Pair, contracted: Pair) -> Gradients:
        # y is linear in a and in b: da contracts g with b over b's free axes, db contracts g with a over a's
        of_a, of_b = adjoints(a.ndim, b.ndim, batch, contracted)
        return of_a.apply(g, b) if need[0] else None, of_b.apply(g, a) if need[1] else None


def free_axes(ndim: int, batch: Axes, contracted: Axes) -> Axes:
    """Return the axes that are neither batch nor contracted."""
    return tuple([axis for axis in range(ndim) if axis not in batch and axis not in contracted])


# -- gradients -----------------------------------------------------------------------------------------------------------


class Adjoint(NamedTuple):
    """How the gradient of one factor is made: contract ``g`` with the other factor, then permute the axes."""

    other_first: bool
    batch: Pair
    contracted: Pair
    axes: Axes | None

    def apply(self, g: Node, other: Node) -> Node:
        """Return the gradient."""
        first, second = (other, g) if self.other_first else (g, other)
        y = op.contract(first, second, batch=self.batch, contracted=self.contracted)
        return y if self.axes is None else op.permute(y, axes=self.axes)


@cache
def adjoints(ndim_a: int, ndim_b: int, batch: Pair, contracted: Pair) -> tuple[Adjoint, Adjoint]:
    """Return how the gradients of both factors are made."""
    free_a, free_b = free_axes(ndim_a, batch[0], contracted[0]), free_axes(ndim_b, batch[1], contracted[1])
    n, m = len(batch[0]), len(batch[0]) + len(free_a)
    runs, of_a, of_b = tuple(range(n)), tuple(range(n, m)), tuple(range(m, m + len(free_b)))  # the axes of g
    a, b = (batch[0], free_a, contracted[0]), (batch[1], free_b, contracted[1])
    return _adjoint(a, b, runs, of_b), _adjoint(b, a, runs, of_a)


def _adjoint(mine: tuple[Axes, ...], others: tuple[Axes, ...], runs: Axes, of_other: Axes) -> Adjoint:
    """Say how one factor's gradient is made, so that it is born in the layout of this factor where it can be.

    Each factor's axes are (batch, free, contracted); ``runs`` and ``of_other`` are g's batch axes and those it has from
    the other factor.
    """
    batch, free, contracted = mine
    other_batch, other_free, other_contracted = others
    # contracting the other factor with g leaves its contracted axes in the order in which it has them
    order = sorted(range(len(contracted)), key=other_contracted.__getitem__)
    left = tuple([contracted[k] for k in order])
    other_first, g_first = (*batch, *left, *free), (*batch, *free, *left)  # axis k of the result is which of mine
    in_place = tuple(range(len(g_first)))
    if other_first == in_place:
        return Adjoint(True, (other_batch, runs), (other_free, of_other), None)
    axes = None if g_first == in_place else inverse(g_first)
    return Adjoint(False, (runs, other_batch), (of_other, other_free), axes)


# -- the fastest NumPy call ----------------------------------------------------------------------------------------------


@cache
def plan(ndim_a: int, ndim_b: int, batch: Pair, contracted: Pair) -> Plan:
    """Return the fastest NumPy call for a contraction: transposing and reshaping 4x4 matrices costs 20 products."""
    free_a = free_axes(ndim_a, batch[0], contracted[0])
    free_b = free_axes(ndim_b, batch[1], contracted[1])
    n = len(batch[0])
    runs = tuple(range(n))
    if batch == (runs, runs) and len(free_a) == len(free_b) == len(contracted[0]) == 1:
        return _MATMUL[contracted[0][0] == n, contracted[1][0] == n + 1]
    if not n and contracted[0] == (ndim_a - 1,) and ndim_a > 2 and ndim_b == 2:
        return _rows_times_transposed if contracted[1][0] == 1 else _rows_times
    order_a = (*batch[0], *free_a, *contracted[0])
    order_b = (*batch[1], *contracted[1], *free_b)

    def general(a: Array, b: Array) -> Any:
        p, q = a.transpose(order_a), b.transpose(order_b)
        rows, columns = p.shape[n : n + len(free_a)], q.shape[n + len(contracted[0]) :]
        inner = numel(q.shape[n : n + len(contracted[0])])
        y = np.matmul(p.reshape((*p.shape[:n], numel(rows), inner)), q.reshape((*p.shape[:n], inner, numel(columns))))
        return y.reshape((*p.shape[:n], *rows, *columns))

    return general


def _product_of_transposed(a: Array, b: Array) -> Any:
    return np.matmul(a.swapaxes(-1, -2), b)


def _product_with_transposed(a: Array, b: Array) -> Any:
    """Multiply by the transpose of b, as (b aᵀ)ᵀ if a has few rows and b is large.

    BLAS packs the second factor, and a transposed one slowly: let it be the small one. In float32, 32 rows by 128 x 784
    take 0.75 of the time, by 512 x 512 0.7.
    """
    if a.ndim == 2 and b.size >= LARGE and 4 * len(a) <= min(b.shape):
        return np.ascontiguousarray(np.matmul(b, a.T).T)
    return np.matmul(a, b.swapaxes(-1, -2))


def _product_of_both_transposed(a: Array, b: Array) -> Any:
    return np.matmul(a.swapaxes(-1, -2), b.swapaxes(-1, -2))


_MATMUL: dict[tuple[bool, bool], Plan] = {
    (False, False): np.matmul,
    (True, False): _product_of_transposed,
    (False, True): _product_with_transposed,
    (True, True): _product_of_both_transposed,
}


def _rows(a: Array) -> Array:
    return a.reshape((numel(a.shape[:-1]), a.shape[-1]))


def _rows_times(a: Array, b: Array) -> Any:
    """Multiply every row of a by the matrix b."""
    return np.matmul(_rows(a), b).reshape((*a.shape[:-1], b.shape[1]))


def _rows_times_transposed(a: Array, b: Array) -> Any:
    """Multiply every row of a by the transpose of b."""
    return _product_with_transposed(_rows(a), b).reshape((*a.shape[:-1], b.shape[0]))
