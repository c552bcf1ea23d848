"""What code reads of objects while it is traced: their classes tell, as long as the trace is open.

Which attributes a function's code names is known before it runs (see ``named``), but not whose they are, nor whether they are
read at all. So the classes of modules and of ordinary objects get a ``__getattribute__`` and a ``__setattr__`` that note who is
asked for what, and lose them when the trace ends. What was not read cannot have decided anything, and is not compared. A
class that does not allow it, or that came up when code had run already, is compared by the names in the code alone.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any

from chainrule.interrupts import held
from chainrule.tensors.facts import (
    EXACT,
    GROUPS,
    MISSING,
    OF_GROUPS,
    SIMPLE,
    SIMPLE_KINDS,
    STRUCTURE,
    container_of,
    fact,
    facts_of_object,
    is_like_users,
    is_module,
    is_of_user,
    is_ordinary,
    may_change,
    member_of,
    own_members,
    own_names,
    value_of,
    weakly,
)
from chainrule.tensors.named import functions_of, operators_of
from chainrule.tensors.state import STATE
from chainrule.tensors.tensor import Tensor
from chainrule.tensors.watches import WATCHES, can_tell

ALWAYS: list[type] = []
"""The classes that every trace watches: the base of all modules."""
ALL_NAMES = frozenset(("__dict__",))
WHOLE = ("__dict__", "__reduce__", "__reduce_ex__", "__getstate__")  # what asks for all attributes at once
ONE_NAME = ("chainrule", "functools")  # packages that look into ``__dict__`` for what they ask for by name anyway
HOOKS = ("_hooks", "_kwargs", "_always_called")  # how the names of a module's containers of hooks end
MOST_ENTRIES = 1 << 12  # of a container, whose classes are watched once it is read
DEEPEST = 6  # containers inside each other


class ReadObject:
    """What was read of one object, or set.

    ``known``   what was there when it was first asked for, as facts, by name
    ``set``     what was there before it was set, by name; ``set_first`` has the names that nobody had read before
    ``missing`` names under which it held nothing, but a method (of ``cached_property``) may put something
    ``whole``   all that it held when its ``__dict__`` was asked for, which can be written into
    ``apart``   names that are compared in another way, or not at all
    ``is_old``  whether it was there before the trace
    """

    __slots__ = ("apart", "find", "is_old", "known", "missing", "names", "set", "set_first", "whole")

    def __init__(self, owner: Any) -> None:
        self.find = weakly(owner)
        self.names: set[str] = set()
        self.known: dict[str, dict[str, Any]] = {}
        self.set: dict[str, Any] = {}
        self.set_first: set[str] = set()
        self.apart: set[str] = set()
        self.missing: set[str] = set()
        self.whole: dict[str, Any] | None = None
        self.is_old = False


class Reads:
    """Which attributes of which objects one trace read, or set."""

    def __init__(self, keep: Callable[[str, Any], None], follow: Callable[[FunctionType], None]) -> None:
        """``keep`` is told of what is found, and where: the code may change it; ``follow`` of functions: it may call them."""
        self._keep, self._follow = keep, follow
        self._of: dict[int, ReadObject] = {}
        self._early: weakref.WeakSet[type] = weakref.WeakSet()
        self._watched: set[type] = set()
        self._late: set[type] = set()
        self.is_open = False
        self.asks_past_classes = False  # code has object.__getattribute__, or the like

    # -- noting ----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin to note."""
        for kind in ALWAYS:
            self._watch(kind)
        self.is_open = True
        STATE.reads = self

    def close(self) -> None:
        """Note no more, and let the classes be what they were."""
        if STATE.reads is self:
            STATE.reads = None
        for kind in self._watched:
            WATCHES.remove(kind)
        self._watched = set()

    def _watch(self, kind: type) -> bool:
        """Let objects of a class tell what is read of them; say whether it can."""
        if kind in self._watched or self._tells(kind):
            return True
        if not can_tell(kind):
            return False
        with held():
            WATCHES.add(kind)
            self._watched.add(kind)
        if not self.is_open:
            self._early.add(kind)
        return True

    def meet(self, value: Any, depth: int = DEEPEST) -> None:
        """Watch an object that was there before the trace, or those in a container; follow a function."""
        kind = type(value)
        if kind in SIMPLE:
            return
        if kind is FunctionType or isinstance(value, type):
            if is_of_user(value.__module__):
                for function in [value] if kind is FunctionType else operators_of(value):
                    self._follow(function)
            return
        if depth and kind in (MethodType, functools.partial):
            parts = (
                [value.__self__, value.__func__]
                if kind is MethodType
                else [value.func, *value.args, *value.keywords.values()]
            )
        elif is_module(value) or (kind not in EXACT and is_ordinary(value)):
            self._object(value).is_old = True
            parts = []
            if not self._watch(kind):
                parts = list(getattr(value, "__dict__", {}).values())
            elif self.is_open and kind not in self._late and is_of_user(kind.__module__):
                self._late.add(kind)
                for function in operators_of(kind):
                    self._follow(function)
        else:
            parts = []
        if container_of(kind) is not None and len(value) <= MOST_ENTRIES:
            parts += value.values() if hasattr(value, "values") else value
        if depth and not {*map(type, parts)} <= SIMPLE_KINDS:
            for part in parts:
                self.meet(part, depth - 1)

    def _object(self, owner: Any) -> ReadObject:
        found = self._of.get(id(owner))
        if found is None or found.find() is not owner:
            found = self._of[id(owner)] = ReadObject(owner)
        return found

    def note(self, owner: Any, name: str, *, is_set: bool) -> None:
        """Note that ``name`` is about to be read of ``owner``, or to be set."""
        found = self._of.get(id(owner))
        if found is None or found.find() is not owner:
            found = self._of[id(owner)] = ReadObject(owner)
        if name in found.names and (not is_set or name in found.set):
            return
        if name[:2] == "__" and (
            name not in WHOLE or (sys._getframe(2).f_globals.get("__name__") or "").partition(".")[0] in ONE_NAME
        ):
            return
        STATE.reads = None  # what follows is none of the code's reads
        try:
            if is_set and name not in found.set:
                found.set[name] = value_of(owner, name)
                if name not in found.names and found.names.isdisjoint(WHOLE) and self._tells(type(owner)):
                    found.set_first.add(name)
            if name not in found.names:
                found.names.add(name)
                if self._is_outside(found, owner):
                    self._first(found, owner, name)
        finally:
            STATE.reads = self

    def _is_outside(self, found: ReadObject, owner: Any) -> bool:
        """Say whether an object is a module or one of the user's, and was there before the trace."""
        if is_module(owner):
            return not vars(owner).get("_made_while_tracing", True)
        return found.is_old and is_like_users(type(owner).__module__)

    def _first(self, found: ReadObject, owner: Any, name: str) -> None:
        if name in WHOLE:
            if found.whole is None:
                found.whole = dict(getattr(owner, "__dict__", {}))
            if not is_module(owner):
                found.known["__dict__"] = found_facts(value_of(owner, "__dict__"), "__dict__")
                for each in own_names(owner):
                    if each not in found.names:
                        found.names.add(each)
                        self._first(found, owner, each)
            return
        if name in OF_GROUPS and GROUPS in getattr(owner, "__dict__", ()):
            return  # of an optimizer, which is looked at in other ways
        of_module = is_module(owner)
        if of_module and (name in STRUCTURE or name.endswith(HOOKS)):
            return
        value = value_of(owner, name)
        if value is MISSING:
            if hasattr(member_of(type(owner), name), "__get__"):
                found.missing.add(name)
            for function in functions_of(member_of(type(owner), name)):
                if is_of_user(function.__module__):
                    self._follow(function)
        if of_module and (value is MISSING or type(value) in SIMPLE or isinstance(value, Tensor)):
            return  # looked at when the count of changes moves
        if not of_module or may_change(value):
            found.known[name] = found_facts(value, name)
        self.meet(value)
        self._keep(f"{type(owner).__name__}.{name}", value)

    # -- what was set ----------------------------------------------------------------------------------------------

    def assigned(self) -> Iterator[tuple[Any, str, Any, Any]]:
        """Yield (object, name, what it is now, what it was) of all that was set of what was there before, or that a property kept."""
        for found in list(self._of.values()):
            owner = found.find()
            if owner is None or not self._is_outside(found, owner):
                continue
            if found.set:
                for name, before in list(found.set.items()):
                    yield owner, name, value_of(owner, name), before
            for name in found.missing.difference(found.set):
                now = value_of(owner, name)
                if now is not MISSING:
                    yield owner, name, now, MISSING
            if found.whole is not None:
                for name, now in list(getattr(owner, "__dict__", {}).items()):
                    if (
                        name not in found.set
                        and name not in found.missing
                        and now is not found.whole.get(name, MISSING)
                    ):
                        yield owner, name, now, found.whole.get(name, MISSING)

    def is_set_first(self, owner: Any, name: str) -> bool:
        """Say whether an attribute was set before anybody read it."""
        return name in self._of[id(owner)].set_first

    def forget_set(self, owner: Any, name: str) -> None:
        """Take it that an attribute was not set, nor read first: each run sets it."""
        found = self._of[id(owner)]
        found.set.pop(name, None)
        if name in found.set_first:
            found.apart.add(name)

    def read(self, *, was_read: bool = False) -> Iterator[tuple[Any, str]]:
        """Yield (object, name) of all that was read, or set, of what was there before; ``was_read``: before it was set."""
        for found in list(self._of.values()):
            owner = found.find()
            if owner is not None and self._is_outside(found, owner):
                for name in found.names - found.set_first if was_read else found.names:
                    yield owner, name

    def forget_read(self, owner: Any, name: str) -> None:
        """Take it that an attribute was not read: what is there is asked for in another way."""
        self._of[id(owner)].apart.add(name)

    # -- after the trace -------------------------------------------------------------------------------------------

    def compared(self, value: Any, named: frozenset[str]) -> frozenset[str]:
        """Return which attributes of an object are compared with what they were at first, of those that code names."""
        found = self._of.get(id(value))
        names = self.names_of(value)
        chosen = named if names is None else named & names
        return chosen if found is None or found.find() is not value else chosen - found.set_first - found.apart

    def names_of(self, value: Any) -> frozenset[str] | None:
        """Return what was read of an object; None if that may have been anything."""
        if not self._tells(type(value)):
            return None
        found = self._of.get(id(value))
        if found is None or found.find() is not value:
            return frozenset()
        return None if not found.names.isdisjoint(WHOLE) else frozenset(found.names - found.apart)

    def apart(self) -> set[tuple[int, str]]:
        """Return all attributes that are compared in another way or not at all, by the id of the object and name."""
        return {(key, name) for key, found in self._of.items() for name in found.apart}

    def forget(self) -> None:
        """Keep but which names were read: nothing that would keep an object alive."""
        self._keep = self._follow = _nothing
        for key, found in list(self._of.items()):
            found.known, found.set, found.missing, found.whole = {}, {}, set(), None
            if not (found.is_old or isinstance(found.find, weakref.ref)):
                del self._of[key]

    def _tells(self, kind: type) -> bool:
        """Say whether objects of a class told all that was read of them."""
        if self.asks_past_classes:
            return False
        if kind in self._early:
            return True
        for base in kind.__mro__:
            if base in self._early:
                self._early.add(kind)
                return True
            if "__getattribute__" in own_members(base):
                return False
        return False

    def modules(self, *, made: bool = False) -> Iterator[Any]:
        """Yield the modules of which something was read, and that were there before; ``made``: also others."""
        for found in self._of.values():
            module = found.find()
            if is_module(module) and (made or not vars(module).get("_made_while_tracing", True)):
                yield module

    def others(self) -> Iterator[tuple[Any, ReadObject]]:
        """Yield what was there before of the user's objects, and what was read of each."""
        for found in self._of.values():
            owner = found.find()
            if owner is not None and found.known:
                yield owner, found


def _nothing(*_: Any) -> None:
    """Do nothing."""


def found_facts(value: Any, name: str) -> dict[str, Any]:
    """Return what is compared of a value that was found in an attribute: of an object in it that cannot tell what is read, all."""
    if type(value) in SIMPLE:
        return {f".{name}": fact(value)}
    return facts_of_object(value, frozenset(), f".{name}", choose=_all_of_silent)


def _all_of_silent(value: Any, attributes: frozenset[str], depth: int) -> frozenset[str]:
    return frozenset() if can_tell(type(value)) else ALL_NAMES
