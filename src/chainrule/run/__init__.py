"""Running operations and graphs: on NumPy, or natively where that is possible.

What native code needs is loaded when a function is traced first, not when chainrule is imported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from chainrule.forks import undisturbed
from chainrule.run.interpret import Evaluating, evaluate, explain, number, value_node
from chainrule.run.program import Program
from chainrule.run.written import can_be_written

if TYPE_CHECKING:
    from chainrule.compiler.interface import Scaling
    from chainrule.run.engine import Chosen, check_environment, choose, engine_name, is_off, unsupported
    from chainrule.run.many_call import Feed, can_gather
    from chainrule.run.native import NativeProgram
    from chainrule.run.origin import Origin, find_origin
    from chainrule.run.prepared import Prepared, prepare
    from chainrule.run.profile import measure
    from chainrule.run.steps import Steps

_LATER = {
    "Chosen": "chainrule.run.engine",
    "check_environment": "chainrule.run.engine",
    "choose": "chainrule.run.engine",
    "engine_name": "chainrule.run.engine",
    "is_off": "chainrule.run.engine",
    "unsupported": "chainrule.run.engine",
    "NativeProgram": "chainrule.run.native",
    "Origin": "chainrule.run.origin",
    "find_origin": "chainrule.run.origin",
    "Prepared": "chainrule.run.prepared",
    "prepare": "chainrule.run.prepared",
    "measure": "chainrule.run.profile",
    "Feed": "chainrule.run.many_call",
    "Scaling": "chainrule.compiler.interface",
    "Steps": "chainrule.run.steps",
    "can_gather": "chainrule.run.many_call",
}

__all__ = [
    "Chosen",
    "Evaluating",
    "Feed",
    "NativeProgram",
    "Origin",
    "Prepared",
    "Program",
    "Scaling",
    "Steps",
    "can_be_written",
    "can_gather",
    "check_environment",
    "choose",
    "engine_name",
    "evaluate",
    "explain",
    "find_origin",
    "is_off",
    "measure",
    "number",
    "prepare",
    "unsupported",
    "value_node",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with undisturbed():
        found = getattr(importlib.import_module(_LATER[name]), name)
    globals()[name] = found
    return found
