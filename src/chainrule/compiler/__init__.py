"""From a graph to machine code: passes, loops, LLVM.

What makes code is loaded when code is made: a graph whose code is on disk runs without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from chainrule.forks import undisturbed

if TYPE_CHECKING:
    from chainrule.compiler.cost import cost_of
    from chainrule.compiler.gather import write_gather
    from chainrule.compiler.module import Module
    from chainrule.compiler.pipeline import Compilation
    from chainrule.compiler.register_evaluator import estimate
    from chainrule.compiler.show import show_loops, show_records
    from chainrule.compiler.straight import write_straight
    from chainrule.compiler.terms import write_lists

_LATER = {
    "Compilation": "pipeline",
    "Module": "module",
    "cost_of": "cost",
    "estimate": "register_evaluator",
    "show_loops": "show",
    "show_records": "show",
    "write_gather": "gather",
    "write_lists": "terms",
    "write_straight": "straight",
}

__all__ = [
    "Compilation",
    "Module",
    "cost_of",
    "estimate",
    "show_loops",
    "show_records",
    "write_gather",
    "write_lists",
    "write_straight",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with undisturbed():
        return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
