"""The error functions against the C library, against SciPy, and at the special values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import chainrule.ops.special as special
from chainrule.backward import chain_rule
from chainrule.graph import Node, op, primitive, recording
from chainrule.run import Evaluating, value_node
from tests.tolerances import DIFFERENCES_OF_GRADIENTS, DIFFERENCES_OF_VALUES, assert_close

NAMES = ("erf", "erfc", "erfinv")


def computed(name: str, x: Any) -> Any:
    return primitive(name).evaluate(np.asarray(x))


def units(actual: Any, expected: Any) -> Any:
    """Return how far apart, in units of the last place of the expected values."""
    expected = np.asarray(expected, np.float64)
    return np.abs(actual.astype(np.float64) - expected) / np.spacing(np.abs(expected.astype(actual.dtype)))


def exactly(function: Callable[[float], float], x: Any) -> Any:
    return np.array([function(float(value)) for value in x])


def leaf(value: Any) -> Node:
    node = value_node(np.asarray(value))
    node.requires_grad = True
    return node


def test_erf_in_float64_is_right_to_two_units_in_the_last_place() -> None:
    for x in (np.linspace(-6.5, 6.5, 20001), np.logspace(-300, 0, 5000), np.linspace(0.99, 1.01, 2001)):
        assert units(computed("erf", x), exactly(math.erf, x)).max() <= 2


def test_erfc_in_float64_is_right_to_few_units_in_its_whole_tail() -> None:
    x = np.concatenate([np.linspace(-6.5, 26.5, 40001), np.linspace(0.45, 0.55, 2001)])
    y, expected = computed("erfc", x), exactly(math.erfc, x)
    assert units(y, expected).max() <= 7
    assert (np.abs(y - expected) <= 1.2e-15 * expected).all()


def test_erfc_fades_out_through_the_subnormal_numbers() -> None:
    x = np.linspace(26.55, 28.5, 4001)
    assert np.abs(computed("erfc", x) - exactly(math.erfc, x)).max() <= 7 * 5e-324
    assert computed("erfc", np.float64([27.5, 300.0, 1e300])).tolist() == [0.0, 0.0, 0.0]


def test_float32_is_right_to_one_unit_in_the_last_place() -> None:
    for x in (np.linspace(-4.5, 10.5, 30001, dtype=np.float32), np.logspace(-37, 0, 3000, dtype=np.float32)):
        for name, function in (("erf", math.erf), ("erfc", math.erfc)):
            y = computed(name, x)
            assert y.dtype == np.float32
            normal = np.abs(y) >= np.finfo(np.float32).tiny
            assert units(y, exactly(function, x))[normal].max() <= 1


@pytest.mark.parametrize("name", ["erf", "erfc"])
def test_scipy_agrees_on_a_dense_grid(name: str) -> None:
    x = np.linspace(-30, 26, 200_001)
    expected = getattr(scipy.special, name)(x)
    assert (np.abs(computed(name, x) - expected) <= 1e-13 * np.abs(expected)).all()


def test_erfinv_is_scipys_and_undoes_erf() -> None:
    x = np.concatenate([np.linspace(-1, 1, 20001)[1:-1], np.logspace(-300, -1, 2000), 1 - np.logspace(-15.9, -1, 2000)])
    expected = scipy.special.erfinv(x)
    assert (np.abs(computed("erfinv", x) - expected) <= 4e-15 * np.abs(expected)).all()
    assert_close(computed("erf", computed("erfinv", x)), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values_are_those_of_the_definition(dtype: type[np.floating[Any]]) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)
    erf = computed("erf", x)
    np.testing.assert_array_equal(erf, np.array([0, 0, 1, -1, np.nan], dtype))
    assert np.signbit(erf).tolist()[:2] == [False, True]
    np.testing.assert_array_equal(computed("erfc", x), np.array([1, 1, 0, 2, np.nan], dtype))
    ends = np.array([0.0, -0.0, 1, -1, 1.5, np.nan], dtype)
    inverse = computed("erfinv", ends)
    np.testing.assert_array_equal(inverse, np.array([0, 0, np.inf, -np.inf, np.nan, np.nan], dtype))
    assert np.signbit(inverse).tolist()[:2] == [False, True]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_shape_and_memory_order_will_do(name: str, dtype: type[np.floating[Any]]) -> None:
    x = np.linspace(-0.9, 0.9, 3 * special.BLOCK + 5).astype(dtype)
    whole = computed(name, x)
    for shape in ((), (0,), (3, 0, 2), (1, 1)):
        y = computed(name, np.full(shape, x[7], dtype))
        assert isinstance(y, np.ndarray)
        assert (y.shape, y.dtype) == (shape, dtype)
        assert (y == whole[7]).all()
    np.testing.assert_array_equal(computed(name, x[::-2]), whole[::-2])
    square = x[:10_000].reshape(100, 100)
    np.testing.assert_array_equal(computed(name, square.T), whole[:10_000].reshape(100, 100).T)
    before = x.copy()
    computed(name, x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_both_orders_are_those_of_differences(name: str) -> None:
    x = np.linspace(-0.95, 0.95, 41) if name == "erfinv" else np.linspace(-3, 3, 41)
    with recording(Evaluating(record=True)):
        at = leaf(x)
        y = getattr(op, name)(at)
        first = chain_rule([y], [value_node(np.ones_like(x))], [at])[at]
        second = chain_rule([first], [value_node(np.ones_like(x))], [at])[at]
    h = 1e-5

    def slope(z: Any) -> Any:
        with recording(Evaluating(record=True)):
            at = leaf(z)
            return chain_rule([getattr(op, name)(at)], [value_node(np.ones_like(z))], [at])[at].value

    values = (computed(name, x + h) - computed(name, x - h)) / (2 * h)
    assert_close(first.value, values, tolerance=DIFFERENCES_OF_VALUES)
    assert_close(second.value, (slope(x + h) - slope(x - h)) / (2 * h), tolerance=DIFFERENCES_OF_GRADIENTS)
