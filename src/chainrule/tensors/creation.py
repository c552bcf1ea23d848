"""Tensors from data, from NumPy, filled, in a row, and at random."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, ShapeError
from chainrule.graph import Dtype, primitive
from chainrule.graph.numeric import as_int, as_number
from chainrule.tensors.apply import apply, cast
from chainrule.tensors.arithmetic import add, clone, div, log1p, mul, neg
from chainrule.tensors.binary import FULL, conversion_of, kind_of
from chainrule.tensors.dtypes import F32, F64, I64, default_float, to_numpy_dtype
from chainrule.tensors.generator import Generator, chosen
from chainrule.tensors.logic import ge, gt, lt, where
from chainrule.tensors.memory import detach
from chainrule.tensors.options import check_options
from chainrule.tensors.orders import argsort
from chainrule.tensors.reductions import cumsum
from chainrule.tensors.reductions import sum as sum_over
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor, concrete, numpy_dtype
from chainrule.tensors.views import expand, narrow, sizes_of, unsqueeze

IOTA = primitive("iota")


def dtype_or(dtype: Any, otherwise: Dtype) -> Dtype:
    """Return the NumPy dtype asked for, or the other one if none is."""
    return otherwise if dtype is None else to_numpy_dtype(dtype)


def _leaf(y: Tensor, requires_grad: bool) -> Tensor:
    return y.requires_grad_() if requires_grad else y


def tensor(data: Any, *, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """Return a new tensor with a copy of ``data`` (numbers, nested sequences, NumPy arrays, tensors).

    >>> import chainrule as cr
    >>> cr.tensor([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    check_options("tensor", options)
    y = Tensor(_array(data, dtype, copy=True))
    if STATE.trace is not None:
        STATE.trace.note_fresh(y)
    return _leaf(y, requires_grad)


def _array(data: Any, dtype: Any, *, copy: bool) -> Any:
    wanted = None if dtype is None else to_numpy_dtype(dtype)
    if isinstance(data, Tensor):
        array: Any = concrete(data, "chainrule.tensor(tensor)", instead="clone().detach()")
    elif isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data)
    else:
        array = _from_nested(data, wanted)
        copy = False
    if wanted is None:
        to_numpy_dtype(array.dtype)  # raises for dtypes that are not here
        return np.array(array, order="C") if copy else np.asarray(array)
    with np.errstate(all="ignore"):
        return array.astype(wanted, order="C" if copy else "K", copy=copy)


def _from_nested(data: Any, wanted: Dtype | None) -> Any:
    try:
        array = np.asarray(_plain(data) if isinstance(data, (list, tuple)) else data)
    except ValueError as error:
        raise ShapeError(f"tensor: the nested sequences are ragged ({error})", expected="equal lengths") from None
    if array.dtype.kind not in "biuf":
        raise ArgumentTypeError(f"tensor: got {type(data).__name__} data of dtype {array.dtype}", expected="numbers")
    if wanted is None and (array.dtype.kind == "f" or (array.size == 0 and array.dtype.kind != "b")):
        return array.astype(default_float())
    return array


def _plain(data: Any) -> Any:
    """Return nested sequences with the tensors in them as numbers."""
    if not any(isinstance(x, (list, tuple, Tensor)) for x in data):
        return data
    return [
        concrete(x, "chainrule.tensor([tensor])", instead="stack()").tolist()
        if isinstance(x, Tensor)
        else _plain(x)
        if isinstance(x, (list, tuple))
        else x
        for x in data
    ]


def as_tensor(data: Any, dtype: Any = None, **options: Any) -> Tensor:
    """Return ``data`` as a tensor, without copying where its memory can be shared."""
    check_options("as_tensor", options)
    if isinstance(data, Tensor):
        return data if dtype is None else cast(data, to_numpy_dtype(dtype))
    return _lent(Tensor(_array(data, dtype, copy=False)), data)


def asarray(obj: Any, *, dtype: Any = None, copy: bool | None = None, **options: Any) -> Tensor:
    """Return ``obj`` as a tensor, without copying (unless told) where its memory can be shared."""
    y = as_tensor(obj, dtype, **options)
    return clone(y) if copy else y


def from_numpy(ndarray: Any) -> Tensor:
    """Return a tensor that shares the memory of a NumPy array."""
    if not isinstance(ndarray, np.ndarray):
        raise ArgumentTypeError(
            f"from_numpy: got {kind_of(ndarray)}", expected="a NumPy array", fix=conversion_of(ndarray)
        )
    to_numpy_dtype(ndarray.dtype)
    return _lent(
        Tensor(np.asarray(ndarray)), ndarray
    )  # of a subclass, as a memory map is: the same memory as a plain array


def _lent(y: Tensor, data: Any) -> Tensor:
    """Tell an open trace of a tensor that has the memory of an array."""
    if STATE.trace is not None and isinstance(data, np.ndarray) and np.may_share_memory(y._value, data):
        STATE.trace.note_lent(y)
    return y


# -- filled --------------------------------------------------------------------------------------------------------------


def shape_of(args: tuple[Any, ...], named: Any = None) -> tuple[Any, ...]:
    """Return the shape for sizes given one by one, as one sequence, or by name."""
    shape = sizes_of(args, named)
    if any(isinstance(n, int) and n < 0 for n in shape):
        raise ArgumentError(f"a shape of {shape}", expected="sizes that are not negative")
    return shape


def _filled(shape: tuple[Any, ...], value: Any, dtype: Dtype, requires_grad: bool) -> Tensor:
    return _leaf(apply(FULL, (), {"shape": shape, "dtype": dtype, "value": value}), requires_grad)


def zeros(*args: Any, size: Any = None, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """Return a tensor of zeros."""
    check_options("zeros", options)
    return _filled(shape_of(args, size), 0, dtype_or(dtype, default_float()), requires_grad)


def ones(*args: Any, size: Any = None, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """Return a tensor of ones."""
    check_options("ones", options)
    return _filled(shape_of(args, size), 1, dtype_or(dtype, default_float()), requires_grad)


def empty(*args: Any, size: Any = None, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """Return a tensor of zeros: what is not set is at least always the same."""
    return zeros(*args, size=size, dtype=dtype, requires_grad=requires_grad, **options)


def full(size: Any, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """Return a tensor filled with one value, in its dtype unless another is given."""
    check_options("full", options)
    shape = shape_of((size,))
    if isinstance(fill_value, Tensor):
        return clone(expand(cast(fill_value, dtype_or(dtype, numpy_dtype(fill_value))), shape))
    fill_value = as_number(fill_value)
    own = np.dtype(bool) if isinstance(fill_value, bool) else I64 if isinstance(fill_value, int) else default_float()
    return _filled(shape, fill_value, dtype_or(dtype, own), requires_grad)


def zeros_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """Return zeros in the shape and dtype of ``input``."""
    return full_like(input, 0, dtype=dtype, requires_grad=requires_grad, **options)


def ones_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """Return ones in the shape and dtype of ``input``."""
    return full_like(input, 1, dtype=dtype, requires_grad=requires_grad, **options)


def empty_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """Return zeros in the shape and dtype of ``input``."""
    return full_like(input, 0, dtype=dtype, requires_grad=requires_grad, **options)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False, **options: Any
) -> Tensor:
    """Return one value everywhere, in the shape and dtype of ``input``."""
    check_options("full_like", options)
    fill_value = as_number(fill_value)
    return _filled(tuple(input.shape), fill_value, dtype_or(dtype, numpy_dtype(input)), requires_grad)


# -- in a row ------------------------------------------------------------------------------------------------------------


def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, requires_grad: bool = False, **options: Any
) -> Tensor:
    """Return start, start + step, … below end.

    >>> import chainrule as cr
    >>> cr.arange(3)
    tensor([0, 1, 2])
    """
    check_options("arange", options)
    if end is None:
        start, end = 0, start
    start, end, step = [as_number(as_int(n)) for n in (start, end, step)]
    fractions = any(isinstance(n, float) for n in (start, end, step))
    wanted = dtype_or(dtype, default_float() if fractions else I64)
    if any(isinstance(n, float) and not math.isfinite(n) for n in (start, end, step)):
        raise ArgumentError(f"arange: from {start} to {end} by {step}", expected="finite numbers")
    if fractions and wanted == I64:  # as PyTorch: integers are counted, not fractions
        start, end, step = int(start), int(end), int(step)
    if step == 0 or (isinstance(start, (int, float)) and isinstance(end, (int, float)) and (end - start) * step < 0):
        raise ArgumentError(f"arange: from {start} to {end} by {step}", expected="a step that leads from start to end")
    count: Any = math.ceil((end - start) / step) if fractions and wanted != I64 else -((start - end) // step)
    y = apply(IOTA, (), {"size": count, "dtype": F64 if wanted.kind == "f" else I64})
    if wanted.kind != "f":
        start, step = int(start) if isinstance(start, float) else start, int(step)
    y = y if step == 1 else mul(y, step)
    y = y if type(start) is int and start == 0 else add(y, start)
    return _leaf(cast(y, wanted), requires_grad)


def _steps(start: Any, end: Any, steps: Any, wanted: Dtype, name: str) -> Any:
    """Return ``steps`` numbers from start to end in float64, each computed from the nearer end."""
    steps = as_int(steps)
    if not isinstance(steps, int) or steps < 0:
        raise ArgumentError(f"{name}: got steps={steps!r}", expected="an integer that is not negative")
    if any(isinstance(x, Tensor) and x.ndim > 0 for x in (start, end)):
        raise ShapeError(f"{name}: got a tensor with axes as start or end", expected="numbers or 0-d tensors")
    first, last = [float(x) if wanted.kind == "f" else float(int(x)) for x in (start, end)]
    count = steps
    step = (last - first) / (count - 1) if count > 1 else 0.0
    places = np.arange(count, dtype=F64)
    return np.where(places < max(count // 2, 1), first + step * places, last - step * (count - 1 - places))


def linspace(
    start: Any, end: Any, steps: int, *, dtype: Any = None, requires_grad: bool = False, **options: Any
) -> Tensor:
    """Return ``steps`` numbers from start to end, both included, at equal distances (integers without fractions)."""
    check_options("linspace", options)
    wanted = dtype_or(dtype, default_float())
    return _leaf(Tensor(_steps(start, end, steps, wanted, "linspace").astype(wanted)), requires_grad)


def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Return base^start … base^end."""
    check_options("logspace", options)
    wanted = dtype_or(dtype, default_float())
    with np.errstate(all="ignore"):
        return _leaf(Tensor((base ** _steps(start, end, steps, wanted, "logspace")).astype(wanted)), requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """Return the identity matrix, or a part of it that is not square."""
    check_options("eye", options)
    shape = shape_of((n, n if m is None else m))
    return _leaf(Tensor(np.eye(*shape, dtype=dtype_or(dtype, default_float()))), requires_grad)


# -- random --------------------------------------------------------------------------------------------------------------


def _random(name: str, shape: tuple[Any, ...], dtype: Dtype, generator: Generator | None) -> Tensor:
    if dtype not in (F32, F64):
        raise ArgumentTypeError(f"random numbers of {dtype}", expected="float32 or float64")
    return chosen(generator).next(primitive(name), {"shape": shape, "dtype": dtype})


def rand(
    *args: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Return numbers uniform on [0, 1)."""
    check_options("rand", options)
    return _leaf(_random("uniform", shape_of(args, size), dtype_or(dtype, default_float()), generator), requires_grad)


def randn(
    *args: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Return normal numbers, mean 0, variance 1."""
    check_options("randn", options)
    return _leaf(_random("normal", shape_of(args, size), dtype_or(dtype, default_float()), generator), requires_grad)


def rand_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Return numbers uniform on [0, 1) in the shape and dtype of ``input``."""
    wanted = dtype_or(dtype, numpy_dtype(input))
    return rand(tuple(input.shape), generator=generator, dtype=wanted, requires_grad=requires_grad, **options)


def randn_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Return normal numbers in the shape and dtype of ``input``."""
    wanted = dtype_or(dtype, numpy_dtype(input))
    return randn(tuple(input.shape), generator=generator, dtype=wanted, requires_grad=requires_grad, **options)


def randint(
    low: Any,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Return integers uniform on low … high - 1; ``randint(high, size)`` starts at 0."""
    check_options("randint", options)
    if size is None or isinstance(high, (tuple, list)) or high is None:
        low, high, size = 0, low, high if size is None else size
    if not low < high:
        raise ArgumentError(f"randint: low={low}, high={high}", expected="low < high")
    attributes = {"shape": shape_of((size,)), "low": int(low), "high": int(high)}
    return _leaf(
        cast(chosen(generator).next(primitive("random_integers"), attributes), dtype_or(dtype, I64)), requires_grad
    )


def randint_like(
    input: Tensor,
    low: int,
    high: int | None = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Return random integers low … high - 1 (from 0 if one is given) in the shape and dtype of ``input``."""
    low, high = (0, low) if high is None else (low, high)
    wanted = dtype_or(dtype, numpy_dtype(input))
    shape = tuple(input.shape)
    return randint(low, high, shape, generator=generator, dtype=wanted, requires_grad=requires_grad, **options)


def randperm(n: Any, *, generator: Generator | None = None, dtype: Any = None, **options: Any) -> Tensor:
    """Return 0 … n - 1 in random order."""
    check_options("randperm", options)
    return cast(chosen(generator).next(primitive("permutation"), {"size": shape_of((n,))[0]}), dtype_or(dtype, I64))


def bernoulli(input: Tensor, p: Any = None, *, generator: Generator | None = None) -> Tensor:
    """Return 1 with probability ``input`` (or ``p``), else 0."""
    probability = input if p is None else p
    wanted = numpy_dtype(input)
    if p is None and wanted.kind != "f":
        raise ArgumentTypeError(f"bernoulli: got probabilities of {wanted}", expected="floats")
    if STATE.mode != TRACE:
        array = np.asarray(detach(probability)) if isinstance(probability, Tensor) else np.asarray(probability)
        if not np.all((array >= 0) & (array <= 1)):
            raise ArgumentError("bernoulli: a probability lies outside [0, 1]")
    drawn = _random("uniform", tuple(input.shape), wanted if wanted in (F32, F64) else F32, generator)
    return cast(lt(drawn, probability), wanted)


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Return normal numbers with this mean and standard deviation (numbers with a size, or tensors)."""
    check_options("normal", options)
    tensors = [x for x in (mean, std) if isinstance(x, Tensor)]
    if not isinstance(std, Tensor) and std < 0:
        raise ArgumentError(f"normal: got std={std}", expected="a number that is not negative")
    if size is not None:
        shape, wanted = shape_of((size,)), default_float()
    elif tensors:
        shape, wanted = tuple(add(mean, std).shape), numpy_dtype(tensors[0])
    else:
        raise ArgumentError("normal: got two numbers and no size", expected="a size, or a tensor")
    drawn = _random("normal", shape, dtype_or(dtype, wanted), generator)
    return _leaf(add(mul(drawn, std), mean), requires_grad)


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Return ``num_samples`` indices drawn with the weights in the last axis of ``input``."""
    num_samples = as_int(num_samples)
    if numpy_dtype(input).kind != "f":
        raise ArgumentTypeError(f"multinomial: got weights of {numpy_dtype(input)}", expected="floats")
    if input.ndim not in (1, 2) or num_samples <= 0:
        raise ShapeError(
            f"multinomial: got shape {tuple(input.shape)}, {num_samples} samples", expected="one or two axes, a sample"
        )
    weights = cast(detach(input), F64)
    if STATE.mode != TRACE:
        _check_weights(weights._value, 1 if replacement else num_samples)
    if not replacement:
        # exponential races: the i-th smallest of Eᵢ / wᵢ are a draw without replacement (Efraimidis, Spirakis 2006)
        exponential = neg(log1p(neg(_random("uniform", tuple(input.shape), F64, generator))))
        races = where(gt(weights, 0), div(exponential, weights), math.inf)
        return clone(narrow(argsort(races, -1), -1, 0, num_samples))
    cumulated = cumsum(weights, -1)
    total = narrow(cumulated, -1, int(input.shape[-1]) - 1, 1)
    drawn = mul(_random("uniform", (*tuple(input.shape)[:-1], num_samples), F64, generator), total)
    return sum_over(ge(unsqueeze(drawn, -1), unsqueeze(cumulated, -2)), -1)


def _check_weights(weights: Any, needed: int) -> None:
    if not np.all(np.isfinite(weights) & (weights >= 0)):
        raise ArgumentError("multinomial: some weight is negative or not finite")
    if np.any((weights > 0).sum(-1) < needed):
        raise ArgumentError(f"multinomial: a row has fewer than {needed} weights above 0")


FUNCTIONS = (
    tensor, as_tensor, asarray, from_numpy, zeros, ones, empty, full, zeros_like, ones_like, empty_like, full_like,
    arange, linspace, logspace, eye, rand, randn, rand_like, randn_like, randint, randint_like, randperm, bernoulli,
    normal, multinomial,
)  # fmt: skip

METHODS = (bernoulli, multinomial)
