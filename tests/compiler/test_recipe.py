"""What is kept beside machine code: a program from the disk is the program that was compiled, and nothing is compiled for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.compiler import cache
from chainrule.compiler.interface import as_number
from chainrule.compiler.recipe import ALIGNMENT, read_recipe
from chainrule.errors import NativeError
from chainrule.run.native import NativeProgram
from tests.compiler.random_graphs import Case, random_case

SEEDS = range(40)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    return tmp_path


def never(*_: Any) -> Any:
    raise AssertionError("a pass ran")


def program_of(case: Case) -> NativeProgram:
    return NativeProgram(case.graph, case.in_place, {"n": case.batches[0]} if case.batches[0] else {})


def run(program: NativeProgram, case: Case, n: int) -> list[tuple[Any, ...]]:
    outputs = program.run([np.array(x) for x in case.inputs(n)], {"n": n} if n else {})
    return [(y.dtype, y.shape, y.tobytes()) for y in outputs]


def test_a_program_from_the_disk_gives_the_bits_of_the_one_that_was_compiled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [random_case(seed) for seed in SEEDS]
    made = [program_of(case) for case in cases]
    assert not any(program.loaded.from_cache for program in made)
    monkeypatch.setattr("chainrule.compiler.pipeline.Compilation.__init__", never)
    for case, first in zip(cases, made, strict=True):
        second = program_of(case)
        assert second.loaded.from_cache
        assert second.recipe.to_bytes() == first.recipe.to_bytes()
        for n in case.batches:
            ours, theirs = [run(program, case, n) for program in (second, first)]
            assert ours == theirs


def test_values_that_live_at_once_share_no_memory() -> None:
    for seed in SEEDS:
        recipe = program_of(random_case(seed)).recipe
        for n in (2, 33):
            offsets, end = recipe.offsets({"n": n})
            ends = [at + as_number(v.size, {"n": n}) for at, v in zip(offsets, recipe.values, strict=True)]
            assert all(at % ALIGNMENT == 0 for at in offsets)
            assert max(ends, default=0) <= end
            for j, a in enumerate(recipe.values):
                for k, b in enumerate(recipe.values[:j]):
                    if a.first <= b.last and b.first <= a.last:
                        assert ends[j] <= offsets[k] or ends[k] <= offsets[j]


@pytest.mark.parametrize("text", [b"", b"{}", b"[1, 2]", b"null", b'{"sizes": [[1]]}', b"\xff\xfe"])
def test_a_text_that_is_no_recipe_is_refused(text: bytes) -> None:
    with pytest.raises(NativeError, match="the plan of a run is damaged"):
        read_recipe(text)


def test_a_recipe_cut_anywhere_is_refused() -> None:
    text = program_of(random_case(3)).recipe.to_bytes()
    for end in range(0, len(text), 17):
        with pytest.raises(NativeError):
            read_recipe(text[:end])


def test_an_entry_whose_recipe_is_damaged_is_built_again(folder: Path) -> None:
    case = random_case(5)
    first = program_of(case)
    (entry,) = folder.glob("*.native")
    metadata, code = cache._unpack(entry.read_bytes(), entry.name) or (b"", b"")
    entry.write_bytes(cache._pack(entry.name, metadata[: len(metadata) // 2], code))
    second = program_of(case)
    assert not second.loaded.from_cache
    assert program_of(case).loaded.from_cache
    assert run(second, case, case.batches[0]) == run(first, case, case.batches[0])


STEP = """
import sys
import numpy as np
import chainrule as cr
from chainrule import nn
cr.manual_seed(0)
model = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))
optimizer = cr.optim.Adam(model.parameters(), lr={lr})
rng = np.random.default_rng(0)
X, y = rng.standard_normal((40, 7)).astype(np.float32), rng.integers(0, 3, 40)
@cr.compile
def step(x, y):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss
losses = step.over(X, y, batch_size=8, passes=40)
program = step._native()
print(losses.numpy().tobytes().hex()[-16:], program.loaded.from_cache, program.notes)
print([name for name in ("llvmlite", "chainrule.compiler.pipeline", "chainrule.compiler.regions") if name in sys.modules])
"""


def test_a_second_process_trains_without_llvm_and_without_a_pass(folder: Path) -> None:
    def said(lr: float = 0.01) -> list[str]:
        environment = {**os.environ, "CHAINRULE_COMPILE": "1"}
        command = [sys.executable, "-c", STEP.format(lr=lr)]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return found.stdout.splitlines()

    (first, loaded), (second, nothing) = said(), said()
    assert "llvmlite" in loaded
    assert nothing == "[]"
    assert first.split()[0] == second.split()[0]
    assert (first.split()[1], second.split()[1]) == ("False", "True")
    assert said(lr=0.02)[0].split()[1] == "True"  # a rate is read at each call
