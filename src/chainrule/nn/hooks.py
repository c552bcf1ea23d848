"""Functions that are called around a module's forward and backward pass.

A hook on the backward pass is an operation of the graph: the identity, whose gradient rule calls the hook. So it also
works, and is recorded, while a function is traced, as long as it uses tensors only.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import ArgumentTypeError, ShapeError, TraceError
from chainrule.graph import Array, Node, Primitive, Spec, primitive
from chainrule.graph.sizes import numel, same_shape
from chainrule.run import value_node
from chainrule.tensors.apply import apply
from chainrule.tensors.attributes import in_attributes
from chainrule.tensors.changes import CHANGES
from chainrule.tensors.shaping import cat
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.structure import set_hooked
from chainrule.tensors.tensor import Tensor, current_node

if TYPE_CHECKING:
    from chainrule.nn.module import Module

Hook = Callable[..., Any]
OnGradient = Callable[[Tensor], "Tensor | None"]


class RemovableHandle:
    """What registering a hook returns: ``remove()`` takes the hook away; used in a ``with``, at its end."""

    _count = 0

    def __init__(self, module: Module, *kinds: str) -> None:
        RemovableHandle._count += 1
        self.id = RemovableHandle._count
        self._module = module
        self._kinds = kinds

    def remove(self) -> None:
        """Take the hook away; once is enough."""
        for kind in self._kinds:
            getattr(self._module, kind).pop(self.id, None)
        set_hooked(self._module)
        CHANGES.bump()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


BEFORE_FORWARD, AFTER_FORWARD = "_forward_pre_hooks", "_forward_hooks"
BEFORE_BACKWARD, AFTER_BACKWARD = "_backward_pre_hooks", "_backward_hooks"
WITH_KEYWORDS = {BEFORE_FORWARD: "_forward_pre_hooks_with_kwargs", AFTER_FORWARD: "_forward_hooks_with_kwargs"}
ALWAYS_CALLED = "_forward_hooks_always_called"


def register(
    module: Module, kind: str, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False, always: bool = False
) -> RemovableHandle:
    """Keep ``hook`` with the others of its kind; return the handle that removes it."""
    if not callable(hook):
        raise ArgumentTypeError(f"a hook of type {type(hook).__name__}", expected="a function")
    also = ([WITH_KEYWORDS[kind]] if with_kwargs else []) + ([ALWAYS_CALLED] if always else [])
    handle = RemovableHandle(module, kind, *also)
    hooks: OrderedDict[int, Hook] = getattr(module, kind)
    hooks[handle.id] = hook
    for flags in also:
        getattr(module, flags)[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    module.__dict__["_hooked"] = True
    CHANGES.bump()
    return handle


def call_with_hooks(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run ``forward`` with the hooks around it."""
    called: set[int] = set()
    result: Any = None
    try:
        args, kwargs = _before_forward(module, args, kwargs)
        pass_ = BackwardPass(module) if module._backward_hooks or module._backward_pre_hooks else None
        if pass_ is not None:
            args = pass_.watch_inputs(args)
        result = module.forward(*args, **kwargs)
        for key, hook in list(module._forward_hooks.items()):
            called.add(key)
            replaced = _after_forward(module, key, hook, args, kwargs, result)
            result = result if replaced is None else replaced
        return result if pass_ is None else pass_.watch_outputs(result)
    except BaseException:
        for key, hook in list(module._forward_hooks.items()):
            if key in module._forward_hooks_always_called and key not in called:
                _after_forward(module, key, hook, args, kwargs, result)
        raise


def _before_forward(
    module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    for key, hook in list(module._forward_pre_hooks.items()):
        _note(hook)
        if key in module._forward_pre_hooks_with_kwargs:
            new = hook(module, args, kwargs)
            if new is None:
                continue
            if not (isinstance(new, tuple) and len(new) == 2):
                raise ArgumentTypeError(
                    f"the forward pre-hook {_name(hook)} returned {type(new).__name__}",
                    expected="None or (args, kwargs)",
                )
            args, kwargs = new
        elif (new := hook(module, args)) is not None:
            args = new if isinstance(new, tuple) else (new,)
    return args, kwargs


def _after_forward(
    module: Module, key: int, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
) -> Any:
    made = STATE.trace.made if STATE.mode == TRACE and STATE.trace is not None else None
    _note(hook)
    first, before = (0, 0) if made is None else (len(made), sys.getrefcount(result))
    if key in module._forward_hooks_with_kwargs:
        new = hook(module, args, kwargs, result)
    else:
        new = hook(module, args, result)
    if made is not None and new is None and _keeps(result, before, made[first:]):
        raise TraceError(
            f"the forward hook {_name(hook)} keeps a tensor inside a compiled function: Python would do it once, while "
            "tracing, and never again",
            fix="write into a buffer, return the tensor from the compiled function, or call the model uncompiled",
        )
    return new


def _note(hook: Hook) -> None:
    """While tracing, let it matter what a hook reads and changes outside."""
    if STATE.trace is not None:
        STATE.trace.reached.note(hook)


ALONE = 4  # references to a tensor: the trace's, a list's, a variable's, and that of who counts


def _keeps(result: Any, before: int, made: list[Tensor]) -> bool:
    """Say whether somebody holds ``result``, of which there were ``before`` references, or a tensor made meanwhile.

    In an attribute it may be: each run puts one there.
    """
    shown = [id(x._parent) for x in made if x._parent is not None]
    shown += [] if STATE.reads is None else [id(x) for x in in_attributes(STATE.reads)]
    held = sys.getrefcount(result) - before - shown.count(id(result))
    return held > 1 or any(sys.getrefcount(x) > ALONE + shown.count(id(x)) for x in made)


def _name(hook: Hook) -> str:
    return getattr(hook, "__qualname__", repr(hook))


# -- the backward pass -------------------------------------------------------------------------------------------------


class Watched(Primitive):
    """y = x; ``hook`` is called with the gradient that arrives, and may replace it"""

    name = "watched"
    reads = ("",)

    def shape(self, x: Any, *, hook: OnGradient) -> Spec:
        return Spec(x.shape, x.dtype)

    def evaluate(self, x: Array, *, hook: OnGradient) -> Array:
        return np.array(x)  # not x itself: a write in place to y would not be seen as one to x

    def lower(self, e: Any, x: Any, *, hook: OnGradient) -> Any:
        return x  # the hook was called while tracing: what it did is part of the graph

    def vjp(self, g: Node, y: Node, x: Node, *, need: tuple[bool, ...], hook: OnGradient) -> Node:
        arrived = Tensor(None, g) if g.value is None else Tensor(g.value, g if g.requires_grad else None)
        replaced = hook(arrived)
        if replaced is None:
            return g  # d x = dx
        node = current_node(replaced)
        if node is None:
            return value_node(replaced._value)
        if node.value is None and replaced._value is not None:
            node.keep(replaced._value, replaced._storage)
        return node


WATCHED = primitive("watched")


class BackwardPass:
    """One call of a module with backward hooks: it gathers the gradients of the outputs, then those of the inputs."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.of_outputs: tuple[Tensor | None, ...] | None = None
        self.input_places: list[int] = []
        self.num_inputs = 0

    def watch_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments, the tensors among them through the operation that tells of their gradients."""
        self.num_inputs = len(args)
        self.input_places = [k for k, x in enumerate(args) if isinstance(x, Tensor) and x.requires_grad]
        if not self.input_places:
            return args
        watched = watch([args[k] for k in self.input_places], self._inputs_known)
        out = list(args)
        for k, x in zip(self.input_places, watched, strict=True):
            out[k] = x
        return tuple(out)

    def watch_outputs(self, result: Any) -> Any:
        """Return the result, its tensors through the operation that tells of their gradients."""
        single = isinstance(result, Tensor)
        values = [result] if single else list(result) if isinstance(result, (tuple, list)) else []
        places = [k for k, y in enumerate(values) if isinstance(y, Tensor) and y.requires_grad]
        if not places:
            return result

        def outputs_known(gradients: Sequence[Tensor]) -> Sequence[Tensor] | None:
            found: list[Tensor | None] = [None] * len(values)
            for k, g in zip(places, gradients, strict=True):
                found[k] = g
            new = self._outputs_known(tuple(found))
            return [g if new[k] is None else new[k] for k, g in zip(places, gradients, strict=True)]  # type: ignore[misc]  # None was replaced

        for k, y in zip(places, watch([values[k] for k in places], outputs_known), strict=True):
            values[k] = y
        return values[0] if single else type(result)(values)

    def _outputs_known(self, gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        for hook in list(self.module._backward_pre_hooks.values()):
            _note(hook)
            new = hook(self.module, gradients)
            if new is not None:
                gradients = _as_tuple(new, len(gradients), hook)
        self.of_outputs = gradients
        if not self.input_places:  # nothing further down will call
            for hook in list(self.module._backward_hooks.values()):
                _note(hook)
                hook(self.module, (None,) * self.num_inputs, gradients)
        return gradients

    def _inputs_known(self, gradients: Sequence[Tensor]) -> Sequence[Tensor] | None:
        if self.of_outputs is None:  # a gradient of a gradient: it reached the inputs without passing the outputs
            return None
        found: list[Tensor | None] = [None] * self.num_inputs
        for k, g in zip(self.input_places, gradients, strict=True):
            found[k] = g
        arrived = tuple(found)
        for hook in list(self.module._backward_hooks.values()):
            _note(hook)
            new = hook(self.module, arrived, self.of_outputs)
            if new is not None:
                arrived = _as_tuple(new, len(arrived), hook)
        self.of_outputs = None
        out = [arrived[k] for k in self.input_places]
        return [old if new is None else new for old, new in zip(gradients, out, strict=True)]


def _as_tuple(new: Any, count: int, hook: Hook) -> tuple[Tensor | None, ...]:
    found = new if isinstance(new, tuple) else (new,)
    if len(found) != count:
        raise ArgumentTypeError(
            f"the backward hook {_name(hook)} returned {len(found)} gradients", expected=f"None or {count} of them"
        )
    return found


def watch(tensors: Sequence[Tensor], hook: Callable[[Sequence[Tensor]], Sequence[Tensor] | None]) -> list[Tensor]:
    """Return the tensors themselves; ``hook`` is called once, with the gradients of all of them, when they are known.

    Several tensors go through the operation as one vector, so that their gradients arrive together.
    """

    def checked(gradients: Sequence[Tensor]) -> Sequence[Tensor] | None:
        new = hook(gradients)
        for old, g in zip(gradients, new or (), strict=False):
            if not same_shape(tuple(old.shape), tuple(g.shape)):
                raise ShapeError(
                    f"a backward hook returned a gradient of shape {tuple(g.shape)}", expected=f"{tuple(old.shape)}"
                )
        return new

    def of_one(g: Tensor) -> Tensor | None:
        new = checked([g])
        return None if new is None else new[0]

    if len(tensors) == 1:
        return [apply(WATCHED, (tensors[0],), {"hook": of_one})]
    shapes = [tuple(x.shape) for x in tensors]

    def apart(vector: Tensor) -> list[Tensor]:
        out, start = [], 0
        for shape in shapes:
            stop = start + numel(shape)
            out.append(vector[start:stop].reshape(shape))
            start = stop
        return out

    def of_vector(g: Tensor) -> Tensor | None:
        new = checked(apart(g))
        return None if new is None else cat([x.reshape(-1) for x in new])

    return apart(apply(WATCHED, (cat([x.reshape(-1) for x in tensors]),), {"hook": of_vector}))
