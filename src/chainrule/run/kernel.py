"""Kernels that serve any program: compiled when one is asked for first, and kept as long as the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from chainrule import compiler
from chainrule.compiler.cache import load_or_build
from chainrule.compiler.target import host

if TYPE_CHECKING:
    from chainrule.compiler.cache import Loaded

_kept: dict[tuple[str, str], Loaded] = {}  # by what it does and the machine


def kernel(what: str, write: Callable[[compiler.Module], object]) -> int:
    """Return the address of the one kernel that ``write`` writes into a module; ``what`` tells it from all others."""
    machine = host()
    found = _kept.get((what, machine.name))
    if found is None:

        def text() -> tuple[str, bytes]:
            module = compiler.Module(machine.masks, machine.lookup)
            write(module)
            return module.text(machine.attributes()), b""

        # Threads may make it at the same time: all take what one of them kept, as the others' code goes.
        found = _kept.setdefault((what, machine.name), load_or_build(what.encode(), text, machine))
    (name,) = found.library
    return found.library[name]
