"""Where the variables of code are: of a module, of an enclosing function, of a class, defaults of parameters. Called, what they are now."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from chainrule.tensors.code_reads import globals_of
from chainrule.tensors.facts import member_of

Find = Callable[[], Any]


def variables(function: FunctionType) -> Iterator[tuple[int, str, Find]]:
    """Yield (identity of the place, name, getter) of the variables from outside that exist now."""
    names = function.__globals__
    for text in globals_of(function.__code__):
        if text in names:
            yield id(names), text, Global(names, text)
    cells = function.__closure__ or ()
    for k, (text, cell) in enumerate(zip(function.__code__.co_freevars, cells, strict=True)):
        yield id(cell), text, Cell(function, k)


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
        return self._names.get(self._text)

    def put(self, value: Any) -> None:
        """Let it be something else."""
        self._names[self._text] = value


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
        return None if kind is None else member_of(kind, self._name)

    def put(self, value: Any) -> None:
        """Let it be something else."""
        kind = self._find()
        if kind is not None:
            setattr(kind, self._name, value)
