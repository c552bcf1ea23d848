"""Arguments and results of a compiled function, taken apart: the tensors in them, and the form that holds these."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

import numpy as np

from chainrule.errors import ArgumentTypeError, DtypeError
from chainrule.graph.size_in_code import plain
from chainrule.graph.sizes import Size as Dim
from chainrule.graph.sizes import evaluate as with_sizes
from chainrule.tensors.dtypes import FROM_NUMPY, to_numpy_dtype
from chainrule.tensors.facts import GROUPS, is_module, is_of_user, is_ordinary, own_names, weakly
from chainrule.tensors.tensor import Size, Tensor

Form = tuple[Any, ...]  # ("tensor", place), ("value", type, value, …), ("named" or a type, parts): see rebuild

SEQUENCES = (list, tuple, Size)
MAPPINGS = (dict, OrderedDict)
LONGEST_TOLD = 80  # characters of a value in a message


class Nest(ABC):
    """Lists, tuples and dicts of tensors and other values: the tensors, each once, with names for messages; the form.

    Two nests have equal forms if they differ in nothing but their tensors, and the same tensors stand twice in both.
    """

    def opens(self, kind: type) -> bool:
        """Say whether objects of this class are taken apart: not, then one is told by which one it is."""
        return is_dataclass(kind)

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.names: list[str] = []
        self.form: Form = ()
        self._places: dict[int, int] = {}

    def flatten(self, value: Any, name: str) -> Form:
        """Return the form of ``value``; its tensors join the others."""
        kind = type(value)
        if isinstance(value, Tensor):
            place = self._places.get(id(value))
            if place is None:
                place = self._places[id(value)] = len(self.tensors)
                self.tensors.append(value)
                self.names.append(name)
            return ("tensor", place)
        if kind in SEQUENCES:
            return (kind, tuple([self.flatten(part, f"{name}[{k}]") for k, part in enumerate(value)]))
        if kind in MAPPINGS:
            return (kind, tuple([(key, self.flatten(part, f"{name}[{key!r}]")) for key, part in value.items()]))
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            parts = zip(value._fields, value, strict=True)
            return ("named", kind, tuple([self.flatten(part, f"{name}.{field}") for field, part in parts]))
        if self.opens(kind):
            fields = [(field, object.__getattribute__(value, field)) for field in own_names(value)]
            return ("data", kind, tuple([(field, self.flatten(part, f"{name}.{field}")) for field, part in fields]))
        return self.leaf(value, name)

    @abstractmethod
    def leaf(self, value: Any, name: str) -> Form:
        """Return the form of what is neither a tensor nor a nest."""


ONE_TENSOR: Form = (tuple, ((tuple, (("tensor", 0),)), (dict, ())))  # arguments that are one tensor


class Arguments(Nest):
    """The arguments of one call. Arrays are tensors; the rest (which the trace holds fixed) must be hashable."""

    def __init__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], parameters: tuple[str, ...], opened: Container[type] = ()
    ) -> None:
        """``opened``: classes whose objects are taken apart."""
        super().__init__()
        self._opened = opened
        self.args, self.kwargs = args, kwargs
        self._arrays: list[Any] = []  # so that an array given twice is one tensor
        known = len(parameters)
        if len(args) == 1 and not kwargs and known and isinstance(args[0], Tensor):
            self.tensors, self.names, self.form = [args[0]], [parameters[0]], ONE_TENSOR
            return
        given = [self.flatten(x, parameters[k] if k < known else f"argument {k}") for k, x in enumerate(args)]
        named = [(key, self.flatten(x, key)) for key, x in kwargs.items()] if kwargs else []
        self.form = (tuple, ((tuple, tuple(given)), (dict, tuple(named))))

    def opens(self, kind: type) -> bool:
        return kind in self._opened

    def leaf(self, value: Any, name: str) -> Form:
        if isinstance(value, np.ndarray):
            for array, tensor in self._arrays:
                if array is value:
                    return self.flatten(tensor, name)
            check_array(value, name)
            tensor = Tensor(np.asarray(value))
            self._arrays.append((value, tensor))
            return self.flatten(tensor, name)
        if is_module(value) or is_optimizer(value):
            return ("value", type(value), Itself(value, is_kept=False))
        if _compares_by_code_of_users(type(value)):  # which may look at a part of it alone, or at tensors
            return ("value", type(value), Itself(value))
        if not is_hashable(value):
            if is_ordinary(value):
                return ("value", type(value), Itself(value))
            raise ArgumentTypeError(
                f"compiled function: {name} is a {type(value).__name__}, which has no hash, so that calls cannot be told apart by it",
                expected="tensors, arrays, numbers, strings, or lists, tuples and dicts of them",
            )
        if type(value) is float:
            return ("value", float, value, value.hex())  # 0.0 and -0.0 are equal, and differ
        return ("value", type(value), value)


class Itself:
    """An object that equals nothing but itself: one without a hash, a module or an optimizer. These are not kept alive."""

    __slots__ = ("_find", "_number", "is_kept")

    def __init__(self, value: Any, *, is_kept: bool = True) -> None:
        self.is_kept = is_kept
        self._find: Callable[[], Any] = (lambda: value) if is_kept else weakly(value)
        self._number = id(value)

    @property
    def value(self) -> Any:
        """The object; None if it does not exist any more."""
        return self._find()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Itself) and self.value is not None and self.value is other.value)

    def __hash__(self) -> int:
        return self._number

    def __repr__(self) -> str:
        return repr(self.value)


def _compares_by_code_of_users(kind: Any) -> bool:
    """Say whether equality is what a class of the user's says it is, but for numbers and texts of the user's and members of an enum."""
    return (
        is_of_user(kind.__module__)
        and kind.__eq__ is not object.__eq__
        and not issubclass(kind, (Enum, int, float, complex, str, bytes))
    )


def is_optimizer(value: Any) -> bool:
    """Say whether a value is an optimizer."""
    return GROUPS in getattr(value, "__dict__", ())


def is_hashable(value: Any) -> bool:
    """Say whether a value has a hash."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def check_array(array: Any, name: str) -> None:
    """Raise for an array of a dtype that tensors do not have, as ``chainrule.tensor`` does, with the argument's name."""
    if array.dtype not in FROM_NUMPY:
        try:
            to_numpy_dtype(array.dtype)
        except DtypeError as error:
            raise error.within(f"compiled function: {name}") from None


class Results(Nest):
    """What a function returned. What is neither a tensor, a nest nor a dataclass is returned by every run as it is."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.form = self.flatten(value, "the result")

    def leaf(self, value: Any, name: str) -> Form:
        if isinstance(value, np.ndarray):
            return ("array", value)
        if isinstance(value, Dim):
            return ("size", Dim, plain(value))
        return ("value", type(value), value)


def may_hold_tensors(value: Any) -> bool:
    """Say whether a value is a nest, or a dataclass."""
    return isinstance(value, (list, tuple, dict)) or (is_dataclass(value) and not isinstance(value, type))


def rebuild(form: Form, tensors: list[Any], sizes: dict[str, int]) -> Any:
    """Return the value that ``form`` describes, with these tensors in it, and numbers for symbolic sizes."""
    kind = form[0]
    if kind == "tensor":
        return tensors[form[1]]
    if kind == "value":
        return form[2].value if type(form[2]) is Itself else form[2]
    if kind == "size":
        return with_sizes(form[2], sizes)
    if kind == "array":
        return np.array(form[1])
    if kind == "named":
        return form[1](*[rebuild(part, tensors, sizes) for part in form[2]])
    if kind == "data":
        made = object.__new__(form[1])
        for field, part in form[2]:
            object.__setattr__(made, field, rebuild(part, tensors, sizes))
        return made
    if kind in MAPPINGS:
        return kind([(key, rebuild(part, tensors, sizes)) for key, part in form[1]])
    return kind([rebuild(part, tensors, sizes) for part in form[1]])


def values_in(form: Form, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what a form holds beside tensors, numbers and texts, and where it is: functions and other objects."""
    kind = form[0]
    if kind == "value":
        if form[1] not in (bool, int, float, str, type(None)):
            yield place, form[2].value if type(form[2]) is Itself else form[2]
    elif kind == "named":
        yield place, form[1]  # its methods may be called
        for field, part in zip(form[1]._fields, form[2], strict=True):
            yield from values_in(part, f"{place}.{field}")
    elif kind == "data":
        yield place, form[1]
        for field, part in form[2]:
            yield from values_in(part, f"{place}.{field}")
    elif kind in MAPPINGS:
        for key, part in form[1]:
            yield from values_in(part, f"{place}[{key!r}]")
    elif kind != "tensor":
        for k, part in enumerate(form[1]):
            yield from values_in(part, f"{place}[{k}]")


def by_name(
    parameters: tuple[str, ...], args: Iterable[Any], kwargs: Iterable[tuple[str, Any]]
) -> list[tuple[str, Any]]:
    """Return arguments (or their forms) with the names that messages give them."""
    known = len(parameters)
    return [(parameters[k] if k < known else f"argument {k}", x) for k, x in enumerate(args)] + list(kwargs)


def all_exist(form: Form) -> bool:
    """Say whether the modules and optimizers in a form still exist."""
    kind = form[0]
    if kind == "value":
        return type(form[2]) is not Itself or form[2].value is not None
    if kind == "tensor":
        return True
    parts = form[2] if kind in ("named", "data") else form[1]
    return all(all_exist(part[1] if kind == "data" or kind in MAPPINGS else part) for part in parts)


def with_types_only(form: Form) -> Form:
    """Return the form with each value replaced by its type: what calls have in common that differ in values alone.

    Modules and optimizers stay: each model has traces of its own.

    >>> with_types_only((list, (("tensor", 0), ("value", int, 3))))
    (<class 'list'>, (('tensor', 0), ('value', <class 'int'>)))
    """
    kind = form[0]
    if kind == "value":
        return form if type(form[2]) is Itself and not form[2].is_kept else form[:2]
    if kind == "tensor":
        return form
    if kind == "named":
        return (*form[:2], tuple([with_types_only(part) for part in form[2]]))
    if kind == "data":
        return (*form[:2], tuple([(field, with_types_only(part)) for field, part in form[2]]))
    if kind in MAPPINGS:
        return (kind, tuple([(key, with_types_only(part)) for key, part in form[1]]))
    return (kind, tuple([with_types_only(part) for part in form[1]]))


def parts_of(form: Form, parameters: tuple[str, ...]) -> dict[str, Form]:
    """Return what the form of arguments holds, by name and in order, for messages: tensors, values, and nests without their parts.

    >>> parts_of((tuple, ((tuple, (("tensor", 0), (list, (("value", int, 3),)))), (dict, ()))), ("x", "more"))
    {'x': ('tensor', 0), 'more': (<class 'list'>, 1), 'more[0]': ('value', <class 'int'>, 3)}
    """
    found: dict[str, Form] = {}
    pending = by_name(parameters, form[1][0][1], form[1][1][1])[::-1]
    while pending:
        place, part = pending.pop()
        kind = part[0]
        if kind in ("value", "tensor"):
            found[place] = part
            continue
        if kind == "named":
            kind, parts = part[1], [(f"{place}.{f}", p) for f, p in zip(part[1]._fields, part[2], strict=True)]
        elif kind == "data":
            kind, parts = part[1], [(f"{place}.{field}", p) for field, p in part[2]]
        elif kind in MAPPINGS:
            parts = [(f"{place}[{key!r}]", p) for key, p in part[1]]
        else:
            parts = [(f"{place}[{k}]", p) for k, p in enumerate(part[1])]
        found[place] = (kind, len(parts))
        pending += parts[::-1]
    return found


def difference(now: Form | None, before: Form | None) -> str:
    """Say how a part of the arguments, as ``parts_of`` gives it, became another; None: it was not given.

    >>> difference(("value", int, 3), ("value", int, 2)), difference(("value", int, 1), ("value", bool, True))
    ('is 3 (it was 2)', 'is 1, of type int (it was True, of type bool)')
    >>> difference(("tensor", 0), ("value", float, 0.5)), difference(("value", str, "mean"), None)
    ('is a tensor (it was 0.5)', "is 'mean' (it was not given)")
    """
    if now is not None and before is not None and now[0] == before[0] == "value":
        if now[1] is not before[1]:
            return f"is {_told(now)}{_of_type(now, before)} (it was {_told(before)}{_of_type(before, now)})"
        if not isinstance(now[2], str) and any(_is_no_text(part[2]) for part in (now, before)):
            return f"is another {now[1].__name__}"
    elif now is not None and before is not None and before[:2] == ("value", now[0]):
        return f"is another {now[0].__name__}"  # it is taken apart now
    if _told(now) == _told(before):
        return f"is another {_told(now).removeprefix('a ')}"
    return f"is {_told(now)} (it was {_told(before)})"


def _is_no_text(value: Any) -> bool:
    """Say whether the text of a value says no more than its class, or more than a line."""
    if isinstance(value, Itself) and value.value is None:
        return True
    text = repr(value)
    return len(text) > LONGEST_TOLD or "\n" in text or " object at 0x" in text


def _told(part: Form | None) -> str:
    if part is None:
        return "not given"
    if part[0] == "tensor":
        return "a tensor"
    if part[0] != "value":
        return f"a {part[0].__name__} of {part[1]}"
    if not isinstance(part[2], str) and _is_no_text(part[2]):
        return f"a {part[1].__name__}"
    text = repr(part[2])
    return text if len(text) <= LONGEST_TOLD else f"{text[:LONGEST_TOLD]}…"


def _of_type(part: Form, other: Form) -> str:
    kind = part[1]
    if part[2] is None:
        return ""
    return (
        f", of type {kind.__name__ if kind.__name__ != other[1].__name__ else f'{kind.__module__}.{kind.__qualname__}'}"
    )
