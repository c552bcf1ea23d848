"""Sums, means, extremes, norms: PyTorch's names, arguments, dtypes and choices at ties."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import ArgumentError, DtypeError
from chainrule.graph import Primitive, primitive
from chainrule.graph.numeric import as_int, as_number
from chainrule.graph.sizes import normalize_axes, normalize_axis, numel
from chainrule.ops.reduce import with_ones
from chainrule.tensors.apply import apply, apply2, as_float, cast
from chainrule.tensors.arithmetic import (
    DIV,
    MUL,
    SUB,
    abs,
    add,
    clone,
    div,
    exp,
    log,
    maximum,
    minimum,
    mul,
    pow,
    sign,
    sqrt,
    sub,
)
from chainrule.tensors.binary import checked, zero_dimensional
from chainrule.tensors.dtypes import BOOL, I64, to_numpy_dtype
from chainrule.tensors.indexing import take_along
from chainrule.tensors.logic import bitwise_not, eq, isnan, ne, where
from chainrule.tensors.memory import detach
from chainrule.tensors.shaping import cat
from chainrule.tensors.tensor import Tensor, numpy_dtype
from chainrule.tensors.views import ravel, reshaped, slice_axis, squeeze

SUM, PROD, AMAX, AMIN = primitive("sum"), primitive("prod"), primitive("amax"), primitive("amin")


class ValuesAndIndices(NamedTuple):
    """What max, min, sort, topk, median and others along an axis return."""

    values: Tensor
    indices: Tensor


class Extremes(NamedTuple):
    """What aminmax returns."""

    min: Tensor
    max: Tensor


def axes_of(x: Tensor, dim: Any) -> tuple[int, ...]:
    """Return the axes that ``dim`` names: all of them for None or ()."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(x.ndim))
    return normalize_axes(dim, x.ndim)


def reduced(made_by: Primitive, x: Tensor, dim: Any, keepdim: bool) -> Tensor:
    """Reduce over the axes that ``dim`` names."""
    axes = axes_of(x, dim)
    return kept(apply(made_by, (x,), {"axes": axes}), x, axes, keepdim)


def kept(y: Tensor, x: Tensor, axes: tuple[int, ...], keepdim: bool) -> Tensor:
    """Return ``y`` with size 1 at the axes over which ``x`` was reduced, if they are to be kept."""
    return reshaped(y, with_ones(tuple(x.shape), axes)) if keepdim else y


def summable(x: Tensor, dtype: Any) -> Tensor:
    """Return ``x`` as what it is summed in: the dtype asked for, or int64 for integers and truth values."""
    if dtype is not None:
        return cast(x, to_numpy_dtype(dtype))
    return x if numpy_dtype(x).kind == "f" else cast(x, I64)


def floating(x: Tensor, name: str, dtype: Any = None) -> Tensor:
    """Return ``x`` in the dtype asked for; raise if that holds no fractions."""
    y = x if dtype is None else cast(x, to_numpy_dtype(dtype))
    if numpy_dtype(y).kind != "f":
        raise DtypeError(f"{name}: got {numpy_dtype(y)}", expected="a floating-point dtype", fix="call .float() first")
    return y


def count_of(x: Tensor, axes: tuple[int, ...]) -> Any:
    """Return how many elements lie along these axes."""
    return numel(tuple([x.shape[axis] for axis in axes]))


# -- sums --------------------------------------------------------------------------------------------------------------


def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the sum over all axes, or those named; integers and truth values sum to int64."""
    return reduced(SUM, summable(input, dtype), dim, keepdim)


def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the sum, NaN counted as 0."""
    return sum(where(isnan(input), 0, input), dim, keepdim, dtype=dtype)


def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the mean over all axes, or those named."""
    x = floating(input, "mean", dtype)
    axes = axes_of(x, dim)
    return kept(apply2(DIV, apply(SUM, (x,), {"axes": axes}), count_of(x, axes)), x, axes, keepdim)


def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the mean of what is not NaN."""
    x = floating(input, "nanmean", dtype)
    return div(nansum(x, dim, keepdim), sum(bitwise_not(isnan(x)), dim, keepdim))


def var(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Tensor:
    """Return the variance: Σ (x - mean)² / (n - correction); correction 1 unless told (0 if not ``unbiased``)."""
    return _variance_and_mean(input, dim, unbiased, keepdim, correction)[0]


def _variance_and_mean(
    input: Tensor, dim: Any, unbiased: bool, keepdim: bool, correction: float | None
) -> tuple[Tensor, Tensor]:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    x = floating(input, "var")
    axes = axes_of(x, dim)
    count = count_of(x, axes)
    average = kept(apply2(DIV, apply(SUM, (x,), {"axes": axes}), count), x, axes, True) if axes else x
    centred = apply2(SUB, x, average)
    total = apply(SUM, (apply2(MUL, centred, centred),), {"axes": axes})
    freedom = count - ((1 if unbiased else 0) if correction is None else as_number(as_int(correction)))
    if isinstance(freedom, (int, float)) and freedom < 0:
        freedom = 0
    variance = kept(apply2(DIV, total, freedom), x, axes, keepdim)
    return variance, average if keepdim or not axes else squeeze(average, axes)


def std(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> Tensor:
    """Return the standard deviation; its gradient where it is 0 is 0."""
    return safe_sqrt(var(input, dim, unbiased, keepdim, correction=correction))


def safe_sqrt(x: Tensor) -> Tensor:
    """Return √x with gradient 0 at 0."""
    flat = eq(x, 0)
    return where(flat, mul(x, 0.0), sqrt(where(flat, 1.0, x)))


def var_mean(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """Return variance and mean."""
    return _variance_and_mean(input, dim, unbiased, keepdim, correction)


def std_mean(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """Return standard deviation and mean."""
    variance, average = _variance_and_mean(input, dim, unbiased, keepdim, correction)
    return safe_sqrt(variance), average


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the product of all elements, or along an axis; the gradient is exact where elements are 0."""
    x = summable(input, dtype)
    if dim is None:
        return kept(apply(PROD, (ravel(x),), {"axis": 0}), x, tuple(range(x.ndim)), keepdim)
    axis = normalize_axis(dim, x.ndim)
    return clone(x) if x.ndim == 0 else kept(apply(PROD, (x,), {"axis": axis}), x, (axis,), keepdim)


def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Return the running sum along an axis."""
    x = summable(input, dtype)
    axis = normalize_axis(dim, x.ndim)
    return clone(x) if x.ndim == 0 else apply(primitive("cumsum"), (x,), {"axis": axis, "reverse": False})


def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Return the running product along an axis, in log₂(size) steps; its gradient is exact at zeros."""
    x = summable(input, dtype)
    axis = normalize_axis(dim, x.ndim)
    if x.ndim == 0:
        return clone(x)
    size, step, y = int(x.shape[axis]), 1, x
    while step < size:
        first, rest = slice_axis(y, axis, 0, step), slice_axis(y, axis, step, size)
        y = cat([first, mul(rest, slice_axis(y, axis, 0, size - step))], axis)
        step *= 2
    return clone(y) if y is x else y


def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """Return log Σ e^x over axes, without overflow; the gradient where all x are -∞ is 0."""
    x = as_float(input, "logsumexp")
    axes = axes_of(x, dim)
    if x.ndim == 0:
        return clone(x)
    top = detach(apply(AMAX, (x,), {"axes": axes})) if count_of(x, axes) != 0 else sum(x, axes)
    top = where(eq(abs(top), math.inf), 0.0, top)
    total = sum(exp(sub(x, reshaped(top, with_ones(tuple(x.shape), axes)))), axes)
    empty = eq(total, 0)
    y = add(where(empty, -math.inf, log(where(empty, 1.0, total))), top)
    return kept(y, x, axes, keepdim)


def softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """Return e^x / Σ e^x along an axis."""
    return _along(primitive("softmax"), input, dim, dtype)


def log_softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """Return x - log Σ e^x along an axis."""
    return _along(primitive("log_softmax"), input, dim, dtype)


def _along(made_by: Primitive, input: Tensor, dim: int, dtype: Any) -> Tensor:
    x = floating(checked(input, made_by.name), made_by.name, dtype)
    axis = normalize_axis(dim, x.ndim)
    if x.ndim == 0:
        return reshaped(apply(made_by, (reshaped(x, (1,)),), {"axis": 0}), ())
    return apply(made_by, (x,), {"axis": axis})


def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Return the p-norm of the elements: (Σ |x|^p)^(1/p); its gradient at 0 is 0."""
    x = floating(input, "norm", dtype)
    if p in ("fro", None) or p == 2:
        return safe_sqrt(sum(mul(x, x), dim, keepdim))
    p = as_number(p)
    if not isinstance(p, (int, float)):
        raise ArgumentError(f"norm: got p={p!r}", expected="a number or 'fro'")
    size = abs(x)
    if math.isinf(p):
        return reduced(AMAX if p > 0 else AMIN, size, dim, keepdim)
    if p == 1:
        return sum(size, dim, keepdim)
    if p == 0:
        return sum(sign(size), dim, keepdim)
    none = eq(size, 0)  # |x|^p would have an infinite slope there; 0^p is infinite if p < 0
    total = sum(where(none, 0.0 if p > 0 else math.inf, pow(where(none, 1.0, size), float(p))), dim, keepdim)
    flat = eq(total, 0)
    return where(flat, mul(total, 0.0), pow(where(flat, 1.0, total), 1.0 / p))


def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """Return the p-norm of the difference."""
    return norm(sub(input, other), p)


# -- extremes ------------------------------------------------------------------------------------------------------------


def amax(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """Return the largest element over axes; ties share the gradient evenly."""
    return reduced(AMAX, input, dim, keepdim)


def amin(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """Return the smallest element over axes; ties share the gradient evenly."""
    return reduced(AMIN, input, dim, keepdim)


def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Extremes:
    """Return smallest and largest."""
    return Extremes(amin(input, dim, keepdim), amax(input, dim, keepdim))


def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """Return the largest element, or along an axis (values, indices), or the larger of two tensors."""
    if isinstance(dim, Tensor) or other is not None:
        return maximum(input, dim if other is None else other)
    return reduced(AMAX, input, None, False) if dim is None else _extreme(input, dim, keepdim, "argmax")


def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """Return the smallest element, or along an axis (values, indices), or the smaller of two tensors."""
    if isinstance(dim, Tensor) or other is not None:
        return minimum(input, dim if other is None else other)
    return reduced(AMIN, input, None, False) if dim is None else _extreme(input, dim, keepdim, "argmin")


def _extreme(x: Tensor, dim: int, keepdim: bool, place: str) -> ValuesAndIndices:
    axis = normalize_axis(dim, checked(x, place.removeprefix("arg")).ndim)
    if x.ndim == 0:
        return ValuesAndIndices(clone(x), first_place())
    index = reshaped(apply(primitive(place), (x,), {"axis": axis}), with_ones(tuple(x.shape), (axis,)))
    return picked(x, index, axis, keepdim)


def picked(x: Tensor, index: Tensor, axis: int, keepdim: bool) -> ValuesAndIndices:
    """Return the elements at one place along an axis, and the place."""
    values = take_along(x, index, axis)
    if keepdim:
        return ValuesAndIndices(values, index)
    return ValuesAndIndices(squeeze(values, axis), squeeze(index, axis))


def first_place() -> Tensor:
    """Return the place of the only element of a 0-d tensor."""
    return zero_dimensional(0, I64)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the place of the largest element (the first if there are several), over all or along an axis."""
    return _place(input, dim, keepdim, "argmax")


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Return the place of the smallest element (the first if there are several), over all or along an axis."""
    return _place(input, dim, keepdim, "argmin")


def _place(x: Tensor, dim: int | None, keepdim: bool, name: str) -> Tensor:
    if numpy_dtype(x) == BOOL:
        raise DtypeError(f"{name}: got a bool tensor", expected="numbers")
    if dim is None:
        return kept(apply(primitive(name), (ravel(x),), {"axis": 0}), x, tuple(range(x.ndim)), keepdim)
    axis = normalize_axis(dim, x.ndim)
    return first_place() if x.ndim == 0 else kept(apply(primitive(name), (x,), {"axis": axis}), x, (axis,), keepdim)


def cummax(input: Tensor, dim: int) -> ValuesAndIndices:
    """Return the running maximum along an axis, and the places where it was last attained."""
    return _running(input, dim, "cumargmax")


def cummin(input: Tensor, dim: int) -> ValuesAndIndices:
    """Return the running minimum along an axis, and the places where it was last attained."""
    return _running(input, dim, "cumargmin")


def _running(x: Tensor, dim: int, name: str) -> ValuesAndIndices:
    axis = normalize_axis(dim, x.ndim)
    if x.ndim == 0:
        return ValuesAndIndices(clone(x), first_place())
    index = apply(primitive(name), (x,), {"axis": axis})
    return ValuesAndIndices(take_along(x, index, axis), index)


# -- truth ---------------------------------------------------------------------------------------------------------------


def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Return whether any element is true (not 0)."""
    return _truths(input, dim, keepdim, "any")


def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Return whether all elements are true (not 0)."""
    return _truths(input, dim, keepdim, "all")


def _truths(x: Tensor, dim: Any, keepdim: bool, name: str) -> Tensor:
    y = reduced(primitive(name), x, dim, keepdim)
    return cast(y, numpy_dtype(x)) if numpy_dtype(x) == np.uint8 else y


def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """Return how many elements are not 0."""
    return sum(ne(input, 0), dim)


FUNCTIONS = (
    sum, nansum, mean, nanmean, var, std, var_mean, std_mean, prod, cumsum, cumprod, logsumexp, softmax, log_softmax,
    norm, dist, amax, amin, aminmax, max, min, argmax, argmin, cummax, cummin, any, all, count_nonzero,
)  # fmt: skip
