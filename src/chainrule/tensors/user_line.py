"""The line of the user's own code at which something happened."""

from __future__ import annotations

import os
import sys
from types import FrameType, TracebackType

import numpy as np

NOT_THE_USERS = (
    os.path.dirname(os.path.dirname(__file__)) + os.sep,
    os.path.dirname(os.__file__) + os.sep,  # Python's own library
    os.path.dirname(os.path.dirname(np.__file__)) + os.sep,  # where packages are installed
)
TRACED_BY = os.path.join("tensors", "compile.py")


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


def calling_traceback() -> TracebackType | None:
    """Return a traceback of the frames that are open now up to the function that is traced, from the user's innermost one.

    An error that is raised with it later is one at the user's line.
    """
    found: TracebackType | None = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(NOT_THE_USERS):
            found = TracebackType(found, frame, frame.f_lasti, frame.f_lineno)
        elif found is not None and file.endswith(TRACED_BY):
            break
        frame = frame.f_back
    return found
