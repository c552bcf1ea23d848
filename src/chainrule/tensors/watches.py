"""The classes whose objects tell what is read of them, while some trace is open: what is put into them, and taken out again."""

from __future__ import annotations

from typing import Any

from chainrule.forks import lock_of_process
from chainrule.tensors.facts import AROUND, MISSING, TOLD_BY
from chainrule.tensors.state import STATE

WRITTEN_IN_PYTHON, IMMUTABLE = 1 << 9, 1 << 8  # flags of a class: Py_TPFLAGS_HEAPTYPE and _IMMUTABLETYPE


class Watches:
    """The classes that are watched by some trace, of any thread, and what they had before."""

    def __init__(self) -> None:
        self._lock = lock_of_process()
        self._counts: dict[type, int] = {}

    def add(self, kind: type) -> None:
        """Let objects of a class tell what is read of them."""
        with self._lock:
            count = self._counts.get(kind, 0)
            if count == 0:
                for name in TOLD_BY:
                    _put_around(kind, name)
            self._counts[kind] = count + 1

    def remove(self, kind: type) -> None:
        """Let a class be what it was, if nobody else watches it."""
        with self._lock:
            self._counts[kind] -= 1
            if self._counts[kind]:
                return
            del self._counts[kind]
            for name in TOLD_BY:
                before = AROUND[kind, name]
                if before is MISSING:
                    type.__delattr__(kind, name)
                else:
                    type.__setattr__(kind, name, before)
                del AROUND[kind, name]


WATCHES = Watches()


def _put_around(kind: type, name: str) -> None:
    """Put a function that notes who is asked for what around a method of a class."""
    method: Any = getattr(kind, name)
    is_set = name == "__setattr__"

    def around(self: Any, attribute: str, *value: Any) -> Any:
        reads = STATE.reads
        if reads is not None:
            reads.note(self, attribute, is_set=is_set)
        return method(self, attribute, *value)

    AROUND[kind, name] = vars(kind).get(name, MISSING)
    type.__setattr__(kind, name, around)


def can_tell(kind: type) -> bool:
    """Say whether a class can be watched: whether it is written in Python."""
    return bool(kind.__flags__ & WRITTEN_IN_PYTHON) and not kind.__flags__ & IMMUTABLE
