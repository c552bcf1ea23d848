"""What is compared of a value from outside: a number itself, the entries of a container, the attributes of an object that code reads."""

from __future__ import annotations

import functools
import math
import os
import sys
import threading
import weakref
from array import array
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType, MappingProxyType, MemberDescriptorType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from chainrule.tensors.plain_data import PLAIN, PlainData, plain_data
from chainrule.tensors.sources import is_iterator, is_random
from chainrule.tensors.tensor import Tensor

PYTHON = Path(functools.__file__).parent  # where Python's own modules are
SIMPLE = (bool, int, float, str, type(None))
SIMPLE_KINDS = frozenset(SIMPLE)
MISSING = object()  # in place of an attribute that is not there
ORDER = "'s order"  # of the keys of a dict, where that is in a container
EXACT_VALUES = (bool, int, str, type(None))  # that are their own facts
LIKE_USERS = ("chainrule.training.", "chainrule.data.", "chainrule.utils.data.")  # histories, trainers, loaders, tables
METHODS = "_compiled_methods"  # the attribute in which an object keeps these
OWN_NAMES = ("_label", "_made_while_tracing", METHODS)  # what tracing itself writes into objects
BY_FACT = (set, frozenset, np.ndarray, bytearray, array)  # compared by what is in them, also in objects
PARTS = ("_parameters", "_buffers", "_modules")
STRUCTURE = (*PARTS, "_non_persistent_buffers_set")
CHANGEABLE = (list, deque, OrderedDict, dict, set, bytearray, array, np.ndarray)
TAKE_ALL = ("vars", "__dict__")
GROUPS = "param_groups"
OF_GROUPS = (GROUPS, "state", "last_epoch", "_stepped")  # of optimizers and schedules: looked at in other ways, or not
SEQUENCES = (list, deque)
MAPPINGS = (dict, OrderedDict, defaultdict, Counter)
LONG = (*SEQUENCES, *MAPPINGS, tuple, set, frozenset)
BASES: tuple[Any, ...] = (*SEQUENCES, tuple, dict, MappingProxyType)  # of containers whose entries are looked at
WRAPPERS = {UserDict: "data", UserList: "data", ChainMap: "maps", type(os.environ): "_data"}  # and where these are
SHORT = 32  # entries of a container, of any kind, that are compared at each call
SHORT_MAPPING = 128  # of a dict
DEEPEST_FACT = 8  # containers inside each other, of one that may be in itself
DEEPEST = 10  # objects and containers inside each other whose entries are
LONGEST = (
    1000  # entries of a container that are compared at each call if they are simple values; of others, which they are
)
MOST_BYTES = 1 << 16  # of an array that is compared
SAMPLE = 256  # elements, about, that are compared of a larger one


def weakly(value: Any) -> Callable[[], Any]:
    """Return what gives a value as long as it exists."""
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value


class Same:
    """Equal to another of these if both are about the same object, and that still exists."""

    __slots__ = ("_find", "_kind")

    def __init__(self, value: Any) -> None:
        self._kind = id(type(value))  # an object may get another class
        self._find = weakly(value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same):
            return NotImplemented
        value = self._find()
        return value is not None and value is other._find() and self._kind == other._kind

    __hash__ = None  # type: ignore[assignment]  # never a key

    def is_about(self, value: Any) -> bool:
        """Return whether it is equal to ``fact(value)``."""
        return value is not None and self._find() is value and self._kind == id(type(value))


def fact(value: Any, depth: int = DEEPEST_FACT) -> Any:
    """Return what can be compared of a value: numbers and texts themselves, contents of containers, else identity.

    >>> fact([1, True]) == fact([1, 1]), fact([1, 2.0]) == fact([1, 2.0])
    (False, True)
    """
    kind = type(value)
    if kind in SIMPLE:
        if kind is float and not (value < 0 or value > 0):
            return (float, "nan") if value != 0 else (float, value, math.copysign(1, value))
        return (kind, value)
    if isinstance(value, (list, tuple)) and len(value) <= LONGEST and depth:
        return (kind, [fact(part, depth - 1) for part in value])
    if isinstance(value, dict) and len(value) <= LONGEST and depth:
        return (kind, [(key, fact(part, depth - 1)) for key, part in value.items()])
    if isinstance(value, (set, frozenset)) and len(value) <= SHORT and all(type(part) in SIMPLE for part in value):
        return (kind, {fact(part) for part in value})
    if isinstance(value, np.ndarray) and value.nbytes <= MOST_BYTES:
        return (kind, value.dtype, value.shape, _numbers_of(value))
    if kind in (bytearray, array) and len(value) <= MOST_BYTES:
        return (kind, bytes(value))
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return (kind, Same(value), _sample_of(value))
    return Same(value)


def _sample_of(value: np.ndarray) -> bytes:
    """Return some elements of a large array, which tell most often that it holds other numbers now."""
    if not (value.flags.c_contiguous or value.flags.f_contiguous):
        return b""
    flat = value.ravel(order="K")  # a view
    return flat[:: max(flat.size // SAMPLE, 1)].tobytes()


def _numbers_of(value: Any) -> Any:
    return [fact(part) for part in value.ravel().tolist()] if value.dtype.hasobject else value.tobytes()


def order_of(value: Any) -> Any:
    """Return what can be compared of the order in which a mapping has its keys."""
    kind: Any = type(value)
    keys = tuple(value) if kind in EXACT else tuple((changeable_of(kind) or kind).__iter__(value))
    if {*map(type, keys)} <= SIMPLE_KINDS:
        return keys
    return [Same(key) if isinstance(key, Tensor) else repr(key) for key in keys]


def is_still(known: Any, value: Any) -> bool:
    """Return whether ``known == fact(value)``."""
    if type(known) is Same:
        return known.is_about(value)
    kind = type(value)
    return bool(known == ((kind, value) if kind in EXACT_VALUES else fact(value)))


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


Choose = Callable[[Any, frozenset[str], int], frozenset[str]]
"""Which attributes of an object are looked at, of those with these names, and how deep one goes from it."""


def facts_of_object(
    value: Any,
    attributes: frozenset[str],
    inside: str = "",
    depth: int = DEEPEST,
    choose: Choose | None = None,
    seen: dict[int, int] | None = None,
) -> dict[str, Any]:
    """Return which object it is, and what its attributes of these names are, or the chosen ones, down to those of objects in it.

    ``seen`` says how deep one went into what is in the facts already, by id.
    """
    kind = type(value)
    if kind in PLAIN and value:
        plain = plain_data(value)
        if plain is not None:
            return {inside: plain}
    container = container_of(kind)
    if (container is not None or kind in LONG) and len(value) > SHORT and is_long(value):
        return {inside: contents(value)}
    seen = {} if seen is None else seen
    if depth == 0 or not is_ordinary(value) or was_seen(value, depth, seen):
        return {inside: fact(value) if isinstance(value, BY_FACT) else Same(value)}
    is_list = container is not None and container is not dict and container is not MappingProxyType
    found: dict[str, Any] = {inside: (kind, len(value)) if is_list else Same(value)}
    for name, part in parts_of_object(value, attributes if choose is None else choose(value, attributes, depth)):
        place = inside + name
        made = type(part)
        if made in SIMPLE:
            found[place] = (made, part) if made is not float else fact(part)
        elif isinstance(part, Tensor):
            found[place] = Same(part)
        else:
            found |= facts_of_object(part, attributes, place, depth - (kind is not MethodType), choose, seen)
    if (container is dict or container is MappingProxyType) and len(value) > 1:
        found[inside + ORDER] = (dict, order_of(value))
    return found


def was_seen(value: Any, depth: int, seen: dict[int, int]) -> bool:
    """Say whether one went that deep into a value before; note that one does now."""
    if type(value) is MethodType:  # which is made anew each time
        return False
    if seen.get(id(value), 0) >= depth:
        return True
    seen[id(value)] = depth
    return False


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


def value_of(owner: Any, name: str) -> Any:
    """Return what an object itself holds under a name, or a simple value that its class holds; ``MISSING`` if neither does.

    Under ``__dict__`` it holds the names of all that it holds.
    """
    own = getattr(owner, "__dict__", {})
    if name in own:
        return own[name]
    if name == "__dict__":
        return own_names(owner)
    if PARTS[0] in own:
        for kind in PARTS:
            if name in own[kind]:
                return own[kind][name]
    member = member_of(type(owner), name)
    if type(member) is MemberDescriptorType:
        return getattr(owner, name, MISSING)
    return member if type(member) in SIMPLE and member is not None else MISSING


TOLD_BY = ("__getattribute__", "__setattr__")  # methods that tracing puts a function around, which tells what is read
AROUND: dict[tuple[type, str], Any] = {}
"""What classes themselves held there before (``MISSING``: nothing), while they are watched."""


def own_members(kind: type) -> Mapping[str, Any]:
    """Return what a class itself holds, as its author wrote it."""
    held = vars(kind)
    before = {name: AROUND[kind, name] for name in TOLD_BY if (kind, name) in AROUND} if AROUND else {}
    return {name: x for name, x in {**held, **before}.items() if x is not MISSING} if before else held


def own_names(owner: Any) -> tuple[str, ...]:
    """Return the names under which an object itself holds something."""
    slots = [name for name in _make_of(type(owner)).slots if hasattr(owner, name)]
    return (*[name for name in getattr(owner, "__dict__", ()) if name != METHODS], *slots)


def member_of(kind: type, name: str) -> Any:
    """Return what a class or one of its bases holds under a name."""
    for base in kind.__mro__:
        held = own_members(base) if name in TOLD_BY else base.__dict__
        if name in held:
            return held[name]
    return None


def may_change(value: Any) -> bool:
    """Say whether a value can become another one in place."""
    return (
        changeable_of(type(value)) is not None or is_source(value) or (type(value) is not tuple and is_ordinary(value))
    )


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
    if tops[0] in ("chainrule", "numpy", "builtins") and not kind.__module__.startswith(LIKE_USERS):
        return False
    if kind.__module__.partition(".")[0] == "logging":
        return False  # what is logged decides nothing
    if issubclass(kind, threading.local):
        return True
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


def is_like_users(module: str | None) -> bool:
    """Say whether objects of a class in a module of this name are looked at as those of the user's."""
    return is_of_user(module) or (module or "").startswith(LIKE_USERS)


def is_module(value: Any) -> bool:
    """Say whether a value is a module of layers."""
    return PARTS[0] in getattr(value, "__dict__", ())


def is_source(value: Any) -> bool:
    """Say whether a value gives another number or item each time it is asked."""
    return is_random(value) or is_iterator(value)


def changed(text: str, before: Any, after: Any) -> str:
    """Say how one fact became another, down to the part of a module."""
    if isinstance(before, PlainData):
        return before.told(text, after)
    if isinstance(before, Same):
        return f"{text} was replaced"
    if _is_simple(before) and _is_simple(after):
        return f"{text} was {before[1]!r} and is {after[1]!r}"
    place, _, name = text.rpartition(".")
    if name in PARTS:
        old, new = dict(before[1]), dict(after[1])
        different = next((key for key in {**old, **new} if old.get(key) != new.get(key)), None)
        if different is None:
            return f"{text} have another order"
        return changed(f"{place}.{different}", old.get(different), new.get(different))
    return f"{text} changed"


def _is_simple(known: Any) -> bool:
    return isinstance(known, tuple) and known[0] in SIMPLE
