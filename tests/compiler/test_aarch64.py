"""Code for 64-bit ARM, run by an emulator: the bits of the machine at hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compiler import target
from chainrule.graph import Graph, Node, Recording, graph_input, op, recording
from chainrule.nn import functional as F
from chainrule.run import native as runner
from chainrule.run.native import NativeProgram
from tests.compiler.emulated import Commands, Emulated

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
    assert runs
    emulated: dict[NativeProgram, Emulated] = {}
    lesser: dict[NativeProgram, NativeProgram] = {}
    for number, run in enumerate(list(runs)):
        program = run.program
        if program not in emulated:
            hints: dict[str, int] = program.compilation.build.hints
            place = folder / f"program{len(emulated)}"
            emulated[program] = Emulated(commands, place, program.graph, program.in_place, hints)
            if program.compilation.machine.avx512:
                with monkeypatch.context() as patch:
                    patch.setattr(runner, "host", target.avx2)
                    lesser[program] = NativeProgram(program.graph, program.in_place, hints)
        same(run.outputs, emulated[program].run(run.inputs, run.sizes), f"run {number}, ARM")
        if program in lesser:
            again = lesser[program].run([np.array(x) for x in run.inputs], run.sizes)
            same(run.outputs, again, f"run {number}, AVX2")


def same(expected: list[Any], found: list[Any], what: str) -> None:
    for k, (a, b) in enumerate(zip(expected, found, strict=True)):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), (what, k)
        if a.tobytes() != b.tobytes():
            raise AssertionError(f"{what}: output {k} differs in {np.sum(a != b)} of {a.size}:\n{a}\n{b}")


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


def test_denormals_are_zero_and_the_processor_is_left_as_it_was(
    runs, emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def function(x: Node, y: Node) -> tuple[Node, ...]:
        return x + x, x * 0.25, op.sum(y * 0.5, axes=(0,))

    x = np.float32([1e-39, -1e-39, 2e-38, -2e-38, 1.0] * 7)
    evaluate(function, x, x.astype(np.float64) * 1e-270)
    assert np.count_nonzero(runs[0].outputs[0]) == np.count_nonzero(abs(x) > 1e-38)
    compare(runs, Commands(*emulator), tmp_path, monkeypatch)


def evaluate(function: Any, *values: Any, in_place: Mapping[int, int] | None = None) -> None:
    inputs = [graph_input(f"x{k}", x.shape, x.dtype) for k, x in enumerate(values)]
    with recording(Recording()):
        found = function(*inputs)
    NativeProgram(Graph(inputs, found), in_place).run(list(values))
