"""LLVM, through llvmlite: from text to machine code. The only file that imports it, when code is made for the first time.

The text is vectorised already, so the passes over it are skipped; of code generation, loop strength reduction is switched
off: a third of the time, for nothing. That switch is the whole process's, so it is set under LLVM's lock and set back:
whoever else makes code here (numba) is not affected.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from chainrule.compiler.target import Target
from chainrule.errors import VerifyError

LEVEL = 2
SWITCH = "-disable-lsr"


@functools.cache
def _binding() -> Any:
    import llvmlite.binding as binding  # loaded only where code is made

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    return binding


@functools.cache
def _machine(target: Target) -> Any:
    binding = _binding()
    cpu, features = target.cpu, ""
    if not cpu:
        cpu, features = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    found = binding.Target.from_triple(target.triple)
    return found.create_target_machine(cpu=cpu, features=features, opt=LEVEL, reloc="pic", codemodel="small")


def _parsed(ir: str, target: Target) -> Any:
    binding = _binding()
    try:
        module = binding.parse_assembly(ir)
        module.verify()
    except RuntimeError as error:
        raise VerifyError(f"the compiler wrote text that LLVM refuses: {_with_lines(str(error), ir)}") from error
    module.triple = target.triple
    module.data_layout = str(_machine(target).target_data)
    return module


def _with_lines(error: str, ir: str) -> str:
    """Return LLVM's error with the lines of the text around the place that it names."""
    place = re.search(r":(\d+):\d+: error", error)
    if place is None:
        return error
    at, lines = int(place.group(1)), ir.splitlines()
    return error + "\n" + "\n".join(f"{k + 1:6} {lines[k]}" for k in range(max(at - 4, 0), min(at + 2, len(lines))))


def object_code(ir: str, target: Target) -> bytes:
    """Return the object file of a module."""
    binding = _binding()
    with binding.ffi.lib._lock:
        module = _parsed(ir, target)
        binding.set_option("", SWITCH)
        try:
            code: bytes = _machine(target).emit_object(module)
        finally:
            binding.set_option("", f"{SWITCH}=false")
    return code


def assembly(ir: str, target: Target) -> str:
    """Return a module as assembly."""
    binding = _binding()
    with binding.ffi.lib._lock:
        module = _parsed(ir, target)
        binding.set_option("", SWITCH)
        try:
            text: str = _machine(target).emit_assembly(module)
        finally:
            binding.set_option("", f"{SWITCH}=false")
    return text
