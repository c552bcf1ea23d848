"""Primitives that a test writes: known while it runs, forgotten after it. And a count of the rules that are called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from chainrule.graph import Node, primitives
from chainrule.graph.primitive import _registry


@contextmanager
def own_primitives() -> Iterator[None]:
    """Forget, at the end, every primitive that was made inside."""
    known = primitives()
    try:
        yield
    finally:
        _registry.clear()
        _registry.update(known)


class Call(NamedTuple):
    """One call of a vjp rule."""

    name: str
    g: Any
    y: Node
    need: tuple[bool, ...]


@contextmanager
def counted_rules() -> Iterator[list[Call]]:
    """Write down every call of a vjp rule."""
    calls: list[Call] = []
    changed = []
    for primitive in primitives().values():
        if primitive.differentiable:
            primitive.__dict__["vjp"] = _counted(primitive, calls)  # before the class's own
            changed.append(primitive)
    try:
        yield calls
    finally:
        for primitive in changed:
            del primitive.__dict__["vjp"]


def _counted(primitive: Any, calls: list[Call]) -> Any:
    rule = type(primitive).vjp

    def vjp(g: Any, y: Node, *inputs: Node, need: tuple[bool, ...], **attributes: Any) -> Any:
        calls.append(Call(primitive.name, g, y, need))
        return rule(primitive, g, y, *inputs, need=need, **attributes)

    return vjp
