"""The way of a value along the tape: through what must all its influence on the output pass?

A layer's output z reaches the model's output along one path or several (x · σ(x) reads x twice). The nodes that lie on
every path, in order, are the gates of z: its post-dominators. As long as nothing but z, parameters and constants flows
into a gate, the gate is a function of z alone: that is what an activation is, however it is written.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.graph import Array, Node
from chainrule.run import evaluate

MIXES = ("contract",)  # operations after which a value is no longer one layer's


class Gates:
    """The next gate of every node below ``output``.

    The post-dominator tree of the tape, found in one sweep from the output: the next gate of a node is where the paths
    through all its consumers meet first (Cooper, Harvey and Kennedy 2001, on a graph without cycles).
    """

    def __init__(self, output: Node) -> None:
        self.output = output
        self._next: dict[Node, Node] = {}
        self._depth: dict[Node, int] = {output: 0}
        for node, consumers in _consumers(output).items():
            gate = consumers[0]
            for other in consumers[1:]:
                gate = self._meet(gate, other)
            self._next[node] = gate
            self._depth[node] = self._depth[gate] + 1

    def _meet(self, a: Node, b: Node) -> Node:
        while a is not b:
            if self._depth[a] < self._depth[b]:
                a, b = b, a
            a = self._next[a]
        return a

    def above(self, node: Node) -> list[Node]:
        """Return the gates of ``node`` in order, the output last; none for a node that is not below the output."""
        found = []
        while node in self._next:
            node = self._next[node]
            found.append(node)
        return found


def _consumers(output: Node) -> dict[Node, list[Node]]:
    """Return who reads each node below ``output``; every node comes after all its consumers."""
    uses: dict[Node, int] = {output: 0}
    stack = [output]
    while stack:
        for child in stack.pop().inputs or ():
            if child.requires_grad:
                if child not in uses:
                    uses[child] = 0
                    stack.append(child)
                uses[child] += 1
    found: dict[Node, list[Node]] = {}
    readers: dict[Node, list[Node]] = {}
    ready = [output]
    while ready:
        node = ready.pop()
        if node is not output:
            found[node] = readers.pop(node)
        for child in node.inputs or ():
            if child.requires_grad:
                readers.setdefault(child, []).append(node)
                uses[child] -= 1
                if not uses[child]:
                    ready.append(child)
    return found


def same_shape(z: Node, gates: list[Node]) -> list[Node]:
    """Return z and those of its gates that have its shape: a number for each of its units."""
    return [z, *[gate for gate in gates if tuple(gate.shape) == tuple(z.shape)]]


def functions_of(z: Node, gates: list[Node], num_rows: int) -> list[Node]:
    """Return the gates up to the first that another value with an axis of ``num_rows`` flows into."""
    found, before = [], z
    for gate in gates:
        if not _depends_on_nothing_else(gate, before, num_rows):
            break
        found.append(gate)
        before = gate
    return found


def _depends_on_nothing_else(gate: Node, before: Node, num_rows: int) -> bool:
    seen, stack = {before, gate}, [gate]
    while stack:
        node = stack.pop()
        if node.primitive is not None and node.primitive.name in MIXES:
            return False
        if node.primitive is None and _has_rows(node, before.ndim, num_rows):
            return False
        for child in node.inputs or ():
            if child not in seen:
                seen.add(child)
                stack.append(child)
    return True


def _has_rows(leaf: Node, ndim: int, num_rows: int) -> bool:
    """Return whether a leaf holds a number per row. Truth values are made by comparing what is on the path already."""
    return leaf.owner is None and leaf.dtype.kind == "f" and leaf.ndim == ndim and leaf.shape[0] == num_rows


def value_of(node: Node, known: Mapping[Node, Array]) -> Array | None:
    """Return the array of ``node``: known, kept by the tape, or computed again from such; None if that is not possible."""
    values: dict[Node, Array] = {}
    stack = [node]
    while stack:
        at = stack[-1]
        if at in values:
            stack.pop()
            continue
        held = _held(at, known)
        if held is not None:
            values[at] = held
            continue
        if at.primitive is None or at.inputs is None or at.primitive.outputs > 1:
            return None
        missing = [child for child in at.inputs if child not in values]
        if missing:
            stack += missing
            continue
        try:
            values[at] = evaluate(at.primitive, tuple([values[child] for child in at.inputs]), at.attributes)
        except ChainruleError:
            return None
    return values[node]


def _held(node: Node, known: Mapping[Node, Array]) -> Array | None:
    if node in known:
        return known[node]
    if node.value is not None and (node.storage is None or node.storage.version == node.version):
        return np.asarray(node.value) if node.primitive is not None else node.value
    owner = node.owner() if node.owner is not None and node.primitive is None else None
    return None if owner is None else owner._value
