"""Which engine runs a graph: native code where that is possible, else the interpreter, and why."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from chainrule.compiler.interface import Unlowered
from chainrule.compiler.target import unsupported
from chainrule.graph import Graph
from chainrule.run.native import NativeProgram
from chainrule.run.program import Program

SWITCH = "CHAINRULE_COMPILE"  # 0: no native code
OFF = ("0", "off", "false", "no")


def is_off() -> bool:
    """Say whether native code was switched off."""
    return os.environ.get(SWITCH, "1").strip().lower() in OFF


def engine_name() -> str:
    """Return which engine runs what is compiled here: its results have bits of their own."""
    return "interpreter" if is_off() or unsupported() else "native"


class Chosen(NamedTuple):
    """A program, and why it does not run natively ("" if it does)."""

    program: Program | NativeProgram
    reason: str


def choose(graph: Graph, in_place: Mapping[int, int], hints: dict[str, int]) -> Chosen:
    """Return the program for a graph. ``hints``: the sizes of its first run, for which its kernels are shaped."""
    if is_off():
        return Chosen(Program(graph, in_place), f"{SWITCH}=0")
    reason = unsupported() or ""
    if not reason:
        try:
            return Chosen(NativeProgram(graph, in_place, hints), "")
        except Unlowered as unlowered:
            reason = str(unlowered)
    return Chosen(Program(graph, in_place), reason)
