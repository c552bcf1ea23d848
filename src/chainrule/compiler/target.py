"""The machine that code is made for: what LLVM calls it, and what shapes kernels."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import platform
import sys
from dataclasses import dataclass

from chainrule.compiler.product import Registers

FORCED = "CHAINRULE_CPU"  # avx2: code as for a machine without AVX-512
WITHOUT_AVX512 = "x86-64-v3"  # the level of x86-64 that has AVX2 and fused multiply-add
NEEDED = frozenset(("avx2", "fma"))


@dataclass(frozen=True)
class Target:
    """A machine. ``cpu`` "" is the one at hand, with all that it has."""

    triple: str
    cpu: str
    registers: Registers

    @property
    def is_x86(self) -> bool:
        """Whether it is of the x86-64 kind."""
        return self.triple.startswith("x86_64")

    def attributes(self) -> str:
        """Return the attributes of every function."""
        return (
            f'nounwind "prefer-vector-width"="{self.registers.bits}" "denormal-fp-math"="preserve-sign,preserve-sign"'
        )

    def key(self) -> str:
        """Return a text that differs where machine code does."""
        abilities = ",".join(sorted(_flags())) if not self.cpu else ""
        return f"{self.triple} {self.cpu} {self.registers} {hashlib.sha256(abilities.encode()).hexdigest()}"


AVX2 = Target("x86_64-unknown-linux-gnu", WITHOUT_AVX512, Registers(256, 16))
AVX512 = Target("x86_64-unknown-linux-gnu", "", Registers(512, 32))
AARCH64 = Target("aarch64-unknown-linux-gnu", "cortex-a72", Registers(128, 32))


@functools.cache
def _flags() -> frozenset[str]:
    """Return what the processor says that it can do."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(("flags", "Features")):
                    return frozenset(line.partition(":")[2].split())
    except OSError:
        pass
    return frozenset()


def host() -> Target:
    """Return the machine at hand."""
    if "avx512f" in _flags() and os.environ.get(FORCED, "").lower() != "avx2":
        return AVX512
    return AVX2


def unsupported() -> str:
    """Say why native code cannot run here; "" if it can."""
    machine = platform.machine()
    if not sys.platform.startswith("linux") or machine != "x86_64":
        return f"native code is made for Linux on x86-64, and this is {sys.platform} on {machine}"
    missing = NEEDED - _flags()
    if missing:
        return f"native code needs a processor with {' and '.join(sorted(missing))}"
    if importlib.util.find_spec("llvmlite") is None:
        return "native code is made by llvmlite, which is not installed (pip install llvmlite)"
    return ""
