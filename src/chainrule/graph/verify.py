"""Checks that a graph keeps the invariants every stage relies on. A graph that does not is a bug of ours."""

from __future__ import annotations

from chainrule.errors import VerifyError
from chainrule.graph.graph import Graph
from chainrule.graph.node import Node
from chainrule.graph.primitive import Spec, primitives
from chainrule.graph.sizes import same_shape


def verify(graph: Graph) -> None:
    """Raise VerifyError unless each node comes after its inputs, is registered, and has the shape its rule says."""
    known = set(graph.inputs)
    registry = primitives()
    for index, node in enumerate(graph.nodes):
        place = f"graph {graph.name}, node {index} {node!r}"
        if node.primitive is None:
            raise VerifyError(f"{place}: a leaf of eager mode inside a graph", expected="an input or a constant")
        if registry.get(node.primitive.name) is not node.primitive:
            raise VerifyError(f"{place}: its primitive is not the registered one")
        if node in known:
            raise VerifyError(f"{place}: it stands twice")
        for child in node.inputs or ():
            if child not in known:
                raise VerifyError(f"{place}: it reads {child!r}, which comes later or not at all")
        _verify_spec(node, place)
        known.add(node)
    for node in graph.outputs:
        if node not in known:
            raise VerifyError(f"graph {graph.name}: the output {node!r} is computed nowhere")


def _verify_spec(node: Node, place: str) -> None:
    if node.primitive is None or node.inputs is None:
        raise VerifyError(f"{place}: it was freed")
    if node.primitive.name == "constant":
        expected: tuple[Spec, ...] = (Spec(node.value.shape, node.value.dtype),)
    else:
        said = node.primitive.shape(*node.inputs, **node.attributes)
        expected = (said,) if node.primitive.outputs == 1 else tuple(said)
    one = node.primitive.outputs == 1
    shapes, dtypes = ((node.shape,), (node.dtype,)) if one else (node.shape, node.dtype)
    for spec, shape, dtype in zip(expected, shapes, dtypes, strict=True):
        if not same_shape(spec.shape, shape) or spec.dtype != dtype:
            raise VerifyError(f"{place}: it says {dtype}{list(shape)}", expected=f"{spec.dtype}{list(spec.shape)}")
