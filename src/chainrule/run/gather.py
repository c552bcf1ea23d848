"""The kernels that gather rows into a batch, made when they are asked for first."""

from __future__ import annotations

from typing import Any

from chainrule import compiler
from chainrule.compiler.cache import load_or_build
from chainrule.compiler.target import host

_gathers: dict[tuple[Any, Any, bool, bool], Any] = {}


def gather_kernel(source: Any, target: Any, *, scaled: bool, marked: bool) -> int:
    """Return the address of the kernel that gathers rows of one dtype into another."""
    key = (source, target, scaled, marked)
    found = _gathers.get(key)
    if found is None:
        machine = host()

        def write() -> tuple[str, bytes]:
            module = compiler.Module(machine.masks, machine.lookup)
            compiler.write_gather(module, source, target, scaled=scaled, marked=marked)
            return module.text(machine.attributes()), b""

        found = _gathers[key] = load_or_build(
            f"gather {source.str} {target.str} {scaled} {marked}".encode(), write, machine
        )
    (name,) = found.library
    address: int = found.library[name]
    return address
