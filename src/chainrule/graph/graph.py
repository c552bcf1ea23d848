"""A graph: nodes from inputs to outputs, in an order in which each can be computed; and the recorder that writes one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from chainrule.graph.node import Node
from chainrule.graph.primitive import Array, Dtype, Primitive, Spec, primitive
from chainrule.graph.size_in_code import plain, plain_attributes
from chainrule.graph.sizes import Shape, Size

SMALL = 16  # elements of a constant that is worth looking for an equal one


class Graph:
    """Inputs, outputs, and the nodes between them that some output needs, each after the nodes it reads."""

    def __init__(self, inputs: Iterable[Node], outputs: Iterable[Node], name: str = "graph") -> None:
        self.name = name
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.nodes = _in_order(self.inputs, self.outputs)

    def without_unused_inputs(self, kept: Iterable[Node] = ()) -> Graph:
        """Return the graph with those inputs only that some node reads, that are outputs, or that are to be ``kept``."""
        read = {child for node in self.nodes for child in node.inputs or ()}
        read.update(self.outputs, kept)
        return Graph([node for node in self.inputs if node in read], self.outputs, self.name)

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.inputs)} inputs, {len(self.nodes)} nodes, {len(self.outputs)} outputs>"

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)


def _in_order(inputs: tuple[Node, ...], outputs: tuple[Node, ...]) -> tuple[Node, ...]:
    """Return every node below ``outputs`` that is no input, inputs of a node first. Iterative: depth is no limit."""
    done = set(inputs)
    order: list[Node] = []
    stack: list[tuple[Node, bool]] = [(node, False) for node in reversed(outputs)]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(node.inputs or ()) if child not in done)
    return tuple(order)


class Recording:
    """The recorder of a trace: it asks the shape rule and writes the node down."""

    def __init__(self) -> None:
        self.keeps_gradients = True
        self.label = ""
        self._constants: dict[tuple[Any, ...], Node] = {}  # by contents
        self._numbers: dict[tuple[Any, ...], Node] = {}

    def constant(self, value: Array) -> Node:
        """Return a node that holds ``value``; equal small values share one."""
        if value.size > SMALL:
            return constant(value)
        key = (value.dtype, value.shape, value.tobytes())
        node = self._constants.get(key)
        if node is None:
            node = self._constants[key] = constant(value)
        return node

    def apply(self, primitive: Primitive, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Node:
        """Return the new node of one operation."""
        inputs = operands
        for operand in operands:
            if type(operand) is not Node:
                inputs = self._with_constants(operands)
                break
        if attributes:
            attributes = plain_attributes(attributes)
        spec = primitive.shape(*inputs, **attributes)
        requires_grad = False
        if self.keeps_gradients and primitive.differentiable and (primitive.outputs > 1 or spec.dtype.kind == "f"):
            for node in inputs:
                if node.requires_grad:
                    requires_grad = True
                    break
        if primitive.outputs > 1:
            spec = Spec(tuple(s.shape for s in spec), tuple(s.dtype for s in spec))  # type: ignore[arg-type]  # one each
        node = Node(primitive, inputs, attributes, spec.shape, spec.dtype, requires_grad)
        node.label = self.label
        return node

    def _with_constants(self, operands: tuple[Any, ...]) -> tuple[Node, ...]:
        # the last: the first operand of `where` is its condition
        dtype = next((o.dtype for o in reversed(operands) if type(o) is Node), np.dtype(np.float32))
        return tuple(o if type(o) is Node else self.number(o, dtype) for o in operands)

    def number(self, value: Any, dtype: Dtype) -> Node:
        """Return the node of a Python number (or of a symbolic size) as a 0-d value of ``dtype``."""
        value = plain(value)
        if type(value) is Size:
            return Node(primitive("size"), (), {"size": value, "dtype": dtype}, (), dtype, False)
        key = (dtype, type(value), value, str(value))  # str: 0.0 and -0.0 are equal and differ
        node = self._numbers.get(key)
        if node is None:
            with np.errstate(all="ignore"):
                node = self._numbers[key] = self.constant(np.asarray(value).astype(dtype))
        return node


def constant(value: np.ndarray[Any, Any]) -> Node:
    """Return a node that holds ``value``."""
    return Node(primitive("constant"), (), {}, value.shape, value.dtype, False, value)


def graph_input(name: str, shape: Shape, dtype: Dtype, *, requires_grad: bool = False) -> Node:
    """Return a node that stands for a value given at each run."""
    attributes = {"name": name, "shape": shape, "dtype": dtype}
    return Node(primitive("input"), (), attributes, shape, dtype, requires_grad)
