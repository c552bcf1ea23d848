"""a^b = e^(b log a): of float32 in float64, of float64 with a logarithm of twice its digits; of integers by squaring."""

from __future__ import annotations

import math

from chainrule.compiler import vector_coefficients as c
from chainrule.compiler.emit import Emitter
from chainrule.compiler.value import F32, Value
from chainrule.compiler.vector_exponential import bounds, mixed_exp, reduced, scaled
from chainrule.compiler.vector_logarithm import any_positive, mixed_log
from chainrule.compiler.vector_tools import (
    DOUBLE,
    INFINITY,
    NAN,
    clamp,
    in_double,
    is_negative,
    is_single,
    known,
    layout,
    polynomial,
    repeat,
)

_TWO_THIRDS = (2 / 3, 3.700743415417188e-17)
_LOG2_REST = 1.6465949582897082e-12  # log 2 less its upper 33 bits


def power(e: Emitter, a: Value, b: Value) -> Value:
    """Return a^b."""
    if a.dtype.kind != "f":
        return _integer_power(e, a, b)
    exponent = known(b)
    if exponent == 1:
        return a
    if exponent in (2, 3, -1, -2):
        y = a if abs(exponent) == 1 else a * a if abs(exponent) == 2 else a * a * a
        return 1 / y if exponent < 0 else y
    return _specials(e, a, b, _single_power(e, a, b) if is_single(a) else _double_power(e, a, b))


def _specials(e: Emitter, a: Value, b: Value, y: Value) -> Value:
    """Return |a|^b with its sign, 1 where C says so, NaN for roots of negative numbers."""
    size, form = e.abs(a), layout(a)
    whole = e.eq(e.intrinsic("floor", b), b)
    half = b * 0.5
    odd = whole & e.ne(e.intrinsic("floor", half), half)
    minus = is_negative(e, a) & odd
    y = e.select(minus, -y, y)
    root = (a < 0) & ~whole & (size < INFINITY)
    y = e.select(root, NAN, y)
    one = e.eq(b, 0) | e.eq(a, 1) | (e.eq(size, 1) & e.eq(e.abs(b), INFINITY))
    return e.select(one, e.constant(1, form.dtype), y)


def _edges(e: Emitter, size: Value, log: Value) -> Value:
    """Return the logarithm, also of 0, of infinity and of NaN."""
    log = e.select(size < INFINITY, log, size)
    return e.select(e.eq(size, 0), -INFINITY, log)


def _single_power(e: Emitter, a: Value, b: Value) -> Value:
    size = in_double(e, e.abs(a))
    k, log = mixed_log(e, size)
    log = _edges(e, size, e.fma(k, math.log(2), log))
    return e.cast(mixed_exp(e, clamp(e, in_double(e, b) * log, -200.0, 200.0)), F32)


def _double_power(e: Emitter, a: Value, b: Value) -> Value:
    size = e.abs(a)
    k, f = any_positive(e, size)
    # s = f / (2 + f) in two pieces, and z = s²
    below = f + 2
    s = f / below
    s_rest = (e.fma(-s, below, f) - s * (f - (below - 2))) / below
    z = s * s
    z_rest = e.fma(s, s, -z) + s * s_rest * 2
    # log(1 + f) = 2 s + s z P(z), P(z) = 2/3 + z Q(z)
    q = polynomial(e, z, c.LOG_REST_DOUBLE) * z
    p = q + _TWO_THIRDS[0]
    p_rest = q - (p - _TWO_THIRDS[0]) + _TWO_THIRDS[1]
    w = z * p
    w_rest = e.fma(z, p, -w) + e.fma(z, p_rest, z_rest * p)
    v = s * w
    v_rest = e.fma(s, w, -v) + e.fma(s, w_rest, s_rest * w)
    twice = s + s
    high = twice + v
    low = v - (high - twice) + (v_rest + s_rest * 2)
    # + k log 2
    lead = k * bounds(a).log2_high
    log = lead + high
    rest = high - (log - lead) + e.fma(k, _LOG2_REST, low)
    log = _edges(e, size, log)
    product = b * log
    product_rest = e.fma(b, rest, e.fma(b, log, -product))
    inside = e.abs(product) < 800
    n, t = reduced(e, clamp(e, product, -750.0, 720.0), (), e.select(inside, product_rest, 0))
    return scaled(e, t + 1, n, DOUBLE)


def _integer_power(e: Emitter, a: Value, b: Value) -> Value:
    """Return a^b modulo the range; of a negative b, 0, except for 1 and -1."""
    signed = a.dtype.kind == "i"
    count = e.abs(b) if signed else b
    one = e.wide(e.constant(1, a.dtype), a.lanes)

    def turn(y: Value, base: Value, count: Value) -> tuple[list[Value], Value]:
        y = e.select(e.ne(count & 1, 0), y * base, y)
        count = e.bits("lshr", count, 1)
        return [y, base * base, count], e.ne(count, 0)

    y = repeat(e, [one, a, count], turn)[0]
    if signed:
        y = e.select((b < 0) & e.ne(e.abs(a), 1), 0, y)
    return y
