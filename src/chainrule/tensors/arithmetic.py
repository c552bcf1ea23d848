"""Arithmetic, comparisons and functions, element by element: PyTorch's names, arguments and dtypes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, DtypeError
from chainrule.graph import Primitive, primitive
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
from chainrule.tensors.dtypes import BOOL, F32, F64
from chainrule.tensors.tensor import Tensor, numpy_dtype

ADD, SUB, MUL, DIV = primitive("add"), primitive("sub"), primitive("mul"), primitive("div")
POW, NEG, ABS, WHERE = primitive("pow"), primitive("neg"), primitive("abs"), primitive("where")
FLOATS = (F32, F64)


def binary(made_by: Primitive, a: Any, b: Any, *, floating: bool = False) -> Tensor:
    """Apply an operation to two operands, one a tensor, in their common dtype."""
    if type(b) is float or type(b) is int:
        if isinstance(a, Tensor) and a._value is not None and a._value.dtype in FLOATS:
            return apply2(made_by, a, b)
    elif isinstance(a, Tensor) and isinstance(b, Tensor):
        p, q = a._value, b._value
        if p is not None and q is not None and p.dtype is q.dtype and (p.dtype is F32 or p.dtype is F64):
            return apply2(made_by, a, b)
    p, q = operand(a), operand(b)
    if p is NotImplemented or q is NotImplemented:
        raise ArgumentTypeError(
            f"{made_by.name}: got {type(a).__name__} and {type(b).__name__}", expected="tensors or numbers"
        )
    x, y = promoted(p, q, floating=floating)
    if isinstance(x, Tensor):
        return apply2(made_by, x, y)
    return apply(made_by, (x, y))


def _tensor(x: Any, name: str) -> Tensor:
    if isinstance(x, Tensor):
        return x
    raise ArgumentTypeError(f"{name}: got {type(x).__name__} as input", expected="a tensor")


def _scaled(other: Any, alpha: float) -> Any:
    return other if alpha == 1 else other * alpha


def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Return input + alpha · other.

    >>> import chainrule as cr
    >>> cr.add(cr.tensor([1, 2]), 0.5)
    tensor([1.5000, 2.5000])
    """
    return binary(ADD, input, _scaled(other, alpha))


def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Return input - alpha · other."""
    for x in (input, other):
        if isinstance(x, Tensor) and numpy_dtype(x) == BOOL:
            raise DtypeError("sub: got a bool tensor", expected="numbers", fix="use logical_xor or ~ for truth values")
    return binary(SUB, input, _scaled(other, alpha))


def rsub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Return other - alpha · input."""
    return sub(other, _scaled(input, alpha))


def mul(input: Any, other: Any) -> Tensor:
    """Return input · other."""
    return binary(MUL, input, other)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """Return input / other; ``rounding_mode`` may be 'trunc' or 'floor'."""
    if rounding_mode is None:
        return binary(DIV, input, other, floating=True)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        p, q = operand(input), operand(other)
        dtype = common_dtype(p, q)
        if dtype.kind == "f":
            return trunc(binary(DIV, p, q))
        x, y = converted(dtype, p, q)
        whole = apply(primitive("sub"), (x, apply(primitive("fmod"), (x, y))))
        return apply(primitive("floor_divide"), (whole, y))  # exact: the remainder is gone
    raise ArgumentError(f"div: got rounding_mode={rounding_mode!r}", expected="None, 'trunc' or 'floor'")


def floor_divide(input: Any, other: Any) -> Tensor:
    """Return ⌊input / other⌋."""
    return binary(primitive("floor_divide"), input, other)


def remainder(input: Any, other: Any) -> Tensor:
    """Return input - other · ⌊input / other⌋: the sign of ``other``."""
    return binary(primitive("remainder"), input, other)


def fmod(input: Any, other: Any) -> Tensor:
    """Return the remainder with the sign of ``input``."""
    return binary(primitive("fmod"), input, other)


def neg(input: Tensor) -> Tensor:
    """Return -input."""
    return apply1(NEG, only_numeric("neg", input))


def positive(input: Tensor) -> Tensor:
    """Return input."""
    return only_numeric("positive", input)


def pow(input: Any, exponent: Any) -> Tensor:
    """Return input ** exponent."""
    if isinstance(input, Tensor) and isinstance(exponent, (int, float)) and not isinstance(exponent, bool):
        kind = numpy_dtype(input).kind
        if exponent == 2 and kind != "b" and (kind == "f" or isinstance(exponent, int)):
            return apply2(MUL, input, input)
        if kind == "f" and exponent == 0.5:
            return apply1(primitive("sqrt"), input)
        if kind in "iu" and isinstance(exponent, int) and exponent < 0:
            raise ArgumentError("pow: integers to a negative integer power", fix="convert to floats first: x.float()")
    return binary(POW, input, exponent)


def float_power(input: Any, exponent: Any) -> Tensor:
    """Return input ** exponent computed in float64."""
    p, q = operand(input), operand(exponent)
    x, y = converted(F64, p, q)
    return apply(POW, (x, y))


def square(input: Tensor) -> Tensor:
    """Return input²."""
    x = cast(input, np.dtype(np.int64)) if numpy_dtype(input) == BOOL else input
    return apply2(MUL, x, x)


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """Return the larger of the two, NaN if either is."""
    return binary(primitive("maximum"), _tensor(input, "maximum"), _tensor(other, "maximum"))


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """Return the smaller of the two, NaN if either is."""
    return binary(primitive("minimum"), _tensor(input, "minimum"), _tensor(other, "minimum"))


def atan2(input: Tensor, other: Tensor) -> Tensor:
    """Return the angle of the point (other, input)."""
    return binary(primitive("atan2"), input, other, floating=True)


def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """Return log(e^input + e^other)."""
    return binary(primitive("logaddexp"), input, other, floating=True)


def _function(name: str, text: str) -> Callable[[Tensor], Tensor]:
    made_by = primitive(name)

    def function(input: Tensor) -> Tensor:
        value = input._value if isinstance(input, Tensor) else None
        if value is None or value.dtype.kind != "f":
            input = as_float(_tensor(input, name), name)
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


def rsqrt(input: Tensor) -> Tensor:
    """Return 1 / √input."""
    return reciprocal(sqrt(input))


def reciprocal(input: Tensor) -> Tensor:
    """Return 1 / input."""
    x = as_float(input, "reciprocal")
    return apply(DIV, (1.0, x))


def abs(input: Tensor) -> Tensor:
    """Return |input|; the gradient at 0 is 0."""
    return apply1(ABS, only_numeric("abs", input))


def relu(input: Tensor) -> Tensor:
    """Return max(input, 0); the gradient at 0 is 0."""
    return apply1(primitive("relu"), only_numeric("relu", input))


def sign(input: Tensor) -> Tensor:
    """Return -1, 0 or 1."""
    if numpy_dtype(input) == BOOL:
        return clone(input)
    return apply1(primitive("sign"), input)


def _rounding(name: str, text: str) -> Callable[[Tensor], Tensor]:
    made_by = primitive(name)

    def function(input: Tensor) -> Tensor:
        x = only_numeric(name, _tensor(input, name))
        return clone(x) if numpy_dtype(x).kind in "iu" else apply1(made_by, x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Return {text}; the gradient is 0."
    return function


floor = _rounding("floor", "the largest integer not above")
ceil = _rounding("ceil", "the smallest integer not below")
trunc = _rounding("trunc", "the number without its fraction")


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Return the nearest multiple of 10^-decimals, halves to even; the gradient is 0."""
    x = only_numeric("round", input)
    if numpy_dtype(x).kind in "iu":
        return clone(x)
    if decimals == 0:
        return apply1(primitive("round"), x)
    scale = 10.0 ** math.fabs(decimals)
    if decimals > 0:
        return apply1(primitive("round"), x * scale) / scale
    return apply1(primitive("round"), x / scale) * scale


def frac(input: Tensor) -> Tensor:
    """Return the fraction: input - trunc(input)."""
    return input - trunc(input)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Return input limited to [min, max]; the gradient passes at the limits and stops beyond them."""
    if min is None and max is None:
        raise ArgumentError("clamp: got neither min nor max", expected="at least one")
    bounds = [operand(b) for b in (min, max) if b is not None]
    if NotImplemented in [b for b in bounds if not isinstance(b, Tensor)]:
        raise ArgumentTypeError("clamp: a bound is neither a number nor a tensor")
    dtype = common_dtype(input, *bounds)
    x = cast(input, dtype)
    if min is not None:
        low = converted(dtype, operand(min))[0]
        x = _where(logical_or(lt(x, low), isnan_of(low)), low, x)
    if max is not None:
        high = converted(dtype, operand(max))[0]
        x = _where(logical_or(gt(x, high), isnan_of(high)), high, x)
    return x


def isnan_of(x: Any) -> Any:
    """Return where a bound is NaN: a bound that is NaN makes the result NaN."""
    if isinstance(x, Tensor):
        return isnan(x)
    return isinstance(x, float) and math.isnan(x)


def _where(condition: Tensor, a: Any, b: Any) -> Tensor:
    return apply(WHERE, (condition, a, b))


def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """Return input where the condition holds, else other.

    >>> import chainrule as cr
    >>> cr.where(cr.tensor([True, False]), 1.0, 0.0)
    tensor([1., 0.])
    """
    a, b = operand(input), operand(other)
    if a is NotImplemented or b is NotImplemented:
        raise ArgumentTypeError(
            f"where: got {type(input).__name__} and {type(other).__name__}", expected="tensors or numbers"
        )
    if numpy_dtype(condition) != BOOL:
        raise DtypeError(f"where: got a condition of {numpy_dtype(condition)}", expected="bool", fix="compare first")
    dtype = common_dtype(a, b)
    x, y = converted(dtype, a, b)
    if not isinstance(x, Tensor) and not isinstance(y, Tensor):
        x = Tensor(np.asarray(x, dtype=dtype))
    return apply(WHERE, (condition, x, y))


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
    if isinstance(weight, Tensor):
        return where(abs(weight) < 0.5, input + weight * (end - input), end - (end - input) * (1 - weight))
    return input + weight * (end - input) if weight < 0.5 else end - (end - input) * (1 - weight)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """Return input + value · tensor1 · tensor2."""
    return input + _scaled(tensor1 * tensor2, value)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """Return input + value · tensor1 / tensor2."""
    return input + _scaled(tensor1 / tensor2, value)


def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """Return log(input / (1 - input)); with ``eps``, of the input limited to [eps, 1 - eps]."""
    x = as_float(input, "logit")
    if eps is not None:
        x = clamp(x, eps, 1 - eps)
    return log(x / (1 - x))


def deg2rad(input: Tensor) -> Tensor:
    """Return degrees as radians."""
    return as_float(input, "deg2rad") * (math.pi / 180)


def rad2deg(input: Tensor) -> Tensor:
    """Return radians as degrees."""
    return as_float(input, "rad2deg") * (180 / math.pi)


def hypot(input: Tensor, other: Tensor) -> Tensor:
    """Return √(input² + other²)."""
    return sqrt(input * input + other * other)


def xlogy(input: Any, other: Any) -> Tensor:
    """Return input · log(other), 0 where input is 0 (and other is no NaN)."""
    a, b = operand(input), operand(other)
    x, y = promoted(a, b, floating=True)
    y = y if isinstance(y, Tensor) else Tensor(np.asarray(y, dtype=numpy_dtype(x)))
    x = x if isinstance(x, Tensor) else Tensor(np.asarray(x, dtype=numpy_dtype(y)))
    flat = logical_and(x == 0, logical_not(isnan(y)))
    return where(flat, x * 0.0, x * log(where(flat, 1.0, y)))


def nan_to_num(input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """Return input with NaN and infinities replaced by numbers."""
    if numpy_dtype(input).kind != "f":
        return clone(input)
    limits: Any = np.finfo(numpy_dtype(input))
    x = where(isnan(input), nan, input)
    x = where(input == math.inf, float(limits.max) if posinf is None else posinf, x)
    return where(input == -math.inf, float(limits.min) if neginf is None else neginf, x)


def clone(input: Tensor) -> Tensor:
    """Return a copy; gradients pass through it."""
    return apply(primitive("cast"), (input,), {"dtype": numpy_dtype(input)})


# -- comparisons and logic -------------------------------------------------------------------------------------------


def _comparison(name: str, text: str) -> Callable[[Any, Any], Tensor]:
    made_by = primitive(name)

    def function(input: Any, other: Any) -> Tensor:
        return binary(made_by, input, other)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Return where input {text} other."
    return function


eq = _comparison("eq", "=")
ne = _comparison("ne", "≠")
lt = _comparison("lt", "<")
le = _comparison("le", "≤")
gt = _comparison("gt", ">")
ge = _comparison("ge", "≥")


def _test(name: str, text: str) -> Callable[[Tensor], Tensor]:
    made_by = primitive(name)

    def function(input: Tensor) -> Tensor:
        return apply1(made_by, _tensor(input, name))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Return where input is {text}."
    return function


isnan = _test("isnan", "NaN")
isinf = _test("isinf", "an infinity")
isfinite = _test("isfinite", "neither NaN nor an infinity")


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Return where |input - other| ≤ atol + rtol · |other|."""
    close = logical_or(
        eq(input, other), logical_and(le(abs(input - other), atol + abs(other * rtol)), isfinite(other))
    )
    if equal_nan:
        close = logical_or(close, logical_and(isnan(input), isnan(other)))
    return close


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Return whether all elements are close."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Return whether both have the same shape and elements."""
    return tuple(input.shape) == tuple(other.shape) and bool(eq(input, other).all())


def _truth(x: Any) -> Any:
    x = operand(x)
    if not isinstance(x, Tensor):
        return Tensor(np.asarray(bool(x)))
    return x if numpy_dtype(x) == BOOL else cast(x, BOOL)


def logical_and(input: Any, other: Any) -> Tensor:
    """Return where both are true (not 0)."""
    return apply(primitive("bitwise_and"), (_truth(input), _truth(other)))


def logical_or(input: Any, other: Any) -> Tensor:
    """Return where either is true (not 0)."""
    return apply(primitive("bitwise_or"), (_truth(input), _truth(other)))


def logical_xor(input: Any, other: Any) -> Tensor:
    """Return where exactly one is true (not 0)."""
    return apply(primitive("bitwise_xor"), (_truth(input), _truth(other)))


def logical_not(input: Any) -> Tensor:
    """Return where input is false (0)."""
    return apply(primitive("bitwise_not"), (_truth(input),))


def bitwise_and(input: Any, other: Any) -> Tensor:
    """Return input ∧ other, bit by bit."""
    return binary(primitive("bitwise_and"), input, other)


def bitwise_or(input: Any, other: Any) -> Tensor:
    """Return input ∨ other, bit by bit."""
    return binary(primitive("bitwise_or"), input, other)


def bitwise_xor(input: Any, other: Any) -> Tensor:
    """Return input ⊕ other, bit by bit."""
    return binary(primitive("bitwise_xor"), input, other)


def bitwise_not(input: Tensor) -> Tensor:
    """Return every bit turned."""
    return apply1(primitive("bitwise_not"), input)


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
    "__invert__": bitwise_not,
    "__and__": _operator(bitwise_and),
    "__rand__": _operator(bitwise_and, swapped=True),
    "__or__": _operator(bitwise_or),
    "__ror__": _operator(bitwise_or, swapped=True),
    "__xor__": _operator(bitwise_xor),
    "__rxor__": _operator(bitwise_xor, swapped=True),
    "__eq__": _operator(eq),
    "__ne__": _operator(ne),
    "__lt__": _operator(lt),
    "__le__": _operator(le),
    "__gt__": _operator(gt),
    "__ge__": _operator(ge),
}

FUNCTIONS = (
    add, sub, rsub, mul, div, floor_divide, remainder, fmod, neg, positive, pow, float_power, square, maximum, minimum,
    atan2, logaddexp, exp, exp2, expm1, log, log2, log10, log1p, sqrt, sin, cos, tan, asin, acos, atan, sinh, cosh,
    tanh, asinh, acosh, atanh, sigmoid, rsqrt, reciprocal, abs, relu, sign, floor, ceil, trunc, round, frac, clamp,
    clip, clamp_min, clamp_max, lerp, addcmul, addcdiv, logit, deg2rad, rad2deg, hypot, xlogy, nan_to_num, clone,
    eq, ne, lt, le, gt, ge, isnan, isinf, isfinite, isclose, allclose, equal, logical_and, logical_or, logical_xor,
    logical_not, bitwise_and, bitwise_or, bitwise_xor, bitwise_not,
)  # fmt: skip

ALIASES = {
    "subtract": sub, "multiply": mul, "divide": div, "true_divide": div, "negative": neg, "absolute": abs,
    "arcsin": asin, "arccos": acos, "arctan": atan, "arctan2": atan2, "arcsinh": asinh, "arccosh": acosh,
    "arctanh": atanh, "fix": trunc, "greater": gt, "greater_equal": ge, "less": lt, "less_equal": le, "not_equal": ne,
}  # fmt: skip

IN_PLACE = (
    add, sub, mul, div, floor_divide, remainder, fmod, neg, pow, square, exp, exp2, expm1, log, log2, log10, log1p,
    sqrt, sin, cos, tan, asin, acos, atan, sinh, cosh, tanh, sigmoid, rsqrt, reciprocal, abs, relu, sign, floor, ceil,
    trunc, round, frac, clamp, clip, clamp_min, clamp_max, lerp, addcmul, addcdiv, logical_and, logical_or, logical_xor,
    logical_not, bitwise_and, bitwise_or, bitwise_xor, bitwise_not, nan_to_num,
)  # fmt: skip
