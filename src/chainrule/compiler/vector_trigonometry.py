"""Angles, and the inverses of the hyperbolic functions.

sin, cos and tan take off the nearest multiple of π / 2, a float32 in float64 and a float64 by π / 2 in three pieces. This is
right up to 2**50; beyond, where a float64 no longer tells the angle of its neighbour, the result is NaN.
"""

from __future__ import annotations

import math

from chainrule.compiler import vector_coefficients as c
from chainrule.compiler.emit import Emitter
from chainrule.compiler.value import F64, I32, Value
from chainrule.compiler.vector_logarithm import log1p
from chainrule.compiler.vector_tools import (
    DOUBLE,
    INFINITY,
    NAN,
    copysign,
    in_double,
    is_negative,
    is_single,
    layout,
    negate_where,
    polynomial,
)

_QUARTER = (1.5707963267948966, 6.123233995736765e-17, 1.082856673921914e-32)  # π / 2 = the sum; all positive: -0 stays
_SINGLE_QUARTER = (1.5707963705062866, -4.371138828673793e-08)
_LARGEST = 2.0**50


def _quarter(x: Value) -> tuple[float, float]:
    """Return π / 2 in two pieces."""
    return _SINGLE_QUARTER if is_single(x) else _QUARTER[:2]


def _odd(e: Emitter, x: Value, z: Value, coefficients: tuple[float, ...]) -> Value:
    """Return x + x z P(z)."""
    return e.fma(polynomial(e, z, coefficients) * z, x, x)


def _turned(e: Emitter, x: Value, *, keep: bool = False) -> tuple[Value, Value, Value]:
    """Return q, sin r and cos r with x = q π / 2 + r, |r| <= π / 4; if ``keep``, of a float32 in float64."""
    x = e.select(e.abs(x) < _LARGEST, x, NAN)
    wide = in_double(e, x)
    shifted = e.fma(wide, 2 / math.pi, e.constant(DOUBLE.magic, F64))
    n = shifted - DOUBLE.magic
    r = e.fma(n, -_QUARTER[1], e.fma(n, -_QUARTER[0], wide))
    q = e.bitcast(shifted, DOUBLE.integer)
    sine: tuple[float, ...] = c.SIN_DOUBLE
    cosine: tuple[float, ...] = c.COS_DOUBLE
    if is_single(x):
        if not keep:
            r, q = e.cast(r, x.dtype), e.cast(q, I32)
        sine, cosine = c.SIN_SINGLE, c.COS_SINGLE
    else:
        r = e.fma(n, -_QUARTER[2], r)
    z = r * r
    sin = copysign(e, _odd(e, r, z, sine), r)  # of -0 too
    cos = e.fma(polynomial(e, z, cosine) * z, z, e.fma(z, -0.5, 1))
    return q, sin, cos


def sin(e: Emitter, x: Value) -> Value:
    """Return sin x."""
    q, sine, cosine = _turned(e, x)
    return negate_where(e, e.select(e.ne(q & 1, 0), cosine, sine), q >> 1)


def cos(e: Emitter, x: Value) -> Value:
    """Return cos x."""
    q, sine, cosine = _turned(e, x)
    return negate_where(e, e.select(e.ne(q & 1, 0), sine, cosine), (q + 1) >> 1)


def tan(e: Emitter, x: Value) -> Value:
    """Return tan x = sin / cos, or -cos / sin."""
    q, sine, cosine = _turned(e, x, keep=True)
    odd = e.ne(q & 1, 0)
    return e.cast(negate_where(e, e.select(odd, cosine, sine) / e.select(odd, sine, cosine), q), x.dtype)


def _asin_parts(e: Emitter, x: Value) -> tuple[Value, Value]:
    """Return whether |x| > ½, and arcsin of |x| where it is not, of √((1 - |x|) / 2) where it is."""
    size = e.abs(x)
    large = size > 0.5
    z = e.select(large, 0.5 - size * 0.5, x * x)
    t = e.select(large, e.sqrt(z), size)
    return large, _odd(e, t, z, c.ASIN_SINGLE if is_single(x) else c.ASIN_DOUBLE)


def asin(e: Emitter, x: Value) -> Value:
    """Return arcsin x = π / 2 - 2 arcsin √((1 - x) / 2)."""
    large, p = _asin_parts(e, x)
    high, low = _quarter(x)
    return copysign(e, e.select(large, e.fma(p, -2, high) + low, p), x)


def acos(e: Emitter, x: Value) -> Value:
    """Return arccos x = 2 arcsin √((1 - x) / 2), = π - that of -x, = π / 2 - arcsin x."""
    large, p = _asin_parts(e, x)
    high, low = _quarter(x)
    signed = copysign(e, p, x)
    far = e.select(x < 0, e.fma(p, -2, 2 * high) + 2 * low, p + p)
    return e.select(large, far, (low - signed) + high)


def _atan_of(e: Emitter, t: Value) -> Value:
    """Return arctan t for 0 <= t <= 1."""
    return _odd(e, t, t * t, c.ATAN_SINGLE if is_single(t) else c.ATAN_DOUBLE)


def atan(e: Emitter, x: Value) -> Value:
    """Return arctan x = π / 2 - arctan (1 / x)."""
    size = e.abs(x)
    large = size > 1
    p = _atan_of(e, e.select(large, 1 / size, size))
    high, low = _quarter(x)
    return copysign(e, e.select(large, (low - p) + high, p), x)


def atan2(e: Emitter, y: Value, x: Value) -> Value:
    """Return the angle of the point (x, y)."""
    height, width = e.abs(y), e.abs(x)
    steep, left = height > width, is_negative(e, x)
    quotient = e.select(steep, width, height) / e.select(steep, height, width)
    equal = e.select(e.eq(height, 0), height, 1)  # of two zeros and of two infinities there is no quotient
    p = _atan_of(e, e.select(e.eq(height, width), equal, quotient))
    high, low = _quarter(x)
    p = e.select(steep ^ left, -p, p)
    base = e.select(steep, high, e.select(left, e.constant(2 * high, x.dtype), 0))
    rest = e.select(steep, low, e.select(left, e.constant(2 * low, x.dtype), 0))
    return copysign(e, (rest + p) + base, y)


def asinh(e: Emitter, x: Value) -> Value:
    """Return arsinh x = log(1 + |x| + x² / (1 + √(x² + 1))), and log 2|x| where x² + 1 = x²."""
    size = e.abs(x)
    large = size > (2.0**30 if is_single(x) else 2.0**60)
    square = x * x
    u = size + square / (e.sqrt(square + 1) + 1)
    y = log1p(e, e.select(large, size, u)) + e.select(large, e.constant(math.log(2), x.dtype), 0)
    return copysign(e, y, x)


def acosh(e: Emitter, x: Value) -> Value:
    """Return arcosh x = log(1 + t + √(t² + 2 t)) with t = x - 1, and log 2x where x² - 1 = x²."""
    large = x > (2.0**30 if is_single(x) else 2.0**60)
    t = x - 1
    u = t + e.sqrt(e.fma(t, t, t + t))
    y = log1p(e, e.select(large, x, u)) + e.select(large, e.constant(math.log(2), x.dtype), 0)
    return e.select(x < 1, NAN, y)


def atanh(e: Emitter, x: Value) -> Value:
    """Return artanh x = log(1 + 2 |x| / (1 - |x|)) / 2."""
    size = e.abs(x)
    return copysign(e, log1p(e, (size + size) / (1 - size)) * 0.5, x)


def hypot(e: Emitter, a: Value, b: Value) -> Value:
    """Return √(a² + b²): of float32 in float64, of float64 scaled by a power of 2."""
    form = layout(a)
    a, b = e.abs(a), e.abs(b)
    infinite = e.eq(a, INFINITY) | e.eq(b, INFINITY)  # also beside a NaN
    if is_single(a):
        wide, other = in_double(e, a), in_double(e, b)
        y = e.cast(e.sqrt(e.fma(wide, wide, other * other)), form.dtype)
    else:
        larger = e.select(a > b, a, b)
        huge, small = larger > 2.0**500, larger < 2.0**-450
        scale = e.select(huge, e.constant(2.0**-600, F64), e.select(small, e.constant(2.0**600, F64), 1))
        back = e.select(huge, e.constant(2.0**600, F64), e.select(small, e.constant(2.0**-600, F64), 1))
        a, b = a * scale, b * scale
        y = e.sqrt(e.fma(a, a, b * b)) * back
    return e.select(infinite, INFINITY, y)
