"""A graph as a list of steps: each calls one primitive on numbered slots. The interpreter of whole graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.graph import Graph, Node, Primitive
from chainrule.graph.sizes import Size
from chainrule.graph.sizes import evaluate as with_sizes


class Step:
    """One operation: its primitive, the slots it reads and fills, and the slots nobody reads afterwards."""

    __slots__ = ("attributes", "dead", "node", "primitive", "reads", "symbolic", "writes")

    def __init__(self, node: Node, primitive: Primitive, reads: tuple[int, ...], writes: int) -> None:
        self.node = node
        self.primitive = primitive
        self.reads = reads
        self.writes = writes
        self.attributes = node.attributes
        self.symbolic = any(_is_symbolic(value) for value in node.attributes.values())
        self.dead: tuple[int, ...] = ()


def _is_symbolic(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(_is_symbolic(part) for part in value)
    return isinstance(value, Size)


class Program:
    """A graph ready to run on NumPy arrays.

    ``run`` takes one array per graph input and returns one per output. Values are dropped as soon as nobody reads them.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        slots: dict[Node, int] = {node: k for k, node in enumerate(graph.inputs)}
        self.constants: list[tuple[int, Any]] = []
        self.steps: list[Step] = []
        for node in graph.nodes:
            slot = slots[node] = len(slots)
            if node.primitive is not None and node.primitive.name == "constant":
                self.constants.append((slot, node.value))
            elif node.primitive is not None:
                self.steps.append(Step(node, node.primitive, tuple([slots[i] for i in node.inputs or ()]), slot))
        self.size = len(slots)
        self.outputs = tuple([slots[node] for node in graph.outputs])
        self._find_dead()
        self._resolved: dict[tuple[tuple[str, int], ...], list[dict[str, Any]]] = {}

    def _find_dead(self) -> None:
        kept = set(self.outputs) | {slot for slot, _ in self.constants}
        for step in reversed(self.steps):
            dead = [slot for slot in dict.fromkeys(step.reads) if slot not in kept]
            step.dead = tuple(dead)
            kept.update(dead)

    def attributes(self, sizes: dict[str, int]) -> list[dict[str, Any]]:
        """Return each step's attributes with the sizes put in."""
        key = tuple(sorted(sizes.items()))
        found = self._resolved.get(key)
        if found is None:
            found = []
            for step in self.steps:
                attributes = step.attributes
                if step.symbolic:
                    attributes = {k: with_sizes(v, sizes) if _is_symbolic(v) else v for k, v in attributes.items()}
                found.append(attributes)
            if len(self._resolved) >= 64:
                self._resolved.clear()
            self._resolved[key] = found
        return found

    def run(self, inputs: Sequence[Any], sizes: dict[str, int] | None = None) -> list[Any]:
        """Return the outputs for these input arrays; ``sizes`` gives a number to each symbol."""
        if len(inputs) != len(self.graph.inputs):
            raise ShapeError(f"{self.graph.name}: got {len(inputs)} arrays", expected=str(len(self.graph.inputs)))
        values: list[Any] = [None] * self.size
        values[: len(inputs)] = inputs
        for slot, value in self.constants:
            values[slot] = value
        with np.errstate(all="ignore"):
            for step, attributes in zip(self.steps, self.attributes(sizes or {}), strict=True):
                out = step.primitive.evaluate(*[values[slot] for slot in step.reads], **attributes)
                if type(out) is not np.ndarray and step.primitive.outputs == 1:
                    out = np.asarray(out)
                values[step.writes] = out
                for slot in step.dead:
                    values[slot] = None
        return [values[slot] for slot in self.outputs]


