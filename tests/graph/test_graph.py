"""Graphs: their order, their text, what every one must keep, and the recorder that writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule.errors import GradientError, VerifyError
from chainrule.graph import (
    Graph,
    Node,
    Recording,
    apply,
    constant,
    graph_input,
    op,
    recording,
    show,
    verify,
)
from chainrule.graph.sizes import symbol
from chainrule.run import Evaluating, value_node

F32 = np.dtype(np.float32)


def small_graph() -> Graph:
    x = graph_input("x", (symbol("n"), 3), F32)
    w = graph_input("w", (2, 3), F32)
    with recording(Recording()):
        y = op.tanh(op.contract(x, w, batch=((), ()), contracted=((1,), (1,))) * 2)
        return Graph([x, w], [op.sum(y, axes=(0, 1))], "small")


def test_nodes_come_after_what_they_read_and_only_those_that_are_needed() -> None:
    x = graph_input("x", (2,), F32)
    with recording(Recording()):
        a = x + 1
        dead = op.exp(a)
        b = a * a
        c = b - a
    graph = Graph([x], [c])
    assert [node.primitive.name for node in graph if node.primitive] == ["constant", "add", "mul", "sub"]
    assert dead not in graph.nodes
    assert repr(graph) == "<Graph graph: 1 inputs, 4 nodes, 1 outputs>"


def test_a_chain_of_100000_operations_is_put_in_order() -> None:
    node = x = graph_input("x", (), F32)
    with recording(Recording()):
        for _ in range(100_000):
            node = op.neg(node)
    graph = Graph([x], [node])
    assert len(graph.nodes) == 100_000
    assert graph.nodes[-1] is node
    verify(graph)


def test_a_graph_prints_a_line_for_each_node() -> None:
    assert show(small_graph()).splitlines() == [
        "graph small:",
        "  %0 float32[n, 3] = input x",
        "  %1 float32[2, 3] = input w",
        "  %2 float32[n, 2] = contract(%0, %1, batch=((), ()), contracted=((1,), (1,)))",
        "  %3 float32[] = constant 2.0",
        "  %4 float32[n, 2] = mul(%2, %3)",
        "  %5 float32[n, 2] = tanh(%4)",
        "  %6 float32[] = sum(%5, axes=(0, 1))",
        "  return %6",
    ]


def test_a_long_constant_is_printed_by_its_range_and_a_label_is_a_comment() -> None:
    recorder = Recording()
    recorder.label = "layer 1 (Linear)"
    with recording(recorder):
        node = op.neg(constant(np.arange(12.0, dtype=F32)))
    text = show(Graph([], [node]))
    assert "%0 float32[12] = constant <12 values from 0 to 11>" in text
    assert "%1 float32[12] = neg(%0)  # layer 1 (Linear)" in text


def test_numbers_become_constants_of_the_dtype_beside_them_once_each() -> None:
    x = graph_input("x", (2,), F32)
    with recording(Recording()):
        a, b, c = x * 0.0, x * 0.0, x * -0.0
    assert a.inputs is not None
    assert b.inputs is not None
    assert c.inputs is not None
    assert a.inputs[1] is b.inputs[1]
    assert a.inputs[1] is not c.inputs[1]  # 0.0 and -0.0 are equal and differ
    assert a.inputs[1].dtype == F32


def test_a_symbolic_size_becomes_a_node_that_knows_it() -> None:
    n = symbol("n")
    x = graph_input("x", (n,), F32)
    with recording(Recording()):
        y = x / n
    assert y.inputs is not None
    size = y.inputs[1]
    assert size.primitive is not None
    assert (size.primitive.name, size.attributes["size"], size.shape) == ("size", n, ())


def test_gradients_are_wanted_above_inputs_that_want_them_unless_the_recorder_keeps_none() -> None:
    x, w = graph_input("x", (2,), F32), graph_input("w", (2,), F32, requires_grad=True)
    recorder = Recording()
    with recording(recorder):
        assert (x * w).requires_grad
        assert not (x * x).requires_grad
        assert not op.lt(x, w).requires_grad
        assert not op.cast(w, dtype=np.dtype(np.int64)).requires_grad
        recorder.keeps_gradients = False
        assert not (x * w).requires_grad


def test_without_a_recorder_operations_say_what_is_missing() -> None:
    x = graph_input("x", (2,), F32)
    with pytest.raises(GradientError, match="no recorder is listening"):
        apply("neg", x)
    with recording(Evaluating(record=False)):
        assert apply("neg", value_node(np.ones(2))).value.tolist() == [-1, -1]


def test_operators_on_nodes_are_operations() -> None:
    x = value_node(np.asarray([1.0, 4.0]))
    with recording(Evaluating(record=False)):
        results = [x + 1, 1 + x, x - 1, 1 - x, x * 2, 2 * x, x / 2, 4 / x, x**2, -x]
    assert [node.value.tolist() for node in results] == [
        [2, 5], [2, 5], [0, 3], [0, -3], [2, 8], [2, 8], [0.5, 2], [4, 1], [1, 16], [-1, -4],
    ]  # fmt: skip


def broken(change: Any) -> Graph:
    graph = small_graph()
    change(graph)
    return graph


def test_a_sound_graph_is_verified() -> None:
    verify(small_graph())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: setattr(g.nodes[2], "shape", (3, 3)), "it says float32.*expected float32"),
        (lambda g: setattr(g.nodes[2], "dtype", np.dtype(np.float64)), "it says float64"),
        (lambda g: setattr(g, "nodes", g.nodes[::-1]), "comes later or not at all"),
        (lambda g: setattr(g, "nodes", g.nodes + g.nodes[-1:]), "it stands twice"),
        (lambda g: setattr(g, "nodes", g.nodes[:-1]), "is computed nowhere"),
        (lambda g: setattr(g.nodes[2], "primitive", None), "a leaf of eager mode inside a graph"),
        (lambda g: g.nodes[2].free(), "was freed"),
        (lambda g: setattr(g.nodes[2], "primitive", type(g.nodes[2].primitive)()), "not the registered one"),
    ],
)
def test_a_broken_graph_is_refused(change: Any, message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        verify(broken(change))


def test_nodes_have_a_short_text_and_their_shape_and_dtype() -> None:
    x = graph_input("x", (2, 3), F32)
    assert repr(x) == "<input float32[2, 3]>"
    assert repr(Node(None, (), {}, (2,), F32, False)) == "<leaf float32[2]>"
    assert x.spec == ((2, 3), F32)
    assert x.ndim == 2
