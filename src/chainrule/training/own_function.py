"""A function of the user's (a loss, a penalty) inside a trace: what it reads outside matters as in the traced function itself."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

from chainrule.nn import Module
from chainrule.tensors.state import STATE, TRACE

Noted = tuple[Callable[..., Any], list[tuple[str, Any]]]


def note(function: Callable[..., Any], what: str) -> None:
    """While tracing, let it matter what ``function`` reads and changes outside; ``what`` it is, for messages."""
    trace = STATE.trace
    if STATE.mode != TRACE or trace is None:
        return
    for each in noted(function, what):
        trace.reached.note(*each)


def noted(function: Callable[..., Any], what: str) -> list[Noted]:
    """Return the code that calling ``function`` runs, and the objects that it is given, with names; none for chainrule's own.

    Of an object with ``__call__`` the code is that method, of a partial the arguments are such objects. A module notes its
    ``forward`` itself.
    """
    given: list[tuple[str, Any]] = []
    while isinstance(function, functools.partial):
        given.append((f"the partial {what}", function))
        function = function.func
    if isinstance(function, Module) or (getattr(function, "__module__", None) or "").startswith("chainrule."):
        return [(_nothing, given)] if given else []
    called: Any = getattr(type(function), "__call__", None)  # noqa: B004 - the function itself is wanted
    is_wrapper = "__wrapped__" in getattr(function, "__dict__", ())  # of a decorator, or another compiled function
    is_plain = isinstance(function, (FunctionType, MethodType)) or is_wrapper or not isinstance(called, FunctionType)
    return [(function if is_plain else MethodType(called, function), given)]


def _nothing() -> None:
    """Do nothing: in place of a function that reads nothing outside."""
