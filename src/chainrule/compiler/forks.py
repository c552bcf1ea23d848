"""What a fork must not leave behind: locks that other threads held, which nobody in the child would ever give back.

A lock of this module is free in a child. While ``UNDISTURBED`` is held, no fork happens: it waits, as what was half done in
LLVM could not be told from what is done.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

_LOCKS: weakref.WeakSet[Any] = weakref.WeakSet()
UNDISTURBED = threading.RLock()


def lock_of_process() -> threading.Lock:
    """Return a lock that is free in a child, whoever held it when the process was forked."""
    lock = threading.Lock()
    _LOCKS.add(lock)
    return lock


def rlock_of_process() -> Any:
    """Return a lock like that of ``lock_of_process``, which the thread that holds it can take again."""
    lock = threading.RLock()
    _LOCKS.add(lock)
    return lock


def _free_all() -> None:
    for lock in list(_LOCKS):
        lock._at_fork_reinit()
    UNDISTURBED.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=UNDISTURBED.acquire, after_in_parent=UNDISTURBED.release, after_in_child=_free_all)
