"""Reading and writing parts of a tensor, as PyTorch indexes (not as NumPy, where integers meet index arrays).

First integers, slices, ``None`` and ``...`` are peeled off: they give a view. Then the index arrays that are left index
the view: gather to read, scatter to write. A boolean mask is the index arrays of its true places.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, DtypeError, IndexingError, ShapeError
from chainrule.graph import primitive
from chainrule.graph.sizes import Size, broadcast_shapes, same_shape, slice_bounds
from chainrule.ops.index import indexed_shape
from chainrule.tensors.apply import apply, cast
from chainrule.tensors.dtypes import I64
from chainrule.tensors.logic import where
from chainrule.tensors.memory import SLICE, view, write
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor, concrete, is_array, numpy_dtype
from chainrule.tensors.views import expand, reshaped, select

TAKE, PUT, IOTA = primitive("take"), primitive("put"), primitive("iota")

Arrays = list[tuple[int, Any]]  # the axis of the view, and the index array or mask for it (or for it and the next)


def getitem(input: Tensor, index: Any) -> Tensor:
    """Return a part: a view for integers, slices, None and ...; a copy for index arrays and masks."""
    if type(index) is int and input.ndim:
        return select(input, 0, index)
    y, arrays = peel(input, index)
    if not arrays:
        return y
    axes, places = places_of(y, arrays)
    return apply(TAKE, (y, *places), {"axes": axes})


def setitem(input: Tensor, index: Any, value: Any) -> None:
    """Write into a part; the value is converted and broadcast."""
    new = cast(value, numpy_dtype(input)) if isinstance(value, Tensor) else _value_tensor(value, input)
    if STATE.mode == TRACE and isinstance(index, Tensor) and _is_mask(index) and new.ndim == 0:
        behind = (1,) * (input.ndim - index.ndim)
        write(input, where(reshaped(index, (*tuple(index.shape), *behind)), new, input))
        return
    y, arrays = peel(input, index)
    if not arrays:
        write(y, _without_leading_ones(new, y.ndim))
        return
    if isinstance(value, Tensor) and numpy_dtype(value).kind == "f" and numpy_dtype(input).kind != "f":
        raise DtypeError(f"writing {numpy_dtype(value)} values into a {numpy_dtype(input)} tensor", fix="convert first")
    axes, places = places_of(y, arrays)
    write(y, put(y, axes, places, new))


def put(x: Tensor, axes: tuple[int, ...], places: tuple[Tensor, ...], new: Tensor) -> Tensor:
    """Return a copy of x with ``new`` (broadcast) at the places that index tensors give for the axes."""
    shape = indexed_shape(tuple(x.shape), axes, tuple([tuple(i.shape) for i in places]))
    part = _without_leading_ones(new, len(shape))
    if not same_shape(tuple(part.shape), shape):
        if not same_shape(broadcast_shapes(shape, tuple(part.shape)), shape):
            raise ShapeError(f"a value of shape {tuple(new.shape)} for a part of shape {shape}")
        part = expand(part, shape)
    return apply(PUT, (x, part, *places), {"axes": axes})


def _without_leading_ones(x: Tensor, ndim: int) -> Tensor:
    """Return ``x`` with axes of size 1 in front taken off until it has ``ndim`` axes."""
    shape = tuple(x.shape)
    extra = 0
    while len(shape) - extra > ndim and isinstance(shape[extra], int) and shape[extra] == 1:
        extra += 1
    return reshaped(x, shape[extra:]) if extra else x


def _value_tensor(value: Any, like: Tensor) -> Tensor:
    dtype = numpy_dtype(like)
    if isinstance(value, float) and dtype.kind != "f":
        value = int(value)  # PyTorch writes a number into integers without its fraction
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ArgumentTypeError(f"writing a {type(value).__name__} into a tensor", expected="numbers")
    return Tensor(array.astype(dtype))


# -- integers, slices, None and ... --------------------------------------------------------------------------------------


def peel(x: Tensor, index: Any) -> tuple[Tensor, Arrays]:
    """Return the view after integers, slices, None and ..., and the index arrays that are left, with their axes."""
    shape = tuple(x.shape)
    items = _items(index, len(shape))
    starts, stops, steps = [0] * len(shape), list(shape), [1] * len(shape)
    kept: list[int] = []  # which old axis each axis of the view is; -1 for a new one
    arrays: Arrays = []
    axis = 0
    moved = reshapes = False
    for item in items:
        if item is None:
            kept.append(-1)
            reshapes = True
        elif isinstance(item, slice):
            if item.start is not None or item.stop is not None or item.step is not None:
                starts[axis], stops[axis], steps[axis] = _slice(item, shape[axis])
                moved = True
            kept.append(axis)
            axis += 1
        elif _is_integer(item):
            starts[axis] = place = _integer(item, shape[axis], axis)
            stops[axis] = place + 1
            axis += 1
            moved = reshapes = True
        else:
            arrays.append((len(kept), item))
            covers = _mask_ndim(item) if _is_mask(item) else 1
            if covers == 0:
                kept.append(-1)
                reshapes = True
            kept.extend(range(axis, axis + covers))
            axis += covers
    y = x
    if moved or not (reshapes or arrays):
        y = view(SLICE, x, {"starts": tuple(starts), "stops": tuple(stops), "steps": tuple(steps)})
    if reshapes:
        sizes = tuple(y.shape)
        y = reshaped(y, tuple([1 if k < 0 else sizes[k] for k in kept]))
    return y, arrays


def _items(index: Any, ndim: int) -> list[Any]:
    """Return the index as one item per axis (a mask covers several, None none): ``...`` and missing ones as slices."""
    items = list(index) if isinstance(index, tuple) else [index]
    items = [np.asarray(i) if isinstance(i, (list, tuple, range)) else i for i in items]
    used, dots = 0, None
    for k, item in enumerate(items):
        if item is Ellipsis:
            if dots is not None:
                raise IndexingError("more than one ... in an index", expected="at most one")
            dots = k
        elif item is not None:
            used += _mask_ndim(item) if _is_mask(item) else 1
    if used > ndim:
        raise IndexingError(f"{used} indices for a tensor of {ndim} axes", expected=f"at most {ndim}")
    rest = [slice(None)] * (ndim - used)
    return items + rest if dots is None else items[:dots] + rest + items[dots + 1 :]


def _is_mask(item: Any) -> bool:
    if isinstance(item, Tensor):
        return bool(numpy_dtype(item).kind == "b")
    return isinstance(item, (bool, np.bool_)) or (is_array(item) and item.dtype.kind == "b")


def _mask_ndim(item: Any) -> int:
    return 0 if isinstance(item, bool) else int(item.ndim)


def _is_integer(item: Any) -> bool:
    if type(item) is int:
        return True
    if _is_mask(item):
        return False
    if isinstance(item, Tensor):
        return item.ndim == 0 and STATE.mode != TRACE and numpy_dtype(item).kind in "iu"
    return isinstance(item, (int, Size)) or (is_array(item) and item.ndim == 0 and item.dtype.kind in "iu")


def _slice(item: slice, size: Any) -> tuple[Any, Any, int]:
    step = 1 if item.step is None else int(item.step)
    if step <= 0:
        raise ArgumentError(f"a slice with step {step}", expected="a step of at least 1", fix="use flip() to reverse")
    start, stop = [int(b) if isinstance(b, (Tensor, np.integer)) else b for b in (item.start, item.stop)]
    start, stop = slice_bounds(size, start, stop, 1)
    return start, stop if start <= stop else start, step


def _integer(item: Any, size: Any, axis: int) -> Any:
    place = item if isinstance(item, (int, Size)) else int(item)
    if place < -size or place >= size:
        raise IndexingError(f"index {place} for axis {axis} of {size} elements", expected=f"{-size} to {size - 1}")
    return place + size if place < 0 else place


# -- index arrays --------------------------------------------------------------------------------------------------------


def places_of(x: Tensor, arrays: Arrays) -> tuple[tuple[int, ...], tuple[Tensor, ...]]:
    """Return the indexed axes, and an int64 tensor of places for each; a mask gives the places where it is true."""
    axes: list[int] = []
    places: list[Tensor] = []
    shape = tuple(x.shape)
    for axis, item in arrays:
        if _is_mask(item):
            found = _true_places(item, shape[axis : axis + _mask_ndim(item)])
        else:
            found = [checked_places(item, shape[axis], axis)]
        axes.extend(range(axis, axis + len(found)))
        places.extend(found)
    try:
        broadcast_shapes(*[tuple(i.shape) for i in places])
    except ShapeError:
        shapes = " and ".join(str(tuple(i.shape)) for i in places)
        raise IndexingError(f"index arrays of shapes {shapes}", expected="shapes that broadcast") from None
    return tuple(axes), tuple(places)


def _true_places(mask: Any, covered: tuple[Any, ...]) -> list[Tensor]:
    """Return the places, an axis each, where a mask for axes of this shape is true."""
    array = concrete(mask, "indexing with a mask", instead="where()") if isinstance(mask, Tensor) else np.asarray(mask)
    if array.ndim == 0:
        return [Tensor(np.zeros(1 if array else 0, I64))]
    if array.shape != covered:
        raise IndexingError(f"a mask of shape {array.shape} for axes of shape {covered}", expected="the same shape")
    return [Tensor(places.astype(I64)) for places in np.nonzero(array)]


def checked_places(index: Any, size: Any, axis: int) -> Tensor:
    """Return an index array as an int64 tensor; raise unless it holds integers within an axis of this size."""
    y = index if isinstance(index, Tensor) else Tensor(np.asarray(index))
    kind = numpy_dtype(y).kind
    if not isinstance(index, Tensor) and y._value.size == 0:
        y = Tensor(y._value.astype(I64))  # an empty list
    elif kind not in "iu":
        raise IndexingError(f"indexing with a tensor of {numpy_dtype(y)}", expected="integers or a bool mask")
    elif isinstance(index, Tensor) and numpy_dtype(index) == np.uint8:
        raise IndexingError("indexing with a tensor of uint8", fix="say with .bool() or .long() what it means")
    if STATE.mode != TRACE:
        check_bounds(y._value, size, axis)
    return cast(y, I64)


def check_bounds(places: Any, size: Any, axis: int) -> None:
    """Raise unless all places lie within an axis of this size."""
    if places.size:
        low, high = int(places.min()), int(places.max())
        if low < -size or high >= size:
            bad = low if low < -size else high
            raise IndexingError(f"index {bad} for axis {axis} of {size} elements", expected=f"{-size} to {size - 1}")


# -- an index along one axis ---------------------------------------------------------------------------------------------


def grid(shape: tuple[Any, ...], axis: int, index: Tensor) -> tuple[Tensor, ...]:
    """Return index tensors for all axes: each its own place, ``index`` along ``axis``."""
    grid = []
    for k, size in enumerate(shape):
        if k == axis:
            grid.append(index)
        else:
            row = apply(IOTA, (), {"size": size, "dtype": I64})
            grid.append(reshaped(row, tuple([size if j == k else 1 for j in range(len(shape))])))
    return tuple(grid)


def take_along(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """Return y[…, i, …] = x[…, index[…, i, …], …] along an axis; ``index`` is trusted."""
    return apply(TAKE, (x, *grid(tuple(index.shape), axis, index)), {"axes": tuple(range(x.ndim))})
