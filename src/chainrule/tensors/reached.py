"""Python code that runs while a function is traced: what it names outside, and whether it changed a container there.

Variables, attributes and the entries of small dicts are compared before each call (see ``guards``): where the code itself
changes them, the next call is traced again. What the code does to a list, a set, an array or a large dict would be done
once, while tracing, and never again: it is undone, and refused by name. So is what it draws from random generators that
are not chainrule's, and what it takes from iterators (see ``sources``).
"""

from __future__ import annotations

import functools
import operator
from array import array
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from types import MethodType
from typing import Any, cast

import numpy as np

from chainrule.errors import TraceError
from chainrule.tensors.attributes import holds_tensors, is_valueless, put_back
from chainrule.tensors.caches import Caches
from chainrule.tensors.contents import MOST_SUMMED, Contents, ContentsOfGroup, ContentsOfState
from chainrule.tensors.dtypes import get_default_dtype, set_default_dtype
from chainrule.tensors.facts import (
    DEEPEST,
    GROUPS,
    SHORT,
    SIMPLE,
    changeable_of,
    is_ordinary,
    is_source,
    parts_of_object,
    was_seen,
)
from chainrule.tensors.grad_mode import is_grad_enabled
from chainrule.tensors.guarded_names import ClassName, Name, OrderName, SetName
from chainrule.tensors.named import Named, plain_function
from chainrule.tensors.other_threads import ChangedMeanwhile, code_that_runs, others_run
from chainrule.tensors.reads import Reads
from chainrule.tensors.sources import IteratorSource, RandomSource, SharedSource, Source, global_sources, source_of
from chainrule.tensors.structure import Structure, refill
from chainrule.tensors.tensor import Tensor

KINDS = (list, deque, set, bytearray, array)
PAST_CLASSES = ("__getattribute__", "getattr_static")  # what reads attributes so that no class can tell
METHODS = ("method", "builtin_function_or_method", "cython_function_or_method")  # NumPy has the last


class Reached:
    """All code that was met in one trace.

    ``names``       what it names outside, as it was before the code ran
    ``modules``     modules of layers among that, and all parts of them, with their places in the code
    ``reads``       what is read of objects while the code runs
    ``structure``   which hooks and parts of modules it changes
    ``caches``      what keeps results of functions
    ``is_last``     whether what is changed now was changed by the code, though other threads run
    ``states``      of optimizers, by id, as they were at first
    ``before``      what earlier tries found changed, as it was at first, by id
    """

    def __init__(self) -> None:
        self.names: list[Name] = []
        self.modules: dict[int, tuple[str, Any]] = {}
        self.reads = Reads(self._keep, self._follow)
        self.structure = Structure()
        self.caches = Caches()
        self._dtype, self._tape = get_default_dtype(), is_grad_enabled()  # of all code that follows
        self._looked_at: dict[int, Any] = {}  # functions, with those that they call
        self._importing: list[tuple[tuple[int, int], Any, Any]] = []  # code that imported modules when it ran
        self._kept: dict[int, Contents] = {}
        self.states: dict[int, ContentsOfState] = {}
        self._others_run = others_run()
        shared = global_sources(others_run=self._others_run)
        self._sources: dict[int, Source] = {id(source.value): source for source in shared}
        self._small: dict[
            int, tuple[str, Any, dict[Any, Any]]
        ] = {}  # dicts that may be changed, by id: place, and what was in them
        self._variables: list[tuple[Name, Any]] = []  # and what they were
        self._read: set[Any] = set()  # variables, by place and name, and names of attributes
        self.is_last = False
        self._taken_out: set[int] = set()  # lists out of which the code's entries were taken, by id: once
        self.ran: code_that_runs | None = None  # in the last try
        self._bound: set[int] = set()  # whose methods were found, by id
        self.before: dict[int, Source | Contents] = {}
        self._given: list[Contents] = []  # containers that are arguments
        self._functions: dict[tuple[int, int], Any] = {}  # by function and owner, alive: their ids are not used again
        self._known: dict[Any, list[frozenset[str]]] = {}  # by place, the attributes that are compared there

    def note(self, function: Callable[..., Any], given: Iterable[tuple[str, Any]] = ()) -> None:
        """Take down what a function names outside, and reads of the objects that it is given, before it runs; once is enough."""
        plain = plain_function(function)
        if plain is None and is_ordinary(function):
            function = getattr(function, "__call__", function)  # noqa: B004 - the method itself is wanted
            plain = plain_function(function)
        owner = getattr(function, "__self__", None)
        key = (id(plain), id(owner))
        if plain is None or key in self._functions:
            return
        self._functions[key] = function
        who = plain.__qualname__.rpartition("<locals>.")[2]
        found = Named(function, given, is_running=self.reads.is_open)
        self._read |= found.read
        if found.imports_more:
            self._importing.append((key, function, given))
        self._looked_at |= found.functions
        if not found.attributes.isdisjoint(PAST_CLASSES):
            self.reads.asks_past_classes = True
        for cached in found.cached.values():
            self.caches.note(cached)
        for value in found.met.values():
            self.reads.meet(value, depth=0)
        for place, module in found.modules():
            self._note_module(place, module)
        for name in found.names():
            known = self._known.setdefault((name.place, name.text, isinstance(name, SetName)), [])
            if any(name.attributes <= others for others in known):
                continue
            known.append(name.attributes)
            self.names.append(name)
            if name.is_variable:
                self._variables.append((name, name.value()))
            if not self.reads.is_open:
                self.reads.meet(name.value())
            self._keep(name.text, name.value(), name.attributes, who)

    def _follow(self, function: Any) -> None:
        """Take down what a function names that was found while the code runs."""
        if id(function) not in self._looked_at:
            self.note(function)

    def _keep(self, place: str, value: Any, attributes: frozenset[str] = frozenset(), who: str = "") -> None:
        """Take down what is in the containers of a value, and the states of what things are taken from."""
        if type(value).__name__ in METHODS:
            self._bound.add(id(getattr(value, "__self__", None)))
        for inside, part in containers(place, value, attributes):
            if isinstance(part, dict) and len(part) <= SHORT:
                self._small.setdefault(id(part), (inside, part, dict(part)))
                continue
            if GROUPS in getattr(part, "__dict__", ()):
                self.note_optimizer(inside, part)
                continue
            if id(part) in self._kept or id(part) in self._sources:
                continue
            source = source_of(inside, part)
            if source is None:
                self._kept[id(part)] = Contents(inside, part, who)
            else:
                self._sources[id(part)] = source

    def note_class(self, kind: type, name: str) -> None:
        """Let it matter which member a class, or one of its bases, has under a name; once is enough."""
        if (id(kind), name) not in self._known:
            self._known[id(kind), name] = []
            self.names.append(ClassName(kind.__name__, kind, (name,)))

    def _note_module(self, place: str, module: Any) -> None:
        pending = [(place, module)]
        while pending:
            place, module = pending.pop()
            if id(module) in self.modules:
                continue
            self.modules[id(module)] = (place, module)
            pending += [(f"{place}.{name}", part) for name, part in module._modules.items() if part is not None]

    def note_optimizer(self, place: str, optimizer: Any) -> None:
        """Take down the options of an optimizer, and its state."""
        for k, group in enumerate(vars(optimizer)[GROUPS]):
            if id(group) not in self._kept:
                self._kept[id(group)] = ContentsOfGroup(f"{place}.{GROUPS}[{k}]", group, "")
                params = group["params"]
                self._kept[id(params)] = ContentsOfGroup(f"{place}.{GROUPS}[{k}]['params']", params, "")
        state = vars(optimizer).get("state")
        if state is not None and id(state) not in self.states:
            self._kept[id(state)] = self.states[id(state)] = ContentsOfState(f"{place}.state", state, "")

    def note_arguments(self, arguments: Iterable[tuple[str, Any]]) -> None:
        """Take down what is in the containers that the function is given: they were made for it, the caller's are others."""
        for name, value in arguments:
            self._given += [Contents(place, part, "") for place, part in containers_in(name, value)]

    def check(self, traced: str) -> None:
        """Raise, by name, if a container was changed or something was drawn; all is then as it was, but iterators."""
        importing, self._importing = self._importing, []
        for key, function, args in importing:  # what they read of modules that are loaded now
            del self._functions[key]
            self.note(function, args)
        self._importing = []
        arrays_last = sorted(self._kept.values(), key=lambda kept: isinstance(kept.value, np.ndarray))
        changed = [kept for kept in arrays_last if kept.is_changed()]  # comparing large arrays lets other threads go on
        moved = [
            source for source in reversed(self._sources.values()) if source.is_changed() and self._may_draw(source)
        ]
        doubtful = [source for source in moved if self._others_may_have(source)]
        taken = next((source for source in moved if source not in doubtful), None)
        if taken is not None:
            self.put_back()
            raise taken.told(traced)
        if doubtful:
            self.undo_all_but_doubtful()
            raise ChangedMeanwhile
        given = next((kept for kept in self._given if kept.is_changed()), None)
        if given is not None:
            self.put_back()
            raise TraceError(
                f"'{traced}' changed {given.told()}, an argument, while it was traced: that of the caller would stay as it is",
                expected="arguments that are read, or tensors that are written into",
                fix="return it instead, or do it outside of the compiled function",
            )
        self._check_modules(traced)
        self._check_settings(traced)
        kept_in = [(f"{place}, a dict from outside", value) for place, value in self.entries()]
        kept_in += [
            (f"'{name.text}', a variable from outside", name.value())
            for name, before in self._variables
            if name.value() is not before
        ]
        for place, value in kept_in:
            if is_valueless(value):
                self.put_back()
                raise TraceError(
                    f"'{traced}' put a tensor into {place}, while it was traced: Python would do so once, and never again",
                    expected="tensors that are returned, or put into attributes (self.last = y)",
                    fix=Contents.fix,
                )
        if not changed:
            return
        if any(map(self._others_may_have, changed)):
            self.undo_all_but_doubtful()
            raise ChangedMeanwhile
        self.put_back()
        first = changed[0]
        by = f", which '{first.who}' names," if first.who not in ("", traced) else ""
        raise TraceError(
            f"{first.told()}{by} was changed while '{traced}' was traced: Python would do so once, and never again",
            expected="code that changes nothing outside but tensors",
            fix=first.fix,
        )

    def _may_draw(self, source: Source) -> bool:
        """Say whether the code may have taken something, by what of it ran in the last of several tries."""
        is_of_others = self._others_run and self.ran is not None and isinstance(source, SharedSource)
        return not is_of_others or id(source.value) in self._bound or self.ran is None or self.ran.may_draw()

    def _others_may_have(self, changed: Source | Contents) -> bool:
        """Say whether another thread may have changed something, so that the function is to be traced again."""
        may_be_others = changed.is_shared if isinstance(changed, Contents) else isinstance(changed, RandomSource)
        return self._others_run and not self.is_last and may_be_others

    def _compared(self) -> list[Source | Contents]:
        """Return what is compared with what it was."""
        return [*self._sources.values(), *self._kept.values()]

    def check_iterators(self, traced: str) -> None:
        """Raise, by name, if something was taken from an iterator: it cannot be put back, for another try."""
        for source in self._sources.values():
            if isinstance(source, IteratorSource) and source.is_changed():
                raise source.told(traced)

    def undo_all_but_doubtful(self) -> None:
        """Undo all but what others may have done: the next try tells."""
        if self._others_run:
            for x in self._compared():
                if x.is_changed() and not (isinstance(x, Contents) and not x.is_shared):
                    first = self.before.setdefault(id(x.value), x)
                    if isinstance(first, Contents) and isinstance(x, Contents):
                        first.tails.append(x.added())
        self.put_back(but=self.before if self._others_run else ())

    def _check_modules(self, traced: str) -> None:
        """Raise, by name, if hooks or parts of modules are others than at first."""
        put = {(id(owner), name): before for owner, name, now, before in self.reads.assigned() if holds_tensors(now)}
        what, fix = self.structure.difference(self._all_modules(), put)
        if what:
            self.put_back()
            raise TraceError(
                f"{what} while '{traced}' was traced: Python would do so once, and never again",
                expected="code that changes nothing outside but tensors",
                fix=fix,
            )

    def _all_modules(self) -> list[Any]:
        found = {id(module): module for _, module in self.modules.values()}
        return list((found | {id(module): module for module in self.reads.modules(made=True)}).values())

    def _check_settings(self, traced: str) -> None:
        """Raise, by name, if what holds for all code that follows, also outside, is another than at first."""
        dtype = get_default_dtype()
        if dtype is not self._dtype:
            what = f"set_default_dtype({dtype!r})"
        elif is_grad_enabled() is not self._tape:
            what = f"set_grad_enabled({not self._tape})"
        else:
            return
        self.put_back()
        raise TraceError(
            f"'{traced}' left {what} behind while it was traced: Python would do so once, and never again",
            expected="settings that are, at its end, what they were before",
            fix="call it outside of the compiled function"
            + ("" if dtype is not self._dtype else f", or write `with {what}:` around what it is for"),
        )

    def put_back(self, but: Container[int] = ()) -> None:
        """Undo what was done to modules, containers and random generators: the function will run again, traced or not.

        ``but`` is left as it is, by id. So are random generators that other threads may have drawn from.
        """
        self.structure.put_back(self._all_modules())
        if get_default_dtype() is not self._dtype:
            set_default_dtype(self._dtype)
        for x in self._compared():
            is_of_all = self._others_run and isinstance(x, SharedSource)
            if x.is_changed() and not is_of_all and id(x.value) not in but and id(x.value) not in self._taken_out:
                first = self.before.get(id(x.value), x)
                are_kept = self._others_run and isinstance(first, Contents) and isinstance(x, Contents)
                if are_kept and cast("Contents", first).take_out(cast("Contents", x)):
                    self._taken_out.add(id(x.value))
                else:
                    first.put_back()
        for _, value, before in self._small.values():
            base: Any = changeable_of(type(value))
            if _has_other_keys(value, before) or not all(map(operator.is_, base.values(value), before.values())):
                refill(value, before)
        for name, before in self._variables:
            if name.value() is not before:
                name.put_back(before)
        put_back(self.reads)

    def put_back_states(self) -> None:
        """Let optimizers have the state that they had: the trace failed."""
        for state in self.states.values():
            state.put_back()

    def entries(self) -> Iterator[tuple[str, Any]]:
        """Yield what the code put into small dicts, and where."""
        for place, value, before in self._small.values():
            for key, part in dict.items(value):
                if key not in before or before[key] is not part:
                    yield f"{place}[{'a tensor' if isinstance(key, Tensor) else repr(key)}]", part

    def left(self) -> list[Name]:
        """Return what the code set of variables and of small dicts, as it left them: where that is another thing now, it has to run again."""
        found = [name.again() for name, before in self._variables if name.value() is not before]
        for name, _ in self._variables:
            if isinstance(name, SetName) and name.read_as not in self._read:
                name.renew()
        for place, value, before in self._small.values():
            for key, part in dict.items(value):
                if key not in before or before[key] is not part:
                    found.append(Name(id(value), f"{place}[{key!r}]", functools.partial(dict.get, value, key)))
            if _has_other_keys(value, before):
                found.append(OrderName(id(value), place, functools.partial(_itself, value)))
        return found

    def forget(self) -> None:
        """Let go of everything but the names, and the states."""
        self.reads.forget()
        self.structure = Structure()
        self._kept, self._functions, self._sources, self._given, self.modules = {}, {}, {}, [], {}
        self._looked_at, self._small, self._variables, self.before = {}, {}, [], {}


def _has_other_keys(value: Any, before: dict[Any, Any]) -> bool:
    """Say whether a dict has not the keys that it had, in that order."""
    base: Any = changeable_of(type(value))
    return len(value) != len(before) or not all(map(operator.is_, base.__iter__(value), before))


def _itself(value: Any) -> Any:
    return value


def containers(
    place: str, value: Any, attributes: frozenset[str], depth: int = DEEPEST, seen: dict[int, int] | None = None
) -> Iterator[tuple[str, Any]]:
    """Yield what code may change in a value, and where it is: containers, optimizers, sources."""
    kind = type(value)
    base = changeable_of(kind)
    is_array = base is np.ndarray and value.flags.writeable and value.nbytes <= MOST_SUMMED
    is_optimizer = GROUPS in getattr(value, "__dict__", ())
    if is_optimizer or is_array or base in KINDS or issubclass(kind, dict) or is_source(value):
        yield place, value
    seen = {} if seen is None else seen
    if depth and is_ordinary(value) and not was_seen(value, depth, seen):
        for name, part in parts_of_object(value, attributes):
            if type(part) not in SIMPLE:
                yield from containers(f"{place}{name}", part, attributes, depth - (kind is not MethodType), seen)


def containers_in(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the lists and dicts in an argument, and where they are."""
    if isinstance(value, (list, dict)):
        yield place, value
    if isinstance(value, dict):
        for key, part in value.items():
            yield from containers_in(f"{place}[{key!r}]", part)
    elif isinstance(value, (list, tuple)):
        for k, part in enumerate(value):
            yield from containers_in(f"{place}[{k}]", part)
