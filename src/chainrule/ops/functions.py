"""Functions, element by element: exponentials, logarithms, and those of circle and hyperbola.

In each rule ``g`` is the gradient that arrives at ``y``; the comment beside it is its derivation.
"""

from __future__ import annotations

import math

import numpy as np

from chainrule.graph import Array, Gradients, Node, op
from chainrule.ops.rules import Elementwise, Need, to_shape_of


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
