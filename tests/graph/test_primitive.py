"""The contract: a primitive with a rule missing cannot be, what there is none of is said, and users can add their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import NameUnknown, RuleMissing
from chainrule.graph import Absent, Primitive, Spec, no_gradient, no_lowering, primitive, primitives
from chainrule.graph.primitive import _registry
from chainrule.tensors.apply import apply


@pytest.fixture(autouse=True)
def registry_as_before() -> Iterator[None]:
    before = dict(_registry)
    yield
    _registry.clear()
    _registry.update(before)


@pytest.mark.parametrize("missing", ["shape", "evaluate", "vjp"])
def test_a_class_with_a_rule_missing_is_refused_by_the_name_of_the_rule(missing: str) -> None:
    rules = {rule: no_gradient("tested") for rule in ("shape", "evaluate", "vjp") if rule != missing}
    with pytest.raises(RuleMissing, match=f"'cube' .*the rule '{missing}' is missing.*def {missing}"):
        type("Cube", (Primitive,), {"name": "cube", **rules})
    assert "cube" not in primitives()


def test_a_missing_gradient_says_how_to_say_that_there_is_none() -> None:
    with pytest.raises(RuleMissing, match=r'vjp = no_gradient\("why"\)'):
        type("Cube", (Primitive,), {"name": "cube", "shape": None, "evaluate": None})


@pytest.mark.parametrize("name", [None, "", "two words", 3])
def test_a_name_is_an_identifier(name: Any) -> None:
    with pytest.raises(RuleMissing, match="its name is"):
        type("Cube", (Primitive,), {"name": name, "shape": None, "evaluate": None, "vjp": None})


def test_a_name_is_given_once() -> None:
    with pytest.raises(RuleMissing, match="the name is taken by Mul"):
        type("Other", (Primitive,), {"name": "mul", "shape": None, "evaluate": None, "vjp": None})


def test_none_because_is_said_with_a_reason() -> None:
    absent = no_gradient("it is an integer")
    assert isinstance(absent, Absent)
    assert repr(absent) == "no_gradient('it is an integer')"
    assert repr(no_lowering("the interpreter runs it")) == "no_lowering('the interpreter runs it')"
    for say in (no_gradient, no_lowering):
        with pytest.raises(RuleMissing, match="empty reason"):
            say("")


def test_every_primitive_says_why_it_has_no_gradient_where_it_has_none() -> None:
    without = [p for p in primitives().values() if not p.differentiable]
    assert {"eq", "argmax", "stop", "uniform"} <= {p.name for p in without}
    assert all(isinstance(p.vjp, Absent) and len(p.vjp.reason) > 5 for p in without)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(NameUnknown, match=r"no primitive 'sofmax'.*Did you mean softmax"):
        primitive("sofmax")


def test_what_is_saved_follows_from_the_gradients_that_are_wanted() -> None:
    mul, exp, where, concat = (primitive(name) for name in ("mul", "exp", "where", "concat"))
    assert mul.saves((True, False)) == ((1,), False)  # da reads b
    assert mul.saves((False, True)) == ((0,), False)
    assert mul.saves((True, True)) == ((0, 1), False)
    assert exp.saves((True,)) == ((), True)  # its own result
    assert where.saves((False, True, True)) == ((0,), False)
    assert concat.saves((True, True, True)) == ((), False)


def test_a_primitive_of_ones_own_computes_and_has_gradients_of_any_order() -> None:
    class Cube(Primitive):
        """y = x³"""

        name = "cube"
        reads = ("x",)
        elementwise = True

        def shape(self, x: Any) -> Spec:
            return Spec(x.shape, x.dtype)

        def evaluate(self, x: Any) -> Any:
            return x**3

        def vjp(self, g: Any, y: Any, x: Any, *, need: Any) -> Any:
            return g * (3 * x * x)  # d x³ = 3 x² dx

    assert repr(primitive("cube")) == "<primitive cube>"
    x = cr.tensor([1.0, -2.0], dtype=cr.float64, requires_grad=True)
    y = apply(primitive("cube"), (x,))
    (first,) = cr.autograd.grad(y.sum(), x, create_graph=True)
    (second,) = cr.autograd.grad(first.sum(), x, create_graph=True)
    (third,) = cr.autograd.grad(second.sum(), x)
    assert y.tolist() == [1.0, -8.0]
    assert first.tolist() == [3.0, 12.0]
    assert second.tolist() == [6.0, -12.0]
    assert third.tolist() == [6.0, 6.0]


def test_a_rule_that_reads_a_value_it_did_not_name_is_told_so() -> None:
    class Forgetful(Primitive):
        """y = x², whose rule reads x but does not say so"""

        name = "forgetful"
        reads = ("",)

        def shape(self, x: Any) -> Spec:
            return Spec(x.shape, x.dtype)

        def evaluate(self, x: Any) -> Any:
            return np.square(x)

        def vjp(self, g: Any, y: Any, x: Any, *, need: Any) -> Any:
            return g * x * 2

    x = cr.tensor([3.0], requires_grad=True)
    y = apply(primitive("forgetful"), (x * 1.0,))
    with pytest.raises(cr.errors.GradientError, match=r"not kept.*`reads`"):
        y.sum().backward()


def test_the_registry_handed_out_is_a_copy() -> None:
    primitives().clear()
    assert primitives()
