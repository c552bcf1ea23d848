"""Where a trace ends: what the function returned, wrote, assigned and found outside, and how each of it is found at a run."""

from __future__ import annotations

import enum
import functools
import weakref
from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

from chainrule.graph import Node
from chainrule.tensors.arguments import Results
from chainrule.tensors.attributes import (
    EARLY,
    FOUND,
    GIVEN,
    MADE,
    RESULT,
    Attribute,
    Link,
    Place,
    PlacedName,
    Source,
    dataclasses_in,
    is_known,
    is_named,
    places_of,
    take_out,
)
from chainrule.tensors.bindings import Grad
from chainrule.tensors.memory import root
from chainrule.tensors.tensor import NOT_KEPT, Tensor, current_node, parent_of
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
    """A gradient that the function replaced: by the output ``node``, by ``now``, or by what ``find_now`` finds before the run."""

    find: Find
    node: Node | None
    now: Any = None
    find_now: Find | None = None


class Kind(enum.Enum):
    """How a tensor that a run makes hangs on a tape: not at all, as one that asks for its gradient, or on one that stayed inside."""

    PLAIN = enum.auto()
    LEAF = enum.auto()
    CUT_OFF = enum.auto()


class Ends:
    """Where a trace ends: what the function returned, wrote and assigned, in terms of nodes. It keeps no tensor alive."""

    def __init__(self, trace: Trace, stand_ins: list[Tensor], result: Any, *, keep_gradients: bool) -> None:
        self._trace = trace
        self._places = {id(x): k for k, x in enumerate(stand_ins)}
        results = Results(result)
        put = list(take_out(trace.reached.reads))
        self.places = places_of(
            trace.reached.reads, {id(owner) for owner, _, _ in put} | {key for key, _ in trace.moving}
        )  # of tensors from outside, by their ids
        self.viewed = [(weakref.ref(x), weakref.ref(_top(x))) for x, _, _ in trace.views.values()]
        self._bases = {id(root(x)) for x, _, _ in trace.views.values()}
        self._placed = self._place(trace, {(id(owner), place.name) for owner, place, _ in put})
        self._returned = {id(x): k for k, x in enumerate(results.tensors)}
        self.form = results.form
        self.results = [self._node(x) for x in results.tensors]
        self.in_attributes: list[Node] = []
        self.early: list[Find] = []  # what is looked up before a run
        self._made: dict[int, int] = {}  # by the tensor's id
        self._gradients_now = {id(grad.now): grad for grad in trace.grads.values() if isinstance(grad.now, Tensor)}
        self._keep_gradients = keep_gradients
        self._seen_bases = self._bases_of_views([value for _, _, value in put])
        self._put = {(id(owner), place.name) for owner, place, _ in put}
        self.is_of_states = False  # an attribute holds what another one, which is set too, held before
        self.attributes = [self._attribute(place, value) for _, place, value in put]
        read = {(id(owner), name) for owner, name in trace.reached.reads.read(was_read=True)}
        self.are_read = [(id(owner), place.name) in read for owner, place, _ in put]  # before they are set
        self.kinds = [self._kind(node) for node in self.results]
        self.kinds_in_attributes = [self._kind(node) for node in self.in_attributes]
        self.expected: list[tuple[Find, Any]] = []  # gradients that were read, and which kind of them there was
        self.assigned: list[Assigned] = []
        self.of_results: list[tuple[int, Node]] = []  # gradients of what each run makes anew
        self.of_attributes: list[tuple[int, Node]] = []
        for grad in trace.grads.values():
            self._sort(grad)
        self.arguments = [Read(itemgetter(k), trace.inputs[k], self._node(x)) for k, x in enumerate(stand_ins)]
        self.moved = [self._finder(b.tensor) for b in trace.bound.values() if b.left is not None]
        self.outside: list[Read] = []
        self.placed: list[Read] = []
        self.placed_at: dict[tuple[int, str], Read] = {}  # those that are alone in their attribute
        self.gradients = []
        for bound in trace.bound.values():
            if bound.gradient_of is None:
                found = Read(self._finder(bound.tensor), bound.input, bound.node, bound.tensor._value)
                place = self._placed.get(id(bound.tensor))
                if place is None:
                    self.outside.append(found)
                    continue
                self.placed.append(found)
                if isinstance(place.value(), Tensor):
                    self.placed_at[id(place.find()), place.name] = found
            else:
                find = gradient_finder(self._finder(bound.gradient_of))
                self.gradients.append(Read(find, bound.input, bound.node))
        self.known_gradients = [
            (gradient_finder(self._finder(grad.tensor)), finder(grad.before))
            for grad in trace.grads.values()
            if isinstance(grad.before, Tensor) and self._is_found_twice(grad.before)
        ]

    def _attribute(self, place: Place, value: Any) -> Attribute:
        """Return what sets an attribute at each run."""
        results = Results(value)
        return Attribute(place, results.form, tuple([self._source(x) for x in results.tensors]))

    def _source(self, x: Tensor) -> Source:
        """Return where a run has the tensor that the function put into an attribute."""
        if id(x) in self._returned:
            return Source(RESULT, self._returned[id(x)])
        place = self._places.get(id(x))
        if place is not None and x._parent is None:  # what is written into it is written into the caller's
            return Source(GIVEN, place)
        if self._is_from_outside(x):
            return self._outside(x)
        grad = self._gradients_now.get(id(x))
        if grad is not None and self._is_kept(grad):
            return Source(FOUND, functools.partial(gradient_finder(self._finder(grad.tensor)), []))
        base, links = _links_of(x)
        if links and not self._node(x).requires_grad:  # a view sees what becomes of what it is a view of
            if self._is_from_outside(base):
                return self._outside(base)._replace(links=links)
            place = self._places.get(id(base))
            if place is not None:
                return Source(GIVEN, place, links)
            if id(base) in self._seen_bases:
                return self._made_for_attributes(base)._replace(links=links)
        return self._made_for_attributes(x)

    def _made_for_attributes(self, x: Tensor) -> Source:
        number = self._made.get(id(x))
        if number is None:
            number = self._made[id(x)] = len(self.in_attributes)
            self.in_attributes.append(self._node(x))
        return Source(MADE, number)

    def _is_from_outside(self, x: Tensor) -> bool:
        return x._value is not None and not self._trace.is_fresh(x)

    def _outside(self, x: Tensor) -> Source:
        """Return where a run finds a tensor from outside that the function put into an attribute."""
        find = self._finder_of_gradient(x)
        if find is not None:
            self.early.append(find)
            return Source(EARLY, len(self.early) - 1)
        place = self._placed.get(id(x))
        if place is not None and (id(place.find()), place.name) in self._put:
            self.is_of_states = True
        return Source(FOUND, functools.partial(self._finder(x), []))

    def _finder_of_gradient(self, x: Tensor) -> Find | None:
        """Return what finds a tensor that was the gradient of another one before the function ran; None for others."""
        bound = self._trace.bound.get(id(x))
        if bound is None or bound.gradient_of is None:
            return None
        return gradient_finder(self._finder(bound.gradient_of))

    def _bases_of_views(self, values: list[Any]) -> set[int]:
        """Return the tensors that the function made and that attributes will see more than once: whole, or through views."""
        seen: list[int] = []
        for x in {id(x): x for value in values for x in Results(value).tensors}.values():
            base, links = _links_of(x)
            if base._value is None and id(base) not in self._places:
                seen.append(id(base if links else x))
        return {key for key in seen if seen.count(key) > 1}

    def _place(self, trace: Trace, put: set[tuple[int, str]]) -> dict[int, Place]:
        """Return where tensors are found by their places, as others were there before, or will be; note that these are of account."""
        wanted: dict[tuple[int, str], dict[int, Place]] = {}
        for key, place in self.places.items():
            where = (id(place.find()), place.name)
            if where in put or (where in trace.moving and key in trace.bound):
                wanted.setdefault(where, {})[key] = place
        chosen: dict[int, Place] = {}
        for (owner, name), places in wanted.items():
            whole = {
                key: place for key, place in self.places.items() if (id(place.find()), place.name) == (owner, name)
            }
            if len(whole) < next(iter(places.values())).number() or not all(
                self._is_data(trace, key, place) for key, place in places.items()
            ):
                continue
            place = next(iter(places.values()))
            reads = trace.reached.reads
            parts = {id(part) for part in dataclasses_in(place.value())}
            for owner_of_part, part in [one for one in reads.read() if id(one[0]) in parts]:
                reads.forget_read(owner_of_part, part)
            reads.forget_read(place.find(), name)
            text = f"{type(place.find()).__name__}.{name}"
            trace.reached.names.append(PlacedName(owner, text, place.value))
            chosen |= whole
        return chosen

    def _is_data(self, trace: Trace, key: int, place: Place) -> bool:
        """Say whether a tensor is nothing that is learned, which its optimizer knows too, and known by its place alone."""
        if key in trace.views or key in self._bases:
            return False  # the memory is used by another tensor
        if key not in trace.bound:
            return True  # nothing is made of it
        x = trace.bound[key].tensor
        is_learned = x._node is not None and x._node.primitive is None
        is_gradient = trace.bound[key].gradient_of is not None
        return (
            not (is_learned or is_gradient) and key not in trace.names and not is_named(x, place, trace.reached.names)
        )

    def _kind(self, node: Node) -> Kind:
        """Return how a tensor that each run makes hangs on a tape."""
        trace = self._trace
        made = trace.leaves.get(node)
        if made is not None and made._value is None and id(made) not in self._places:
            return Kind.LEAF
        tape = trace.recording.keeps_gradients and not trace.backward_called
        return Kind.CUT_OFF if tape and node.requires_grad else Kind.PLAIN

    def _is_found_twice(self, gradient: Tensor) -> bool:
        """Say whether code asks for a gradient by its own name, too."""
        bound = self._trace.bound.get(id(gradient))
        if bound is None:
            return False
        in_places = id(gradient) in self.places or id(gradient) in self._bases
        return in_places or bound.gradient_of is None or is_known(gradient, self._trace.reached.names)

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

    def _is_kept(self, grad: Grad) -> bool:
        """Say whether a gradient that the function made is there after a run."""
        return self._keep_gradients or not grad.cleared

    def _sort(self, grad: Grad) -> None:
        """Note what becomes of ``x.grad``."""
        x, before, now = grad.tensor, grad.before, grad.now
        if x._value is None and id(x) not in self._places:  # of a tensor that each run makes anew
            for numbers, gradients in ((self._returned, self.of_results), (self._made, self.of_attributes)):
                if id(x) in numbers and now is not None:
                    gradients.append((numbers[id(x)], self._node(now)))
            return
        find = self._finder(x)
        if not grad.cleared:
            self.expected.append((find, kind_of_gradient(before)))
        if now is None:
            if before is not None or grad.cleared:
                self.assigned.append(Assigned(find, None))
        elif now is NOT_KEPT:
            return  # it was before, and still is
        elif id(now) not in self._placed and (
            now is before
            or (isinstance(before, Tensor) and now._storage is not None and now._storage is before._storage)
        ):
            return  # written in place
        elif now._value is not None:
            is_placed = id(now) in self._placed
            find_now = self._finder(now) if is_placed else self._finder_of_gradient(now)
            self.assigned.append(Assigned(find, None, now if find_now is None else None, find_now))
        elif self._is_kept(grad):
            self.assigned.append(Assigned(find, self._node(now)))
        else:
            self.assigned.append(Assigned(find, None, NOT_KEPT))


def kind_of_gradient(gradient: Any) -> Any:
    """Return what a trace depends on of a gradient: whether there is none, one that was not kept, or a tensor."""
    return gradient if gradient is None or gradient is NOT_KEPT else Tensor


def is_apart(find: Callable[[], Tensor | None], find_base: Callable[[], Tensor | None]) -> bool:
    """Say whether a tensor does not look at the memory of another one any more, which got other memory."""
    x, base = find(), find_base()
    return x is not None and base is not None and _top(x) is not base


def _top(x: Tensor) -> Tensor:
    while (parent := parent_of(x)) is not None:
        x = parent
    return x


def _links_of(x: Tensor) -> tuple[Tensor, tuple[Link, ...]]:
    """Return the first tensor with a value below views that the code made, or of none, and what made them of it."""
    links: list[Link] = []
    while x._value is None and x._parent is not None and x._link is not None:
        links.insert(0, x._link)
        x = x._parent
    return x, tuple(links)


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
