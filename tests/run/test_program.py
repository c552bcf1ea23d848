"""A graph run as a program: same values as operation by operation, values dropped, outputs of its own, writes in place."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ChainruleError, ShapeError
from chainrule.graph import Graph, Recording, graph_input, op, primitive, recording
from chainrule.graph.sizes import symbol
from chainrule.ops.body import BodyRecording, scalar_input, vector_input
from chainrule.run import Program
from chainrule.run.program import late_calls

F32 = np.dtype(np.float32)
N = symbol("n")


def written(shape: tuple[Any, ...], function: Any, count: int = 1) -> Graph:
    inputs = [graph_input(f"x{k}", shape, F32) for k in range(count)]
    with recording(Recording()):
        outputs = function(*inputs)
    return Graph(inputs, outputs if isinstance(outputs, (list, tuple)) else [outputs])


def body() -> Graph:
    """p ← p - rate g"""
    p, g, rate = vector_input("p", F32), vector_input("g", F32), scalar_input("rate", np.dtype(np.float64))
    with recording(BodyRecording()):
        new = p - rate * g
    return Graph([p, g, rate], [new], "descent")


def update(p: Any, g: Any, rate: Any) -> Any:
    call = op.call(p, g, rate, body=body())
    return op.get(call, index=0)


def test_it_computes_what_the_operations_compute() -> None:
    program = Program(written((3,), lambda x: op.exp(x) * x + 1.0))
    x = np.float32([0, 1, 2])
    assert program.run([x])[0].tobytes() == (np.exp(x) * x + np.float32(1)).tobytes()


def test_a_symbol_takes_the_size_of_each_run() -> None:
    program = Program(written((N, 2), lambda x: op.reshape(x, shape=(2 * N,))))
    for n in (2, 5, 3, 5):
        assert program.run([np.ones((n, 2), np.float32)], {"n": n})[0].shape == (2 * n,)


def test_the_wrong_number_of_arrays_is_refused() -> None:
    with pytest.raises(ShapeError, match="got 2 arrays"):
        Program(written((2,), op.exp)).run([np.ones(2), np.ones(2)])


def test_results_of_no_dimensions_are_arrays() -> None:
    (y,) = Program(written((3,), lambda x: op.sum(x, axes=(0,)))).run([np.ones(3, np.float32)])
    assert type(y) is np.ndarray
    assert y.shape == ()


def test_values_are_dropped_when_nobody_reads_them_any_more() -> None:
    def chain(x: Any) -> Any:
        for _ in range(20):
            x = op.exp(op.neg(x))
        return x

    program = Program(written((250_000,), chain))
    x = np.ones(250_000, np.float32)
    program.run([x])
    tracemalloc.start()
    try:
        program.run([x])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3.5 * x.nbytes  # what an operation reads, what it writes, and one more


def test_outputs_share_memory_with_nothing() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    graph = written(
        (2, 3),
        lambda a: [a, op.permute(a, axes=(1, 0)), op.stop(a), op.exp(a), op.reshape(op.exp(a), shape=(6,)), a],
    )
    y = graph.outputs[3]
    graph = Graph(graph.inputs, [*graph.outputs, y, y])
    outputs = Program(graph).run([x])
    for k, a in enumerate(outputs):
        assert not np.shares_memory(a, x)
        for b in outputs[k + 1 :]:
            assert not np.shares_memory(a, b)


def test_a_constant_that_is_returned_is_a_copy() -> None:
    recorder = Recording()
    held = recorder.constant(np.zeros(3, np.float32))
    program = Program(Graph([], [held]))
    program.run([])[0][...] = 7
    assert program.run([])[0].tolist() == [0, 0, 0]


# -- in place --------------------------------------------------------------------------------------------------------------


def _rate() -> Any:
    return graph_input("rate", (), np.dtype(np.float64))


def step_graph(outputs: Any) -> Graph:
    p, g, rate = graph_input("p", (3,), F32), graph_input("g", (3,), F32), _rate()
    with recording(Recording()):
        return Graph([p, g, rate], outputs(p, g, rate))


def test_a_call_writes_where_its_output_belongs() -> None:
    program = Program(step_graph(lambda p, g, rate: [update(p, g, rate)]), {0: 0})
    p, g = np.ones(3, np.float32), np.float32([1, 2, 3])
    (y,) = program.run([p, g, 0.5])
    assert y is p
    assert p.tolist() == [0.5, 0, -0.5]


def test_without_leave_it_writes_nothing() -> None:
    program = Program(step_graph(lambda p, g, rate: [update(p, g, rate)]))
    p, g = np.ones(3, np.float32), np.ones(3, np.float32)
    (y,) = program.run([p, g, 0.5])
    assert p.tolist() == [1, 1, 1]
    assert y.tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("order", [0, 1])
def test_the_old_value_is_read_before_it_is_overwritten(order: int) -> None:
    def outputs(p: Any, g: Any, rate: Any) -> list[Any]:
        found = [update(p, g, rate), op.exp(p)]
        return found if order == 0 else found[::-1]

    program = Program(step_graph(outputs), {order: 0})
    p = np.ones(3, np.float32)
    values = program.run([p, np.ones(3, np.float32), 0.5])
    assert values[order] is p
    assert values[1 - order].tobytes() == np.exp(np.ones(3, np.float32)).tobytes()


@pytest.mark.parametrize("kept", [lambda p: p, lambda p: op.reshape(p, shape=(3, 1)), lambda p: op.stop(p)])
def test_an_old_value_that_is_returned_is_not_overwritten(kept: Any) -> None:
    program = Program(step_graph(lambda p, g, rate: [kept(p), update(p, g, rate)]), {1: 0})
    p = np.ones(3, np.float32)
    old, new = program.run([p, np.ones(3, np.float32), 0.5])
    assert old.ravel().tolist() == [1, 1, 1]
    assert new is not p
    assert new.tolist() == [0.5, 0.5, 0.5]


def test_a_gradient_that_is_the_parameter_itself_is_no_trouble() -> None:
    program = Program(
        step_graph(lambda p, g, rate: [update(p, op.reshape(p, shape=(3,)), rate)]).without_unused_inputs()
    )
    assert [x.shape for x in program.run([np.ones(3, np.float32), 0.5])] == [(3,)]


def test_the_new_value_that_is_also_returned_is_a_copy() -> None:
    def outputs(p: Any, g: Any, rate: Any) -> list[Any]:
        new = update(p, g, rate)
        return [new, new]

    p = np.ones(3, np.float32)
    first, second = Program(step_graph(outputs), {1: 0}).run([p, np.ones(3, np.float32), 0.5])
    assert second is p
    assert not np.shares_memory(first, p)
    assert first.tolist() == p.tolist()


def test_two_calls_in_a_row_write_the_last_value_in_place() -> None:
    program = Program(step_graph(lambda p, g, rate: [update(update(p, g, rate), g, rate)]), {0: 0})
    p = np.ones(3, np.float32)
    (y,) = program.run([p, np.ones(3, np.float32), 0.25])
    assert y is p
    assert p.tolist() == [0.5, 0.5, 0.5]


def test_calls_come_after_all_that_does_not_depend_on_them() -> None:
    graph = step_graph(lambda p, g, rate: [op.exp(update(p, g, rate)), op.exp(p), op.log(g)])
    names = [node.primitive.name for node in late_calls(graph) if node.primitive is not None]
    assert names.index("call") > max(names.index("log"), names.index("exp"))
    assert names[-1] == "exp"


# -- errors ------------------------------------------------------------------------------------------------------------------


def test_an_operation_that_fails_names_its_place() -> None:
    x = graph_input("x", (3,), F32)
    i = graph_input("i", (2,), np.dtype(np.int64))
    recorder = Recording()
    recorder.label = "encoder.table"
    with recording(recorder):
        y = op.take(x, i, axes=(0,))
    with pytest.raises(ChainruleError, match="encoder.table"):
        Program(Graph([x, i], [y])).run([np.ones(3, np.float32), np.array([0, 9])])


def test_numbers_that_overflow_are_values_not_warnings() -> None:
    (y,) = Program(written((2,), lambda x: op.log(op.exp(x) * 0.0))).run([np.float32([1000, 0])])
    assert np.isnan(y[0])
    assert np.isneginf(y[1])


# -- sharing memory ----------------------------------------------------------------------------------------------------------


def test_what_may_share_memory_is_known() -> None:
    """Run every operation of a few networks and compare: does a result share memory with what it was made from?"""
    found = set()

    class Looking(Program):
        def run(self, inputs: Any, sizes: Any = None) -> list[Any]:
            values: list[Any] = [None] * self.size
            values[: len(inputs)] = inputs
            for slot, value in self.constants:
                values[slot] = value
            for step, evaluate, reads, attributes, _ in self.plan(sizes or {}):
                operands = [values[slot] for slot in reads]
                with np.errstate(all="ignore"):
                    out = np.asarray(evaluate(*operands, **attributes))
                values[step.writes] = out
                if not step.may_share and any(np.shares_memory(out, x) for x in operands):
                    found.add(step.primitive.name)
            return [values[slot] for slot in self.outputs]

    @cr.compile
    def everything(x: Any) -> Any:
        w = cr.ones(3, requires_grad=True)
        y = (x * w).softmax(1).cumsum(0).clamp(0, 1)
        z = cr.cat([y, y.flip(0)]).reshape(-1, 3).sum(0, keepdim=True).expand(4, 3).float().double().float()
        u = x.to(cr.float32) + cr.where(x > 0, x, 0) + x.gather(1, cr.zeros(4, 1, dtype=cr.int64))
        loss = (z * u).var() + y.max(1).values.mean() + cr.stack([y, y]).std() + y.t().matmul(y).diagonal().sum()
        (g,) = cr.autograd.grad(loss, [w])
        return loss, g, x.sort(0).values, x[1:], x.squeeze(), F_one_hot(x)

    everything(cr.ones(4, 3))
    for graph in everything.graphs:
        Looking(graph).run([np.ones((4, 3), np.float32)], {"n": 4})
    assert found == set()


def F_one_hot(x: Any) -> Any:
    return cr.nn.functional.one_hot((x[:, 0] > 0).long(), 3)


def test_primitives_of_gradients_only_take_no_step() -> None:
    program = Program(written((3,), lambda x: op.exp(op.stop(x))))
    assert [step.primitive for step in program.steps] == [primitive("exp")]
