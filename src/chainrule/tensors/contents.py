"""What is in containers from outside: what was there when code that names them was first met, and how to let it be so again."""

from __future__ import annotations

import binascii
import operator
from array import array
from collections import OrderedDict, deque
from typing import Any

import numpy as np

from chainrule.tensors.attributes import is_valueless
from chainrule.tensors.facts import (
    SIMPLE,
    changeable_of,
    fact,
)
from chainrule.tensors.tensor import Tensor

MOST_COPIED = 1 << 26  # bytes of an array that is kept while tracing, to be put back
MOST_SUMMED = 1 << 30  # of one that is looked at


class Contents:
    """A container from outside, and what was in it when code that names it was first met.

    ``is_shared``  whether other threads may change it, too
    """

    __slots__ = ("_base", "_before", "place", "tails", "value", "who")
    is_shared = True
    fix = "return what is to be kept, write it into a tensor (count.add_(1)), or do it outside of the compiled function"

    def __init__(self, place: str, value: Any, who: str) -> None:
        self.place, self.value, self.who = place, value, who
        self.tails: list[list[Any] | None] = []  # what was added in each of several tries
        self._base = changeable_of(type(value)) or type(value)
        if self._base is array:
            self._before: Any = value[:]
        elif self._base is OrderedDict:
            self._before = OrderedDict(OrderedDict.items(value))
        elif self._base is deque:
            self._before = deque(
                deque.__iter__(value)
            )  # copy() would call the class, which may want arguments of its own
        elif self._base is not np.ndarray:
            self._before = self._base.copy(value)
        elif value.nbytes <= MOST_COPIED:
            self._before = value.copy()
        else:
            self._before = _sum_of(value)

    def is_changed(self) -> bool:
        """Return whether other things are in it, or the same in another order."""
        value, before = self.value, self._before
        if isinstance(value, np.ndarray):
            if not isinstance(before, np.ndarray):
                return bool(_sum_of(value) != before)
            if value.dtype.hasobject:
                return value.shape != before.shape or not _alike(value.ravel().tolist(), before.ravel().tolist())
            return value.shape != before.shape or not np.array_equal(_bytes_of(value), _bytes_of(before))
        if isinstance(value, (set, bytearray, array)):
            return bool(value != before)
        if len(value) != len(before):
            return True
        if isinstance(value, dict):
            return not all(map(operator.is_, value, before)) or not _alike(value.values(), before.values())
        return not _alike(value, before)

    def put_back(self) -> None:
        """Let be in it what was."""
        value, before, base = self.value, self._before, self._base
        if base is np.ndarray:
            if isinstance(before, np.ndarray):
                value[...] = before
        elif base in (list, bytearray, array):
            base.__setitem__(value, slice(None), before)
        else:
            base.clear(value)
            (base.extend if base is deque else base.update)(value, before)

    def added(self) -> list[Any] | None:
        """Return what is in it that was not, of numbers, texts and the like; None if it is no list."""
        if self._base not in (list, deque):
            return None
        found = [part for part in self._base.__iter__(self.value) if _is_plain(part)]
        for part in self._before:
            if _is_plain(part):
                _remove(found, part)
        return found

    def take_out(self, last: Contents) -> bool:
        """Let what the code added not be in it, but what other threads did; say whether that can be told.

        ``last`` knows of the last try. The code's is what each of several tries added.
        """
        tails = [*self.tails, last.added()]
        known = [tail for tail in tails if tail is not None]
        if len(known) < len(tails) or self._base not in (list, deque):
            return False
        own = known[0] if len(known) > 1 else []
        for tail in known[1:]:
            left = list(tail)
            own = [part for part in own if _remove(left, part)]
        for part in own * len(known):
            _remove(self.value, part)
        for at in reversed(range(len(self.value))):
            if is_valueless(self.value[at]):
                del self.value[at]
        return True

    def told(self) -> str:
        """Say which container it is."""
        kind = "array" if isinstance(self.value, (np.ndarray, array)) else type(self.value).__name__
        return f"the {kind} '{self.place}'"


def _is_plain(part: Any) -> bool:
    """Say whether an entry is a number, a text or None, or several in a tuple."""
    return type(part) in SIMPLE or (type(part) is tuple and {*map(type, part)} <= {*SIMPLE})


def _remove(parts: Any, part: Any) -> bool:
    """Remove the last one that is equal from a list; say whether there was one."""
    for at in reversed(range(len(parts))):
        if type(parts[at]) is type(part) and parts[at] == part:
            del parts[at]
            return True
    return False


def _sum_of(value: Any) -> int:
    return binascii.crc32(_bytes_of(value))


def _bytes_of(value: Any) -> Any:
    return np.ascontiguousarray(value).reshape(-1).view(np.uint8)


def _alike(now: Any, before: Any) -> bool:
    if all(map(operator.is_, now, before)):
        return True
    return all(x is y or (type(x) in SIMPLE and fact(x) == fact(y)) for x, y in zip(now, before, strict=True))


class ContentsOfGroup(Contents):
    """A parameter group of an optimizer, which a schedule may change through a name of its own."""

    __slots__ = ()
    fix = "call the scheduler outside of the compiled step, or set the rate there: each call reads it anew"


class ContentsOfState(Contents):
    """The state of an optimizer: what code puts there that is not a tensor with values is of the trace alone."""

    __slots__ = ()
    is_shared = False
    fix = "make the state before (in __init__) and write into it (step.add_(1)), or write init and update in place of step"

    def __init__(self, place: str, value: Any, who: str) -> None:
        self.place, self.value, self.who = place, value, who
        self.tails, self._base = [], type(value)
        self._before = {p: dict(held) for p, held in value.items() if isinstance(held, dict)}

    def is_changed(self) -> bool:
        for p, held in self.value.items():
            if not isinstance(held, dict):
                continue
            before = self._before.get(p, {})
            for name, x in held.items():
                if x._value is None if isinstance(x, Tensor) else fact(x) != fact(before.get(name, Tensor)):
                    return True
        return False

    def put_back(self) -> None:
        for p, held in list(self.value.items()):
            if not isinstance(held, dict):
                continue
            if p in self._before:
                held.clear()
                held.update(self._before[p])
            else:
                del self.value[p]

    def has_more(self) -> bool:
        """Return whether there is state that was not there."""
        return any(
            p not in self._before or held.keys() != self._before[p].keys()
            for p, held in self.value.items()
            if isinstance(held, dict)
        )
