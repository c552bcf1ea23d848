"""Out of a tensor and into other dtypes; filling in place; copying."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, GradientError
from chainrule.graph.sizes import numel, same_shape
from chainrule.tensors import creation
from chainrule.tensors.apply import cast
from chainrule.tensors.arithmetic import clone
from chainrule.tensors.creation import rand, randn
from chainrule.tensors.dtypes import (
    DType,
    F32,
    F64,
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
from chainrule.tensors.generator import Generator
from chainrule.tensors.memory import detach, write
from chainrule.tensors.views import permuted
from chainrule.tensors.tensor import Tensor, concrete, device, new_leaf, numpy_dtype


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
    where: Any = kwargs.pop("device", None)
    copy = bool(kwargs.pop("copy", False))
    kwargs.pop("non_blocking", None)
    if kwargs:
        raise ArgumentTypeError(f"to(): got {', '.join(kwargs)}", expected="dtype, device, non_blocking or copy")
    for value in args:
        if isinstance(value, Tensor):
            dtype = numpy_dtype(value)
        elif isinstance(value, (str, device)):
            where = value
        elif isinstance(value, bool):
            continue
        elif value is not None:
            dtype = value
    if where is not None:
        device(where)
    wanted = numpy_dtype(input) if dtype is None else to_numpy_dtype(dtype)
    if wanted == numpy_dtype(input):
        return clone(input) if copy else input
    return cast(input, wanted)


def type_as(input: Tensor, other: Tensor) -> Tensor:
    """Return the tensor in the dtype of ``other``."""
    return cast(input, numpy_dtype(other))


def cpu(input: Tensor) -> Tensor:
    """Return the tensor: it is on the CPU."""
    return input


def _conversion(name: str, dtype: DType) -> Callable[[Tensor], Tensor]:
    def function(input: Tensor) -> Tensor:
        return cast(input, dtype.numpy)

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
    new = src if isinstance(src, Tensor) else creation.as_tensor(src)
    return write(input, cast(new, numpy_dtype(input)))


def fill_(input: Tensor, value: Any) -> Tensor:
    """Write one value everywhere."""
    number = value if isinstance(value, Tensor) else Tensor(np.asarray(value).astype(numpy_dtype(input)))
    return write(input, cast(number, numpy_dtype(input)))


def zero_(input: Tensor) -> Tensor:
    """Write 0 everywhere."""
    return fill_(input, 0)


def uniform_(input: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Write numbers uniform on [from, to)."""
    return write(input, rand(tuple(input.shape), generator=generator, dtype=_float_of(input)) * (to - from_) + from_)


def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Write normal numbers with this mean and standard deviation."""
    return write(input, randn(tuple(input.shape), generator=generator, dtype=_float_of(input)) * std + mean)


def bernoulli_(input: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Write 1 with probability p, else 0."""
    drawn = rand(tuple(input.shape), generator=generator, dtype=F32 if numpy_dtype(input) != F64 else F64) < p
    return write(input, cast(drawn, numpy_dtype(input)))


def exponential_(input: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Write exponential numbers with this rate."""
    u = rand(tuple(input.shape), generator=generator, dtype=_float_of(input))
    return write(input, -(-u).log1p() / lambd)


def random_(input: Tensor, low: int = 0, high: int | None = None, *, generator: Generator | None = None) -> Tensor:
    """Write random integers low … high - 1."""
    top = (1 << 24 if numpy_dtype(input).kind == "f" else int(np.iinfo(numpy_dtype(input)).max)) if high is None else high
    y = creation.randint(low, top, tuple(input.shape), generator=generator)
    return write(input, cast(y, numpy_dtype(input)))


def _float_of(x: Tensor) -> Any:
    dtype = numpy_dtype(x)
    if dtype not in (F32, F64):
        raise ArgumentTypeError(f"random numbers into a tensor of {dtype}", expected="float32 or float64")
    return dtype


def new_tensor(input: Tensor, data: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a new tensor of ``data`` in this dtype."""
    wanted = numpy_dtype(input) if dtype is None else dtype
    return creation.tensor(data, dtype=wanted, requires_grad=requires_grad)


def new_zeros(input: Tensor, *size: Any, dtype: Any = None) -> Tensor:
    """Return zeros in this dtype."""
    return creation.zeros(*size, dtype=numpy_dtype(input) if dtype is None else dtype)


def new_ones(input: Tensor, *size: Any, dtype: Any = None) -> Tensor:
    """Return ones in this dtype."""
    return creation.ones(*size, dtype=numpy_dtype(input) if dtype is None else dtype)


def new_full(input: Tensor, size: Any, fill_value: Any, *, dtype: Any = None) -> Tensor:
    """Return one value everywhere in this dtype."""
    return creation.full(size, fill_value, dtype=numpy_dtype(input) if dtype is None else dtype)


def new_empty(input: Tensor, *size: Any, dtype: Any = None) -> Tensor:
    """Return zeros in this dtype."""
    return new_zeros(input, *size, dtype=dtype)


def detach_(input: Tensor) -> Tensor:
    """Cut the tensor off its tape."""
    if input._parent is not None:
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
    """Let the tensor have other data: its memory stays, if the shapes are equal."""
    if same_shape(tuple(input.shape), tuple(value.shape)) and numpy_dtype(input) == numpy_dtype(value):
        write(detach(input), value.detach())
        return
    input._value = np.array(value._value)
    if input._node is not None:
        input._node = new_leaf(input)


def transposed(input: Tensor) -> Tensor:
    """Return a view with all axes in reverse order."""
    return permuted(input, tuple(range(input.ndim - 1, -1, -1)))


def last_two_exchanged(input: Tensor) -> Tensor:
    """Return a view with the last two axes exchanged."""
    return input.transpose(-2, -1)


METHODS = (
    item, tolist, numpy, size, dim, element_size, is_floating_point, is_nonzero, stride, data_ptr, to, type_as, cpu,
    copy_, fill_, zero_, uniform_, normal_, bernoulli_, exponential_, random_, new_tensor, new_zeros, new_ones,
    new_full, new_empty, detach, detach_, *CONVERSIONS,
)  # fmt: skip
FUNCTIONS = (is_tensor, is_floating_point, is_nonzero)
