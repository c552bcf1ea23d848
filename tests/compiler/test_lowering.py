"""Every primitive's native code beside its meaning: over all samples, with first and second derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule.backward import chain_rule
from chainrule.graph import Graph, Node, Recording, constant, graph_input, primitives, recording
from chainrule.run.native import NativeProgram
from chainrule.run.program import Program
from tests.ops.samples import SAMPLES
from tests.ops.test_samples import OURS, in_all_dtypes, is_floating, numbers_like
from tests.tolerances import assert_close


def recorded(name: str, order: int) -> tuple[Graph, list[Any]]:
    """Return one graph of all samples of a primitive, or of its gradients of an order, and the values of its inputs."""
    inputs: list[Node] = []
    outputs: list[Node] = []
    values: list[Any] = []
    recorder = Recording()
    with recording(recorder):
        for sample in in_all_dtypes(name):
            nodes = []
            for x in sample.inputs:
                node = graph_input(f"x{len(inputs)}", x.shape, x.dtype, requires_grad=is_floating(x) and order > 0)
                nodes.append(node)
                inputs.append(node)
                values.append(x)
            y = recorder.apply(primitives()[name], tuple(nodes), sample.attributes)
            if order == 0:
                outputs.append(y)
                continue
            if not y.requires_grad:
                continue
            wanted = [x for x in nodes if x.requires_grad]
            roots = [y]
            for k in range(order):
                seeds = [constant(numbers_like(np.empty(r.shape, r.dtype), k + j)) for j, r in enumerate(roots)]
                found = chain_rule(roots, seeds, wanted)
                roots = [g for x in wanted if (g := found.get(x)) is not None]
                if k + 1 < order:
                    roots = [r for r in roots if r.requires_grad]
            outputs += roots
    return Graph(inputs, outputs, name), values


def check(name: str, order: int) -> None:
    graph, values = recorded(name, order)
    if not graph.outputs:
        return
    program = NativeProgram(graph)
    with np.errstate(all="ignore"):
        expected = Program(graph).run(values)
        found = program.run(values)
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        try:
            assert_close(a, b, length=10)
        except AssertionError as error:
            raise AssertionError(f"{name}, order {order}, output {k}: {error}") from None


@pytest.mark.parametrize("name", SAMPLES)
def test_native_code_gives_what_the_primitive_means(name: str) -> None:
    check(name, 0)


@pytest.mark.parametrize("name", [name for name in SAMPLES if OURS[name].differentiable])
def test_native_gradients_are_those_of_the_interpreter(name: str) -> None:
    check(name, 1)


@pytest.mark.parametrize("name", [name for name in SAMPLES if OURS[name].differentiable])
def test_native_gradients_of_gradients_are_those_of_the_interpreter(name: str) -> None:
    check(name, 2)
