"""A function of the user's (a loss, a penalty) inside a trace: what it reads outside matters as in the traced function itself."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CodeType, FunctionType, MethodType
from typing import Any

from chainrule.nn import Module
from chainrule.tensors.facts import facts_of_object
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.trace import Trace


def note(function: Callable[..., Any], what: str) -> None:
    """While tracing, let it matter what ``function`` reads and changes outside; ``what`` it is, for messages.

    Of an object with ``__call__`` these are the attributes that its class names, of a partial its arguments. A module notes
    its ``forward`` itself.
    """
    trace = STATE.trace
    if STATE.mode != TRACE or trace is None:
        return
    while isinstance(function, functools.partial):
        _expect(trace, f"an argument of the partial {what}", function, _arguments_of)
        function = function.func
    if isinstance(function, Module) or (getattr(function, "__module__", None) or "").startswith("chainrule."):
        return
    called: Any = getattr(type(function), "__call__", None)  # noqa: B004 - the function itself is wanted
    is_wrapper = "__wrapped__" in getattr(function, "__dict__", ())  # of a decorator, or another compiled function
    is_plain = isinstance(function, (FunctionType, MethodType)) or is_wrapper or not isinstance(called, FunctionType)
    trace.reached.note(function if is_plain else MethodType(called, function))
    owner = function.__self__ if isinstance(function, MethodType) else function
    is_own = not isinstance(owner, (FunctionType, Module, type)) and not type(owner).__module__.startswith("chainrule.")
    if is_own and callable(owner) and hasattr(owner, "__dict__"):
        _expect(trace, f"an attribute of {what}", owner, _attributes_of)


def _expect(trace: Trace, text: str, owner: Any, ask: Callable[[Any], Any]) -> None:
    if trace.is_first((ask, id(owner))):
        trace.expect(text, owner, ask)


def _arguments_of(function: Any) -> dict[str, Any]:
    return _facts({**dict(enumerate(function.args)), **function.keywords}, frozenset())


def _attributes_of(owner: Any) -> dict[str, Any]:
    named = _named_in(owner.__class__)
    return _facts({name: value for name, value in vars(owner).items() if name in named}, named)


def _facts(values: dict[Any, Any], named: frozenset[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= facts_of_object(value, named, str(name))
    return found


@functools.cache
def _named_in(kind: Any) -> frozenset[str]:
    """Return the names that the methods of a class use."""
    methods = [value for of in kind.__mro__ for value in vars(of).values() if isinstance(value, FunctionType)]
    return frozenset().union(*[_names(method.__code__) for method in methods])


def _names(code: CodeType) -> frozenset[str]:
    return frozenset(code.co_names).union(*[_names(part) for part in code.co_consts if isinstance(part, CodeType)])
