"""A graph as a list of steps: each calls one primitive on numbered slots. The interpreter of whole graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ChainruleError, IndexingError, ShapeError
from chainrule.graph import Graph, Node, Primitive, primitive
from chainrule.graph.sizes import Size, surely_same_shape
from chainrule.graph.sizes import evaluate as with_sizes
from chainrule.ops.body import run_body
from chainrule.run.interpret import explain
from chainrule.run.written import check_written

CALL, GET, CONSTANT = primitive("call"), primitive("get"), primitive("constant")
STOP, SET_VALUE = primitive("stop"), primitive("set_value")
# Beside views, what may return an array that it was given, or a view of it: a test compares this with what they do.
MAY_SHARE = frozenset(primitive(name) for name in ("cast", "sum_to"))
# Of what indexes: the first of the index arrays among its inputs.
INDICES = {primitive("take"): 1, primitive("spread"): 1, primitive("put"): 2}


Plan = list[tuple["Step", Any, tuple[int, ...], dict[str, Any], tuple[int, ...]]]


class Step:
    """One operation: its primitive, the slots it reads and fills, and the slots nobody reads afterwards.

    ``parts``, of an operation with several outputs: which of them go into which slots.
    ``targets``, of a ``call``: for each output the input in whose memory it is to be written, or -1.
    """

    __slots__ = ("attributes", "dead", "node", "parts", "primitive", "reads", "symbolic", "targets", "writes")

    def __init__(self, node: Node, primitive: Primitive, reads: tuple[int, ...], writes: int) -> None:
        self.node = node
        self.primitive = primitive
        self.reads = reads
        self.writes = writes
        self.attributes = node.attributes
        self.symbolic = any(is_symbolic(value) for value in node.attributes.values())
        self.parts: tuple[tuple[int, int], ...] = ()
        self.targets: tuple[int, ...] = ()
        self.dead: tuple[int, ...] = ()

    @property
    def may_share(self) -> bool:
        """Whether the result may be memory of what it reads."""
        return self.primitive.view or self.primitive in MAY_SHARE


def is_symbolic(value: Any) -> bool:
    """Say whether an attribute holds a size that is no number yet."""
    if isinstance(value, tuple):
        return any(is_symbolic(part) for part in value)
    return isinstance(value, Size)


class Program:
    """A graph ready to run on NumPy arrays.

    ``in_place`` says for outputs which input's memory they may be written into (by position): what an optimizer assigns
    to its parameters. They are where nothing else needs the old value any more.

    ``run`` takes one array per graph input (or a Python number, for those that only ``call`` and random operations read)
    and returns one array per output. These are the caller's own: they share memory with nothing, unless written in place.
    Values are dropped as soon as nobody reads them.
    """

    def __init__(self, graph: Graph, in_place: Mapping[int, int] | None = None) -> None:
        self.graph = graph
        self.written = frozenset((in_place or {}).values())
        slots: dict[Node, int] = {node: k for k, node in enumerate(graph.inputs)}
        self.constants: list[tuple[int, Any]] = []
        self.steps: list[Step] = []
        count = len(slots)
        makers: dict[int, Step] = {}
        for node in late_calls(graph):
            same = same_value(node)
            if same is not None:
                slots[node] = slots[same]
                continue
            slot = slots[node] = count
            count += 1
            if node.primitive is CONSTANT:
                self.constants.append((slot, node.value))
            elif node.primitive is GET:
                maker = makers[slots[(node.inputs or ())[0]]]
                maker.parts = (*maker.parts, (node.attributes["index"], slot))
            elif node.primitive is not None:
                self.steps.append(Step(node, node.primitive, tuple([slots[i] for i in node.inputs or ()]), slot))
                makers[slot] = self.steps[-1]
        self.size = count
        self.outputs = tuple([slots[node] for node in graph.outputs])
        memories = self._memories()
        written = self._write_in_place(in_place, memories) if in_place else set()
        self._copied = self._shared_outputs(memories, written)
        self._find_dead()
        self._plans: dict[tuple[tuple[str, int], ...], Plan] = {}

    def _memories(self) -> list[frozenset[int]]:
        """Return for each slot whose memory it may be: slots of inputs, of constants, and of steps that make their own."""
        memories = [frozenset((slot,)) for slot in range(self.size)]
        for step in self.steps:
            if step.may_share:
                memories[step.writes] = frozenset().union(*[memories[slot] for slot in step.reads])
        return memories

    def _write_in_place(self, in_place: Mapping[int, int], memories: list[frozenset[int]]) -> set[int]:
        """Let calls write where their outputs belong, if nobody reads the old value after them. Return which outputs."""
        last_read: dict[int, int] = {}
        for k, step in enumerate(self.steps):
            for slot in step.reads:
                for memory in memories[slot]:
                    last_read[memory] = k
        for slot in self.outputs:
            for memory in memories[slot]:
                last_read[memory] = len(self.steps)
        made_by = {
            slot: (k, index)
            for k, step in enumerate(self.steps)
            if step.primitive is CALL
            for index, slot in step.parts
        }
        written = set()
        for output, target in in_place.items():
            found = made_by.get(self.outputs[output])
            if found is None:
                continue
            k, index = found
            call = self.steps[k]
            is_free = last_read.get(target, -1) <= k
            if is_free and all(slot == target or target not in memories[slot] for slot in call.reads):
                targets = list(call.targets or (-1,) * len(call.node.shape))
                targets[index] = target
                call.targets = tuple(targets)
                written.add(output)
        return written

    def _shared_outputs(self, memories: list[frozenset[int]], written: set[int]) -> tuple[int, ...]:
        """Return the outputs that may share memory with inputs, constants or other outputs, and are to be copied."""
        taken = {*range(len(self.graph.inputs)), *[slot for slot, _ in self.constants]}
        taken.update(*[memories[self.outputs[k]] for k in written])
        copied = []
        for k, slot in enumerate(self.outputs):
            if k not in written:
                if not taken.isdisjoint(memories[slot]):
                    copied.append(k)
                taken |= memories[slot]
        return tuple(copied)

    def _find_dead(self) -> None:
        kept = set(self.outputs) | {slot for slot, _ in self.constants}
        for step in reversed(self.steps):
            filled = [slot for _, slot in step.parts] or [step.writes]
            dead = [slot for slot in dict.fromkeys((*step.reads, *filled)) if slot not in kept]
            step.dead = tuple(dead)
            kept.update(dead)

    def plan(self, sizes: dict[str, int]) -> Plan:
        """Return each step with its rule and its attributes, the sizes put in."""
        key = tuple(sizes.items())
        found = self._plans.get(key)
        if found is None:
            found = []
            for step in self.steps:
                attributes = step.attributes
                if step.symbolic:
                    attributes = {k: with_sizes(v, sizes) if is_symbolic(v) else v for k, v in attributes.items()}
                found.append((step, step.primitive.evaluate, step.reads, attributes, step.dead))
            if len(self._plans) >= 64:
                self._plans.clear()
            self._plans[key] = found
        return found

    def run(self, inputs: Sequence[Any], sizes: dict[str, int] | None = None) -> list[Any]:
        """Return the outputs for these input arrays; ``sizes`` gives a number to each symbol."""
        if len(inputs) != len(self.graph.inputs):
            raise ShapeError(f"{self.graph.name}: got {len(inputs)} arrays", expected=str(len(self.graph.inputs)))
        for k in self.written:
            check_written(self.graph, k, inputs[k])
        values: list[Any] = [None] * self.size
        values[: len(inputs)] = inputs
        for slot, value in self.constants:
            values[slot] = value
        with np.errstate(all="ignore"):
            for step, evaluate, reads, attributes, dead in self.plan(sizes or {}):
                operands = [values[slot] for slot in reads]
                out: Any
                try:
                    if step.targets:
                        out = call_in_place(step, operands, inputs)
                    else:
                        out = evaluate(*operands, **attributes) if attributes else evaluate(*operands)
                except (ValueError, TypeError, IndexError) as error:
                    raise told(error, step, operands, attributes) from error
                if step.parts:
                    for index, slot in step.parts:
                        values[slot] = out[index]
                else:
                    values[step.writes] = out if type(out) is np.ndarray else np.asarray(out)
                for slot in dead:
                    values[slot] = None
        outputs = [values[slot] for slot in self.outputs]
        for k in self._copied:
            outputs[k] = np.array(outputs[k])
        return outputs


def same_value(node: Node) -> Node | None:
    """Return the input whose value a node only hands on, if it is one of those that matter for gradients alone."""
    inputs = node.inputs or ()
    if node.primitive is STOP:
        return inputs[0]
    if node.primitive is SET_VALUE and surely_same_shape(inputs[0].shape, inputs[1].shape):
        return inputs[1]
    return None


def late_calls(graph: Graph) -> list[Node]:
    """Return the nodes in an order in which each call comes after all that does not depend on it.

    So an optimizer writes its parameters when nobody needs the old ones any more, and after whatever may fail.
    """
    depth: dict[Node, int] = dict.fromkeys(graph.inputs, 0)
    for node in graph.nodes:
        below = max([depth[child] for child in node.inputs or ()], default=0)
        depth[node] = below + 1 if node.primitive is CALL else below
    return sorted(graph.nodes, key=lambda node: 2 * depth[node] - (node.primitive is CALL))


def call_in_place(step: Step, operands: list[Any], inputs: Sequence[Any]) -> tuple[Any, ...]:
    """Run the body of a call; outputs with a target are written there."""
    body = step.attributes["body"]
    like = next(x for x, taken in zip(operands, body.inputs, strict=True) if taken.shape)
    outputs = [
        inputs[target]
        if target >= 0
        else np.empty_like(like, dtype=node.dtype)
        if node.shape
        else np.empty((), node.dtype)
        for target, node in zip(step.targets, body.outputs, strict=True)
    ]
    run_body(body, operands, outputs)
    return tuple(outputs)


def told(error: Exception, step: Step, operands: list[Any], attributes: dict[str, Any]) -> ChainruleError:
    """Return the error of an operation as the user knows it: with its place, in the words of the shape rule if it objects."""
    place = step.node.label or step.primitive.name
    if isinstance(error, (ArgumentError, IndexingError)):  # it names what it is of
        return error.within(step.node.label) if step.node.label else error
    if isinstance(error, ChainruleError):
        return error.within(place)
    try:
        explain(step.primitive, tuple(operands), attributes)
    except ChainruleError as explained:
        return explained.within(place)
    if isinstance(error, IndexError):
        return outside(place, step.primitive, operands, attributes) or IndexingError(f"{place}: {error}")
    name = f"{place}: " if step.node.label else ""
    return ShapeError(f"{name}{step.primitive.name}: {error}")


def outside(place: str, primitive: Primitive, operands: list[Any], attributes: dict[str, Any]) -> IndexingError | None:
    """Return what eager mode says of the first index that is outside of its axis."""
    first = INDICES.get(primitive)
    if first is None:
        return None
    shape = attributes.get("shape") or operands[0].shape
    for axis, places in zip(attributes["axes"], operands[first:], strict=True):
        size = shape[axis]
        if places.size and (places.min() < -size or places.max() >= size):
            bad = int(places.min() if places.min() < -size else places.max())
            return IndexingError(
                f"{place}: index {bad} for axis {axis} of {size} elements", expected=f"{-size} to {size - 1}"
            )
    return None
