"""Dtypes, and which one an operation on several computes in: PyTorch's rules, not NumPy's.

The result is the least dtype above all operands of the highest rank (tensor, then 0-d tensor, then Python number); an
operand of lower rank counts only if its category (bool < integer < float) is higher.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import ArgumentTypeError, DtypeError
from chainrule.graph import Dtype
from chainrule.tensors.changes import CHANGES


class DType:
    """A dtype as the user sees it: ``chainrule.float32``."""

    __slots__ = ("name", "numpy")

    def __init__(self, name: str) -> None:
        self.name = name
        self.numpy: Dtype = np.dtype("bool" if name == "bool" else name)

    def __repr__(self) -> str:
        return f"chainrule.{self.name}"

    def __reduce__(self) -> str:
        return "bool_" if self.name == "bool" else self.name

    @property
    def is_floating_point(self) -> bool:
        """Whether it holds fractions."""
        return self.numpy.kind == "f"

    @property
    def is_complex(self) -> bool:
        """Whether it holds complex numbers: never, here."""
        return False

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.numpy.itemsize


float32 = DType("float32")
float64 = DType("float64")
int8 = DType("int8")
int16 = DType("int16")
int32 = DType("int32")
int64 = DType("int64")
uint8 = DType("uint8")
bool_ = DType("bool")

DTYPES = (float32, float64, int8, int16, int32, int64, uint8, bool_)
FROM_NUMPY: dict[Dtype, DType] = {dtype.numpy: dtype for dtype in DTYPES}

F32, F64, I64, BOOL = float32.numpy, float64.numpy, int64.numpy, bool_.numpy
CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2}


class _Default:
    def __init__(self) -> None:
        self.dtype = float32


_default = _Default()


def set_default_dtype(dtype: Any) -> None:
    """Set the dtype that floating-point tensors are created with: float32 or float64."""
    if not isinstance(dtype, DType) or not dtype.is_floating_point:
        raise ArgumentTypeError(f"set_default_dtype: got {dtype!r}", expected="float32 or float64")
    _default.dtype = dtype
    CHANGES.bump()


def get_default_dtype() -> DType:
    """Return the dtype that floating-point tensors are created with."""
    return _default.dtype


def default_float() -> Dtype:
    """Return the NumPy dtype of new floating-point tensors."""
    return _default.dtype.numpy


def to_numpy_dtype(dtype: Any) -> Dtype:
    """Return the NumPy dtype for what a user may give as a dtype (ours, NumPy's, or ``float``, ``int``, ``bool``)."""
    if type(dtype) is DType:
        return dtype.numpy
    if dtype is float:
        return default_float()
    try:
        found: Dtype = np.dtype(dtype)
    except TypeError:
        raise ArgumentTypeError(
            f"got {dtype!r} as a dtype", expected=f"one of {', '.join(map(repr, DTYPES))}"
        ) from None
    if found not in FROM_NUMPY:
        raise DtypeError(
            f"the dtype {found} is not here",
            expected=f"one of {', '.join(d.name for d in DTYPES)}",
            fix="convert the array first, for instance with .astype('float32')",
        )
    return found


def _upper_bound(a: Dtype, b: Dtype) -> Dtype:
    if a == b:
        return a
    if a.kind == "f" or b.kind == "f":
        floats = [d for d in (a, b) if d.kind == "f"]
        return max(floats, key=_itemsize)
    return np.promote_types(a, b)  # bool, signed and uint8: NumPy's bounds are PyTorch's


def _itemsize(dtype: Dtype) -> int:
    return dtype.itemsize


_bounds: dict[tuple[Dtype, Dtype], Dtype] = {}


def upper_bound(a: Dtype, b: Dtype) -> Dtype:
    """Return the least dtype above both."""
    found = _bounds.get((a, b))
    if found is None:
        found = _bounds[a, b] = _upper_bound(a, b)
    return found


def number_dtype(value: Any) -> Dtype:
    """Return the dtype of a Python number: bool, int64 or the default float."""
    if isinstance(value, bool):
        return BOOL
    return default_float() if isinstance(value, float) else I64  # a symbolic size is an integer


def result_dtype(operands: tuple[tuple[Dtype, int], ...]) -> Dtype:
    """Return the dtype to compute in. Each operand: its dtype and rank (2 tensor, 1 zero-dimensional, 0 number)."""
    best: dict[int, Dtype] = {}
    for dtype, rank in operands:
        best[rank] = dtype if rank not in best else upper_bound(best[rank], dtype)
    result: Dtype | None = None
    for rank in (2, 1, 0):
        if rank in best and (result is None or CATEGORY[best[rank].kind] > CATEGORY[result.kind]):
            result = best[rank]
    if result is None:
        raise ArgumentTypeError("result_dtype: got no operand", expected="at least one")
    return result


class finfo:  # noqa: N801 - PyTorch's name
    """Limits of a floating-point dtype: ``eps``, ``max``, ``min``, ``tiny``, ``bits``."""

    def __init__(self, dtype: DType) -> None:
        limits: Any = np.finfo(to_numpy_dtype(dtype))
        self.dtype = dtype.name
        self.bits = int(limits.bits)
        self.eps, self.max, self.min = float(limits.eps), float(limits.max), float(limits.min)
        self.tiny = self.smallest_normal = float(limits.tiny)
        self.resolution = float(limits.resolution)


class iinfo:  # noqa: N801 - PyTorch's name
    """Limits of an integer dtype: ``max``, ``min``, ``bits``."""

    def __init__(self, dtype: DType) -> None:
        limits = np.iinfo(to_numpy_dtype(dtype))
        self.dtype = dtype.name
        self.bits, self.max, self.min = int(limits.bits), int(limits.max), int(limits.min)
