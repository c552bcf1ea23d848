"""Sums of products: what matrix product, linear layers, einsum and attention are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.graph import Array, Gradients, Node, Primitive, Spec, op
from chainrule.graph.sizes import numel
from chainrule.ops.rules import one_dtype
from chainrule.ops.shape import inverse

Need = tuple[bool, ...]
Axes = tuple[int, ...]
Pair = tuple[Axes, Axes]
Plan = Callable[[Array, Array], Array]


class Contract(Primitive):
    """y = Σ a b over the ``contracted`` axes; ``batch`` axes run along; each a pair (axes of a, axes of b).

    The axes of y: the batch axes, then a's other axes, then b's.
    """

    name = "contract"
    reads = ("b", "a")

    def shape(self, a: Any, b: Any, *, batch: Pair, contracted: Pair) -> Spec:
        for kind, (of_a, of_b) in (("last", contracted), ("batch", batch)):
            for i, j in zip(of_a, of_b, strict=True):
                if a.shape[i] is not b.shape[j] and a.shape[i] != b.shape[j]:
                    where = "the contracted axis" if kind == "last" else "a batch axis"
                    raise ShapeError(
                        f"{where} has {a.shape[i]} elements in {tuple(a.shape)} and {b.shape[j]} in {tuple(b.shape)}",
                        expected="the same number",
                    )
        free_a, free_b = free_axes(len(a.shape), batch[0], contracted[0]), free_axes(
            len(b.shape), batch[1], contracted[1]
        )
        sizes = [a.shape[i] for i in (*batch[0], *free_a)] + [b.shape[j] for j in free_b]
        return Spec(tuple(sizes), one_dtype("contract", a, b))

    def evaluate(self, a: Array, b: Array, *, batch: Pair, contracted: Pair) -> Array:
        key = (a.ndim, b.ndim, batch, contracted)
        plan = _plans.get(key)
        if plan is None:
            plan = _plans[key] = _make_plan(*key)
        return plan(a, b)

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need, batch: Pair, contracted: Pair) -> Gradients:
        # y is linear in a and in b: da contracts g with b over b's free axes, db contracts g with a over a's
        nb = len(batch[0])
        free_a = free_axes(a.ndim, batch[0], contracted[0])
        free_b = free_axes(b.ndim, batch[1], contracted[1])
        of_batch = tuple(range(nb))
        of_a = tuple(range(nb, nb + len(free_a)))
        of_b = tuple(range(nb + len(free_a), nb + len(free_a) + len(free_b)))
        da = db = None
        if need[0]:
            da = _gradient(g, b, of_batch, of_b, of_a, (batch[0], free_a, contracted[0]), (batch[1], free_b, contracted[1]))
        if need[1]:
            db = _gradient(g, a, of_batch, of_a, of_b, (batch[1], free_b, contracted[1]), (batch[0], free_a, contracted[0]))
        return da, db


def _gradient(
    g: Node,
    other: Node,
    g_batch: Axes,
    g_summed: Axes,
    g_free: Axes,
    mine: tuple[Axes, Axes, Axes],
    others: tuple[Axes, Axes, Axes],
) -> Node:
    """Contract ``g`` with the other factor so that the result is born in this factor's layout where it can be."""
    batch, free, contracted = mine
    other_batch, other_free, other_contracted = others
    # the contracted axes in the order in which a plain contraction returns the other factor's free axes
    order = sorted(range(len(contracted)), key=other_contracted.__getitem__)
    from_other = tuple([contracted[k] for k in order])
    g_first = (*batch, *free, *from_other)
    other_first = (*batch, *from_other, *free)
    if other_first == tuple(range(len(other_first))):
        return op.contract(other, g, batch=(other_batch, g_batch), contracted=(other_free, g_summed))
    y = op.contract(g, other, batch=(g_batch, other_batch), contracted=(g_summed, other_free))
    if g_first == tuple(range(len(g_first))):
        return y
    return op.permute(y, axes=inverse(g_first))  # axis k of y belongs to axis g_first[k]


def free_axes(ndim: int, batch: Axes, contracted: Axes) -> Axes:
    """Return the axes that are neither batch nor contracted."""
    return tuple([axis for axis in range(ndim) if axis not in batch and axis not in contracted])


_plans: dict[tuple[int, int, Pair, Pair], Plan] = {}


def _make_plan(ndim_a: int, ndim_b: int, batch: Pair, contracted: Pair) -> Plan:
    """Return the fastest NumPy call for this contraction: transposing and reshaping 4x4 matrices costs 20 products."""
    free_a = free_axes(ndim_a, batch[0], contracted[0])
    free_b = free_axes(ndim_b, batch[1], contracted[1])
    nb = len(batch[0])
    leading = batch == (tuple(range(nb)), tuple(range(nb)))
    simple = leading and len(free_a) == len(free_b) == len(contracted[0]) == 1
    if simple and ndim_a == ndim_b == nb + 2:
        swap_a = contracted[0][0] == nb
        swap_b = contracted[1][0] == nb + 1
        return _MATMUL[swap_a, swap_b]
    if not nb and len(contracted[0]) == 1 and ndim_b == 2 and contracted[0][0] == ndim_a - 1 and ndim_a > 2:
        return _rows_times_transposed if contracted[1][0] == 1 else _rows_times
    order_a = (*batch[0], *free_a, *contracted[0])
    order_b = (*batch[1], *contracted[1], *free_b)

    def general(a: Array, b: Array) -> Array:
        p, q = a.transpose(order_a), b.transpose(order_b)
        runs = p.shape[:nb]
        rows, columns = p.shape[nb : nb + len(free_a)], q.shape[nb + len(contracted[0]) :]
        inner = int(numel(q.shape[nb : nb + len(contracted[0])]))
        y = np.matmul(p.reshape((*runs, int(numel(rows)), inner)), q.reshape((*runs, inner, int(numel(columns)))))
        return y.reshape((*runs, *rows, *columns))

    return general


def _product(a: Array, b: Array) -> Array:
    return np.matmul(a, b)


def _product_of_transposed(a: Array, b: Array) -> Array:
    return np.matmul(a.swapaxes(-1, -2), b)


def _product_with_transposed(a: Array, b: Array) -> Array:
    return np.matmul(a, b.swapaxes(-1, -2))


def _product_of_both_transposed(a: Array, b: Array) -> Array:
    return np.matmul(a.swapaxes(-1, -2), b.swapaxes(-1, -2))


_MATMUL: dict[tuple[bool, bool], Plan] = {
    (False, False): _product,
    (True, False): _product_of_transposed,
    (False, True): _product_with_transposed,
    (True, True): _product_of_both_transposed,
}


def _rows_times(a: Array, b: Array) -> Array:
    """Multiply every row of a by the matrix b."""
    return np.matmul(a.reshape(-1, a.shape[-1]) if a.size else a, b).reshape((*a.shape[:-1], b.shape[1]))


def _rows_times_transposed(a: Array, b: Array) -> Array:
    """Multiply every row of a by the transpose of b."""
    return np.matmul(a.reshape(-1, a.shape[-1]) if a.size else a, b.T).reshape((*a.shape[:-1], b.shape[0]))
