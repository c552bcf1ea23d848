"""Logarithms: x = 2**k (1 + f) with 1 + f in [√½, √2), and log(1 + f) = f + what a polynomial gives."""

from __future__ import annotations

import math

from chainrule.compiler import vector_coefficients as c
from chainrule.compiler.emit import Emitter
from chainrule.compiler.value import F32, F64, I32, Value
from chainrule.compiler.vector_exponential import bounds, reduced, scaled
from chainrule.compiler.vector_tools import DOUBLE, INFINITY, NAN, clamp, is_single, layout, polynomial

_LOG10_2 = {True: (0.3010300099849701, -1.432098883924482e-08), False: (0.3010299956639812, -2.8037281277851704e-18)}


def split(e: Emitter, x: Value) -> tuple[Value, Value]:
    """Return k (integers) and f of a positive normal x."""
    form = layout(x)
    bits = e.bitcast(x, form.integer)
    k = (bits - form.bits_of(math.sqrt(0.5))) >> form.fraction
    return k, e.bitcast(bits - (k << form.fraction), form.dtype) - 1


def as_float(e: Emitter, k: Value) -> Value:
    """Return a small integer as a float of its size; of 64 bits without a conversion, which narrow machines lack."""
    if k.dtype == I32:
        return e.cast(k, F32)
    return e.bitcast(k + DOUBLE.bits_of(DOUBLE.magic), F64) - DOUBLE.magic


def rest_of(e: Emitter, f: Value) -> Value:
    """Return log(1 + f) - f for √½ <= 1 + f < √2."""
    square = f * f
    if is_single(f):
        return e.fma(polynomial(e, f, c.LOG_SINGLE), square * f, square * -0.5)
    return _quotient_rest(e, f, c.LOG_QUOTIENT_DOUBLE)


def _quotient_rest(e: Emitter, f: Value, coefficients: tuple[float, ...]) -> Value:
    """Return log(1 + f) - f by s = f / (2 + f): 1 + f = (1 + s) / (1 - s)."""
    half = f * f * 0.5
    s = f / (f + 2)
    z = s * s
    return e.fma(s, e.fma(polynomial(e, z, coefficients), z, half), -half)


def any_positive(e: Emitter, x: Value) -> tuple[Value, Value]:
    """Return k (a float) and f, also of denormal x."""
    form = layout(x)
    small = x < form.tiny
    k, f = split(e, e.select(small, x * 2.0**form.fraction, x))
    shift = e.select(small, e.constant(form.fraction, form.integer), 0)
    return as_float(e, k - shift), f


def _specials(e: Emitter, x: Value, y: Value) -> Value:
    """Return y, and the logarithm of what is not positive and finite."""
    y = e.select(x < INFINITY, y, x)
    y = e.select(e.eq(x, 0), -INFINITY, y)
    return e.select(x < 0, NAN, y)


def _sum(e: Emitter, k: Value, f: Value) -> Value:
    """Return k log 2 + log(1 + f)."""
    numbers = bounds(f)
    return e.fma(k, numbers.log2_high, f + e.fma(k, numbers.log2_low, rest_of(e, f)))


def log(e: Emitter, x: Value) -> Value:
    """Return log x."""
    return _specials(e, x, _sum(e, *any_positive(e, x)))


def log_normal(e: Emitter, x: Value) -> Value:
    """Return log x of a positive normal number."""
    k, f = split(e, x)
    return _sum(e, as_float(e, k), f)


def log2(e: Emitter, x: Value) -> Value:
    """Return log2 x, exact for powers of 2."""
    k, f = any_positive(e, x)
    return _specials(e, x, e.fma(f + rest_of(e, f), 1 / math.log(2), k))


def log10(e: Emitter, x: Value) -> Value:
    """Return log10 x."""
    k, f = any_positive(e, x)
    high, low = _LOG10_2[is_single(x)]
    y = (f + rest_of(e, f)) * (1 / math.log(10))
    return _specials(e, x, e.fma(k, high, e.fma(k, low, y)))


def _one_plus(e: Emitter, x: Value) -> tuple[Value, Value]:
    """Return u = 1 + x, rounded, and log(1 + x) = log u + (x - (u - 1)) / u for a positive finite u."""
    u = x + 1
    k, f = split(e, u)
    return u, _sum(e, as_float(e, k), f) + (x - (u - 1)) / u


def log1p(e: Emitter, x: Value) -> Value:
    """Return log(1 + x)."""
    u, y = _one_plus(e, x)
    return e.select(e.eq(x, 0), x, _specials(e, u, y))


def logaddexp(e: Emitter, a: Value, b: Value) -> Value:
    """Return log(e^a + e^b) = m + log(1 + e^-|a - b|) with m the larger."""
    distance = e.select(e.eq(a, b), 0, -e.abs(a - b))  # of two infinities too
    n, t = reduced(e, clamp(e, distance, bounds(a).under, None))
    _, y = _one_plus(e, scaled(e, t + 1, n, layout(a)))
    return e.select(a > b, a, b) + y


def mixed_log(e: Emitter, x: Value) -> tuple[Value, Value]:
    """Return k and log(1 + f) of a positive normal float64, right to the last digit of float32."""
    k, f = split(e, x)
    return as_float(e, k), f + _quotient_rest(e, f, c.LOG_QUOTIENT_MIXED)
