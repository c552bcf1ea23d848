"""A trace: the graph of a function of tensors, written while the function runs once without values.

Tensors that exist outside (parameters, buffers, optimizer state, data) become inputs when first touched; what the
function assigns to them becomes outputs that are written back in place. Numbers that may change between runs (rates,
draw numbers) are inputs too, read again before each run.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from chainrule.errors import GradientError, InPlaceError, TraceError
from chainrule.graph import Array, Node, Primitive, Recording, Storage, graph_input, op, recording
from chainrule.graph.size_in_code import Asked, plain
from chainrule.graph.sizes import Shape, UndecidedSize
from chainrule.tensors.attributes import take_out
from chainrule.tensors.bindings import Bound, Grad
from chainrule.tensors.facts import is_ordinary, parts_of_object
from chainrule.tensors.memory import put_back, root
from chainrule.tensors.overlaps import shared
from chainrule.tensors.questions import Questions
from chainrule.tensors.state import PLAIN, STATE, TRACE
from chainrule.tensors.tensor import (
    NOT_KEPT,
    STOP,
    Leaked,
    Tensor,
    current_node,
    gradient_not_kept,
    parent_of,
    shared_storage,
)
from chainrule.tensors.toggles import ONCE, Flags, Settings
from chainrule.tensors.user_line import calling_line, user_line


class Trace(Questions):
    """An open trace of one function, called with a batch of ``sizes``."""

    def __init__(
        self, name: str, sizes: Mapping[str, int] | None = None, moving: Iterable[tuple[int, str]] = ()
    ) -> None:
        """``moving`` are attributes, by the id of the object and name, that held other tensors before."""
        super().__init__(name)
        self.is_run = True  # once it is made
        self.moving = frozenset(moving)
        self.asked = Asked(sizes or {}, calling_line)
        self.recording = Recording()
        self.inputs: list[Node] = []
        self._without_tape: set[int] = (
            set()
        )  # tensors that were computed outside with a tape, and are used without, by id
        self._fresh: dict[int, weakref.ref[Tensor]] = {}  # tensors with values that the code makes, by id
        self._lent: dict[int, Tensor] = {}  # those that have the memory of arrays
        self.given: list[tuple[Tensor, str]] = []  # arguments, and their names
        self.made: list[Tensor] = []  # every tensor without a value, to be marked when the trace is over
        self._stand_ins: list[Tensor] = []  # of arguments
        self.bound: dict[int, Bound] = {}
        self.storages: set[Storage] = set()  # of tensors from outside
        self.views: dict[int, tuple[Tensor, tuple[int, int], Node]] = {}
        self.leaves: dict[Node, Tensor] = {}
        self.flags, self.settings = Flags(), Settings()
        self.retained: dict[Node, Tensor] = {}
        self.grads: dict[int, Grad] = {}
        self.modules: dict[int, Any] = {}
        self.names: dict[int, tuple[str, Tensor]] = {}  # of a state: its name, and the parameter whose it is
        self.backward_called = False
        self.takes_gradients = False  # by backward, or otherwise
        self.errors: list[TraceError] = []  # all that were made, raised or not
        self._doubts: dict[Storage, list[Storage]] = {}
        self._doubtful: set[Storage | None] = set()

    def apply(self, primitive: Primitive, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Tensor:
        """Write down one operation; return its result. Operands are tensors or Python numbers."""
        nodes = []
        for operand in operands:
            if isinstance(operand, Tensor):
                if self._doubtful:
                    self.check_certain(operand)
                nodes.append(current_node(operand))
            else:
                nodes.append(operand)
        return self.tensor(self.recording.apply(primitive, tuple(nodes), attributes))

    def tensor(self, node: Node) -> Tensor:
        """Return a traced tensor."""
        y = Tensor(None, node)
        self.made.append(y)
        return y

    def check_caught(self) -> None:
        """Raise the first TraceError that the code caught: what it did then is not what it does in a run."""
        for error in self.errors:
            if user_line(error.__traceback__):
                if isinstance(error, UndecidedSize):
                    raise error
                what = f"{error.what}; the code that is traced catches this, and would go on as in no other run"
                raise TraceError(what, expected=error.expected, fix=error.fix) from error

    def close(self) -> None:
        """Mark every tensor that the trace made, so that whoever still has one is told where it is from; let all others go."""
        self.reached.reads.close()
        self.reached.caches.forget()
        for _ in take_out(self.reached.reads):  # where the trace failed
            pass
        self.settings.put_back()
        self.flags.forget()
        gone: Any = Leaked(self.name)
        kept: dict[int, str] = {}
        for name in self.reached.names:
            value = name.value()
            if is_ordinary(value):
                parts = parts_of_object(value, name.attributes)
                kept |= {id(part): f"{name.text}{place}" for place, part in parts if isinstance(part, Tensor)}
        for y in self.made:
            y._value = Leaked(self.name, kept[id(y)]) if id(y) in kept else gone
        for bound in self.bound.values():
            if bound.rebound:
                shared_storage(bound.tensor).rebound -= bound.rebound
        self.made, self.bound, self.views, self.leaves, self.retained = [], {}, {}, {}, {}
        self.errors, self.given, self._stand_ins, self._lent = [], [], [], {}
        self.grads, self.modules, self.names, self.storages = {}, {}, {}, set()
        self.forget_made()
        self.reached.forget()

    def check_sizes(self) -> None:
        """Raise UndecidedSize if the code decided on a size, also where it went on, or left one outside: it is a number there."""
        if self.asked.sizes:
            for name in self.reached.names:
                value = name.value()
                parts = parts_of_object(value, name.attributes) if is_ordinary(value) else []
                for place, part in [("", value), *parts]:
                    if plain(part) is not part:
                        self.asked.note_left(plain(part), f"{name.text}{place}")
            for owner, attribute, value, _ in self.reached.reads.assigned():
                if plain(value) is not value:
                    self.asked.note_left(plain(value), f"{type(owner).__name__}.{attribute}")
            for place, value in self.reached.entries():
                if plain(value) is not value:
                    self.asked.note_left(plain(value), place)
        self.asked.check()

    def note_fresh(self, x: Tensor) -> None:
        """Note a tensor that the code makes of numbers: each run makes another one."""
        self._fresh[id(x)] = weakref.ref(x)

    def note_lent(self, x: Tensor) -> None:
        """Note a tensor that the code makes of an array, whose memory it has."""
        self._lent[id(x)] = x

    def is_lent(self, x: Tensor) -> bool:
        """Say whether the code made a tensor of an array, whose memory it has."""
        return id(x) in self._lent

    def is_fresh(self, x: Tensor) -> bool:
        """Say whether the code made a tensor with a value."""
        found = self._fresh.get(id(x))
        return found is not None and found() is x

    # -- tensors from outside -------------------------------------------------------------------------------------

    def owns(self, x: Tensor) -> bool:
        """Return whether ``x`` itself was bound as an input (an argument may be a view of other memory)."""
        return id(x) in self.bound

    def argument(self, x: Tensor, shape: Shape, name: str) -> Tensor:
        """Return the traced tensor that stands for an argument of the function; its sizes may be symbols."""
        self.given.append((x, name))
        leaf = self._is_plain_leaf(x, name)
        node = self._input(name, shape, x._value.dtype, requires_grad=leaf)
        stand_in = self.tensor(node)
        stand_in._grad = x._grad
        self._stand_ins.append(stand_in)
        if leaf:
            self.leaves[node] = stand_in
        return stand_in

    def _input(self, name: str, shape: Shape, dtype: Any, *, requires_grad: bool = False) -> Node:
        node = graph_input(name, shape, dtype, requires_grad=requires_grad)
        self.inputs.append(node)
        return node

    def _is_plain_leaf(self, x: Tensor, name: str) -> bool:
        node = x._node
        if node is None or not node.requires_grad:
            return False
        if node.primitive is not None:
            if not self.recording.keeps_gradients:
                self._without_tape.add(id(x))
                return False
            raise TraceError(
                f"{name} (shape {x._value.shape}) was computed outside of the compiled function '{self.name}', with a tape",
                expected="tensors through which no gradient flows to the outside",
                fix="compute it inside, or detach() it",
            )
        return True

    def bind(self, x: Tensor, gradient_of: Tensor | None = None) -> Bound:
        """Make a tensor from outside an input of the graph."""
        storage = shared_storage(x)
        if storage in self.storages:
            raise shared(self, x, "another one")
        self.storages.add(storage)
        leaf = self._is_plain_leaf(x, "a tensor from outside")
        node = self._input(f"tensor {len(self.bound)}", x._value.shape, x._value.dtype, requires_grad=leaf)
        found = self.bound[id(x)] = Bound(x, node, gradient_of)
        if leaf:
            self.leaves[node] = x
        return found

    def node_without_tape(self, x: Tensor) -> Node:
        """Return the node of a tensor from outside that is detached: what made it outside is of no account."""
        before, self.recording.keeps_gradients = self.recording.keeps_gradients, False
        try:
            return self.node_of(x)
        finally:
            self.recording.keeps_gradients = before

    def node_of(self, x: Tensor) -> Node:
        """Return the node of a tensor from outside, as it is at this point of the function."""
        bound = self.bound.get(id(x))
        if bound is not None:
            if id(x) in self._without_tape:
                self._is_plain_leaf(x, "a tensor from outside")
            return bound.node
        parent = parent_of(x)
        if parent is None or _is_cut_off(x):
            return self.bind(x).node
        base = x
        while (above := parent_of(base)) is not None and id(base) not in self.bound and not _is_cut_off(base):
            base = above
        self.node_of(base)
        bound = self.bound[id(base)]
        count = (bound.rebound if bound.left is None else -1, self.flags.count(base))
        known = self.views.get(id(x))
        if known is not None and known[1] == count:
            return known[2]
        made_by, attributes = x._link or (STOP, {})
        of = bound.left if parent is base and bound.left is not None else self.node_of(parent)
        node = self.recording.apply(made_by, (of,), attributes)
        self.views[id(x)] = (x, count, node)
        return node

    def is_leaf(self, x: Tensor) -> bool:
        """Return whether no operation of this trace made ``x``."""
        if x._value is not None:
            bound = self.bound.get(id(x))
            return (
                bound is None or bound.node is bound.input or not bound.node.requires_grad or bound.node in self.leaves
            )
        return x._node is None or not x._node.requires_grad or x._node in self.leaves

    def is_rewritten(self, x: Tensor) -> bool:
        """Say whether the function has written to a tensor from outside so far."""
        bound = self.bound.get(id(x))
        return bound is not None and bound.rebound > 0

    def note_module(self, module: Any) -> None:
        """Note a module whose attributes the trace depends on."""
        self.modules[id(module)] = module

    def constant(self, value: Array) -> Node:
        """Return a node that holds ``value``."""
        return self.recording.constant(value)

    # -- writes ------------------------------------------------------------------------------------------------------

    def doubt(self, x: Storage, y: Storage) -> None:
        """Note that two tensors may or may not share memory: it depends on strides, which a trace does not know."""
        self._doubts.setdefault(x, []).append(y)
        self._doubts.setdefault(y, []).append(x)

    def check_certain(self, x: Tensor) -> None:
        """Raise if it depends on strides whether a write to another tensor was one to ``x``."""
        if x._storage in self._doubtful:
            raise InPlaceError(
                f"a tensor of shape {tuple(x.shape)} is used after a write, in the compiled function '{self.name}', to "
                "one that was reshaped from it or from which it was reshaped: whether they share memory depends on "
                "strides, which are not known while tracing",
                fix="use view(), which never copies, or clone()",
            )

    def _note_write(self, storage: Storage) -> None:
        reached = [storage]
        seen = {storage}
        while reached:
            for other in self._doubts.get(reached.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    reached.append(other)
        self._doubtful |= seen - {storage}

    def write(self, x: Tensor, new: Tensor, tracked: bool) -> None:
        """Let ``x`` be ``new`` from here on."""
        if self._doubts:
            self.check_certain(x)
            self._note_write(shared_storage(x))
        node = new._node if new._value is None else self.node_of(new)
        if node is None:
            raise TraceError("a write of a tensor without a node")
        self._rebind(x, node, tracked)

    def let_go(self, x: Tensor) -> None:
        """Let views of ``x`` be tensors of their own, as ``x`` gets other memory."""
        if x._value is not None:
            if parent_of(x) is not None and id(x) not in self.bound:
                raise TraceError(
                    f"the compiled function '{self.name}' gives other data to a tensor from outside of shape "
                    f"{x._value.shape} that is a view of another one",
                    fix="write into it with copy_(), or give it other data outside of the function",
                )
            self.node_without_tape(x)
            bound = self.bound[id(x)]
            bound.left = bound.left or bound.node
        for y in self.made:
            if parent_of(y) is not None and root(y) is x:
                y._node = current_node(y)
                y._parent = y._link = y._storage = None

    def _rebind(self, x: Tensor, node: Node, tracked: bool) -> None:
        parent = parent_of(x)
        if id(x) in self.bound or parent is None:
            self._set(x, node, tracked)
            return
        link = x._link or (STOP, {})
        above = self.node_of(parent) if parent._value is not None else _traced_node(parent)
        if x._value is not None and (to := self.bound.get(id(root(x)))) is not None and to.left is not None:
            raise TraceError(
                f"the compiled function '{self.name}' writes into a tensor from outside of shape {x._value.shape}, after it "
                "gave other data to another one with the same memory",
                fix="write into it before, or clone() it outside of the function",
            )
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
                node = self._new_leaf(x, node)
            else:
                node = self._with_gradient_of(old, node)
        if x._value is not None:
            bound = self.bound[id(x)]
            bound.node = node
            bound.rebound += 1
            shared_storage(x).rebound += 1  # until the trace ends: views that the code made ask for their nodes anew
        else:
            x._node = node
            storage = shared_storage(x)
            storage.rebound += 1
            x._seen = storage.rebound

    def _new_leaf(self, x: Tensor, node: Node) -> Node:
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

    # -- gradients ---------------------------------------------------------------------------------------------------

    def require_grad(self, x: Tensor, wanted: bool) -> None:
        """Let a leaf collect its gradient from here on, or not any more; no gradient flows through ``x`` if it is to collect one."""
        node = self.node_now(x)
        if x._value is not None and (id(x) not in self.bound or self.is_fresh(x)):
            raise TraceError(
                f"requires_grad_({wanted}) on a tensor from outside of the compiled function '{self.name}': {ONCE}",
                fix="call it before the compiled function",
            )
        if not self.is_leaf(x):
            raise GradientError(
                "requires_grad_(False) on a tensor that an operation made", fix="use detach() to cut it off"
            )
        new = self._new_leaf(x, node) if wanted else self.recording.apply(STOP, (node,), {})
        self.flags.note(x, node, new)
        self.set_node(x, new)

    def node_now(self, x: Tensor) -> Node:
        """Return the node of a tensor at this point of the function."""
        return self.node_of(x) if x._value is not None else _traced_node(x)

    def set_node(self, x: Tensor, node: Node) -> None:
        """Let a tensor be another node with the same value from here on."""
        if x._value is not None:
            self.bound[id(x)].node = node
        else:
            x._node = node

    def is_from_outside(self, x: Tensor) -> bool:
        """Say whether a tensor was there before, or stands for one that is an argument."""
        return x._value is not None or any(x is stand_in for stand_in in self._stand_ins)

    def check_toggles(self) -> None:
        """Raise if leaves or modules are left otherwise than they were found."""
        self.flags.check(self)
        self.settings.check()

    def wanting(self) -> dict[Node, Tensor]:
        """Return the leaves that want their gradients at this point of the function."""
        return self.flags.wanting(self, self.leaves)

    def retain_grad(self, x: Tensor) -> None:
        """Let ``backward`` collect the gradient of a tensor that an operation of this trace made."""
        self.retained[_traced_node(x)] = x

    def read_grad(self, x: Tensor) -> Tensor | None:
        """Return ``x.grad`` as it is at this point of the function."""
        known = self.grads.get(id(x))
        if known is None:
            before = x._grad
            if before is NOT_KEPT:
                raise gradient_not_kept()
            if before is not None and not self.owns(before):
                self.bind(before, gradient_of=x)
            known = self.grads[id(x)] = Grad(x, before, before, cleared=False)
        if known.now is NOT_KEPT:
            raise gradient_not_kept()
        found: Tensor | None = known.now
        return found

    def has_lost_grad(self, x: Tensor) -> bool:
        """Return whether ``x.grad`` is, at this point of the function, one that was not kept: so is any sum with it."""
        known = self.grads.get(id(x))
        if known is None and x._grad is NOT_KEPT:
            known = self.grads[id(x)] = Grad(x, NOT_KEPT, NOT_KEPT, cleared=False)
        return known is not None and known.now is NOT_KEPT

    def assign_grad(self, x: Tensor, new: Tensor | None) -> None:
        """Let ``x.grad`` be ``new`` from here on."""
        known = self.grads.get(id(x))
        if known is None:
            before = None if x._grad is NOT_KEPT else x._grad
            self.grads[id(x)] = Grad(x, before, new, cleared=True)
        else:
            known.now = new


def _is_cut_off(x: Tensor) -> bool:
    """Say whether a tensor from outside is a detached view of one with a tape, which then is of no account."""
    parent = parent_of(x)
    if parent is None or x._link is None or x._link[0] is not STOP:
        return False
    node = parent._node
    return x._value is not None and node is not None and node.primitive is not None


def _traced_node(x: Tensor) -> Node:
    if x._node is None:
        raise InPlaceError("a write to a tensor of another trace")
    return x._node


def _note(error: TraceError) -> None:
    if STATE.mode == TRACE and STATE.trace is not None:
        STATE.trace.errors.append(error)


TraceError.made = _note


class tracing:  # noqa: N801 - a context, like no_grad
    """Write what happens inside into ``trace``."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def __enter__(self) -> Trace:
        if STATE.mode == TRACE:
            raise TraceError("a compiled function inside another being traced")
        self.before = (STATE.mode, STATE.trace)
        self.trace.recording.keeps_gradients = STATE.mode != PLAIN
        STATE.mode, STATE.trace = TRACE, self.trace
        self.trace.reached.reads.open()
        return self.trace

    def __exit__(self, *_: object) -> None:
        STATE.mode, STATE.trace = self.before
        self.trace.reached.reads.close()
