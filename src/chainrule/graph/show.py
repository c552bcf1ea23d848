"""A graph as text: a line per node, and what a reader wants to know of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.graph.graph import Graph
from chainrule.graph.node import Node


def show(graph: Graph) -> str:
    """Return ``graph`` as text, a line per node: ``%3 float32[n, 10] = contract(%0, %1, contracted=((1,), (1,)))``."""
    names: dict[Node, str] = {}
    lines = [f"graph {graph.name}:"]
    for node in graph.inputs:
        names[node] = f"%{len(names)}"
        lines.append(f"  {names[node]} {_kind(node)} = input {node.attributes.get('name', '')}".rstrip())
    for node in graph.nodes:
        names[node] = f"%{len(names)}"
        lines.append(
            f"  {names[node]} {_kind(node)} = {_call(node, names)}" + (f"  # {node.label}" if node.label else "")
        )
    lines.append("  return " + ", ".join(names[node] for node in graph.outputs))
    return "\n".join(lines)


Graph.__str__ = show  # type: ignore[assignment, method-assign]  # graph.py cannot import this file, which imports it


def _kind(node: Node) -> str:
    if node.primitive is not None and node.primitive.outputs > 1:
        return "(" + ", ".join(_one(d, s) for d, s in zip(node.dtype, node.shape, strict=True)) + ")"
    return _one(node.dtype, node.shape)


def _one(dtype: Any, shape: tuple[Any, ...]) -> str:
    return f"{dtype}[{', '.join(map(str, shape))}]"


def _call(node: Node, names: dict[Node, str]) -> str:
    if node.primitive is None:
        return "leaf"
    if node.primitive.name == "constant":
        return f"constant {_short(node.value)}"
    arguments = [names[child] for child in node.inputs or ()]
    arguments += [f"{key}={_attribute(value)}" for key, value in node.attributes.items()]
    return f"{node.primitive.name}({', '.join(arguments)})"


def _attribute(value: Any) -> str:
    return f"<{value.name}: {len(value.nodes)} nodes>" if isinstance(value, Graph) else str(value)


def _short(value: Any) -> str:
    if value.size <= 4:
        return str(value.tolist())
    return f"<{value.size} values from {np.min(value):.6g} to {np.max(value):.6g}>"
