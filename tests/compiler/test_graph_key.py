"""The key of a graph: equal where the code is the same, and never otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.compiler.graph_key import graph_key
from chainrule.graph import Graph, Primitive, Recording, Spec, graph_input, op, recording
from chainrule.graph.graph import constant
from chainrule.graph.sizes import symbol
from chainrule.run.native import NativeProgram
from tests.own_primitives import own_primitives

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
N = symbol("n")


def graph_of(
    function: Callable[..., Any] = lambda x, w: op.tanh(x * 2.0) + w,
    *,
    shape: Any = (N, 3),
    dtype: Any = F32,
    names: tuple[str, str] = ("x", "w"),
    label: str = "",
) -> Graph:
    inputs = [graph_input(names[0], shape, dtype), graph_input(names[1], (3,), dtype)]
    recorder = Recording()
    recorder.label = label
    with recording(recorder):
        found = function(*inputs)
    return Graph(inputs, found if isinstance(found, tuple) else (found,))


def key(graph: Graph, in_place: Any = (), hints: Any = (("n", 8),)) -> bytes:
    found = graph_key(graph, dict(in_place), dict(hints))
    assert found is not None
    return found


def test_names_and_labels_are_not_in_it() -> None:
    assert key(graph_of()) == key(graph_of(names=("rows", "bias"), label="0 (Linear)"))


def with_constant(value: Any) -> Callable[..., Any]:
    array = np.asarray(value, np.float32)
    return lambda x, w: x * op.expand(constant(array), shape=(N, 3)) + w


OTHERS: dict[str, Callable[[], bytes]] = {
    "operation": lambda: key(graph_of(lambda x, w: op.exp(x * 2.0) + w)),
    "number": lambda: key(graph_of(lambda x, w: op.tanh(x * 2.5) + w)),
    "wiring": lambda: key(graph_of(lambda x, w: w + op.tanh(x * 2.0))),
    "outputs": lambda: key(graph_of(lambda x, w: (op.tanh(x * 2.0) + w, w))),
    "dtype": lambda: key(graph_of(dtype=F64)),
    "size": lambda: key(graph_of(shape=(4, 3))),
    "symbolic size": lambda: key(graph_of(shape=(N + 1, 3))),
    "written over": lambda: key(graph_of(), in_place=((0, 0),)),
    "written over another input": lambda: key(graph_of(), in_place=((0, 1),)),
    "size of the first run": lambda: key(graph_of(), hints=(("n", 9),)),
    "attribute": lambda: key(graph_of(lambda x, w: op.sum(x, axes=(0,)) + w)),
    "other attribute": lambda: key(graph_of(lambda x, w: op.sum(op.permute(x, axes=(1, 0)), axes=(1,)) + w)),
    "zero": lambda: key(graph_of(lambda x, w: op.tanh(x * 0.0) + w)),
    "negative zero": lambda: key(graph_of(lambda x, w: op.tanh(x * -0.0) + w)),
    "array": lambda: key(graph_of(with_constant([1.0, 2.0, 3.0]))),
    "other array": lambda: key(graph_of(with_constant([1.0, 2.0, 3.5]))),
    "array of another shape": lambda: key(graph_of(with_constant([[1.0, 2.0, 3.0]]))),
}


def test_whatever_code_follows_from_is_in_it() -> None:
    keys = [key(graph_of()), *[make() for make in OTHERS.values()]]
    assert len(set(keys)) == len(keys)
    assert keys == [key(graph_of()), *[make() for make in OTHERS.values()]]


def test_graphs_that_differ_in_what_they_write_alone_have_code_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    a, b = cr.ones(5), cr.full((5,), 2.0)

    @cr.compile
    def into_a() -> None:
        a.copy_(a + b)

    @cr.compile
    def into_b() -> None:
        b.copy_(a + b)

    into_a()
    assert (a.tolist(), b.tolist()) == ([3.0] * 5, [2.0] * 5)
    into_b()
    assert (a.tolist(), b.tolist()) == ([3.0] * 5, [5.0] * 5)


def test_the_contents_of_a_body_are_in_it() -> None:
    def step_of(momentum: float) -> bytes:
        w = cr.nn.Parameter(cr.zeros(3))
        optimizer = cr.optim.SGD([w], lr=0.1, momentum=momentum)

        @cr.compile
        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = (w * x).sum()
            loss.backward()
            optimizer.step()
            return loss

        step(cr.ones(3))
        return key(step.graph, hints=())

    assert step_of(0.0) == step_of(0.0)
    assert step_of(0.0) != step_of(0.9)


def test_the_same_in_every_process() -> None:
    text = (
        "from tests.compiler.test_graph_key import OTHERS, graph_of, key\n"
        "from chainrule.run.native import NativeProgram\n"
        "import hashlib\n"
        "recipe = NativeProgram(graph_of(), hints={'n': 8}).recipe.to_bytes()\n"
        "print(key(graph_of()).hex(), *[make().hex() for make in OTHERS.values()], hashlib.sha256(recipe).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", text], env={**os.environ, "PYTHONHASHSEED": seed, "CHAINRULE_CACHE": "off"},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }  # fmt: skip
    assert len(found) == 1


def test_a_primitive_of_the_users_own_has_no_key_and_follows_its_rule(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    x = np.arange(6, dtype=np.float32)
    found = []
    for factor in (2.0, 3.0):
        with own_primitives():

            class Scaled(Primitive):
                """y = factor x"""

                name = "scaled"
                elementwise = True

                def shape(self, x: Any) -> Spec:
                    return Spec(x.shape, x.dtype)

                def evaluate(self, x: Any) -> Any:
                    return x * np.float32(factor)  # noqa: B023 - called within this turn

                def vjp(self, g: Any, y: Any, x: Any, *, need: Any) -> Any:
                    return g

                def lower(self, e: Any, x: Any) -> Any:
                    return x * factor  # noqa: B023

            inputs = [graph_input("x", (6,), F32)]
            with recording(Recording()):
                graph = Graph(inputs, (op.scaled(inputs[0]),))
            assert graph_key(graph, {}, {}) is None
            found.append(NativeProgram(graph).run([x])[0])
    np.testing.assert_array_equal(found[0], 2 * x)
    np.testing.assert_array_equal(found[1], 3 * x)
