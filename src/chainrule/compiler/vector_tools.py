"""What the functions of vectors share: the layout of a float type, polynomials, blends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.compiler.emit import F32, F64, I32, I64, Dtype, Emitter, Value

INFINITY, NAN = float("inf"), float("nan")


class Layout(NamedTuple):
    """A float type: the integer of its size, its fraction's bits, its exponent's bias, the number that rounds by adding."""

    dtype: Dtype
    integer: Dtype
    fraction: int
    bias: int
    magic: float  # 1.5 · 2**fraction: x + magic is an integer near x, in the low bits
    tiny: float  # the smallest normal number

    def bits_of(self, number: float) -> int:
        """Return the bits of a constant."""
        kind, integer = ("f4", "i4") if self.dtype == F32 else ("f8", "i8")
        return int(np.array(number, kind).view(integer))


SINGLE = Layout(F32, I32, 23, 127, 1.5 * 2.0**23, 2.0**-126)
DOUBLE = Layout(F64, I64, 52, 1023, 1.5 * 2.0**52, 2.0**-1022)


def layout(x: Value) -> Layout:
    """Return the layout of a value's float type."""
    return SINGLE if x.dtype == F32 else DOUBLE


def is_single(x: Value) -> bool:
    """Say whether a value is float32."""
    return bool(x.dtype == F32)


def polynomial(e: Emitter, x: Value, coefficients: Sequence[float]) -> Value:
    """Return Σ c[k] x^k by Horner's rule."""
    y: Any = coefficients[-1]
    for c in coefficients[-2::-1]:
        y = e.fma(y, x, c)
    result: Value = y
    return result


def clamp(e: Emitter, x: Value, low: float | None, high: float | None) -> Value:
    """Return x within [low, high]; NaN stays NaN."""
    if low is not None:
        x = e.select(x < low, low, x)
    if high is not None:
        x = e.select(x > high, high, x)
    return x


def copysign(e: Emitter, x: Value, sign: Value) -> Value:
    """Return |x| with a sign."""
    return e.intrinsic("copysign", x, sign)


def power_of_two(e: Emitter, n: Value, form: Layout) -> Value:
    """Return 2**n for an exponent (integers) of a normal number."""
    return e.bitcast((n + form.bias) << form.fraction, form.dtype)


def in_double(e: Emitter, x: Value) -> Value:
    """Return x as float64."""
    return e.cast(x, F64)
