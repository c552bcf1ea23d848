"""Write the polynomials of native code's functions: src/chainrule/compiler/vector_coefficients.py. Needs mpmath.

Each polynomial interpolates at the Chebyshev nodes of its interval, computed with 80 digits. What is fitted is what is left
of the function after its first terms, so that the rounding of the coefficients weighs little. (tanh of float32 is fitted piece
by piece: its tables hold a coefficient of every piece.)
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mpmath
import numpy as np
from mpmath import mp, mpf

FILE = Path(__file__).parents[1] / "src" / "chainrule" / "compiler" / "vector_coefficients.py"
DIGITS = 80
SINGLE, MIXED, DOUBLE = "single", "mixed", "double"

HEAD = '''"""Polynomials of native code's functions, lowest power first. Written by docs/generate_vector_math.py: do not edit.

single: float32. double: float64. mixed: for float32 results that are computed in float64.
"""

# fmt: off
'''


class Fit(NamedTuple):
    """A function on an interval (the numbers of terms by precision), in the variable ``x - center``."""

    function: Callable[[Any], Any]
    low: Any
    high: Any
    terms: dict[str, int]
    center: float = 0.0


def fit(f: Fit, terms: int) -> list[Any]:
    """Return the coefficients of the interpolating polynomial, exactly."""
    middle, half = (f.high + f.low) / mpf(2), (f.high - f.low) / mpf(2)
    nodes = [middle + half * mp.cos(mp.pi * (2 * k + 1) / (2 * terms)) for k in range(terms)]
    matrix = mpmath.matrix(terms, terms)
    values = mpmath.matrix(terms, 1)
    for row, x in enumerate(nodes):
        values[row] = f.function(x)
        for column in range(terms):
            matrix[row, column] = (x - f.center) ** column
    return list(mp.lu_solve(matrix, values))


def odd(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return (f(x) / x - 1) / z for an odd function with slope 1, in z = x²."""

    def rest(z: Any) -> Any:
        x = mp.sqrt(z)
        return (function(x) / x - 1) / z

    return rest


def erfinv_of(w: Any) -> Any:
    """Return erfinv(x) / x in w = -log(1 - x²)."""
    x = mp.sqrt(-mp.expm1(-w))
    q = mp.exp(-w) / (1 + x)  # 1 - x
    y = mp.sqrt(w) if w > 1 else x
    for _ in range(60):
        step = (mp.erfc(y) - q) / (2 / mp.sqrt(mp.pi) * mp.exp(-y * y))
        y += step
        if abs(step) < mpf(10) ** (-DIGITS // 2):
            break
    return y / x


def fits() -> dict[str, Fit]:
    """Return all functions that are fitted."""
    log2 = mp.log(2)
    quarter = (mp.pi / 4) ** 2 * mpf("1.001")
    root = mp.sqrt(2)
    s = ((root - 1) / (root + 1)) ** 2
    return {
        # e^r = 1 + r + r² P(r)
        "EXP": Fit(
            lambda r: (mp.expm1(r) - r) / r**2,
            -log2 / 2 * mpf("1.0013"),
            log2 / 2 * mpf("1.001"),
            {SINGLE: 5, MIXED: 7, DOUBLE: 11},
        ),
        # log(1 + m) = m - m² / 2 + m³ P(m)
        "LOG": Fit(
            lambda m: (mp.log1p(m) - m + m**2 / 2) / m**3,
            1 / root - 1,
            root - 1,
            {SINGLE: 9},
        ),
        # log((1 + s) / (1 - s)) = 2 s + s z P(z), z = s²
        "LOG_QUOTIENT": Fit(
            lambda z: (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z, mpf(0), s, {MIXED: 4, DOUBLE: 7}
        ),
        # and P(z) = 2 / 3 + z Q(z)
        "LOG_REST": Fit(
            lambda z: ((2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z - mpf(2) / 3) / z, mpf(0), s, {DOUBLE: 8}
        ),
        # sinh x = x + x z P(z), z = x², |x| < 1
        "SINH": Fit(odd(mp.sinh), mpf(0), mpf(1), {SINGLE: 4, DOUBLE: 8}),
        # sin r = r + r z P(z); cos r = 1 - z / 2 + z² P(z); z = r², |r| < π / 4
        "SIN": Fit(odd(mp.sin), mpf(0), quarter, {SINGLE: 4, DOUBLE: 7}),
        "COS": Fit(
            lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, mpf(0), quarter, {SINGLE: 3, DOUBLE: 6}
        ),
        # atan t = t + t z P(z), z = t², |t| < 1
        "ATAN": Fit(odd(mp.atan), mpf(0), mpf(1), {SINGLE: 10, DOUBLE: 21}),
        # asin t = t + t z P(z), z = t², |t| < ½
        "ASIN": Fit(odd(mp.asin), mpf(0), mpf("0.25"), {SINGLE: 5, DOUBLE: 13}),
        # erf x = x + x P(z), z = x², |x| < 1
        "ERF": Fit(
            lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1, mpf(0), mpf(1), {SINGLE: 7, MIXED: 8, DOUBLE: 14}
        ),
        # erf x = 1 - e^(-x P(x)), 1 < x < 3.95
        "ERF_LARGE": Fit(lambda x: -mp.log(mp.erfc(x)) / x, mpf(1), mpf("3.95"), {SINGLE: 9}),
        # erfc x = e^(-x²) P(u) / (x + 2.5), u = (A x - B) / (x + 2.5) from -1 to 1, ½ < x < 28
        "ERFC": Fit(_erfc_tail, mpf(-1), mpf(1), {MIXED: 12, DOUBLE: 24}),
        # erfinv x = x P(w - center), w = -log(1 - x²); and beyond, x P(√w - center)
        "ERFINV": Fit(erfinv_of, mpf(0), mpf(5), {SINGLE: 11}, 2.5),
        "ERFINV_TAIL": Fit(lambda v: erfinv_of(v * v), mp.sqrt(5), mpf("4.1"), {SINGLE: 11}, 3.0),
        "ERFINV_DOUBLE": Fit(erfinv_of, mpf(0), mpf("6.25"), {DOUBLE: 25}, 3.125),
        "ERFINV_DOUBLE_MIDDLE": Fit(lambda v: erfinv_of(v * v), mpf("2.5"), mpf(4), {DOUBLE: 21}, 3.25),
        "ERFINV_DOUBLE_TAIL": Fit(lambda v: erfinv_of(v * v), mpf(4), mpf("6.1"), {DOUBLE: 20}, 5.0),
    }  # fmt: skip


TAIL_SHIFT = mpf("2.5")


def _tail_map() -> tuple[Any, Any]:
    """Return A and B of u = (A x - B) / (x + 2.5), rounded to float64: -1 at ½, 1 at 28."""
    a = (28 + TAIL_SHIFT + mpf("0.5") + TAIL_SHIFT) / mpf("27.5")
    return mpf(float(a)), mpf(float(a / 2 + mpf("0.5") + TAIL_SHIFT))


def _erfc_tail(u: Any) -> Any:
    a, b = _tail_map()
    x = (TAIL_SHIFT * u + b) / (a - u)
    return mp.exp(x * x) * mp.erfc(x) * (x + TAIL_SHIFT)


def tanh_tables() -> dict[str, list[Any]]:
    """Return tables of the polynomials Σ c[k] (|x| - center)^k of tanh |x|, one for each half of an octave from 2**-5 to 8.

    The first reaches down to 0, the last up to where tanh is 1. Where in a table a polynomial stands say the lowest bits of
    the exponent and the first of the fraction: four bits, 0100 for the first.
    """
    low, last, terms = mpf(2) ** -5, mpf("9.02"), 7
    ends = [mpf(0), *[low * mpf(2) ** (k // 2) * (mpf("1.5") if k % 2 else 1) for k in range(1, 16)], last]
    rows = [[mpf(0), mpf(0), mpf(1), mpf(0), mpf(-1) / 3, mpf(0), mpf(2) / 15, mpf(0)]]  # an odd one around 0
    for start, end in itertools.pairwise(ends[1:]):
        center = (start + end) / 2
        rows.append([center, *fit(Fit(mp.tanh, start, end, {SINGLE: terms}, float(center)), terms)])
    rows = rows[12:] + rows[:12]
    return {f"TANH_{k - 1}" if k else "TANH_CENTER": [row[k] for row in rows] for k in range(terms + 1)}


def lines_of(name: str, coefficients: list[Any], precision: str) -> str:
    """Return the assignment of one polynomial, rounded to its precision."""
    kind = np.float32 if precision == SINGLE else np.float64
    texts = [repr(float(c)) if kind is np.float64 else str(kind(float(c))) for c in coefficients]
    lines, line = [], "   "
    for text in texts:
        if len(line) + len(text) + 2 > 118:
            lines.append(line)
            line = "   "
        line += f" {text},"
    body = "\n".join([*lines, line])
    return f"{name}_{precision.upper()} = (\n{body}\n)\n"


def worst(f: Fit, coefficients: list[Any]) -> float:
    """Return the largest error of the fitted function, between the nodes."""
    found = mpf(0)
    for k in range(1, 60):
        x = f.low + (f.high - f.low) * (mpf(k) - mpf("0.3")) / 60
        y = mp.polyval(coefficients[::-1], x - f.center)
        found = max(found, abs(y - f.function(x)))
    return float(found)


def text() -> str:
    """Return the file."""
    mp.dps = DIGITS
    parts = [HEAD]
    a, b = _tail_map()
    parts.append(f"ERFC_SHIFT, ERFC_A, ERFC_B = {float(TAIL_SHIFT)!r}, {float(a)!r}, {float(b)!r}\n")
    for name, f in fits().items():
        for precision, terms in f.terms.items():
            found = fit(f, terms)
            if "--errors" in sys.argv:
                print(f"{name:24} {precision:8} {terms:3} terms, off by {worst(f, found):.1e}")
            parts.append(lines_of(name, found, precision))
    for name, numbers in tanh_tables().items():
        parts.append(lines_of(name, numbers, SINGLE))
    return "\n".join(parts)


if __name__ == "__main__":
    FILE.write_text(text())
