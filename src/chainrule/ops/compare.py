"""Comparisons, tests and bit logic (none has a gradient), and the choices made by them."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DtypeError
from chainrule.graph import Array, Dtype, Gradients, Node, Primitive, Spec, no_gradient, op
from chainrule.ops.rules import BOOL, Elementwise, Need, broadcast, one_dtype, to_shape_of


class Comparison(Elementwise, abstract=True):
    """One truth value per element."""

    vjp = no_gradient("a truth value does not change by small steps")

    def shape(self, *operands: Any) -> Spec:
        one_dtype(self.name, *operands)
        return Spec(broadcast(self.name, *operands), BOOL)


class Relation(Comparison, abstract=True):
    """How two numbers stand to each other."""

    def lower(self, e: Any, a: Any, b: Any) -> Any:
        return e.compare(self.name, a, b)


class Eq(Relation):
    """y = [a = b]"""

    name = "eq"
    evaluate = np.equal


class Ne(Relation):
    """y = [a ≠ b]"""

    name = "ne"
    evaluate = np.not_equal


class Lt(Relation):
    """y = [a < b]"""

    name = "lt"
    evaluate = np.less


class Le(Relation):
    """y = [a ≤ b]"""

    name = "le"
    evaluate = np.less_equal


class Gt(Relation):
    """y = [a > b]"""

    name = "gt"
    evaluate = np.greater


class Ge(Relation):
    """y = [a ≥ b]"""

    name = "ge"
    evaluate = np.greater_equal


class Isnan(Comparison):
    """y = [x is NaN]"""

    name = "isnan"
    evaluate = np.isnan

    def lower(self, e: Any, x: Any) -> Any:
        return e.ne(x, x)


class Isinf(Comparison):
    """y = [x is an infinity]"""

    name = "isinf"
    evaluate = np.isinf

    def lower(self, e: Any, x: Any) -> Any:
        return e.eq(e.abs(x), np.inf) if x.dtype.kind == "f" else e.ne(x, x)


class Isfinite(Comparison):
    """y = [x is neither NaN nor an infinity]"""

    name = "isfinite"
    evaluate = np.isfinite

    def lower(self, e: Any, x: Any) -> Any:
        return e.abs(x) < np.inf if x.dtype.kind == "f" else e.eq(x, x)


class Bitwise(Elementwise, abstract=True):
    """Logic of truth values, or of the bits of integers."""

    vjp = no_gradient("bits do not change by small steps")

    def shape(self, *operands: Any) -> Spec:
        dtype = one_dtype(self.name, *operands)
        if dtype.kind not in "biu":
            raise DtypeError(f"{self.name}: got {dtype}", expected="bool or an integer dtype")
        return Spec(broadcast(self.name, *operands), dtype)


class BitwiseAnd(Bitwise):
    """y = a ∧ b"""

    name = "bitwise_and"
    evaluate = np.bitwise_and

    def lower(self, e: Any, a: Any, b: Any) -> Any:
        return a & b


class BitwiseOr(Bitwise):
    """y = a ∨ b"""

    name = "bitwise_or"
    evaluate = np.bitwise_or

    def lower(self, e: Any, a: Any, b: Any) -> Any:
        return a | b


class BitwiseXor(Bitwise):
    """y = a ⊕ b"""

    name = "bitwise_xor"
    evaluate = np.bitwise_xor

    def lower(self, e: Any, a: Any, b: Any) -> Any:
        return a ^ b


class BitwiseNot(Bitwise):
    """y = ¬x"""

    name = "bitwise_not"
    evaluate = np.bitwise_not

    def lower(self, e: Any, x: Any) -> Any:
        return ~x


class Where(Primitive):
    """y = a where the truth value m holds, else b"""

    name = "where"
    reads = ("", "a", "a")
    elementwise = True

    def shape(self, m: Any, a: Any, b: Any) -> Spec:
        if m.dtype != BOOL:
            raise DtypeError(f"where: got a condition of {m.dtype}", expected="bool", fix="compare first: x != 0")
        return Spec(broadcast("where", m, a, b), one_dtype("where", a, b))

    def evaluate(self, m: Array, a: Array, b: Array) -> Array:
        return np.where(m, a, b)

    def lower(self, e: Any, m: Any, a: Any, b: Any) -> Any:
        return e.select(m, a, b)

    def vjp(self, g: Node, y: Node, m: Node, a: Node, b: Node, *, need: Need) -> Gradients:
        # dy = [m] da + [not m] db
        da = to_shape_of(a, op.where(m, g, 0)) if need[1] else None
        db = to_shape_of(b, op.where(m, 0, g)) if need[2] else None
        return None, da, db


class Cast(Primitive):
    """y = x in another dtype (floats to integers towards 0)"""

    name = "cast"
    reads = ("",)
    elementwise = True

    def shape(self, x: Any, *, dtype: Dtype) -> Spec:
        return Spec(x.shape, dtype)

    def evaluate(self, x: Array, *, dtype: Dtype) -> Array:
        return np.asarray(x).astype(dtype)

    def lower(self, e: Any, x: Any, *, dtype: Dtype) -> Any:
        return e.cast(x, dtype)

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need, dtype: Dtype) -> Node:
        return op.cast(g, dtype=x.dtype)  # d cast x = dx, in the dtype of x


class Stop(Elementwise):
    """y = x, as a constant"""

    name = "stop"
    vjp = no_gradient("its purpose is to let no gradient through")

    def evaluate(self, x: Array) -> Array:
        return np.array(x)

    def lower(self, e: Any, x: Any) -> Any:
        return x


class SetValue(Elementwise):
    """y has the value of b and the gradient of a: what a write that the gradient must not see leaves behind"""

    name = "set_value"
    reads = ("", "")

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.array(np.broadcast_to(b, np.shape(a)))

    def lower(self, e: Any, a: Any, b: Any) -> Any:
        return b

    def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Need) -> Gradients:
        return g if need[0] else None, None  # by definition: dy = da
