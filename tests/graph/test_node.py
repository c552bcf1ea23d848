"""A node says what it is, keeps a value as of a version, lets go of it, and reads as mathematics in rules."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from chainrule.errors import GradientError, InPlaceError
from chainrule.graph import Node, Recording, Storage, Storages, graph_input, op, primitive, recording
from chainrule.run import Evaluating, value_node


def leaf(value: Any) -> Node:
    return value_node(np.asarray(value))


def test_a_node_shows_its_operation_its_dtype_and_its_shape() -> None:
    x = graph_input("x", (2, 3), np.dtype(np.float32))
    with recording(Recording()):
        assert repr(x) == "<input float32[2, 3]>"
        assert repr(op.exp(x)) == "<exp float32[2, 3]>"
    assert repr(leaf(1.5)) == "<leaf float64[]>"
    several = Node(primitive("call"), (), {}, ((2,), ()), (x.dtype, x.dtype), False)
    assert repr(several) == "<call>"


def test_shape_and_dtype_come_together() -> None:
    x = leaf([[1.0, 2.0]])
    assert (x.spec.shape, x.spec.dtype, x.ndim) == ((1, 2), np.float64, 2)


def test_nodes_are_equal_only_to_themselves() -> None:
    a, b = leaf(1.0), leaf(1.0)
    assert a != b
    assert len({a, b, a}) == 2


def test_hash_and_repr_of_a_deep_graph_do_not_go_down() -> None:
    with recording(Recording()):
        x = graph_input("x", (), np.dtype(np.float64))
        for _ in range(10 * sys.getrecursionlimit()):
            x = x + x
    assert repr(x) == "<add float64[]>"
    assert isinstance(hash(x), int)


def test_a_value_is_kept_as_of_a_version_of_its_memory() -> None:
    storage = Storage()
    storage.version = 4
    x = leaf(1.0)
    x.keep(np.array(2.0), storage)
    x.check_unchanged()
    storage.version += 1
    with pytest.raises(
        InPlaceError, match=r"shape \(\) .*changed in place.*version 5; version 4 is needed.*Call clone\(\)"
    ):
        x.check_unchanged()


def test_of_several_memories_each_write_counts() -> None:
    parts = [Storage(), Storage()]
    x = leaf(1.0)
    x.keep((np.array(1.0), np.array(2.0)), Storages(parts))
    x.check_unchanged()
    parts[1].version += 1
    with pytest.raises(InPlaceError):
        x.check_unchanged()


def test_a_value_without_a_memory_is_never_changed() -> None:
    x = leaf(1.0)
    x.keep(np.array(2.0), None)
    x.check_unchanged()


def test_a_freed_node_has_let_go_and_says_so() -> None:
    with recording(Evaluating(record=True)):
        x = leaf(1.0)
        x.requires_grad = True
        y = op.exp(x)
    y.keep(y.value, Storage())
    y.check_not_freed()
    y.free()
    assert (y.inputs, y.value, y.storage) == (None, None, None)
    with pytest.raises(GradientError, match=r"second time.*retain_graph=True"):
        y.check_not_freed()


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (lambda a, b: a + b, 8.0), (lambda a, b: a - b, 4.0), (lambda a, b: a * b, 12.0), (lambda a, b: a / b, 3.0),
        (lambda a, b: a**b, 36.0), (lambda a, b: -a, -6.0), (lambda a, b: 1 + a, 7.0), (lambda a, b: a + 1, 7.0),
        (lambda a, b: 1 - a, -5.0), (lambda a, b: a - 1, 5.0), (lambda a, b: 3 * a, 18.0), (lambda a, b: a * 3, 18.0),
        (lambda a, b: 3 / a, 0.5), (lambda a, b: a / 3, 2.0), (lambda a, b: a**2, 36.0),
    ],
)  # fmt: skip
def test_rules_are_written_in_operators(compute: Any, expected: float) -> None:
    with recording(Evaluating(record=False)):
        assert compute(leaf(6.0), leaf(2.0)).value == expected


def test_numbers_beside_float32_stay_float32() -> None:
    with recording(Evaluating(record=False)):
        assert (leaf(np.float32(6.0)) * 2.5).dtype == np.float32
    with recording(Recording()):
        assert (graph_input("x", (3,), np.dtype(np.float32)) * 2.5).dtype == np.float32


def test_without_a_recorder_an_operator_says_what_is_missing() -> None:
    with pytest.raises(
        GradientError, match="mul: no recorder is listening; expected a trace, a backward pass, or `with"
    ):
        leaf(1.0) * 2


def test_recorders_are_a_stack_that_an_error_does_not_leave_behind() -> None:
    with recording(Evaluating(record=False)):
        with pytest.raises(ZeroDivisionError), recording(Recording()):
            raise ZeroDivisionError
        assert (leaf(2.0) * 3).value == 6


def test_an_attribute_may_be_called_name() -> None:
    with recording(Recording()):
        made = op.input(name="x", shape=(), dtype=np.dtype(np.float32))
    assert made.attributes["name"] == "x"
