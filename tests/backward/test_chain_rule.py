"""The sweep: each rule once, after all gradients that arrive are summed; only what is wanted; any order; any depth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from chainrule.backward import chain_rule
from chainrule.errors import GradientError, InPlaceError
from chainrule.graph import Node, Primitive, Spec, Storage, op, primitive, recording
from chainrule.graph.primitive import _registry
from chainrule.run import Evaluating, value_node


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    before = dict(_registry)
    with recording(Evaluating(record=True)):
        yield
    _registry.clear()
    _registry.update(before)


def leaf(*values: float) -> Node:
    node = value_node(np.asarray(values[0] if len(values) == 1 else values, dtype=np.float64))
    node.requires_grad = True
    return node


def seed_of(y: Node) -> Node:
    return value_node(np.ones(y.shape))


def gradient(y: Node, x: Node) -> Node:
    return chain_rule([y], [seed_of(y)], [x])[x]


def counted(name: str, calls: list[Any]) -> None:
    """Register an operation y = 2 x that notes each call of its rule."""

    def shape(self: Primitive, x: Any) -> Spec:
        return Spec(x.shape, x.dtype)

    def evaluate(self: Primitive, x: Any) -> Any:
        return 2 * x

    def vjp(self: Primitive, g: Node, y: Node, x: Node, *, need: Any) -> Node:
        calls.append(g.value.tolist())
        return g * 2

    rules = {"name": name, "reads": ("",), "shape": shape, "evaluate": evaluate, "vjp": vjp}
    type(name.title(), (Primitive,), rules)


def test_a_rule_is_called_once_after_all_gradients_that_arrive_are_summed() -> None:
    calls: list[Any] = []
    counted("twice", calls)
    x = leaf(3.0)
    shared = getattr(op, "twice")(x)  # noqa: B009 - the name is registered by this test
    y = shared * 5 + (shared + shared * shared)
    assert gradient(y, x).value.tolist() == 2 * (5 + 1 + 2 * 6)
    assert calls == [5 + 1 + 12]


def test_sixty_doublings_call_sixty_rules() -> None:
    x = y = leaf(1.0)
    for _ in range(60):
        y = y + y
    assert gradient(y, x).value == 2.0**60


def test_a_chain_of_100000_operations_works() -> None:
    x = y = leaf(1.0)
    for _ in range(100_000):
        y = y + 1
    assert gradient(y, x).value == 1


def test_gradients_exist_to_any_order() -> None:
    x = leaf(0.5)
    y = op.sin(x)
    found = []
    for _ in range(6):
        y = gradient(y, x)
        found.append(float(y.value))
    s, c = math.sin(0.5), math.cos(0.5)
    np.testing.assert_allclose(found, [c, -s, -c, s, c, -s], rtol=1e-12)


def test_only_inputs_that_need_a_gradient_get_one() -> None:
    x, constant = leaf(2.0), value_node(np.asarray(3.0))
    found = chain_rule([x * constant], [value_node(np.ones(()))], [x, constant])
    assert list(found) == [x]
    assert found[x].value == 3


def test_only_the_values_that_the_wanted_gradients_read_are_asked_for() -> None:
    x, w = leaf(2.0), value_node(np.asarray(3.0))
    y = x * w
    x.value = None  # da reads b alone
    assert gradient(y, x).value == 3


def test_a_value_that_is_missing_is_named() -> None:
    x, w = leaf(2.0), leaf(3.0)
    y = x * w
    w.value = None
    with pytest.raises(GradientError, match="was not kept"):
        gradient(y, x)


def test_a_wanted_node_that_no_path_reaches_is_absent() -> None:
    x, other = leaf(2.0), leaf(1.0)
    assert chain_rule([x * x], [value_node(np.ones(()))], [x, other]).keys() == {x}


def test_a_wanted_node_may_lie_between_and_nothing_below_it_is_visited() -> None:
    calls: list[Any] = []
    counted("below", calls)
    x = leaf(3.0)
    middle = getattr(op, "below")(x)  # noqa: B009 - the name is registered by this test
    assert gradient(middle * middle, middle).value == 12
    assert calls == []


def test_several_outputs_are_weighted_by_their_seeds_also_when_one_is_below_another() -> None:
    x = leaf(3.0)
    y = x * x
    z = y * 2
    found = chain_rule([z, y], [value_node(np.asarray(10.0)), value_node(np.asarray(1.0))], [x])
    assert found[x].value == (10 * 2 + 1) * 6
    assert chain_rule([y, y], [value_node(np.asarray(1.0)), value_node(np.asarray(2.0))], [x])[x].value == 18


def test_a_freed_tape_says_so_the_second_time() -> None:
    x = leaf(2.0)
    y = x * x
    chain_rule([y], [seed_of(y)], [x], free=True)
    assert y.inputs is None
    with pytest.raises(GradientError, match=r"backward a second time.*retain_graph=True"):
        chain_rule([y], [seed_of(y)], [x])


def test_a_value_changed_after_it_was_kept_is_refused() -> None:
    x, w = leaf(2.0), leaf(3.0)
    storage = Storage()
    w.keep(w.value, storage)
    y = x * w
    storage.version += 1
    with pytest.raises(InPlaceError, match=r"changed in place.*version 1; version 0 is needed"):
        gradient(y, x)


def test_a_rule_that_gives_too_few_gradients_is_refused_by_name() -> None:
    def shape(self: Primitive, a: Any, b: Any) -> Spec:
        return Spec(a.shape, a.dtype)

    def evaluate(self: Primitive, a: Any, b: Any) -> Any:
        return a + b

    def vjp(self: Primitive, g: Node, y: Node, a: Node, b: Node, *, need: Any) -> Node:
        return g

    rules = {"name": "short", "reads": ("", ""), "shape": shape, "evaluate": evaluate, "vjp": vjp}
    type("Short", (Primitive,), rules)
    x = leaf(1.0)
    y = getattr(op, "short")(x, x)  # noqa: B009 - the name is registered by this test
    with pytest.raises(GradientError, match=r"short: its vjp rule gave 1 gradients; expected .*2"):
        gradient(y, x)


def test_the_hessian_of_a_polynomial_is_exact() -> None:
    x, z = leaf(2.0), leaf(5.0)
    y = x * x * x * z
    first = gradient(y, x)
    assert first.value == 3 * 4 * 5
    assert gradient(first, x).value == 6 * 2 * 5
    assert gradient(first, z).value == 3 * 4
    assert primitive("mul").differentiable
