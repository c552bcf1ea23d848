"""Reading and writing at places that are themselves data: gather and scatter.

The index arrays broadcast against each other; ``axes`` says which axis of the data each one indexes. As in NumPy, the
indexed axes are replaced by the index arrays' shape: in place if they are neighbours, in whatever order ``axes`` names
them, else in front. Negative indices count from the end.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, IndexingError
from chainrule.graph import Array, Gradients, Node, Primitive, Spec, no_gradient, op
from chainrule.graph.sizes import Dim, Shape, broadcast_shapes
from chainrule.ops.lines import LARGE, zeros_in_lines
from chainrule.ops.rules import Axes, Need, is_plain_zero, one_dtype, zeros_like


def indexed_shape(shape: Shape, axes: Axes, index_shapes: tuple[Shape, ...]) -> Shape:
    """Return the shape that indexing ``axes`` with arrays of these shapes gives."""
    common = broadcast_shapes(*index_shapes)
    rest = [size for axis, size in enumerate(shape) if axis not in axes]
    first = min(axes)
    place = first if max(axes) - first < len(axes) else 0
    return (*rest[:place], *common, *rest[place:])


def index_of(ndim: int, axes: Axes, arrays: tuple[Array, ...]) -> tuple[Any, ...]:
    """Return the NumPy index that applies ``arrays`` to ``axes``."""
    index: list[Any] = [slice(None)] * ndim
    for axis, array in zip(axes, arrays, strict=True):
        index[axis] = array
    return tuple(index)


class Take(Primitive):
    """y = x[…, i, …, j, …]: the elements at the places given by index arrays for ``axes``"""

    name = "take"
    reads = ("*",)
    variadic = True

    def saves(self, need: Need) -> tuple[tuple[int, ...], bool]:
        return tuple(range(1, len(need))), False

    def shape(self, x: Any, *index: Any, axes: Axes) -> Spec:
        return Spec(indexed_shape(x.shape, axes, tuple([i.shape for i in index])), x.dtype)

    def evaluate(self, x: Array, *index: Array, axes: Axes) -> Array:
        if axes == (0,):
            return np.take(x, index[0], axis=0)
        return np.array(x[index_of(x.ndim, axes, index)], order="C")

    def lower(self, e: Any, x: Any, *index: Any, axes: Axes) -> Any:
        return e.take(x, index, axes, indexed_shape(x.shape, axes, tuple([i.shape for i in index])))

    def vjp(self, g: Node, y: Node, x: Node, *index: Node, need: Need, axes: Axes) -> Gradients:
        return op.spread(g, *index, axes=axes, shape=x.shape), *([None] * len(index))


class Spread(Primitive):
    """y = zeros of ``shape`` to which x is added at the places given by index arrays: the adjoint of take"""

    name = "spread"
    reads = ("*",)
    variadic = True

    def saves(self, need: Need) -> tuple[tuple[int, ...], bool]:
        return tuple(range(1, len(need))), False

    def shape(self, x: Any, *index: Any, axes: Axes, shape: Shape) -> Spec:
        return Spec(shape, x.dtype)

    def evaluate(self, x: Array, *index: Array, axes: Axes, shape: tuple[int, ...]) -> Array:
        y = np.zeros(shape, dtype=x.dtype)
        np.add.at(y, index_of(len(shape), axes, index), x)
        return y

    def lower(self, e: Any, x: Any, *index: Any, axes: Axes, shape: Shape) -> Any:
        return e.spread(x, index, axes, shape)

    def vjp(self, g: Node, y: Node, x: Node, *index: Node, need: Need, axes: Axes, shape: Shape) -> Gradients:
        return op.take(g, *index, axes=axes), *([None] * len(index))


class Put(Primitive):
    """y = a with b written at the places given by index arrays (the last write wins)"""

    name = "put"
    reads = ("*",)
    variadic = True

    def saves(self, need: Need) -> tuple[tuple[int, ...], bool]:
        return tuple(range(2, len(need))), False

    def shape(self, a: Any, b: Any, *index: Any, axes: Axes) -> Spec:
        return Spec(a.shape, one_dtype("put", a, b))

    def evaluate(self, a: Array, b: Array, *index: Array, axes: Axes) -> Array:
        y = np.array(a)
        y[index_of(y.ndim, axes, index)] = b
        return y

    def lower(self, e: Any, a: Any, b: Any, *index: Any, axes: Axes) -> Any:
        return e.put(a, b, index, axes)

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *index: Node, need: Need, axes: Axes) -> Gradients:
        da = db = None
        if need[0]:
            da = op.put(g, zeros_like(b), *index, axes=axes)
        if need[1]:
            db = op.take(g, *index, axes=axes)
        return da, db, *([None] * len(index))


class Iota(Primitive):
    """y = 0, 1, …, size - 1"""

    name = "iota"
    vjp = no_gradient("it has no input")

    def shape(self, *, size: Dim, dtype: Any) -> Spec:
        return Spec((size,), np.dtype(dtype))

    def evaluate(self, *, size: int, dtype: Any) -> Array:
        return np.arange(size, dtype=dtype)

    def lower(self, e: Any, *, size: Dim, dtype: Any) -> Any:
        return e.iota(size, np.dtype(dtype))


class Full(Primitive):
    """y = one value everywhere"""

    name = "full"
    vjp = no_gradient("it has no input")

    def shape(self, *, shape: Shape, dtype: Any, value: float) -> Spec:
        return Spec(shape, np.dtype(dtype))

    def evaluate(self, *, shape: tuple[int, ...], dtype: Any, value: float) -> Array:
        if math.prod(shape) * np.dtype(dtype).itemsize >= LARGE:  # many parameters are made so
            y = zeros_in_lines(shape, dtype)
            if not is_plain_zero(value):
                y[...] = value
            return y
        return np.zeros(shape, dtype=dtype) if is_plain_zero(value) else np.full(shape, value, dtype=dtype)

    def lower(self, e: Any, *, shape: Shape, dtype: Any, value: float) -> Any:
        return e.full(shape, value, np.dtype(dtype))


REFUSED = "refused"  # where an error carries the place and the value of the number that it is about


def refuse_labels(name: str, labels: Array, classes: int, ignored: int) -> None:
    """Raise unless all labels but the ignored ones are classes, 0 … classes - 1."""
    if not (labels.view(np.uint64) >= classes).any():  # a negative number is a large one
        return
    wrong = np.argwhere(((labels < 0) | (labels >= classes)) & (labels != ignored))
    if len(wrong):
        at = tuple(int(k) for k in wrong[0])
        place = "" if not at else f" in row {at[0]}" if len(at) == 1 else f" at {at}"
        more = f" ({len(wrong)} labels are wrong)" if len(wrong) > 1 else ""
        error = ArgumentError(
            f"{name}: got the label {int(labels[at])}{place}{more} for an input of {classes} classes",
            expected=f"0 … {classes - 1}",
            fix="number the classes from 0, and let the last layer have one output for each",
        )
        vars(error)[REFUSED] = at, int(labels[at])
        raise error


class ClassNumbers(Primitive):
    """y = x, the labels of a loss ``of`` that name; an error if one is no class and not ``ignored``"""

    name = "class_numbers"
    vjp = no_gradient("a label is an integer")

    def shape(self, x: Any, *, classes: Dim, ignored: int, of: str) -> Spec:
        return Spec(x.shape, x.dtype)

    def evaluate(self, x: Array, *, classes: int, ignored: int, of: str) -> Array:
        y = np.array(x)
        refuse_labels(of, y, classes, ignored)
        return y

    def lower(self, e: Any, x: Any, *, classes: Dim, ignored: int, of: str) -> Any:
        return x  # they are indices, which are checked; what is wrong is said by ``evaluate``


def refuse_rows(index: Array, rows: int) -> None:
    """Raise unless all of ``index`` are rows of a table, 0 … rows - 1."""
    wrong = (index < 0) | (index >= rows)
    if wrong.any():
        at = tuple(int(k) for k in np.argwhere(wrong)[0])
        place = f" at {list(at)}" if at else ""
        error = IndexingError(
            f"embedding: got the index {int(index[at])}{place} for a table of {rows} rows", expected=f"0 … {rows - 1}"
        )
        vars(error)[REFUSED] = at, int(index[at])
        raise error


class RowNumbers(Primitive):
    """y = x, numbers of rows of an embedding; an error if one is not in 0 … rows - 1"""

    name = "row_numbers"
    vjp = no_gradient("an index is an integer")

    def shape(self, x: Any, *, rows: Dim) -> Spec:
        return Spec(x.shape, x.dtype)

    def evaluate(self, x: Array, *, rows: int) -> Array:
        y = np.array(x)
        refuse_rows(y, rows)
        return y

    def lower(self, e: Any, x: Any, *, rows: Dim) -> Any:
        return x  # they are indices, which are checked; what is wrong is said by ``evaluate``


class IndexWithin(Primitive):
    """y = x, counted from the end if negative; an error if that is outside of 0 … size - 1"""

    name = "index_within"
    elementwise = True
    vjp = no_gradient("an index is an integer")

    def shape(self, x: Any, size: Any) -> Spec:
        return Spec(x.shape, x.dtype)

    def evaluate(self, x: Array, size: Array) -> Array:
        if np.any((x < -size) | (x >= size)):
            raise IndexingError(f"an index is outside of an axis with {size} elements")
        y: Array = np.where(x < 0, x + size, x)
        return y

    def lower(self, e: Any, x: Any, size: Any) -> Any:
        y = e.select(x < 0, x + size, x)
        inside = (y >= 0) & (y < size)
        e.require(inside)
        return e.select(inside, y, 0)
