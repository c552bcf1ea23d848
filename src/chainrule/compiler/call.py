"""Calling native code from Python for the least that a call can cost: as a builtin of CPython's own kind.

    def f(block: int) -> None      block: the address of what the native function reads and writes

A builtin is a C function with a description. Here the C function is written in LLVM's language beside the code it calls, so
that a call takes 15 ns (45 ns where other threads may run meanwhile) and 150 ns through ctypes, which converts each argument
by asking for its type.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

from chainrule.compiler.loader import Library, addresses

Native = Callable[[int], None]
"""A native function in Python: it takes the address of its block."""

TAKES_ONE = 0x0008  # METH_O: called with one argument, without a tuple around it
TAKES_SEVERAL = 0x0080  # METH_FASTCALL: called with where its arguments stand, and their number

# What the builtins below call; these lines stand once in a text. CPython is far away: nonlazybind calls through an address.
DECLARATIONS = """
@_Py_NoneStruct = external global i8
declare i64 @PyLong_AsLongLong(ptr) nonlazybind
declare ptr @PyEval_SaveThread() nonlazybind
declare void @PyEval_RestoreThread(ptr) nonlazybind
declare void @Py_IncRef(ptr) nonlazybind
"""

# -1 is the address of nothing: it means that the argument is no int, and that the error is set.
# None is returned as a new reference. One that is not counted ends the process, after as many calls as None had references.
HOLDING = """
define ptr @{name}(ptr %self, ptr %argument) nounwind {{
  %address = call i64 @PyLong_AsLongLong(ptr %argument)
  %failed = icmp eq i64 %address, -1
  br i1 %failed, label %error, label %run
run:
  %block = inttoptr i64 %address to ptr
  call void @{function}(ptr %block)
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
error:
  ret ptr null
}}
"""
RELEASING = HOLDING.replace(
    "  call void @{function}(ptr %block)\n",
    "  %thread = call ptr @PyEval_SaveThread()\n"
    "  call void @{function}(ptr %block)\n"
    "  call void @PyEval_RestoreThread(ptr %thread)\n",
)


def holding(name: str, function: str) -> str:
    """Return a builtin's C function as text: it calls ``void function(ptr)`` and no other Python thread runs meanwhile."""
    return HOLDING.format(name=name, function=function)


def releasing(name: str, function: str) -> str:
    """Return a builtin's C function as text: it calls ``void function(ptr)`` while other Python threads run."""
    return RELEASING.format(name=name, function=function)


def symbols() -> dict[str, int]:
    """Return the addresses of what ``DECLARATIONS`` names, for ``Library``. In CPython an object's id is its address."""
    functions = ("PyLong_AsLongLong", "PyEval_SaveThread", "PyEval_RestoreThread", "Py_IncRef")
    return {**addresses(*functions), "_Py_NoneStruct": id(None)}


def builtin(library: Library, name: str, takes: int = TAKES_ONE) -> Any:
    """Return the builtin whose C function ``name`` is in the library, which lives as long as the builtin does.

    ``takes`` says how it is called: with a block it is a ``Native``. Called with anything but an int it raises TypeError. An
    int that is no address of a block ends the process.
    """
    definition = _MethodDef(name.encode(), library[name], takes, None)
    # The builtin's __self__ keeps what it needs. CPython gives it back last, after the description was read.
    return _new_builtin()(ctypes.byref(definition), (definition, library), ctypes.py_object())


def through_ctypes(library: Library, function: str) -> Native:
    """Return ``void function(ptr)`` called by ctypes, while other Python threads run: for a library without a builtin."""
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(library[function])
    call.library = library  # type: ignore[attr-defined] # ctypes' functions take attributes; this one keeps the code
    return call


class _MethodDef(ctypes.Structure):
    """CPython's PyMethodDef: name, C function, how it is called, documentation."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("documentation", ctypes.c_char_p),
    )


@functools.cache
def _new_builtin() -> Callable[..., Native]:
    """Return CPython's maker of builtins: of a description, ``__self__`` and a module (none)."""
    types = (ctypes.c_void_p, ctypes.py_object, ctypes.py_object)
    make: Callable[..., Native] = ctypes.PYFUNCTYPE(ctypes.py_object, *types)(("PyCFunction_NewEx", ctypes.pythonapi))
    return make
