"""Which engine runs a graph: native code where that is possible, else the interpreter, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from chainrule.compiler.cache import place
from chainrule.compiler.interface import Unlowered
from chainrule.compiler.target import check_asked, unsupported
from chainrule.graph import Graph
from chainrule.run.native import NativeProgram
from chainrule.run.program import Program
from chainrule.run.threads import is_chosen
from chainrule.switches import read_switch

SWITCH = "CHAINRULE_COMPILE"  # 0: no native code


def is_off() -> bool:
    """Say whether native code was switched off."""
    return not read_switch(SWITCH, default=True)


def check_environment() -> None:
    """Raise ArgumentError if an environment variable that says what runs a graph, and how, has a value that means nothing.

    It is asked before anything is computed, so that nothing is lost by it.
    """
    is_off()
    check_asked()
    is_chosen()
    place()


def engine_name() -> str:
    """Return which engine runs what is compiled here: its results have bits of their own."""
    return "interpreter" if is_off() or unsupported() else "native"


__all__ = ["Chosen", "check_environment", "choose", "engine_name", "is_off", "unsupported"]


class Chosen(NamedTuple):
    """A program, and why it does not run natively ("" if it does)."""

    program: Program | NativeProgram
    reason: str


def choose(graph: Graph, in_place: Mapping[int, int], hints: dict[str, int]) -> Chosen:
    """Return the program for a graph. ``hints``: the sizes of its first run, for which its kernels are shaped."""
    check_environment()
    if is_off():
        return Chosen(Program(graph, in_place), f"{SWITCH}=0")
    reason = unsupported() or ""
    if not reason:
        try:
            return Chosen(NativeProgram(graph, in_place, hints), "")
        except Unlowered as unlowered:
            reason = str(unlowered)
    return Chosen(Program(graph, in_place), reason)
