"""The chain rule, once.

Let L depend on the values of a graph, and write ḡ(v) = ∂L/∂v for the gradient at a value v. If v feeds the operations
w₁ … wₖ, then

    ḡ(v) = Σⱼ (∂wⱼ/∂v)ᵀ ḡ(wⱼ)

so ḡ(v) is known as soon as all ḡ(wⱼ) are. The sweep below goes from L back to the inputs in such an order. Each
operation's rule (``vjp``: the map ḡ(w) ↦ (∂w/∂v)ᵀ ḡ(w) for each of its inputs v) is called exactly once, after all
gradients that arrive at it are summed; what several paths share is thereby computed once and never again.

The rules are operations of the graph themselves. Whoever listens (see graph.recorder) evaluates them now, or records
them; recorded gradients have gradients, to any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from chainrule.errors import GradientError, ShapeError
from chainrule.graph import Node, labelled, op
from chainrule.graph.sizes import same_shape

Gradient = Node | list[Node | None]  # of a node with several outputs: one for each, None where none arrived


def chain_rule(
    outputs: Sequence[Node], seeds: Sequence[Node], wanted: Iterable[Node] | None = None, *, free: bool = False
) -> dict[Node, Node]:
    """Return the gradients of Σₖ ⟨seedₖ, outputₖ⟩ at the ``wanted`` nodes (None: at every node with an owner).

    A wanted node that no path reaches is absent from the result. With ``free``, each node drops its inputs and kept
    value as soon as its rule ran.
    """
    targets = None if wanted is None else set(wanted)
    uses = _count_uses(outputs)
    useful = None if targets is None else _towards(uses, targets)
    pending: dict[Node, Gradient] = {}
    for node, seed in zip(outputs, seeds, strict=True):
        _add(pending, node, None, seed)
    found: dict[Node, Node] = {}
    ready = [node for node in dict.fromkeys(outputs) if uses.get(node) == 0]
    while ready:
        node = ready.pop()
        g = pending.pop(node, None)
        if type(g) is Node and (node.owner is not None if targets is None else node in targets):
            found[node] = g
        inputs = node.inputs
        if not inputs:
            continue
        need = tuple([child.requires_grad and (useful is None or child in useful) for child in inputs])
        if g is not None and True in need:
            for child, part in _apply_rule(node, inputs, g, need):
                if child in pending or isinstance(child.dtype, tuple):
                    _add(pending, child, node, part)
                else:
                    pending[child] = part
            if free:
                node.free()
        for child in inputs:
            if child.requires_grad:
                uses[child] -= 1
                if uses[child] == 0:
                    ready.append(child)
    return found


def _count_uses(outputs: Sequence[Node]) -> dict[Node, int]:
    """Return every node below ``outputs`` that gradients flow through, with how many inputs it is of the others."""
    uses: dict[Node, int] = {node: 0 for node in outputs if node.requires_grad}
    stack = list(uses)
    while stack:
        node = stack.pop()
        if node.inputs is None:
            node.check_not_freed()
        for child in node.inputs or ():
            if child.requires_grad:
                if child in uses:
                    uses[child] += 1
                else:
                    uses[child] = 1
                    stack.append(child)
    return uses


def _towards(uses: dict[Node, int], targets: set[Node]) -> set[Node]:
    """Return the nodes that are wanted or have a wanted node below them."""
    consumers: dict[Node, list[Node]] = {}
    for node in uses:
        for child in node.inputs or ():
            consumers.setdefault(child, []).append(node)
    useful = set(targets)
    stack = list(targets)
    while stack:
        for consumer in consumers.get(stack.pop(), ()):
            if consumer not in useful:
                useful.add(consumer)
                stack.append(consumer)
    return useful


def _apply_rule(node: Node, inputs: tuple[Node, ...], g: Gradient, need: tuple[bool, ...]) -> list[tuple[Node, Node]]:
    """Call the rule of one operation, on values unchanged since they were kept; return (input, gradient) where needed."""
    primitive = node.primitive
    assert primitive is not None, "a node with inputs is an operation"
    saved, reads_output = primitive.kept(need)
    for index in saved:
        inputs[index].check_unchanged()
    if reads_output:
        node.check_unchanged()
    try:
        rule = (
            labelled(node.label, primitive.vjp) if node.label else primitive.vjp
        )  # what goes back is of the same layer
        given = rule(g, node, *inputs, need=need, **node.attributes)
    except GradientError as error:
        raise error.within(f"the vjp rule of {primitive.name}") from None
    if given is None and not primitive.ours:
        raise GradientError(
            f"{primitive.name}: its vjp rule gave None, where a gradient was wanted",
            expected="a gradient for each input",
            fix="end vjp with a `return`; where no gradient flows to an input, say so in a tuple: (None,)",
        )
    parts = given if type(given) is tuple else (given,)
    if len(parts) != len(inputs):
        raise GradientError(
            f"{primitive.name}: its vjp rule gave {len(parts)} gradients",
            expected=f"a tuple of {len(inputs)}, one per input, None where none is needed",
        )
    arrived = []
    for index, part in enumerate(parts):
        if part is not None and need[index]:
            x = inputs[index]
            if type(part) is not Node or part.shape != x.shape:
                _check_fit(primitive.name, index, x, part)
            arrived.append((x, part))
    return arrived


def _check_fit(name: str, index: int, x: Node, g: Any) -> None:
    """Raise unless ``g`` can be the gradient of input ``x``."""
    if type(g) is not Node:
        raise GradientError(
            f"{name}: its vjp rule gave a {type(g).__name__} for input {index}",
            expected="a node, made by operations of the graph, or None",
        )
    if not isinstance(x.dtype, tuple) and not same_shape(g.shape, x.shape):
        raise ShapeError(
            f"{name}: its vjp rule gave a gradient of shape {tuple(g.shape)} for input {index}",
            expected=f"the input's {tuple(x.shape)}",
            fix="sum over the axes along which the input was broadcast: op.sum_to(g, shape=x.shape)",
        )


def _add(pending: dict[Node, Gradient], node: Node, source: Node | None, g: Node) -> None:
    """Add ``g``, which comes from ``source``, to what arrived at ``node``."""
    if isinstance(node.dtype, tuple) and source is not None:  # several outputs, of which ``source`` is one
        index = source.attributes["index"]
        slots: Any = pending.setdefault(node, [None] * len(node.dtype))
        slots[index] = g if slots[index] is None else op.add(slots[index], g)
    else:
        arrived = pending.get(node)
        pending[node] = g if arrived is None else op.add(arrived, g)
