"""What a trace took for granted beside its arguments, and whether it is still so.

Names    what the function's own code reads from outside by name (globals and variables of enclosing functions, the object
         whose method it is): the model, the optimizer, a number; of other objects the attributes that the code names
Modules  everything of a module that ran but the numbers in its tensors: settings, parts, hooks; train or eval; of others
         that code names the parts, and the attributes that the code names
Tensors  whether they want gradients, their shapes and dtypes
Answers  of whoever was asked while tracing (an optimizer: which rule do your flags select?)

Names and answers are compared at every call. Modules and tensors are only looked at when the count of changes moved.
What a guard remembers, it remembers weakly: a trace keeps no replaced layer alive, and does not hold once one is gone.
"""

from __future__ import annotations

import functools
import math
import operator
import os
import sys
import weakref
from array import array
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FunctionType, MappingProxyType, MemberDescriptorType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from chainrule.tensors.changes import CHANGES
from chainrule.tensors.sources import is_iterator, is_random
from chainrule.tensors.tensor import Tensor

PYTHON = Path(functools.__file__).parent  # where Python's own modules are
SIMPLE = (bool, int, float, str, type(None))
OWN_NAMES = ("_label", "_hooked")  # what tracing itself writes into a module, and what follows from the rest
BY_FACT = (set, frozenset, np.ndarray, bytearray, array)  # compared by what is in them, also in objects
PARTS = ("_parameters", "_buffers", "_modules")
STRUCTURE = (*PARTS, "_non_persistent_buffers_set")
CHANGEABLE = (list, deque, OrderedDict, dict, set, bytearray, array, np.ndarray)
TAKE_ALL = ("vars", "__dict__")
TAKE_ANY = ("vars", "__dict__", "__getattribute__")
GROUPS = "param_groups"
OF_GROUPS = (GROUPS, "state", "last_epoch", "_stepped")  # of optimizers and schedules: looked at in other ways, or not
SEQUENCES = (list, deque)
MAPPINGS = (dict, OrderedDict, defaultdict, Counter)
LONG = (*SEQUENCES, *MAPPINGS, tuple, set, frozenset)
BASES: tuple[Any, ...] = (*SEQUENCES, tuple, dict, MappingProxyType)  # of containers whose entries are looked at
WRAPPERS = {UserDict: "data", UserList: "data", ChainMap: "maps", type(os.environ): "_data"}  # and where these are
SHORT = 32  # entries of a container, of any kind, that are compared at each call
SHORT_MAPPING = 128  # of a dict
DEEPEST = 3  # objects and containers inside each other whose entries are
LONGEST = (
    1000  # entries of a container that are compared at each call if they are simple values; of others, which they are
)
MOST_BYTES = 1 << 16  # of an array that is compared


class Same:
    """Equal to another of these if both are about the same object, and that still exists."""

    __slots__ = ("_find", "_kind")

    def __init__(self, value: Any) -> None:
        self._kind = id(type(value))  # an object may get another class
        try:
            self._find: Callable[[], Any] = weakref.ref(value)
        except TypeError:
            self._find = lambda: value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same):
            return NotImplemented
        value = self._find()
        return value is not None and value is other._find() and self._kind == other._kind

    __hash__ = None  # type: ignore[assignment]  # never a key


def fact(value: Any) -> Any:
    """Return what can be compared of a value: numbers and texts themselves, contents of containers, else identity.

    >>> fact([1, True]) == fact([1, 1]), fact([1, 2.0]) == fact([1, 2.0])
    (False, True)
    """
    kind = type(value)
    if kind in SIMPLE:
        if kind is float and not (value < 0 or value > 0):
            return (float, "nan") if value != 0 else (float, value, math.copysign(1, value))
        return (kind, value)
    if isinstance(value, (list, tuple)) and len(value) <= LONGEST:
        return (kind, [fact(part) for part in value])
    if isinstance(value, dict) and len(value) <= LONGEST:
        return (kind, [(key, fact(part)) for key, part in value.items()])
    if isinstance(value, (set, frozenset)) and len(value) <= SHORT and all(type(part) in SIMPLE for part in value):
        return (kind, {fact(part) for part in value})
    if isinstance(value, np.ndarray) and value.nbytes <= MOST_BYTES:
        return (kind, value.dtype, value.shape, _numbers_of(value))
    if kind in (bytearray, array) and len(value) <= MOST_BYTES:
        return (kind, bytes(value))
    return Same(value)


def _numbers_of(value: Any) -> Any:
    return [fact(part) for part in value.ravel().tolist()] if value.dtype.hasobject else value.tobytes()


def is_long(value: Any) -> bool:
    """Say whether a value is a container of many values, but not too many: simple ones, or so many that only which they are is compared."""
    kind = type(value)
    if kind not in LONG and container_of(kind) is None:
        return False
    if not SHORT < len(value) <= LONGEST:
        return False
    if kind in (set, frozenset):
        return set(map(type, value)) <= set(SIMPLE)
    if hasattr(value, "keys"):
        return len(value) > SHORT_MAPPING or {*map(type, value.values()), *map(type, value)} <= set(SIMPLE)
    return True


def contents(value: Any) -> Any:
    """Return what can be compared, in one step, of a container that was long, and may have become anything."""
    kind = type(value)
    if (kind not in LONG and container_of(kind) is None) or len(value) > LONGEST:
        return Same(value)
    if kind in (set, frozenset):
        return (kind, frozenset(value))
    keys, values = (tuple(value), tuple(value.values())) if hasattr(value, "keys") else ((), tuple(value))
    kinds = tuple(map(type, values))
    if not set(kinds) <= set(SIMPLE):
        return (kind, keys, [fact(part) if type(part) in SIMPLE else Same(part) for part in values])
    signs = [math.copysign(1, x) for x in values if x == 0 and type(x) is float]  # of zeros, which are equal
    return (kind, signs, kinds, keys, values)  # types first: simple values alone are compared


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
        if type(known) is tuple and type(known[-1]) is tuple and type(value) is known[0] and type(value) in EXACT:
            keys, values = known[-2:]  # mostly the very same
            if len(value) == len(values):
                if EXACT[type(value)] is not dict:
                    if all(map(operator.is_, value, values)):
                        return True
                elif all(map(operator.is_, value.values(), values)) and all(map(operator.is_, value, keys)):
                    return True
        return bool(known == self._fact())


class CodeName(Name):
    """The code of a function, and the defaults of its parameters, which can be set like attributes; one that is gone is as it was."""

    __slots__ = ()

    def _fact(self) -> Any:
        function = self._find()
        return None if function is None else _code_of(function)

    def holds(self) -> bool:
        function = self._find()
        if function is None:
            return True
        code, defaults, by_name = self.known
        if function.__code__ is not code or function.__defaults__ is not defaults:
            return False
        return function.__kwdefaults__ is None if by_name is None else self._fact() == self.known

    def difference(self) -> str:
        what = "default of a parameter" if self._fact()[0] is self.known[0] else "code"
        return f"the {what} of '{self.text}' changed"


def _code_of(function: FunctionType) -> tuple[Any, ...]:
    by_name = function.__kwdefaults__
    held = None if by_name is None else {name: fact(value) for name, value in by_name.items()}
    return function.__code__, function.__defaults__, held


class ClassName(Name):
    """The methods, properties and other members of a class that hold code, also those of its bases: which ones they are."""

    __slots__ = ("_members", "attributes")

    def __init__(self, text: str, kind: type, names: Iterable[str]) -> None:
        self.attributes = frozenset(names)
        self._members = tuple(sorted(self.attributes))
        super().__init__(id(kind), text, weakref.ref(kind))

    def _fact(self) -> Any:
        kind = self._find()
        if kind is None:
            return ()
        return tuple([Same(member_of(kind, name)) for name in self._members])

    def holds(self) -> bool:
        kind = self._find()
        if kind is None:
            return True
        mro = kind.__mro__
        for name, known in zip(self._members, self.known, strict=True):
            for base in mro:
                if name in base.__dict__:
                    if base.__dict__[name] is not known._find():
                        return False
                    break
            else:
                return False
        return True

    def difference(self) -> str:
        now = self._fact()
        for name, before, after in zip(self._members, self.known, now, strict=False):
            if before != after:
                return f"{self.text}.{name} was replaced"
        return f"'{self.text}' was replaced"


def member_of(kind: type, name: str) -> Any:
    """Return what a class or one of its bases holds under a name."""
    for base in kind.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


class EnvironmentName(Name):
    """The environment variables, all of them."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(id(os.environ), "os.environ", lambda: os.environ)

    def _fact(self) -> Any:
        return dict(os.environ.__dict__["_data"])  # bytes on POSIX, which are not decoded here

    def holds(self) -> bool:
        return bool(os.environ.__dict__["_data"] == self.known)

    def difference(self) -> str:
        now = self._fact()
        name = next(name for name in {**self.known, **now} if self.known.get(name) != now.get(name))
        return f"the environment variable {os.fsdecode(name)!r} changed"


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
    kind = type(value)
    container = container_of(kind)
    if (container is not None or kind in LONG) and len(value) > SHORT and is_long(value):
        return {inside: contents(value)}
    if depth == 0 or not is_ordinary(value):
        return {inside: fact(value) if isinstance(value, BY_FACT) else Same(value)}
    is_list = container is not None and container is not dict and container is not MappingProxyType
    found: dict[str, Any] = {inside: (kind, len(value)) if is_list else Same(value)}
    for name, part in parts_of_object(value, attributes):
        place = inside + name
        made = type(part)
        if made in SIMPLE:
            found[place] = (made, part) if made is not float else fact(part)
        elif isinstance(part, Tensor):
            found[place] = Same(part)
        else:
            found |= facts_of_object(part, attributes, place, depth - (kind is not MethodType))
    return found


def parts_of_object(value: Any, attributes: frozenset[str]) -> list[tuple[str, Any]]:
    """Return the entries of a container, or the attributes of these names of an object, with the text that leads to each."""
    kind = type(value)
    container = container_of(kind)
    parts: list[tuple[str, Any]] = []
    if issubclass(kind, (set, frozenset)):
        return [(f"{{{k}}}", part) for k, part in enumerate(value)]
    if container is not None:
        if container is dict or container is MappingProxyType:
            own = value.items() if container is not dict else dict.items(value)
            entries = list(own)
            if not any(isinstance(key, Tensor) for key, _ in entries):
                parts = [(f"[{key!r}]", part) for key, part in entries]
            else:
                parts = [
                    (f"[tensor {k}]" if isinstance(key, Tensor) else f"[{key!r}]", part)
                    for k, (key, part) in enumerate(entries)
                ]
        else:
            parts = [(f"[{k}]", part) for k, part in enumerate(container.__iter__(value))]
        if kind in EXACT:
            return parts
    if kind is MethodType:
        return [(".__self__", value.__self__)]
    if kind is functools.partial:
        given = [(f".args[{k}]", part) for k, part in enumerate(value.args)]
        return [(".func", value.func), *given, *[(f".keywords[{key!r}]", part) for key, part in value.keywords.items()]]
    make = _make_of(kind)
    held = getattr(value, "__dict__", {})
    own = list(held.items())
    if not attributes.isdisjoint(TAKE_ALL):
        parts += [(f".{name}", part) for name, part in own]
    else:
        parts += [(f".{name}", part) for name, part in own if name in attributes or name in make.always]
    if GROUPS in held:  # an optimizer, whose groups say themselves what is read of them
        parts = [(place, part) for place, part in parts if place[1:] not in OF_GROUPS]
    for name in make.slots:
        if name in attributes and hasattr(value, name):
            parts.append((f".{name}", getattr(value, name)))
    return parts


def container_of(kind: type) -> Any:
    """Return which container a class is, or is derived from; None for others, and for chainrule's and NumPy's own."""
    found = EXACT.get(kind)
    return found if found is not None else _make_of(kind).container


def is_ordinary(value: Any) -> bool:
    """Say whether a value is an object of a class that knows nothing of tracing, or a small container: no module, function, nor optimizer of chainrule's.

    A method is like the object whose it is.
    """
    kind = type(value)
    if kind is MethodType:
        value = value.__self__
        kind = type(value)
    if issubclass(kind, (set, frozenset)):
        return len(value) <= SHORT and not all(type(part) in SIMPLE for part in value)
    container = container_of(kind)
    if container is not None:
        return len(value) <= (SHORT_MAPPING if container is dict or container is MappingProxyType else SHORT)
    if not _make_of(kind).is_ordinary:
        return False
    return PARTS[0] not in getattr(value, "__dict__", ())


EXACT: dict[type, type] = {
    **dict.fromkeys(MAPPINGS, dict),
    list: list,
    deque: deque,
    tuple: tuple,
    MappingProxyType: MappingProxyType,
}


class Make(NamedTuple):
    """What objects of a class are: maybe ordinary; their slots; attributes that always matter; a container."""

    is_ordinary: bool
    slots: tuple[str, ...]
    always: tuple[str, ...]
    container: type | None


_MAKES: weakref.WeakKeyDictionary[type, Make] = weakref.WeakKeyDictionary()


def _make_of(kind: type) -> Make:
    found = _MAKES.get(kind)
    if found is None:
        slots = [name for base in kind.__mro__ for name, x in vars(base).items() if type(x) is MemberDescriptorType]
        always = tuple([WRAPPERS[base] for base in kind.__mro__ if base in WRAPPERS])
        container = next((base for base in BASES if issubclass(kind, base)), None)
        if kind.__module__.partition(".")[0] in ("chainrule", "numpy"):
            container = None
        own = tuple(slots) if is_of_user(kind.__module__) else ()
        found = _MAKES[kind] = Make(_makes_ordinary(kind, bool(slots)), own, always, container)
    return found


def changeable_of(kind: type) -> Any:
    """Return the class of Python's or NumPy's that says how objects of a class are changed in place; None if they are not."""
    return next((base for base in CHANGEABLE if issubclass(kind, base)), None)


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
    facts = {name: _fact_of_module(name, value) for name, value in vars(module).items() if name not in OWN_NAMES}
    return {**facts, "__class__": Same(type(module))}


def _fact_of_module(name: str, value: Any) -> Any:
    if name in PARTS:  # however many these are
        return (dict, [(key, fact(part)) for key, part in value.items()])
    return fact(value)


def facts_read_of_module(named: frozenset[str]) -> Callable[[Any], dict[str, Any]]:
    """Return what gives the facts of a module that code names, but that need not run: its parts, and the attributes of these names.

    All attributes matter where the code takes some by names that it makes, and of chainrule's layers, whose code nobody looks at.
    """

    def facts(module: Any) -> dict[str, Any]:
        own = vars(module)
        if not named.isdisjoint(TAKE_ANY) or _is_layer(type(module)):
            return facts_of_module(module)
        found = {name: _fact_of_module(name, own[name]) for name in own if name in STRUCTURE or name in named}
        return {**found, "__class__": Same(type(module))}

    return facts


def _is_layer(kind: type) -> bool:
    return any(x.__module__.startswith("chainrule.") and x.__name__ != "Module" for x in kind.__mro__)


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
        self,
        names: list[Name],
        modules: Mapping[int, Any],
        answers: list[tuple[str, Callable[[], Any], Any]],
        named: Mapping[int, tuple[str, Any]],
        attributes: Iterable[str],
    ) -> None:
        """``modules`` ran; those ``named`` need not have, and of them these attributes matter (both by their ids)."""
        self.names = names
        self.answers = answers
        self.facts = [Facts(label_of(module), module, facts_of_module) for module in modules.values()]
        read = facts_read_of_module(frozenset(attributes))
        self.facts += [Facts(text, module, read) for key, (text, module) in named.items() if key not in modules]
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
