"""A value of a function in LLVM's language: its dtype, how many lanes it has, and how LLVM writes both.

A ``Value`` is one number (``lanes`` 1) or ``LANES`` of them side by side, whatever the width of the machine's registers:
LLVM cuts a vector into as many as it takes, and the bits stay the same. Its operators write instructions (``emit.py``).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from chainrule.compiler.emit import Emitter

LANES = 16  # of a vector, and of every sum that runs along one
Dtype = np.dtype[Any]
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
I64, I32, U8, BOOL = np.dtype(np.int64), np.dtype(np.int32), np.dtype(np.uint8), np.dtype(np.bool_)

TYPES = {"f4": "float", "f8": "double", "i8": "i64", "u8": "i64", "i4": "i32", "u4": "i32", "i2": "i16", "i1": "i8"}
TYPES |= {"u1": "i8", "b1": "i1", "u2": "i16"}
INTRINSIC = {"float": "f32", "double": "f64"}


def type_of(dtype: Dtype, lanes: int = 1) -> str:
    """Return LLVM's type: truth values are one bit wide in registers."""
    scalar = TYPES[dtype.str[1:]]
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def literal(number: Any, dtype: Dtype) -> str:
    """Return a constant as LLVM writes it: floats as the bits of the double that equals them."""
    if dtype.kind == "f":
        rounded = float(dtype.type(number))
        return f"0x{struct.unpack('Q', struct.pack('d', rounded))[0]:016X}"
    if dtype.kind == "b":
        return "true" if number else "false"
    return str(int(number))


def suffix_of(dtype: Dtype, lanes: int = 1) -> str:
    """Return what the names of LLVM's own functions end with for this type: ``v16f32``."""
    scalar = type_of(dtype)
    scalar = INTRINSIC.get(scalar, scalar)
    return scalar if lanes == 1 else f"v{lanes}{scalar}"


class Value:
    """A value of a function: ``name`` is how LLVM calls it (of a constant, its digits)."""

    __slots__ = ("constant", "dtype", "e", "lanes", "name")

    def __init__(self, e: Emitter, name: str, dtype: Dtype, lanes: int = 1, constant: bool = False) -> None:
        self.e = e
        self.name = name
        self.dtype = dtype
        self.lanes = lanes
        self.constant = constant

    @property
    def type(self) -> str:
        """LLVM's type."""
        return type_of(self.dtype, self.lanes)

    def __repr__(self) -> str:
        return f"{self.type} {self.name}"

    def __add__(self, other: Any) -> Value:
        return self.e.arithmetic("add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self.e.arithmetic("add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self.e.arithmetic("sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.e.arithmetic("sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return self.e.arithmetic("mul", self, other)

    def __rmul__(self, other: Any) -> Value:
        return self.e.arithmetic("mul", other, self)

    def __truediv__(self, other: Any) -> Value:
        return self.e.arithmetic("div", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.e.arithmetic("div", other, self)

    def __neg__(self) -> Value:
        return self.e.neg(self)

    def __and__(self, other: Any) -> Value:
        return self.e.bits("and", self, other)

    def __or__(self, other: Any) -> Value:
        return self.e.bits("or", self, other)

    def __xor__(self, other: Any) -> Value:
        return self.e.bits("xor", self, other)

    def __invert__(self) -> Value:
        return self.e.bits("xor", self, True if self.dtype.kind == "b" else -1)

    def __lshift__(self, other: Any) -> Value:
        return self.e.bits("shl", self, other)

    def __rshift__(self, other: Any) -> Value:
        return self.e.bits("lshr" if self.dtype.kind == "u" else "ashr", self, other)

    def __lt__(self, other: Any) -> Value:
        return self.e.compare("lt", self, other)

    def __le__(self, other: Any) -> Value:
        return self.e.compare("le", self, other)

    def __gt__(self, other: Any) -> Value:
        return self.e.compare("gt", self, other)

    def __ge__(self, other: Any) -> Value:
        return self.e.compare("ge", self, other)
