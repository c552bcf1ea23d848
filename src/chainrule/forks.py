"""What a fork must not leave behind: locks that other threads held, and what they had half done.

A lock of this module is free in a child, unless the thread that forked holds it. While a thread is ``undisturbed``, no other
forks: it waits, as half an import, or what was half done in LLVM, could not be told from what is done.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

_LOCKS: weakref.WeakSet[Any] = weakref.WeakSet()
_GATE = threading.Condition()
_INSIDE: weakref.WeakSet[undisturbed] = weakref.WeakSet()
A_WHILE = 1.0  # seconds, after which a fork looks again: a Ctrl-C may end a block before it began, and nobody says so


def lock_of_process() -> threading.Lock:
    """Return a lock that is free in a child, whoever held it when the process was forked."""
    lock = threading.Lock()
    _LOCKS.add(lock)
    return lock


def rlock_of_process() -> Any:
    """Return a lock like that of ``lock_of_process``, which the thread that holds it can take again, and keeps in a child."""
    lock = threading.RLock()
    _LOCKS.add(lock)
    return lock


def free_in_child(lock: Any) -> None:
    """Free a lock in a child, unless the thread that forked holds it, and knows."""
    if not (hasattr(lock, "_is_owned") and lock._is_owned()):
        lock._at_fork_reinit()


class undisturbed:  # noqa: N801 - a context
    """Within this, no other thread forks.

    Threads are within it together: one that imports may wait for what another imports.
    """

    __slots__ = ("__weakref__", "_thread")

    def __enter__(self) -> None:
        self._thread = threading.get_ident()
        with _GATE:
            _INSIDE.add(self)

    def __exit__(self, *_: object) -> None:
        with _GATE:
            _INSIDE.discard(self)
            _GATE.notify_all()


def _wait_for_others() -> None:
    _GATE.acquire()
    own = threading.get_ident()
    while any(each._thread != own for each in _INSIDE):
        _GATE.wait(A_WHILE)


def _free_all() -> None:
    for lock in list(_LOCKS):
        free_in_child(lock)
    _GATE.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_for_others, after_in_parent=_GATE.release, after_in_child=_free_all)
