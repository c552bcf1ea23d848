"""Out of a tensor and into other dtypes; filling in place; copying."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, GradientError, TraceError
from chainrule.graph import Dtype
from chainrule.graph.sizes import numel, same_shape
from chainrule.tensors import creation
from chainrule.tensors.apply import cast
from chainrule.tensors.arithmetic import add, clone, div, log1p, mul, neg
from chainrule.tensors.binary import checked
from chainrule.tensors.dtypes import (
    F32,
    F64,
    DType,
    bool_,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    to_numpy_dtype,
    uint8,
)
from chainrule.tensors.gathering import number_like
from chainrule.tensors.generator import Generator
from chainrule.tensors.logic import lt
from chainrule.tensors.memory import detach, replace_memory, write
from chainrule.tensors.options import Option, check_options, in_memory_format, own_memory_format
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor, concrete, device, new_leaf, numpy_dtype, parent_of
from chainrule.tensors.views import permuted, transpose


def item(input: Tensor) -> Any:
    """Return the one element as a Python number."""
    array = concrete(input, "item()")
    if array.size != 1:
        raise ArgumentError(f"item(): a tensor of {array.size} elements, shape {array.shape}", expected="one element")
    return array.item()


def tolist(input: Tensor) -> Any:
    """Return the elements as nested lists of Python numbers."""
    return concrete(input, "tolist()").tolist()


def numpy(input: Tensor, *, force: bool = False) -> Any:
    """Return the array that shares memory with the tensor."""
    array = concrete(input, "numpy()")
    if input.requires_grad and not force:
        raise GradientError("numpy() of a tensor that requires grad", fix="use tensor.detach().numpy()")
    return array


def size(input: Tensor, dim: int | None = None) -> Any:
    """Return the shape, or the size of one axis."""
    return input.shape if dim is None else input.shape[dim]


def dim(input: Tensor) -> int:
    """Return the number of axes."""
    return input.ndim


def element_size(input: Tensor) -> int:
    """Return the bytes of one element."""
    return int(numpy_dtype(input).itemsize)


def nbytes_of(input: Tensor) -> int:
    """Return the bytes of all elements."""
    return int(numel(tuple(input.shape)) * numpy_dtype(input).itemsize)


def is_floating_point(input: Tensor) -> bool:
    """Return whether the dtype holds fractions."""
    return bool(numpy_dtype(input).kind == "f")


def is_tensor(obj: Any) -> bool:
    """Return whether ``obj`` is a tensor."""
    return isinstance(obj, Tensor)


def is_nonzero(input: Tensor) -> bool:
    """Return whether the one element is not 0."""
    return bool(item(input))


def stride(input: Tensor, dim: int | None = None) -> Any:
    """Return the steps, in elements, from one element to the next along each axis."""
    array = concrete(input, "stride()")
    steps = tuple([s // array.itemsize for s in array.strides])
    return steps if dim is None else steps[dim]


def data_ptr(input: Tensor) -> int:
    """Return the address of the first element."""
    return int(concrete(input, "data_ptr()").ctypes.data)


def to(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return the tensor in a dtype (given as such, or as another tensor) and on a device (the CPU)."""
    dtype: Any = kwargs.pop("dtype", None)
    copy = bool(kwargs.pop("copy", False))
    other: Any = kwargs.pop("other", None)
    order = check_options("to", kwargs)
    flags: list[bool] = []  # positional: non_blocking, copy
    for value in (*args, other):
        if isinstance(value, Tensor):
            dtype = numpy_dtype(value)
        elif isinstance(value, (str, device)):
            device(value)
        elif isinstance(value, bool):
            flags.append(value)
        elif value is not None:
            dtype = value
    return _converted(
        input, numpy_dtype(input) if dtype is None else to_numpy_dtype(dtype), order, copy or flags[1:] == [True]
    )


def _converted(x: Tensor, dtype: Dtype, order: Option | None, copy: bool = False) -> Tensor:
    """Return ``x`` in a dtype and memory order; ``x`` itself if it has them and no copy is asked for."""
    y = cast(x, dtype)
    if y is x and (copy or order not in (None, own_memory_format(x))):
        y = clone(x)
    return y if y is x else in_memory_format(y, order)


def type_as(input: Tensor, other: Tensor) -> Tensor:
    """Return the tensor in the dtype of ``other``."""
    return cast(input, numpy_dtype(other))


def cpu(input: Tensor) -> Tensor:
    """Return the tensor: it is on the CPU."""
    return input


def _conversion(name: str, dtype: DType) -> Callable[..., Tensor]:
    def function(input: Tensor, **options: Any) -> Tensor:
        return _converted(input, dtype.numpy, check_options(name, options))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Return the tensor as {dtype.name}."
    return function


CONVERSIONS = tuple(
    _conversion(name, dtype)
    for name, dtype in {
        "float": float32, "double": float64, "int": int32, "long": int64, "short": int16, "char": int8, "byte": uint8,
        "bool": bool_,
    }.items()
)  # fmt: skip


# -- in place ----------------------------------------------------------------------------------------------------------


def copy_(input: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Write ``src`` (broadcast, converted) into the tensor."""
    return write(input, cast(checked(src, "copy_"), numpy_dtype(input)))


def fill(input: Tensor, value: Any) -> Tensor:
    """Return a tensor like this one with one value everywhere."""
    return fill_(clone(input), value)


def fill_(input: Tensor, value: Any) -> Tensor:
    """Write one value everywhere."""
    return write(input, number_like(value, input))


def zero_(input: Tensor) -> Tensor:
    """Write 0 everywhere."""
    return fill_(input, 0)


def _drawn(input: Tensor, kind: Callable[..., Tensor], generator: Generator | None) -> Tensor:
    dtype = numpy_dtype(input)
    if dtype not in (F32, F64):
        raise ArgumentTypeError(f"random numbers into a tensor of {dtype}", expected="float32 or float64")
    return kind(tuple(input.shape), generator=generator, dtype=dtype)


def uniform_(input: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Write numbers uniform on [from, to)."""
    if not from_ <= to:
        raise ArgumentError(f"uniform_: from {from_} to {to}", expected="from ≤ to")
    return write(input, add(mul(_drawn(input, creation.rand, generator), to - from_), from_))


def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Write normal numbers with this mean and standard deviation."""
    if std < 0:
        raise ArgumentError(f"normal_: got std={std}", expected="a number that is not negative")
    return write(input, add(mul(_drawn(input, creation.randn, generator), std), mean))


def exponential_(input: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Write exponential numbers with this rate."""
    if not lambd > 0:
        raise ArgumentError(f"exponential_: got lambd={lambd}", expected="a number above 0")
    return write(input, div(neg(log1p(neg(_drawn(input, creation.rand, generator)))), lambd))


def bernoulli_(input: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Write 1 with probability p, else 0."""
    drawn = creation.rand(tuple(input.shape), generator=generator, dtype=F64 if numpy_dtype(input) == F64 else F32)
    return write(input, cast(lt(drawn, p), numpy_dtype(input)))


def random_(input: Tensor, low: int = 0, high: int | None = None, *, generator: Generator | None = None) -> Tensor:
    """Write random integers low … high - 1 (to the largest that the dtype counts exactly, if no end is given)."""
    if high is None:
        digits = {F32: 24, F64: 53}.get(numpy_dtype(input))
        high = 2**digits if digits is not None else int(np.iinfo(numpy_dtype(input)).max)
    return write(input, cast(creation.randint(low, high, tuple(input.shape), generator=generator), numpy_dtype(input)))


# -- new tensors of the same dtype ---------------------------------------------------------------------------------------


def new_tensor(input: Tensor, data: Any, *, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """Return a new tensor of ``data`` in this dtype."""
    wanted = creation.dtype_or(dtype, numpy_dtype(input))
    return creation.tensor(data, dtype=wanted, requires_grad=requires_grad, **options)


def new_zeros(input: Tensor, *args: Any, dtype: Any = None, **options: Any) -> Tensor:
    """Return zeros in this dtype."""
    return creation.zeros(*args, dtype=creation.dtype_or(dtype, numpy_dtype(input)), **options)


def new_ones(input: Tensor, *args: Any, dtype: Any = None, **options: Any) -> Tensor:
    """Return ones in this dtype."""
    return creation.ones(*args, dtype=creation.dtype_or(dtype, numpy_dtype(input)), **options)


def new_full(input: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    """Return one value everywhere in this dtype."""
    return creation.full(size, fill_value, dtype=creation.dtype_or(dtype, numpy_dtype(input)), **options)


def new_empty(input: Tensor, *args: Any, dtype: Any = None, **options: Any) -> Tensor:
    """Return zeros in this dtype."""
    return new_zeros(input, *args, dtype=dtype, **options)


# -- the tape and the memory ---------------------------------------------------------------------------------------------


def detach_(input: Tensor) -> Tensor:
    """Cut the tensor off its tape."""
    if parent_of(input) is not None:
        raise GradientError("detach_() of a view", fix="use detach()")
    input._node = None
    return input


def deep_copy(input: Tensor, memo: dict[int, Any]) -> Tensor:
    """Return a copy of a leaf for copy.deepcopy."""
    if not input.is_leaf:
        raise GradientError("deepcopy of a tensor that an operation made", fix="detach() it first")
    known = memo.get(id(input))
    if known is not None:
        found: Tensor = known
        return found
    y = type(input).__new__(type(input))
    Tensor.__init__(y, np.array(concrete(input, "deepcopy"), order="C"))
    if input.requires_grad:
        y._node = new_leaf(y)
    if input.grad is not None:
        y.grad = deep_copy(input.grad.detach(), {})
    memo[id(input)] = y
    return y


def data(input: Tensor) -> Tensor:
    """Return the tensor's memory without its tape."""
    return detach(input)


def set_data(input: Tensor, value: Tensor) -> None:
    """Let the tensor have other data: a copy of that of ``value``. What shared its memory keeps the old one."""
    is_alike = same_shape(tuple(input.shape), tuple(value.shape)) and numpy_dtype(input) == numpy_dtype(value)
    if STATE.mode == TRACE and STATE.trace is not None:
        if not is_alike:
            raise TraceError(
                f"data of shape {tuple(value.shape)} for a tensor of shape {tuple(input.shape)}, in a compiled function",
                expected="the same shape and dtype",
                fix="change it outside of the compiled function",
            )
        STATE.trace.let_go(input)
        write(detach(input), value.detach())
        return
    replace_memory(input, np.array(value._value))


def transposed(input: Tensor) -> Tensor:
    """Return a view with all axes in reverse order."""
    return permuted(input, tuple(range(input.ndim - 1, -1, -1)))


def last_two_exchanged(input: Tensor) -> Tensor:
    """Return a view with the last two axes exchanged."""
    return transpose(input, -2, -1)


METHODS = (
    item, tolist, numpy, size, dim, element_size, is_floating_point, is_nonzero, stride, data_ptr, to, type_as, cpu,
    copy_, fill, fill_, zero_, uniform_, normal_, bernoulli_, exponential_, random_, new_tensor, new_zeros, new_ones,
    new_full, new_empty, detach, detach_, *CONVERSIONS,
)  # fmt: skip
FUNCTIONS = (is_tensor, is_floating_point, is_nonzero, fill)
