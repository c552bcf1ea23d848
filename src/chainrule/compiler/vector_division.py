"""Quotients without their fraction, and what they leave.

An integer divided by 0 stops the run where the emitter can say so. Remainders of floats are exact: each turn takes off a
rounded quotient times the divisor, which leaves a number that a float holds, 2**23 (2**52) times smaller.
"""

from __future__ import annotations

from chainrule.compiler.emit import Emitter
from chainrule.compiler.value import Value
from chainrule.compiler.vector_tools import INFINITY, copysign, is_single, repeat


def _safe(e: Emitter, b: Value) -> Value:
    """Return an integer divisor that traps for no dividend: 1 instead of 0 and of -1."""
    nonzero = e.ne(b, 0)
    require = getattr(e, "require", None)
    if require is not None:
        require(nonzero)
    bad = ~nonzero
    if b.dtype.kind == "i":
        bad = bad | e.eq(b, -1)
    return e.select(bad, e.constant(1, b.dtype), b)


def _quotient(e: Emitter, a: Value, b: Value) -> tuple[Value, Value]:
    """Return a / b of integers, truncated, and what it leaves."""
    divisor = _safe(e, b)
    q = a / divisor
    rest = a - q * divisor
    return (e.select(e.eq(b, -1), -a, q) if b.dtype.kind == "i" else q), rest


def _crosses(e: Emitter, rest: Value, b: Value) -> Value:
    """Return whether what is left is not 0 and has another sign than the divisor."""
    return e.ne(rest, 0) & ((rest < 0) ^ (b < 0))


def _fmod(e: Emitter, a: Value, b: Value) -> Value:
    """Return a - b trunc(a / b) of floats, exactly."""
    size, divisor = e.abs(a), e.abs(b)
    shrink, grow = (2.0**-100, 2.0**100) if is_single(a) else (2.0**-600, 2.0**600)

    def turn(rest: Value) -> tuple[list[Value], Value]:
        # where the quotient could be infinite, that with a multiple of the divisor
        limit = e.abs(rest) * shrink
        step = e.select(limit > divisor, divisor * grow, divisor)
        step = e.select(limit > step, step * grow, step)
        rest = e.fma(-e.intrinsic("trunc", rest / step), step, rest)
        return [rest], e.abs(rest) >= divisor

    (rest,) = repeat(e, [size], turn)
    rest = e.select(rest < 0, rest + divisor, rest)  # a quotient that was rounded up
    return copysign(e, e.select(size < INFINITY, e.select(e.eq(divisor, INFINITY), size, rest), rest), a)


def fmod(e: Emitter, a: Value, b: Value) -> Value:
    """Return a - b trunc(a / b), with the sign of a."""
    return _fmod(e, a, b) if a.dtype.kind == "f" else _quotient(e, a, b)[1]


def remainder(e: Emitter, a: Value, b: Value) -> Value:
    """Return a - b ⌊a / b⌋, with the sign of b."""
    rest = fmod(e, a, b)
    if a.dtype.kind == "u":
        return rest
    if a.dtype.kind == "i":
        return e.select(_crosses(e, rest, b), rest + b, rest)
    return e.select(e.eq(rest, 0), copysign(e, rest, b), e.select(_crosses(e, rest, b), rest + b, rest))


def floor_divide(e: Emitter, a: Value, b: Value) -> Value:
    """Return ⌊a / b⌋: of floats, of the exact quotient, not of the rounded one."""
    if a.dtype.kind == "f":
        rest = _fmod(e, a, b)
        q = (a - rest) / b
        q = e.select(_crosses(e, rest, b), q - 1, q)
        whole = e.intrinsic("floor", q)
        whole = e.select(q - whole > 0.5, whole + 1, whole)
        rounded = a / b
        whole = e.select(e.eq(whole, 0), copysign(e, whole, rounded), whole)
        return e.select(e.eq(b, 0), rounded, whole)
    q, rest = _quotient(e, a, b)
    return q if a.dtype.kind == "u" else e.select(_crosses(e, rest, b), q - 1, q)


def trunc_divide(e: Emitter, a: Value, b: Value) -> Value:
    """Return trunc(a / b)."""
    return e.intrinsic("trunc", a / b) if a.dtype.kind == "f" else _quotient(e, a, b)[0]
