"""Gradients of tensors: ``backward`` collects them in ``grad``, ``grad`` returns them."""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from chainrule.backward import chain_rule
from chainrule.errors import ArgumentError, ArgumentTypeError, GradientError, NameUnknown, ShapeError, nearest
from chainrule.forks import undisturbed
from chainrule.graph import Node, Storage, primitive, recording
from chainrule.graph.sizes import same_shape
from chainrule.run import Evaluating, value_node
from chainrule.tensors.apply import apply
from chainrule.tensors.grad_mode import enable_grad as enable_grad
from chainrule.tensors.grad_mode import inference_mode as inference_mode
from chainrule.tensors.grad_mode import is_grad_enabled as is_grad_enabled
from chainrule.tensors.grad_mode import no_grad as no_grad
from chainrule.tensors.grad_mode import set_grad_enabled as set_grad_enabled
from chainrule.tensors.memory import write
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import NOT_KEPT, Tensor, concrete, current_node, numpy_dtype, shared_storage

FULL = primitive("full")
Tensors = Tensor | Iterable[Tensor]
Seeds = Tensor | None | Iterable[Tensor | None]


def backward_of(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Add to ``grad`` of every leaf below this tensor its gradient: the chain rule, from here to the inputs.

    ``gradient``      of the same shape; may be left out for a tensor of one element (then 1)
    ``retain_graph``  keep the values that the gradient reads, for another pass (default: as ``create_graph``)
    ``create_graph``  record the backward pass, so that gradients have gradients
    ``inputs``        collect at these tensors only

    Raises GradientError if no gradient is wanted below this tensor, or the tape was freed by an earlier pass.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """
    backward(self, gradient, retain_graph, create_graph, inputs)


def backward(
    tensors: Tensors,
    grad_tensors: Seeds = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Add to ``grad`` of every leaf below ``tensors`` the gradient of Σ ⟨grad_tensor, tensor⟩: see ``Tensor.backward``."""
    outputs = _listed(tensors, "backward: tensors")
    seeds = _listed_seeds(grad_tensors, outputs, "backward")
    owners: dict[Node, Tensor] | None = None
    if inputs is not None:
        chosen = _listed(inputs, "backward: inputs")
        owners = dict(zip(_nodes(chosen, "backward"), chosen, strict=True))
    elif STATE.mode == TRACE and STATE.trace is not None:
        owners = {**STATE.trace.wanting(), **STATE.trace.retained}
        STATE.trace.backward_called = True
    found = _sweep("backward", outputs, seeds, owners, retain_graph, create_graph)
    taken = {id(seed._value) for seed in seeds if seed is not None}
    for node, g in found.items():
        owner = owners[node] if owners is not None else _owner_of(node)
        if owner is not None:  # else it is gone, and its gradient with it
            collect(owner, g, taken, create_graph)


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Seeds = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Return the gradients of Σ ⟨grad_output, output⟩ with respect to ``inputs``, and collect none in ``grad``.

    ``allow_unused``       give None for an input that the outputs do not depend on
    ``materialize_grads``  give zeros for it
    The rest as in ``Tensor.backward``. ``is_grads_batched`` is PyTorch's; ``chainrule.func`` has what it is for.
    """
    if is_grads_batched:
        raise ArgumentError("grad: is_grads_batched=True", fix="use chainrule.func.jacrev, or a loop over the rows")
    if materialize_grads and allow_unused is False:
        raise ArgumentError("grad: materialize_grads=True and allow_unused=False", expected="one of them left out")
    outs = _listed(outputs, "grad: outputs")
    ins = _listed(inputs, "grad: inputs")
    nodes = _nodes(ins, "grad")
    found = _sweep("grad", outs, _listed_seeds(grad_outputs, outs, "grad"), nodes, retain_graph, create_graph)
    results: list[Tensor | None] = []
    for k, (x, node) in enumerate(zip(ins, nodes, strict=True)):
        if node in found:
            results.append(to_tensor(found[node], create_graph))
        elif materialize_grads:
            results.append(apply(FULL, (), {"shape": tuple(x.shape), "dtype": numpy_dtype(x), "value": 0}))
        elif allow_unused:
            results.append(None)
        else:
            raise GradientError(
                f"grad: input {k} (shape {tuple(x.shape)}) is not used to compute the outputs",
                fix="pass allow_unused=True to get None for it",
            )
    return tuple(results)


def _listed(given: Tensors, what: str) -> list[Tensor]:
    """Return one tensor, or several, as a list."""
    tensors = [given] if isinstance(given, Tensor) else list(given)
    for k, x in enumerate(tensors):
        if not isinstance(x, Tensor):
            raise ArgumentTypeError(f"{what}: number {k} is of type {type(x).__name__}", expected="a tensor")
    if not tensors:
        raise ArgumentError(f"{what}: there are none", expected="one tensor at least")
    return tensors


def _listed_seeds(given: Seeds, outputs: list[Tensor], name: str) -> list[Tensor | None]:
    """Return one gradient, or None, for each output."""
    if given is None:
        return [None] * len(outputs)
    if not isinstance(given, (Tensor, list, tuple)):
        raise ArgumentTypeError(f"{name}: got a gradient of type {type(given).__name__}", expected="a tensor")
    seeds = [given] if isinstance(given, Tensor) else list(given)
    if len(seeds) != len(outputs):
        raise ArgumentError(f"{name}: got {len(outputs)} tensors and {len(seeds)} gradients", expected="one for each")
    return seeds


def _nodes(inputs: list[Tensor], name: str) -> list[Node]:
    """Return the nodes at which gradients are asked for."""
    nodes = []
    for k, x in enumerate(inputs):
        node = current_node(x)
        if node is None or not node.requires_grad:
            raise GradientError(
                f"{name}: input {k} (shape {tuple(x.shape)}) does not require grad",
                fix="call requires_grad_() on it before it is used",
            )
        nodes.append(node)
    return nodes


def _sweep(
    name: str,
    outputs: list[Tensor],
    gradients: list[Tensor | None],
    wanted: Iterable[Node] | None,
    retain_graph: bool | None,
    create_graph: bool,
) -> dict[Node, Node]:
    """Run the chain rule from ``outputs``; return the gradients by node."""
    if STATE.mode == TRACE and STATE.trace is not None:
        STATE.trace.takes_gradients = True
    roots, seeds = [], []
    for output, gradient in zip(outputs, gradients, strict=True):
        node = current_node(output)
        if node is None or not node.requires_grad:
            raise GradientError(
                f"{name} of a tensor of shape {tuple(output.shape)} that does not require grad: no tape leads to it",
                fix="set requires_grad=True on a leaf below it, and compute it outside of no_grad",
            )
        roots.append(node)
        seeds.append(_seed(name, output, gradient, node))
    if STATE.mode == TRACE and STATE.trace is not None:
        recorder = STATE.trace.recording
        before, recorder.keeps_gradients = recorder.keeps_gradients, create_graph
        try:
            with recording(recorder):
                return chain_rule(roots, seeds, wanted)
        finally:
            recorder.keeps_gradients = before
    free = not (create_graph if retain_graph is None else retain_graph)
    with recording(Evaluating(record=create_graph)), np.errstate(all="ignore"):
        return chain_rule(roots, seeds, wanted, free=free)


def _seed(name: str, output: Tensor, gradient: Tensor | None, node: Node) -> Node:
    """Return the gradient that the sweep begins with."""
    if gradient is None:
        if node.shape != () and not all(size == 1 for size in node.shape):
            raise GradientError(
                f"{name} of a tensor of shape {tuple(node.shape)}",
                expected="one element, or a gradient for it",
                fix="reduce it with .sum() or .mean(), or pass the gradient that arrives at it",
            )
        one = value_node(np.ones(node.shape, node.dtype))
        if STATE.mode == TRACE and STATE.trace is not None:
            return STATE.trace.constant(one.value)
        return one
    if not isinstance(gradient, Tensor):
        raise ArgumentTypeError(f"{name}: got a gradient of type {type(gradient).__name__}", expected="a tensor")
    if not same_shape(tuple(gradient.shape), tuple(node.shape)):
        raise ShapeError(
            f"{name}: the gradient has shape {tuple(gradient.shape)}", expected=f"the tensor's {tuple(node.shape)}"
        )
    if numpy_dtype(gradient) != node.dtype:
        gradient = gradient.to(output.dtype)
    seed = current_node(gradient)
    if seed is not None and STATE.mode == TRACE:
        return seed
    if seed is not None and seed.requires_grad:
        if seed.value is None:
            seed.keep(gradient._value, shared_storage(gradient))
        return seed
    return value_node(gradient._value)


def to_tensor(node: Node, create_graph: bool) -> Tensor:
    """Return the tensor of a gradient."""
    if STATE.mode == TRACE and STATE.trace is not None:
        return STATE.trace.tensor(node)
    if not create_graph or not node.requires_grad:
        return Tensor(node.value)
    y = Tensor(node.value, node)
    if node.storage is None:
        node.keep(node.value, shared_storage(y))  # the tape reads this memory: a write to y must be noticed
    elif isinstance(node.storage, Storage):
        y._storage = node.storage
    return y


def collect(owner: Tensor, node: Node, taken: set[int], create_graph: bool) -> None:
    """Add a gradient to ``owner.grad``: in place, unless it is recorded.

    The first one becomes ``owner.grad``; memory that is read-only or somebody else's (``taken``: the ids of arrays) is
    copied, or a write to one gradient would be seen in another. What is added to a gradient that was not kept is not kept.
    """
    if _has_lost_grad(owner):
        return
    before = owner.grad
    if before is None:
        new = to_tensor(node, create_graph)
        value = new._value
        if value is not None:
            if id(value) in taken or not value.flags.writeable or value.base is not None:
                new = Tensor(np.array(value, order="C"), new._node)
            taken.add(id(value))
        if STATE.mode == TRACE:
            owner.grad = new
        else:
            owner._grad = new  # it fits
    elif create_graph:
        owner.grad = before + to_tensor(node, True)
    elif STATE.mode == TRACE or before.requires_grad:
        with no_grad():
            write(before, before + to_tensor(node, False))
    else:
        np.add(before._value, node.value, out=before._value)
        if before._storage is not None:
            before._storage.version += 1


def _owner_of(node: Node) -> Tensor | None:
    """Return the tensor that collects the gradient at a node; None for a leaf that was frozen since."""
    owner: Tensor | None = None if node.owner is None else node.owner()
    return None if owner is None or (owner._node is None and node.primitive is None) else owner


def _has_lost_grad(x: Tensor) -> bool:
    """Return whether ``x.grad`` was computed by a compiled function that did not keep it."""
    trace = STATE.trace if STATE.mode == TRACE else None
    return x._grad is NOT_KEPT if trace is None else trace.has_lost_grad(x)


def fill_grad_with_zeros(x: Tensor) -> None:
    """Fill ``x.grad`` with zeros, off the tape, if there is one; one that was not kept is a new tensor then."""
    if _has_lost_grad(x):
        x.grad = apply(FULL, (), {"shape": tuple(x.shape), "dtype": numpy_dtype(x), "value": 0})
    elif x.grad is not None:
        x.grad = x.grad.detach()
        x.grad.zero_()


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


_INSTEAD = {"Function": "write a Primitive with its rules, as at the end of docs/how-it-works.md"}


def __getattr__(name: str) -> Any:
    """Give PyTorch's names for what rests on this file."""
    if name not in _ABOVE:
        fix = _INSTEAD.get(name) or (lambda: nearest(name, [*globals(), *_ABOVE]))
        raise NameUnknown(f"chainrule.autograd has no {name!r}", fix=fix)
    module, member = _ABOVE[name]
    with undisturbed():
        found = importlib.import_module(module)
    return found if member is None else getattr(found, member)
