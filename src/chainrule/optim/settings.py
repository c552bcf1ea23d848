"""Attributes that a rule of the user's reads: ``update`` is recorded once, so that they are constants in what it records."""

from __future__ import annotations

from types import CodeType, FunctionType
from typing import Any

from chainrule.tensors.facts import fact


def settings_read(kind: type, rule: str) -> tuple[str, ...]:
    """Return the names that a method of a class uses, with all methods of its own that it calls; none of chainrule's."""
    found: set[str] = set()
    pending = [rule]
    while pending:
        name = pending.pop()
        for base in kind.__mro__:
            member = vars(base).get(name)
            member = member.fget if isinstance(member, property) else member
            if isinstance(member, FunctionType) and not base.__module__.startswith("chainrule."):
                new = _names(member.__code__) - found
                found |= new
                pending += new
    return tuple(sorted(found))


def settings_of(owner: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Return what can be compared of those that are attributes of an object or of its class, and no methods."""
    own, kind = vars(owner), type(owner)
    found = {}
    for name in names:
        value = own[name] if name in own else getattr(kind, name, None)
        if not (callable(value) or isinstance(value, property)) and (name in own or value is not None):
            found[name] = fact(value)
    return found


def _names(code: CodeType) -> set[str]:
    return set(code.co_names).union(*[_names(part) for part in code.co_consts if isinstance(part, CodeType)])
