"""Building fields: what the ``lower`` rules of primitives that are not elementwise are given as ``e``.

    e.fold("add", x, axes)    e.permute(x, axes)    e.take(x, index, axes, shape)    …

Where a field would do nothing, or two would be one, none is added: a move of a move is one move, a sum along axes of size 1
is the elements themselves, and taking one element per row is a sum with one term that counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.compiler.fields import (
    Assemble,
    Field,
    Fold,
    Gather,
    Iota,
    Map,
    Move,
    Number,
    Order,
    Piece,
    Place,
    Product,
    Random,
    Reshape,
    Scatter,
    SizeOf,
    Sweep,
    Where,
    is_one,
)
from chainrule.compiler.value import I64, LANES, Dtype
from chainrule.graph import primitive
from chainrule.graph.sizes import Dim, Shape, Size, broadcast_shapes, numel, surely_same, surely_same_shape

LARGE_TABLE = 1 << 17  # bytes of zeros from which on they are not written if few rows are met


class Lowering:
    """What the ``lower`` rules of primitives that are not elementwise are given: it builds fields."""

    def number(self, value: Any, dtype: Dtype) -> Field:
        """Return a constant number."""
        return Number(value, np.dtype(dtype))

    def full(self, shape: Shape, value: Any, dtype: Dtype) -> Field:
        """Return one number everywhere."""
        return self.expand(Number(value, np.dtype(dtype)), shape)

    def size(self, size: Dim, dtype: Dtype) -> Field:
        """Return a size as a number."""
        return SizeOf(size, np.dtype(dtype)) if isinstance(size, Size) else Number(size, np.dtype(dtype))

    def iota(self, size: Dim, dtype: Dtype = I64) -> Field:
        """Return 0, 1, 2, …"""
        return Iota(size, dtype)

    def map(self, name: str, *inputs: Field, dtype: Dtype | None = None, **attributes: Any) -> Field:
        """Return an elementwise primitive of fields."""
        shape = broadcast_shapes(*[x.shape for x in inputs])
        rule = primitive(name)
        found = np.dtype(dtype) if dtype is not None else rule.shape(*inputs, **attributes).dtype
        return Map(rule, inputs, attributes, shape, found)

    # -- places --------------------------------------------------------------------------------------------------------

    def move(self, x: Field, places: Sequence[Where], shape: Shape) -> Field:
        """Return x at other places; a move of a move is one move."""
        if isinstance(x, Number) or (isinstance(x, Move) and isinstance(x.inputs[0], Number)):
            root = x if isinstance(x, Number) else x.inputs[0]
            return Move(root, (), shape) if shape else root
        if isinstance(x, Move):
            inner = []
            for where in x.places:
                if where.axis is None:
                    inner.append(where)
                else:
                    outer = places[where.axis]
                    inner.append(Where(outer.axis, where.offset + where.step * outer.offset, where.step * outer.step))
            return Move(x.inputs[0], inner, shape)
        return Move(x, places, shape)

    def permute(self, x: Field, axes: Sequence[int]) -> Field:
        """Return x with axis k being its axis axes[k]."""
        order = [axes.index(axis) for axis in range(x.ndim)]
        return self.move(x, [Where(axis) for axis in order], tuple([x.shape[axis] for axis in axes]))

    def expand(self, x: Field, shape: Shape) -> Field:
        """Return x repeated to ``shape``."""
        extra = len(shape) - x.ndim
        places = [
            Where(None) if is_one(n) and not is_one(shape[axis + extra]) else Where(axis + extra)
            for axis, n in enumerate(x.shape)
        ]
        return self.move(x, places, shape)

    def slice(self, x: Field, starts: Sequence[Dim], steps: Sequence[int], shape: Shape) -> Field:
        """Return every step-th element from start on, along every axis."""
        places = [Where(axis, start, step) for axis, (start, step) in enumerate(zip(starts, steps, strict=True))]
        return self.move(x, places, shape)

    def flip(self, x: Field, axes: Sequence[int]) -> Field:
        """Return x with axes reversed."""
        places = [Where(k, n - 1, -1) if k in axes else Where(k) for k, n in enumerate(x.shape)]
        return self.move(x, places, x.shape)

    def diagonal(self, x: Field, offset: int, axis1: int, axis2: int, shape: Shape) -> Field:
        """Return a diagonal of two axes as the last axis."""
        return self.move(x, _along_diagonal(x.ndim, offset, axis1, axis2), shape)

    def reshape(self, x: Field, shape: Shape) -> Field:
        """Return the elements in another shape; axes of size 1 come and go freely."""
        if surely_same_shape(x.shape, shape):
            return x
        kept = [axis for axis, n in enumerate(x.shape) if not is_one(n)]
        new = [axis for axis, n in enumerate(shape) if not is_one(n)]
        if surely_same_shape(tuple([x.shape[a] for a in kept]), tuple([shape[a] for a in new])):
            to = dict(zip(kept, new, strict=True))
            return self.move(x, [Where(to.get(axis)) for axis in range(x.ndim)], shape)
        if isinstance(x, Reshape):
            return self.reshape(x.inputs[0], shape)
        return Reshape(x, shape)

    # -- many to one ---------------------------------------------------------------------------------------------------

    def fold(self, kind: str, x: Field, axes: Sequence[int]) -> Field:
        """Return x combined along axes; along none, or those of size 1 alone, the elements of x."""
        single = [axis for axis in axes if is_one(x.shape[axis])]
        if single:
            kept = [axis for axis in range(x.ndim) if axis not in single]
            axes = [kept.index(axis) for axis in axes if axis not in single]
            x = self.reshape(x, tuple([x.shape[axis] for axis in kept]))
        return Fold(kind, x, axes) if axes else x

    def place(self, kind: str, x: Field, axis: int) -> Field:
        """Return where the extreme ("max" or "min") along axis is."""
        if is_one(x.shape[axis]):
            return self.full(tuple([n for k, n in enumerate(x.shape) if k != axis]), 0, I64)
        return Place(kind, x, axis)

    def product(self, a: Field, b: Field, batch: Any, contracted: Any, shape: Shape) -> Field:
        """Return Σ a b over the contracted axes."""
        return Product(a, b, batch, contracted, shape)

    def sweep(self, kind: str, x: Field, axis: int, *, reverse: bool = False) -> Field:
        """Return running sums ("sum") or places of extremes ("argmax", "argmin") along axis."""
        return Sweep(kind, x, axis, reverse=reverse)

    def order(self, x: Field, axis: int, *, descending: bool) -> Field:
        """Return the stable order along axis."""
        return Order(x, axis, descending=descending)

    # -- places that are data --------------------------------------------------------------------------------------------

    def index(self, index: Field, size: Dim) -> Field:
        """Return a checked index: counted from the end if negative; one outside of ``size`` stops the run."""
        if isinstance(index, Iota) and surely_same(index.shape[0], size):
            return index
        bound = self.size(size, I64)
        return Map(
            primitive("index_within"),
            (self.map("cast", index, dtype=I64) if index.dtype != I64 else index, bound),
            {},
            index.shape,
            I64,
        )

    def take(self, x: Field, index: Sequence[Field], axes: Sequence[int], shape: Shape) -> Field:
        """Return the elements at the places that ``index`` gives for ``axes``."""
        checked = [self.index(i, x.shape[axis]) for i, axis in zip(index, axes, strict=True)]
        if self._one_per_row(x.shape, index, axes):  # y[i] = Σⱼ [j = index[i]] x[i, j]
            place = self.map("eq", self.iota(x.shape[1]), self.reshape(checked[1], (x.shape[0], 1)))
            nothing = self.number(-0.0 if x.dtype.kind == "f" else 0, x.dtype)
            picked = self.map("where", place, x, nothing, dtype=x.dtype)
            return self.fold("pick" if x.dtype.kind != "b" else "or", picked, (1,))
        return Gather(x, checked, axes, _place(axes), shape)

    def spread(self, x: Field, index: Sequence[Field], axes: Sequence[int], shape: Shape) -> Field:
        """Return zeros of ``shape`` with x added at places: the adjoint of take."""
        checked = [self.index(i, shape[axis]) for i, axis in zip(index, axes, strict=True)]
        if self._one_per_row(shape, index, axes) and surely_same_shape(
            x.shape, (shape[0],)
        ):  # y[i, j] = [j = index[i]] x[i]
            place = self.map("eq", self.iota(shape[1]), self.reshape(checked[1], (shape[0], 1)))
            return self.map("where", place, self.reshape(x, (shape[0], 1)), self.number(0, x.dtype), dtype=x.dtype)
        if len(index) == 1 and tuple(axes) == (0,) and _is_mostly_zeros(x, index[0], shape):
            return self._few_rows(x, checked[0], shape)
        return Scatter(None, x, checked, axes, _place(axes), shape)

    def _few_rows(self, x: Field, index: Field, shape: Shape) -> Field:
        """Return the same where most rows stay zero: rows for those that are met and one of zeros, read by a table.

        The table says for each row of the result where it stands among the few. So a table of embeddings has no gradient in
        its size: whoever reads it reads the few rows.
        """
        count = numel(index.shape)
        rest = tuple(shape[1:])
        table = self.expand(self.size(count, I64), (shape[0],))
        numbers = self.reshape(self.iota(count), index.shape)
        table = Scatter(table, numbers, [index], (0,), 0, (shape[0],))
        place = Gather(table, [index], (0,), 0, index.shape)
        few = Scatter(None, x, [place], (0,), 0, (count + 1, *rest))
        return Gather(few, [table], (0,), 0, shape)

    def put(self, base: Field, x: Field, index: Sequence[Field], axes: Sequence[int]) -> Field:
        """Return ``base`` with x written at places; the last write wins."""
        checked = [self.index(i, base.shape[axis]) for i, axis in zip(index, axes, strict=True)]
        return Scatter(base, x, checked, axes, _place(axes), base.shape)

    def _one_per_row(self, shape: Shape, index: Sequence[Field], axes: Sequence[int]) -> bool:
        """Say whether of a matrix one element per row is meant: the rows are 0, 1, 2, …"""
        return (
            len(shape) == 2
            and tuple(axes) == (0, 1)
            and isinstance(index[0], Iota)
            and surely_same(index[0].shape[0], shape[0])
            and surely_same_shape(index[1].shape, (shape[0],))
        )

    def pad(self, x: Field, low: Any, interior: Any, value: Any, shape: Shape) -> Field:
        """Return x with padding around each axis and between neighbours."""
        places = tuple([Where(axis, a, int(c) + 1) for axis, (a, c) in enumerate(zip(low, interior, strict=True))])
        return Assemble(Number(value, x.dtype), [Piece(x, places)], shape, x.dtype)

    def concat(self, xs: Sequence[Field], axis: int, shape: Shape) -> Field:
        """Return the fields joined along axis."""
        pieces, start = [], 0
        for x in xs:
            pieces.append(Piece(x, tuple([Where(k, start if k == axis else 0) for k in range(x.ndim)])))
            start = start + x.shape[axis]
        return Assemble(None, pieces, shape, xs[0].dtype)

    def put_slice(self, a: Field, b: Field, starts: Any, steps: Any, window: Shape) -> Field:
        """Return ``a`` with a slice replaced by ``b``."""
        places = tuple([Where(axis, start, step) for axis, (start, step) in enumerate(zip(starts, steps, strict=True))])
        return Assemble(a, [Piece(self.expand(b, window), places)], a.shape, a.dtype)

    def put_diagonal(self, a: Field, b: Field, offset: int, axis1: int, axis2: int, window: Shape) -> Field:
        """Return ``a`` with a diagonal replaced by ``b``."""
        places = tuple(_along_diagonal(a.ndim, offset, axis1, axis2))
        return Assemble(a, [Piece(self.expand(b, window), places)], a.shape, a.dtype)

    def random(
        self, kind: str, seed: Field, draw: Field, offset: int, shape: Shape, dtype: Dtype, **attributes: Any
    ) -> Field:
        """Return numbers drawn by counter."""
        return Random(kind, seed, draw, offset, shape, np.dtype(dtype), **attributes)


def _along_diagonal(ndim: int, offset: int, axis1: int, axis2: int) -> list[Where]:
    """Return where the elements of a diagonal of two axes are, which is the last axis of what shows it."""
    places, k = [], 0
    for axis in range(ndim):
        if axis in (axis1, axis2):
            places.append(Where(ndim - 2, max(-offset, 0) if axis == axis1 else max(offset, 0)))
        else:
            places.append(Where(k))
            k += 1
    return places


def _is_mostly_zeros(x: Field, index: Field, shape: Shape) -> bool:
    """Say whether zeros of ``shape`` are too many to write them, and rows at ``index`` are few beside them, for all we know."""
    sizes = [n for n in shape if not isinstance(n, Size)]
    if len(sizes) < len(shape) or len(shape) < 2 or sizes[-1] < LANES or x.dtype.kind != "f":
        return False
    count = numel(index.shape)
    few = isinstance(count, Size) or 2 * count <= sizes[0]
    return few and math.prod(sizes) * x.dtype.itemsize >= LARGE_TABLE


def _place(axes: Sequence[int]) -> int:
    """Return the axis of the result where the index arrays stand: in place if the axes are neighbours, else in front."""
    first = min(axes)
    return first if max(axes) - first < len(axes) else 0
