"""Where the variables of code are: of a module, of an enclosing function, of a class or a function, defaults of parameters.

Called, what they are now; ``MISSING`` if there is none.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

from chainrule.tensors.code_reads import attributes_set, globals_of, globals_set
from chainrule.tensors.facts import MISSING, is_of_user

Find = Callable[[], Any]


def variables(function: FunctionType) -> Iterator[tuple[int, str, Find]]:
    """Yield (identity of the place, name, getter) of the variables from outside that exist now, or that the code sets."""
    names, are_set = function.__globals__, globals_set(function.__code__)
    for text in dict.fromkeys((*globals_of(function.__code__), *are_set)):
        if text in names or text in are_set:
            yield id(names), text, Global(names, text)
    cells = function.__closure__ or ()
    for k, (text, cell) in enumerate(zip(function.__code__.co_freevars, cells, strict=True)):
        yield id(cell), text, Cell(function, k)


def attributes_put(function: FunctionType, *, is_running: bool) -> Iterator[tuple[Any, str, str, OfClass | OfObject]]:
    """Yield (object, text, attribute, getter) of what code puts by name into the user's functions, classes and Python modules.

    What an enclosing function has, the code may have made itself if it ``is_running``.
    """
    put = attributes_set(function.__code__)
    if not put:
        return
    cells = function.__code__.co_freevars if is_running else ()
    outside = {text: find() for _, text, find in variables(function) if text not in cells}
    for text, name in put:
        owner = outside.get(text)
        if isinstance(owner, type) and is_of_user(owner.__module__):
            yield owner, f"{owner.__name__}.{name}", name, OfClass(owner, name)
        elif (isinstance(owner, FunctionType) and is_of_user(owner.__module__)) or (
            isinstance(owner, ModuleType) and is_of_user(owner.__name__)
        ):
            yield owner, f"{text}.{name}", name, OfObject(owner, name)


def defaults(function: FunctionType) -> Iterator[tuple[str, Find]]:
    """Yield name and getter of the parameters that have a default."""
    code, defaults = function.__code__, function.__defaults__ or ()
    find = weakref.ref(function)
    for k, name in enumerate(code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]):
        yield name, functools.partial(_default, find, k)
    for name in function.__kwdefaults__ or ():
        yield name, functools.partial(_default, find, name)


def _default(find: Callable[[], FunctionType | None], place: int | str) -> Any:
    function = find()
    if function is None:
        return None
    held: Any = function.__defaults__ if isinstance(place, int) else function.__kwdefaults__
    try:
        return held[place]
    except (TypeError, LookupError):
        return None


class Global:
    """A variable of a module: called, what it is."""

    __slots__ = ("_names", "_text")

    def __init__(self, names: dict[str, Any], text: str) -> None:
        self._names, self._text = names, text

    def __call__(self) -> Any:
        return self._names.get(self._text, MISSING)

    def put(self, value: Any) -> None:
        """Let it be something else."""
        _put(self._names, self._text, value)


class Cell:
    """A variable of an enclosing function: called, what it is. The function may be a hook that is gone, with all that it held."""

    __slots__ = ("_find", "_number")

    def __init__(self, function: FunctionType, number: int) -> None:
        self._find, self._number = weakref.ref(function), number

    def _cell(self) -> Any:
        function = self._find()
        return None if function is None or function.__closure__ is None else function.__closure__[self._number]

    def __call__(self) -> Any:
        try:
            return getattr(self._cell(), "cell_contents", None)
        except ValueError:  # not assigned yet
            return None

    def put(self, value: Any) -> None:
        """Let it be something else."""
        cell = self._cell()
        if cell is not None:
            cell.cell_contents = value


class OfClass:
    """An attribute of a class: called, what it is."""

    __slots__ = ("_find", "_name")

    def __init__(self, kind: type, name: str) -> None:
        self._find, self._name = weakref.ref(kind), name

    def __call__(self) -> Any:
        kind = self._find()
        return MISSING if kind is None else _of_mro(kind.__mro__, self._name)

    def put(self, value: Any) -> None:
        """Let it be something else."""
        kind = self._find()
        if kind is None:
            return
        if value is _of_mro(kind.__mro__[1:], self._name):
            if self._name in vars(kind):
                delattr(kind, self._name)
        else:
            setattr(kind, self._name, value)


class OfObject:
    """What a function or a Python module holds as an attribute: called, what it is."""

    __slots__ = ("_find", "_name")

    def __init__(self, owner: Any, name: str) -> None:
        self._find, self._name = weakref.ref(owner), name

    def __call__(self) -> Any:
        owner = self._find()
        return MISSING if owner is None else vars(owner).get(self._name, MISSING)

    def put(self, value: Any) -> None:
        """Let it be something else."""
        owner = self._find()
        if owner is not None:
            _put(vars(owner), self._name, value)


def _of_mro(kinds: tuple[type, ...], name: str) -> Any:
    return next((vars(base)[name] for base in kinds if name in vars(base)), MISSING)


def _put(held: dict[str, Any], name: str, value: Any) -> None:
    if value is MISSING:
        held.pop(name, None)
    else:
        held[name] = value
