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

from chainrule.errors import GradientError
from chainrule.graph import Node, op
from chainrule.graph.primitive import Primitive

Pending = dict[Node, "Node | list[Node | None]"]


def chain_rule(
    outputs: Sequence[Node], seeds: Sequence[Node], wanted: Iterable[Node] | None = None, *, free: bool = False
) -> dict[Node, Node]:
    """Return the gradients at ``wanted`` nodes (None: at every leaf, and where an owner asks for it) of Σₖ ⟨seedₖ, outputₖ⟩.

    A wanted node that no path reaches is absent from the result. With ``free``, each node drops its inputs and kept
    value as soon as its rule ran.
    """
    targets = None if wanted is None else set(wanted)
    uses = _count_uses(outputs)
    useful = None if targets is None else _towards(uses, targets)
    pending: Pending = {}
    for node, seed in zip(outputs, seeds, strict=True):
        _add(pending, node, None, seed)
    found: dict[Node, Node] = {}
    ready = list(dict.fromkeys(node for node in outputs if uses.get(node) == 0))
    while ready:
        node = ready.pop()
        g = pending.pop(node, None)
        if g is not None and (_collects(node) if targets is None else node in targets):
            found[node] = _summed(g)
        if node.primitive is None:
            continue
        inputs = node.inputs
        if inputs is None:
            node.check_not_freed()
            continue
        if g is not None:
            need = tuple([child.requires_grad and (useful is None or child in useful) for child in inputs])
            if True in need:
                for child, part in zip(inputs, _apply_rule(node.primitive, node, inputs, g, need), strict=True):
                    if part is not None:
                        _add(pending, child, node, part)
        for child in inputs:
            if child.requires_grad:
                uses[child] -= 1
                if uses[child] == 0:
                    ready.append(child)
        if free:
            node.free()
    return found


def _collects(node: Node) -> bool:
    return node.primitive is None or node.owner is not None


def _count_uses(outputs: Sequence[Node]) -> dict[Node, int]:
    """Return every node below ``outputs`` that gradients flow through, with how many inputs it is of the others."""
    uses: dict[Node, int] = {node: 0 for node in outputs if node.requires_grad}
    stack = list(uses)
    while stack:
        node = stack.pop()
        if node.inputs is None:
            node.check_not_freed()
            continue
        for child in node.inputs:
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


def _apply_rule(
    primitive: Primitive, node: Node, inputs: tuple[Node, ...], g: Node | list[Node | None], need: tuple[bool, ...]
) -> Sequence[Node | None]:
    """Call the rule of one operation, for the inputs that need a gradient, on values that nobody has written since."""
    saved, reads_output = primitive.kept(need)
    for index in saved:
        inputs[index].check_unchanged()
    if reads_output:
        node.check_unchanged()
    given = primitive.vjp(g, node, *inputs, need=need, **node.attributes)
    parts: tuple[Node | None, ...] = given if type(given) is tuple else (given,)
    if len(parts) != len(inputs):
        raise GradientError(
            f"{primitive.name}: its vjp rule gave {len(parts)} gradients", expected=f"{len(inputs)}, one per input"
        )
    return parts


def _add(pending: Pending, node: Node, source: Node | None, g: Node) -> None:
    """Add ``g`` to what arrived at ``node``; a node with several outputs collects one gradient for each."""
    if node.primitive is not None and node.primitive.outputs > 1:
        index = source.attributes["index"] if source is not None else 0
        slots = pending.setdefault(node, [None] * node.primitive.outputs)
        if isinstance(slots, list):
            before = slots[index]
            slots[index] = g if before is None else op.add(before, g)
        return
    arrived = pending.get(node)
    pending[node] = g if arrived is None else op.add(arrived, g)


def _summed(g: Node | list[Node | None]) -> Node:
    if isinstance(g, list):
        raise GradientError("a gradient was asked for at a node with several outputs", fix="ask for one of its outputs")
    return g
