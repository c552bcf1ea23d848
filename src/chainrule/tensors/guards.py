"""What a trace took for granted beside its arguments, and whether it is still so.

Names    what the function's own code reads from outside by name (globals and variables of enclosing functions, the object
         whose method it is): the model, the optimizer, a number; of other objects the attributes that the code names
Modules  everything of a module but the numbers in its tensors: settings, parts, hooks; train or eval
Tensors  whether they want gradients, their shapes and dtypes
Answers  of whoever was asked while tracing (an optimizer: which rule do your flags select?)

Names and answers are compared at every call. Modules and tensors are only looked at when the count of changes moved.
What a guard remembers, it remembers weakly: a trace keeps no replaced layer alive, and does not hold once one is gone.
"""

from __future__ import annotations

import dis
import functools
import math
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from chainrule.tensors.changes import CHANGES
from chainrule.tensors.sources import is_iterator, is_random
from chainrule.tensors.tensor import Tensor

SIMPLE = (bool, int, float, str, type(None))
OWN_NAMES = ("_label", "_hooked")  # what tracing itself writes into a module, and what follows from the rest
PARTS = ("_parameters", "_buffers", "_modules")
SEQUENCES = (list, deque)
MAPPINGS = (dict, OrderedDict, defaultdict, Counter)
CHANGEABLE = (*SEQUENCES, *MAPPINGS, set, bytearray, np.ndarray)
SHORT = 32  # entries of a container that are compared at each call
DEEPEST = 3  # objects and containers inside each other whose entries are
LONGEST = 1000  # of a list or dict that is compared by its contents


class Same:
    """Equal to another of these if both are about the same object, and that still exists."""

    __slots__ = ("_find",)

    def __init__(self, value: Any) -> None:
        try:
            self._find: Callable[[], Any] = weakref.ref(value)
        except TypeError:
            self._find = lambda: value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same):
            return NotImplemented
        value = self._find()
        return value is not None and value is other._find()

    __hash__ = None  # type: ignore[assignment]  # never a key


def fact(value: Any) -> Any:
    """Return what can be compared of a value: numbers and texts themselves, contents of containers, else identity.

    >>> fact([1, True]) == fact([1, 1]), fact([1, 2.0]) == fact([1, 2.0])
    (False, True)
    """
    kind = type(value)
    if kind in SIMPLE:
        if kind is float and math.isnan(value):
            return (float, "nan")
        return (kind, value)
    if isinstance(value, (list, tuple)) and len(value) <= LONGEST:
        return (kind, [fact(part) for part in value])
    if isinstance(value, dict) and len(value) <= LONGEST:
        return (kind, [(key, fact(part)) for key, part in value.items()])
    if isinstance(value, (set, frozenset)) and len(value) <= SHORT and all(type(part) in SIMPLE for part in value):
        return (kind, {fact(part) for part in value})
    if kind is np.ndarray and value.size <= SHORT and value.dtype.kind in "biufc":
        return (kind, value.dtype, value.shape, value.tobytes())
    return Same(value)


# -- names -------------------------------------------------------------------------------------------------------------


class Name:
    """A global or enclosing variable that a function reads, and what it was.

    Of a large list or dict it matters which one it is, not what is in it.
    """

    __slots__ = ("_find", "known", "place", "text")
    attributes: frozenset[str] = frozenset()

    def __init__(self, place: int, text: str, find: Callable[[], Any]) -> None:
        self.place = place
        self.text = text
        self._find = find
        self.known = self._fact()

    @property
    def key(self) -> Any:
        """What two of these have in common that are about the same."""
        return self.place, self.text, self.attributes

    def value(self) -> Any:
        """Return the variable's value, now."""
        return self._find()

    def _fact(self) -> Any:
        value = self._find()
        return Same(value) if isinstance(value, (list, dict, deque)) else fact(value)

    def holds(self) -> bool:
        """Return whether it still has the same value."""
        value = self._find()
        known = self.known
        if type(known) is Same:
            return value is not None and known._find() is value
        return bool(known == self._fact())

    def difference(self) -> str:
        """Say what it is now."""
        return _changed(f"'{self.text}'", self.known, self._fact())


class ObjectName(Name):
    """The same of an ordinary object or a small container: which one it is, and the attributes of it that code names, or all entries."""

    __slots__ = ("attributes",)

    def __init__(self, place: int, text: str, find: Callable[[], Any], attributes: frozenset[str]) -> None:
        self.attributes = attributes
        super().__init__(place, text, find)

    def _fact(self) -> Any:
        return facts_of_object(self._find(), self.attributes)

    def holds(self) -> bool:
        return bool(self.known == self._fact())

    def difference(self) -> str:
        now = self._fact()
        before = next((name for name, value in self.known.items() if name not in now or now[name] != value), "")
        name = before or next((name for name in now if name not in self.known), "")
        return _changed(f"{self.text}{name}", self.known.get(name), now.get(name))


class ListName(ObjectName):
    """The same of a small list, compared with as few questions as will do: a model's parameters may be in one."""

    __slots__ = ("_parts",)

    def __init__(self, place: int, text: str, find: Callable[[], Any], attributes: frozenset[str]) -> None:
        super().__init__(place, text, find, attributes)
        value = find()
        self._parts = None if any(is_ordinary(part) for part in value) else [fact(part) for part in value]

    def holds(self) -> bool:
        parts = self._parts
        if parts is None:
            return super().holds()
        value = self._find()
        if type(value) is not list or len(value) != len(parts):
            return False
        for part, known in zip(value, parts, strict=True):
            if type(known) is Same:
                if known._find() is not part:
                    return False
            elif fact(part) != known:
                return False
        return True


def facts_of_object(value: Any, attributes: frozenset[str], inside: str = "", depth: int = DEEPEST) -> dict[str, Any]:
    """Return which object it is, and what its attributes of these names are, down to those of objects in it."""
    if depth == 0 or not is_ordinary(value):
        return {inside: fact(value) if isinstance(value, (set, np.ndarray)) else Same(value)}
    is_list = type(value) in SEQUENCES
    found: dict[str, Any] = {inside: (type(value), len(value)) if is_list else Same(value)}
    for name, part in parts_of_object(value, attributes):
        place = f"{inside}{name}"
        if type(part) in SIMPLE:
            found[place] = fact(part)
        else:
            found |= facts_of_object(part, attributes, place, depth - 1)
    return found


def parts_of_object(value: Any, attributes: frozenset[str]) -> list[tuple[str, Any]]:
    """Return the entries of a container, or the attributes of these names of an object, with the text that leads to each."""
    if type(value) in SEQUENCES:
        return [(f"[{k}]", part) for k, part in enumerate(value)]
    if type(value) in MAPPINGS:
        return [(f"[{key!r}]", part) for key, part in list(value.items())]
    return [(f".{name}", part) for name, part in list(vars(value).items()) if name in attributes]


def is_ordinary(value: Any) -> bool:
    """Say whether a value is an object of a class that knows nothing of tracing, or a small container: no module, optimizer, function."""
    if type(value) in MAPPINGS or type(value) in SEQUENCES:
        return len(value) <= SHORT
    if isinstance(value, (type, Tensor, ModuleType, FunctionType, MethodType)) or callable(value):
        return False
    own = getattr(value, "__dict__", None)
    known = type(value).__module__.partition(".")[0] in ("chainrule", "numpy", "builtins")
    return isinstance(own, dict) and not known and PARTS[0] not in own and "param_groups" not in own


def names_read(function: Callable[..., Any]) -> list[Name]:
    """Return the variables from outside that a function's code reads, and those of the functions it calls by name."""
    found: dict[tuple[int, str], tuple[str, Callable[[], Any]]] = {}
    pending = [plain_function(function)]
    seen: set[int] = set()
    attributes: set[str] = set()
    objects: list[Any] = []
    owner = getattr(function, "__self__", None) if isinstance(function, MethodType) else None
    if is_ordinary(owner):
        place = pending[0].__code__.co_varnames[0] if pending[0] else "self"
        found[id(owner), place] = (place, _weakly(owner))
    modules: list[tuple[str, Any]] = []
    of_others: set[str] = (
        set()
    )  # attributes that other code names than the forward of a module, which is looked at when it runs
    forwards: set[int] = set()
    if is_module(owner):
        modules.append(("self", owner))
    if is_module(owner) or is_ordinary(owner):
        objects.append(owner)
    while pending:
        plain = pending.pop()
        if plain is None or id(plain) in seen:
            continue
        seen.add(id(plain))
        pending.append(plain_function(plain.__dict__.get("__wrapped__")))  # what a decorator was put around
        attributes |= _attributes_of(plain.__code__)
        if id(plain) not in forwards:
            of_others |= _attributes_of(plain.__code__)
        for place_id, text, find in _variables(plain):
            value = find()
            if isinstance(value, ModuleType):
                continue
            found.setdefault((place_id, text), (text, find))
            if is_ordinary(value):
                objects.append(value)
            elif is_module(value) and value is not owner:
                modules.append((text, value))
            called = plain_function(value)
            if called is not None and is_module(value):
                forwards.add(id(called))
            if called is not None and called.__globals__ is plain.__globals__:
                pending.append(called)
        methods = [getattr(type(x), name, None) for x in objects for name in attributes]
        pending += [m for m in methods if isinstance(m, FunctionType) and id(m) not in seen and not _is_own(m)]
    for text, module in modules:
        if vars(module)["_made_while_tracing"]:
            continue
        read = attributes if module is owner else of_others
        for name, value in vars(module).items():
            if name in read and (is_ordinary(value) or type(value) in CHANGEABLE or is_source(value)):
                place = f"{text}.{name}"
                found[id(module), place] = (place, functools.partial(_attribute, weakref.ref(module), name))
    named = frozenset(attributes)
    names: list[Name] = []
    for (place_id, text), (_, find) in found.items():
        value = find()
        if not is_ordinary(value):
            names.append(Name(place_id, text, find))
        else:
            names.append((ListName if type(value) is list else ObjectName)(place_id, text, find, named))
    return names


def is_module(value: Any) -> bool:
    """Say whether a value is a module of layers."""
    return PARTS[0] in getattr(value, "__dict__", ())


def is_source(value: Any) -> bool:
    """Say whether a value gives another number or item each time it is asked."""
    return is_random(value) or is_iterator(value)


def _is_own(function: FunctionType) -> bool:
    return function.__module__.startswith("chainrule.")


def _attribute(find: Callable[[], Any], name: str) -> Any:
    return getattr(find(), "__dict__", {}).get(name)


def _weakly(value: Any) -> Callable[[], Any]:
    """Return what gives a value as long as it exists."""
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value


def plain_function(function: Any) -> FunctionType | None:
    """Return the Python function behind a method, a partial or a module; None if there is none."""
    while True:
        if isinstance(function, FunctionType):
            return function
        if isinstance(function, MethodType):
            function = function.__func__
        elif isinstance(function, functools.partial):
            function = function.func
        elif isinstance(getattr(type(function), "forward", None), FunctionType):
            function = type(function).forward
        elif "__wrapped__" in getattr(function, "__dict__", ()):  # another compiled function
            function = function.__wrapped__
        else:
            return None


def _variables(function: FunctionType) -> Iterator[tuple[int, str, Callable[[], Any]]]:
    """Yield (identity of the place, name, getter) of the variables from outside that exist now."""
    names = function.__globals__
    for text in _globals_of(function.__code__):
        if text in names:
            yield id(names), text, functools.partial(names.get, text)
    cells = function.__closure__ or ()
    for k, (text, cell) in enumerate(zip(function.__code__.co_freevars, cells, strict=True)):
        yield id(cell), text, functools.partial(_contents, weakref.ref(function), k)


def _contents(find: Callable[[], FunctionType | None], k: int) -> Any:
    """Return what is in a cell of a function, which may be a hook that is gone, with all that it held."""
    function = find()
    if function is None or function.__closure__ is None:
        return None
    try:
        return function.__closure__[k].cell_contents
    except ValueError:  # not assigned yet
        return None


@functools.cache
def _attributes_of(code: CodeType) -> frozenset[str]:
    """Return the names of the attributes that code reads, and some other names."""
    return frozenset(code.co_names).union(*[_attributes_of(c) for c in code.co_consts if isinstance(c, CodeType)])


@functools.cache
def _globals_of(code: CodeType) -> tuple[str, ...]:
    names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for part in code.co_consts:
        if isinstance(part, CodeType):
            names.update(_globals_of(part))
    return tuple(sorted(names))


# -- modules and tensors -----------------------------------------------------------------------------------------------


class Facts:
    """What was so of one object (a module, a tensor), by name."""

    __slots__ = ("_find", "_read", "known", "text")

    def __init__(self, text: str, value: Any, read: Callable[[Any], dict[str, Any]]) -> None:
        self.text = text
        self._find = weakref.ref(value)
        self._read = read
        self.known = read(value)

    def exist(self) -> bool:
        """Return whether the object still exists."""
        return self._find() is not None

    def hold(self) -> bool:
        """Return whether all of it is still so."""
        value = self._find()
        return value is not None and bool(self._read(value) == self.known)

    def difference(self) -> str:
        """Say what is not."""
        value = self._find()
        if value is None:
            return f"{self.text} was replaced"
        now = self._read(value)
        for name in {**self.known, **now}:
            before, after = self.known.get(name), now.get(name)
            if before != after:
                return _changed(f"{self.text}.{name}", before, after)
        return ""


def _changed(text: str, before: Any, after: Any) -> str:
    """Say how one fact became another, down to the part of a module."""
    if isinstance(before, Same):
        return f"{text} was replaced"
    if _is_simple(before) and _is_simple(after):
        return f"{text} was {before[1]!r} and is {after[1]!r}"
    place, _, name = text.rpartition(".")
    if name in PARTS:
        old, new = dict(before[1]), dict(after[1])
        different = next(key for key in {**old, **new} if old.get(key) != new.get(key))
        return _changed(f"{place}.{different}", old.get(different), new.get(different))
    return f"{text} changed"


def _is_simple(known: Any) -> bool:
    return isinstance(known, tuple) and known[0] in SIMPLE


def facts_of_module(module: Any) -> dict[str, Any]:
    """Return everything of a module that a trace depends on beside the numbers in its tensors."""
    return {name: fact(value) for name, value in vars(module).items() if name not in OWN_NAMES}


def facts_of_tensor(x: Tensor) -> dict[str, Any]:
    """Return whether a leaf wants a gradient, its shape and its dtype."""
    value = x._value
    dense = value.flags.c_contiguous  # decides whether a reshape is a view
    return {"requires_grad": (bool, x._node is not None), "shape": value.shape, "dtype": value.dtype, "dense": dense}


def label_of(module: Any) -> str:
    """Return how a module is called in messages: its path in the model and its class."""
    path, kind = module.__dict__.get("_label", ""), type(module).__name__
    return kind if path in ("", kind) else f"{path} ({kind})"


class Guards:
    """All that one trace took for granted."""

    def __init__(
        self, names: list[Name], modules: Iterable[Any], answers: list[tuple[str, Callable[[], Any], Any]]
    ) -> None:
        self.names = names
        self.answers = answers
        self.facts = [Facts(label_of(module), module, facts_of_module) for module in modules]
        self.held_at = CHANGES.count
        self._failed_at = -1

    def watch(self, x: Tensor, name: str) -> None:
        """Let it matter what ``x`` is like."""
        self.facts.append(Facts(name, x, facts_of_tensor))

    def forget_gone(self) -> None:
        """Forget the modules that the function itself made and dropped."""
        self.facts = [facts for facts in self.facts if facts.exist()]

    def hold(self) -> bool:
        """Return whether everything is still so."""
        for name in self.names:
            if not name.holds():
                return False
        for _, ask, answer in self.answers:
            if ask() != answer:
                return False
        count = CHANGES.count
        if count == self.held_at:
            return True
        if count == self._failed_at:
            return False
        if all(facts.hold() for facts in self.facts):
            self.held_at = count
            return True
        self._failed_at = count
        return False

    def can_hold_again(self) -> bool:
        """Return whether every module and tensor still exists."""
        return all(facts.exist() for facts in self.facts)

    def difference(self) -> str:
        """Say in words what is not so any more."""
        for name in self.names:
            if not name.holds():
                return name.difference()
        for text, ask, answer in self.answers:
            if ask() != answer:
                return f"{text} changed"
        return next((text for facts in self.facts if (text := facts.difference())), "")
