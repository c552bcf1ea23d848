"""Graphs of a few nodes, native beside interpreted: each holds something that was once computed wrongly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from chainrule.graph import Graph, Node, Recording, graph_input, op, recording
from chainrule.graph.sizes import symbol
from chainrule.run.native import NativeProgram
from chainrule.run.program import Program
from tests.tolerances import assert_close

F32, F64, I64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
N = symbol("n")


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def beside(
    function: Callable[..., Any], *values: Any, in_place: Mapping[int, int] | None = None, batch: int | None = None
) -> NativeProgram:
    """Run a function of nodes natively and interpreted on these arrays; sizes equal to ``batch`` are the symbol n."""
    inputs: list[Node] = []
    for k, x in enumerate(values):
        inputs.append(graph_input(f"x{k}", tuple([N if n == batch else n for n in x.shape]), x.dtype))
    with recording(Recording()):
        found = function(*inputs)
    graph = Graph(inputs, found if isinstance(found, tuple) else (found,))
    sizes = {} if batch is None else {"n": batch}
    native = NativeProgram(graph, in_place)
    ours = native.run([np.array(x) for x in values], sizes)
    theirs = Program(graph, in_place).run([np.array(x) for x in values], sizes)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, length=max([x.size for x in values]))
        if graph.nodes and b.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(a[b == 0]), np.signbit(b[b == 0]))
    return native


def test_the_extreme_along_an_axis_of_size_1_is_an_element() -> None:
    x = numbers(4, 1)
    beside(lambda x: op.softmax(op.amax(x, axes=(1,)), axis=0), x)
    beside(lambda x: (op.argmin(x, axis=1), op.sum(x, axes=(0, 1))), x, batch=4)


def test_a_sum_over_axes_of_size_1_fuses_with_a_sum_over_others() -> None:
    def function(x: Node) -> Node:
        y = op.log_softmax(x, axis=0)
        return op.contract(op.amin(y, axes=(0, 2)), x, batch=((), ()), contracted=((0,), (1,)))

    beside(function, numbers(1, 65, 3))


def test_places_of_axes_that_are_no_neighbours_with_the_last_among_them() -> None:
    rows, columns = np.array([2, 0, -1, 2]), np.array([3, 3, 0, 3])
    base, x = numbers(3, 17, 4), numbers(4, 17, seed=1)
    beside(lambda x, i, j: op.spread(x, i, j, axes=(0, 2), shape=(3, 17, 4)), x, rows, columns)
    beside(lambda base, x, i, j: op.put(base, x, i, j, axes=(0, 2)), base, x, rows, columns)
    beside(lambda base, x, i, j: op.put(base, x, i, j, axes=(2, 0)), base, x, columns, rows)


def test_the_element_picked_of_each_row_keeps_the_sign_of_zero() -> None:
    x = np.where(numbers(20, 20) < 0, np.float32(-0.0), np.float32(0.0))
    x[3] = [np.inf, np.nan] * 10
    labels = np.random.default_rng(0).integers(-20, 20, 20)

    def function(x: Node, labels: Node) -> Node:
        return op.take(x, op.iota(size=x.shape[0], dtype=I64), labels, axes=(0, 1))

    beside(function, x, labels)
    beside(function, x[:, :5], labels % 5)


def test_an_input_is_written_over_only_when_the_sums_of_its_kernel_have_read_it() -> None:
    def function(x: Node, z: Node) -> tuple[Node, ...]:
        scaled = z * op.reshape(x, shape=(33, 1))
        s = op.sum(scaled, axes=(1,))
        centred = scaled - op.reshape(s, shape=(33, 1))
        return s, op.sum(centred * centred, axes=(1,)), s * 2

    for output in range(3):
        beside(function, numbers(33), numbers(33, 1100, seed=1), in_place={output: 0})


@pytest.mark.parametrize("rows", [0, 3])
def test_what_runs_along_one_of_several_folded_loops_has_loops_of_its_own(rows: int) -> None:
    x = numbers(rows, 5, 20)
    beside(lambda x: op.expand(op.sum(x, axes=(0, 1, 2)), shape=(20,)), x)
    beside(lambda x: op.expand(op.sum(x, axes=(0, 2)), shape=(20, 5)), x)


def test_loops_beside_an_axis_without_elements_are_not_gone_through() -> None:
    x = np.zeros((2000, 2000, 2000, 2000, 0, 5), np.float32)  # 10¹³ turns

    def function(x: Node) -> tuple[Node, ...]:
        ends = tuple([op.sum(x, axes=axes) for axes in ((0, 1, 2, 3, 4), (0, 1, 2, 3, 4, 5), (5,))])
        swept = [op.cumsum(x, axis=axis, reverse=False) for axis in (0, 4)]
        sorted_ = [op.argsort(x, axis=axis, descending=False) for axis in (0, 4)]
        return (*ends, *swept, *sorted_, -x, x, op.concat(x, x, axis=0), op.permute(x, axes=(5, 4, 3, 2, 1, 0)) * 2)

    beside(function, x)


@pytest.mark.parametrize("first", [2, 5, 16, 64])
def test_a_product_with_the_batch_as_columns_is_whole_for_more_of_them_than_in_the_first_run(first: int) -> None:
    inputs = [graph_input(name, (N, 4), F32) for name in "ab"]
    with recording(Recording()):
        graph = Graph(inputs, (op.contract(*inputs, batch=((), ()), contracted=((1,), (1,))),))
    program = NativeProgram(graph, None, {"n": first})
    for n in (2, 3, 15, 16, 17, 32, 33, 64):
        a, b = numbers(n, 4), numbers(n, 4, seed=1)
        program.ready({"n": n}).arena[:] = 255
        assert_close(program.run([a, b], {"n": n})[0], a @ b.T, length=4)


def test_a_size_that_no_input_has_is_told_with_the_run() -> None:
    with recording(Recording()):
        seed, draw = graph_input("seed", (), I64), graph_input("draw", (), I64)
        graph = Graph([seed, draw], (op.uniform(seed, draw, offset=0, shape=(N, 3), dtype=F32),))
    native = NativeProgram(graph)
    given = [np.int64(5), np.int64(2)]
    for n in (2, 7):
        ours, theirs = (program.run(given, {"n": n})[0] for program in (native, Program(graph)))
        assert ours.shape == (n, 3)
        np.testing.assert_array_equal(ours, theirs)


def test_a_number_set_into_as_many_rows_as_are_left_needs_no_answer_how_many_they_are() -> None:
    inputs = [graph_input("x", (N - 2, 3), F32), graph_input("value", (1, 3), F32)]
    with recording(Recording()):
        graph = Graph(inputs, (op.set_value(*inputs) * 2,))
    programs = NativeProgram(graph), Program(graph)
    for rows in (0, 1, 5):
        given = [numbers(rows, 3), numbers(1, 3, seed=1)]
        ours, theirs = (program.run(given, {"n": rows + 2})[0] for program in programs)
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(ours, np.repeat(given[1] * 2, rows, axis=0))


LONG_SUMS = [
    ((5, 40), (0,)), ((255, 40), (0,)), ((1025, 40), (0,)), ((4096, 33), (0,)), ((20000, 3), (0,)), ((5000, 17), (0,)),
    ((5000, 2), (0, 1)), ((20000, 10), (0, 1)), ((2, 5000, 3), (1, 2)), ((1025, 3, 5), (0, 2)), ((300, 2, 300), (0, 2)),
    ((100_000,), (0,)), ((7, 4097), (1,)), ((3, 700, 2, 5), (1,)), ((40, 40, 40, 2), (0, 1, 2)), ((21, 48, 4), (0, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "axes"), LONG_SUMS)
@pytest.mark.parametrize("values", ["constant", "uniform"])
def test_a_long_sum_is_off_by_little(shape: tuple[int, ...], axes: tuple[int, ...], values: str) -> None:
    """Added up one after the other, 5,000 times 0.1 are off by 4e-5 of the sum: roundings of equal numbers do not cancel."""
    x = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    if values == "constant":
        x[:] = 0.1
    native = beside(lambda x: op.sum(x, axes=axes), x, batch=shape[0])
    sizes = {"n": shape[0]}
    exact = x.sum(axes, dtype=np.float64)
    for found in (native.run([x], sizes)[0], Program(native.graph).run([x], sizes)[0]):
        assert (np.abs(found - exact) <= 1e-6 * exact).all()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((20_000,), 0), ((5000, 3), 0), ((2, 5000), 1)])
def test_running_sums_are_those_of_double_precision_rounded_once(
    shape: tuple[int, ...], axis: int, reverse: bool
) -> None:
    x = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    native = beside(lambda x: op.cumsum(x, axis=axis, reverse=reverse), x, batch=shape[0])
    sizes = {"n": shape[0]}
    turned = np.flip(x, axis) if reverse else x
    exact = np.cumsum(turned, axis, dtype=np.float64).astype(np.float32)
    for found in (native.run([x], sizes)[0], Program(native.graph).run([x], sizes)[0]):
        np.testing.assert_array_equal(np.flip(found, axis) if reverse else found, exact)


def test_the_gradient_of_a_layer_is_let_go_once_its_weights_are_updated() -> None:
    def arena(depth: int) -> int:
        weights = [numbers(64, 64, seed=k) / 8 for k in range(depth)]

        def step(x: Node, *weights: Node) -> tuple[Node, ...]:
            values = [x]
            for w in weights:
                values.append(op.tanh(product(values[-1], w, (1, 0))))
            gradient, new = values[-1], []
            for w, x, y in zip(weights[::-1], values[-2::-1], values[:0:-1], strict=True):
                gradient = gradient * (1 - y * y)
                new.append(w - product(x, gradient, (0, 0)) * 0.01)
                gradient = product(gradient, w, (1, 1))
            return tuple(new[::-1])

        program = beside(step, numbers(48, 64), *weights, in_place={k: k + 1 for k in range(depth)}, batch=48)
        return program.ready({"n": 48}).arena_size

    activations = 48 * 64 * 4
    assert arena(10) - arena(5) <= 5 * activations * 1.3


def product(a: Node, b: Node, axes: tuple[int, int]) -> Node:
    return op.contract(a, b, batch=((), ()), contracted=((axes[0],), (axes[1],)))
