"""Tensors from data, from NumPy, filled, in a row, and at random."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, ShapeError
from chainrule.graph import Dtype, primitive
from chainrule.tensors.apply import apply, cast
from chainrule.tensors.arithmetic import where
from chainrule.tensors.dtypes import F32, F64, FROM_NUMPY, I64, default_float, to_numpy_dtype
from chainrule.tensors.generator import Generator, chosen
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor, concrete, device, numpy_dtype

FULL, IOTA = primitive("full"), primitive("iota")


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """Return a new tensor with a copy of ``data`` (numbers, nested sequences, NumPy arrays, tensors).

    >>> import chainrule as cr
    >>> cr.tensor([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    y = Tensor(_array(data, dtype, copy=True))
    _checked_device(device)
    return y.requires_grad_() if requires_grad else y


def _checked_device(where: Any) -> None:
    if where is not None:
        device(where)


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
        if isinstance(data, (list, tuple)) and any(isinstance(x, Tensor) for x in _leaves(data)):
            data = _plain(data)
        array = np.asarray(data)
    except ValueError as error:
        raise ShapeError(f"tensor: the nested sequences are ragged ({error})", expected="equal lengths") from None
    if array.dtype.kind not in "biuf":
        raise ArgumentTypeError(f"tensor: got {type(data).__name__} data of dtype {array.dtype}", expected="numbers")
    if wanted is None and (array.dtype.kind == "f" or (array.size == 0 and array.dtype.kind != "b")):
        return array.astype(default_float())
    return array


def _leaves(data: Any) -> Any:
    for x in data:
        if isinstance(x, (list, tuple)):
            yield from _leaves(x)
        else:
            yield x


def _plain(data: Any) -> Any:
    if isinstance(data, Tensor):
        return data.tolist()
    return [_plain(x) for x in data] if isinstance(data, (list, tuple)) else data


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Return ``data`` as a tensor, without copying where its memory can be shared."""
    _checked_device(device)
    if isinstance(data, Tensor):
        return data if dtype is None else cast(data, to_numpy_dtype(dtype))
    return Tensor(_array(data, dtype, copy=False))


asarray = as_tensor


def from_numpy(ndarray: Any) -> Tensor:
    """Return a tensor that shares the memory of a NumPy array."""
    if not isinstance(ndarray, np.ndarray):
        raise ArgumentTypeError(f"from_numpy: got {type(ndarray).__name__}", expected="a NumPy array")
    to_numpy_dtype(ndarray.dtype)
    return Tensor(ndarray)


def shape_of(size: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the shape for sizes given one by one or as one sequence."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    for n in size:
        if isinstance(n, (bool, float)) or (isinstance(n, int) and n < 0):
            raise ArgumentError(f"a shape of {size}", expected="integers that are not negative")
    return tuple([int(n) if isinstance(n, (np.integer, Tensor)) else n for n in size])


def _filled(shape: tuple[Any, ...], value: Any, dtype: Any, requires_grad: bool) -> Tensor:
    wanted = default_float() if dtype is None else to_numpy_dtype(dtype)
    y = apply(FULL, (), {"shape": shape, "dtype": wanted, "value": value})
    return y.requires_grad_() if requires_grad else y


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of zeros."""
    return _filled(shape_of(size), 0, dtype, requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of ones."""
    return _filled(shape_of(size), 1, dtype, requires_grad)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of zeros: what is not set is at least always the same."""
    return _filled(shape_of(size), 0, dtype, requires_grad)


def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor filled with one value, in its dtype unless another is given."""
    if isinstance(fill_value, Tensor):
        value = fill_value if dtype is None else cast(fill_value, to_numpy_dtype(dtype))
        return value.expand(*shape_of((size,))).clone()
    if dtype is None:
        dtype = np.bool_ if isinstance(fill_value, bool) else I64 if isinstance(fill_value, int) else default_float()
    return _filled(shape_of((size,)), fill_value, dtype, requires_grad)


def _like(input: Tensor, value: Any, dtype: Any, requires_grad: bool) -> Tensor:
    return _filled(tuple(input.shape), value, numpy_dtype(input) if dtype is None else dtype, requires_grad)


def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return zeros in the shape and dtype of ``input``."""
    return _like(input, 0, dtype, requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return ones in the shape and dtype of ``input``."""
    return _like(input, 1, dtype, requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return zeros in the shape and dtype of ``input``."""
    return _like(input, 0, dtype, requires_grad)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return one value everywhere, in the shape and dtype of ``input``."""
    return _like(input, fill_value, dtype, requires_grad)


def arange(start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Return start, start + step, … below end.

    >>> import chainrule as cr
    >>> cr.arange(3)
    tensor([0, 1, 2])
    """
    if end is None:
        start, end = 0, start
    if step == 0 or (isinstance(start, (int, float)) and isinstance(end, (int, float)) and (end - start) * step < 0):
        raise ArgumentError(f"arange: from {start} to {end} by {step}", expected="a step that leads from start to end")
    numbers = (start, end, step)
    if dtype is None:
        dtype = default_float() if any(isinstance(n, float) for n in numbers) else I64
    wanted = to_numpy_dtype(dtype)
    if any(isinstance(n, float) for n in numbers):
        count: Any = max(0, math.ceil((end - start) / step))
    else:
        count = -((start - end) // step)
    y = apply(IOTA, (), {"size": count, "dtype": F64 if wanted.kind == "f" else I64})
    y = y if step == 1 else y * step
    y = y if isinstance(start, int) and start == 0 else y + start
    return cast(y, wanted)


def linspace(start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Return ``steps`` numbers from start to end, both included, at equal distances."""
    wanted = default_float() if dtype is None else to_numpy_dtype(dtype)
    if steps < 0:
        raise ArgumentError(f"linspace: got steps={steps}", expected="a number that is not negative")
    values = np.linspace(float(start), float(end), int(steps), dtype=F64)
    return Tensor(values.astype(wanted))


def logspace(
    start: float, end: float, steps: int, base: float = 10.0, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """Return base^start … base^end."""
    wanted = default_float() if dtype is None else to_numpy_dtype(dtype)
    return Tensor((base ** np.linspace(float(start), float(end), int(steps), dtype=F64)).astype(wanted))


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Return the identity matrix."""
    y = Tensor(np.eye(n, m, dtype=default_float() if dtype is None else to_numpy_dtype(dtype)))
    return y.requires_grad_() if requires_grad else y


# -- random ------------------------------------------------------------------------------------------------------------


def _random(name: str, shape: tuple[Any, ...], dtype: Any, generator: Generator | None) -> Tensor:
    wanted = default_float() if dtype is None else to_numpy_dtype(dtype)
    if wanted not in (F32, F64):
        raise ArgumentTypeError(f"{name}: got {wanted}", expected="float32 or float64")
    return chosen(generator).next(primitive(name), {"shape": shape, "dtype": wanted})


def rand(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return numbers uniform on [0, 1)."""
    y = _random("uniform", shape_of(size), dtype, generator)
    return y.requires_grad_() if requires_grad else y


def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return normal numbers, mean 0, variance 1."""
    y = _random("normal", shape_of(size), dtype, generator)
    return y.requires_grad_() if requires_grad else y


def rand_like(input: Tensor, *, generator: Generator | None = None, dtype: Any = None, device: Any = None) -> Tensor:
    """Return numbers uniform on [0, 1) in the shape and dtype of ``input``."""
    return _random("uniform", tuple(input.shape), numpy_dtype(input) if dtype is None else dtype, generator)


def randn_like(input: Tensor, *, generator: Generator | None = None, dtype: Any = None, device: Any = None) -> Tensor:
    """Return normal numbers in the shape and dtype of ``input``."""
    return _random("normal", tuple(input.shape), numpy_dtype(input) if dtype is None else dtype, generator)


def randint(
    low: Any, high: Any = None, size: Any = None, *, generator: Generator | None = None, dtype: Any = None,
    device: Any = None,
) -> Tensor:  # fmt: skip
    """Return integers uniform on low … high - 1; ``randint(high, size)`` starts at 0."""
    if size is None or isinstance(high, (tuple, list)):
        low, high, size = 0, low, high if size is None else size
    if not low < high:
        raise ArgumentError(f"randint: low={low}, high={high}", expected="low < high")
    shape = shape_of((tuple(size),))
    y = chosen(generator).next(primitive("random_integers"), {"shape": shape, "low": int(low), "high": int(high)})
    return y if dtype is None else cast(y, to_numpy_dtype(dtype))


def randint_like(
    input: Tensor, low: int, high: int | None = None, *, generator: Generator | None = None, dtype: Any = None
) -> Tensor:
    """Return random integers in the shape and dtype of ``input``."""
    low, high = (0, low) if high is None else (low, high)
    wanted = numpy_dtype(input) if dtype is None else dtype
    return randint(low, high, tuple(input.shape), generator=generator, dtype=wanted)


def randperm(n: Any, *, generator: Generator | None = None, dtype: Any = None, device: Any = None) -> Tensor:
    """Return 0 … n - 1 in random order."""
    y = chosen(generator).next(primitive("permutation"), {"size": n})
    return y if dtype is None else cast(y, to_numpy_dtype(dtype))


def bernoulli(input: Tensor, p: Any = None, *, generator: Generator | None = None) -> Tensor:
    """Return 1 with probability ``input`` (or ``p``), else 0."""
    probability = input if p is None else p
    if STATE.mode != TRACE and isinstance(probability, Tensor):
        array = probability._value
        if not np.all((array >= 0) & (array <= 1)):
            raise ArgumentError("bernoulli: a probability lies outside [0, 1]")
    wanted = numpy_dtype(input)
    drawn = _random("uniform", tuple(input.shape), wanted if wanted in (F32, F64) else F32, generator)
    return cast(drawn < probability, wanted)


def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, dtype: Any = None
) -> Tensor:
    """Return normal numbers with this mean and standard deviation (numbers with a size, or tensors)."""
    if size is None:
        like = mean if isinstance(mean, Tensor) else std
        if not isinstance(like, Tensor):
            raise ArgumentError("normal: got two numbers and no size", expected="a size, or a tensor")
        shape: tuple[Any, ...] = tuple((mean + std).shape)
        dtype = numpy_dtype(like) if dtype is None else dtype
    else:
        shape = shape_of((size,))
    return _random("normal", shape, dtype, generator) * std + mean


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Return ``num_samples`` indices drawn with the weights in the last axis of ``input``."""
    if input.ndim not in (1, 2):
        raise ShapeError(f"multinomial: got shape {tuple(input.shape)}", expected="one or two axes")
    weights = input.detach().to(FROM_NUMPY[F64])
    if STATE.mode != TRACE and (
        not np.all(np.isfinite(weights._value) & (weights._value >= 0)) or not np.all(weights._value.sum(-1) > 0)
    ):
        raise ArgumentError("multinomial: weights", expected="finite, not negative, and some above 0 in each row")
    if not replacement:
        if STATE.mode != TRACE and np.any((weights._value > 0).sum(-1) < num_samples):
            raise ArgumentError(f"multinomial: {num_samples} samples without replacement from fewer weights above 0")
        # exponential races: the i-th smallest of Eᵢ / wᵢ are a draw without replacement
        u = _random("uniform", tuple(input.shape), F64, generator)
        races = where(weights > 0, -(-u).log1p() / weights, math.inf)
        return races.argsort(dim=-1)[..., :num_samples].clone()
    cumulated = weights.cumsum(-1)
    total = cumulated[..., -1:]
    u = _random("uniform", (*tuple(input.shape)[:-1], num_samples), F64, generator)
    places = (u * total).unsqueeze(-1) >= cumulated.unsqueeze(-2)
    return places.sum(-1).clamp(max=int(input.shape[-1]) - 1)


FUNCTIONS = (
    tensor, as_tensor, asarray, from_numpy, zeros, ones, empty, full, zeros_like, ones_like, empty_like, full_like,
    arange, linspace, logspace, eye, rand, randn, rand_like, randn_like, randint, randint_like, randperm, bernoulli,
    normal, multinomial,
)  # fmt: skip

METHODS = (bernoulli, multinomial)
