"""What a function's code says that it reads: attributes, globals, modules; read from its instructions."""

from __future__ import annotations

import dis
import functools
from types import CodeType
from typing import Any

AS_TEXT, AS_HASH, AS_EQUAL = (
    ("__repr__", "__str__", "__format__"),
    ("__hash__",),
    ("__eq__",),
)  # methods that make texts, hash, compare
ERRORS = ("Error", "Exception", "Exit", "Warning")  # how the names of what is raised end
ASK_BY_TEXT = frozenset(
    ("getattr", "hasattr", "attrgetter", "__dict__", "vars", "__getattribute__", "getattr_static")
)  # what asks for attributes by a text

GO_ON = ("AttributeError", "Exception", "BaseException")  # what code catches that goes on without an attribute
LOAD_OUTSIDE = ("LOAD_GLOBAL", "LOAD_DEREF")


@functools.cache
def attributes_of(code: CodeType) -> frozenset[str]:
    """Return the names of the attributes that code reads, and some other names."""
    named = frozenset(code.co_names).union(*[attributes_of(c) for c in code.co_consts if isinstance(c, CodeType)])
    if not ASK_BY_TEXT.isdisjoint(code.co_names):
        texts = [*code.co_consts, *[text for c in code.co_consts if isinstance(c, tuple) for text in c]]
        named = named.union(c for c in texts if isinstance(c, str) and c.isidentifier())
    return named


@functools.cache
def attributes_read(code: CodeType) -> frozenset[str]:
    """Return the same without the names that are assigned to alone."""
    stored = {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_ATTR"}
    loaded = {i.argval for i in dis.get_instructions(code) if i.opname != "STORE_ATTR"}
    return attributes_of(code) - {name for name in stored if name not in loaded}


@functools.cache
def may_go_without(code: CodeType) -> frozenset[str]:
    """Return the names of the attributes that code may ask for where there are none: by a text, or catching the error."""
    found: set[str] = set()
    if not ASK_BY_TEXT.isdisjoint(code.co_names):
        texts = [*code.co_consts, *[text for c in code.co_consts if isinstance(c, tuple) for text in c]]
        found.update(c for c in texts if isinstance(c, str) and c.isidentifier())
    if any(name in code.co_names for name in GO_ON):
        found.update(i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_ATTR", "LOAD_METHOD"))
    named = {name for name in found if name[:2] != "__"}
    return frozenset(named).union(*[may_go_without(c) for c in code.co_consts if isinstance(c, CodeType)])


@functools.cache
def asks_by_made_name(code: CodeType) -> bool:
    """Say whether code reads attributes by names that it makes: with getattr, and no such name in it."""
    parts = [part for part in code.co_consts if isinstance(part, CodeType)]
    if "getattr" in code.co_names:
        given = [c for c in code.co_consts if isinstance(c, str) and c.isidentifier()]
        given += [text for c in code.co_consts if isinstance(c, tuple) for text in c if isinstance(text, str)]
        if not given or any(
            i.opname == "BUILD_STRING" or i.opname.startswith("FORMAT_") for i in dis.get_instructions(code)
        ):
            return True
    return any(map(asks_by_made_name, parts))


@functools.cache
def first_of_getattr(code: CodeType) -> tuple[str, ...]:
    """Return the names that getattr is called with first, "" for what is no name."""
    found: list[str] = []
    follows = False
    for i in dis.get_instructions(code):
        if follows and i.opname not in ("PUSH_NULL", "CACHE"):
            found.append(str(i.argval) if i.opname in ("LOAD_GLOBAL", "LOAD_DEREF") else "")
            follows = False
        follows = follows or (i.opname == "LOAD_GLOBAL" and i.argval == "getattr")
    for part in code.co_consts:
        if isinstance(part, CodeType):
            found += first_of_getattr(part)
    return tuple(found)


@functools.cache
def asked_by(code: CodeType) -> frozenset[str]:
    """Return which of the methods that make texts, compare and hash code calls; not those for the texts of errors."""
    found: set[str] = set()
    raises = False
    for i in reversed(list(dis.get_instructions(code))):
        if i.opname == "RAISE_VARARGS":
            raises = True
        elif i.opname in ("LOAD_ASSERTION_ERROR", "LOAD_COMMON_CONSTANT") or (
            i.opname == "LOAD_GLOBAL" and str(i.argval).endswith(ERRORS)
        ):
            raises = False
        elif i.opname.startswith("FORMAT_") or (i.opname.startswith("LOAD_") and i.argval in ("str", "repr", "format")):
            found.update(() if raises else AS_TEXT)
        elif i.opname in ("COMPARE_OP", "CONTAINS_OP"):
            found.update(AS_EQUAL)
        if i.opname in ("LOAD_GLOBAL", "LOAD_NAME") and i.argval == "hash":
            found.update(AS_HASH)
    return frozenset(found).union(*[asked_by(part) for part in code.co_consts if isinstance(part, CodeType)])


@functools.cache
def imports_of(code: CodeType) -> tuple[tuple[str, int], ...]:
    """Return name and level of the modules that code imports."""
    found: list[tuple[str, int]] = []
    before: list[Any] = []
    for i in dis.get_instructions(code):
        if i.opname == "IMPORT_NAME":
            found.append((i.argval, before[-2] if isinstance(before[-2], int) else 0))
        before.append(i.argval)
    for part in code.co_consts:
        if isinstance(part, CodeType):
            found += imports_of(part)
    return tuple(found)


@functools.cache
def globals_of(code: CodeType) -> tuple[str, ...]:
    """Return the names that code looks up among globals, or deletes."""
    return _names_in(code, ("LOAD_GLOBAL", "LOAD_NAME", "DELETE_GLOBAL"))


@functools.cache
def globals_set(code: CodeType) -> tuple[str, ...]:
    """Return the names of the globals that code sets, or deletes."""
    return _names_in(code, ("STORE_GLOBAL", "DELETE_GLOBAL"))


def _names_in(code: CodeType, instructions: tuple[str, ...]) -> tuple[str, ...]:
    names = {i.argval for i in dis.get_instructions(code) if i.opname in instructions}
    for part in code.co_consts:
        if isinstance(part, CodeType):
            names.update(_names_in(part, instructions))
    return tuple(sorted(names))


@functools.cache
def attributes_set(code: CodeType) -> tuple[tuple[str, str], ...]:
    """Return (variable from outside, attribute) of the attributes that code sets or deletes by name, also with setattr."""
    found: set[tuple[str, str]] = set()
    before = [("", ""), ("", "")]  # the last two instructions
    for i in dis.get_instructions(code):
        if i.opname in ("PUSH_NULL", "CACHE", "COPY_FREE_VARS"):
            continue
        now = (i.opname, i.argval)
        if before[1][0] in LOAD_OUTSIDE:
            by_setattr = before[0] == ("LOAD_GLOBAL", "setattr") and i.opname == "LOAD_CONST"
            if i.opname in ("STORE_ATTR", "DELETE_ATTR") or (by_setattr and isinstance(i.argval, str)):
                found.add((before[1][1], i.argval))
        before = [before[1], now]
    for part in code.co_consts:
        if isinstance(part, CodeType):
            found.update(attributes_set(part))
    return tuple(sorted(found))
