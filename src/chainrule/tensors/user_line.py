"""The line of the user's own code at which something happened."""

from __future__ import annotations

import ast
import linecache
import os
import sys
from types import FrameType, TracebackType
from typing import NamedTuple, NoReturn

import numpy as np

NOT_THE_USERS = (
    os.path.dirname(os.path.dirname(__file__)) + os.sep,
    os.path.dirname(os.__file__) + os.sep,  # Python's own library
    os.path.dirname(os.path.dirname(np.__file__)) + os.sep,  # where packages are installed
)


def user_line(trace: TracebackType | None) -> str:
    """Return file and line of the innermost frame of the user's own code, as text that may follow a question."""
    found = ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(NOT_THE_USERS):
            found = f" {os.path.basename(file)}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return found


def calling_line() -> str:
    """Return the same of the innermost frame that is open now; nothing if the user's code called nothing of this."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(NOT_THE_USERS):
            return f" {os.path.basename(file)}, line {frame.f_lineno}"
        frame = frame.f_back
    return ""


class Line(NamedTuple):
    """A line of the user's code. It keeps no frame alive, whose variables would be seen to be kept."""

    file: str
    number: int
    function: str


def line_of_caller() -> Line | None:
    """Return the line at which the innermost frame of the user's own code is now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(NOT_THE_USERS):
            return Line(code.co_filename, frame.f_lineno, code.co_name)
        frame = frame.f_back
    return None


def raise_at(error: Exception, line: Line | None) -> NoReturn:
    """Raise an error so that its traceback ends at a line that ran before."""
    if line is not None:
        text = linecache.getline(line.file, line.number).rstrip()
        tree = ast.parse("raise error")
        for node in ast.walk(tree):
            if isinstance(node, (ast.stmt, ast.expr)):
                node.lineno = node.end_lineno = line.number
                node.col_offset, node.end_col_offset = len(text) - len(text.lstrip()), len(text.encode())
        exec(compile(tree, line.file, "exec").replace(co_name=line.function), {"error": error})  # noqa: S102 - it is ours
    raise error
