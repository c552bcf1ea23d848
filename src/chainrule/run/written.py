"""Memory that a program writes into: whether it can be written, asked before anything is."""

from __future__ import annotations

from typing import Any

from chainrule.errors import InPlaceError
from chainrule.graph import Graph


def can_be_written(x: Any) -> bool:
    """Say whether an array may be written, and each element has memory of its own, as far as strides of 0 tell."""
    flags = x.flags
    if not flags.writeable:
        return False
    return flags.c_contiguous or not any(s == 0 and n > 1 for s, n in zip(x.strides, x.shape, strict=True))


def check_written(graph: Graph, k: int, x: Any) -> None:
    """Raise InPlaceError if input ``k``, which a run of the graph writes over, cannot be written."""
    if not can_be_written(x):
        name = graph.inputs[k].attributes.get("name", "a tensor from outside")
        raise InPlaceError(
            f"the compiled function '{graph.name}' writes to {name}, whose memory is read-only or shared by several of its "
            "elements",
            fix="let it be a clone() of what it is",
        )
