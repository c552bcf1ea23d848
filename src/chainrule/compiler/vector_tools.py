"""What the functions of vectors share: the layout of a float type, polynomials, blends."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.compiler.emit import Emitter
from chainrule.compiler.value import BOOL, F32, F64, I32, I64, Dtype, Value

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


def polynomial(e: Emitter, x: Value, coefficients: Sequence[float | Value]) -> Value:
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


def is_negative(e: Emitter, x: Value) -> Value:
    """Return whether the sign of a float is minus, of 0 and NaN too."""
    return e.bitcast(x, layout(x).integer) < 0


def negate_where(e: Emitter, x: Value, odd: Value) -> Value:
    """Return -x where the lowest bit of an integer of the same size is 1."""
    form = layout(x)
    return e.bitcast(e.bitcast(x, form.integer) ^ (odd << (8 * form.dtype.itemsize - 1)), form.dtype)


def known(x: Value) -> float | None:
    """Return the number that a constant float is, None for what is computed."""
    if not x.constant or x.dtype.kind != "f" or "0x" not in x.name or "," in x.name:
        return None
    bits = int(x.name.partition("0x")[2].rstrip(")"), 16)
    return float(struct.unpack("d", struct.pack("Q", bits))[0])


def any_lane(e: Emitter, mask: Value) -> Value:
    """Return whether a truth holds in any lane."""
    if mask.lanes == 1:
        return mask
    name = f"llvm.vector.reduce.or.v{mask.lanes}i1"
    e.module.declare(name, f"declare i1 @{name}(<{mask.lanes} x i1>)")
    return e.op(f"call i1 @{name}({mask!r})", BOOL)


def repeat(e: Emitter, carry: Sequence[Value], body: Callable[..., tuple[Sequence[Value], Value]]) -> list[Value]:
    """Write ``do carry, again = body(*carry) while again in any lane``; return the last ``carry``."""
    head, done, before = e.fresh("turn")[1:], e.fresh("end")[1:], e.block
    current = [Value(e, e.fresh("t"), x.dtype, x.lanes) for x in carry]
    e.line(f"br label %{head}")
    e.label(head)
    place = len(e.lines)
    new, again = body(*current)
    back = e.block
    e.lines[place:place] = [
        f"  {x.name} = phi {x.type} [ {old.name}, %{before} ], [ {then.name}, %{back} ]"
        for x, old, then in zip(current, carry, new, strict=True)
    ]
    e.line(f"br {any_lane(e, again)!r}, label %{head}, label %{done}")
    e.label(done)
    return list(new)
