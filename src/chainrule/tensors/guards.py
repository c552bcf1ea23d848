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

import functools
import math
import operator
import sys
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np

from chainrule.tensors.changes import CHANGES
from chainrule.tensors.sources import is_iterator, is_random
from chainrule.tensors.tensor import Tensor

PYTHON = Path(functools.__file__).parent  # where Python's own modules are
SIMPLE = (bool, int, float, str, type(None))
OWN_NAMES = ("_label", "_hooked")  # what tracing itself writes into a module, and what follows from the rest
BY_FACT = (set, frozenset, np.ndarray, bytearray)  # compared by what is in them, also in objects
PARTS = ("_parameters", "_buffers", "_modules")
GROUPS = "param_groups"
OF_GROUPS = (GROUPS, "state", "last_epoch", "_stepped")  # of optimizers and schedules: looked at in other ways, or not
SEQUENCES = (list, deque)
MAPPINGS = (dict, OrderedDict, defaultdict, Counter)
LONG = (*SEQUENCES, *MAPPINGS, tuple, set, frozenset)
CHANGEABLE = (*SEQUENCES, *MAPPINGS, set, bytearray, np.ndarray)
SHORT = 32  # entries of a container, of any kind, that are compared at each call
DEEPEST = 3  # objects and containers inside each other whose entries are
LONGEST = (
    1000  # entries of a container that is compared by its contents: at each call, if all of them are simple values
)
MOST_BYTES = 1 << 16  # of an array that is compared


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
    if kind is np.ndarray and value.nbytes <= MOST_BYTES and value.dtype.kind in "biufc":
        return (kind, value.dtype, value.shape, value.tobytes())
    if kind is bytearray and len(value) <= MOST_BYTES:
        return (kind, bytes(value))
    return Same(value)


def is_long(value: Any) -> bool:
    """Say whether a value is a container of many simple values, but not too many."""
    kind = type(value)
    if not (kind in LONG and SHORT < len(value) <= LONGEST):
        return False
    if kind in MAPPINGS:
        parts = value.values()
        return type(next(iter(parts))) in SIMPLE and {*map(type, parts), *map(type, value)} <= set(SIMPLE)
    return type(next(iter(value))) in SIMPLE and set(map(type, value)) <= set(SIMPLE)


def contents(value: Any) -> Any:
    """Return what can be compared, in one step, of a container that was long, and may have become anything."""
    kind = type(value)
    if kind not in LONG or len(value) > LONGEST:
        return Same(value)
    if kind in (set, frozenset):
        return (kind, frozenset(value))
    if kind in MAPPINGS:
        return (kind, tuple(map(type, value.values())), tuple(value), tuple(value.values()))
    return (kind, tuple(map(type, value)), tuple(value))  # types first: simple values alone are compared


# -- names -------------------------------------------------------------------------------------------------------------


class Name:
    """A global or enclosing variable that a function reads, and what it was.

    Of a list or dict it matters which one it is, not what is in it.
    """

    __slots__ = ("_find", "known", "place", "text")
    attributes: frozenset[str] = frozenset()

    def __init__(self, place: int, text: str, find: Callable[[], Any]) -> None:
        self.place = place
        self.text = text
        self._find = find
        self.known = self._fact()

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


class LongName(Name):
    """The same of a container of many simple values: what is in it."""

    __slots__ = ()

    def _fact(self) -> Any:
        return contents(self._find())

    def holds(self) -> bool:
        value, known = self._find(), self.known
        if type(value) in (list, tuple) and type(known) is tuple and type(value) is known[0]:
            values = known[-1]  # mostly the very same
            if len(value) == len(values) and all(map(operator.is_, value, values)):
                return True
        return bool(known == self._fact())


class Option(Name):
    """An option of a parameter group, or what a schedule says of itself: what code reads of it while it is traced."""

    __slots__ = ("_tensors",)

    def __init__(self, place: int, text: str, find: Callable[[], Any]) -> None:
        super().__init__(place, text, find)
        value = find()
        is_of_tensors = type(value) is list and all(isinstance(x, Tensor) for x in value)
        self._tensors = [weakref.ref(x) for x in value] if is_of_tensors else None

    def _fact(self) -> Any:
        return fact(self._find())

    def holds(self) -> bool:
        value, tensors = self._find(), self._tensors
        if tensors is not None and type(value) is list and len(value) == len(tensors):
            return all(map(operator.is_, map(operator.call, tensors), value))
        return bool(self.known == fact(value))

    def difference(self) -> str:
        return _changed(self.text, self.known, self._fact())


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
        if is_long(value):
            return {inside: contents(value)}
        return {inside: fact(value) if isinstance(value, BY_FACT) else Same(value)}
    is_list = type(value) in SEQUENCES or type(value) is tuple
    found: dict[str, Any] = {inside: (type(value), len(value)) if is_list else Same(value)}
    for name, part in parts_of_object(value, attributes):
        place = f"{inside}{name}"
        if type(part) in SIMPLE:
            found[place] = fact(part)
        elif isinstance(part, Tensor):
            found[place] = Same(part)
        else:
            found |= facts_of_object(part, attributes, place, depth - (type(value) is not MethodType))
    return found


def parts_of_object(value: Any, attributes: frozenset[str]) -> list[tuple[str, Any]]:
    """Return the entries of a container, or the attributes of these names of an object, with the text that leads to each."""
    kind = type(value)
    if kind in SEQUENCES or kind is tuple:
        return [(f"[{k}]", part) for k, part in enumerate(value)]
    if kind in MAPPINGS:
        keys = [f"tensor {k}" if isinstance(key, Tensor) else repr(key) for k, key in enumerate(value)]
        return [(f"[{key}]", part) for key, part in zip(keys, list(value.values()), strict=False)]
    if kind is MethodType:
        return [(".__self__", value.__self__)]
    if kind is functools.partial:
        given = [(f".args[{k}]", part) for k, part in enumerate(value.args)]
        return [(".func", value.func), *given, *[(f".keywords[{key!r}]", part) for key, part in value.keywords.items()]]
    own = getattr(value, "__dict__", {})
    parts = [(f".{name}", part) for name, part in list(own.items()) if name in attributes]
    if GROUPS in own:  # an optimizer, whose groups say themselves what is read of them
        parts = [(place, part) for place, part in parts if place[1:] not in OF_GROUPS]
    slots = _make_of(kind)[1]
    if slots:
        parts += [(f".{name}", getattr(value, name)) for name in slots if name in attributes and hasattr(value, name)]
    return parts


def is_ordinary(value: Any) -> bool:
    """Say whether a value is an object of a class that knows nothing of tracing, or a small container: no module, function, nor optimizer of chainrule's.

    A method is like the object whose it is.
    """
    kind = type(value)
    if kind is MethodType:
        value = value.__self__
        kind = type(value)
    if kind in MAPPINGS or kind in SEQUENCES or kind is tuple:
        return len(value) <= SHORT
    if not _make_of(kind)[0]:
        return False
    return PARTS[0] not in getattr(value, "__dict__", ())


_MAKES: weakref.WeakKeyDictionary[type, tuple[bool, tuple[str, ...]]] = weakref.WeakKeyDictionary()


def _make_of(kind: type) -> tuple[bool, tuple[str, ...]]:
    """Return whether objects of a class may be ordinary, and the names of their slots."""
    found = _MAKES.get(kind)
    if found is None:
        slots = [name for base in kind.__mro__ for name, x in vars(base).items() if type(x) is MemberDescriptorType]
        found = _MAKES[kind] = (_makes_ordinary(kind, bool(slots)), tuple(slots) if is_of_user(kind.__module__) else ())
    return found


def _makes_ordinary(kind: type, has_slots: bool) -> bool:
    if kind is functools.partial:
        return True
    if issubclass(kind, (type, Tensor, ModuleType, FunctionType, MethodType)):
        return False
    tops = [base.__module__.partition(".")[0] for base in kind.__mro__]
    if tops[0] in ("chainrule", "numpy", "builtins"):
        return False
    is_users = is_of_user(kind.__module__)
    if any("__call__" in vars(base) for base in kind.__mro__) and (not is_users or "chainrule" in tops):
        return False
    return kind.__dictoffset__ != 0 or (has_slots and is_users)


@functools.cache
def is_of_user(module: str | None) -> bool:
    """Say whether a module of this name is one of the user's own: none of Python's, of chainrule or of an installed package."""
    if not module:
        return False
    top = module.partition(".")[0]
    if top in ("__main__", "chainrule", "numpy"):
        return top == "__main__"
    file = getattr(sys.modules.get(module), "__file__", None)
    if not file:
        return top not in sys.stdlib_module_names
    parts = Path(file).parts
    return "site-packages" not in parts and "dist-packages" not in parts and PYTHON not in Path(file).parents


def is_module(value: Any) -> bool:
    """Say whether a value is a module of layers."""
    return PARTS[0] in getattr(value, "__dict__", ())


def is_source(value: Any) -> bool:
    """Say whether a value gives another number or item each time it is asked."""
    return is_random(value) or is_iterator(value)


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
