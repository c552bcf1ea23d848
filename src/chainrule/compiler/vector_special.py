"""The error function, its complement and its inverse."""

from __future__ import annotations

from chainrule.compiler import vector_coefficients as c
from chainrule.compiler.emit import Emitter
from chainrule.compiler.value import F32, Value
from chainrule.compiler.vector_exponential import exp, mixed_exp, reduced
from chainrule.compiler.vector_logarithm import log_normal
from chainrule.compiler.vector_tools import (
    INFINITY,
    NAN,
    SINGLE,
    clamp,
    copysign,
    in_double,
    is_single,
    polynomial,
    power_of_two,
)


def _inner(e: Emitter, x: Value, coefficients: tuple[float, ...]) -> Value:
    """Return erf x for |x| < 1."""
    return e.fma(polynomial(e, x * x, coefficients), x, x)


def _tail(e: Emitter, size: Value, *, mixed: bool) -> Value:
    """Return erfc of ½ to 28 (to 10.5 if it is for float32): e^(-x²) P(u) / (x + 2.5), with the rounding of x² put back."""
    shifted = size + c.ERFC_SHIFT
    u = e.fma(size, c.ERFC_A, e.constant(-c.ERFC_B, size.dtype)) / shifted
    p = polynomial(e, u, c.ERFC_MIXED if mixed else c.ERFC_DOUBLE) / shifted
    square = size * size
    if mixed:
        return p * mixed_exp(e, -square)
    y = p * exp(e, -square)
    return e.fma(-y, e.fma(size, size, -square), y)


def erf(e: Emitter, x: Value) -> Value:
    """Return erf x."""
    size = e.abs(x)
    if is_single(x):
        t = clamp(e, size, None, 3.95)  # erf is 1 beyond
        n, less = reduced(e, -(t * polynomial(e, t, c.ERF_LARGE_SINGLE)))
        rest = (less + 1) * power_of_two(e, n, SINGLE)
        inner = _inner(e, x, c.ERF_SINGLE)
    else:
        rest = _tail(e, clamp(e, size, None, 6.0), mixed=False)
        inner = _inner(e, x, c.ERF_DOUBLE)
    return e.select(size < 1, inner, copysign(e, 1 - rest, x))


def erfc(e: Emitter, x: Value) -> Value:
    """Return erfc x = 1 - erf x."""
    if is_single(x):
        return e.cast(_erfc(e, in_double(e, x), mixed=True), F32)
    return _erfc(e, x, mixed=False)


def _erfc(e: Emitter, x: Value, *, mixed: bool) -> Value:
    size = e.abs(x)
    tail = _tail(e, clamp(e, size, None, 10.5 if mixed else 28.0), mixed=mixed)
    far = e.select(x < 0, 2 - tail, tail)
    return e.select(size < 0.5, 1 - _inner(e, x, c.ERF_MIXED if mixed else c.ERF_DOUBLE), far)


def erfinv(e: Emitter, x: Value) -> Value:
    """Return y with erf y = x: x times a polynomial in w = -log(1 - x²), or in √w where w is large (Giles, 2010)."""
    w = -log_normal(e, e.fma(-x, x, 1))
    root = e.sqrt(w)
    if is_single(x):
        near = polynomial(e, w - 2.5, c.ERFINV_SINGLE)
        p = e.select(w < 5, near, polynomial(e, root - 3, c.ERFINV_TAIL_SINGLE))
    else:
        near = polynomial(e, w - 3.125, c.ERFINV_DOUBLE_DOUBLE)
        middle = polynomial(e, root - 3.25, c.ERFINV_DOUBLE_MIDDLE_DOUBLE)
        far = polynomial(e, root - 5, c.ERFINV_DOUBLE_TAIL_DOUBLE)
        p = e.select(w < 6.25, near, e.select(w < 16, middle, far))
    size = e.abs(x)
    edge = e.select(e.eq(size, 1), x * INFINITY, NAN)
    return e.select(size < 1, x * p, edge)
