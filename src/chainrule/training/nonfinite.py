"""Where a NaN or an infinity came from: the first layer that makes one out of finite numbers, forward or backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from chainrule.nn import Module
from chainrule.tensors.autograd import enable_grad, grad
from chainrule.tensors.tensor import Tensor
from chainrule.training.batches import Batch
from chainrule.training.rows import is_finite
from chainrule.training.step import Penalty

IN_DATA = "the data"  # how the words about a place there begin


class Place(NamedTuple):
    """Where something is not finite, in words ("" if nothing is), and the layer by path if it is in a layer's output."""

    words: str
    layer: str = ""
    row: int | None = None  # of the batch, if it is in the rows


class Call(NamedTuple):
    """One call of a layer that holds no others: what went in and came out."""

    layer: str
    inputs: list[Tensor]
    outputs: list[Tensor]


def where_not_finite(model: Module, objective: Any, batch: Batch, penalty: Penalty | None = None) -> Place:
    """Return where the first value that is not finite appears in one forward and backward pass.

    The model's tensors are finite before; gradients are not kept.
    """
    with _watched(model) as watch, enable_grad():
        output = model(batch.X)
        if watch.found:
            return watch.place()
        error = objective(output, batch.y, batch.weight)
        if not _finite(error):
            return Place(
                f"the loss ({getattr(objective, 'name', 'loss')}) of finite outputs, which {_range([output])}: "
                "see the targets, or use a loss on logits"
            )
        total = error if penalty is None else error + penalty(model)
        if not _finite(total):
            return Place(f"the penalty on the weights, which {_range(model.parameters())}")
        return Place(_backward(model, total, output, watch.calls))


def where_not_finite_in_use(model: Module, objective: Any, batch: Batch) -> Place:
    """Return the same for a forward pass alone, in the mode the model is in."""
    with _watched(model) as watch:
        output = model(batch.X)
        if watch.found:
            return watch.place()
        finite = _finite(objective(output, batch.y, batch.weight))
        return Place("" if finite else f"the loss ({objective.name}) of finite outputs, which {_range([output])}")


# -- forward -----------------------------------------------------------------------------------------------------------


class _Watch:
    """Sees every module's inputs and outputs in the order in which they are computed.

    ``found``  the first place with a value that is not finite, in words; ``layer`` whose it is, by path; ``data`` if it is in the rows
    ``calls``  of layers that hold no others, in order
    """

    def __init__(self) -> None:
        self.found = self.layer = self.data = ""
        self.row: int | None = None
        self.calls: list[Call] = []
        self.open: list[tuple[str, str]] = []  # the modules being called, outermost first: words and path

    def place(self) -> Place:
        """Return what was found."""
        if self.data:
            return Place(self.data, row=self.row)
        return Place(f"the output of {self.found}", self.layer)

    def before(self, layer: str, path: str, args: Any) -> None:
        if not self.found and not all(map(_finite, _tensors(args))):
            self.found = self._between(f"before {layer}")
            if not self.open:
                words, self.row = _first_of(args)
                self.data = f"{IN_DATA}: {words}"
        self.open.append((layer, path))

    def after(self, module: Module, args: Any, output: Any) -> None:
        layer, path = self.open.pop()
        inputs, outputs = _tensors(args), _tensors(output)
        if next(module.children(), None) is None:
            self.calls.append(Call(layer, inputs, outputs))
            if not self.found and not all(map(_finite, outputs)):
                self.layer = path
                self.found = f"{layer}, whose inputs {_range(inputs)}{_weights(module)}"
        elif not self.found and not all(map(_finite, outputs)):
            self.open.append((layer, path))
            self.found = self._between("at its end")
            self.open.pop()

    def _between(self, until: str) -> str:
        """Name the module whose own code computed something between the layers that it calls."""
        owner, self.layer = self.open[-1] if self.open else ("the model", "")
        if not self.calls:
            return f"what {owner} computes {until}"
        last = self.calls[-1]
        return f"what {owner} computes after {last.layer} and {until}; that layer's outputs {_range(last.outputs)}"


@contextmanager
def _watched(model: Module) -> Iterator[_Watch]:
    watch = _Watch()
    handles = []
    for path, module in model.named_modules():
        layer = f"layer {path} ({type(module).__name__})" if path else f"the model ({type(module).__name__})"
        handles.append(module.register_forward_pre_hook(_before(watch, layer, path or type(module).__name__)))
        handles.append(module.register_forward_hook(_after(watch)))
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()


def _before(watch: _Watch, layer: str, path: str) -> Callable[[Module, Any], None]:
    return lambda _, args: watch.before(layer, path, args)


def _after(watch: _Watch) -> Callable[[Module, Any, Any], None]:
    return lambda module, args, output: watch.after(module, args, output)


# -- backward ----------------------------------------------------------------------------------------------------------


def _backward(model: Module, total: Tensor, output: Tensor, calls: list[Call]) -> str:
    """Follow the gradient from the loss back through the layers to the first value that is not finite."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    passed = [output, *[t for call in calls for t in (*call.inputs, *call.outputs)]]
    known = {id(t): t for t in (*passed, *parameters.values()) if t.requires_grad}
    found = dict(zip(known, grad(total, list(known.values()), allow_unused=True), strict=True))

    def bad(t: Tensor) -> bool:
        gradient = found.get(id(t))
        return gradient is not None and not _finite(gradient)

    if bad(output):
        return f"the gradient of the loss at the outputs, which {_range([output])}"
    later = "the loss"
    for call in reversed(calls):
        if any(map(bad, call.outputs)):
            return f"the gradient between {call.layer} and {later}; that layer's output {_range(call.outputs)}"
        for name, p in parameters.items():
            if bad(p) and call.layer.startswith(f"layer {name.rpartition('.')[0]} ("):
                return f"the gradient of {name}, computed in {call.layer}, whose inputs {_range(call.inputs)}"
        if any(map(bad, call.inputs)):
            return f"the gradient that {call.layer} passes back; its inputs {_range(call.inputs)}"
        later = call.layer
    return next((f"the gradient of {name}" for name, p in parameters.items() if bad(p)), "")


# -- words -------------------------------------------------------------------------------------------------------------


def _tensors(value: Any) -> list[Tensor]:
    """Return the tensors in what a module takes or gives."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [t for part in value for t in _tensors(part)] if isinstance(value, (list, tuple)) else []


def _finite(x: Tensor) -> bool:
    return is_finite(x._value)


def _first_of(inputs: Any) -> tuple[str, int]:
    """Say which number in the rows is not finite, and where it is; and its row."""
    value = next(x._value for x in _tensors(inputs) if not _finite(x))
    place = np.argwhere(~np.isfinite(value))[0].tolist()
    words = f"X holds {value[tuple(place)]:g} in row {place[0]} of the batch"
    return words + (f", at {place[1:]}" if place[1:] else ""), place[0]


def _range(tensors: Any) -> str:
    """Say from where to where finite numbers reach."""
    arrays = [t._value for t in tensors if t._value.size]
    if not arrays:
        return "are empty"
    low, high = min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)
    return f"reach from {low:.3g} to {high:.3g}"


def _weights(module: Module) -> str:
    parameters = [p for p in module.parameters() if p._value.size]
    if not parameters:
        return ""
    return f" and whose weights go up to {max(float(np.abs(p._value).max()) for p in parameters):.3g}"
