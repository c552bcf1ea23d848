"""Functions of native code, element by element: by the name of the primitive.

Each gets single numbers or 16 lanes and writes the same instructions for both, of LLVM's own language only: no call into a
library, no table, no rounding left to the compiler.
"""

from __future__ import annotations

from collections.abc import Callable

from chainrule.compiler import vector_division as division
from chainrule.compiler import vector_exponential as exponential
from chainrule.compiler import vector_logarithm as logarithm
from chainrule.compiler import vector_special as special
from chainrule.compiler import vector_trigonometry as trigonometry
from chainrule.compiler.emit import Emitter
from chainrule.compiler.interface import Unlowered
from chainrule.compiler.value import Value
from chainrule.compiler.vector_power import power

Rule = Callable[..., Value]  # (emitter, operands)


def _intrinsic(name: str) -> Rule:
    """Return one of LLVM's functions; of integers, x itself."""

    def rule(e: Emitter, x: Value) -> Value:
        return e.intrinsic(name, x) if x.dtype.kind == "f" else x

    return rule


def _sign(e: Emitter, x: Value) -> Value:
    """Return -1, 0 or 1; 0 for NaN."""
    one, zero = e.constant(1, x.dtype), e.constant(0, x.dtype)
    if x.dtype.kind in "bu":
        return e.select(e.ne(x, 0), one, zero)
    return e.select(x > 0, one, e.select(x < 0, -1, zero))


FUNCTIONS: dict[str, Rule] = {
    "ceil": _intrinsic("ceil"),
    "floor": _intrinsic("floor"),
    "round": _intrinsic("roundeven"),
    "trunc": _intrinsic("trunc"),
    "sign": _sign,
    "sqrt": lambda e, x: e.sqrt(x),
    "exp": exponential.exp,
    "exp2": exponential.exp2,
    "expm1": exponential.expm1,
    "sigmoid": exponential.sigmoid,
    "tanh": exponential.tanh,
    "sinh": exponential.sinh,
    "cosh": exponential.cosh,
    "log": logarithm.log,
    "log2": logarithm.log2,
    "log10": logarithm.log10,
    "log1p": logarithm.log1p,
    "logaddexp": logarithm.logaddexp,
    "pow": power,
    "floor_divide": division.floor_divide,
    "trunc_divide": division.trunc_divide,
    "remainder": division.remainder,
    "fmod": division.fmod,
    "sin": trigonometry.sin,
    "cos": trigonometry.cos,
    "tan": trigonometry.tan,
    "asin": trigonometry.asin,
    "acos": trigonometry.acos,
    "atan": trigonometry.atan,
    "atan2": trigonometry.atan2,
    "asinh": trigonometry.asinh,
    "acosh": trigonometry.acosh,
    "atanh": trigonometry.atanh,
    "hypot": trigonometry.hypot,
    "erf": special.erf,
    "erfc": special.erfc,
    "erfinv": special.erfinv,
}
LONG = frozenset(
    ["pow", "exp", "log", "expm1", "log1p", "tanh", "sigmoid", "sin", "cos"]
)  # of many instructions: worth computing for several numbers together, or in a loop, and not each by itself


def function(name: str) -> Rule:
    """Return the rule of a primitive."""
    rule = FUNCTIONS.get(name)
    if rule is None:
        raise Unlowered(f"primitive {name!r}: no vector function is written for it")
    return rule
