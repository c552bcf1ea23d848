"""The error function, its complement and its inverse, from operations that NumPy has.

The polynomials interpolate at Chebyshev nodes, computed with 60 digits from the definition erf x = 2/√π ∫₀ˣ e^(-t²) dt.
float64 is right to a few units in the last place, also in the tail of erfc; float32 is computed in float64 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from chainrule.graph import Array, Node, op
from chainrule.ops.rules import Elementwise

Need = tuple[bool, ...]

SLOPE = 2 / math.sqrt(math.pi)  # of erf at 0
BLOCK = 8192  # elements worked on at a time: the passes of a polynomial stay in the cache

# erf(x) / x - 1 in x², for |x| < 1; off by less than 2e-19.
INNER = (
    0.1283791670955126, -0.3761263890318375, 0.11283791670954879, -0.026866170645076792, 0.0052239776248180145,
    -0.000854832698083379, 0.0001205533111164271, -1.4925595266831182e-05, 1.6461000484121368e-06,
    -1.6350312701054695e-07, 1.4659775274047436e-08, -1.1372848856791674e-09, 5.957176147748911e-11,
)  # fmt: skip

# erf(x) / x in u = x² (2 / 3.95²) - 1, for |x| <= 3.95, where erf rounds to 1 in float32; off by less than 1e-9.
SINGLE = (
    0.35800076959386384, -0.17876950717863524, 0.13317655558451116, -0.10863848631438203, 0.09049135888355404,
    -0.0743179092726321, 0.05885806160501283, -0.04431205580163153, 0.03148183180468617, -0.021073831770347325,
    0.013171893261640664, -0.007561564445454692, 0.004205727824454576, -0.0024544123539189675, 0.0011682522982484512,
    -0.00029332437363982196, 0.00014783966925309276, -0.00018621638764090942, 6.956852804704555e-05,
)  # fmt: skip
SINGLE_END = 3.95

# e^(x²) erfc(x) (x + 2.5) in u = A - C / (x + 2.5), which maps 0.5 … 28 to -1 … 1; off by less than 5e-18.
TAIL = (
    0.9890320635632265, -0.5495296398945269, 0.23240733012411788, -0.06833586329047774, 0.010004760305191754,
    0.0014134097600095477, -0.0008882031560186887, 5.883327013050517e-06, 7.205459425016643e-05,
    -3.2141161951757588e-06, -6.946930411430023e-06, 9.215636068442843e-08, 7.651066014084716e-07,
    6.248197083510425e-08, -8.479508230180004e-08, -2.0382773091793435e-08, 7.836486244146005e-09,
    4.181232472450992e-09, -3.945479228623319e-10, -6.067806364499927e-10, -1.0157013904843022e-11,
    4.904572048553825e-11,
)  # fmt: skip
TAIL_SHIFT, TAIL_A, TAIL_C = 2.5, 1.2181818181818183, 6.654545454545454
TAIL_END = 28.0  # erfc is 0 in float64 from 27.3 on
HALVES = 134217729.0  # 2²⁷ + 1 splits a float64 into two halves of 26 bits (Dekker, 1971)


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    y = x * coefficients[-1]
    for c in coefficients[-2:0:-1]:
        y += c
        y *= x
    y += coefficients[0]
    return y


def _by_blocks(function: Callable[[Array], Array], x: Array) -> Array:
    """Apply a function of float64 vectors to an array of any shape; the result has its dtype."""
    flat = x.reshape(-1)
    y = np.empty(flat.shape, x.dtype)
    for start in range(0, flat.size, BLOCK):
        part = flat[start : start + BLOCK].astype(np.float64)
        with np.errstate(all="ignore"):
            y[start : start + BLOCK] = function(part)
    return y.reshape(x.shape)


def _erf(x: Array) -> Array:
    size = np.abs(x)
    inner = size < 1
    if inner.all():
        return _erf_inner(x)
    y: Array = np.copysign(1 - _erfc_tail(np.minimum(size, 6.0)), x)  # 1 - erfc(6) rounds to 1
    y[inner] = _erf_inner(x[inner])
    return y


def _erf_inner(x: Array) -> Array:
    y = _polynomial(INNER, x * x)
    y *= x
    y += x
    return y


def _erf_single(x: Array) -> Array:
    x = np.clip(x, -SINGLE_END, SINGLE_END)
    u = x * x
    u *= 2 / SINGLE_END**2
    u -= 1
    return x * _polynomial(SINGLE, u)


def _erfc(x: Array) -> Array:
    y = 1 - _erf(x)
    tail = x > 0.5
    y[tail] = _erfc_tail(np.minimum(x[tail], TAIL_END))
    return y


def _erfc_tail(x: Array) -> Array:
    """Return erfc for 0.5 <= x <= 28 (or NaN)."""
    r = 1 / (x + TAIL_SHIFT)
    y = _polynomial(TAIL, TAIL_A - TAIL_C * r)
    y *= r
    # e^(-x²) with the rounding error of x² put back: x² = square + rest exactly, by two halves of x
    square = x * x
    split = x * HALVES
    high = split - (split - x)
    low = x - high
    rest = ((high * high - square) + 2 * high * low) + low * low
    e = np.exp(-square)
    e -= e * rest
    y *= e
    return y


def _erfinv(x: Array) -> Array:
    """Solve erf(y) = x from a guess that is right to 0.2 % (Winitzki, 2008) by three steps of Halley's method."""
    size = np.abs(x)
    q = 1 - size  # exact from 0.5 on, where erfc(y) = q is solved instead
    log = np.log(q) + np.log1p(size)  # log(1 - x²)
    half = 2 / (math.pi * 0.147) + log / 2
    y = np.sqrt(np.maximum(np.sqrt(half * half - log / 0.147) - half, 0))
    y = np.where(size < 1e-3, size / SLOPE, y)  # the guess cancels near 0
    inner = size < 0.5
    for _ in range(3):
        error = np.where(inner, _erf(y) - size, q - _erfc(y))
        step = error / (SLOPE * np.exp(-y * y))
        y -= step / (1 + y * step)  # f/f' / (1 - f f'' / (2 f'²)) with f''/f' = -2y
    y = np.where(size == 1, np.inf, y)
    y = np.where(size == 0, 0.0, y)
    return np.copysign(y, x)


class Erf(Elementwise):
    """y = erf x = 2/√π ∫₀ˣ e^(-t²) dt"""

    name = "erf"
    reads = ("x",)

    def evaluate(self, x: Array) -> Array:
        return _by_blocks(_erf_single if x.dtype == np.float32 else _erf, x)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g * (op.exp(-(x * x)) * SLOPE)  # d erf x = 2/√π e^(-x²) dx


class Erfc(Elementwise):
    """y = erfc x = 1 - erf x, accurate where erf x is near 1"""

    name = "erfc"
    reads = ("x",)

    def evaluate(self, x: Array) -> Array:
        return _by_blocks(_erfc, x)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g * (op.exp(-(x * x)) * -SLOPE)  # d erfc x = -2/√π e^(-x²) dx


class Erfinv(Elementwise):
    """y with erf y = x; infinite at ±1, NaN beyond"""

    name = "erfinv"
    reads = ("y",)

    def evaluate(self, x: Array) -> Array:
        return _by_blocks(_erfinv, x)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g * (op.exp(y * y) * (1 / SLOPE))  # dy = dx / (2/√π e^(-y²))
