"""Sums, means, extremes, orders: PyTorch's names, arguments, dtypes and choices at ties."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import ArgumentError, DtypeError, ShapeError
from chainrule.graph import primitive
from chainrule.graph.sizes import normalize_axes, normalize_axis, numel
from chainrule.ops.reduce import with_ones
from chainrule.tensors.apply import apply, as_float, cast
from chainrule.tensors.arithmetic import abs, clone, isnan, log, maximum, minimum, ne, sqrt, where
from chainrule.tensors.dtypes import BOOL, I64, to_numpy_dtype
from chainrule.tensors.indexing import take_along
from chainrule.tensors.shaping import _reshape, cat, ravel, slice_axis
from chainrule.tensors.tensor import Tensor, numpy_dtype

SUM, AMAX, AMIN = primitive("sum"), primitive("amax"), primitive("amin")


class ValuesAndIndices(NamedTuple):
    """What max, min, sort, topk, median and mode along an axis return."""

    values: Tensor
    indices: Tensor


def axes_of(x: Tensor, dim: Any) -> tuple[int, ...]:
    """Return the axes that ``dim`` names: all of them for None or ()."""
    n = x.ndim
    if dim is None or dim == () or dim == []:
        return tuple(range(n))
    if n == 0:
        normalize_axes(dim, 1)
        return ()
    return normalize_axes(dim, n)


def reduced(made_by: Any, x: Tensor, dim: Any, keepdim: bool) -> Tensor:
    """Reduce over the axes that ``dim`` names."""
    axes = axes_of(x, dim)
    y = apply(made_by, (x,), {"axes": axes})
    return _reshape(y, with_ones(tuple(x.shape), axes)) if keepdim else y


def _summable(x: Tensor, dtype: Any) -> Tensor:
    if dtype is not None:
        return cast(x, to_numpy_dtype(dtype))
    return x if numpy_dtype(x).kind == "f" else cast(x, I64)


def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the sum over all axes, or those named; integers and truth values sum to int64."""
    return reduced(SUM, _summable(input, dtype), dim, keepdim)


def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the sum, NaN counted as 0."""
    return sum(where(isnan(input), 0, input), dim, keepdim, dtype=dtype)


def count_of(x: Tensor, axes: tuple[int, ...]) -> Any:
    """Return how many elements lie along these axes."""
    return numel(tuple([x.shape[axis] for axis in axes]))


def _floating(x: Tensor, name: str, dtype: Any = None) -> Tensor:
    if dtype is not None:
        x = cast(x, to_numpy_dtype(dtype))
    if numpy_dtype(x).kind != "f":
        raise DtypeError(f"{name}: got {numpy_dtype(x)}", expected="a floating-point dtype", fix="call .float() first")
    return x


def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the mean over all axes, or those named."""
    x = _floating(input, "mean", dtype)
    return reduced(SUM, x, dim, keepdim) / count_of(x, axes_of(x, dim))


def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Return the mean of what is not NaN."""
    return nansum(input, dim, keepdim) / sum(~isnan(input), dim, keepdim)


def var(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Tensor:
    """Return the variance: Σ (x - mean)² / (n - correction); correction 1 unless told."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    x = _floating(input, "var")
    less = (1 if unbiased else 0) if correction is None else correction
    axes = axes_of(x, dim)
    centred = x - mean(x, axes, True) if axes else x - x
    total = reduced(SUM, centred * centred, axes, keepdim) if axes else centred * centred
    count = count_of(x, axes)
    if isinstance(count, int):
        return total / float(max(0.0, count - less))
    return total / (count - less)


def std(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Tensor:
    """Return the standard deviation; its gradient where it is 0 is 0."""
    return _safe_sqrt(var(input, dim, unbiased, keepdim, correction=correction))


def _safe_sqrt(x: Tensor) -> Tensor:
    """Return √x with gradient 0 at 0."""
    flat = x == 0
    return where(flat, 0.0 * x, sqrt(where(flat, 1.0, x)))


def var_mean(input: Tensor, dim: Any = None, *, correction: float = 1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Return variance and mean."""
    return var(input, dim, keepdim=keepdim, correction=correction), mean(input, dim, keepdim)


def std_mean(input: Tensor, dim: Any = None, *, correction: float = 1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Return standard deviation and mean."""
    return std(input, dim, keepdim=keepdim, correction=correction), mean(input, dim, keepdim)


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the product of all elements, or along an axis."""
    x = _summable(input, dtype)
    if x.ndim == 0:
        return clone(x)
    if dim is None:
        return apply(primitive("prod"), (ravel(x),), {"axis": 0})
    axis = normalize_axis(dim, x.ndim)
    y = apply(primitive("prod"), (x,), {"axis": axis})
    return _reshape(y, with_ones(tuple(x.shape), (axis,))) if keepdim else y


def amax(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """Return the largest element over axes; ties share the gradient evenly."""
    return reduced(AMAX, input, dim, keepdim)


def amin(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """Return the smallest element over axes; ties share the gradient evenly."""
    return reduced(AMIN, input, dim, keepdim)


def aminmax(input: Tensor, *, dim: Any = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Return smallest and largest."""
    return amin(input, dim, keepdim), amax(input, dim, keepdim)


def _extreme(input: Tensor, dim: Any, keepdim: bool, place: str, all_of: Any, pairwise: Any) -> Any:
    if isinstance(dim, Tensor):
        return pairwise(input, dim)
    if dim is None:
        return reduced(all_of, input, None, False)
    if input.ndim == 0:
        normalize_axis(dim, 1)
        return ValuesAndIndices(clone(input), _place(input))
    axis = normalize_axis(dim, input.ndim)
    index = apply(primitive(place), (input,), {"axis": axis})
    index = _reshape(index, with_ones(tuple(input.shape), (axis,)))
    values = take_along(input, index, axis)
    if keepdim:
        return ValuesAndIndices(values, index)
    return ValuesAndIndices(values.squeeze(axis), index.squeeze(axis))


def _place(x: Tensor) -> Tensor:
    return Tensor(np.zeros((), I64))


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the largest element, or along an axis (values, indices), or the larger of two tensors."""
    return _extreme(input, dim, keepdim, "argmax", AMAX, maximum)


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Return the smallest element, or along an axis (values, indices), or the smaller of two tensors."""
    return _extreme(input, dim, keepdim, "argmin", AMIN, minimum)


def _argument(input: Tensor, dim: int | None, keepdim: bool, place: str) -> Tensor:
    if numpy_dtype(input) == BOOL:
        raise DtypeError(f"{place}: got a bool tensor", expected="numbers")
    if dim is None:
        y = apply(primitive(place), (ravel(input),), {"axis": 0})
        return _reshape(y, (1,) * input.ndim) if keepdim else y
    if input.ndim == 0:
        return _place(input)
    axis = normalize_axis(dim, input.ndim)
    y = apply(primitive(place), (input,), {"axis": axis})
    return _reshape(y, with_ones(tuple(input.shape), (axis,))) if keepdim else y


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the place of the largest element (the first if there are several), over all or along an axis."""
    return _argument(input, dim, keepdim, "argmax")


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the place of the smallest element (the first if there are several), over all or along an axis."""
    return _argument(input, dim, keepdim, "argmin")


def _truths(input: Tensor, dim: Any, keepdim: bool, name: str) -> Tensor:
    y = reduced(primitive(name), input, dim, keepdim)
    return cast(y, numpy_dtype(input)) if numpy_dtype(input) == np.uint8 else y


def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Return whether any element is true (not 0)."""
    return _truths(input, dim, keepdim, "any")


def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Return whether all elements are true (not 0)."""
    return _truths(input, dim, keepdim, "all")


def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """Return how many elements are not 0."""
    return sum(ne(input, 0), dim)


def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Return the running sum along an axis."""
    x = _summable(input, dtype)
    if x.ndim == 0:
        normalize_axis(dim, 1)
        return clone(x)
    return apply(primitive("cumsum"), (x,), {"axis": normalize_axis(dim, x.ndim), "reverse": False})


def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Return the running product along an axis, in log₂(size) steps; its gradient is exact at zeros."""
    x = _summable(input, dtype)
    if x.ndim == 0:
        normalize_axis(dim, 1)
        return clone(x)
    axis = normalize_axis(dim, x.ndim)
    size, step, y = int(x.shape[axis]), 1, x
    while step < size:
        ones = slice_axis(y, axis, 0, step)
        shifted = slice_axis(y, axis, 0, size - step)
        y = cat([ones, slice_axis(y, axis, step, size) * shifted], axis)
        step *= 2
    return clone(y) if y is x else y


def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """Return log Σ e^x over axes, without overflow."""
    x = as_float(input, "logsumexp")
    axes = axes_of(x, dim)
    if x.ndim == 0:
        return clone(x)
    top = amax(x.detach(), axes, True)
    top = where(abs(top) == math.inf, 0.0, top)
    y = log(sum((x - top).exp(), axes, True)) + top
    return y if keepdim else y.squeeze(axes)


def softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """Return e^x / Σ e^x along an axis."""
    return _along(primitive("softmax"), input, dim, dtype, 1.0)


def log_softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """Return x - log Σ e^x along an axis."""
    return _along(primitive("log_softmax"), input, dim, dtype, 0.0)


def _along(made_by: Any, input: Tensor, dim: int, dtype: Any, single: float) -> Tensor:
    x = _floating(input, made_by.name, dtype)
    if x.ndim == 0:
        normalize_axis(dim, 1)
        return apply(made_by, (_reshape(x, (1,)),), {"axis": 0}).reshape(())
    return apply(made_by, (x,), {"axis": normalize_axis(dim, x.ndim)})


def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the p-norm of the elements: (Σ |x|^p)^(1/p); its gradient at 0 is 0."""
    x = _floating(input, "norm", dtype)
    if p in ("fro", None) or p == 2:
        return _safe_sqrt(sum(x * x, dim, keepdim))
    if not isinstance(p, (int, float)):
        raise ArgumentError(f"norm: got p={p!r}", expected="a number or 'fro'")
    size = abs(x)
    if p == math.inf:
        return amax(size, dim if dim is not None else (), keepdim)
    if p == -math.inf:
        return amin(size, dim if dim is not None else (), keepdim)
    if p == 1:
        return sum(size, dim, keepdim)
    if p == 0:
        return cast(sum(ne(size, 0), dim, keepdim), numpy_dtype(x))
    total = sum(where(size == 0, 0.0, where(size == 0, 1.0, size) ** p), dim, keepdim) if p > 0 else sum(size**p, dim, keepdim)
    flat = total == 0
    return where(flat, 0.0 * total, where(flat, 1.0, total) ** (1.0 / p))


def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """Return the p-norm of the difference."""
    return norm(input - other, p)


# -- orders ------------------------------------------------------------------------------------------------------------


def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """Return the places of the elements in order along an axis; ties keep theirs."""
    if input.ndim == 0:
        return _place(input)
    axis = normalize_axis(dim, input.ndim)
    return apply(primitive("argsort"), (input,), {"axis": axis, "descending": bool(descending)})


def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> ValuesAndIndices:
    """Return the elements in order along an axis, and their places; ties keep their order."""
    index = argsort(input, dim, descending)
    if input.ndim == 0:
        return ValuesAndIndices(clone(input), index)
    return ValuesAndIndices(take_along(input, index, normalize_axis(dim, input.ndim)), index)


def msort(input: Tensor) -> Tensor:
    """Return the elements in order along axis 0."""
    return sort(input, 0).values


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesAndIndices:
    """Return the k largest (or smallest) elements along an axis, and their places."""
    if input.ndim == 0:
        return ValuesAndIndices(clone(input), _place(input))
    axis = normalize_axis(dim, input.ndim)
    if k < 0 or k > input.shape[axis]:
        raise ArgumentError(f"topk: k={k} of an axis of {input.shape[axis]}", expected="k within it")
    index = slice_axis(argsort(input, axis, largest), axis, 0, k)
    return ValuesAndIndices(take_along(input, index, axis), clone(index))


def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
    """Return the k-th smallest element along an axis, and its place."""
    if input.ndim == 0:
        return ValuesAndIndices(clone(input), _place(input))
    axis = normalize_axis(dim, input.ndim)
    if not 1 <= k <= input.shape[axis]:
        raise ArgumentError(f"kthvalue: k={k} of an axis of {input.shape[axis]}", expected="1 ≤ k ≤ its size")
    index = slice_axis(argsort(input, axis), axis, k - 1, k)
    values = take_along(input, index, axis)
    return ValuesAndIndices(values, clone(index)) if keepdim else ValuesAndIndices(values.squeeze(axis), index.squeeze(axis))


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Return the median (the lower of two), over all elements or along an axis (values, indices); NaN if any is."""
    if dim is None:
        flat = ravel(input)
        if input.ndim and flat.shape[0] == 0:
            raise ShapeError("median of no element")
        middle = _middle(flat, 0, True).values.reshape(()).detach()
        attained = (flat == middle) | isnan(flat) if bool_of_nan(middle) else flat == middle
        share = cast(attained, numpy_dtype(flat)) if numpy_dtype(flat).kind == "f" else None
        if share is None:
            return middle
        even = share / sum(share)  # the gradient is shared evenly among ties, as in PyTorch
        return sum(where(attained, flat, 0.0) * even) if not bool_of_nan(middle) else middle + 0 * sum(flat)
    if input.ndim == 0:
        return ValuesAndIndices(clone(input), _place(input))
    return _middle(input, normalize_axis(dim, input.ndim), keepdim)


def bool_of_nan(x: Tensor) -> bool:
    """Return whether an eager 0-d tensor is NaN; in a trace, False."""
    return x._value is not None and bool(np.isnan(x._value)) if x._value is not None and x._value.dtype.kind == "f" else False


def _middle(x: Tensor, axis: int, keepdim: bool) -> ValuesAndIndices:
    order = argsort(x, axis)
    place = (x.shape[axis] - 1) // 2
    index = slice_axis(order, axis, place, place + 1)
    if numpy_dtype(x).kind == "f":  # a NaN sorts last; a median with a NaN among the elements is NaN
        last = slice_axis(order, axis, x.shape[axis] - 1, x.shape[axis])
        index = where(isnan(take_along(x, last, axis)), last, index)
    values = take_along(x, index, axis)
    if keepdim:
        return ValuesAndIndices(values, clone(index))
    return ValuesAndIndices(values.squeeze(axis), index.squeeze(axis))


def cummax(input: Tensor, dim: int) -> ValuesAndIndices:
    """Return the running maximum along an axis, and the places where it was last attained."""
    return _running(input, dim, largest=True)


def cummin(input: Tensor, dim: int) -> ValuesAndIndices:
    """Return the running minimum along an axis, and the places where it was last attained."""
    return _running(input, dim, largest=False)


def _running(x: Tensor, dim: int, *, largest: bool) -> ValuesAndIndices:
    if x.ndim == 0:
        return ValuesAndIndices(clone(x), _place(x))
    axis = normalize_axis(dim, x.ndim)
    size = int(x.shape[axis])
    if size == 0:
        return ValuesAndIndices(clone(x), cast(x, I64))
    best = slice_axis(x, axis, 0, 1)
    place = cast(best * 0, I64) if numpy_dtype(x).kind != "f" else cast(isnan(best), I64) * 0
    values, places = [best], [place]
    for k in range(1, size):
        new = slice_axis(x, axis, k, k + 1)
        better = (new >= best) | isnan(new) if largest else (new <= best) | isnan(new)
        better = better & ~(isnan(best) & ~isnan(new))
        best, place = where(better, new, best), where(better, k, place)
        values.append(best)
        places.append(place)
    return ValuesAndIndices(cat(values, axis), cat(places, axis))


def quantile(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return quantiles by linear interpolation between the two nearest elements; q of any number in [0, 1]."""
    x = _floating(input, "quantile")
    flat = ravel(x) if dim is None else x
    axis = 0 if dim is None else normalize_axis(dim, x.ndim)
    ordered = sort(flat, axis).values
    n = int(ordered.shape[axis])
    numbers: Sequence[float] = [float(q)] if isinstance(q, (int, float)) or (isinstance(q, Tensor) and q.ndim == 0) else [float(v) for v in q]
    parts = []
    for number in numbers:
        if not 0 <= number <= 1:
            raise ArgumentError(f"quantile: got q={number}", expected="a number in [0, 1]")
        position = number * (n - 1)
        low = math.floor(position)
        high = low + 1 if low + 1 < n else low
        a, b = slice_axis(ordered, axis, low, low + 1), slice_axis(ordered, axis, high, high + 1)
        y = a + (b - a) * (position - low)
        y = y if keepdim and dim is not None else y.reshape((1,) * x.ndim) if keepdim else y.squeeze(axis)
        parts.append(y)
    if isinstance(q, (int, float)) or (isinstance(q, Tensor) and q.ndim == 0):
        return parts[0]
    return cat([p.unsqueeze(0) for p in parts], 0)


def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False
) -> Any:
    """Return the distinct elements in order; on request where each went, and how often it occurs."""
    array = np.asarray(input.detach())
    values, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    out = [Tensor(values)]
    if return_inverse:
        out.append(Tensor(inverse.reshape(array.shape).astype(I64)))
    if return_counts:
        out.append(Tensor(counts.astype(I64)))
    return out[0] if len(out) == 1 else tuple(out)


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """Return how often each integer 0, 1, … occurs (or the sum of its weights)."""
    array = np.asarray(input.detach())
    counts = np.bincount(array, None if weights is None else np.asarray(weights.detach()), minlength)
    return Tensor(counts.astype(I64) if weights is None else counts)


FUNCTIONS = (
    sum, nansum, mean, nanmean, var, std, var_mean, std_mean, prod, amax, amin, aminmax, max, min, argmax, argmin, any,
    all, count_nonzero, cumsum, cumprod, logsumexp, softmax, log_softmax, norm, dist, argsort, sort, msort, topk,
    kthvalue, median, cummax, cummin, quantile, unique, bincount,
)  # fmt: skip
