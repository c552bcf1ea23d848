"""Running records on NumPy arrays from Python for the least that a call can cost: a builtin that takes the arrays themselves.

    f(block: int, *arrays) -> bool      block: the address of the words of ``Block``; whether a check failed

The address of an array's memory stands in the array, behind what all objects of CPython begin with. NumPy's own macros read
it there, so it is part of what compiled extensions rely on; asking for it in Python takes longer than a small network.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

import numpy as np

from chainrule.compiler import call
from chainrule.compiler.cache import load_or_build
from chainrule.compiler.target import host

NAME = "run_on_arrays"
DATA = object.__basicsize__  # bytes from the start of an array to the address of its memory
WORD = 8


class Block(IntEnum):
    """What stands where in the block."""

    RUN = 0  # the address of the driver
    FRAME = 1
    RECORDS = 2
    COUNT = 3  # of the records
    OFFSETS = 4  # of each array's slot in the frame, in bytes


class Function(Protocol):
    """The builtin."""

    def __call__(self, block: int, /, *arrays: np.ndarray) -> bool: ...


# The arrays' addresses are written while no other Python thread runs. Slot 0 of the frame is the address of the word that a
# failed check sets. The caller's references keep the arrays until the call is over.
TEXT = f"""
@_Py_TrueStruct = external global i8
@_Py_FalseStruct = external global i8

define ptr @{NAME}(ptr %self, ptr %arguments, i64 %count) nounwind {{
  %first = load ptr, ptr %arguments
  %address = call i64 @PyLong_AsLongLong(ptr %first)
  %bad = icmp eq i64 %address, -1
  br i1 %bad, label %error, label %begin
begin:
  %block = inttoptr i64 %address to ptr
  %frame.at = getelementptr i64, ptr %block, i64 {Block.FRAME:d}
  %frame = load ptr, ptr %frame.at
  br label %check
check:
  %k = phi i64 [ 1, %begin ], [ %next, %fill ]
  %more = icmp slt i64 %k, %count
  br i1 %more, label %fill, label %run
fill:
  %array.at = getelementptr ptr, ptr %arguments, i64 %k
  %array = load ptr, ptr %array.at
  %data.at = getelementptr i8, ptr %array, i64 {DATA}
  %data = load ptr, ptr %data.at
  %place = add i64 %k, {Block.OFFSETS - 1:d}
  %offset.at = getelementptr i64, ptr %block, i64 %place
  %offset = load i64, ptr %offset.at
  %slot = getelementptr i8, ptr %frame, i64 %offset
  store ptr %data, ptr %slot
  %next = add i64 %k, 1
  br label %check
run:
  %function = load ptr, ptr %block
  %records.at = getelementptr i64, ptr %block, i64 {Block.RECORDS:d}
  %records = load ptr, ptr %records.at
  %number.at = getelementptr i64, ptr %block, i64 {Block.COUNT:d}
  %number = load i64, ptr %number.at
  %status = load ptr, ptr %frame
  %thread = call ptr @PyEval_SaveThread()
  %done = call i64 %function(ptr %frame, ptr %records, i64 %number)
  %failed = load i64, ptr %status
  store i64 0, ptr %status
  call void @PyEval_RestoreThread(ptr %thread)
  %has.failed = icmp ne i64 %failed, 0
  %result = select i1 %has.failed, ptr @_Py_TrueStruct, ptr @_Py_FalseStruct
  call void @Py_IncRef(ptr %result)
  ret ptr %result
error:
  ret ptr null
}}
"""


def _stands_in_array() -> bool:
    """Return whether an array's address is where it is read here."""
    sample = np.empty((2, 3), np.float32)[1:]
    return ctypes.c_void_p.from_address(id(sample) + DATA).value == sample.ctypes.data


def _read_address(x: np.ndarray) -> int:
    return _word_at(id(x) + DATA).value


def _asked_address(x: np.ndarray) -> int:
    return int(x.ctypes.data)


_word_at = ctypes.c_uint64.from_address
IS_READ = _stands_in_array()
address: Callable[[np.ndarray], int] = _read_address if IS_READ else _asked_address
"""The address of an array's memory."""


@functools.cache
def run_on_arrays() -> Function | None:
    """Return the builtin; None where arrays do not have their address where it would read it."""
    if not IS_READ:
        return None
    text = call.DECLARATIONS + TEXT
    symbols = {**call.symbols(), "_Py_TrueStruct": id(True), "_Py_FalseStruct": id(False)}
    loaded = load_or_build(text.encode(), lambda: (text, b""), host(), symbols)
    function: Function = call.builtin(loaded.library, NAME, call.TAKES_SEVERAL)
    return function
