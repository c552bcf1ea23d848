"""The machine that code is written for: the processor at hand, or another one whose code is only read.

``host()`` asks the system, not LLVM, so that code from the cache runs without loading llvmlite. It knows levels of the
instruction set (x86-64-v3, x86-64-v4) rather than models of processors: LLVM's code for a model and for its level ran at the
same speed, and a level's code can be cached once for all the machines that share a folder.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from typing import NamedTuple

from chainrule.compiler import loader
from chainrule.errors import ArgumentError, NativeError, nearest

VARIABLE = "CHAINRULE_TARGET"
"""The environment variable that asks for less than the processor can: ``avx2`` on one that has AVX-512."""
HOST = "host"  # as much as the processor can, as if it were not set

# What the levels of the x86-64 psABI add, as /proc/cpuinfo spells it.
AVX2 = frozenset(
    ["cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"]  # v2
    + ["abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"]  # v3
)
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


class Target(NamedTuple):
    """A machine as LLVM is told of it (triple, cpu, features), and what code generation decides by."""

    name: str
    triple: str
    cpu: str
    features: str
    vector_bits: int  # of one register
    num_registers: int
    avx512: bool = False
    avx2: bool = False  # with fused multiply-add
    neon: bool = False

    @property
    def machine(self) -> str:
        """The family of processors: ``x86_64`` or ``aarch64``."""
        return self.triple.partition("-")[0]

    @property
    def fma(self) -> bool:
        """Whether a fused multiply-add is an instruction, not a call."""
        return self.avx2 or self.avx512 or self.neon

    @property
    def masks(self) -> bool:
        """Whether loads and stores of some lanes of a vector are instructions."""
        return self.avx2 or self.avx512

    @property
    def lookup(self) -> str:
        """Which instructions look up tables in registers."""
        return "avx512" if self.avx512 else "avx2" if self.avx2 else "neon" if self.neon else ""

    def attributes(self) -> str:
        """Return what stands after a function's arguments in LLVM's language: vectors stay as wide as the registers."""
        return f'nounwind "prefer-vector-width"="{self.vector_bits}"'

    def key(self) -> bytes:
        """Return all that machine code depends on."""
        return f"{self.triple} {self.cpu} {self.features}".encode()


def avx512() -> Target:
    """Return a machine with AVX-512 (x86-64-v4)."""
    level = ("x86-64-v4", "-prefer-256-bit")
    return Target(
        "avx512", "x86_64-unknown-linux-gnu", *level, vector_bits=512, num_registers=32, avx512=True, avx2=True
    )


def avx2() -> Target:
    """Return a machine with AVX2 and fused multiply-add, without AVX-512 (x86-64-v3)."""
    return Target("avx2", "x86_64-unknown-linux-gnu", "x86-64-v3", "", vector_bits=256, num_registers=16, avx2=True)


def baseline() -> Target:
    """Return what every x86-64 processor has. A fused multiply-add is a call of ``fmaf`` there."""
    return Target("baseline", "x86_64-unknown-linux-gnu", "x86-64", "", vector_bits=128, num_registers=16)


def aarch64() -> Target:
    """Return what every 64-bit ARM processor has."""
    return Target(
        "aarch64", "aarch64-unknown-linux-gnu", "generic", "+neon", vector_bits=128, num_registers=32, neon=True
    )


def unsupported() -> str | None:
    """Say why this machine cannot make and run native code, or None: it can."""
    return _unsupported(os.environ.get(VARIABLE, ""))


def check_asked() -> None:
    """Raise ArgumentError if ``CHAINRULE_TARGET`` asks for something else than the processor at hand, or a lesser one."""
    asked = os.environ.get(VARIABLE, "")
    if not asked:
        return
    names = [target.name for target in _able(_processor())] or [target.name for target in (avx512(), avx2(), aarch64())]
    if asked not in ("", HOST, *names):
        raise ArgumentError(
            f"{VARIABLE} is {asked!r}, which this processor is not",
            expected=" or ".join([*names, HOST]),
            fix=nearest(asked, [*names, HOST]) or f"unset {VARIABLE}",
        )


def host() -> Target:
    """Return the machine at hand, or the lesser one that ``CHAINRULE_TARGET`` asks for.

    Raises:
        NativeError: no code can be made for it; ``unsupported()`` is the reason.
    """
    found = _host(os.environ.get(VARIABLE, ""))
    if isinstance(found, str):
        raise NativeError(f"there is no native code on this machine: {found}")
    return found


@functools.cache
def _unsupported(asked: str) -> str | None:
    found = _host(asked)
    if isinstance(found, str):
        return found
    if sys.implementation.name != "cpython":
        return f"native code is called from CPython alone, and this is {sys.implementation.name}"
    if importlib.util.find_spec("llvmlite") is None:
        return "the package llvmlite is not installed (pip install llvmlite)"
    return loader.why_no_code()


@functools.cache
def _host(asked: str) -> Target | str:
    """Return the machine, or why it is none that code is made for."""
    if sys.platform != "linux":
        return f"native code is made for Linux, and this is {sys.platform}"
    machine = loader.machine()
    if machine not in ("x86_64", "aarch64") or sys.maxsize < 2**32:
        return f"native code is made for 64-bit x86 and ARM, and this is {machine}, {sys.maxsize.bit_length() + 1} bits"
    has = _processor()
    if not has:
        return "/proc/cpuinfo, which says what the processor can do, cannot be read"
    able = _able(has)
    if not able:
        return f"the processor is too old: it has no {', '.join(sorted(AVX2 - has))}"
    for target in able:
        if asked in ("", HOST, target.name):
            return target
    names = [target.name for target in able]
    known = f"one of {', '.join(names)}" + (f" ({said})" if (said := nearest(asked, names)) else "")
    return f"{VARIABLE} is {asked!r}, which this processor is not: expected {known}"


def _able(has: frozenset[str]) -> list[Target]:
    """Return what a processor that can do this is, the best first."""
    return [aarch64()] if "asimd" in has else [t for t, n in ((avx512(), AVX512), (avx2(), AVX2)) if n <= has]


def _processor() -> frozenset[str]:
    """Return what the first processor can do, as Linux spells it, and has switched on."""
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as file:
            text = file.read(16384).decode(
                "ascii", "replace"
            )  # the first processor: the file of a large machine is long
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(values.split())
    return frozenset()
