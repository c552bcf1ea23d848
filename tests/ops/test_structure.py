"""Inputs, constants and sizes hold a graph together; ``get`` takes one of several outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from chainrule.backward import chain_rule
from chainrule.errors import VerifyError
from chainrule.graph import Node, Primitive, Spec, op, primitive, recording
from chainrule.graph.primitive import _registry
from chainrule.run import Evaluating, evaluate, value_node

F64 = np.dtype(np.float64)


@pytest.fixture
def two_outputs() -> Iterator[None]:
    """An operation y₀ = 2 x, y₁ = 3 x."""

    def shape(self: Primitive, x: Any) -> tuple[Spec, ...]:
        return Spec(x.shape, x.dtype), Spec(x.shape, x.dtype)

    def compute(self: Primitive, x: Any) -> tuple[Any, ...]:
        return 2 * x, 3 * x

    def vjp(self: Primitive, g: list[Node | None], y: Node, x: Node, *, need: Any) -> Node:
        parts = [part * factor for part, factor in zip(g, (2, 3), strict=True) if part is not None]
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    before = dict(_registry)
    rules = {"name": "both", "reads": ("",), "outputs": 2, "shape": shape, "evaluate": compute, "vjp": vjp}
    type("Both", (Primitive,), rules)
    yield
    _registry.clear()
    _registry.update(before)


def test_an_input_has_the_shape_it_was_declared_with_and_no_value_of_its_own() -> None:
    attributes = {"name": "x", "shape": (2, 3), "dtype": F64}
    assert primitive("input").shape(**attributes) == ((2, 3), F64)
    with pytest.raises(VerifyError, match="the input 'x' was given no value"):
        evaluate(primitive("input"), (), attributes)


def test_a_constant_is_its_nodes_value() -> None:
    for rule in (primitive("constant").shape, primitive("constant").evaluate):
        with pytest.raises(VerifyError, match="constant"):
            rule()


def test_a_size_is_a_number_as_an_array() -> None:
    y = evaluate(primitive("size"), (), {"size": 7, "dtype": F64})
    assert (y.tolist(), y.shape, y.dtype) == (7.0, (), F64)


@pytest.mark.usefixtures("two_outputs")
@pytest.mark.parametrize(("used", "slope"), [((0,), 2), ((1,), 3), ((0, 1), 5), ((1, 1), 6)])
def test_gradients_of_several_outputs_are_collected_for_one_call_of_the_rule(used: tuple[int, ...], slope: int) -> None:
    with recording(Evaluating(record=True)):
        x = value_node(np.asarray([1.0, 2.0]))
        x.requires_grad = True
        several = getattr(op, "both")(x)  # noqa: B009 - the name is registered by this test
        parts = [op.get(several, index=index) for index in used]
        y = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        found = chain_rule([y], [value_node(np.ones(2))], [x])
    assert found[x].value.tolist() == [slope, slope]
    assert primitive("get").shape(several, index=1) == ((2,), F64)
