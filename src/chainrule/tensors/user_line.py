"""The line of the user's own code at which something happened."""

from __future__ import annotations

import os
from types import TracebackType

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
