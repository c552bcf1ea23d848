"""The rules of shapes, for sizes that are numbers or symbols: broadcasting, reshape, slices, windows, axes.

A size is a `Dim`: an int, or a `Size` where the size is not known while tracing (see `polynomial`). A rule that cannot
decide raises `UndecidedSize`. Plain ints take the short way: these rules are called for every traced operation.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any, TypeAlias

from chainrule.errors import ArgumentError, ArgumentTypeError, IndexingError, ShapeError
from chainrule.graph.numeric import as_int
from chainrule.graph.polynomial import (
    Dim,
    Size,
    UndecidedSize,
    divide,
    evaluate,
    is_never_negative,
    is_never_zero,
    is_same,
    symbol,
)
from chainrule.graph.size_in_code import plain

__all__ = [
    "Dim",
    "Shape",
    "Size",
    "UndecidedSize",
    "broadcast_shapes",
    "conv_output_size",
    "evaluate",
    "infer_reshape",
    "is_concrete",
    "normalize_axes",
    "normalize_axis",
    "numel",
    "same_shape",
    "slice_bounds",
    "slice_length",
    "surely_same",
    "surely_same_shape",
    "symbol",
]

Shape: TypeAlias = tuple[Dim, ...]


def is_concrete(shape: Iterable[Dim]) -> bool:
    """Say whether all sizes are numbers."""
    return not any(isinstance(size, Size) for size in shape)


def numel(shape: Iterable[Dim]) -> Dim:
    """Return the number of elements, the product of the sizes.

    >>> numel((symbol("n"), 3, 4)), numel(())
    (12*n, 1)
    """
    product: Dim = math.prod(shape)
    return product


def same_shape(a: Shape, b: Shape) -> bool:
    """Say whether two shapes are equal. Never compare shapes with ==: it asks about sizes before lengths.

    Raise `UndecidedSize` only if no other axis decides.
    """
    if a is b:
        return True
    if len(a) != len(b):
        return False
    doubt: UndecidedSize | None = None
    for x, y in zip(plain(a), plain(b), strict=True):
        if x is y:
            continue
        try:
            if x != y:
                return False
        except UndecidedSize as undecided:
            doubt = doubt or undecided
    if doubt is not None:
        raise doubt
    return True


def surely_same(a: Dim, b: Dim) -> bool:
    """Say whether two sizes are certainly equal; nothing is asked of a size that is not known yet."""
    if a is b:
        return True
    if isinstance(a, Size) or isinstance(b, Size):
        return is_same(a, b)
    return a == b


def surely_same_shape(a: Shape, b: Shape) -> bool:
    """Say whether two shapes are certainly equal."""
    return len(a) == len(b) and all(map(surely_same, a, b))


def broadcast_shapes(*shapes: Shape) -> Shape:
    """Return the shape that all broadcast to: aligned at the last axis, where sizes differ one of them is 1.

    >>> broadcast_shapes((symbol("n"), 1), (5,))
    (n, 5)
    """
    if len(shapes) == 2:
        return _broadcast_two(shapes[0], shapes[1])
    return reduce(_broadcast_two, shapes, ())


def _broadcast_two(a: Shape, b: Shape) -> Shape:
    if a is b:
        return a
    ahead = len(a) - len(b)
    if ahead < 0:
        a, b, ahead = b, a, -ahead
    out: list[Dim] | None = None  # until the longer shape needs a change
    for axis, y in enumerate(b, ahead):
        x = a[axis]
        if x is y or (type(y) is int and y == 1) or (isinstance(x, Size) and is_same(x, y)):
            continue
        if x == 1:
            out = list(a) if out is None else out
            out[axis] = y
        elif not (x == y or y == 1):
            raise ShapeError(
                f"shapes {a} and {b} do not broadcast: {x} meets {y} in axis {axis - len(a)}",
                expected="equal sizes, or 1",
            )
    return a if out is None else tuple(out)


def infer_reshape(old: Shape, new: Sequence[Dim]) -> Shape:
    """Return the new shape with its one -1, if any, replaced by what the number of elements leaves.

    Raise ShapeError if the elements do not fit, `UndecidedSize` if that depends on the size.

    >>> infer_reshape((symbol("n"), 3, 4), (-1, 6))
    (2*n, 6)
    """
    shape = tuple(new)
    total = numel(old)
    place = None
    for axis, size in enumerate(shape):
        if type(size) is int and size < 0:
            if size < -1 or place is not None:
                raise ShapeError(f"reshape: got the shape {shape}", expected="sizes of 0 or more, and at most one -1")
            place = axis
    if place is None:
        if total != (wanted := numel(shape)):
            raise _does_not_fit(old, shape, f"{wanted} elements")
        return shape
    others = numel(shape[:place] + shape[place + 1 :])
    if not isinstance(others, Size) and others == 0:
        raise ShapeError(
            f"reshape: got the shape {shape} for {old} with {total} elements, where -1 may be any number",
            expected="no size of 0 beside -1",
        )
    return (*shape[:place], _exact_quotient(old, shape, total, others), *shape[place + 1 :])


def _exact_quotient(old: Shape, new: Shape, total: Dim, others: Dim) -> Dim:
    total, others = plain(total), plain(others)
    concrete = not isinstance(total, Size) and not isinstance(others, Size)
    quotient, rest = divmod(total, others) if concrete else divide(total, others)
    if not isinstance(rest, Size) and rest == 0:
        whole: Dim = quotient
        return whole
    if is_never_zero(total % others):
        raise _does_not_fit(old, new, f"a multiple of {others} elements")
    symbols = {name for size in (total, others) if isinstance(size, Size) for name in size.symbols}
    raise UndecidedSize(f"is {total} divisible by {others}", tuple(sorted(symbols)))


def _does_not_fit(old: Shape, new: Shape, expected: str) -> ShapeError:
    return ShapeError(f"reshape: got {old} with {numel(old)} elements for the shape {new}", expected=expected)


def normalize_axis(axis: int, ndim: int) -> int:
    """Return the axis counted from the front; as in PyTorch a 0-d tensor has the axes -1 and 0, both returned as 0."""
    if type(axis) is not int:
        try:
            axis = operator.index(axis)
        except TypeError:
            kind = type(axis).__name__
            raise ArgumentTypeError(f"axis: got {axis!r} of type {kind}", expected="an int") from None
    axes = ndim or 1
    if not -axes <= axis < axes:
        raise IndexingError(f"axis {axis} is out of range for {ndim} axes", expected=f"{-axes} to {axes - 1}")
    return axis + axes if axis < 0 else axis


def normalize_axes(axes: int | Iterable[int] | None, ndim: int) -> tuple[int, ...]:
    """Return the axes counted from the front, in the order given; None is all, and all of a 0-d tensor is ().

    >>> normalize_axes((-1, 0), 3), normalize_axes(None, 2), normalize_axes(-1, 0)
    ((2, 0), (0, 1), ())
    """
    if axes is None:
        return tuple(range(ndim))
    one: Any = axes if isinstance(axes, (tuple, list)) else as_int(axes)
    given: tuple[Any, ...] = tuple(one) if isinstance(one, Iterable) and getattr(one, "ndim", None) != 0 else (one,)
    normal = tuple(normalize_axis(axis, ndim) for axis in given)
    if len(set(normal)) < len(normal):
        raise ArgumentError(f"axes {given} of {ndim} axes name one twice", expected="each axis once")
    return normal if ndim else ()


def slice_bounds(size: Dim, start: Dim | None, stop: Dim | None, step: Dim = 1) -> tuple[Dim, Dim]:
    """Return start and stop as `slice.indices` does: counted from the front and within the axis."""
    if not step:
        raise ArgumentError("slice: got step 0", expected="a step other than 0")
    lowest, highest = (0, size) if step > 0 else (-1, size - 1)

    def within(index: Dim) -> Dim:
        if index < 0:
            index = index + size
            return lowest if index < 0 else index
        return highest if index > highest else index

    first, last = (lowest, highest) if step > 0 else (highest, lowest)
    return first if start is None else within(start), last if stop is None else within(stop)


def slice_length(size: Dim, start: Dim | None, stop: Dim | None, step: Dim = 1) -> Dim:
    """Return the length of ``x[start:stop:step]`` along an axis of that size, by Python's rule.

    >>> n = symbol("n")
    >>> slice_length(n, None, n // 2), slice_length(n, n // 2, None), slice_length(n, None, -1)
    (n//2, n - n//2, n - 1)
    """
    first, last = slice_bounds(size, start, stop, step)
    span, stride = (last - first, step) if step > 0 else (first - last, -step)
    length: Dim = (span + stride - 1) // stride if span >= 0 else 0
    return length


def conv_output_size(
    size: Dim, kernel: int, *, stride: int = 1, padding: int | tuple[int, int] = 0, dilation: int = 1
) -> Dim:
    """Return the number of places of a window: (size + padding - dilation (kernel - 1) - 1) // stride + 1.

    ``padding`` is what each side gets, or (before, after). Raise ShapeError if the window is larger than the padded
    axis; of a symbolic size only if it is so for all values: where it is too small has to be refused once known.
    """
    before, after = padding if isinstance(padding, tuple) else (padding, padding)
    reach = dilation * (kernel - 1) + 1
    room = size + before + after - reach
    if is_never_negative(-room - 1):
        raise ShapeError(
            f"a window of {kernel} with dilation {dilation} covers {reach} of an axis of {size}, "
            f"padded by {before} and {after}",
            expected=f"an axis of {reach} or more with its padding",
        )
    places: Dim = room // stride + 1
    return places
