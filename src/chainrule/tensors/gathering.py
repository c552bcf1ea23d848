"""Gather and scatter along an axis, and by masks: PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, DtypeError, ShapeError, TraceError
from chainrule.graph import primitive
from chainrule.graph.numeric import as_number
from chainrule.graph.sizes import broadcast_shapes, normalize_axis, numel, same_shape
from chainrule.tensors.apply import apply, cast
from chainrule.tensors.arithmetic import add, mul
from chainrule.tensors.binary import checked, zero_dimensional
from chainrule.tensors.dtypes import BOOL, I64
from chainrule.tensors.indexing import PUT, TAKE, check_bounds, checked_places, getitem, grid, take_along
from chainrule.tensors.logic import where
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor, numpy_dtype
from chainrule.tensors.views import expand, ravel, reshaped, slice_axis

SPREAD, FULL = primitive("spread"), primitive("full")


def at_least_1d(x: Tensor) -> Tensor:
    """Return ``x``, a 0-d tensor with one axis."""
    return x if x.ndim else reshaped(x, (1,))


# -- an index of as many axes as the input -------------------------------------------------------------------------------


def _checked_index(x: Tensor, dim: int, index: Tensor, name: str) -> tuple[Tensor, Tensor, int]:
    """Return input and index with an axis at least, the index as int64, and the axis counted from the front."""
    if numpy_dtype(checked(index, name)).kind not in "iu":
        raise DtypeError(f"{name}: got an index of {numpy_dtype(index)}", expected="int64")
    x, index = at_least_1d(checked(x, name)), at_least_1d(index)
    axis = normalize_axis(dim, x.ndim)
    if index.ndim != x.ndim:
        raise ShapeError(f"{name}: the index has {index.ndim} axes, the input {x.ndim}", expected="the same number")
    for k, (a, b) in enumerate(zip(tuple(index.shape), tuple(x.shape), strict=True)):
        if k != axis and a is not b and a > b:
            raise ShapeError(
                f"{name}: the index has {a} elements on axis {k}, the input {b}", expected="at most as many"
            )
    if STATE.mode != TRACE:
        check_bounds(index._value, x.shape[axis], axis)
        if index._value.size and int(index._value.min()) < 0:
            raise ArgumentError(f"{name}: got the index {int(index._value.min())}", expected="no negative index")
    return x, cast(index, I64), axis


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return y[i][j] = input[index[i][j]][j] for dim 0, input[i][index[i][j]] for dim 1, …"""
    if checked(index, "gather").ndim != input.ndim and numel(tuple(index.shape)) == 0:
        return apply(TAKE, (ravel(input), cast(index, I64)), {"axes": (0,)})  # nothing is asked for: any shape will do
    x, places, axis = _checked_index(input, dim, index, "gather")
    return reshaped(take_along(x, places, axis), tuple(index.shape))


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Return gather with broadcasting and negative indices; over all elements if no axis is named."""
    if dim is None:
        input, indices, dim = ravel(input), ravel(indices), 0
    if input.ndim != indices.ndim:
        raise ShapeError(f"take_along_dim: got {input.ndim} and {indices.ndim} axes", expected="the same number")
    axis = normalize_axis(dim, input.ndim)
    a, b = list(input.shape), list(indices.shape)
    size, count = a[axis], b[axis]
    a[axis] = b[axis] = 1
    shape = broadcast_shapes(tuple(a), tuple(b))
    x = expand(input, (*shape[:axis], size, *shape[axis + 1 :]))
    places = expand(checked_places(indices, size, axis), (*shape[:axis], count, *shape[axis + 1 :]))
    return take_along(x, places, axis)


def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """Return a copy of input with src (or a number) written at index along an axis: the inverse of gather."""
    x, places, axis = _checked_index(input, dim, index, "scatter")
    part = _source(src if value is None else value, places, x)
    index_grid = grid(tuple(places.shape), axis, places)
    axes = tuple(range(x.ndim))
    if reduce == "add":
        y = add(x, apply(SPREAD, (part, *index_grid), {"axes": axes, "shape": tuple(x.shape)}))
    elif reduce is None:
        y = apply(PUT, (x, part, *index_grid), {"axes": axes})
    else:
        raise ArgumentError(f"scatter: got reduce={reduce!r}", expected="None or 'add'")
    return y if input.ndim else reshaped(y, ())


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Return a copy of input with src added at index along an axis."""
    return scatter(input, dim, index, src, reduce="add")


def _source(src: Any, index: Tensor, like: Tensor) -> Tensor:
    """Return what is scattered, in the shape of the index."""
    shape = tuple(index.shape)
    if not isinstance(src, Tensor):
        return expand(number_like(src, like), shape)
    if numpy_dtype(src) != numpy_dtype(like):
        raise DtypeError(f"scatter: got values of {numpy_dtype(src)} for a tensor of {numpy_dtype(like)}")
    y = at_least_1d(src)
    if y.ndim != len(shape):
        raise ShapeError(f"scatter: got values of {y.ndim} axes for an index of {len(shape)}")
    for axis, n in enumerate(shape):
        if n > y.shape[axis]:
            raise ShapeError(f"scatter: got values of shape {tuple(src.shape)} for an index of shape {shape}")
        if not (n is y.shape[axis] or n == y.shape[axis]):
            y = slice_axis(y, axis, 0, n)
    return y


def number_like(value: Any, like: Tensor) -> Tensor:
    """Return a number, or a 0-d tensor, as a 0-d tensor in the dtype of ``like``."""
    dtype = numpy_dtype(like)
    if isinstance(value, Tensor):
        if value.ndim > 0:
            raise ShapeError(f"got a value of shape {tuple(value.shape)}", expected="a number or a 0-d tensor")
        return cast(value, dtype)
    value = as_number(value)
    if not isinstance(value, (bool, int, float)):
        raise ArgumentError(f"got {value!r} as a value", expected="a number")
    return zero_dimensional(bool(value) if dtype == BOOL else int(value) if dtype.kind != "f" else value, dtype)


# -- a vector of places of one axis --------------------------------------------------------------------------------------


def _checked_vector(x: Tensor, dim: int, index: Tensor, name: str) -> tuple[Tensor, Tensor, int]:
    """Return the input with an axis at least, the index as a vector of int64, and the axis counted from the front."""
    y, places = at_least_1d(checked(x, name)), at_least_1d(checked(index, name))
    if places.ndim > 1:
        raise ShapeError(f"{name}: got an index of shape {tuple(index.shape)}", expected="one axis")
    axis = normalize_axis(dim, y.ndim)
    return y, checked_places(places, y.shape[axis], axis), axis


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return the places ``index`` of an axis."""
    x, places, axis = _checked_vector(input, dim, index, "index_select")
    y = apply(TAKE, (x, places), {"axes": (axis,)})
    return y if input.ndim else reshaped(y, ())


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """Return a copy of input with alpha · source added at the places ``index`` of an axis."""
    x, places, axis = _checked_vector(input, dim, index, "index_add")
    part = _rows(source, x, places, axis, "index_add")
    added = apply(
        SPREAD, (part if alpha == 1 else mul(part, alpha), places), {"axes": (axis,), "shape": tuple(x.shape)}
    )
    return add(x, added) if input.ndim else reshaped(add(x, added), ())


def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Return a copy of input with source written at the places ``index`` of an axis."""
    x, places, axis = _checked_vector(input, dim, index, "index_copy")
    y = apply(PUT, (x, _rows(source, x, places, axis, "index_copy"), places), {"axes": (axis,)})
    return y if input.ndim else reshaped(y, ())


def _rows(source: Tensor, x: Tensor, places: Tensor, axis: int, name: str) -> Tensor:
    """Return ``source``; raise unless it has the dtype and shape of the places of ``x`` along the axis."""
    if numpy_dtype(checked(source, name)) != numpy_dtype(x):
        raise DtypeError(f"{name}: got {numpy_dtype(source)} values for a tensor of {numpy_dtype(x)}")
    part = at_least_1d(source)
    shape = (*tuple(x.shape)[:axis], places.shape[0], *tuple(x.shape)[axis + 1 :])
    if not same_shape(tuple(part.shape), shape):
        raise ShapeError(f"{name}: got values of shape {tuple(source.shape)}", expected=f"{shape}")
    return part


def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """Return a copy of input with a number at the places ``index`` of an axis."""
    x, places, axis = _checked_vector(input, dim, index, "index_fill")
    size = x.shape[axis]
    missed = apply(FULL, (), {"shape": (size,), "dtype": BOOL, "value": False})
    hits = expand(zero_dimensional(True, BOOL), tuple(places.shape))
    hit = apply(PUT, (missed, hits, places), {"axes": (0,)})
    mask = reshaped(hit, tuple([size if k == axis else 1 for k in range(x.ndim)]))
    return reshaped(where(mask, number_like(value, x), x), tuple(input.shape))


def take(input: Tensor, index: Tensor) -> Tensor:
    """Return the elements at places counted over all axes."""
    flat = ravel(input)
    return apply(TAKE, (flat, checked_places(checked(index, "take"), flat.shape[0], 0)), {"axes": (0,)})


# -- masks ---------------------------------------------------------------------------------------------------------------


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Return input with a number where the mask is true."""
    if numpy_dtype(checked(mask, "masked_fill")) != BOOL:
        raise DtypeError(f"masked_fill: got a mask of {numpy_dtype(mask)}", expected="bool")
    return where(mask, number_like(value, input), input)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """Return the elements where the mask is true, in one axis."""
    if numpy_dtype(checked(mask, "masked_select")) != BOOL:
        raise DtypeError(f"masked_select: got a mask of {numpy_dtype(mask)}", expected="bool")
    shape = broadcast_shapes(tuple(input.shape), tuple(mask.shape))
    return getitem(at_least_1d(expand(input, shape)), at_least_1d(expand(mask, shape)))


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Return the places of the elements that are not 0: a row each (or a tensor per axis)."""
    if STATE.mode == TRACE:
        raise TraceError("nonzero() inside a compiled function: how many there are is not known", fix="use where()")
    places = [places.astype(I64) for places in np.nonzero(np.atleast_1d(input._value))]
    if as_tuple:
        return tuple([Tensor(p) for p in places])
    return Tensor(np.stack(places, axis=1)[:, : input.ndim])


def argwhere(input: Tensor) -> Tensor:
    """Return the places of the elements that are not 0, a row each."""
    y: Tensor = nonzero(input)
    return y


FUNCTIONS = (
    gather, take_along_dim, scatter, scatter_add, index_select, index_add, index_copy, index_fill, take, masked_fill,
    masked_select, nonzero, argwhere,
)  # fmt: skip
IN_PLACE = (scatter, scatter_add, index_add, index_copy, index_fill, masked_fill)
