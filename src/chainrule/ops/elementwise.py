"""Arithmetic, element by element: also roots, powers, extremes, rounding and whole division.

In each rule ``g`` is the gradient that arrives at ``y``; the comment beside it is its derivation.
"""

from __future__ import annotations

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


class Sqrt(Elementwise):
    """y = √x; the gradient at 0 is infinite"""

    name = "sqrt"
    reads = ("y",)
    evaluate = np.sqrt

    def lower(self, e: Any, x: Any) -> Any:
        return e.sqrt(x)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g / (2 * y)  # d √x = dx / (2 √x)


class Abs(Elementwise):
    """y = |x|; the gradient at 0 is 0"""

    name = "abs"
    reads = ("x",)
    evaluate = np.absolute

    def lower(self, e: Any, x: Any) -> Any:
        return e.abs(x)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need) -> Node:
        return g * op.sign(x)  # d |x| = sign x dx


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
