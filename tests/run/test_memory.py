"""The memory of native runs: how much there is, what is told before training, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ChainruleError, OutOfMemoryError
from chainrule.run import memory
from chainrule.run.memory import Available, allocate, available
from tests.training.problems import classes, network, state_bits, trainer

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of files, with 8 GiB available and no limits."""
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    write(tmp_path / "proc" / "meminfo", f"MemTotal: 1 kB\nMemFree: 2 kB\nMemAvailable: {8 * GIB // 1024} kB\n")
    return tmp_path


def write(file: Path, text: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


def test_without_limits_the_machine_says_what_there_is(machine: Path) -> None:
    assert available() == Available(8 * GIB, "this machine")


def test_where_nobody_says_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PROC", tmp_path)
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    assert available() is None
    assert allocate(1 << 25, "step", {}).nbytes == 1 << 25


def test_a_control_group_leaves_its_limit_less_what_is_used_but_for_files(machine: Path) -> None:
    write(machine / "proc" / "self" / "cgroup", "0::/a/b")
    folder = machine / "groups" / "a"
    write(folder / "b" / "memory.max", "max")
    write(folder / "b" / "memory.current", GIB)
    write(folder / "memory.max", 4 * GIB)
    write(folder / "memory.current", 3 * GIB)
    write(folder / "memory.stat", f"anon 5\ninactive_file {GIB // 2}\nactive_file 7")
    assert available() == Available(GIB + GIB // 2, "the control group (a container's limit)")
    write(folder / "memory.current", 9 * GIB)
    write(folder / "memory.stat", "anon 5")
    assert available() == Available(0, "the control group (a container's limit)")


def test_so_does_one_of_the_first_kind(machine: Path) -> None:
    write(machine / "proc" / "self" / "cgroup", "5:cpu:/else\n4:memory:/job\n0::/")
    write(machine / "groups" / "memory" / "job" / "memory.limit_in_bytes", 2 * GIB)
    write(machine / "groups" / "memory" / "job" / "memory.usage_in_bytes", GIB)
    write(machine / "groups" / "memory" / "job" / "memory.stat", f"inactive_file 1\ntotal_inactive_file {GIB // 4}")
    write(machine / "groups" / "memory" / "memory.limit_in_bytes", 9223372036854771712)
    write(machine / "groups" / "memory" / "memory.usage_in_bytes", GIB)
    assert available() == Available(GIB + GIB // 4, "the control group (a container's limit)")


def test_what_does_not_fit_is_refused_with_figures(machine: Path) -> None:
    with pytest.raises(OutOfMemoryError) as raised:
        allocate(12 * GIB, "step", {"n": 100_000})
    assert str(raised.value) == (
        "step: native code needs 12.88 GB of memory beside inputs and results for n = 100,000; expected at most 8.59 GB, "
        "which this machine leaves. Use a smaller batch (batch_size=), or a narrower network."
    )
    assert isinstance(raised.value, (ChainruleError, MemoryError))


def test_what_the_system_refuses_is_told_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*args: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(memory, "PROC", tmp_path)
    monkeypatch.setattr(memory.np, "empty", refuses)
    with pytest.raises(OutOfMemoryError, match=r"step: native code needs 0.10 MB .* expected what the system leaves"):
        allocate(100_000, "step", {})


# -- training ----------------------------------------------------------------------------------------------------------


def test_the_memory_is_told_before_the_first_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    seen = []

    class Sees(cr.Callback):
        def on_batch_end(self, *args: Any) -> None:
            seen.append(capsys.readouterr().out)

    own = trainer(network(), progress=None, callbacks=[Sees()])
    own.fit(classes(48))
    assert seen[0].startswith("native: ")
    assert seen[0].endswith(" MB of memory beside inputs and results\n")
    assert not any("native" in text for text in seen[1:])
    own.epochs = 4
    own.fit(classes(48))  # goes on, with code that is there
    assert sum("MB of memory" in text for text in seen) == 2


def test_too_large_a_batch_is_refused_before_training(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    monkeypatch.setattr(memory, "WORTH_ASKING", 0)
    write(machine / "proc" / "meminfo", "MemAvailable: 4 kB")
    model = network()
    own = trainer(model, progress=None)
    with pytest.raises(
        OutOfMemoryError, match="for n = 16; expected at most 0.00 MB, which this machine leaves"
    ) as raised:
        own.fit(classes(48))
    assert "Use a smaller batch (batch_size=)" in str(raised.value)
    assert len(own.history) == 0
    assert state_bits(model) == state_bits(network())
    assert capsys.readouterr().out == ""
    write(machine / "proc" / "meminfo", "MemAvailable: 4000000 kB")
    assert own.fit(classes(48)).stopped == "epochs"


def test_the_report_of_a_step_counts_an_arena_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")

    @cr.compile
    def product(x: cr.Tensor) -> cr.Tensor:
        return (x @ x.T).tanh().sum(1)

    product(cr.ones(64, 200))
    one = product.report()
    product(cr.ones(128, 200))
    assert "MB of memory beside inputs and results" in one
    sizes = [float(text.split(" MB of memory")[0].split()[-1]) for text in (one, product.report())]
    assert sizes[0] < sizes[1]
    assert product.engine().endswith(f"; {sizes[1]:.2f} MB of memory beside inputs and results")


LIMITED = """
import resource, sys
import chainrule as cr
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), resource.RLIM_INFINITY))

@cr.compile
def wide(x):
    return (x[:, None] * x).tanh().cumsum(0).sum(0)

wide(cr.ones(64))
try:
    wide(cr.ones(40_000))
except cr.errors.OutOfMemoryError as error:
    print(error)
print(tuple(wide(cr.ones(64)).shape))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is Linux's")
def test_the_limit_of_a_process_is_kept_and_the_process_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    monkeypatch.setenv("CHAINRULE_THREADS", "1")
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    refused, shape = done.stdout.splitlines()
    assert refused.startswith("wide: native code needs ")
    assert "for n = 40,000; expected at most " in refused
    assert shape == "(64,)"


def test_rows_are_gathered_into_memory_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    model: nn.Sequential = network()

    @cr.compile
    def error(x: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
        return nn.functional.cross_entropy(model(x), y)

    X, y = classes(70)
    found = [error.over(X, y, batch_size=16, order=order).numpy() for order in (None, np.arange(70)[::-1].copy())]
    size = error._native().size
    assert error.over(X, y, batch_size=16, passes=3).numpy().tolist() == found[0].tolist() * 3
    assert error._native().size == size
    singly = [error(cr.tensor(X[k : k + 16]), cr.tensor(y[k : k + 16])).item() for k in range(0, 70, 16)]
    assert found[0].tolist() == singly
    assert found[1].tolist() != singly
