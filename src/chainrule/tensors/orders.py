"""What takes an order: sorting, the largest k, medians, quantiles, distinct elements. PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, DtypeError, ShapeError
from chainrule.graph import primitive
from chainrule.graph.numeric import as_int
from chainrule.graph.sizes import normalize_axis
from chainrule.tensors.apply import apply, cast
from chainrule.tensors.arithmetic import ceil, clone, div, floor, mul, round, sub
from chainrule.tensors.dtypes import I64
from chainrule.tensors.gathering import index_select
from chainrule.tensors.indexing import take_along
from chainrule.tensors.logic import bitwise_and, bitwise_or, eq, isnan, where
from chainrule.tensors.memory import SET_VALUE
from chainrule.tensors.reductions import ValuesAndIndices, any, first_place, floating, picked, sum
from chainrule.tensors.tensor import Tensor, concrete, numpy_dtype
from chainrule.tensors.views import movedim, ravel, reshaped, slice_axis, squeeze, unsqueeze

INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """Return the places of the elements in order along an axis; ties always keep their order."""
    axis = normalize_axis(dim, input.ndim)
    if input.ndim == 0:
        return first_place()
    return apply(primitive("argsort"), (input,), {"axis": axis, "descending": bool(descending)})


def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> ValuesAndIndices:
    """Return the elements in order along an axis, and their places; ties always keep their order."""
    index = argsort(input, dim, descending)
    if input.ndim == 0:
        return ValuesAndIndices(clone(input), index)
    return ValuesAndIndices(take_along(input, index, normalize_axis(dim, input.ndim)), index)


def msort(input: Tensor) -> Tensor:
    """Return the elements in order along axis 0."""
    return sort(input, 0).values


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesAndIndices:
    """Return the k largest (or smallest) elements along an axis, and their places; of ties the first."""
    axis, k = normalize_axis(dim, input.ndim), as_int(k)
    size = input.shape[axis] if input.ndim else 1
    if k < 0 or k > size:
        raise ArgumentError(f"topk: k={k} of an axis of {size}", expected="k within it")
    if input.ndim == 0:
        return ValuesAndIndices(clone(input), first_place())
    index = clone(slice_axis(argsort(input, axis, largest), axis, 0, k))
    return ValuesAndIndices(take_along(input, index, axis), index)


def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
    """Return the k-th smallest element along an axis, and its place; of ties the first."""
    axis, k = normalize_axis(dim, input.ndim), as_int(k)
    size = input.shape[axis] if input.ndim else 1
    if not 1 <= k <= size:
        raise ArgumentError(f"kthvalue: k={k} of an axis of {size}", expected="1 ≤ k ≤ its size")
    if input.ndim == 0:
        return ValuesAndIndices(clone(input), first_place())
    return picked(input, clone(slice_axis(argsort(input, axis), axis, k - 1, k)), axis, keepdim)


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the median (the lower of two), or along an axis (values, indices); NaN if any element is.

    Ties share the gradient of the median of all elements evenly; along an axis one place is chosen.
    """
    if dim is not None:
        axis = normalize_axis(dim, input.ndim)
        if input.ndim == 0:
            return ValuesAndIndices(clone(input), first_place())
        return picked(input, _middle(input, axis), axis, keepdim)
    x = ravel(input)
    y = reshaped(take_along(x, _middle(x, 0), 0), ())
    if numpy_dtype(x).kind != "f":
        return y
    attained = bitwise_or(eq(x, y), bitwise_and(isnan(x), isnan(y)))
    average = div(sum(where(attained, x, 0.0)), sum(attained))
    return apply(SET_VALUE, (average, y))  # the value of one of the ties, the gradient of their average


def _middle(x: Tensor, axis: int) -> Tensor:
    """Return the place of the median along an axis; of a NaN if there is one, which sorts last."""
    size = x.shape[axis]
    if isinstance(size, int) and size == 0:
        raise ShapeError(f"median: axis {axis} of shape {tuple(x.shape)} has no element", expected="at least one")
    order = argsort(x, axis)
    place = (size - 1) // 2
    index = clone(slice_axis(order, axis, place, place + 1))
    if numpy_dtype(x).kind == "f":
        last = slice_axis(order, axis, size - 1, size)
        index = where(isnan(take_along(x, last, axis)), last, index)
    return index


def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """Return quantiles between the two nearest elements, NaN if any element is; q: numbers in [0, 1], one or several.

    ``interpolation``  linear, lower, higher, midpoint or nearest
    """
    if interpolation not in INTERPOLATIONS:
        raise ArgumentError(f"quantile: got interpolation={interpolation!r}", expected=", ".join(INTERPOLATIONS))
    x = floating(input, "quantile")
    flat = ravel(x) if dim is None else x
    axis = 0 if dim is None else normalize_axis(dim, x.ndim)
    rows = movedim(flat, axis, -1) if flat.ndim else reshaped(flat, (1,))
    if isinstance(rows.shape[-1], int) and rows.shape[-1] == 0:
        raise ShapeError(f"quantile: no element along axis {axis} of shape {tuple(x.shape)}", expected="at least one")
    y = _quantiles(rows, _fractions(q, x), interpolation)
    if not isinstance(q, Tensor) or q.ndim == 0:
        y = squeeze(y, -1)
    else:
        y = movedim(y, -1, 0)
        axis += 1
    front = tuple(y.shape)[: y.ndim - rows.ndim + 1]
    if not keepdim or x.ndim == 0:
        return y if x.ndim else reshaped(y, front)
    return unsqueeze(y, axis) if dim is not None else reshaped(y, (*front, *[1] * x.ndim))


def _fractions(q: Any, like: Tensor) -> Tensor:
    """Return q as a vector; raise unless it lies in [0, 1]."""
    if not isinstance(q, Tensor):
        if not 0 <= q <= 1:
            raise ArgumentError(f"quantile: got q={q}", expected="a number in [0, 1]")
        return apply(primitive("full"), (), {"shape": (1,), "dtype": numpy_dtype(like), "value": float(q)})
    if q.ndim > 1 or numpy_dtype(q) != numpy_dtype(like):
        raise ArgumentError(
            f"quantile: got q of shape {tuple(q.shape)} and {numpy_dtype(q)}",
            expected=f"at most one axis, and the dtype of the input, {numpy_dtype(like)}",
        )
    if q._value is not None and not np.all((q._value >= 0) & (q._value <= 1)):
        raise ArgumentError("quantile: some q", expected="numbers in [0, 1]")
    return ravel(q)


def _quantiles(rows: Tensor, q: Tensor, interpolation: str) -> Tensor:
    """Return the quantiles along the last axis, as the last axis."""
    ordered = sort(rows, -1).values
    rank = mul(q, rows.shape[-1] - 1)
    if interpolation in ("lower", "higher", "nearest"):
        rounded = {"lower": floor, "higher": ceil, "nearest": round}[interpolation](rank)
        y = index_select(ordered, -1, cast(rounded, I64))
    else:
        below = index_select(ordered, -1, cast(floor(rank), I64))
        above = index_select(ordered, -1, cast(ceil(rank), I64))
        weight = sub(rank, floor(rank)) if interpolation == "linear" else 0.5
        y = below + sub(above, below) * weight
    last = slice_axis(ordered, ordered.ndim - 1, rows.shape[-1] - 1, rows.shape[-1])  # NaN, if there is one
    return where(any(isnan(rows), -1, True), last, y)


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """Return the distinct elements (or slices along an axis) in order; on request where each went, how often it occurs."""
    array = concrete(input, "unique()")
    axis = None if dim is None else normalize_axis(dim, input.ndim)
    values, inverse, counts = np.unique(array, return_inverse=True, return_counts=True, axis=axis)
    found = [Tensor(values)]
    if return_inverse:
        found.append(Tensor(inverse.reshape(array.shape if dim is None else -1).astype(I64)))
    if return_counts:
        found.append(Tensor(counts.astype(I64)))
    return found[0] if len(found) == 1 else tuple(found)


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """Return how often each integer 0, 1, … occurs (or the sum of its weights)."""
    array = concrete(input, "bincount()")
    if array.ndim != 1 or array.dtype.kind not in "iu" or (array.size and int(array.min()) < 0):
        raise ArgumentError(
            f"bincount: got {array.dtype} of shape {array.shape}", expected="one axis of integers that are not negative"
        )
    minlength = as_int(minlength)
    if minlength < 0:
        raise ArgumentError(f"bincount: got minlength={minlength}", expected="a number that is not negative")
    if weights is None:
        return Tensor(np.bincount(array, None, minlength).astype(I64))
    if tuple(weights.shape) != array.shape:
        raise ShapeError(f"bincount: got weights of shape {tuple(weights.shape)}", expected=f"{array.shape}")
    if weights.requires_grad:
        raise DtypeError("bincount: got weights that require grad", fix="detach() them: there is no gradient")
    counts = np.bincount(array, concrete(weights, "bincount()"), minlength)
    return Tensor(counts.astype(np.float32 if numpy_dtype(weights) == np.float32 else np.float64))


FUNCTIONS = (argsort, sort, msort, topk, kthvalue, median, quantile, unique, bincount)
