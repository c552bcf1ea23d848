"""Where a trace ends: what the function returned, wrote, assigned and found outside, and how each of it is found at a run."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

from chainrule.graph import Node
from chainrule.tensors.arguments import Results
from chainrule.tensors.attributes import Place, PlacedName, attribute_of, is_named, places_of, take_out
from chainrule.tensors.bindings import Grad
from chainrule.tensors.tensor import NOT_KEPT, Tensor, current_node
from chainrule.tensors.trace import Trace

Find = Callable[
    [list[Tensor]], Any
]  # gives the tensor that something is about, for these arguments; None if it is gone


class Read(NamedTuple):
    """A tensor that the function found: the nodes that it was and became; the array it had, if it is of its own."""

    find: Find
    before: Node
    after: Node
    value: Any = None


class Assigned(NamedTuple):
    """A gradient that the function replaced: by the output ``node``, or by ``now``."""

    find: Find
    node: Node | None
    now: Any


class Ends:
    """Where a trace ends: what the function returned, wrote and assigned, in terms of nodes. It keeps no tensor alive."""

    def __init__(self, trace: Trace, stand_ins: list[Tensor], result: Any, *, keep_gradients: bool) -> None:
        self._trace = trace
        self._places = {id(x): k for k, x in enumerate(stand_ins)}
        results = Results(result)
        set_by_run = [attribute_of(*found) for found in take_out(trace.reached.reads)]
        self.places = places_of(trace.reached.reads)  # of tensors from outside, by their ids
        self._placed = self._place(trace)
        self._returned = {id(x): k for k, x in enumerate(results.tensors)}
        self.form = results.form
        self.results = [self._node(x) for x in results.tensors]
        self.attributes = [attribute for attribute, _ in set_by_run]
        self.in_attributes = [self._node(x) for _, tensors in set_by_run for x in tensors]
        tape = trace.recording.keeps_gradients and not trace.backward_called
        self.cut_off = [tape and node.requires_grad for node in self.results]
        self.cut_off_in_attributes = [tape and node.requires_grad for node in self.in_attributes]
        self.expected: list[tuple[Find, Any]] = []  # gradients that were read, and which kind of them there was
        self.assigned: list[Assigned] = []
        self.of_results: list[tuple[int, Node]] = []
        for grad in trace.grads.values():
            self._sort(grad, keep_gradients)
        self.arguments = [Read(itemgetter(k), trace.inputs[k], self._node(x)) for k, x in enumerate(stand_ins)]
        self.outside: list[Read] = []
        self.placed: list[Read] = []
        self.gradients = []
        for bound in trace.bound.values():
            if bound.gradient_of is None:
                found = Read(self._finder(bound.tensor), bound.input, bound.node, bound.tensor._value)
                (self.placed if id(bound.tensor) in self._placed else self.outside).append(found)
            else:
                find = gradient_finder(self._finder(bound.gradient_of))
                self.gradients.append(Read(find, bound.input, bound.node))

    def _place(self, trace: Trace) -> dict[int, Place]:
        """Return where tensors are found by their places, as others were there before; note that these are of account."""
        chosen = {}
        for key, bound in trace.bound.items():
            place = self.places.get(key)
            is_data = bound.tensor._node is None and bound.gradient_of is None and key not in trace.names
            if place is None or not is_data:  # what is learned is known to its optimizer, too
                continue
            owner = place.find()
            if (id(owner), place.name) in trace.moving and not is_named(bound.tensor, place, trace.reached.names):
                trace.reached.reads.forget_read(owner, place.name)
                text = f"{type(owner).__name__}.{place.name}"
                trace.reached.names.append(PlacedName(id(owner), text, place.tensor))
                chosen[key] = place
        return chosen

    def _node(self, x: Tensor) -> Node:
        self._trace.check_certain(x)
        node: Any = current_node(x)
        found: Node = node
        return found

    def _finder(self, x: Tensor) -> Find:
        if id(x) in self._placed:
            tensor = self._placed[id(x)].tensor
            return lambda tensors: tensor()
        place = self._places.get(id(x))
        return finder(x) if place is None else itemgetter(place)

    def _sort(self, grad: Grad, keep_gradients: bool) -> None:
        """Note what becomes of ``x.grad``."""
        x, before, now = grad.tensor, grad.before, grad.now
        if x._value is None and id(x) not in self._places:  # of a tensor that each run makes anew
            if id(x) in self._returned and now is not None:
                self.of_results.append((self._returned[id(x)], self._node(now)))
            return
        find = self._finder(x)
        if not grad.cleared:
            self.expected.append((find, kind_of_gradient(before)))
        if now is None:
            if before is not None or grad.cleared:
                self.assigned.append(Assigned(find, None, None))
        elif now is NOT_KEPT:
            return  # it was before, and still is
        elif now is before or (
            isinstance(before, Tensor) and now._storage is not None and now._storage is before._storage
        ):
            return  # written in place
        elif now._value is not None:
            self.assigned.append(Assigned(find, None, now))
        elif keep_gradients or not grad.cleared:
            self.assigned.append(Assigned(find, self._node(now), None))
        else:
            self.assigned.append(Assigned(find, None, NOT_KEPT))


def kind_of_gradient(gradient: Any) -> Any:
    """Return what a trace depends on of a gradient: whether there is none, one that was not kept, or a tensor."""
    return gradient if gradient is None or gradient is NOT_KEPT else Tensor


def finder(x: Tensor) -> Find:
    """Return the function that gives ``x`` as long as somebody else keeps it."""
    find = weakref.ref(x)
    return lambda tensors: find()


def gradient_finder(find: Find) -> Find:
    """Return the function that gives the gradient of what ``find`` gives."""

    def gradient(tensors: list[Tensor]) -> Any:
        x = find(tensors)
        return None if x is None else x._grad

    return gradient
