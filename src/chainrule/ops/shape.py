"""Elements kept, places changed: reshape, permute, slice and pad, join, repeat.

Those marked ``view = True`` give a view of their input's memory wherever NumPy can. Sizes may be symbols.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.graph import Array, Gradients, Node, Primitive, Spec, op, primitive
from chainrule.graph.sizes import Dim, Shape, broadcast_shapes, numel, same_shape
from chainrule.ops.rules import Axes, Need, is_plain_zero, one_dtype, zeros_like

Sizes = tuple[Dim, ...]


class Reshape(Primitive):
    """y = the elements of x, in row-major order, in another shape"""

    name = "reshape"
    reads = ("",)
    view = True

    def shape(self, x: Any, *, shape: Shape) -> Spec:
        if numel(shape) != numel(x.shape):
            raise ShapeError(f"reshape: {numel(x.shape)} elements of {tuple(x.shape)} do not fill {tuple(shape)}")
        return Spec(shape, x.dtype)

    def evaluate(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        return x.reshape(shape)

    def lower(self, e: Any, x: Any, *, shape: Shape) -> Any:
        return e.reshape(x, shape)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need, shape: Shape) -> Node:
        return op.reshape(g, shape=x.shape)  # the inverse of moving elements is its adjoint


class Permute(Primitive):
    """y = x with its axes in another order: axis k of y is axis axes[k] of x"""

    name = "permute"
    reads = ("",)
    view = True

    def shape(self, x: Any, *, axes: Axes) -> Spec:
        return Spec(tuple([x.shape[axis] for axis in axes]), x.dtype)

    def evaluate(self, x: Array, *, axes: Axes) -> Array:
        return x.transpose(axes)

    def lower(self, e: Any, x: Any, *, axes: Axes) -> Any:
        return e.permute(x, axes)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need, axes: Axes) -> Node:
        return op.permute(g, axes=inverse(axes))


def inverse(axes: Axes) -> Axes:
    """Return the permutation that undoes ``axes``."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


class Expand(Primitive):
    """y = x repeated along new axes in front and along axes of size 1, without copying"""

    name = "expand"
    reads = ("",)
    view = True

    def shape(self, x: Any, *, shape: Shape) -> Spec:
        if not same_shape(broadcast_shapes(x.shape, shape), shape):
            raise ShapeError(
                f"expand: a shape {tuple(x.shape)} does not expand to {tuple(shape)}",
                expected="the same sizes, or 1 where it grows",
            )
        return Spec(shape, x.dtype)

    def evaluate(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        if x.ndim:
            return np.broadcast_to(x, shape)
        y: Array = np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))  # the same, in a fifth of the time
        y.flags.writeable = False
        return y

    def lower(self, e: Any, x: Any, *, shape: Shape) -> Any:
        return e.expand(x, shape)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need, shape: Shape) -> Node:
        return op.sum_to(g, shape=x.shape)  # each x is in several y


def count_steps(start: Dim, stop: Dim, step: int) -> Dim:
    """Return how many of start, start+step, … lie below stop."""
    span = stop - start
    if step == 1:
        return span
    return (span + (step - 1)) // step


def slices(starts: Sizes, stops: Sizes, steps: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the NumPy index of a slice along every axis; the ``...`` makes the result an array also in 0-d."""
    return (*[slice(a, b, c) for a, b, c in zip(starts, stops, steps, strict=True)], ...)


def hole(shape: Shape, starts: Sizes, stops: Sizes, steps: tuple[int, ...]) -> tuple[Sizes, Sizes, Sizes]:
    """Return the padding (low, high, interior) that puts a slice of ``shape`` back to its places."""
    low, high, interior = [], [], []
    for size, start, stop, step in zip(shape, starts, stops, steps, strict=True):
        count = count_steps(start, stop, step)
        empty = isinstance(count, int) and count == 0
        low.append(start)
        high.append(size - start if empty else size - start - (count - 1) * step - 1)
        interior.append(step - 1)
    return tuple(low), tuple(high), tuple(interior)


class Slice(Primitive):
    """y = x[start:stop:step] along every axis; 0 ≤ start ≤ stop ≤ size, step ≥ 1"""

    name = "slice"
    reads = ("",)
    view = True

    def shape(self, x: Any, *, starts: Sizes, stops: Sizes, steps: tuple[int, ...]) -> Spec:
        sizes = [count_steps(a, b, c) for a, b, c in zip(starts, stops, steps, strict=True)]
        return Spec(tuple(sizes), x.dtype)

    def evaluate(self, x: Array, *, starts: Sizes, stops: Sizes, steps: tuple[int, ...]) -> Array:
        y: Array = x[slices(starts, stops, steps)]
        return y

    def lower(self, e: Any, x: Any, *, starts: Sizes, stops: Sizes, steps: tuple[int, ...]) -> Any:
        return e.slice(x, starts, steps, self.shape(x, starts=starts, stops=stops, steps=steps).shape)

    def vjp(
        self, g: Node, y: Node, x: Node, *, need: Need, starts: Sizes, stops: Sizes, steps: tuple[int, ...]
    ) -> Node:
        low, high, interior = hole(x.shape, starts, stops, steps)
        return op.pad(g, low=low, high=high, interior=interior, value=0)


class Pad(Primitive):
    """y = x with ``low`` and ``high`` elements of ``value`` around each axis and ``interior`` between neighbours"""

    name = "pad"
    reads = ("",)

    def shape(self, x: Any, *, low: Sizes, high: Sizes, interior: Sizes, value: float) -> Spec:
        sizes = []
        for size, a, b, c in zip(x.shape, low, high, interior, strict=True):
            spread = size if isinstance(c, int) and c == 0 else size + c * (size - 1 if size != 0 else 0)
            sizes.append(spread + a + b)
        return Spec(tuple(sizes), x.dtype)

    def evaluate(self, x: Array, *, low: Any, high: Any, interior: Any, value: float) -> Array:
        shape = [n + c * max(n - 1, 0) + a + b for n, a, b, c in zip(x.shape, low, high, interior, strict=True)]
        y = np.zeros(shape, dtype=x.dtype) if is_plain_zero(value) else np.full(shape, value, dtype=x.dtype)
        inner = [slice(a, a + n + c * max(n - 1, 0), c + 1) for n, a, c in zip(x.shape, low, interior, strict=True)]
        y[tuple(inner)] = x
        return y

    def lower(self, e: Any, x: Any, *, low: Sizes, high: Sizes, interior: Sizes, value: float) -> Any:
        shape = self.shape(x, low=low, high=high, interior=interior, value=value).shape
        return e.pad(x, low, interior, value, shape)

    def vjp(
        self, g: Node, y: Node, x: Node, *, need: Need, low: Sizes, high: Sizes, interior: Sizes, value: float
    ) -> Node:
        stops = []
        for size, a, c in zip(x.shape, low, interior, strict=True):
            plain = isinstance(c, int) and c == 0
            stops.append(a + size if plain else a + (size + c * (size - 1) if size != 0 else 0))
        steps = tuple([int(c) + 1 for c in interior])
        return op.slice(g, starts=low, stops=tuple(stops), steps=steps)


class PutSlice(Primitive):
    """y = a with the slice [start:stop:step] replaced by b"""

    name = "put_slice"
    reads = ("", "")

    def shape(self, a: Any, b: Any, *, starts: Sizes, stops: Sizes, steps: tuple[int, ...]) -> Spec:
        return Spec(a.shape, one_dtype("put_slice", a, b))

    def evaluate(self, a: Array, b: Array, *, starts: Sizes, stops: Sizes, steps: tuple[int, ...]) -> Array:
        y = np.array(a)
        y[slices(starts, stops, steps)] = b
        return y

    def lower(self, e: Any, a: Any, b: Any, *, starts: Sizes, stops: Sizes, steps: tuple[int, ...]) -> Any:
        window = tuple([count_steps(i, j, k) for i, j, k in zip(starts, stops, steps, strict=True)])
        return e.put_slice(a, b, starts, steps, window)

    def vjp(
        self, g: Node, y: Node, a: Node, b: Node, *, need: Need, starts: Sizes, stops: Sizes, steps: tuple[int, ...]
    ) -> Gradients:
        da = db = None
        if need[0]:  # what was replaced has no influence
            da = op.put_slice(g, zeros_like(b), starts=starts, stops=stops, steps=steps)
        if need[1]:
            db = op.slice(g, starts=starts, stops=stops, steps=steps)
        return da, db


def writable_diagonal(x: Array, offset: int, axis1: int, axis2: int) -> Array:
    """Return the view of a diagonal, writable if ``x`` is (NumPy's is not)."""
    y = np.diagonal(x, offset, axis1, axis2)
    if x.flags.writeable:
        y.flags.writeable = True
    return y


class Diagonal(Primitive):
    """y = the diagonal of two axes, as the last axis; ``offset`` > 0 above the main one"""

    name = "diagonal"
    reads = ("",)
    view = True

    def shape(self, x: Any, *, offset: int, axis1: int, axis2: int) -> Spec:
        rows, columns = x.shape[axis1] + min(offset, 0), x.shape[axis2] - max(offset, 0)
        length = rows if rows is columns or not columns < rows else columns
        rest = tuple([size for axis, size in enumerate(x.shape) if axis not in (axis1, axis2)])
        return Spec((*rest, 0 if length < 0 else length), x.dtype)

    def evaluate(self, x: Array, *, offset: int, axis1: int, axis2: int) -> Array:
        return writable_diagonal(x, offset, axis1, axis2)

    def lower(self, e: Any, x: Any, *, offset: int, axis1: int, axis2: int) -> Any:
        shape = self.shape(x, offset=offset, axis1=axis1, axis2=axis2).shape
        return e.diagonal(x, offset, axis1, axis2, shape)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need, offset: int, axis1: int, axis2: int) -> Node:
        return op.put_diagonal(zeros_like(x), g, offset=offset, axis1=axis1, axis2=axis2)


class PutDiagonal(Primitive):
    """y = a with a diagonal replaced by b"""

    name = "put_diagonal"
    reads = ("", "")

    def shape(self, a: Any, b: Any, *, offset: int, axis1: int, axis2: int) -> Spec:
        return Spec(a.shape, one_dtype("put_diagonal", a, b))

    def evaluate(self, a: Array, b: Array, *, offset: int, axis1: int, axis2: int) -> Array:
        y = np.array(a)
        writable_diagonal(y, offset, axis1, axis2)[...] = b
        return y

    def lower(self, e: Any, a: Any, b: Any, *, offset: int, axis1: int, axis2: int) -> Any:
        window = primitive(Diagonal.name).shape(a, offset=offset, axis1=axis1, axis2=axis2).shape
        return e.put_diagonal(a, b, offset, axis1, axis2, window)

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need, offset: int, axis1: int, axis2: int) -> Gradients:
        da = db = None
        if need[0]:  # what was replaced has no influence
            da = op.put_diagonal(g, zeros_like(b), offset=offset, axis1=axis1, axis2=axis2)
        if need[1]:
            db = op.diagonal(g, offset=offset, axis1=axis1, axis2=axis2)
        return da, db


class Flip(Primitive):
    """y = x with axes reversed"""

    name = "flip"
    reads = ("",)

    def shape(self, x: Any, *, axes: Axes) -> Spec:
        return Spec(x.shape, x.dtype)

    def evaluate(self, x: Array, *, axes: Axes) -> Array:
        return np.array(np.flip(x, axes), order="C")

    def lower(self, e: Any, x: Any, *, axes: Axes) -> Any:
        return e.flip(x, axes)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need, axes: Axes) -> Node:
        return op.flip(g, axes=axes)


class Concat(Primitive):
    """y = the inputs joined along axis"""

    name = "concat"
    reads = ("",)
    variadic = True

    def shape(self, *xs: Any, axis: int) -> Spec:
        first = xs[0].shape
        for k, x in enumerate(xs):
            rest_fits = len(x.shape) == len(first) and all(
                a is b or a == b for i, (a, b) in enumerate(zip(x.shape, first, strict=True)) if i != axis
            )
            if not rest_fits:
                raise ShapeError(
                    f"concat: input {k} has shape {tuple(x.shape)}, input 0 {tuple(first)}",
                    expected=f"equal sizes on every axis but {axis}",
                )
        total: Dim = 0
        for x in xs:
            total = total + x.shape[axis]
        return Spec((*first[:axis], total, *first[axis + 1 :]), one_dtype("concat", *xs))

    def evaluate(self, *xs: Array, axis: int) -> Array:
        return np.concatenate(xs, axis=axis)

    def lower(self, e: Any, *xs: Any, axis: int) -> Any:
        return e.concat(xs, axis, self.shape(*xs, axis=axis).shape)

    def vjp(self, g: Node, y: Node, *xs: Node, need: Need, axis: int) -> Gradients:
        parts: list[Node | None] = []
        start: Dim = 0
        for x, wanted in zip(xs, need, strict=True):
            stop = start + x.shape[axis]
            starts = tuple([start if k == axis else 0 for k in range(x.ndim)])
            stops = tuple([stop if k == axis else size for k, size in enumerate(x.shape)])
            parts.append(op.slice(g, starts=starts, stops=stops, steps=(1,) * x.ndim) if wanted else None)
            start = stop
        return tuple(parts)
