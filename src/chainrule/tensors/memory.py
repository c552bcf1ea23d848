"""Views and writes in place: what shares memory with what, and how the tape follows a write.

A write changes memory at once (eager), and the tape functionally: the base's node becomes "the base with this part
replaced", and every view derives its node anew when it is next asked. A write that the gradient must not see (under
``no_grad``, or through ``detach()``) leaves the gradient where it was, but gives the base a fresh node, so that values
kept before the write can be told from values kept after it.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import DtypeError, InPlaceError, ShapeError
from chainrule.graph import Array, Node, Primitive, Storage, primitive
from chainrule.graph.sizes import Shape, broadcast_shapes, same_shape, surely_same_shape
from chainrule.ops.lines import CACHE_LINE, in_lines
from chainrule.ops.shape import inverse
from chainrule.run import evaluate
from chainrule.tensors.apply import apply, traced
from chainrule.tensors.changes import CHANGES
from chainrule.tensors.dtypes import CATEGORY
from chainrule.tensors.state import STATE, TAPE, TRACE
from chainrule.tensors.tensor import (
    NO_ATTRIBUTES,
    STOP,
    Tensor,
    current_node,
    is_eager_leaf,
    new_leaf,
    numpy_dtype,
    parent_of,
    shared_storage,
)

ALONE = 2  # references to an array: that of its tensor, and that of whoever counts
RESHAPE, PERMUTE, SLICE = primitive("reshape"), primitive("permute"), primitive("slice")
EXPAND, DIAGONAL = primitive("expand"), primitive("diagonal")
SET_VALUE, PUT_SLICE, PUT_DIAGONAL = primitive("set_value"), primitive("put_slice"), primitive("put_diagonal")


def view(made_by: Primitive, x: Tensor, attributes: dict[str, Any], *, never_copies: bool = False) -> Tensor:
    """Return the result of a view operation: it shares the memory of ``x`` wherever NumPy can.

    A reshape may have to copy; ``never_copies`` says that the caller raises then.
    """
    if STATE.mode == TRACE and STATE.trace is not None:
        y = traced(made_by, (x,), attributes)
        if made_by is RESHAPE and not never_copies and not _is_view_for_certain(x, attributes["shape"]):
            if x._value is None:
                STATE.trace.doubt(shared_storage(x), shared_storage(y))
                return y
            if not _shares(x._value.reshape(attributes["shape"]), x._value):
                return y
        return _link(y, x, (made_by, attributes))
    old = x._value
    try:
        new = made_by.evaluate(old, **attributes)
    except (ValueError, TypeError, IndexError):
        new = evaluate(made_by, (old,), attributes)  # which says what is wrong
    y = Tensor(new)
    if STATE.mode == TAPE:
        node = x._node if x._parent is None else current_node(x)
        if node is not None and node.requires_grad:
            y._node = Node(made_by, (node,), attributes, new.shape, new.dtype, True)
    if made_by is RESHAPE and not _shares(new, old):
        return y
    return _link(y, x, (made_by, attributes))


def _shares(new: Array, old: Array) -> bool:
    """Say whether a reshaped array looks at the old one's memory."""
    owner = new.base
    return owner is old or (owner is not None and owner is old.base) or np.may_share_memory(new, old)


def _is_view_for_certain(x: Tensor, shape: tuple[Any, ...]) -> bool:
    """Say whether a traced reshape is a view wherever the elements lie: it only adds or drops axes of size 1."""
    before = [size for size in x.shape if not (type(size) is int and size == 1)]
    after = [size for size in shape if not (type(size) is int and size == 1)]
    return surely_same_shape(tuple(before), tuple(after))


def perhaps_copied(x: Tensor) -> Tensor:
    """Return, in a trace, a tensor equal to ``x`` that shares its memory if that is in row-major order."""
    if STATE.trace is None or (x._value is not None and x._value.flags.c_contiguous):
        return x
    y = traced(RESHAPE, (x,), {"shape": tuple(x.shape)})
    if x._value is None:
        STATE.trace.doubt(shared_storage(x), shared_storage(y))
    return y


def settle(x: Tensor) -> None:
    """Move the memory of ``x`` to the beginning of a cache line, where nobody else looks at it.

    A vector of 512 bits is then in one line; from elsewhere each would be read from two.
    """
    value = x._value
    if type(value) is not np.ndarray or value.ctypes.data % CACHE_LINE == 0 or not value.flags.owndata:
        return
    del value
    if x._parent is None and sys.getrefcount(x._value) <= ALONE:
        x._value = in_lines(x._value)
        CHANGES.note_move()


def move_apart(x: Tensor) -> None:
    """Give ``x`` other memory with the same numbers if somebody else looks at what it has."""
    if sys.getrefcount(x._value) > ALONE:
        replace_memory(x, x._value.copy())


def _link(y: Tensor, x: Tensor, link: tuple[Primitive, dict[str, Any]]) -> Tensor:
    storage = y._storage = shared_storage(x)
    y._parent, y._link = x, link
    y._seen = storage.rebound
    return y


def detach(x: Tensor) -> Tensor:
    """Return a tensor with the memory of ``x`` through which no gradient flows."""
    if STATE.mode == TRACE:
        trace = STATE.trace
        if x._value is not None and trace is not None:
            trace.check_certain(x)
            y = trace.tensor(trace.recording.apply(STOP, (trace.node_without_tape(x),), NO_ATTRIBUTES))
        else:
            y = traced(STOP, (x,), NO_ATTRIBUTES)
    else:
        y = Tensor(x._value)
    return _link(y, x, (STOP, NO_ATTRIBUTES))


def root(x: Tensor) -> Tensor:
    """Return the tensor that owns the memory of ``x``."""
    while (parent := parent_of(x)) is not None:
        if STATE.mode == TRACE and STATE.trace is not None and STATE.trace.owns(x):
            break
        x = parent
    return x


def is_detached(x: Tensor) -> bool:
    """Return whether a ``detach()`` lies between ``x`` and the owner of its memory."""
    while (parent := parent_of(x)) is not None:
        if x._link is not None and x._link[0] is STOP:
            return True
        x = parent
    return False


def write(x: Tensor, new: Tensor) -> Tensor:
    """Write ``new`` (broadcast, converted) into the memory of ``x``; the tape follows. Return ``x``."""
    check_writable(x, new)
    tracked = _gradients_recorded() and (x.requires_grad or new.requires_grad)
    parent = parent_of(x)
    if tracked and parent is None and x.is_leaf and x.requires_grad:
        raise InPlaceError(
            "a write in place to a leaf that requires grad",
            fix="write under `with chainrule.no_grad():`, or use an operation that returns a new tensor",
        )
    if parent is not None and not is_detached(x):
        base = root(x)
        if tracked and base.requires_grad and base.is_leaf:
            raise InPlaceError(
                "a write in place to a view of a leaf that requires grad", fix="write under chainrule.no_grad()"
            )
        if not tracked and _gradients_recorded() and base.requires_grad:
            raise InPlaceError(
                "a write in place, outside of no_grad, to a view that was made under no_grad",
                fix="make the view where gradients are recorded, or write under chainrule.no_grad()",
            )
    if STATE.mode == TRACE and STATE.trace is not None:
        STATE.trace.write(x, _fitted(x, new), tracked)
        return x
    fitted = _fitted(x, new) if tracked else new
    with np.errstate(all="ignore"):
        np.copyto(x._value, new._value, casting="unsafe")
    if x._storage is not None:
        x._storage.version += 1
    if tracked:
        node = current_node(fitted)
        rebind(x, node if node is not None else leaf_of(fitted))
    else:
        refresh(x)
    return x


def write_result(x: Tensor, compute: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """Write what ``compute(x, …)`` returns into ``x``; a gradient of it that reads x reads a copy of what x was."""
    if STATE.mode != TAPE:
        return write(x, compute(x, *args, **kwargs))
    before = Tensor(x._value, current_node(x))
    lent = before._storage = Storage()
    new = compute(before, *args, **kwargs)
    if new._node is not None:
        known = {current_node(y) for y in (x, *args, *kwargs.values()) if isinstance(y, Tensor)}
        _keep_copies(new._node, lent, known)
    return write(x, new)


def _keep_copies(made: Node, lent: Storage, known: set[Node | None]) -> None:
    """Copy the values in ``lent`` memory that the nodes down to the ``known`` ones keep."""
    stack, seen = [made], {made}
    while stack:
        node = stack.pop()
        if node.storage is lent:
            node.keep(np.array(node.value), None)
        if node not in known:
            below = [child for child in node.inputs or () if child not in seen]
            seen.update(below)
            stack.extend(below)


def _gradients_recorded() -> bool:
    if STATE.mode == TRACE and STATE.trace is not None:
        return STATE.trace.recording.keeps_gradients
    return STATE.mode == TAPE


def _fitted(x: Tensor, new: Tensor) -> Tensor:
    """Return ``new`` in the dtype and shape of ``x``."""
    dtype = numpy_dtype(x)
    if numpy_dtype(new) != dtype:
        new = apply(primitive("cast"), (new,), {"dtype": dtype})
    shape = tuple(x.shape)
    return new if same_shape(tuple(new.shape), shape) else apply(EXPAND, (new,), {"shape": shape})


def check_writable(x: Tensor, new: Tensor) -> None:
    """Raise if the memory of ``x`` cannot take ``new``: dtype, shape, or memory that several elements share."""
    old_kind, new_kind = numpy_dtype(x).kind, numpy_dtype(new).kind
    if CATEGORY[new_kind] > CATEGORY[old_kind]:
        raise DtypeError(
            f"a write in place of {numpy_dtype(new)} values into a {numpy_dtype(x)} tensor",
            fix="convert the tensor first, for instance with .float()",
        )
    shape = tuple(x.shape)
    if not same_shape(broadcast_shapes(shape, tuple(new.shape)), shape):
        raise ShapeError(
            f"a write in place of shape {tuple(new.shape)} into a tensor of shape {shape}",
            expected="a shape that broadcasts to the tensor's",
        )
    y: Tensor | None = x
    while y is not None and (parent := parent_of(y)) is not None and y._link is not None:
        if y._link[0] is EXPAND and not same_shape(tuple(y.shape), tuple(parent.shape)):
            raise InPlaceError(
                "a write in place to an expanded tensor: several of its elements share memory", fix="clone() it first"
            )
        y = parent
    if x._value is not None and STATE.mode != TRACE and not x._value.flags.writeable:
        raise InPlaceError("a write in place to memory that is read-only", fix="clone() the tensor first")


def leaf_of(x: Tensor) -> Node:
    """Return a node without a tape for ``x``."""
    return Node(None, (), NO_ATTRIBUTES, x._value.shape, x._value.dtype, False)


def rebind(x: Tensor, node: Node) -> None:
    """Let ``node`` say how eager ``x`` came about, and follow it up to the tensor that owns the memory."""
    parent, link = parent_of(x), x._link
    if parent is not None and link is not None and link[0] is not STOP:
        above = current_node(parent)
        rebind(parent, put_back(link, above if above is not None else leaf_of(parent), node, tape_node))
    elif parent is not None:
        refresh(parent)
    before = current_node(x)
    if before is not None and before.requires_grad and not node.requires_grad:
        # overwritten by a constant: the gradient of what was there is 0, and the tensor still requires one
        node = tape_node(PUT_SLICE, (before, node), _whole(node.shape))
    x._node = node
    storage = shared_storage(x)
    if parent is None:
        storage.rebound += 1
    x._seen = storage.rebound


def _whole(shape: Shape) -> dict[str, Any]:
    """Return the attributes of a slice that is everything."""
    return {"starts": (0,) * len(shape), "stops": shape, "steps": (1,) * len(shape)}


def tape_node(made_by: Primitive, inputs: tuple[Node, ...], attributes: dict[str, Any]) -> Node:
    """Return a node of the tape whose value nobody computes: its gradient reads none."""
    spec = made_by.shape(*inputs, **attributes)
    return Node(made_by, inputs, attributes, spec.shape, spec.dtype, any(node.requires_grad for node in inputs))


def put_back(link: tuple[Primitive, dict[str, Any]], parent: Node, part: Node, build: Any) -> Node:
    """Return the node of ``parent`` with the part that ``link`` views replaced by ``part``."""
    made_by, attributes = link
    node: Node
    if made_by is SLICE:
        node = build(PUT_SLICE, (parent, part), attributes)
    elif made_by is PERMUTE:
        node = build(PERMUTE, (part,), {"axes": inverse(attributes["axes"])})
    elif made_by is DIAGONAL:
        node = build(PUT_DIAGONAL, (parent, part), attributes)
    elif made_by is STOP:
        node = build(SET_VALUE, (parent, part), NO_ATTRIBUTES)
    else:  # a reshape, or an expand that changed no size
        node = build(RESHAPE, (part,), {"shape": parent.shape})
    return node


def refresh(x: Tensor) -> None:
    """Give the owner of the memory of ``x`` a fresh node after a write that the gradient must not see.

    Its gradient stays where it was; values kept before the write are told from values kept after it.
    """
    base = x
    while (parent := parent_of(base)) is not None:
        if base._link is not None and base._link[0] is STOP and base._node is not None and base is not x:
            base._node = _renewed(base)
        base = parent
    if x is not base and x._node is not None and x._link is not None and x._link[0] is STOP:
        x._node = _renewed(x)
    if base._node is not None:
        base._node = _renewed(base)
    if base._storage is not None:
        base._storage.rebound += 1


def _renewed(x: Tensor) -> Node:
    node = x._node
    if node is None or not node.requires_grad:
        return leaf_of(x)
    if is_eager_leaf(x):
        return new_leaf(x) if node.value is not None else node
    return Node(SET_VALUE, (node, leaf_of(x)), NO_ATTRIBUTES, node.shape, node.dtype, True)


def overwrite(x: Tensor, value: Any) -> None:
    """Replace the data of eager ``x`` (an optimizer's step): a write that the gradient does not see."""
    if value is not x._value:
        if not x._value.flags.writeable:
            if np.array_equal(x._value, value, equal_nan=value.dtype.kind == "f"):
                return
            raise InPlaceError("a write in place to memory that is read-only", fix="clone() the tensor first")
        np.copyto(x._value, value)
    if x._storage is not None:
        x._storage.version += 1
    refresh(x)


def replace_memory(x: Tensor, value: Array) -> None:
    """Give a tensor other memory, perhaps of another shape or dtype; it stays the same object and the same leaf.

    What looked at its memory keeps the old one, which then is its own.
    """
    wanted = x.requires_grad
    if x._storage is not None and x._parent is None:
        x._storage.left = weakref.ref(x._value)
    x._value = value
    x._storage, x._parent, x._link = Storage(), None, None
    x._node = new_leaf(x) if wanted else None
    CHANGES.note_move()


__all__ = ["detach", "overwrite", "rebind", "refresh", "replace_memory", "root", "view", "write"]
