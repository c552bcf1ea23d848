from __future__ import annotations

import builtins
import subprocess
import sys

import pytest

from chainrule.compiler import loader, target
from chainrule.errors import ArgumentError, NativeError
from tests.compiler.machine_code import needs_native


@pytest.fixture(autouse=True)
def _asked_anew(monkeypatch: pytest.MonkeyPatch):
    """What is known of the machine is found again in each test, and after it."""
    monkeypatch.delenv(target.VARIABLE, raising=False)
    forget()
    yield
    monkeypatch.undo()
    forget()


def forget() -> None:
    target._host.cache_clear()
    target._unsupported.cache_clear()


def processor(monkeypatch: pytest.MonkeyPatch, flags: set[str], machine: str = "x86_64") -> None:
    monkeypatch.setattr(target, "_processor", lambda: frozenset(flags))
    monkeypatch.setattr(loader.platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", "linux")


def test_the_best_level_that_the_processor_has_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, name in ((target.AVX512, "avx512"), (target.AVX512 - {"avx512bw"}, "avx2"), (target.AVX2, "avx2")):
        processor(monkeypatch, set(flags))
        forget()
        assert target.host().name == name
    processor(monkeypatch, {"fp", "asimd"}, "aarch64")
    forget()
    assert target.host() == target.aarch64()


def test_what_code_is_decided_by() -> None:
    assert (target.avx512().vector_bits, target.avx512().num_registers) == (512, 32)
    assert (target.avx2().vector_bits, target.avx2().num_registers) == (256, 16)
    assert [t.fma for t in (target.avx512(), target.avx2(), target.aarch64(), target.baseline())] == [True] * 3 + [
        False
    ]
    assert [t.machine for t in (target.avx2(), target.aarch64())] == ["x86_64", "aarch64"]
    assert len({t.key() for t in (target.avx512(), target.avx2(), target.aarch64(), target.baseline())}) == 4


def test_less_than_the_processor_can_may_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, set(target.AVX512))
    monkeypatch.setenv(target.VARIABLE, "avx2")
    assert target.host() == target.avx2()
    target.check_asked()
    monkeypatch.setenv(target.VARIABLE, "host")
    target.check_asked()
    assert target.host() == target.avx512()


def test_more_than_the_processor_can_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, set(target.AVX2))
    for asked in ("avx512", "aarch64", "axv2"):
        monkeypatch.setenv(target.VARIABLE, asked)
        assert f"CHAINRULE_TARGET is '{asked}'" in (target.unsupported() or "")
        with pytest.raises(NativeError, match="expected one of avx2"):
            target.host()
        with pytest.raises(ArgumentError, match=f"CHAINRULE_TARGET is '{asked}'.*expected avx2 or host"):
            target.check_asked()
    assert "did you mean avx2?" in (target.unsupported() or "")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.setattr(sys, "platform", "darwin"), "made for Linux, and this is darwin"),
        (lambda m: processor(m, set(), "riscv64"), "this is riscv64"),
        (lambda m: m.setattr(sys, "maxsize", 2**31 - 1), "this is x86_64, 32 bits"),
        (lambda m: processor(m, target.AVX2 - {"fma"}), "too old: it has no fma"),
        (lambda m: processor(m, set()), "/proc/cpuinfo"),
        (lambda m: m.setattr(sys.implementation, "name", "pypy"), "CPython alone"),
        (lambda m: m.setattr(target.importlib.util, "find_spec", lambda name: None), "pip install llvmlite"),
        (lambda m: m.setattr(loader, "why_no_code", lambda: "the system forbids it"), "the system forbids it"),
    ],
)
def test_why_there_is_no_native_code_is_said_and_nothing_raised(monkeypatch, change, says: str) -> None:
    processor(monkeypatch, set(target.AVX2))
    change(monkeypatch)
    assert says in (target.unsupported() or "")


def test_a_system_without_proc_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(loader.platform, "machine", lambda: "x86_64")

    def refuse(*arguments: object, **_: object) -> None:
        raise FileNotFoundError(arguments[0])

    monkeypatch.setattr(builtins, "open", refuse)
    assert "cannot be read" in (target.unsupported() or "")


@needs_native
def test_neither_the_machine_nor_the_cache_nor_the_loader_loads_llvm() -> None:
    code = (
        "import sys; from chainrule.compiler import cache, call, target; target.unsupported(); target.host();"
        "call.symbols(); cache.state(); print('llvmlite' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
