"""Reading and writing parts of a tensor, as PyTorch indexes (not as NumPy, where integers meet index arrays).

First integers, slices, ``None`` and ``...`` are peeled off: they give a view. Then the index arrays that are left index
the view: gather to read, scatter to write. A boolean mask is the index arrays of its true places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, DtypeError, IndexingError, ShapeError, TraceError
from chainrule.graph import primitive
from chainrule.graph.sizes import Size, broadcast_shapes, normalize_axis, same_shape, slice_bounds
from chainrule.tensors.apply import apply, cast, converted
from chainrule.tensors.arithmetic import clone, where
from chainrule.tensors.dtypes import BOOL, I64
from chainrule.tensors.memory import SLICE, view, write
from chainrule.tensors.shaping import _reshape, expand, slice_axis
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor, concrete, is_array, numpy_dtype

TAKE, SPREAD, PUT, IOTA = primitive("take"), primitive("spread"), primitive("put"), primitive("iota")


def _as_items(index: Any) -> list[Any]:
    items = list(index) if isinstance(index, tuple) else [index]
    return [np.asarray(i) if isinstance(i, (list, tuple, range)) else i for i in items]


def _is_mask(item: Any) -> bool:
    if isinstance(item, Tensor):
        return bool(numpy_dtype(item).kind == "b")
    return isinstance(item, (bool, np.bool_)) or (is_array(item) and item.dtype.kind == "b")


def _mask_ndim(item: Any) -> int:
    return 0 if isinstance(item, bool) else int(item.ndim)


def _is_integer(item: Any) -> bool:
    if isinstance(item, bool) or _is_mask(item):
        return False
    if isinstance(item, Tensor):
        return item.ndim == 0 and STATE.mode != TRACE and numpy_dtype(item).kind in "iu"
    return isinstance(item, (int, np.integer, Size)) or (is_array(item) and item.ndim == 0 and item.dtype.kind in "iu")


def peel(x: Tensor, index: Any) -> tuple[Tensor, list[tuple[int, Any]]]:
    """Return the view after integers, slices, None and ..., and the (axis, index array) pairs that are left."""
    items = _as_items(index)
    used = 0
    for item in items:
        if item is not None and item is not Ellipsis:
            used += _mask_ndim(item) if _is_mask(item) else 1
    shape = tuple(x.shape)
    if used > len(shape):
        raise IndexingError(f"{used} indices for a tensor of {len(shape)} axes, shape {shape}", expected=f"at most {len(shape)}")
    dots = [k for k, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise IndexingError("more than one ... in an index", expected="at most one")
    at = dots[0] if dots else len(items)
    fill: list[Any] = [slice(None)] * (len(shape) - used)
    items = items[:at] + fill + items[at + (1 if dots else 0) :]
    starts, stops, steps = [0] * len(shape), list(shape), [1] * len(shape)
    kept: list[tuple[str, Any]] = []  # what each axis of the view is: an old axis, a new one
    arrays: list[tuple[int, Any]] = []
    axis = 0
    for item in items:
        if item is None:
            kept.append(("new", 1))
        elif isinstance(item, slice):
            starts[axis], stops[axis], steps[axis] = _slice(item, shape[axis])
            kept.append(("old", axis))
            axis += 1
        elif _is_integer(item):
            place = _integer(item, shape[axis], axis)
            starts[axis], stops[axis] = place, place + 1
            axis += 1
        else:
            arrays.append((len(kept), item))
            count = _mask_ndim(item) if _is_mask(item) else 1
            if count == 0:
                kept.append(("new", 1))
            for _ in range(count):
                kept.append(("old", axis))
                axis += 1
    moved = any(
        not (isinstance(a, int) and a == 0 and b is n and c == 1)
        for a, b, c, n in zip(starts, stops, steps, shape, strict=True)
    )
    y = x
    if moved:
        y = view(SLICE, x, {"starts": tuple(starts), "stops": tuple(stops), "steps": tuple(steps)})
    sizes = tuple(y.shape)
    wanted = tuple([sizes[k] if kind == "old" else 1 for kind, k in kept])
    if len(kept) != len(shape) or any(kind == "new" for kind, _ in kept):
        y = _reshape(y, wanted)
    elif y is x and not arrays:
        y = view(SLICE, x, {"starts": tuple(starts), "stops": tuple(stops), "steps": tuple(steps)})
    return y, arrays


def _slice(item: slice, size: Any) -> tuple[Any, Any, int]:
    step = 1 if item.step is None else int(item.step)
    if step <= 0:
        raise ArgumentError(f"a slice with step {step}", expected="a step of at least 1", fix="use flip() to reverse")
    bounds = [int(b) if isinstance(b, (Tensor, np.integer)) else b for b in (item.start, item.stop)]
    start, stop = slice_bounds(size, bounds[0], bounds[1], 1)
    return start, stop, step


def _integer(item: Any, size: Any, axis: int) -> Any:
    place = item if isinstance(item, Size) else int(item)
    if place < -size or place >= size:
        raise IndexingError(f"index {place} for axis {axis} of {size} elements", expected=f"{-size} to {size - 1}")
    return place + size if place < 0 else place


def index_arrays(x: Tensor, arrays: list[tuple[int, Any]]) -> tuple[tuple[int, ...], list[Tensor]]:
    """Return the axes and int64 index tensors; masks become the places where they are true."""
    axes: list[int] = []
    tensors: list[Tensor] = []
    for axis, item in arrays:
        if _is_mask(item):
            mask = concrete(item, "indexing with a mask", instead="chainrule.where") if isinstance(item, Tensor) else np.asarray(item)
            if mask.ndim == 0:
                axes.append(axis)
                tensors.append(Tensor(np.zeros(1 if mask else 0, I64)))
                continue
            covered = tuple(x.shape)[axis : axis + mask.ndim]
            if tuple(mask.shape) != covered:
                raise IndexingError(f"a mask of shape {tuple(mask.shape)} for axes of shape {covered}", expected="the same shape")
            for k, places in enumerate(np.nonzero(mask)):
                axes.append(axis + k)
                tensors.append(Tensor(places.astype(I64)))
        else:
            axes.append(axis)
            tensors.append(_index_tensor(item, tuple(x.shape)[axis], axis))
    return tuple(axes), tensors


def _index_tensor(item: Any, size: Any, axis: int) -> Tensor:
    y = item if isinstance(item, Tensor) else Tensor(np.asarray(item))
    kind = numpy_dtype(y).kind
    if not isinstance(item, Tensor) and y._value.size == 0:
        y = Tensor(y._value.astype(I64))
    elif kind not in "iu":
        raise IndexingError(f"indexing with a tensor of {numpy_dtype(y)}", expected="integers or a bool mask")
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


def _in_rows(axes: tuple[int, ...], tensors: list[Tensor]) -> tuple[tuple[int, ...], tuple[Tensor, ...]]:
    try:
        broadcast_shapes(*[tuple(i.shape) for i in tensors])
    except ShapeError:
        shapes = " and ".join(str(tuple(i.shape)) for i in tensors)
        raise IndexingError(f"index arrays of shapes {shapes}", expected="shapes that broadcast") from None
    return axes, tuple(tensors)


def getitem(input: Tensor, index: Any) -> Tensor:
    """Return a part: a view for integers, slices, None and ...; a copy for index arrays and masks."""
    y, arrays = peel(input, index)
    if not arrays:
        return y
    axes, tensors = _in_rows(*index_arrays(y, arrays))
    return apply(TAKE, (y, *tensors), {"axes": axes})


def setitem(input: Tensor, index: Any, value: Any) -> None:
    """Write into a part."""
    new = value if isinstance(value, Tensor) else _value_tensor(value, input)
    if STATE.mode == TRACE and isinstance(index, Tensor) and _is_mask(index) and new.ndim <= 0:
        mask = index if index.ndim == input.ndim else _reshape(index, (*tuple(index.shape), *([1] * (input.ndim - index.ndim))))
        write(input, where(mask, cast(new, numpy_dtype(input)), input))
        return
    y, arrays = peel(input, index)
    if not arrays:
        while new.ndim > y.ndim and new.shape[0] == 1:
            new = new.squeeze(0)
        write(y, new)
        return
    axes, tensors = _in_rows(*index_arrays(y, arrays))
    scatter_into(y, axes, tensors, cast(new, numpy_dtype(input)), new)


def scatter_into(y: Tensor, axes: tuple[int, ...], tensors: Sequence[Tensor], new: Tensor, original: Tensor) -> None:
    """Write ``new`` at the places that index tensors give."""
    from_shape = tuple(apply_shape(y, axes, tensors))
    if not same_shape(broadcast_shapes(from_shape, tuple(new.shape)), from_shape):
        raise ShapeError(f"a value of shape {tuple(new.shape)} for a part of shape {from_shape}", expected="one that broadcasts")
    part = new if same_shape(tuple(new.shape), from_shape) else expand(new, from_shape)
    if numpy_dtype(original).kind == "f" and numpy_dtype(y).kind != "f":
        raise DtypeError(f"writing {numpy_dtype(original)} values into a {numpy_dtype(y)} tensor", fix="convert first")
    write(y, apply(PUT, (y, part, *tensors), {"axes": axes}))


def apply_shape(y: Tensor, axes: tuple[int, ...], tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    """Return the shape that reading at these places gives."""
    spec = TAKE.shape(y, *tensors, axes=axes) if STATE.mode != TRACE else None
    if spec is not None:
        return tuple(spec.shape)
    return tuple(apply(TAKE, (y, *tensors), {"axes": axes}).shape)


def _value_tensor(value: Any, like: Tensor) -> Tensor:
    if isinstance(value, (bool, int, float)):
        dtype = numpy_dtype(like)
        if isinstance(value, float) and dtype.kind != "f":
            value = int(value)  # PyTorch writes a number into integers without its fraction
        return Tensor(np.asarray(value).astype(dtype))
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ArgumentTypeError(f"writing a {type(value).__name__} into a tensor", expected="numbers")
    return Tensor(array.astype(numpy_dtype(like)) if array.dtype.kind == "f" else array)


# -- gather and scatter along an axis -------------------------------------------------------------------------------------


def _grid(shape: tuple[Any, ...], axis: int, index: Tensor) -> tuple[Tensor, ...]:
    """Return index tensors for all axes: each its own place, ``index`` along ``axis``."""
    grid = []
    for k, size in enumerate(shape):
        if k == axis:
            grid.append(index)
        else:
            row = apply(IOTA, (), {"size": size, "dtype": I64})
            grid.append(_reshape(row, tuple([size if j == k else 1 for j in range(len(shape))])))
    return tuple(grid)


def take_along(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """Return y[…, i, …] = x[…, index[…, i, …], …] along an axis; ``index`` is trusted."""
    if x.ndim == 0:
        return clone(x)
    shape = tuple(index.shape)
    return apply(TAKE, (x, *_grid(shape, axis, index)), {"axes": tuple(range(len(shape)))})


def _checked_index(x: Tensor, dim: int, index: Tensor, name: str) -> tuple[Tensor, Tensor, int]:
    if numpy_dtype(index) != I64 and numpy_dtype(index).kind not in "iu":
        raise DtypeError(f"{name}: got an index of {numpy_dtype(index)}", expected="int64")
    if x.ndim == 0:
        x = _reshape(x, (1,))
    if index.ndim == 0:
        index = _reshape(index, (1,))
    axis = normalize_axis(dim, x.ndim)
    if index.ndim != x.ndim:
        raise ShapeError(f"{name}: the index has {index.ndim} axes, the input {x.ndim}", expected="the same number")
    if STATE.mode != TRACE:
        check_bounds(index._value, x.shape[axis], axis)
        if index._value.size and int(index._value.min()) < 0:
            raise IndexingError(f"{name}: index {int(index._value.min())}", expected="not negative")
    return x, cast(index, I64), axis


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return y[i][j] = input[index[i][j]][j] for dim 0, input[i][index[i][j]] for dim 1, …"""
    x, places, axis = _checked_index(input, dim, index, "gather")
    for k, (a, b) in enumerate(zip(tuple(places.shape), tuple(x.shape), strict=True)):
        if k != axis and a is not b and a > b:
            raise ShapeError(f"gather: the index has {a} elements on axis {k}, the input {b}", expected="at most as many")
    y = take_along(x, places, axis)
    return _reshape(y, ()) if index.ndim == 0 else y


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Return gather with broadcasting; over all elements if no axis is named."""
    if dim is None:
        return gather(input.reshape(-1), 0, indices.reshape(-1))
    axis = normalize_axis(dim, input.ndim)
    shape = broadcast_shapes(
        tuple([1 if k == axis else n for k, n in enumerate(tuple(input.shape))]),
        tuple([1 if k == axis else n for k, n in enumerate(tuple(indices.shape))]),
    )
    x = expand(input, tuple([input.shape[axis] if k == axis else n for k, n in enumerate(shape)]))
    i = expand(indices, tuple([indices.shape[axis] if k == axis else n for k, n in enumerate(shape)]))
    return gather(x, axis, i)


def _source(src: Any, index: Tensor, like: Tensor) -> Tensor:
    if not isinstance(src, Tensor):
        return expand(converted_number(src, like), tuple(index.shape))
    if numpy_dtype(src) != numpy_dtype(like):
        raise DtypeError(f"scatter: got values of {numpy_dtype(src)} for a tensor of {numpy_dtype(like)}")
    if src.ndim == 0:
        src = _reshape(src, (1,))
    y = src
    for axis, n in enumerate(tuple(index.shape)):
        if not (n is src.shape[axis] or n == src.shape[axis]):
            y = slice_axis(y, axis, 0, n)
    return y


def converted_number(value: Any, like: Tensor) -> Tensor:
    """Return a Python number as a 0-d tensor in the dtype of ``like``."""
    number = converted(numpy_dtype(like), value)[0]
    return number if isinstance(number, Tensor) else Tensor(np.asarray(number, dtype=numpy_dtype(like)))


def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Tensor:
    """Return a copy of input with src (or a number) written at index along an axis: the inverse of gather."""
    given = src if src is not None else value
    x, places, axis = _checked_index(input, dim, index, "scatter")
    part = _source(given, places, x)
    grid = _grid(tuple(places.shape), axis, places)
    axes = tuple(range(x.ndim))
    if reduce == "add":
        y = x + apply(SPREAD, (part, *grid), {"axes": axes, "shape": tuple(x.shape)})
    elif reduce is None:
        y = apply(PUT, (x, part, *grid), {"axes": axes})
    else:
        raise ArgumentError(f"scatter: got reduce={reduce!r}", expected="None or 'add'")
    return _reshape(y, tuple(input.shape)) if input.ndim == 0 else y


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Return a copy of input with src added at index along an axis."""
    return scatter(input, dim, index, src, reduce="add")


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return the places ``index`` of an axis."""
    if input.ndim == 0:
        return clone(input)
    axis = normalize_axis(dim, input.ndim)
    places = _index_tensor(_reshape(index, (1,)) if index.ndim == 0 else index, input.shape[axis], axis)
    return apply(TAKE, (input, places), {"axes": (axis,)})


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """Return a copy of input with alpha · source added at the places ``index`` of an axis."""
    x = _reshape(input, (1,)) if input.ndim == 0 else input
    axis = normalize_axis(dim, x.ndim)
    places = _index_tensor(_reshape(index, (1,)) if index.ndim == 0 else index, x.shape[axis], axis)
    part = _reshape(source, (1,)) if source.ndim == 0 else source
    added = apply(SPREAD, (cast(part, numpy_dtype(x)), places), {"axes": (axis,), "shape": tuple(x.shape)})
    y = x + (added if alpha == 1 else added * alpha)
    return _reshape(y, ()) if input.ndim == 0 else y


def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Return a copy of input with source written at the places ``index`` of an axis."""
    x = _reshape(input, (1,)) if input.ndim == 0 else input
    axis = normalize_axis(dim, x.ndim)
    places = _index_tensor(_reshape(index, (1,)) if index.ndim == 0 else index, x.shape[axis], axis)
    part = _reshape(source, (1,)) if source.ndim == 0 else source
    y = apply(PUT, (x, part, places), {"axes": (axis,)})
    return _reshape(y, ()) if input.ndim == 0 else y


def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """Return a copy of input with a number at the places ``index`` of an axis."""
    x = _reshape(input, (1,)) if input.ndim == 0 else input
    axis = normalize_axis(dim, x.ndim)
    places = _index_tensor(_reshape(index, (1,)) if index.ndim == 0 else index, x.shape[axis], axis)
    shape = tuple([places.shape[0] if k == axis else n for k, n in enumerate(tuple(x.shape))])
    number = value if isinstance(value, Tensor) else converted_number(value, x)
    y = apply(PUT, (x, expand(cast(number, numpy_dtype(x)), shape), places), {"axes": (axis,)})
    return _reshape(y, ()) if input.ndim == 0 else y


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Return input with a number where the mask is true."""
    if numpy_dtype(mask) != BOOL:
        raise DtypeError(f"masked_fill: got a mask of {numpy_dtype(mask)}", expected="bool")
    number = value if isinstance(value, Tensor) else converted_number(value, input)
    if number.ndim > 0:
        raise ShapeError(f"masked_fill: got a value of shape {tuple(number.shape)}", expected="a number or a 0-d tensor")
    return where(mask, cast(number, numpy_dtype(input)), input)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """Return the elements where the mask is true, in one axis."""
    shape = broadcast_shapes(tuple(input.shape), tuple(mask.shape))
    return getitem(expand(input, shape), expand(mask, shape)) if shape else getitem(input.reshape(1), mask.reshape(1))


def take(input: Tensor, index: Tensor) -> Tensor:
    """Return the elements at places counted over all axes."""
    flat = input.reshape(-1)
    return apply(TAKE, (flat, _index_tensor(index, flat.shape[0], 0)), {"axes": (0,)})


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Return the places of the elements that are not 0: a row each (or a tensor per axis)."""
    if STATE.mode == TRACE:
        raise TraceError("nonzero() inside a compiled function: how many there are is not known", fix="use where()")
    places = np.nonzero(np.atleast_1d(input._value)) if input.ndim == 0 else np.nonzero(input._value)
    if as_tuple:
        return tuple([Tensor(p.astype(I64)) for p in places])
    if input.ndim == 0:
        return Tensor(np.zeros((len(places[0]), 0), I64))
    return Tensor(np.stack(places, axis=1).astype(I64))


def argwhere(input: Tensor) -> Tensor:
    """Return the places of the elements that are not 0, a row each."""
    return nonzero(input)


FUNCTIONS = (
    gather, take_along_dim, scatter, scatter_add, index_select, index_add, index_copy, index_fill, masked_fill,
    masked_select, take, nonzero, argwhere,
)  # fmt: skip
IN_PLACE = (scatter, scatter_add, index_add, index_copy, index_fill, masked_fill)
