"""Where a NaN or an infinity came from: the first operation of a graph that made one out of good numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.compiler.fields import Unlowered
from chainrule.graph import Graph, Node, primitive
from chainrule.graph.sizes import evaluate as with_sizes
from chainrule.run.native import NativeProgram
from chainrule.run.program import is_symbolic, same_value

CALL, GET, CONSTANT, INPUT = primitive("call"), primitive("get"), primitive("constant"), primitive("input")

Values = dict[Node, Any]
FINE, INFINITE, NAN = 0, 1, 2


class Origin(NamedTuple):
    """An operation, or an input, that is the first with a value that is not finite.

    ``operation``  its name ("log", "div in Adam"); "" for an input
    ``place``      the layer in which it is; of an input its name
    ``value``      the first number in it that is not finite
    """

    operation: str
    place: str
    value: float

    def __str__(self) -> str:
        if not self.operation:
            return f"{self.place}, which holds {self.value:g}"
        return f"{self.operation}{f' in layer {self.place}' if self.place else ''}, which gave {self.value:g}"


def find_origin(
    graph: Graph, inputs: Sequence[Any], sizes: dict[str, int], judged: Sequence[int], layer: str = "", *, native: bool
) -> Origin | None:
    """Return where the first value that is not finite in the outputs ``judged`` came from, for these inputs.

    Or in that of ``layer``, if it is not finite: the layers after it may hide an infinity from the outputs. None if all are finite. What no judged output depends on may be infinite: the logarithm of 0 that nobody chose, say. So
    may constants, and what only hands them on: they mask. With ``native``, native code is asked where the interpreter finds
    nothing: some numbers overflow in one of the two alone.
    """
    outputs = [graph.outputs[k] for k in judged]
    leaving = _leaving(graph, layer)
    with np.errstate(all="ignore"):
        values = _interpreted(graph, inputs, sizes)
        found = _first(graph, values, leaving) or _first(graph, values, outputs)
        if found is None and native:
            values = _native(graph, inputs, sizes)
            found = _first(graph, values, leaving) or _first(graph, values, outputs)
        return None if found is None else _told(found, values)


def _leaving(graph: Graph, layer: str) -> list[Node]:
    """Return what a layer makes that others read."""
    made = [(child, node.label) for node in graph.nodes for child in _reads(node) if layer and child.label == layer]
    ends = [(node, "") for node in graph.outputs if layer and node.label == layer]
    return list(dict.fromkeys(node for node, reader in made + ends if reader != layer))


def _interpreted(graph: Graph, inputs: Sequence[Any], sizes: dict[str, int]) -> Values:
    """Return the value of every node."""
    values: Values = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        _hand_on(node, values)
        if node in values or node.primitive is None:
            continue
        attributes = {k: with_sizes(v, sizes) if is_symbolic(v) else v for k, v in node.attributes.items()}
        values[node] = node.primitive.evaluate(*[values[child] for child in node.inputs or ()], **attributes)
    return values


def _native(graph: Graph, inputs: Sequence[Any], sizes: dict[str, int]) -> Values:
    """Return the value of every node as native code computes it; of none where there is no such code."""
    asked = [
        node
        for node in graph.nodes
        if node.primitive not in (CALL, CONSTANT) and node.primitive is not None and same_value(node) is None
        and node.primitive.outputs == 1
    ]  # fmt: skip
    values: Values = dict(zip(graph.inputs, inputs, strict=True))
    try:
        found = NativeProgram(Graph(graph.inputs, asked, graph.name), {}, sizes).run(inputs, sizes)
    except Unlowered:
        return values
    values.update(zip(asked, found, strict=True))
    for node in graph.nodes:
        _hand_on(node, values)
    return values


def _hand_on(node: Node, values: Values) -> None:
    """Note the value of a node that only stands for another, or for one part of it."""
    same = same_value(node)
    if same is not None and same in values:
        values[node] = values[same]
    elif node.primitive is CONSTANT:
        values[node] = node.value
    elif node.primitive is GET and node not in values and (node.inputs or ())[0] in values:
        values[node] = values[(node.inputs or ())[0]][node.attributes["index"]]


def _kind(value: Any) -> int:
    """Say whether numbers are finite, or some are infinite, or some are NaN."""
    if isinstance(value, tuple):
        return max(map(_kind, value), default=FINE)
    array = np.asarray(value)
    if array.dtype.kind != "f" or math.isfinite(np.vdot(array, array)):
        return FINE
    if np.isnan(array).any():
        return NAN
    return INFINITE if np.isinf(array).any() else FINE


def _first(graph: Graph, values: Values, outputs: Sequence[Node]) -> Node | None:
    """Go from bad outputs to bad inputs, NaN before infinities, until there is none; return the first node that is reached."""
    place = {node: k for k, node in enumerate((*graph.inputs, *graph.nodes))}
    kinds: dict[Node, int] = {}
    for node in place:
        kind = _kind(values[node]) if node in values else FINE
        bad = [child for child in _reads(node) if kinds.get(child)]
        may_mask = kind == INFINITE and (node.primitive is CONSTANT or (bad and all(kinds[c] < 0 for c in bad)))
        kinds[node] = -INFINITE if may_mask else kind
    reached = [node for node in outputs if kinds[node] > 0]
    seen = set(reached)
    origins = []
    while reached:
        node = reached.pop()
        below = [child for child in _reads(node) if kinds[child] > 0]
        below = [child for child in below if kinds[child] == NAN] or below
        if not below:
            origins.append(node)
        reached += [child for child in below if child not in seen]
        seen.update(below)
    return min(origins, key=place.__getitem__, default=None)


def _reads(node: Node) -> tuple[Node, ...]:
    """Return the inputs of an operation; those of the whole update for one of its outputs."""
    inputs = node.inputs or ()
    return inputs[0].inputs or () if node.primitive is GET and inputs[0].primitive is CALL else inputs


def _number(value: Any) -> float:
    """Return the first number that is not finite."""
    parts = value if isinstance(value, tuple) else (value,)
    array = next(np.asarray(part) for part in parts if _kind(part))
    return float(array[~np.isfinite(array)].flat[0])


def _told(node: Node, values: Values) -> Origin:
    if node.primitive is GET and (node.inputs or ())[0].primitive is CALL:
        return _in_body(node, values)
    value = _number(values[node])
    if node.primitive is INPUT or node.primitive is None:
        return Origin("", str(node.attributes.get("name", "an input")), value)
    return Origin(node.primitive.name, node.label, value)


def _in_body(node: Node, values: Values) -> Origin:
    """Return the operation of an update that went wrong, and which update that is."""
    (call,) = node.inputs or ()
    body = call.attributes["body"]
    inside = _interpreted(body, [values[child] for child in call.inputs or ()], {})
    found = _first(body, inside, [body.outputs[node.attributes["index"]]])
    if found is None:
        return Origin(f"an operation in {body.name}", call.label, _number(values[node]))
    origin = _told(found, inside)
    return Origin(f"{origin.operation} in {body.name}", call.label, origin.value)
