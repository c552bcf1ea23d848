"""A graph as bytes: equal for graphs that the compiler makes the same code of, before any pass has run.

Everything that a pass reads is in them: primitives, attributes, dtypes, shapes with their symbols, the contents of constants,
which node reads which. Names and labels are not: they are shown and nothing follows from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.digest import sha256
from chainrule.graph import Graph
from chainrule.graph.sizes import Size

FORM = b"graph 1"
PLAIN = frozenset((bool, int, float, complex, str, bytes, type(None)))


class _Unwritable(Exception):
    """A value that has no form here."""


def graph_key(graph: Graph, in_place: Mapping[int, int], hints: Mapping[str, int]) -> bytes | None:
    """Return the bytes of a graph, of what its outputs are written over, and of the sizes its kernels are shaped for.

    None: it has a primitive of the user's own, whose rule ``lower`` is not known by its name, or an attribute of a kind that
    is not known here.
    """
    writer = _Writer()
    try:
        form = writer.graph(graph)
    except _Unwritable:
        return None
    writer.digest.update(repr((form, sorted(in_place.items()), sorted(hints.items()))).encode())
    return FORM + writer.digest.digest()


class _Writer:
    """Turns values into nested tuples that their text tells apart; the contents of arrays go into the digest in order."""

    def __init__(self) -> None:
        self.digest = sha256()
        self.digest.update(FORM)
        self._known: dict[int, Any] = {}  # forms of bodies and attributes, many of which are the same object

    def graph(self, graph: Graph) -> Any:
        number = {node: k for k, node in enumerate(graph.inputs)}
        inputs = [(self.plain(node.shape), node.dtype.str) for node in graph.inputs]
        nodes = []
        for node in graph.nodes:
            number[node] = len(number)
            made_by = node.primitive
            if made_by is None or not made_by.ours:
                raise _Unwritable
            if made_by.name == "constant":
                self.contents(node.value)
            reads = tuple([number[x] for x in node.inputs or ()])
            about = self.once(node.attributes), self.plain(node.shape), self.plain(node.dtype)
            nodes.append((made_by.name, reads, *about))
        return inputs, nodes, [number[node] for node in graph.outputs]

    def contents(self, array: Any) -> None:
        if array.size:
            self.digest.update(np.ascontiguousarray(array).data)

    def once(self, value: Any) -> Any:
        found = self._known.get(id(value))
        if found is None:
            found = self._known[id(value)] = self.graph(value) if isinstance(value, Graph) else self.plain(value)
        return found

    def plain(self, value: Any) -> Any:
        kind = type(value)
        if kind in PLAIN:
            return value
        if kind is tuple or kind is list:
            return kind([part if type(part) in PLAIN else self.plain(part) for part in value])
        if kind is Size:
            return "size", repr(value)
        if isinstance(value, np.dtype):
            return "dtype", value.str
        if kind is dict:
            return "dict", [(key, self.plain(value[key])) for key in sorted(value)]
        if isinstance(value, Graph):
            return "graph", self.once(value)
        if isinstance(value, np.generic):
            return "number", value.dtype.str, value.tobytes()
        if isinstance(value, np.ndarray):
            self.contents(value)
            return "array", value.dtype.str, value.shape
        raise _Unwritable
