"""Comparisons, tests, logic and bits, and the choice between two tensors: PyTorch's names and arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.errors import ArgumentError, ArgumentTypeError, DtypeError
from chainrule.graph import primitive
from chainrule.graph.sizes import same_shape
from chainrule.tensors.apply import apply, apply1, cast, common_dtype, converted
from chainrule.tensors.binary import binary, checked, operands, zero_dimensional
from chainrule.tensors.dtypes import BOOL, default_float
from chainrule.tensors.tensor import Tensor, numpy_dtype

WHERE, ABS = primitive("where"), primitive("abs")
AND, OR, XOR, NOT = (primitive(f"bitwise_{name}") for name in ("and", "or", "xor", "not"))


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
        return apply1(made_by, checked(input, name))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Return where input is {text}."
    return function


isnan = _test("isnan", "NaN")
isinf = _test("isinf", "an infinity")
isfinite = _test("isfinite", "neither NaN nor an infinity")


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Return where |input - other| ≤ atol + rtol · |other|."""
    dtype = numpy_dtype(checked(input, "isclose"))
    if dtype != numpy_dtype(checked(other, "isclose")):
        raise DtypeError(f"isclose: got {dtype} and {numpy_dtype(other)}", expected="one dtype")
    if rtol < 0 or atol < 0:
        raise ArgumentError(f"isclose: got rtol={rtol}, atol={atol}", expected="numbers that are not negative")
    equal = eq(input, other)
    a, b = (input, other) if dtype.kind == "f" else (cast(input, default_float()), cast(other, default_float()))
    near = le(apply1(ABS, a - b), apply1(ABS, b * rtol) + atol)
    close = logical_or(equal, logical_and(near, isfinite(b)))
    return logical_or(close, logical_and(isnan(a), isnan(b))) if equal_nan else close


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Return whether all elements are close."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Return whether both have the same shape and elements."""
    return same_shape(tuple(input.shape), tuple(other.shape)) and bool(eq(input, other).all())


def where(condition: Tensor, input: Any = None, other: Any = None) -> Tensor:
    """Return input where the condition holds, else other.

    >>> import chainrule as cr
    >>> cr.where(cr.tensor([True, False]), 1.0, 0.0)
    tensor([1., 0.])
    """
    if input is None or other is None:
        raise ArgumentTypeError("where: got a condition alone", fix="use nonzero(condition, as_tuple=True)")
    if numpy_dtype(checked(condition, "where")) != BOOL:
        raise DtypeError(f"where: got a condition of {numpy_dtype(condition)}", expected="bool", fix="compare first")
    _, a, b = operands("where", condition, input, other)
    dtype = common_dtype(a, b)
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        a = zero_dimensional(a, dtype)
    return apply(WHERE, (condition, *converted(dtype, a, b)))


# -- logic and bits ------------------------------------------------------------------------------------------------------


def _truth(x: Any) -> Tensor:
    return checked(x, "logic") if numpy_dtype(checked(x, "logic")) == BOOL else cast(x, BOOL)


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Return where both are true (not 0)."""
    return apply(AND, (_truth(input), _truth(other)))


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Return where either is true (not 0)."""
    return apply(OR, (_truth(input), _truth(other)))


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Return where exactly one is true (not 0)."""
    return apply(XOR, (_truth(input), _truth(other)))


def logical_not(input: Tensor) -> Tensor:
    """Return where input is false (0)."""
    return apply1(NOT, _truth(input))


def bitwise_and(input: Any, other: Any) -> Tensor:
    """Return input ∧ other, bit by bit."""
    return binary(AND, input, other)


def bitwise_or(input: Any, other: Any) -> Tensor:
    """Return input ∨ other, bit by bit."""
    return binary(OR, input, other)


def bitwise_xor(input: Any, other: Any) -> Tensor:
    """Return input ⊕ other, bit by bit."""
    return binary(XOR, input, other)


def bitwise_not(input: Tensor) -> Tensor:
    """Return every bit turned."""
    if numpy_dtype(checked(input, "bitwise_not")).kind == "f":
        raise DtypeError(f"bitwise_not: got {numpy_dtype(input)}", expected="bool or an integer dtype")
    return apply1(NOT, input)


FUNCTIONS = (
    eq, ne, lt, le, gt, ge, isnan, isinf, isfinite, isclose, allclose, equal, where, logical_and, logical_or,
    logical_xor, logical_not, bitwise_and, bitwise_or, bitwise_xor, bitwise_not,
)  # fmt: skip
ALIASES = {"greater": gt, "greater_equal": ge, "less": lt, "less_equal": le, "not_equal": ne}
IN_PLACE = (
    eq, ne, lt, le, gt, ge, logical_and, logical_or, logical_xor, logical_not, bitwise_and, bitwise_or, bitwise_xor,
    bitwise_not,
)  # fmt: skip
