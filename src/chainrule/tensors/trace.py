"""A trace: the graph of a function of tensors, written while the function runs once without values.

Tensors that exist outside (parameters, buffers, optimizer state, data) become inputs when first touched; what the
function assigns to them becomes outputs that are written back in place. Scalars that may change between runs (rates,
draw numbers) are inputs too, read through a getter at each run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import InPlaceError, TraceError
from chainrule.graph import Array, Node, Recording, Storage, graph_input, op, recording
from chainrule.graph import constant as constant_node
from chainrule.graph.sizes import Shape
from chainrule.tensors.dtypes import F64, I64
from chainrule.tensors.memory import put_back
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import NOT_KEPT, STOP, Tensor, shared_storage


class Bound:
    """A tensor from outside inside a trace: the input it became, the node it is now, and how often it was rebound."""

    __slots__ = ("input", "node", "rebound", "tensor")

    def __init__(self, tensor: Tensor, node: Node) -> None:
        self.tensor = tensor
        self.input = node
        self.node = node
        self.rebound = 0


class Grad:
    """``x.grad`` inside a trace: before it, now, and whether the function replaced it before reading it."""

    __slots__ = ("before", "cleared", "now", "tensor")

    def __init__(self, tensor: Tensor, before: Tensor | None, now: Tensor | None, *, cleared: bool) -> None:
        self.tensor = tensor
        self.before = before
        self.now = now
        self.cleared = cleared


class Trace:
    """An open trace of one function."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.recording = Recording()
        self.bound: dict[int, Bound] = {}
        self.storages: dict[Storage, Tensor] = {}
        self.views: dict[int, tuple[Tensor, int, Node]] = {}
        self.getters: list[tuple[Node, Callable[[], Any]]] = []
        self.leaves: dict[Node, Tensor] = {}
        self.generators: dict[int, tuple[Any, Node, Node, int]] = {}
        self.grads: dict[int, Grad] = {}
        self.calls: list[Callable[[], Any]] = []
        self.modules: dict[int, Any] = {}
        self.backward_called = False
        self.inputs: list[Node] = []

    # -- tensors from outside -------------------------------------------------------------------------------------

    def owns(self, x: Tensor) -> bool:
        """Return whether ``x`` itself was bound as an input (an argument may be a view of other memory)."""
        return id(x) in self.bound

    def argument(self, x: Tensor, shape: Shape, name: str) -> Tensor:
        """Return the traced tensor that stands for an argument of the function; its sizes may be symbols."""
        leaf = self._is_plain_leaf(x, name)
        node = graph_input(name, shape, x._value.dtype, requires_grad=leaf)
        self.inputs.append(node)
        stand_in = Tensor(None, node)
        stand_in._grad = x._grad
        if leaf:
            self.leaves[node] = stand_in
        return stand_in

    def _is_plain_leaf(self, x: Tensor, name: str) -> bool:
        node = x._node
        if node is None or not node.requires_grad:
            return False
        if node.primitive is not None:
            raise TraceError(
                f"{name} was computed outside of the compiled function '{self.name}' with a tape that leads there",
                fix="compute it inside, or detach() it",
            )
        return True

    def bind(self, x: Tensor, name: str) -> Bound:
        """Make a tensor from outside an input of the graph."""
        storage = shared_storage(x)
        other = self.storages.get(storage)
        if other is not None:
            raise TraceError(
                f"{name} shares memory with another tensor that the compiled function '{self.name}' uses",
                expected="tensors with memory of their own",
                fix="clone() one of them",
            )
        self.storages[storage] = x
        leaf = self._is_plain_leaf(x, name)
        node = graph_input(name, x._value.shape, x._value.dtype, requires_grad=leaf)
        self.inputs.append(node)
        found = self.bound[id(x)] = Bound(x, node)
        if leaf:
            self.leaves[node] = x
        return found

    def node_of(self, x: Tensor) -> Node:
        """Return the node of a tensor from outside, as it is at this point of the function."""
        bound = self.bound.get(id(x))
        if bound is not None:
            return bound.node
        if x._parent is None:
            return self.bind(x, f"tensor{len(self.bound)}").node
        base = x
        while base._parent is not None and id(base) not in self.bound:
            base = base._parent
        self.node_of(base)
        count = self.bound[id(base)].rebound
        known = self.views.get(id(x))
        if known is not None and known[1] == count:
            return known[2]
        made_by, attributes = x._link or (STOP, {})
        node = self.recording.apply(made_by, (self.node_of(x._parent),), attributes)
        self.views[id(x)] = (x, count, node)
        return node

    def is_leaf(self, x: Tensor) -> bool:
        """Return whether no operation of this trace made ``x``."""
        if x._value is not None:
            bound = self.bound.get(id(x))
            return bound is None or bound.node is bound.input or bound.node in self.leaves
        return x._node is None or not x._node.requires_grad or x._node in self.leaves

    # -- scalars and random numbers ----------------------------------------------------------------------------------

    def scalar(self, getter: Callable[[], Any], name: str, dtype: Any = F64) -> Node:
        """Return a 0-d input whose value is ``getter()`` at each run."""
        node = graph_input(name, (), np.dtype(dtype))
        self.inputs.append(node)
        self.getters.append((node, getter))
        return node

    def generator_inputs(self, generator: Any) -> tuple[Node, Node, int]:
        """Return the inputs for seed and draw number of a generator, and how many draws came before this one."""
        known = self.generators.get(id(generator))
        if known is None:
            seed = self.scalar(lambda: np.uint64(generator.seed_value).astype(I64), "seed", I64)
            draw = self.scalar(lambda: generator.draw, "draw", I64)
            known = (generator, seed, draw, 0)
        self.generators[id(generator)] = (*known[:3], known[3] + 1)
        return known[1], known[2], known[3]

    def constant(self, value: Array) -> Node:
        """Return a node that holds ``value``."""
        return constant_node(value)

    # -- writes ------------------------------------------------------------------------------------------------------

    def write(self, x: Tensor, new: Tensor, tracked: bool) -> None:
        """Let ``x`` be ``new`` from here on."""
        node = new._node if new._value is None else self.node_of(new)
        if node is None:
            raise TraceError("a write of a tensor without a node")
        self._rebind(x, node, tracked)

    def _rebind(self, x: Tensor, node: Node, tracked: bool) -> None:
        if id(x) in self.bound or x._parent is None:
            self._set(x, node, tracked)
            return
        link = x._link or (STOP, {})
        parent = x._parent
        above = self.node_of(parent) if parent._value is not None else _traced_node(parent)
        if link[0] is STOP:  # a write through detach(): the parent keeps its gradient
            self._rebind(parent, node, tracked=False)
        else:
            self._rebind(parent, put_back(link, above, node, self.recording.apply), tracked)
        if x._value is None:
            x._node = node
            x._seen = shared_storage(x).rebound

    def _set(self, x: Tensor, node: Node, tracked: bool) -> None:
        old = self.node_of(x) if x._value is not None else _traced_node(x)
        if not tracked and old.requires_grad:
            if old in self.leaves:
                node = self._fresh_leaf(x, node)
            else:
                node = self._with_gradient_of(old, node)
        if x._value is not None:
            bound = self.bound.get(id(x)) or self.bind(x, f"tensor{len(self.bound)}")
            bound.node = node
            bound.rebound += 1
        else:
            x._node = node
            storage = shared_storage(x)
            storage.rebound += 1
            x._seen = storage.rebound

    def _fresh_leaf(self, x: Tensor, node: Node) -> Node:
        with recording(self.recording):
            leaf = op.stop(node)
        leaf.requires_grad = True
        self.leaves[leaf] = x
        return leaf

    def _with_gradient_of(self, old: Node, new: Node) -> Node:
        before, self.recording.keeps_gradients = self.recording.keeps_gradients, True
        try:
            with recording(self.recording):
                return op.set_value(old, new)
        finally:
            self.recording.keeps_gradients = before

    # -- gradients and effects ---------------------------------------------------------------------------------------

    def read_grad(self, x: Tensor) -> Tensor | None:
        """Return ``x.grad`` as it is at this point of the function."""
        known = self.grads.get(id(x))
        if known is None:
            before = None if x._grad is NOT_KEPT else x._grad
            known = self.grads[id(x)] = Grad(x, before, before, cleared=False)
        return known.now

    def assign_grad(self, x: Tensor, new: Tensor | None) -> None:
        """Let ``x.grad`` be ``new`` from here on."""
        known = self.grads.get(id(x))
        if known is None:
            before = None if x._grad is NOT_KEPT else x._grad
            self.grads[id(x)] = Grad(x, before, new, cleared=True)
        else:
            known.now = new

    def after_each_run(self, call: Callable[[], Any]) -> None:
        """Let ``call`` happen after every run: what Python must do beside the graph (a scheduler's step)."""
        self.calls.append(call)

    def note_module(self, module: Any) -> None:
        """Note a module whose attributes the trace depends on."""
        self.modules[id(module)] = module


def _traced_node(x: Tensor) -> Node:
    if x._node is None:
        raise InPlaceError("a write to a tensor of another trace")
    return x._node


class tracing:  # noqa: N801 - a context, like no_grad
    """Write what happens inside into ``trace``."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def __enter__(self) -> Trace:
        if STATE.mode == TRACE:
            raise TraceError("a compiled function inside another being traced")
        self.before = (STATE.mode, STATE.trace)
        self.trace.recording.keeps_gradients = STATE.mode != 0
        STATE.mode, STATE.trace = TRACE, self.trace
        return self.trace

    def __exit__(self, *_: object) -> None:
        STATE.mode, STATE.trace = self.before
