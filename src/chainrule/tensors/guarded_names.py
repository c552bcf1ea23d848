"""What a function's code reads from outside by name, as guards compare it: one class for each kind of name."""

from __future__ import annotations

import operator
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any

from chainrule.tensors.facts import (
    EXACT,
    ORDER,
    Choose,
    Same,
    changed,
    contents,
    fact,
    facts_of_object,
    is_ordinary,
    member_of,
    order_of,
    value_of,
    weakly,
)
from chainrule.tensors.tensor import Tensor


class Name:
    """A global or enclosing variable that a function reads, and what it was.

    Of a list or dict it matters which one it is, not what is in it.
    """

    __slots__ = ("_find", "_put", "known", "place", "text")
    attributes: frozenset[str] = frozenset()

    def __init__(self, place: int, text: str, find: Callable[[], Any]) -> None:
        self.place = place
        self.text = text
        self._find = find
        self._put = getattr(find, "put", None)
        self.known = self._fact()

    @property
    def is_variable(self) -> bool:
        """Whether it is a variable, which code may set."""
        return self._put is not None

    def value(self) -> Any:
        """Return the variable's value, now."""
        return self._find()

    def again(self) -> Name:
        """Return the same name with the value that it has now."""
        return Name(self.place, self.text, self._find)

    def put_back(self, before: Any) -> None:
        """Let a variable be what it was."""
        if self._put is not None:
            self._put(before)

    def _fact(self) -> Any:
        value = self._find()
        return Same(value) if isinstance(value, (list, dict, deque)) else fact(value)

    def narrow(self, choose: Choose) -> None:
        """Compare of objects the chosen attributes alone: the others were not read."""

    def holds(self) -> bool:
        """Return whether it still has the same value."""
        value = self._find()
        known = self.known
        if type(known) is Same:
            return value is not None and known._find() is value
        return bool(known == self._fact())

    def difference(self) -> str:
        """Say what it is now."""
        return changed(f"'{self.text}'", self.known, self._fact())


class SetName(Name):
    """A variable, or an attribute of a function, that code sets and does not read: it has to be what the code left.

    ``read_as`` is what is among the things that are read if other code reads it.
    """

    __slots__ = ("read_as",)

    def __init__(self, place: int, text: str, find: Callable[[], Any], read_as: Any) -> None:
        self.read_as = read_as
        super().__init__(place, text, find)

    def renew(self) -> None:
        """Let it have to be what it is now."""
        self.known = self._fact()


class ObjectName(Name):
    """The same of an ordinary object or a small container: which one it is, and the attributes of it that code names, or all entries."""

    __slots__ = ("_choose", "attributes")

    def __init__(self, place: int, text: str, find: Callable[[], Any], attributes: frozenset[str]) -> None:
        self.attributes = attributes
        self._choose: Choose | None = None
        super().__init__(place, text, find)

    def _fact(self) -> Any:
        return facts_of_object(self._find(), self.attributes, choose=self._choose)

    def narrow(self, choose: Choose) -> None:
        all_now = self._fact()
        self._choose = choose
        now = self._fact()
        self.known = {name: was for name, was in self.known.items() if name in now or name not in all_now}

    def holds(self) -> bool:
        return bool(self.known == self._fact())

    def difference(self) -> str:
        return difference_of(self.text, self.known, self._fact())


def difference_of(text: str, known: dict[str, Any], now: dict[str, Any]) -> str:
    """Say in which place facts of an object differ."""
    others = [name for name, value in known.items() if name not in now or now[name] != value]
    others += [name for name in now if name not in known]
    name = next((name for name in others if not name.endswith(ORDER)), others[0] if others else "")
    return changed(f"{text}{name}", known.get(name), now.get(name))


class OrderName(Name):
    """The order of a mapping's keys."""

    __slots__ = ()

    def _fact(self) -> Any:
        return order_of(self._find())

    def holds(self) -> bool:
        return bool(self.known == self._fact())

    def difference(self) -> str:
        return f"{self.text}{ORDER} changed"


class ReadName(Name):
    """What was read of an object of the user's, wherever it was found; one that is gone is as it was."""

    __slots__ = ("_facts", "_names")

    def __init__(
        self, owner: Any, known: dict[str, dict[str, Any]], facts: Callable[[Any, str], dict[str, Any]]
    ) -> None:
        """``known`` has the ``facts`` for each name as they have to be."""
        self._names, self._facts = tuple(known), facts
        super().__init__(id(owner), type(owner).__name__, weakly(owner))
        self.known = {place: was for each in known.values() for place, was in each.items()}

    def _fact(self) -> Any:
        owner = self._find()
        found: dict[str, Any] = {}
        for name in self._names:
            found |= self._facts(value_of(owner, name), name)
        return found

    def holds(self) -> bool:
        return self._find() is None or bool(self.known == self._fact())

    def difference(self) -> str:
        return difference_of(self.text, self.known, self._fact())


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

    __slots__ = ("_members", "_pairs", "attributes")

    def __init__(self, text: str, kind: type, names: Iterable[str]) -> None:
        self.attributes = frozenset(names)
        self._members = tuple(sorted(self.attributes))
        super().__init__(id(kind), text, weakref.ref(kind))
        self._pairs = tuple(zip(self._members, self.known, strict=True))

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
        for name, known in self._pairs:
            for base in mro:
                held = base.__dict__
                if name in held:
                    was = known._find()
                    if held[name] is not was and member_of(kind, name) is not was:
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


class MissingNames(Name):
    """Globals that code asks for and that are not there: names of builtins, and what it goes on without."""

    __slots__ = ("_are_missing", "_names", "attributes")

    def __init__(self, names: dict[str, Any], missing: Iterable[str]) -> None:
        self.attributes, self._names = frozenset(missing), names
        self._are_missing = names.keys().isdisjoint  # of the keys at each time
        super().__init__(id(names), "a global", _nothing)

    def _fact(self) -> Any:
        return None

    def holds(self) -> bool:
        return self._are_missing(self.attributes)

    def difference(self) -> str:
        return f"'{min(self.attributes & self._names.keys())}' is a global now, and was none"


def _nothing() -> None:
    """Stand for what is not there."""


class MissingAttributes(Name):
    """The same of what a function, a class or a Python module of the user's holds; one that is gone is as it was."""

    __slots__ = ("_owner", "attributes")

    def __init__(self, text: str, owner: Any, missing: Iterable[str]) -> None:
        self.attributes, self._owner = frozenset(missing), weakref.ref(owner)
        super().__init__(id(owner), text, _nothing)

    def _fact(self) -> Any:
        return None

    def narrow(self, choose: Choose) -> None:
        """Compare no more where the code itself has put a tensor of the trace, which has no value."""
        held = self._held()
        self.attributes = frozenset(name for name in self.attributes if not _is_of_trace(held.get(name)))

    def _held(self) -> Mapping[str, Any]:
        owner = self._owner()
        return {} if owner is None else vars(owner)

    def holds(self) -> bool:
        owner = self._owner()
        return owner is None or vars(owner).keys().isdisjoint(self.attributes)

    def difference(self) -> str:
        return f"'{self.text}.{min(self.attributes & self._held().keys())}' is there now, and was not"


def _is_of_trace(value: Any, depth: int = 4) -> bool:
    """Say whether a value is a tensor without a value, or a nest of containers with one in it."""
    if isinstance(value, Tensor):
        return value._value is None
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return depth > 0 and any(_is_of_trace(part, depth - 1) for part in parts)


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
        return changed(self.text, self.known, self._fact())


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
