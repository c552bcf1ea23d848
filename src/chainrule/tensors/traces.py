"""The traces of a compiled function: which of them serve a call, why there is another one, and when there are too many."""

from __future__ import annotations

import warnings
from typing import Any

from chainrule.tensors.arguments import values_in
from chainrule.tensors.call import Call
from chainrule.tensors.traced import Traced

MOST_TRACES = 8  # of calls that differ in values and sizes alone


class Entry:
    """A trace of a function, for which call it was made, and why."""

    def __init__(self, traced: Traced, call: Call, reason: str) -> None:
        self.traced = traced
        self.key = call.key
        self.family = call.family
        self.names = call.given.names
        self.text = call.text()
        self.reason = reason


class Traces:
    """All traces of a function.

    ``by_key``    those that may serve a call, by its key
    ``decided``   keys for which the code decides on the size of the batch: how
    ``given_up``  families of calls that run uncompiled: why
    """

    def __init__(self, name: str, parameters: tuple[str, ...]) -> None:
        self.name = name
        self.parameters = parameters
        self.entries: list[Entry] = []
        self.by_key: dict[Any, list[Entry]] = {}
        self.decided: dict[Any, str] = {}
        self.given_up: dict[Any, str] = {}

    def add(self, traced: Traced, call: Call, reason: str) -> None:
        """Add the trace that was made for a call."""
        self.entries.append(Entry(traced, call, reason))
        self._index()

    def forget_gone(self) -> None:
        """Forget traces of models that do not exist any more."""
        self.entries = [entry for entry in self.entries if entry.traced.guards.can_hold_again()]
        self._index()

    def _index(self) -> None:
        by_key: dict[Any, list[Entry]] = {}
        for entry in self.entries:
            by_key.setdefault(entry.key, []).append(entry)
        self.by_key = by_key

    def are_many(self, call: Call) -> bool:
        """Say whether no more traces are made for calls like this one."""
        family: Any = call.family
        return [entry.family for entry in self.entries].count(family) >= MOST_TRACES

    def give_up(self, call: Call, reason: str) -> None:
        """Let calls like this one run uncompiled where no trace fits, and warn."""
        text = f"{self.name} was traced {MOST_TRACES} times, and would be again, since {reason}"
        self.given_up[call.family] = text
        warnings.warn(f"{text}. It runs uncompiled from here on, where no trace fits", stacklevel=4)

    # -- why -----------------------------------------------------------------------------------------------------------

    def why(self, call: Call) -> str:
        """Say in what this call differs from one that was traced before; nothing for the first of its family."""
        family = [entry for entry in reversed(self.entries) if entry.family == call.family]
        same = [entry for entry in family if entry.key == call.key]
        if same:
            found = next((text for entry in same if (text := entry.traced.guards.difference())), "")
            return found or "a gradient is there that was not, or the reverse"
        if call.decided:
            return call.decided
        for entry in family:
            if entry.key[0] == call.kind:
                return self._other_size(call, entry)
        return next((text for entry in family if (text := self._other_value(call, entry))), "")

    def _other_size(self, call: Call, entry: Entry) -> str:
        for name, now, before in zip(call.given.names, call.shapes, entry.key[1], strict=True):
            for axis, (n, m) in enumerate(zip(now, before, strict=True)):
                if n == m:
                    continue
                if "n" in (n, m) and m in ("n", 0, 1) and n in ("n", 0, 1):
                    own = m if n == "n" else n
                    return f"{name} has the size {n} in axis {axis}, and {own} has a graph of its own"
                return f"{name} has the size {n} in axis {axis} (it was {m})"
        return ""

    def _other_value(self, call: Call, entry: Entry) -> str:
        now = values_in(call.given.form, self.parameters)
        before = values_in(entry.key[0][0], self.parameters)
        for name, value in now.items():
            if name in before and repr(before[name]) != repr(value):
                return f"{name} is {value!r} (it was {before[name]!r})"
        return ""
