"""Code for 64-bit ARM, run by an emulator: the bits of the machine at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compiler import target
from chainrule.compiler.pipeline import Compilation
from chainrule.graph import Graph, Node, Recording, graph_input, op, recording
from chainrule.nn import functional as F
from chainrule.run import native as runner
from chainrule.run.native import NativeProgram
from chainrule.run.program import late_calls
from tests.compiler.emulated import STRAIGHT, Commands, Emulated
from tests.compiler.random_graphs import random_case, together

TOGETHER = 8  # random graphs in one compilation

pytestmark = pytest.mark.usefixtures("native")


class Run(NamedTuple):
    """A run on the machine at hand: what was given, and what came out."""

    program: NativeProgram
    inputs: list[Any]
    sizes: dict[str, int]
    outputs: list[Any]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """What native programs are given in this test, and what they return."""
    found: list[Run] = []
    plain = NativeProgram.run

    def run(self: NativeProgram, inputs: Any, sizes: dict[str, int] | None = None) -> list[Any]:
        given = [np.array(x) for x in inputs]
        outputs = plain(self, inputs, sizes)
        found.append(Run(self, given, sizes or {}, [np.array(y) for y in outputs]))
        return outputs

    monkeypatch.setattr(NativeProgram, "run", run)
    return found


def compare(runs: list[Run], commands: Commands, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run everything again for ARM and, where the machine at hand has AVX-512, for AVX2."""
    by_program: dict[NativeProgram, list[Run]] = {}
    for run in runs:
        by_program.setdefault(run.program, []).append(run)
    assert by_program
    for number, (program, its) in enumerate(list(by_program.items())):
        hints = program.compilation.build.hints
        arm = Emulated(commands, folder / f"program{number}", program.graph, program.in_place, hints)
        for run in its:
            same(run.outputs, arm.run(run.inputs, run.sizes), "ARM, linked")
        same(its[-1].outputs, arm.run(its[-1].inputs, its[-1].sizes, threads=3), "ARM, linked, in three threads")
        arm.load(folder / "loader")
        same(its[-1].outputs, arm.run(its[-1].inputs, its[-1].sizes), "ARM, loaded")
        if program.compilation.machine.avx512:
            with monkeypatch.context() as patch:
                patch.setattr(runner, "host", target.avx2)
                lesser = NativeProgram(program.graph, program.in_place, hints)
            for run in its:
                same(run.outputs, lesser.run([np.array(x) for x in run.inputs], run.sizes), "AVX2")


def same(expected: list[Any], found: list[Any], what: str) -> None:
    """Fail unless all bits are the same, or numbers are NaN: the processors make NaNs of different signs."""
    for k, (a, b) in enumerate(zip(expected, found, strict=True)):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), (what, k)
        if a.tobytes() != b.tobytes():
            equal = (a == b) & (np.signbit(a) == np.signbit(b)) if a.dtype.kind == "f" else a == b
            assert (equal | ((a != a) & (b != b))).all(), (
                f"{what}: output {k} differs in {np.sum(~equal)} places:\n{a}\n{b}"
            )


def train(model: nn.Module, optimizer: Any, batches: list[tuple[Any, Any]], clip: float = 0.0) -> Any:
    @cr.compile
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return loss

    for x, y in batches:
        step(cr.tensor(x), cr.tensor(y))
    assert "not native" not in step.report(), step.report()


def test_training_steps_of_a_network(runs, emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cr.manual_seed(0)
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Linear(37, 65), nn.ReLU(), nn.LayerNorm(65), nn.Dropout(0.3), nn.Linear(65, 33), nn.Tanh(), nn.Linear(33, 5)
    )
    batches = [(rng.standard_normal((n, 37)).astype(np.float32), rng.integers(0, 5, n)) for n in (32, 32, 32, 7)]
    train(model, cr.optim.Adam(model.parameters(), lr=0.01), batches)
    compare(runs, Commands(*emulator), tmp_path, monkeypatch)


def test_training_steps_with_an_embedding_and_clipped_gradients(
    runs, emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cr.manual_seed(1)
    rng = np.random.default_rng(1)
    model = nn.Sequential(nn.Embedding(50, 9), nn.Flatten(), nn.Linear(36, 18), nn.GELU(), nn.Linear(18, 3))
    batches = [(rng.integers(0, 50, (n, 4)), rng.integers(0, 3, n)) for n in (17, 17, 5)]
    train(model, cr.optim.SGD(model.parameters(), lr=0.3, momentum=0.9), batches, clip=0.1)
    compare(runs, Commands(*emulator), tmp_path, monkeypatch)


def test_straight_line_code_of_a_small_network(runs, emulator, tmp_path: Path) -> None:
    cr.manual_seed(2)
    rng = np.random.default_rng(2)
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
    train(
        model,
        cr.optim.Adam(model.parameters()),
        [(rng.standard_normal((4, 2)).astype(np.float32), rng.integers(0, 2, 4))],
    )
    (run,) = runs
    program = run.program
    arm = Emulated(Commands(*emulator), tmp_path / "program", program.graph, program.in_place, {})
    arm.link_straight(run.sizes)
    same(run.outputs, arm.run(run.inputs, run.sizes, STRAIGHT), "straight-line code")


@pytest.mark.parametrize("seed", [0, 8])
def test_random_graphs(runs, emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    case = together([random_case(seed + k) for k in range(TOGETHER)])
    program = NativeProgram(case.graph, case.in_place)
    for n in case.batches:
        inputs = zip(case.inputs(n), case.graph.inputs, strict=True)
        program.run([np.array(x, dtype=node.dtype, order="C") for x, node in inputs], {"n": n} if n else {})
    assert program._interpreted is None
    compare(runs, Commands(*emulator), tmp_path, monkeypatch)


def test_loads_and_stores_of_some_lanes_stand_once() -> None:
    """Where the processor has no such instruction, LLVM writes sixteen branches for each."""
    x = np.zeros((5, 7), np.float32)
    graph = graph_of(lambda x, y: (op.sum(x * y, axes=(1,)), op.sum(x + y, axes=(0,)), op.exp(x)), x, x)
    counts = []
    for machine in (target.avx2(), target.aarch64()):
        ir = Compilation(graph, late_calls(graph), {}, machine, {}).ir
        counts.append(ir.count("call <16 x float> @llvm.masked.load"))
        assert (ir.count("call <16 x float> @masked.load") > 2) == (machine == target.aarch64())
    assert counts[0] > 2
    assert counts[1] == 1


def test_denormals_are_zero_and_the_processor_is_left_as_it_was(
    runs, emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def function(x: Node, y: Node) -> tuple[Node, ...]:
        return x + x, x * 0.25, op.sum(y * 0.5, axes=(0,))

    x = np.float32([1e-39, -1e-39, 2e-38, -2e-38, 1.0] * 7)
    values = [x, x.astype(np.float64) * 1e-270]
    NativeProgram(graph_of(function, *values)).run(values)
    assert np.count_nonzero(runs[0].outputs[0]) == np.count_nonzero(abs(x) > 1e-38)
    compare(runs, Commands(*emulator), tmp_path, monkeypatch)


def graph_of(function: Callable[..., tuple[Node, ...]], *values: Any) -> Graph:
    inputs = [graph_input(f"x{k}", x.shape, x.dtype) for k, x in enumerate(values)]
    with recording(Recording()):
        found = function(*inputs)
    return Graph(inputs, found)
