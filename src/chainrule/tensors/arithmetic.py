"""Arithmetic and functions, element by element: PyTorch's names, arguments and dtypes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, DtypeError
from chainrule.graph import Primitive, primitive
from chainrule.graph.sizes import Size as Dim
from chainrule.tensors import logic
from chainrule.tensors.apply import (
    apply,
    apply1,
    apply2,
    as_float,
    cast,
    common_dtype,
    converted,
    only_numeric,
    operand,
    promoted,
)
from chainrule.tensors.binary import binary, checked, operands, scaled, zero_dimensional
from chainrule.tensors.dtypes import BOOL, F64, I64
from chainrule.tensors.logic import WHERE, gt, isnan, logical_or, lt
from chainrule.tensors.logic import eq as eq
from chainrule.tensors.logic import logical_not as logical_not
from chainrule.tensors.logic import ne as ne
from chainrule.tensors.logic import where as where
from chainrule.tensors.memory import detach
from chainrule.tensors.options import check_options, in_memory_format
from chainrule.tensors.tensor import Tensor, numpy_dtype

ADD, SUB, MUL, DIV = primitive("add"), primitive("sub"), primitive("mul"), primitive("div")
POW, NEG, ABS, CAST = primitive("pow"), primitive("neg"), primitive("abs"), primitive("cast")


def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Return input + alpha · other.

    >>> import chainrule as cr
    >>> cr.add(cr.tensor([1, 2]), 0.5)
    tensor([1.5000, 2.5000])
    """
    return binary(ADD, input, scaled(other, alpha, "add", input))


def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Return input - alpha · other."""
    for x in (input, other):
        if isinstance(x, bool) or (isinstance(x, Tensor) and numpy_dtype(x) == BOOL):
            raise DtypeError("sub: got truth values", expected="numbers", fix="use logical_xor or ~ for truth values")
    return binary(SUB, input, scaled(other, alpha, "sub", input))


def rsub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Return other - alpha · input."""
    return sub(other, input, alpha=alpha)


def mul(input: Any, other: Any) -> Tensor:
    """Return input · other."""
    return binary(MUL, input, other)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """Return input / other; ``rounding_mode`` may be 'trunc' or 'floor', whose gradient is 0."""
    if rounding_mode is None:
        return binary(DIV, input, other, floating=True)
    if rounding_mode not in ("trunc", "floor"):
        raise ArgumentError(f"div: got rounding_mode={rounding_mode!r}", expected="None, 'trunc' or 'floor'")
    return _of_numbers(primitive(f"{rounding_mode}_divide"), input, other)


def _of_numbers(made_by: Primitive, a: Any, b: Any) -> Tensor:
    """Apply an operation to two operands; raise if both hold truth values."""
    if common_dtype(*operands(made_by.name, a, b)) == BOOL:
        raise DtypeError(f"{made_by.name}: got truth values", expected="numbers")
    return binary(made_by, a, b)


def floor_divide(input: Any, other: Any) -> Tensor:
    """Return ⌊input / other⌋, without a gradient."""
    a, b = [detach(x) if isinstance(x, Tensor) else x for x in (input, other)]
    return _of_numbers(primitive("floor_divide"), a, b)


def remainder(input: Any, other: Any) -> Tensor:
    """Return input - other · ⌊input / other⌋: the sign of ``other``."""
    return _of_numbers(primitive("remainder"), input, other)


def fmod(input: Any, other: Any) -> Tensor:
    """Return the remainder with the sign of ``input``."""
    return _of_numbers(primitive("fmod"), input, other)


def neg(input: Tensor) -> Tensor:
    """Return -input."""
    return apply1(NEG, only_numeric("neg", checked(input, "neg")))


def positive(input: Tensor) -> Tensor:
    """Return input."""
    return only_numeric("positive", checked(input, "positive"))


def pow(input: Any, exponent: Any) -> Tensor:
    """Return input ** exponent; a negative power of an integer tensor must be a tensor too."""
    if isinstance(input, Tensor) and isinstance(exponent, (int, float)) and not isinstance(exponent, (bool, Dim)):
        kind = numpy_dtype(input).kind
        if exponent == 2 and kind != "b" and (kind == "f" or isinstance(exponent, int)):
            return apply2(MUL, input, input)
        if kind == "f" and exponent == 0.5:
            return apply1(primitive("sqrt"), input)
        if kind in "iu" and isinstance(exponent, int) and exponent < 0:
            raise ArgumentError("pow: integers to a negative integer power", fix="convert to floats first: x.float()")
    x, y = operands("pow", input, exponent)
    if isinstance(y, bool) and common_dtype(x, y) == BOOL:
        return logic.logical_or(x, eq(x, x)) if not y else clone(x)  # x⁰ is true, x¹ is x
    return _of_numbers(POW, x, y)


def float_power(input: Any, exponent: Any) -> Tensor:
    """Return input ** exponent computed in float64."""
    return apply(POW, converted(F64, *operands("float_power", input, exponent)))


def square(input: Tensor) -> Tensor:
    """Return input²."""
    x = cast(input, I64) if numpy_dtype(checked(input, "square")) == BOOL else input
    return apply2(MUL, x, x)


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """Return the larger of the two, NaN if either is; at ties each gets half of the gradient."""
    return binary(primitive("maximum"), checked(input, "maximum"), checked(other, "maximum"))


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """Return the smaller of the two, NaN if either is; at ties each gets half of the gradient."""
    return binary(primitive("minimum"), checked(input, "minimum"), checked(other, "minimum"))


def _floating_binary(name: str, text: str) -> Callable[[Tensor, Tensor], Tensor]:
    made_by = primitive(name)

    def function(input: Tensor, other: Tensor) -> Tensor:
        return binary(made_by, checked(input, name), checked(other, name), floating=True)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Return {text}."
    return function


atan2 = _floating_binary("atan2", "the angle of the point (other, input)")
logaddexp = _floating_binary("logaddexp", "log(e^input + e^other), without overflow")
hypot = _floating_binary("hypot", "√(input² + other²), without overflow")


def _function(name: str, text: str) -> Callable[[Tensor], Tensor]:
    made_by = primitive(name)

    def function(input: Any) -> Tensor:
        value = input._value if isinstance(input, Tensor) else None
        if value is None or value.dtype.kind != "f":
            input = as_float(checked(input, name), name)
        return apply1(made_by, input)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Return {text}."
    return function


exp = _function("exp", "e^input")
exp2 = _function("exp2", "2^input")
expm1 = _function("expm1", "e^input - 1, accurate near 0")
log = _function("log", "the natural logarithm")
log2 = _function("log2", "the logarithm to base 2")
log10 = _function("log10", "the logarithm to base 10")
log1p = _function("log1p", "log(1 + input), accurate near 0")
sqrt = _function("sqrt", "the square root; its gradient at 0 is infinite")
sin = _function("sin", "the sine")
cos = _function("cos", "the cosine")
tan = _function("tan", "the tangent")
asin = _function("asin", "the inverse sine")
acos = _function("acos", "the inverse cosine")
atan = _function("atan", "the inverse tangent")
sinh = _function("sinh", "the hyperbolic sine")
cosh = _function("cosh", "the hyperbolic cosine")
tanh = _function("tanh", "the hyperbolic tangent")
asinh = _function("asinh", "the inverse hyperbolic sine")
acosh = _function("acosh", "the inverse hyperbolic cosine")
atanh = _function("atanh", "the inverse hyperbolic tangent")
sigmoid = _function("sigmoid", "1 / (1 + e^-input)")
erf = _function("erf", "the error function")
erfc = _function("erfc", "1 - erf(input), accurate where that is small")
erfinv = _function("erfinv", "the inverse of erf")


def reciprocal(input: Tensor) -> Tensor:
    """Return 1 / input."""
    return apply(DIV, (1.0, as_float(checked(input, "reciprocal"), "reciprocal")))


def rsqrt(input: Tensor) -> Tensor:
    """Return 1 / √input."""
    return reciprocal(sqrt(input))


def abs(input: Tensor) -> Tensor:
    """Return |input|; the gradient at 0 is 0."""
    return apply1(ABS, only_numeric("abs", checked(input, "abs")))


def relu(input: Tensor) -> Tensor:
    """Return max(input, 0); the gradient at 0 is 0."""
    return apply1(primitive("relu"), only_numeric("relu", checked(input, "relu")))


def sign(input: Tensor) -> Tensor:
    """Return -1, 0 or 1; the gradient is 0."""
    return clone(input) if numpy_dtype(checked(input, "sign")) == BOOL else apply1(primitive("sign"), input)


def _rounding(name: str, text: str) -> Callable[[Tensor], Tensor]:
    made_by = primitive(name)

    def function(input: Tensor) -> Tensor:
        x = only_numeric(name, checked(input, name))
        return clone(x) if numpy_dtype(x).kind in "iu" else apply1(made_by, x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Return {text}; the gradient is 0."
    return function


floor = _rounding("floor", "the largest integer not above")
ceil = _rounding("ceil", "the smallest integer not below")
trunc = _rounding("trunc", "the number without its fraction")
_round = _rounding("round", "the nearest integer, halves to even")


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Return the nearest multiple of 10^-decimals, halves to even; the gradient is 0."""
    if decimals == 0 or numpy_dtype(checked(input, "round")).kind != "f":
        return _round(input)
    scale = 10.0 ** math.fabs(decimals)
    return div(_round(mul(input, scale)), scale) if decimals > 0 else mul(_round(div(input, scale)), scale)


def frac(input: Tensor) -> Tensor:
    """Return the fraction: input - trunc(input)."""
    return sub(input, trunc(input))


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Return input limited to [min, max]; the gradient passes at the limits and stops beyond them."""
    if min is None and max is None:
        raise ArgumentError("clamp: got neither min nor max", expected="at least one")
    bounds = operands("clamp", checked(input, "clamp"), *[b for b in (min, max) if b is not None])
    dtype = common_dtype(*bounds)
    x = cast(input, dtype)
    if min is not None:
        x = _limited(x, converted(dtype, operand(min))[0], lt)
    if max is not None:
        x = _limited(x, converted(dtype, operand(max))[0], gt)
    return x if x is not input else clone(x)


def _limited(x: Tensor, bound: Any, beyond: Callable[[Any, Any], Tensor]) -> Tensor:
    """Return ``bound`` where x is beyond it, or where the bound is NaN; else x."""
    outside = beyond(x, bound)
    if isinstance(bound, Tensor):
        outside = logical_or(outside, isnan(bound))
    elif isinstance(bound, float) and math.isnan(bound):
        outside = logical_not(outside)
    return apply(WHERE, (outside, bound, x))


def clip(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Return input limited to [min, max]: another name of clamp."""
    return clamp(input, min, max)


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Return input, at least min."""
    return clamp(input, min=min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Return input, at most max."""
    return clamp(input, max=max)


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """Return input + weight · (end - input), computed from the nearer end."""
    span = sub(end, input)
    if isinstance(weight, Tensor):
        return where(lt(abs(weight), 0.5), input + weight * span, end - span * (1 - weight))
    return add(input, span * weight) if math.fabs(weight) < 0.5 else sub(end, span * (1 - weight))


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """Return input + value · tensor1 · tensor2."""
    return add(input, scaled(mul(tensor1, tensor2), value, "addcmul", input))


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """Return input + value · tensor1 / tensor2."""
    if common_dtype(*operands("addcdiv", tensor1, tensor2)).kind != "f":
        raise DtypeError("addcdiv: got integers to divide", expected="floats", fix="convert one of them with .float()")
    return add(input, scaled(div(tensor1, tensor2), value, "addcdiv", input))


def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """Return log(input / (1 - input)); with ``eps``, of the input limited to [eps, 1 - eps]."""
    x = as_float(checked(input, "logit"), "logit")
    if eps is not None:
        x = clamp(x, eps, 1 - eps)
    return sub(log(x), log1p(neg(x)))


def deg2rad(input: Tensor) -> Tensor:
    """Return degrees as radians."""
    return mul(as_float(checked(input, "deg2rad"), "deg2rad"), math.pi / 180)


def rad2deg(input: Tensor) -> Tensor:
    """Return radians as degrees."""
    return mul(as_float(checked(input, "rad2deg"), "rad2deg"), 180 / math.pi)


def xlogy(input: Any, other: Any) -> Tensor:
    """Return input · log(other), 0 where input is 0 (and other is no NaN), also where the logarithm is infinite."""
    x, y = promoted(*operands("xlogy", input, other), floating=True)
    if not isinstance(x, Tensor):
        x = zero_dimensional(x, numpy_dtype(y))
    if not isinstance(y, Tensor):
        y = zero_dimensional(y, numpy_dtype(x))
    plain = logical_or(logic.logical_and(gt(y, 0), lt(y, math.inf)), isnan(y))
    flat = logic.logical_and(eq(x, 0), logical_not(plain))
    return where(flat, mul(x, 0.0), mul(x, log(where(flat, 1.0, y))))


def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """Return input with NaN (by 0) and infinities (by the largest numbers) replaced."""
    if numpy_dtype(checked(input, "nan_to_num")).kind != "f":
        return clone(input)
    limits: Any = np.finfo(numpy_dtype(input))
    x = where(isnan(input), 0.0 if nan is None else nan, input)
    x = where(eq(input, math.inf), float(limits.max) if posinf is None else posinf, x)
    return where(eq(input, -math.inf), float(limits.min) if neginf is None else neginf, x)


def clone(input: Tensor, **options: Any) -> Tensor:
    """Return a copy; gradients pass through it."""
    y = apply(CAST, (checked(input, "clone"),), {"dtype": numpy_dtype(input)})
    return in_memory_format(y, check_options("clone", options)) if options else y


# -- operators ---------------------------------------------------------------------------------------------------------


def _operator(function: Callable[[Any, Any], Tensor], *, swapped: bool = False) -> Callable[[Tensor, Any], Any]:
    def method(self: Tensor, other: Any) -> Any:
        if type(other) is not Tensor and operand(other) is NotImplemented:
            return NotImplemented
        return function(other, self) if swapped else function(self, other)

    return method


def _fast_operator(made_by: Primitive) -> Callable[[Tensor, Any], Any]:
    def method(self: Tensor, other: Any) -> Any:
        if type(other) is not Tensor and type(other) is not float and operand(other) is NotImplemented:
            return NotImplemented
        return binary(made_by, self, other)

    return method


OPERATORS: dict[str, Callable[..., Any]] = {
    "__add__": _fast_operator(ADD),
    "__radd__": _operator(add, swapped=True),
    "__sub__": _operator(sub),
    "__rsub__": _operator(sub, swapped=True),
    "__mul__": _fast_operator(MUL),
    "__rmul__": _operator(mul, swapped=True),
    "__truediv__": _operator(div),
    "__rtruediv__": _operator(div, swapped=True),
    "__floordiv__": _operator(floor_divide),
    "__rfloordiv__": _operator(floor_divide, swapped=True),
    "__mod__": _operator(remainder),
    "__rmod__": _operator(remainder, swapped=True),
    "__pow__": _operator(pow),
    "__rpow__": _operator(pow, swapped=True),
    "__neg__": neg,
    "__pos__": positive,
    "__abs__": abs,
    "__invert__": logic.bitwise_not,
    "__and__": _operator(logic.bitwise_and),
    "__rand__": _operator(logic.bitwise_and, swapped=True),
    "__or__": _operator(logic.bitwise_or),
    "__ror__": _operator(logic.bitwise_or, swapped=True),
    "__xor__": _operator(logic.bitwise_xor),
    "__rxor__": _operator(logic.bitwise_xor, swapped=True),
    "__eq__": _operator(eq),
    "__ne__": _operator(ne),
    "__lt__": _operator(lt),
    "__le__": _operator(logic.le),
    "__gt__": _operator(gt),
    "__ge__": _operator(logic.ge),
}

FUNCTIONS = (
    add, sub, rsub, mul, div, floor_divide, remainder, fmod, neg, positive, pow, float_power, square, maximum, minimum,
    atan2, logaddexp, hypot, exp, exp2, expm1, log, log2, log10, log1p, sqrt, sin, cos, tan, asin, acos, atan, sinh,
    cosh, tanh, asinh, acosh, atanh, sigmoid, erf, erfc, erfinv, rsqrt, reciprocal, abs, relu, sign, floor, ceil, trunc, round, frac, clamp,
    clip, clamp_min, clamp_max, lerp, addcmul, addcdiv, logit, deg2rad, rad2deg, xlogy, nan_to_num, clone,
    *logic.FUNCTIONS,
)  # fmt: skip

ALIASES = {
    "subtract": sub, "multiply": mul, "divide": div, "true_divide": div, "negative": neg, "absolute": abs,
    "arcsin": asin, "arccos": acos, "arctan": atan, "arctan2": atan2, "arcsinh": asinh, "arccosh": acosh,
    "arctanh": atanh, "fix": trunc, **logic.ALIASES,
}  # fmt: skip

IN_PLACE = (
    add, sub, mul, div, floor_divide, remainder, fmod, neg, pow, square, atan2, hypot, exp, exp2, expm1, log, log2, log10, log1p, sqrt, sin, cos, tan, asin, acos, atan, sinh, cosh, tanh, asinh, acosh, atanh, sigmoid, erf, erfc, erfinv,
    rsqrt, reciprocal, abs, relu, sign, floor, ceil, trunc, round, frac, clamp, clip, clamp_min, clamp_max, lerp,
    addcmul, addcdiv, logit, deg2rad, rad2deg, xlogy, nan_to_num, *logic.IN_PLACE,
)  # fmt: skip
