"""How close is close enough: one table for every comparison, written down before the results were seen.

Two numbers per dtype. `a` is close to `b` where |a - b| <= relative * max|b| + absolute, with the maximum over the finite
elements of the whole array: an element that is small because large terms cancelled carries the rounding of those terms.
Integers and booleans are equal or wrong. NaN equals NaN, an infinity equals one of the same sign, and shape and dtype
belong to the result.

>>> assert_close(np.float32([1.0, 2.0]), np.float32([1.0, 2.000001]))
>>> assert_close(np.float32([1.0, 2.0]), np.float32([1.0, 2.1]))
Traceback (most recent call last):
    ...
AssertionError: 1 of 2 elements are not close (float32, shape (2,)):
  worst at [1]: actual 2.0, expected 2.1, difference 0.1 > allowed 9.01e-06
  allowed = 3.81e-06 * max|expected| (2.1) + 1e-06
>>> assert_close(np.float64([1.0, np.nan, -np.inf]), np.float64([1.0, np.nan, np.inf]))
Traceback (most recent call last):
    ...
AssertionError: 1 of 3 elements are not close (float64, shape (3,)):
  worst at [2]: actual -inf, expected inf
  NaN equals NaN, and an infinity one of the same sign
>>> assert_close(np.int64([1, 2]), np.int32([1, 2]))
Traceback (most recent call last):
    ...
AssertionError: the dtype is int64, expected int32 (shape (2,))
>>> assert_close(np.zeros((2, 1)), np.zeros(2))
Traceback (most recent call last):
    ...
AssertionError: the shape is (2, 1), expected (2,)
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Tolerance(NamedTuple):
    """|a - b| <= relative * max|b| + absolute."""

    relative: float
    absolute: float


EXACT = Tolerance(0.0, 0.0)

# Half a million roundings of room: a wrong formula is off by far more, another order of sums by far less.
FLOAT64 = Tolerance(1e-10, 1e-12)

# 32 roundings (32 * 1.19e-7 = 3.8e-6): a function such as exp or tanh may be wrong in its last 4 places in each of two
# libraries, and what is compared chains about four of them. A sum of n terms in another order adds roundings of random
# sign, which grow like sqrt(n); hence sqrt(length). The absolute part is 8 roundings of numbers around 1.
FLOAT32 = Tolerance(32 * 2.0**-23, 1e-6)

# Central differences in float64, step h about 6e-6 (the cube root of the rounding): the error of the formula is about h**2
# times the third derivative, that of rounding about 1e-16 / h times the value. The absolute part is for derivatives that
# are 0. A difference of gradients is further from its limit: gradients bend more than values.
DIFFERENCES_OF_VALUES = Tolerance(1e-6, 1e-9)
DIFFERENCES_OF_GRADIENTS = Tolerance(1e-5, 1e-8)


def tolerance_for(dtype: npt.DTypeLike, *, length: int = 1) -> Tolerance:
    """Return the table's line for a dtype; `length` is the number of terms in the longest sum behind an element.

    >>> tolerance_for(np.int64)
    Tolerance(relative=0.0, absolute=0.0)
    >>> tolerance_for(np.float32, length=100).relative / tolerance_for(np.float32).relative
    10.0
    """
    dtype = np.dtype(dtype)
    if dtype.kind in "biu":
        return EXACT
    if dtype == np.float64:
        return FLOAT64
    if dtype == np.float32:
        return Tolerance(*(part * math.sqrt(max(length, 1)) for part in FLOAT32))
    raise TypeError(f"tests/tolerances.py has no line for {dtype}")


def as_array(value: Any) -> npt.NDArray[Any]:
    """Return the values of an array, a number or a list, or of a tensor of ours or of PyTorch's."""
    return np.asarray(value.detach() if hasattr(value, "detach") else value)


def assert_close(actual: Any, expected: Any, *, length: int = 1, tolerance: Tolerance | None = None) -> None:
    """Fail, readably, unless two arrays have the same shape and dtype, and values as close as the table says.

    `length` is the number of terms in the longest sum behind an element (the batch, for a mean's gradient). `tolerance`
    replaces the line of the dtype for comparisons with differences, DIFFERENCES_OF_VALUES and DIFFERENCES_OF_GRADIENTS.
    Plain numbers and lists as `expected` have no dtype of their own, and take that of `actual`.
    """
    a = as_array(actual)
    b = as_array(expected)
    if isinstance(expected, (bool, int, float, list, tuple)) and np.can_cast(b.dtype, a.dtype, "same_kind"):
        b = b.astype(a.dtype)
    if a.shape != b.shape:
        raise AssertionError(f"the shape is {a.shape}, expected {b.shape}")
    if a.dtype != b.dtype:
        raise AssertionError(f"the dtype is {a.dtype}, expected {b.dtype} (shape {a.shape})")
    if a.size == 0:
        return
    rule = tolerance or tolerance_for(a.dtype, length=length)

    if rule == EXACT:
        far = a != b
        if far.any():
            at = tuple(int(i) for i in np.argwhere(far)[0])
            raise AssertionError(
                f"{far.sum()} of {a.size} elements are not equal ({a.dtype}, shape {a.shape}):\n"
                f"  first at {list(at)}: actual {a[at]!s}, expected {b[at]!s}"
            )
        return

    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(wide_a) & np.isfinite(wide_b)
    same = (wide_a == wide_b) | (np.isnan(wide_a) & np.isnan(wide_b))
    largest = float(np.abs(wide_b[np.isfinite(wide_b)]).max(initial=0.0))
    allowed = rule.relative * largest + rule.absolute
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.where(same, 0.0, np.where(finite, np.abs(wide_a - wide_b), np.inf))
    far = difference > allowed
    if not far.any():
        return
    at = tuple(int(i) for i in np.unravel_index(np.argmax(difference), difference.shape))
    message = (
        f"{far.sum()} of {a.size} elements are not close ({a.dtype}, shape {a.shape}):\n"
        f"  worst at {list(at)}: actual {a[at]!s}, expected {b[at]!s}"
    )
    if finite[at]:
        message += (
            f", difference {difference[at]:.3g} > allowed {allowed:.3g}\n"
            f"  allowed = {rule.relative:.3g} * max|expected| ({largest:.3g}) + {rule.absolute:.3g}"
        )
    else:
        message += "\n  NaN equals NaN, and an infinity one of the same sign"
    raise AssertionError(message)
