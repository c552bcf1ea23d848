"""The interpreter: one operation at a time gives arrays, silently where the mathematics is infinite, with errors that explain."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, DtypeError, GradientError, ShapeError
from chainrule.graph import op, primitive, recording
from chainrule.run import Evaluating, evaluate, explain, number, value_node


def run(name: str, *values: Any, **attributes: Any) -> Any:
    return evaluate(primitive(name), values, attributes)


@pytest.mark.parametrize(
    ("name", "values", "attributes"),
    [
        ("add", (np.array(1.0), np.array(2.0)), {}),
        ("sum", (np.ones(3),), {"axes": (0,)}),
        ("amax", (np.ones(3),), {"axes": (0,)}),
        ("argmax", (np.ones(3),), {"axis": 0}),
        ("prod", (np.ones(3),), {"axis": 0}),
        ("eq", (np.array(1.0), np.array(1.0)), {}),
        ("contract", (np.ones(3), np.ones(3)), {"batch": ((), ()), "contracted": ((0,), (0,))}),
        ("slice", (np.array(1.0),), {"starts": (), "stops": (), "steps": ()}),
        ("take", (np.ones(3), np.array(1)), {"axes": (0,)}),
    ],
)
def test_a_result_without_axes_is_an_array(name: str, values: Any, attributes: Any) -> None:
    out = run(name, *values, **attributes)
    assert type(out) is np.ndarray
    assert out.shape == ()


def test_numbers_beside_arrays_do_not_widen_them() -> None:
    assert run("mul", np.ones(2, np.float32), 0.1).dtype == np.float32


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("log", [0.0, -1.0], [-np.inf, np.nan]),
        ("exp", [1e6], [np.inf]),
        ("sqrt", [-1.0], [np.nan]),
        ("sigmoid", [-1e6, 1e6], [0.0, 1.0]),
    ],
)
def test_infinities_and_nan_appear_silently(name: str, x: list[float], expected: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # even where the user made warnings into errors
        np.testing.assert_array_equal(run(name, np.array(x)), expected)
        np.testing.assert_array_equal(getattr(cr, name)(cr.tensor(x)), np.array(expected, np.float32))
        leaf = cr.tensor(x, requires_grad=True)
        getattr(cr, name)(leaf).sum().backward()


def test_the_users_own_warnings_stay_as_they_are() -> None:
    code = (
        "import warnings, numpy as np, chainrule as cr\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    cr.log(cr.zeros(1))\n"
        "    before = len(caught)\n"
        "    np.log(np.zeros(1))\n"
        "print(len(caught) - before, np.geterr()['divide'])\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["1", "warn"]


def test_the_shape_rule_explains_what_numpy_refuses() -> None:
    with pytest.raises(ShapeError, match=r"add: the shapes \(2,\) and \(3,\) do not fit together"):
        run("add", np.ones(2), np.ones(3))
    with pytest.raises(ShapeError, match="the contracted axis has 3 elements"):
        run("contract", np.ones((2, 3)), np.ones((4, 2)), batch=((), ()), contracted=((1,), (0,)))
    with pytest.raises(ShapeError, match="reshape: 6 elements"):
        run("reshape", np.ones(6), shape=(4,))


def test_what_no_rule_explains_names_the_operation() -> None:
    with pytest.raises(ShapeError, match="permute: "):
        run("permute", np.ones((2, 3)), axes=(0, 0))


def test_an_error_of_our_own_is_passed_on() -> None:
    with pytest.raises(ArgumentError, match="floor_divide: an integer is divided by 0"):
        run("floor_divide", np.array([1]), np.array([0]))


def test_explain_takes_numbers_for_the_dtype_beside_them() -> None:
    explain(primitive("add"), (np.ones(2, np.float32), 2.0), {})
    with pytest.raises(DtypeError, match="float32 and float64"):
        explain(primitive("add"), (np.ones(2, np.float32), np.ones(2)), {})


# -- the recorder of eager mode --------------------------------------------------------------------------------------------


def wanting(value: Any) -> Any:
    node = value_node(np.asarray(value, np.float64))
    node.requires_grad = True
    return node


def test_without_recording_a_node_is_its_value() -> None:
    with recording(Evaluating(record=False)):
        y = op.exp(wanting([0.0, 1.0]))
    assert (y.primitive, y.inputs, y.requires_grad) == (None, (), False)
    np.testing.assert_array_equal(y.value, np.exp([0.0, 1.0]))


def test_with_recording_a_node_keeps_its_inputs_if_a_gradient_is_wanted() -> None:
    x, k = wanting(2.0), value_node(np.array(3.0))
    with recording(Evaluating(record=True)):
        y, constant, whole = x * k, k * k, op.eq(x, 2.0)
    assert (y.primitive, y.inputs, y.requires_grad) == (primitive("mul"), (x, k), True)
    assert (constant.primitive, constant.requires_grad) == (None, False)
    assert (whole.primitive, whole.requires_grad) == (None, False), "a truth value has no gradient"


def test_a_number_becomes_a_leaf_in_the_dtype_of_the_result() -> None:
    x = value_node(np.ones(2, np.float32))
    x.requires_grad = True
    with recording(Evaluating(record=True)):
        y = x * 0.1
    assert y.inputs[1].value.dtype == y.dtype == np.float32
    assert number(2, np.dtype(np.float32)).value.dtype == np.float32


def test_a_value_that_was_not_kept_is_named() -> None:
    x = wanting(2.0)
    x.value = None
    with (
        recording(Evaluating(record=False)),
        pytest.raises(GradientError, match=r"exp: a rule reads the value of <leaf"),
    ):
        op.exp(x)


def test_an_operation_inside_a_rule_explains_its_error_too() -> None:
    with recording(Evaluating(record=True)), pytest.raises(ShapeError, match=r"add: the shapes \(2,\) and \(3,\)"):
        wanting([1, 2]) + wanting([1, 2, 3])
