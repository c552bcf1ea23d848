"""Many elements into one: sums, products, extremes, their places, running sums, and softmax.

``axes`` is a tuple of distinct axes, ``axis`` one axis, all counted from 0. Reduced axes vanish; reshape brings them back.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import ShapeError
from chainrule.graph import Array, Node, Primitive, Spec, no_gradient, op
from chainrule.graph.sizes import Shape
from chainrule.ops.rules import BOOL, INT64, Axes, Need


def without_axes(shape: Shape, axes: Axes) -> Shape:
    """Return ``shape`` with the reduced axes gone."""
    return tuple([size for axis, size in enumerate(shape) if axis not in axes])


def with_ones(shape: Shape, axes: Axes) -> Shape:
    """Return ``shape`` with size 1 at the reduced axes."""
    return tuple([1 if axis in axes else size for axis, size in enumerate(shape)])


def restore(g: Node, x: Node, axes: Axes) -> Node:
    """Repeat ``g`` along the reduced axes: the adjoint of a sum."""
    if len(axes) == len(x.shape):
        return op.expand(g, shape=x.shape)
    return op.expand(op.reshape(g, shape=with_ones(x.shape, axes)), shape=x.shape)


# Terms that are added one after the other, as NumPy does unless they lie side by side; then what the parts give.
PART = 32


def added(x: Array, axes: Axes) -> Any:
    """Return Σ x over axes; long sums of floats in parts, so that a term meets few roundings."""
    is_long = x.dtype.kind == "f" and math.prod([x.shape[axis] for axis in axes]) > 2 * PART
    if is_long and not (x.flags.c_contiguous and x.ndim - 1 in axes):
        return _added_in_parts(x, axes)
    return np.add.reduce(x, axis=axes, dtype=x.dtype)


def _added_in_parts(x: Array, axes: Axes) -> Any:
    in_memory = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    left = [axis for axis in in_memory if axis not in axes]
    x = x.transpose(in_memory)
    for place in reversed(range(x.ndim)):
        if in_memory[place] in axes:
            while x.shape[place] > 2 * PART and x.strides[place] != x.itemsize:
                x = _parts(x, place)
            x = np.add.reduce(x, axis=place, dtype=x.dtype)
    return x.transpose([left.index(axis) for axis in sorted(left)])


def _parts(x: Array, axis: int) -> Array:
    """Return the sums of parts of an axis."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    count, rest = divmod(x.shape[axis], PART)
    if not rest:
        whole: Array = x.reshape(*before, count, PART, *after).sum(axis + 1, dtype=x.dtype)
        return whole
    y = np.empty((*before, count + 1, *after), x.dtype)
    start = (slice(None),) * axis
    first = x[(*start, slice(count * PART))].reshape(*before, count, PART, *after)
    np.add.reduce(first, axis=axis + 1, out=y[(*start, slice(count))])
    np.add.reduce(x[(*start, slice(count * PART, None))], axis=axis, out=y[(*start, slice(count, None))], keepdims=True)
    return y


class Sum(Primitive):
    """y = Σ x over axes"""

    name = "sum"
    reads = ("",)

    def shape(self, x: Any, *, axes: Axes) -> Spec:
        return Spec(without_axes(x.shape, axes), x.dtype)

    def evaluate(self, x: Array, *, axes: Axes) -> Any:
        return added(x, axes)

    def lower(self, e: Any, x: Any, *, axes: Axes) -> Any:
        return e.fold("add", x, axes)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need, axes: Axes) -> Node:
        return restore(g, x, axes)  # d Σx = Σ dx


class SumTo(Primitive):
    """y = x summed down to a shape that broadcasts to x's: the adjoint of expand"""

    name = "sum_to"
    reads = ("",)

    def shape(self, x: Any, *, shape: Shape) -> Spec:
        return Spec(shape, x.dtype)

    def evaluate(self, x: Array, *, shape: tuple[int, ...]) -> Any:
        extra = x.ndim - len(shape)
        axes = tuple(range(extra))
        if x.shape[extra:] == shape:
            return added(x, axes) if axes else np.array(x)
        axes += tuple([axis for axis in range(extra, x.ndim) if shape[axis - extra] == 1 and x.shape[axis] != 1])
        return added(x, axes).reshape(shape)

    def lower(self, e: Any, x: Any, *, shape: Shape) -> Any:
        extra = x.ndim - len(shape)
        axes = [k for k, n in enumerate(x.shape) if k < extra or (_is_one(shape[k - extra]) and not _is_one(n))]
        return e.reshape(e.fold("add", x, axes), shape)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need, shape: Shape) -> Node:
        return op.expand(g, shape=x.shape)  # d Σx = Σ dx


def _is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1


class Prod(Primitive):
    """y = Π x along axis"""

    name = "prod"
    reads = ("x",)

    def shape(self, x: Any, *, axis: int) -> Spec:
        return Spec(without_axes(x.shape, (axis,)), x.dtype)

    def evaluate(self, x: Array, *, axis: int) -> Any:
        return np.multiply.reduce(x, axis=axis, dtype=x.dtype)

    def lower(self, e: Any, x: Any, *, axis: int) -> Any:
        return e.fold("mul", x, (axis,))

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need, axis: int) -> Node:
        # ∂y/∂xᵢ is the product of the others: those before i times those after i, exact where some xⱼ = 0
        before = products_before(x, axis)
        after = op.flip(products_before(op.flip(x, axes=(axis,)), axis), axes=(axis,))
        return restore(g, x, (axis,)) * (before * after)


def products_before(x: Node, axis: int) -> Node:
    """Return the products of all elements before each one, in log₂(size) steps of shifting and multiplying."""
    size = int(x.shape[axis])
    y = _shift(x, axis, 1)
    step = 1
    while step < size:
        y = y * _shift(y, axis, step)
        step *= 2
    return y


def _shift(x: Node, axis: int, step: int) -> Node:
    """Move elements ``step`` places up along ``axis``; ones come in."""
    low = tuple([step if k == axis else 0 for k in range(x.ndim)])
    none = (0,) * x.ndim
    padded = op.pad(x, low=low, high=none, interior=none, value=1)
    return op.slice(padded, starts=none, stops=x.shape, steps=(1,) * x.ndim)


class Extreme(Primitive, abstract=True):
    """The largest or smallest element over axes; its gradient is shared evenly among ties."""

    reads = ("x y",)

    def shape(self, x: Any, *, axes: Axes) -> Spec:
        for axis in axes:
            if isinstance(x.shape[axis], int) and x.shape[axis] == 0:
                raise ShapeError(
                    f"{self.name}: axis {axis} of shape {tuple(x.shape)} has no element", expected="at least one"
                )
        return Spec(without_axes(x.shape, axes), x.dtype)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need, axes: Axes) -> Node:
        # dy = the mean of dx over the places where x = y
        attained = op.cast(op.eq(x, restore(y, x, axes)), dtype=x.dtype)
        return attained * restore(g / op.sum(attained, axes=axes), x, axes)


class Amax(Extreme):
    """y = the largest x over axes; NaN if any is"""

    name = "amax"

    def evaluate(self, x: Array, *, axes: Axes) -> Any:
        return np.maximum.reduce(x, axis=axes)

    def lower(self, e: Any, x: Any, *, axes: Axes) -> Any:
        return e.fold("max", x, axes)


class Amin(Extreme):
    """y = the smallest x over axes; NaN if any is"""

    name = "amin"

    def evaluate(self, x: Array, *, axes: Axes) -> Any:
        return np.minimum.reduce(x, axis=axes)

    def lower(self, e: Any, x: Any, *, axes: Axes) -> Any:
        return e.fold("min", x, axes)


class Place(Primitive, abstract=True):
    """Where the extreme is along one axis: the first place if there are several."""

    vjp = no_gradient("a place is an integer")

    def shape(self, x: Any, *, axis: int) -> Spec:
        if isinstance(x.shape[axis], int) and x.shape[axis] == 0:
            raise ShapeError(f"{self.name}: axis {axis} of shape {tuple(x.shape)} is empty", expected="an element")
        return Spec(without_axes(x.shape, (axis,)), INT64)


class Argmax(Place):
    """y = the place of the largest x along axis; a NaN counts as the largest"""

    name = "argmax"

    def evaluate(self, x: Array, *, axis: int) -> Array:
        return np.asarray(np.argmax(x, axis=axis), dtype=INT64)

    def lower(self, e: Any, x: Any, *, axis: int) -> Any:
        return e.place("max", x, axis)


class Argmin(Place):
    """y = the place of the smallest x along axis; a NaN counts as the smallest"""

    name = "argmin"

    def evaluate(self, x: Array, *, axis: int) -> Array:
        return np.asarray(np.argmin(x, axis=axis), dtype=INT64)

    def lower(self, e: Any, x: Any, *, axis: int) -> Any:
        return e.place("min", x, axis)


class RunningPlace(Primitive, abstract=True):
    """Where the extreme of the elements up to each one is: the last place if there are several; a NaN stays."""

    vjp = no_gradient("a place is an integer")
    running: ClassVar[Any]

    def shape(self, x: Any, *, axis: int) -> Spec:
        return Spec(x.shape, INT64)

    def evaluate(self, x: Array, *, axis: int) -> Any:
        attained = (x == self.running.accumulate(x, axis=axis)) | (x != x)
        places = np.arange(x.shape[axis]).reshape([-1 if k == axis else 1 for k in range(x.ndim)])
        return np.maximum.accumulate(np.where(attained, places, 0), axis=axis)


class Cumargmax(RunningPlace):
    """yᵢ = the last place of the largest xⱼ over j ≤ i along axis"""

    name = "cumargmax"
    running = np.maximum

    def lower(self, e: Any, x: Any, *, axis: int) -> Any:
        return e.sweep("argmax", x, axis)


class Cumargmin(RunningPlace):
    """yᵢ = the last place of the smallest xⱼ over j ≤ i along axis"""

    name = "cumargmin"
    running = np.minimum

    def lower(self, e: Any, x: Any, *, axis: int) -> Any:
        return e.sweep("argmin", x, axis)


class Argsort(Primitive):
    """y = the places of x's elements in rising (or falling) order along axis, ties in their order, NaN the largest"""

    name = "argsort"
    vjp = no_gradient("places are integers")

    def shape(self, x: Any, *, axis: int, descending: bool) -> Spec:
        return Spec(x.shape, INT64)

    def evaluate(self, x: Array, *, axis: int, descending: bool) -> Array:
        if not descending:
            return np.argsort(x, axis=axis, kind="stable")
        backward = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
        return np.array(np.flip(x.shape[axis] - 1 - backward, axis), order="C")

    def lower(self, e: Any, x: Any, *, axis: int, descending: bool) -> Any:
        return e.order(x, axis, descending=descending)


class Any_(Primitive):
    """y = whether any x over axes is true"""

    name = "any"
    vjp = no_gradient("a truth value does not change by small steps")

    def shape(self, x: Any, *, axes: Axes) -> Spec:
        return Spec(without_axes(x.shape, axes), BOOL)

    def evaluate(self, x: Array, *, axes: Axes) -> Any:
        return np.logical_or.reduce(x, axis=axes)

    def lower(self, e: Any, x: Any, *, axes: Axes) -> Any:
        return e.fold("or", e.map("cast", x, dtype=BOOL), axes)


class All_(Primitive):
    """y = whether all x over axes are true"""

    name = "all"
    vjp = no_gradient("a truth value does not change by small steps")

    def shape(self, x: Any, *, axes: Axes) -> Spec:
        return Spec(without_axes(x.shape, axes), BOOL)

    def evaluate(self, x: Array, *, axes: Axes) -> Any:
        return np.logical_and.reduce(x, axis=axes)

    def lower(self, e: Any, x: Any, *, axes: Axes) -> Any:
        return e.fold("and", e.map("cast", x, dtype=BOOL), axes)


class Cumsum(Primitive):
    """yᵢ = Σ xⱼ over j ≤ i along axis (j ≥ i with ``reverse``); float32 is added up in float64, as in PyTorch"""

    name = "cumsum"
    reads = ("",)

    def shape(self, x: Any, *, axis: int, reverse: bool) -> Spec:
        return Spec(x.shape, x.dtype)

    def evaluate(self, x: Array, *, axis: int, reverse: bool) -> Array:
        in_order = np.flip(x, axis) if reverse else x
        y = np.cumsum(in_order, axis=axis, dtype=np.float64 if x.dtype == np.float32 else x.dtype)
        return np.ascontiguousarray(np.flip(y, axis) if reverse else y, x.dtype)

    def lower(self, e: Any, x: Any, *, axis: int, reverse: bool) -> Any:
        return e.sweep("sum", x, axis, reverse=reverse)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need, axis: int, reverse: bool) -> Node:
        return op.cumsum(g, axis=axis, reverse=not reverse)  # xⱼ is in every yᵢ with i ≥ j


def below_maximum(x: Array, axis: int) -> Array:
    """Return x - max x, whose exponential does not overflow; an infinite maximum gives NaN as the mathematics does."""
    y: Array = x - np.maximum.reduce(x, axis=axis, keepdims=True, initial=-np.inf)
    return y


def _below_maximum(e: Any, x: Any, axis: int) -> Any:
    return e.map("sub", x, e.reshape(e.fold("max", x, (axis,)), with_ones(x.shape, (axis,))))


class Softmax(Primitive):
    """yᵢ = e^xᵢ / Σⱼ e^xⱼ along axis"""

    name = "softmax"
    reads = ("y",)

    def shape(self, x: Any, *, axis: int) -> Spec:
        return Spec(x.shape, x.dtype)

    def evaluate(self, x: Array, *, axis: int) -> Array:
        y = below_maximum(x, axis)
        np.exp(y, out=y)
        y /= np.expand_dims(added(y, (axis,)), axis)
        return y

    def lower(self, e: Any, x: Any, *, axis: int) -> Any:
        y = e.map("exp", _below_maximum(e, x, axis))
        return e.map("div", y, e.reshape(e.fold("add", y, (axis,)), with_ones(x.shape, (axis,))))

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need, axis: int) -> Node:
        # dyᵢ = yᵢ (dxᵢ - Σⱼ yⱼ dxⱼ)
        gy = g * y
        return gy - y * op.sum_to(gy, shape=with_ones(x.shape, (axis,)))


class LogSoftmax(Primitive):
    """yᵢ = xᵢ - log Σⱼ e^xⱼ along axis"""

    name = "log_softmax"
    reads = ("y",)

    def shape(self, x: Any, *, axis: int) -> Spec:
        return Spec(x.shape, x.dtype)

    def evaluate(self, x: Array, *, axis: int) -> Array:
        y = below_maximum(x, axis)
        y -= np.log(np.expand_dims(added(np.exp(y), (axis,)), axis))
        return y

    def lower(self, e: Any, x: Any, *, axis: int) -> Any:
        y = _below_maximum(e, x, axis)
        total = e.fold("add", e.map("exp", y), (axis,))
        return e.map("sub", y, e.reshape(e.map("log", total), with_ones(x.shape, (axis,))))

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need, axis: int) -> Node:
        # dyᵢ = dxᵢ - Σⱼ e^yⱼ dxⱼ
        return g - op.exp(y) * op.sum_to(g, shape=with_ones(x.shape, (axis,)))
