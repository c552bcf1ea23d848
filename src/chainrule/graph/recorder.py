"""Who listens when an operation is asked for: a stack of recorders, one per thread.

The rules of a primitive are written in operations of the graph (``g * b``, ``op.exp(x)``). What such an operation *does*
is the business of the recorder on top of the stack: evaluate it now (eager mode) or write it down (a trace).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from chainrule.errors import GradientError
from chainrule.graph.primitive import Primitive, primitive

if TYPE_CHECKING:
    from chainrule.graph.node import Node


class Recorder(Protocol):
    """Whoever gives the node of one operation; operands are nodes or Python numbers."""

    def apply(self, primitive: Primitive, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Node: ...


class _Stack(threading.local):
    def __init__(self) -> None:
        self.recorders: list[Recorder] = []


_stack = _Stack()


def apply(name: str, /, *operands: Any, **attributes: Any) -> Node:
    """Ask the recorder on top for the node of operation ``name``. Operands are nodes or Python numbers."""
    recorders = _stack.recorders
    if not recorders:
        raise GradientError(
            f"{name}: no recorder is listening", expected="a trace, a backward pass, or `with recording(…)` around it"
        )
    return recorders[-1].apply(primitive(name), operands, attributes)


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Let ``recorder`` give the nodes of all operations inside."""
    _stack.recorders.append(recorder)
    try:
        yield
    finally:
        _stack.recorders.pop()


def labelled(label: str, rule: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``rule`` so that the nodes that a trace writes down while it runs carry ``label``."""

    def run(*operands: Any, **attributes: Any) -> Any:
        recorder: Any = _stack.recorders[-1]
        before = getattr(recorder, "label", None)
        if before is None:
            return rule(*operands, **attributes)
        recorder.label = label
        try:
            return rule(*operands, **attributes)
        finally:
            recorder.label = before

    return run


class _Operations:
    """``op.exp(x)`` is ``apply("exp", x)``: the way rules spell operations that have no operator."""

    def __getattr__(self, name: str) -> Callable[..., Node]:
        primitive(name)  # a mistyped name is told here
        call = partial(apply, name)
        setattr(self, name, call)
        return call


op = _Operations()
