"""Other Python threads that run while a function is traced: what they change, the code did not.

What is outside is compared before and after the code ran, which does not tell who changed it. So where something changed and
other threads ran, the function is traced again, in a time in which Python seldom lets them go on: what stays as it is then,
the code does not change.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from chainrule.compiler.forks import lock_of_process

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
