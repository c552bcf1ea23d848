"""Arguments that are dataclasses with tensors in them, made anew for each call, as batches often are.

An object is told by which one it is, and what code reads of it is compared; so a second one is another trace. Where a dataclass has
nothing but tensors, arrays and plain values (no layer, no function, no other object), those of its class are taken apart from then
on, as lists and dicts are: their tensors are arguments, the rest is compared by value, and the function is given a copy. Where code
puts something into that copy, which would be lost, or where its values are others in each call, the class is left whole for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.tensors.arguments import MAPPINGS, SEQUENCES, Form, values_in
from chainrule.tensors.contents import Contents
from chainrule.tensors.facts import SIMPLE, is_module, own_names, value_of
from chainrule.tensors.reached import containers_in
from chainrule.tensors.tensor import Tensor

if TYPE_CHECKING:
    from chainrule.tensors.call import Call
    from chainrule.tensors.traces import Traces

MOST_PARTS = 64  # of an object that is taken apart


class Closed(Exception):
    """Code put something into objects that were taken apart, of these classes."""

    def __init__(self, kinds: set[type]) -> None:
        super().__init__()
        self.kinds = kinds


class Opened:
    """The classes whose objects are taken apart where they are arguments of one function."""

    def __init__(self) -> None:
        self.kinds: set[type] = set()
        self._whole: set[type] = set()

    def look(self, call: Call, traces: Traces) -> bool:
        """Take classes of this call apart if another object of each was an argument before; say whether there are such."""
        found = {
            type(value)
            for _, value in values_in(call.given.form)
            if type(value) not in self._whole and is_plain_record(value)
        }
        if not found or all(entry.family != call.family for entry in traces.entries):
            return False
        self.kinds |= found
        return True

    def close(self, kinds: set[type]) -> None:
        """Never take these apart again."""
        self.kinds -= kinds
        self._whole |= kinds


def is_plain_record(value: Any) -> bool:
    """Say whether a value is a dataclass with tensors and plain data in it, and nothing else; a frozen one may have no tensors.

    Dataclasses may be in it that are so, too.
    """
    kind = type(value)
    if not is_dataclass(kind) or is_module(value) or issubclass(kind, (set, frozenset, *SEQUENCES, *MAPPINGS)):
        return False
    is_frozen: bool = vars(kind)["__dataclass_params__"].frozen if "__dataclass_params__" in vars(kind) else False
    try:
        parts = list(_leaves([value_of(value, name) for name in own_names(value)]))
    except _TooMany:
        return False
    has_tensors = any(isinstance(part, (Tensor, np.ndarray)) for part in parts)
    return (has_tensors or is_frozen) and all(
        isinstance(part, (Tensor, np.ndarray)) or type(part) in SIMPLE for part in parts
    )


class _TooMany(Exception):  # parts
    pass


def _leaves(parts: list[Any]) -> Iterator[Any]:
    count = 0
    pending = parts
    while pending:
        part = pending.pop()
        count += 1
        if count > MOST_PARTS:
            raise _TooMany
        if type(part) in MAPPINGS:
            pending += part.values()
        elif type(part) in SEQUENCES or (isinstance(part, tuple) and hasattr(part, "_fields")):
            pending += part
        elif is_dataclass(part) and not isinstance(part, type) and not is_module(part):
            pending += [value_of(part, name) for name in own_names(part)]
        else:
            yield part


class Copies:
    """The objects that a function is given in place of those that were taken apart, and what is in them."""

    def __init__(self, form: Form, made: Any) -> None:
        self._of = [(copy, _contents(copy), list(_containers(copy))) for copy in _copies(form, made)]

    def check(self) -> None:
        """Raise Closed if something was put into one of them, or taken out."""
        changed = {
            type(copy)
            for copy, before, inside in self._of
            if not _are_alike(_contents(copy), before) or any(part.is_changed() for part in inside)
        }
        if changed:
            raise Closed(changed)


def opened_in(form: Form) -> set[type]:
    """Return the classes of the objects that a form has taken apart."""
    kind = form[0]
    if kind in ("value", "tensor"):
        return set()
    found = {form[1]} if kind == "data" else set()
    parts = form[2] if kind in ("named", "data") else form[1]
    return found.union(*[opened_in(part[1] if kind == "data" or kind in MAPPINGS else part) for part in parts])


def _copies(form: Form, made: Any) -> Iterator[Any]:
    kind = form[0]
    if kind in ("value", "tensor"):
        return
    if kind == "data":
        yield made
        for field, part in form[2]:
            yield from _copies(part, value_of(made, field))
    elif kind in MAPPINGS:
        for key, part in form[1]:
            yield from _copies(part, made[key])
    else:
        for part, value in zip(form[2] if kind == "named" else form[1], made, strict=True):
            yield from _copies(part, value)


def _contents(value: Any) -> dict[str, Any]:
    return {name: value_of(value, name) for name in own_names(value)}


def _containers(value: Any) -> Iterator[Contents]:
    for name, part in _contents(value).items():
        for place, container in containers_in(name, part):
            yield Contents(place, container, "")


def _are_alike(now: dict[str, Any], before: dict[str, Any]) -> bool:
    return now.keys() == before.keys() and all(now[name] is before[name] for name in now)
