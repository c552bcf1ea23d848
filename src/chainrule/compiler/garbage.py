"""Looking for garbage put off while a graph is made and compiled: what is made then lives on, and is looked through for nothing."""

from __future__ import annotations

import gc
import os

from chainrule.forks import lock_of_process


class _State:
    def __init__(self) -> None:
        self.lock = lock_of_process()
        self.depth = 0
        self.was_enabled = False


_STATE = _State()


class garbage_put_off:  # noqa: N801 - a context
    """Within this, in any thread, Python's collector of cycles does not run by itself."""

    def __enter__(self) -> None:
        with _STATE.lock:
            if not _STATE.depth:
                _STATE.was_enabled = gc.isenabled()
                gc.disable()
            _STATE.depth += 1

    def __exit__(self, *_: object) -> None:
        with _STATE.lock:
            _STATE.depth = max(_STATE.depth - 1, 0)
            if not _STATE.depth and _STATE.was_enabled:
                gc.enable()


def _in_child() -> None:
    """Let a child collect, whatever other threads of its parent were doing."""
    if _STATE.depth and _STATE.was_enabled:
        gc.enable()
    _STATE.depth = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
