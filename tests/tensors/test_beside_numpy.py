"""A tensor beside NumPy's arrays and numbers: operators are the tensor's, NumPy's functions say what to write instead."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentTypeError

OPERATORS: list[Callable[[Any, Any], Any]] = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow,
    operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge,
]  # fmt: skip
LEFT = [
    np.array([3.0, 2.0]), np.array([3.0, 2.0], np.float32), np.array([3, 2]), np.array(2.0), np.float64(2),
    np.float32(2), np.int64(2), np.array([[1.0, 2.0], [3.0, 4.0]]),
]  # fmt: skip


@pytest.mark.parametrize("function", OPERATORS)
@pytest.mark.parametrize("left", LEFT, ids=repr)
@pytest.mark.parametrize("right", [[1.0, 2.0], [1, 2]], ids=repr)
def test_an_operator_with_an_array_on_the_left_is_the_tensors_own(
    function: Callable[[Any, Any], Any], left: Any, right: list[Any]
) -> None:
    found = function(left, cr.tensor(right))
    assert isinstance(found, cr.Tensor)
    np.testing.assert_allclose(found.numpy(), function(left, np.array(right)), rtol=1e-6)


def test_an_array_on_the_left_has_a_gradient_beside_it() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    (np.array([3.0, 4.0], np.float32) * x).sum().backward()
    assert x.grad.tolist() == [3.0, 4.0]
    assert (np.float64(2) * x).dtype == cr.float32  # a number of NumPy's is a number
    compiled = cr.compile(lambda x: np.ones(2, np.float32) - x)
    assert compiled(cr.tensor([1.0, 3.0])).tolist() == [0.0, -2.0]


def test_a_function_of_numpy_says_what_to_write() -> None:
    x = cr.ones(2)
    with pytest.raises(ArgumentTypeError, match=r"np.sin: got a tensor.*Write cr.sin\(…\) of .*x.numpy\(\)"):
        np.sin(x)
    with pytest.raises(ArgumentTypeError, match=r"np.add: got a tensor.*Write cr.add"):
        np.add(x, x)
    with pytest.raises(ArgumentTypeError, match=r"np.spacing: got a tensor.*expected arrays. Give it the array, x.nu"):
        np.spacing(x)
    with pytest.raises(ArgumentTypeError, match=r"np.maximum: got a tensor"):
        np.maximum.reduce(x)
    array = np.ones(2)
    with pytest.raises(ArgumentTypeError, match=r"np.add: got a tensor"):
        array += x
