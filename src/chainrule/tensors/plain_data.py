"""Containers of numbers and texts, however deep, as one thing that is compared in one step: a configuration, a vocabulary."""

from __future__ import annotations

import marshal  # noqa: TID251 - of values in memory, which go nowhere
import math
from typing import Any

PLAIN = (dict, list, tuple)
VERSION = 2  # of the format: floats as bytes, and nothing that depends on how often something is referred to
MOST_BYTES = 1 << 16


class PlainData:
    """What was in a container of dicts, lists and tuples with None, bools, numbers and texts in them.

    Equal to another of these if all types and values are: 1 is not True, 0.0 is not -0.0, and the order of a dict counts.
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PlainData):
            return NotImplemented
        if self._data == other._data:
            return True
        return not difference(self.value(), other.value())  # texts that are equal may be stored in two ways

    __hash__ = None  # type: ignore[assignment]  # never a key

    def value(self) -> Any:
        """Return a copy of what it was."""
        return marshal.loads(self._data)  # noqa: S302 - bytes of our own

    def told(self, text: str, now: Any) -> str:
        """Say what differs now in the container that ``text`` names."""
        place, told = difference(self.value(), now.value() if isinstance(now, PlainData) else None) or ("", "")
        return f"{text}{place} {told or 'changed'}"


def plain_data(value: Any) -> PlainData | None:
    """Return what is in a container, if that is plain data and not too much."""
    try:
        data = marshal.dumps(value, VERSION)
    except ValueError:  # something else is in it, or it is in itself
        return None
    return PlainData(data) if len(data) <= MOST_BYTES else None


def difference(before: Any, now: Any) -> tuple[str, str] | None:
    """Return the place of the first difference, and what it is; None if there is none."""
    kind = type(before)
    if kind is not type(now):
        return "", _changed(before, now)
    if kind is dict:
        if list(before) != list(now) or list(map(type, before)) != list(map(type, now)):
            return "", "changed"
        pairs = [(f"[{key!r}]", before[key], now[key]) for key in before]
    elif kind in PLAIN:
        if len(before) != len(now):
            return "", "changed"
        pairs = [(f"[{k}]", x, y) for k, (x, y) in enumerate(zip(before, now, strict=True))]
    elif kind is float:
        same = before == now and math.copysign(1, before) == math.copysign(1, now)
        return None if same or (before != before and now != now) else ("", _changed(before, now))
    else:
        return None if before == now else ("", _changed(before, now))
    for place, x, y in pairs:
        found = difference(x, y)
        if found is not None:
            return place + found[0], found[1]
    return None


def _changed(before: Any, now: Any) -> str:
    return "changed" if isinstance(before, PLAIN) or isinstance(now, PLAIN) else f"was {before!r} and is {now!r}"
