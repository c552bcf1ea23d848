"""Arithmetic and functions, element by element.

In each rule ``g`` is the gradient that arrives at ``y``; the comment beside it is its derivation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.graph import Array, Gradients, Node, op
from chainrule.ops.rules import Elementwise, Need, to_shape_of, zeros_like


class Add(Elementwise):
    """y = a + b"""

    name = "add"
    reads = ("", "")
    evaluate = np.add

    def lower(self, e: Any, a: Any, b: Any) -> Any:
        return a + b

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need) -> Gradients:
        return to_shape_of(a, g) if need[0] else None, to_shape_of(b, g) if need[1] else None  # d(a+b) = da + db


class Sub(Elementwise):
    """y = a - b"""

    name = "sub"
    reads = ("", "")
    evaluate = np.subtract

    def lower(self, e: Any, a: Any, b: Any) -> Any:
        return a - b

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need) -> Gradients:
        return to_shape_of(a, g) if need[0] else None, to_shape_of(b, -g) if need[1] else None  # d(a-b) = da - db


class Mul(Elementwise):
    """y = a b"""

    name = "mul"
    reads = ("b", "a")
    evaluate = np.multiply

    def lower(self, e: Any, a: Any, b: Any) -> Any:
        return a * b

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need) -> Gradients:
        # d(ab) = b da + a db
        return to_shape_of(a, g * b) if need[0] else None, to_shape_of(b, g * a) if need[1] else None


class Div(Elementwise):
    """y = a / b, for floating dtypes"""

    name = "div"
    reads = ("b", "b y")
    evaluate = np.divide

    def lower(self, e: Any, a: Any, b: Any) -> Any:
        return a / b

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need) -> Gradients:
        # d(a/b) = da / b - (y / b) db
        return to_shape_of(a, g / b) if need[0] else None, to_shape_of(b, -g * (y / b)) if need[1] else None


class Neg(Elementwise):
    """y = -x"""

    name = "neg"
    reads = ("",)
    evaluate = np.negative

    def lower(self, e: Any, x: Any) -> Any:
        return -x

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return -g


class Pow(Elementwise):
    """y = a ** b; 0 ** 0 = 1; a negative power of an integer is 0, except for 1 and -1"""

    name = "pow"
    reads = ("a b", "a b y")

    def evaluate(self, a: Array, b: Array) -> Array:
        try:
            y: Array = np.power(a, b)
        except ValueError:  # NumPy takes no negative powers of integers
            y = np.where(np.less(b, 0) & (np.abs(a) != 1), 0, np.power(a, np.abs(b)))
        return y

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need) -> Gradients:
        da = db = None
        if need[0]:  # da: b a^(b-1), 0 where b = 0 (a^-1 may be infinite there)
            slope = op.where(op.eq(b, 0), 0 * b, b * a ** (b - 1))
            da = to_shape_of(a, g * slope)
        if need[1]:  # db: y log a, 0 where a = 0 and b >= 0 (y goes to 0 faster than log a grows)
            flat = op.bitwise_and(op.eq(a, 0), op.ge(b, 0))
            db = to_shape_of(b, g * op.where(flat, 0 * y, y * op.log(a)))
        return da, db


class Exp(Elementwise):
    """y = e^x"""

    name = "exp"
    reads = ("y",)
    evaluate = np.exp

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g * y  # d e^x = e^x dx


class Exp2(Elementwise):
    """y = 2^x"""

    name = "exp2"
    reads = ("y",)
    evaluate = np.exp2

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g * y * math.log(2)  # d 2^x = 2^x log 2 dx


class Expm1(Elementwise):
    """y = e^x - 1, accurate near 0"""

    name = "expm1"
    reads = ("x",)
    evaluate = np.expm1

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g * op.exp(x)  # d (e^x - 1) = e^x dx; y + 1 would keep no digit of it where x is far below 0


class Log(Elementwise):
    """y = log x"""

    name = "log"
    reads = ("x",)
    evaluate = np.log

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g / x  # d log x = dx / x


class Log2(Elementwise):
    """y = log2 x"""

    name = "log2"
    reads = ("x",)
    evaluate = np.log2

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g / (x * math.log(2))  # d log2 x = dx / (x log 2)


class Log10(Elementwise):
    """y = log10 x"""

    name = "log10"
    reads = ("x",)
    evaluate = np.log10

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g / (x * math.log(10))  # d log10 x = dx / (x log 10)


class Log1p(Elementwise):
    """y = log(1 + x), accurate near 0"""

    name = "log1p"
    reads = ("x",)
    evaluate = np.log1p

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g / (1 + x)  # d log(1+x) = dx / (1+x)


class Sqrt(Elementwise):
    """y = √x; the gradient at 0 is infinite"""

    name = "sqrt"
    reads = ("y",)
    evaluate = np.sqrt

    def lower(self, e: Any, x: Any) -> Any:
        return e.sqrt(x)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g / (2 * y)  # d √x = dx / (2 √x)


class Sin(Elementwise):
    """y = sin x"""

    name = "sin"
    reads = ("x",)
    evaluate = np.sin

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g * op.cos(x)  # d sin x = cos x dx


class Cos(Elementwise):
    """y = cos x"""

    name = "cos"
    reads = ("x",)
    evaluate = np.cos

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return -g * op.sin(x)  # d cos x = -sin x dx


class Tan(Elementwise):
    """y = tan x"""

    name = "tan"
    reads = ("y",)
    evaluate = np.tan

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g * (1 + y * y)  # d tan x = (1 + tan² x) dx


class Asin(Elementwise):
    """y = arcsin x"""

    name = "asin"
    reads = ("x",)
    evaluate = np.arcsin

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g / op.sqrt(1 - x * x)  # d asin x = dx / √(1 - x²)


class Acos(Elementwise):
    """y = arccos x"""

    name = "acos"
    reads = ("x",)
    evaluate = np.arccos

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return -g / op.sqrt(1 - x * x)  # d acos x = -dx / √(1 - x²)


class Atan(Elementwise):
    """y = arctan x"""

    name = "atan"
    reads = ("x",)
    evaluate = np.arctan

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g / (1 + x * x)  # d atan x = dx / (1 + x²)


class Atan2(Elementwise):
    """y = the angle of the point (b, a); the gradient at (0, 0) is 0"""

    name = "atan2"
    reads = ("a b", "a b")
    evaluate = np.arctan2

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need) -> Gradients:
        # d atan2(a, b) = (b da - a db) / (a² + b²)
        square = a * a + b * b
        scaled = op.where(op.eq(square, 0), 0, g / square)
        return to_shape_of(a, scaled * b) if need[0] else None, to_shape_of(b, -scaled * a) if need[1] else None


class Hypot(Elementwise):
    """y = √(a² + b²), without overflow"""

    name = "hypot"
    reads = ("a y", "b y")
    evaluate = np.hypot

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need) -> Gradients:
        # dy = (a da + b db) / y
        return to_shape_of(a, g * (a / y)) if need[0] else None, to_shape_of(b, g * (b / y)) if need[1] else None


class Sinh(Elementwise):
    """y = sinh x"""

    name = "sinh"
    reads = ("x",)
    evaluate = np.sinh

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g * op.cosh(x)  # d sinh x = cosh x dx


class Cosh(Elementwise):
    """y = cosh x"""

    name = "cosh"
    reads = ("x",)
    evaluate = np.cosh

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g * op.sinh(x)  # d cosh x = sinh x dx


class Tanh(Elementwise):
    """y = tanh x"""

    name = "tanh"
    reads = ("y",)
    evaluate = np.tanh

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g * (1 - y * y)  # d tanh x = (1 - tanh² x) dx


class Asinh(Elementwise):
    """y = arsinh x"""

    name = "asinh"
    reads = ("x",)
    evaluate = np.arcsinh

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g / op.sqrt(x * x + 1)  # d asinh x = dx / √(x² + 1)


class Acosh(Elementwise):
    """y = arcosh x"""

    name = "acosh"
    reads = ("x",)
    evaluate = np.arccosh

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g / op.sqrt(x * x - 1)  # d acosh x = dx / √(x² - 1)


class Atanh(Elementwise):
    """y = artanh x"""

    name = "atanh"
    reads = ("x",)
    evaluate = np.arctanh

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g / (1 - x * x)  # d atanh x = dx / (1 - x²)


class Abs(Elementwise):
    """y = |x|; the gradient at 0 is 0"""

    name = "abs"
    reads = ("x",)
    evaluate = np.absolute

    def lower(self, e: Any, x: Any) -> Any:
        return e.abs(x)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g * op.sign(x)  # d |x| = sign x dx


class Sigmoid(Elementwise):
    """y = 1 / (1 + e^-x)"""

    name = "sigmoid"
    reads = ("y",)

    def evaluate(self, x: Array) -> Array:
        y: Array = np.asarray(np.exp(-x))  # infinite for very negative x, and then y = 0, which is right
        y += 1
        np.reciprocal(y, out=y)
        return y

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g * (y * (1 - y))  # dσ = σ (1 - σ) dx


class Logaddexp(Elementwise):
    """y = log(e^a + e^b), without overflow"""

    name = "logaddexp"
    reads = ("a b", "a b")
    evaluate = np.logaddexp

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need) -> Gradients:
        # ∂y/∂a = e^a / (e^a + e^b) = σ(a - b)
        da = to_shape_of(a, g * op.sigmoid(a - b)) if need[0] else None
        db = to_shape_of(b, g * op.sigmoid(b - a)) if need[1] else None
        return da, db


class Relu(Elementwise):
    """y = max(x, 0), NaN stays NaN; the gradient at 0 is 0"""

    name = "relu"
    reads = ("y",)

    def evaluate(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def lower(self, e: Any, x: Any) -> Any:
        return e.select(x < 0, 0, x)  # NaN is not below 0

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return op.where(op.le(y, 0), 0, g)  # d max(x, 0) = [x > 0] dx


class Maximum(Elementwise):
    """y = max(a, b), NaN if either is; at ties each gets half of the gradient"""

    name = "maximum"
    reads = ("a b", "a b")
    evaluate = np.maximum

    def lower(self, e: Any, a: Any, b: Any) -> Any:
        return e.maximum(a, b)

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need) -> Gradients:
        shared = op.where(op.eq(a, b), g / 2, g)
        da = to_shape_of(a, op.where(op.lt(a, b), 0, shared)) if need[0] else None
        db = to_shape_of(b, op.where(op.lt(b, a), 0, shared)) if need[1] else None
        return da, db


class Minimum(Elementwise):
    """y = min(a, b), NaN if either is; at ties each gets half of the gradient"""

    name = "minimum"
    reads = ("a b", "a b")
    evaluate = np.minimum

    def lower(self, e: Any, a: Any, b: Any) -> Any:
        return e.minimum(a, b)

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need) -> Gradients:
        shared = op.where(op.eq(a, b), g / 2, g)
        da = to_shape_of(a, op.where(op.lt(b, a), 0, shared)) if need[0] else None
        db = to_shape_of(b, op.where(op.lt(a, b), 0, shared)) if need[1] else None
        return da, db


class Piecewise(Elementwise, abstract=True):
    """A function that is constant between its jumps: its gradient is 0."""

    reads = ("",)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return zeros_like(x)


class Sign(Piecewise):
    """y = -1, 0 or 1; 0 for NaN, as in PyTorch"""

    name = "sign"

    def evaluate(self, x: Array) -> Array:
        y: Array = np.subtract(np.greater(x, 0), np.less(x, 0), dtype=x.dtype)
        return y


class Floor(Piecewise):
    """y = the largest integer not above x"""

    name = "floor"
    evaluate = np.floor


class Ceil(Piecewise):
    """y = the smallest integer not below x"""

    name = "ceil"
    evaluate = np.ceil


class Round(Piecewise):
    """y = the nearest integer, halves to even"""

    name = "round"
    evaluate = np.rint


class Trunc(Piecewise):
    """y = x without its fraction"""

    name = "trunc"
    evaluate = np.trunc


def refuse_zero(name: str, divisor: Array) -> None:
    """Raise if integers are divided by 0; floats give an infinity or NaN."""
    if divisor.dtype.kind in "biu" and not divisor.all():
        raise ArgumentError(f"{name}: an integer is divided by 0", fix="convert to floats to get an infinity or NaN")


class WholeDivision(Elementwise, abstract=True):
    """A quotient without its fraction: constant between its jumps, so that its gradient is 0."""

    reads = ("", "")

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need) -> Gradients:
        return zeros_like(a) if need[0] else None, zeros_like(b) if need[1] else None


class FloorDivide(WholeDivision):
    """y = ⌊a / b⌋"""

    name = "floor_divide"

    def evaluate(self, a: Array, b: Array) -> Array:
        refuse_zero(self.name, np.asarray(b))
        y: Array = np.floor_divide(a, b)
        return y


class TruncDivide(WholeDivision):
    """y = trunc(a / b)"""

    name = "trunc_divide"

    def evaluate(self, a: Array, b: Array) -> Array:
        divisor = np.asarray(b)
        refuse_zero(self.name, divisor)
        y: Array = np.trunc(np.divide(a, b)) if divisor.dtype.kind == "f" else np.floor_divide(a - np.fmod(a, b), b)
        return y


class Remainder(Elementwise):
    """y = a - b ⌊a / b⌋, with the sign of b"""

    name = "remainder"
    reads = ("", "a b")

    def evaluate(self, a: Array, b: Array) -> Array:
        refuse_zero(self.name, np.asarray(b))
        y: Array = np.remainder(a, b)
        return y

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need) -> Gradients:
        # dy = da - ⌊a/b⌋ db
        da = to_shape_of(a, g) if need[0] else None
        return da, to_shape_of(b, -g * op.floor_divide(a, b)) if need[1] else None


class Fmod(Elementwise):
    """y = a - b trunc(a / b), with the sign of a"""

    name = "fmod"
    reads = ("", "a b")

    def evaluate(self, a: Array, b: Array) -> Array:
        refuse_zero(self.name, np.asarray(b))
        y: Array = np.fmod(a, b)
        return y

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need) -> Gradients:
        # dy = da - trunc(a/b) db
        da = to_shape_of(a, g) if need[0] else None
        return da, to_shape_of(b, -g * op.trunc(a / b)) if need[1] else None
