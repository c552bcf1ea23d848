"""Tensors in attributes of modules and objects from outside: those that a function puts there, and those that are replaced there.

A trace has no values. So what the function put into an attribute, ``self.last = y``, is taken out again when the trace ends; each
run then puts a tensor with a value there, as Python would.

A tensor from outside is known by itself: another one in its place is another trace. Where one was replaced once, ``self.h =
zeros(…)`` before each sequence, later traces find it by its place, and ask for its shape and dtype alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from chainrule.graph import Primitive
from chainrule.graph.sizes import evaluate
from chainrule.tensors.arguments import Form, Results, may_hold_tensors, rebuild
from chainrule.tensors.changes import CHANGES
from chainrule.tensors.facts import DEEPEST_FACT as DEEPEST
from chainrule.tensors.facts import MISSING, PARTS, STRUCTURE, Same, is_module, member_of, value_of, weakly
from chainrule.tensors.guarded_names import Name
from chainrule.tensors.memory import detach, view
from chainrule.tensors.reads import Reads
from chainrule.tensors.tensor import STOP, Tensor

Numbered = Mapping[int, Tensor]
Link = tuple[Primitive, dict[str, Any]]
MADE, RESULT, GIVEN, FOUND, EARLY = "made", "result", "given", "found", "early"


class Source(NamedTuple):
    """Where a run has a tensor for an attribute.

    ``kind``   what it is: an output made for attributes, a result, an argument, what is found outside when all is done, or
               what was found there before the run
    ``which``  its number among these, or what finds it
    ``links``  the views that the function made of it
    """

    kind: str
    which: Any
    links: tuple[Link, ...] = ()


class Place(NamedTuple):
    """An attribute that holds a tensor, or several: whose it is, and its name."""

    find: Callable[[], Any]
    name: str
    which: int = 0  # of the tensors in it
    is_saved: bool | None = None  # of a buffer that was not there before; None: it is none

    def value(self) -> Any:
        """Return what is there now; None if the object is gone."""
        owner = self.find()
        return None if owner is None else value_of(owner, self.name)

    def number(self) -> int:
        """Return how many tensors are there now."""
        value = self.value()
        return len(Results(value).tensors) if may_hold_tensors(value) else int(isinstance(value, Tensor))

    def tensor(self) -> Tensor | None:
        """Return the tensor that is there now; None if there is none."""
        value = self.value()
        if isinstance(value, Tensor):
            return value
        tensors = Results(value).tensors if may_hold_tensors(value) else []
        return tensors[self.which] if self.which < len(tensors) else None

    def put(self, value: Any) -> None:
        """Let it hold something else, if the object still exists."""
        owner = self.find()
        if owner is None:
            return
        if self.is_saved is None:
            _set(owner, self.name, value)
            return
        own = vars(owner)
        own["_buffers"][self.name] = value
        (set.discard if self.is_saved else set.add)(own["_non_persistent_buffers_set"], self.name)


class Attribute(NamedTuple):
    """An attribute that each run sets: where it is, and the form of its value, with the tensors that ``sources`` tell."""

    place: Place
    form: Form
    sources: tuple[Source, ...]

    def is_made_of(self, there: Mapping[str, Numbered]) -> bool:
        """Say whether all that it holds is ``there``, by kind."""
        return all(source.kind == FOUND or source.which in there[source.kind] for source in self.sources)

    def value(self, there: Mapping[str, Numbered], sizes: dict[str, int]) -> Any:
        """Return what it is to hold after a run."""
        tensors = []
        for kind, which, links in self.sources:
            x = which() if kind == FOUND else there[kind][which]
            tensors.append(_viewed(x, links, sizes) if links else x)
        return rebuild(self.form, tensors, sizes)


def _viewed(x: Tensor | None, links: Iterable[Link], sizes: dict[str, int]) -> Tensor | None:
    if x is None:
        return None
    y = detach(x)
    for made_by, attributes in links:
        if made_by is not STOP:
            y = view(made_by, y, {name: evaluate(value, sizes) for name, value in attributes.items()})
    return y


class PlacedName(Name):
    """What a tensor in an attribute is like: its numbers, and which one it is, are asked for at each run."""

    __slots__ = ()

    def _fact(self) -> Any:
        value = self._find()
        if isinstance(value, Tensor):
            return _kind(value)
        if not may_hold_tensors(value):
            return None
        found = Results(value)
        return found.form, [_kind(x) for x in found.tensors]

    def holds(self) -> bool:
        return bool(self.known == self._fact())

    def difference(self) -> str:
        return f"{self.text} has another shape or dtype, or is none"


def _kind(x: Tensor) -> tuple[Any, ...]:
    value = x._value
    return (x._node is not None, value.shape, value.dtype, value.flags.c_contiguous)


def places_of(reads: Reads, changed: set[int]) -> dict[int, Place]:
    """Return in which attribute each tensor was found, by its id; not those that were found in two, nor parameters.

    What is in a dataclass is in the attribute that holds that, but in its own if the dataclass is ``changed`` (ids).
    """
    found: dict[int, Place | None] = {}
    held = [value_of(owner, name) for owner, name in reads.read(was_read=True)]
    inner = {id(part) for value in held for part in dataclasses_in(value)} - changed
    for owner, name in reads.read(was_read=True):
        if id(owner) in inner:
            continue  # a dataclass: its tensors are those of the attribute that holds it
        value = value_of(owner, name)
        if name in getattr(owner, "__dict__", {}).get(PARTS[0], ()) or name in STRUCTURE:
            continue
        if isinstance(value, Tensor):
            tensors = [value]
        elif not may_hold_tensors(value) or id(value) in changed:
            continue
        elif any(id(part) in changed for part in dataclasses_in(value)):
            tensors = []  # what is left of it is known by itself
        else:
            tensors = Results(value).tensors
        for which, x in enumerate(tensors):
            found[id(x)] = None if id(x) in found else Place(weakly(owner), name, which)
    return {key: place for key, place in found.items() if place is not None}


def dataclasses_in(value: Any, depth: int = DEEPEST) -> Iterator[Any]:
    """Yield the dataclasses in a nest, itself one perhaps, with those in them."""
    if not depth or not may_hold_tensors(value):
        return
    if isinstance(value, (list, tuple)):
        parts = list(value)
    elif isinstance(value, dict):
        parts = list(value.values())
    else:
        yield value
        parts = [getattr(value, field.name, None) for field in fields(value)]
    for part in parts:
        yield from dataclasses_in(part, depth - 1)


def is_named(x: Tensor, place: Place, names: Iterable[Name]) -> bool:
    """Say whether code knows a tensor by another name than that of the attribute, too."""
    owner = id(place.find())
    for name in names:
        if (name.place, name.text.rpartition(".")[2]) == (owner, place.name):
            continue
        known = name.known
        if isinstance(known, dict):
            own = f".{place.name}"
            elsewhere = [path for path in known if not any(f"{own}{next}" in f"{path}$" for next in "[.$")]
            facts = [known[path] for path in elsewhere]
        else:
            facts = [known]
        if any(_is_about(was, x) for was in facts):
            return True
    return False


def is_known(x: Tensor, names: Iterable[Name]) -> bool:
    """Say whether code knows a tensor by a name."""
    for name in names:
        known = name.known
        if any(_is_about(was, x) for was in (known.values() if isinstance(known, dict) else [known])):
            return True
    return False


def _is_about(known: Any, x: Tensor) -> bool:
    if isinstance(known, Same):
        return known.is_about(x)
    return isinstance(known, (tuple, list)) and any(_is_about(part, x) for part in known)


def holds_tensors(value: Any) -> bool:
    """Say whether a value is a tensor, or a nest that has some in it."""
    return isinstance(value, Tensor) or (may_hold_tensors(value) and bool(Results(value).tensors))


def is_valueless(value: Any) -> bool:
    """Say whether a value is a tensor of a trace, or a nest that has one in it."""
    if may_hold_tensors(value):
        return any(x._value is None for x in Results(value).tensors)
    return isinstance(value, Tensor) and value._value is None


def in_attributes(reads: Reads) -> Iterator[Tensor]:
    """Yield the tensors that were put into attributes so far."""
    for _, _, value, _ in reads.assigned():
        if isinstance(value, Tensor):
            yield value
        elif may_hold_tensors(value):
            yield from Results(value).tensors


def take_out(reads: Reads) -> Iterator[tuple[Any, Place, Any]]:
    """Yield (object, place, value) of attributes into which tensors were put, and let them hold what they did before."""
    for owner, name, now, before in list(reads.assigned()):
        # What is set to the tensor that it holds may be set to another one next time.
        is_other = now is not before or isinstance(now, Tensor) or reads.is_set_first(owner, name)
        if is_other and holds_tensors(now):
            reads.forget_set(owner, name)
            is_new_buffer = before is MISSING and is_module(owner) and name in vars(owner)["_buffers"]
            is_saved = name not in vars(owner)["_non_persistent_buffers_set"] if is_new_buffer else None
            _set(owner, name, before)
            yield owner, Place(weakly(owner), name, is_saved=is_saved), now


def put_back(reads: Reads) -> None:
    """Let all attributes that were set hold what they did before: the code will run again."""
    for owner, name, now, before in reads.assigned():
        if now is not before:
            _set(owner, name, before)


def _set(owner: Any, name: str, value: Any) -> None:
    """Put a value where one was found: past the methods of the object, which did what they do when it was traced."""
    held = getattr(owner, "__dict__", {})
    if is_module(owner) and name in held["_buffers"]:
        held = held["_buffers"]
    if name in held or member_of(type(owner), name) is None:
        if value is MISSING:
            held.pop(name, None)
        else:
            held[name] = value
    elif value is MISSING:
        object.__delattr__(owner, name)
    else:
        object.__setattr__(owner, name, value)
    if is_module(owner):
        CHANGES.bump()
