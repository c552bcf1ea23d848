"""What the current thread is doing with operations: computing them, recording a tape, or writing a trace."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainrule.tensors.generator import Generator
    from chainrule.tensors.reads import Reads
    from chainrule.tensors.trace import Trace

PLAIN, TAPE, TRACE = 0, 1, 2


class State(threading.local):
    """The state of one thread.

    ``mode``       PLAIN (no gradients), TAPE (eager, recording) or TRACE
    ``trace``      the open trace
    ``reads``      who is told what is read of objects (None: nobody)
    ``generator``  whom random functions draw from when they are given none (None: the default generator)
    """

    def __init__(self) -> None:
        self.mode = TAPE
        self.trace: Trace | None = None
        self.reads: Reads | None = None
        self.generator: Generator | None = None


STATE = State()
