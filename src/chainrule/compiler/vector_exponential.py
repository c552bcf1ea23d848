"""e^x and what is made of it.

x = n log 2 + r with |r| <= log 2 / 2 (Cody and Waite, 1980), and e^r - 1 = r + r² P(r) keeps its digits where r is small.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from chainrule.compiler import vector_coefficients as c
from chainrule.compiler.emit import Emitter
from chainrule.compiler.lookup import lookup
from chainrule.compiler.value import Value
from chainrule.compiler.vector_tools import (
    DOUBLE,
    SINGLE,
    Layout,
    clamp,
    copysign,
    is_single,
    layout,
    polynomial,
    power_of_two,
)

TANH_TABLES = (
    c.TANH_CENTER_SINGLE,
    c.TANH_0_SINGLE,
    c.TANH_1_SINGLE,
    c.TANH_2_SINGLE,
    c.TANH_3_SINGLE,
    c.TANH_4_SINGLE,
    c.TANH_5_SINGLE,
    c.TANH_6_SINGLE,
)


class _Bounds(NamedTuple):
    """Numbers of a float type. The product of an n and ``log2_high`` is exact."""

    log2_high: float
    log2_low: float
    under: float  # e^x is 0 below
    over: float  # e^x is infinite above
    one: float  # tanh x is 1 above
    least: float  # e^x - 1 is -1 below


_SINGLE = _Bounds(0.693145751953125, 1.4286068203094173e-06, -105.0, 88.8, 9.02, -18.0)
_DOUBLE = _Bounds(float.fromhex("0x1.62e42fefa0000p-1"), 1.6465949582897082e-12, -746.0, 709.9, 20.0, -40.0)


def bounds(x: Value) -> _Bounds:
    """Return the numbers of a value's float type."""
    return _SINGLE if is_single(x) else _DOUBLE


def reduced(
    e: Emitter, x: Value, coefficients: tuple[float, ...] = (), rest: Value | None = None
) -> tuple[Value, Value]:
    """Return n, an integer, and e^r - 1 with x (+ a small rest) = n log 2 + r."""
    form, numbers = layout(x), bounds(x)
    shifted = e.fma(x, 1 / math.log(2), e.constant(form.magic, x.dtype))
    n = shifted - form.magic
    r = e.fma(n, -numbers.log2_high, x)
    r = e.fma(n, -numbers.log2_low, r)
    if rest is not None:
        r = r + rest
    return e.bitcast(shifted, form.integer) - form.bits_of(form.magic), _less_one(e, r, coefficients)


def _less_one(e: Emitter, r: Value, coefficients: tuple[float, ...] = ()) -> Value:
    """Return e^r - 1 for |r| <= log 2 / 2."""
    p = polynomial(e, r, coefficients or (c.EXP_SINGLE if is_single(r) else c.EXP_DOUBLE))
    return e.fma(p, r * r, r)


def scaled(e: Emitter, y: Value, n: Value, form: Layout) -> Value:
    """Return y 2**n, in two factors: the result may be denormal or infinite."""
    half = n >> 1
    return y * power_of_two(e, half, form) * power_of_two(e, n - half, form)


def exp(e: Emitter, x: Value) -> Value:
    """Return e^x."""
    numbers = bounds(x)
    n, t = reduced(e, clamp(e, x, numbers.under, numbers.over))
    return scaled(e, t + 1, n, layout(x))


def exp2(e: Emitter, x: Value) -> Value:
    """Return 2^x: the fraction of x, times log 2, is the exponent of e."""
    form = layout(x)
    x = clamp(e, x, -151.0 if form is SINGLE else -1076.0, 128.0 if form is SINGLE else 1024.0)
    shifted = x + form.magic
    t = _less_one(e, (x - (shifted - form.magic)) * math.log(2))
    return scaled(e, t + 1, e.bitcast(shifted, form.integer) - form.bits_of(form.magic), form)


def expm1(e: Emitter, x: Value) -> Value:
    """Return e^x - 1 = 2 (t s + (s - ½)) with s = 2**(n - 1), which no x that matters makes infinite."""
    form, numbers = layout(x), bounds(x)
    n, t = reduced(e, clamp(e, x, numbers.least, numbers.over))
    s = power_of_two(e, n - 1, form)
    y = e.fma(t, s, s - 0.5)
    return e.select(e.abs(x) < 2.0**-60, x, y + y)  # keeps -0 and denormals


def sigmoid(e: Emitter, x: Value) -> Value:
    """Return 1 / (1 + e^-x), from e^-|x|, which is never infinite."""
    n, t = reduced(e, clamp(e, -e.abs(x), bounds(x).under, None))
    y = scaled(e, t + 1, n, layout(x))
    return e.select(x < 0, y, 1) / (y + 1)


def tanh(e: Emitter, x: Value) -> Value:
    """Return tanh x: of float64 E / (E + 2) with E = e^(2|x|) - 1, of float32 by polynomials, without a division."""
    size = clamp(e, e.abs(x), None, bounds(x).one)
    if is_single(x):
        return copysign(e, _tanh_by_pieces(e, size), x)
    n, t = reduced(e, size + size)
    s = power_of_two(e, n, layout(x))
    y = e.fma(t, s, s - 1)
    return copysign(e, y / (y + 2), x)


def _tanh_by_pieces(e: Emitter, size: Value) -> Value:
    """Return tanh |x| by the polynomial of the half octave that |x| lies in; the first reaches to 0, the last from 6 on."""
    bits = e.bitcast(size, SINGLE.integer)
    first, last = SINGLE.bits_of(2.0**-5), SINGLE.bits_of(6.0)
    bits = e.select(bits < first, first, bits)
    bits = e.select(bits > last, last, bits)
    center, *coefficients = lookup(e, TANH_TABLES, bits >> (SINGLE.fraction - 1))
    return polynomial(e, size - center, coefficients)


def _half_exp(e: Emitter, size: Value) -> Value:
    """Return e^|x| / 2, also where e^|x| is infinite and this is not."""
    form = layout(size)
    n, t = reduced(e, clamp(e, size, None, bounds(size).over + 1))
    return scaled(e, t + 1, n - 1, form)


def cosh(e: Emitter, x: Value) -> Value:
    """Return cosh x = p + 1 / (4 p) with p = e^|x| / 2."""
    p = _half_exp(e, e.abs(x))
    return p + 0.25 / p


def sinh(e: Emitter, x: Value) -> Value:
    """Return sinh x: the odd polynomial for |x| < 1, else p - 1 / (4 p) with p = e^|x| / 2."""
    size = e.abs(x)
    p = _half_exp(e, size)
    z = x * x
    small = e.fma(polynomial(e, z, c.SINH_SINGLE if is_single(x) else c.SINH_DOUBLE) * z, x, x)
    return e.select(size < 1, small, copysign(e, p - 0.25 / p, x))


def mixed_exp(e: Emitter, x: Value) -> Value:
    """Return e^x in float64, right to the last digit of float32, for -700 < x < 700."""
    n, t = reduced(e, x, c.EXP_MIXED)
    return (t + 1) * power_of_two(e, n, DOUBLE)
