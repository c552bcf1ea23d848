"""Gradients of tensors: ``backward``, ``grad``, and the contexts that say whether a tape is kept."""

from __future__ import annotations

import functools
import importlib
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from chainrule.backward import chain_rule
from chainrule.errors import ArgumentTypeError, GradientError, NameUnknown, ShapeError, nearest
from chainrule.graph import Node, recording
from chainrule.graph.recorder import Recorder
from chainrule.graph.sizes import same_shape
from chainrule.run import Evaluating, value_node
from chainrule.tensors.memory import write
from chainrule.tensors.state import PLAIN, STATE, TAPE, TRACE
from chainrule.tensors.tensor import NOT_KEPT, Tensor, concrete, current_node, numpy_dtype, shared_storage

F = TypeVar("F", bound=Callable[..., Any])


class set_grad_enabled:  # noqa: N801 - PyTorch's name
    """Keep a tape, or none: a call, a context or (as ``no_grad`` and ``enable_grad``) a decorator.

    >>> with set_grad_enabled(False):
    ...     is_grad_enabled()
    False
    """

    def __init__(self, mode: bool) -> None:
        self.wanted = bool(mode)
        self.before: list[bool] = [is_grad_enabled()]
        _set(self.wanted)

    def __enter__(self) -> None:
        _set(self.wanted)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _set(self.before.pop() if len(self.before) > 1 else self.before[0])


class _Switch:
    """A context and decorator that sets the tape on or off and restores what was."""

    wanted = False

    def __init__(self) -> None:
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(is_grad_enabled())
        _set(self.wanted)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _set(self.before.pop())

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]  # the same signature


class no_grad(_Switch):  # noqa: N801 - PyTorch's name
    """Keep no tape inside: results do not require grad."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        made = super().__new__(cls)
        if function is not None:
            made.__init__()  # type: ignore[misc]  # used as @no_grad without parentheses
            return made(function)
        return made


class enable_grad(_Switch):  # noqa: N801 - PyTorch's name
    """Keep a tape inside, also within ``no_grad``."""

    wanted = True


inference_mode = no_grad


def is_grad_enabled() -> bool:
    """Return whether operations are put on the tape."""
    if STATE.mode == TRACE and STATE.trace is not None:
        return STATE.trace.recording.keeps_gradients
    return STATE.mode == TAPE


def _set(wanted: bool) -> None:
    if STATE.mode == TRACE and STATE.trace is not None:
        STATE.trace.recording.keeps_gradients = wanted
    else:
        STATE.mode = TAPE if wanted else PLAIN


def backward(
    tensor: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add to ``grad`` of every leaf below ``tensor`` its gradient: the chain rule, from here to the inputs.

    ``gradient``      of the same shape; may be left out for a tensor of one element (then 1)
    ``retain_graph``  keep the values that the gradient reads, for another pass (default: as ``create_graph``)
    ``create_graph``  record the backward pass, so that gradients have gradients
    ``inputs``        collect at these tensors only

    Raises GradientError if no gradient is wanted below ``tensor``, or the tape was freed by an earlier pass.
    """
    keep = create_graph if retain_graph is None else retain_graph
    chosen = None if inputs is None else [inputs] if isinstance(inputs, Tensor) else list(inputs)
    found = _sweep([tensor], [gradient], chosen, keep, create_graph)
    if STATE.mode == TRACE and STATE.trace is not None:
        STATE.trace.backward_called = True
    taken: set[int] = set() if gradient is None or gradient._value is None else {id(gradient._value)}
    for owner, node in found:
        collect(owner, node, taken, create_graph)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Return the gradients of Σ ⟨grad_output, output⟩ with respect to ``inputs``, and collect none in ``grad``."""
    outs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    ins = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    seeds: list[Tensor | None]
    if grad_outputs is None:
        seeds = [None] * len(outs)
    else:
        seeds = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs)
    keep = create_graph if retain_graph is None else retain_graph
    found = {id(owner): node for owner, node in _sweep(outs, seeds, ins, keep, create_graph)}
    results: list[Tensor | None] = []
    for k, x in enumerate(ins):
        node = found.get(id(x))
        if node is not None:
            results.append(to_tensor(node, create_graph))
        elif materialize_grads:
            results.append(Tensor(np.zeros(x._value.shape, x._value.dtype)))
        elif allow_unused:
            results.append(None)
        else:
            raise GradientError(
                f"grad: input {k} (shape {tuple(x.shape)}) is not used to compute the outputs",
                fix="pass allow_unused=True to get None for it",
            )
    return tuple(results)


def _sweep(
    outputs: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    inputs: Sequence[Tensor] | None,
    keep: bool,
    create_graph: bool,
) -> list[tuple[Tensor, Node]]:
    """Run the chain rule from ``outputs``; return (tensor, node of its gradient)."""
    roots, seeds = [], []
    for output, gradient in zip(outputs, gradients, strict=True):
        node = current_node(output)
        if node is None or not node.requires_grad:
            raise GradientError(
                f"backward of a tensor of shape {tuple(output.shape)} that does not require grad: no tape leads to it",
                fix="set requires_grad=True on a leaf below it, and compute it outside of no_grad",
            )
        roots.append(node)
        seeds.append(_seed(output, gradient, node))
    trace = STATE.trace if STATE.mode == TRACE else None
    wanted: dict[Node, Tensor] | None = None
    if inputs is not None:
        wanted = {}
        for k, x in enumerate(inputs):
            node = current_node(x)
            if node is None or not node.requires_grad:
                raise GradientError(f"the gradient with respect to input {k}, which does not require grad")
            wanted[node] = x
    elif trace is not None:
        wanted = {**trace.leaves, **trace.retained}
    recorder: Recorder
    if trace is not None:
        recorder = trace.recording
        before = trace.recording.keeps_gradients
        trace.recording.keeps_gradients = create_graph
    else:
        recorder = Evaluating(record=create_graph)
    try:
        with recording(recorder), np.errstate(all="ignore"):
            found = chain_rule(roots, seeds, wanted, free=not keep and trace is None)
    finally:
        if trace is not None:
            trace.recording.keeps_gradients = before
    if wanted is not None:
        return [(wanted[node], g) for node, g in found.items()]
    owned = [(node.owner() if node.owner is not None else None, g) for node, g in found.items()]
    return [(owner, g) for owner, g in owned if owner is not None]


def _seed(output: Tensor, gradient: Tensor | None, node: Node) -> Node:
    if gradient is None:
        if node.shape != () and not all(size == 1 for size in node.shape):
            raise GradientError(
                f"backward of a tensor of shape {tuple(node.shape)}", expected="one element, or a gradient argument"
            )
        one = value_node(np.ones(node.shape, node.dtype))
        if STATE.mode == TRACE and STATE.trace is not None:
            return STATE.trace.constant(one.value)
        return one
    if not isinstance(gradient, Tensor):
        raise ArgumentTypeError(f"backward: got a gradient of type {type(gradient).__name__}", expected="a tensor")
    if not same_shape(tuple(gradient.shape), tuple(node.shape)):
        raise ShapeError(
            f"backward: the gradient has shape {tuple(gradient.shape)}", expected=f"the tensor's {tuple(node.shape)}"
        )
    if numpy_dtype(gradient) != node.dtype:
        gradient = gradient.to(output.dtype)
    seed = current_node(gradient)
    if seed is not None and STATE.mode == TRACE:
        return seed
    if seed is not None and seed.requires_grad:
        if seed.value is None:
            seed.keep(gradient._value, gradient._storage)
        return seed
    return value_node(gradient._value)


def to_tensor(node: Node, create_graph: bool) -> Tensor:
    """Return the tensor of a gradient."""
    if STATE.mode == TRACE and STATE.trace is not None:
        return STATE.trace.tensor(node)
    if not create_graph or not node.requires_grad:
        return Tensor(node.value)
    y = Tensor(node.value, node)
    node.storage, node.version = shared_storage(y), 0  # the sweep kept its value: a write to y must be noticed
    return y


def collect(owner: Tensor, node: Node, taken: set[int], create_graph: bool) -> None:
    """Add a gradient to ``owner.grad``. Arrays that are read-only, shared or the caller's are copied first."""
    if STATE.mode == TRACE:
        fresh, before = to_tensor(node, create_graph), owner.grad
        if before is None or create_graph or before.requires_grad:
            owner.grad = fresh if before is None else before + fresh
        else:
            with no_grad():
                write(before, before + fresh)
        return
    if create_graph:
        new = to_tensor(node, True)
        owner.grad = new if owner.grad is None else owner.grad + new
        return
    value = node.value
    if owner._grad is NOT_KEPT:
        owner._grad = None
    if owner.grad is None:
        if id(value) in taken or not value.flags.writeable or value.base is not None:
            value = np.array(value, order="C")
        taken.add(id(value))
        owner._grad = Tensor(value)
    elif owner.grad.requires_grad:
        owner.grad = owner.grad + Tensor(value)
    else:
        np.add(owner.grad._value, value, out=owner.grad._value)
        if owner.grad._storage is not None:
            owner.grad._storage.version += 1


def retain_grad(tensor: Tensor) -> None:
    """Let ``backward`` collect the gradient of this tensor too, although an operation made it."""
    node = current_node(tensor)
    if node is None or not node.requires_grad:
        raise GradientError("retain_grad() on a tensor that does not require grad")
    if STATE.mode == TRACE and STATE.trace is not None:
        STATE.trace.retain_grad(tensor)
    elif node.owner is None:
        concrete(tensor, "retain_grad()")
        node.owner = weakref.ref(tensor)


_ABOVE = {
    "functional": ("chainrule.tensors.autograd_functional", None),
    "gradcheck": ("chainrule.tensors.gradcheck", "gradcheck"),
    "gradgradcheck": ("chainrule.tensors.gradcheck", "gradgradcheck"),
}


def __getattr__(name: str) -> Any:
    """Give PyTorch's names for what rests on this file."""
    if name not in _ABOVE:
        raise NameUnknown(f"chainrule.autograd has no {name!r}", fix=nearest(name, [*globals(), *_ABOVE]))
    module, member = _ABOVE[name]
    found = importlib.import_module(module)
    return found if member is None else getattr(found, member)
