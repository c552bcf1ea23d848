"""Other Python threads that run while a function is traced: what they change, the code did not.

What is outside is compared before and after the code ran, which does not tell who changed it. So where something changed and
other threads ran, the function is traced again, in a time in which Python seldom lets them go on: what stays as it is then,
the code does not change. Where code lets others go on by itself, each time (it prints, say), what it names tells whether it may draw.
"""

from __future__ import annotations

import sys
import threading
import time
from types import CodeType, FrameType
from typing import Any

from chainrule.forks import lock_of_process

OWN = "chainrule worker"  # how the names of our own threads begin
LONGEST = 5.0  # seconds that another thread waits for its turn


class ChangedMeanwhile(Exception):
    """Something outside was changed while a function was traced: by the code, or by another thread."""


def others_run() -> bool:
    """Say whether there are other Python threads than this one."""
    if threading.active_count() == 1:
        return False
    own = threading.get_ident()
    return any(thread.ident != own and not thread.name.startswith(OWN) for thread in threading.enumerate())


class _State:
    def __init__(self) -> None:
        self.lock = lock_of_process()
        self.depth = 0
        self.before = 0.0


_STATE = _State()


class others_wait:  # noqa: N801 - a context
    """Within this, Python switches to another thread only where this one waits, or after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = min(seconds, LONGEST)

    def __enter__(self) -> others_wait:
        if self._seconds:
            with _STATE.lock:
                if not _STATE.depth:
                    _STATE.before = sys.getswitchinterval()
                _STATE.depth += 1
                sys.setswitchinterval(max(self._seconds, sys.getswitchinterval()))
            time.sleep(0)  # those that wait by now would do so for as long as was said before
        return self

    def __exit__(self, *_: Any) -> None:
        self.end()

    def end(self) -> None:
        """Let others go on as before; once is enough."""
        seconds, self._seconds = self._seconds, 0.0
        if seconds:
            with _STATE.lock:
                _STATE.depth = max(_STATE.depth - 1, 0)
                if not _STATE.depth:
                    sys.setswitchinterval(_STATE.before)


NAMES = """
random rand randn randint randrange ranf random_sample sample random_integers standard_normal normal normalvariate gauss
uniform choice choices shuffle permutation permuted getrandbits randbytes bytes mtrand RandomState
"""
DRAWING = frozenset(NAMES.split())


class code_that_runs:  # noqa: N801 - a context
    """Within this, it is noted which code this thread runs, if no profiler is at work."""

    def __init__(self) -> None:
        self._is_on = sys.getprofile() is None
        self._found: dict[CodeType, bool] = {}  # and whether it is chainrule's

    def __enter__(self) -> code_that_runs:
        if self._is_on:
            sys.setprofile(self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._is_on:
            sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code not in self._found:
            self._found[frame.f_code] = str(frame.f_globals.get("__name__")).startswith("chainrule.")

    def may_draw(self) -> bool:
        """Say whether any of it names what draws random numbers; True where that is not known."""
        others = [code for code, is_own in self._found.items() if not is_own]
        return not self._is_on or any(not DRAWING.isdisjoint((*code.co_names, *code.co_freevars)) for code in others)
