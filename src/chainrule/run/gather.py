"""The kernels that gather rows into a batch."""

from __future__ import annotations

from typing import Any

from chainrule import compiler
from chainrule.run.kernel import kernel


def gather_kernel(source: Any, target: Any, *, scaled: bool, marked: bool) -> int:
    """Return the address of the kernel that gathers rows of one dtype into another."""
    return kernel(
        f"gather {source.str} {target.str} {scaled} {marked}",
        lambda module: compiler.write_gather(module, source, target, scaled=scaled, marked=marked),
    )
