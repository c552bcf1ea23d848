"""The traces of a compiled function: which of them serve a call, why there is another one, and when there are too many."""

from __future__ import annotations

import re
from typing import Any

from chainrule.errors import warn
from chainrule.tensors.arguments import all_exist, difference, parts_of
from chainrule.tensors.call import Call
from chainrule.tensors.state import PLAIN
from chainrule.tensors.traced import Traced

SWITCHED = ("on", "off")
MOST_TRACES = 8  # of calls that differ in values and sizes alone
MOST_OF_ALL = 256  # for different models, say
OF_NUMBERS = r" was -?\d\S* and is -?\d| is -?\d\S* \(it was -?\d|^an (attribute|argument) of .* changed$"
INSTEAD = (
    "A number that changes from call to call is to be a tensor: an argument (cr.tensor(0.5)), or a buffer that fill_() "
    "writes to outside of the function"
)
WORTH_TRACING = 4  # calls of a trace
KEEP = (
    "What is replaced costs a trace each time: write into the tensor that is there (copy_() or fill_(), outside of the "
    "function), or give it as an argument"
)
OF_SIZES = r" has the size \S+ in axis \d"
BATCH = (
    "Of all sizes that of the batch alone may change at no cost: say which axis that is (cr.compile(f, batch_axis=1), or by name, "
    "{'x': 1}), and pad others to a few sizes"
)
OF_OBJECTS = r" is another [A-Za-z_]\w*$"
APART = (
    "An object that is made anew for each call is to be a dict, a NamedTuple, or a dataclass of tensors that the function does not "
    "write into: these are told by what is in them"
)
OF_OPTIONS = r"^param_groups\["
RATES = (
    "What a rule of init and update reads (see cr.optim.Optimizer) is an input of the graph, and costs no trace; or make the "
    "rate a tensor (lr=cr.tensor(0.1)), and multiply with it"
)


class Entry:
    """A trace of a function, for which call it was made, and why."""

    def __init__(self, traced: Traced, call: Call, reason: str) -> None:
        self.traced = traced
        self.key = call.key
        self.family = call.family
        self.names = call.given.names
        self.text = call.text()
        self.reason = reason

    def can_serve_again(self) -> bool:
        """Say whether every module, optimizer and tensor that it needs still exists."""
        return self.traced.guards.can_hold_again() and all_exist(self.key[0][0])


class Traces:
    """All traces of a function.

    ``by_key``    those that may serve a call, by its key
    ``decided``   keys for which the code decides on the size of the batch: how
    ``given_up``  families of calls that run uncompiled: why
    ``moving``    attributes, by the id of the object and name, in which a tensor was replaced: what is there is found anew
    """

    def __init__(self, name: str, parameters: tuple[str, ...]) -> None:
        self.name = name
        self.parameters = parameters
        self.entries: list[Entry] = []
        self.by_key: dict[Any, list[Entry]] = {}
        self.decided: dict[Any, str] = {}
        self.given_up: dict[Any, str] = {}
        self.moving: set[tuple[int, str]] = set()
        self._wasted = 0  # traces that went after few calls
        self._told = False

    def add(self, traced: Traced, call: Call, reason: str) -> None:
        """Add the trace that was made for a call."""
        self.entries.append(Entry(traced, call, reason))
        self._index()

    def forget_gone(self, reason: str) -> None:
        """Forget traces of models that do not exist any more. Where they hardly ran before they went, warn once."""
        self.moving.update(*[entry.traced.moved() for entry in self.entries])
        kept = [entry for entry in self.entries if entry.can_serve_again()]
        gone = [entry for entry in self.entries if entry not in kept]
        self._wasted += sum([entry.traced.runs < WORTH_TRACING for entry in gone])
        self.entries = kept
        self._index()
        if self._wasted >= MOST_TRACES and not self._told:
            self._told = True
            are_tensors = any(entry.traced.guards.lost_tensors_alone() for entry in gone)
            instead = KEEP if are_tensors and not re.search(OF_OBJECTS, reason) else ""
            advice = _then(BATCH if re.search(OF_SIZES, reason) else instead)
            warn(f"{self.name} was traced {self._wasted} times for few calls each, since {reason}{advice}")

    def _index(self) -> None:
        by_key: dict[Any, list[Entry]] = {}
        for entry in self.entries:
            by_key.setdefault(entry.key, []).append(entry)
        self.by_key = by_key

    def are_many(self, call: Call) -> bool:
        """Say whether no more traces are made for calls like this one."""
        family: Any = call.family
        count = [entry.family for entry in self.entries].count(family)
        return count >= MOST_TRACES or len(self.entries) >= MOST_OF_ALL

    def give_up(self, call: Call, reason: str) -> None:
        """Let calls like this one run uncompiled where no trace fits, and warn."""
        are_too_many = len(self.entries) >= MOST_OF_ALL
        count = MOST_OF_ALL if are_too_many else MOST_TRACES
        text = f"{self.name} was traced {count} times, and would be again, since {reason}"
        self.given_up[call.family] = text
        advices = {OF_OPTIONS: RATES, OF_SIZES: BATCH, OF_NUMBERS: INSTEAD, OF_OBJECTS: "" if are_too_many else APART}
        instead = next((advice for pattern, advice in advices.items() if re.search(pattern, reason)), "")
        warn(f"{text}. It runs uncompiled from here on, where no trace fits{_then(instead)}")

    # -- why -----------------------------------------------------------------------------------------------------------

    def why(self, call: Call) -> str:
        """Say in what this call differs from one that was traced before; nothing for the first of all."""
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
        differences = [self._differences(call, entry) for entry in reversed(self.entries)]
        return min(differences, key=len, default=[""])[0]

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

    def _differences(self, call: Call, entry: Entry) -> list[str]:
        """Say of a call of another kind in what it differs from that of a trace: at least one thing."""
        form, kinds, mode, default = call.kind
        old_form, old_kinds, old_mode, old_default = entry.key[0]
        now, before = parts_of(form, self.parameters), parts_of(old_form, self.parameters)
        found = []
        for name in {**now, **before}:
            new, old = now.get(name), before.get(name)
            if new == old:
                continue
            if new and old and new[0] == old[0] == "tensor":
                also, was = call.given.names[new[1]], entry.names[old[1]]
                told = (
                    f"is the same tensor as {also}" if also != name else "is a tensor of its own",
                    f"the same as {was}",
                )
                found.append(f"{name} {told[0]} (it was {told[1] if was != name else 'one of its own'})")
            else:
                found.append(f"{name} {difference(new, old)}")
        if form != old_form and not found:
            found.append("arguments are given by name that were given by position, or the reverse, or in another order")
        old_kind_of = dict(zip(entry.names, old_kinds, strict=True))
        for name, (dtype, wants, ndim) in zip(call.given.names, kinds, strict=True):
            old_dtype, wanted, old_ndim = old_kind_of.get(name, (dtype, wants, ndim))
            if dtype != old_dtype:
                found.append(f"{name} is {dtype} (it was {old_dtype})")
            if ndim != old_ndim:
                found.append(f"{name} has {ndim} axes (it had {old_ndim})")
            if wants is not wanted:
                found.append(f"{name} wants {'a gradient (it did not)' if wants else 'no gradient (it did)'}")
        if mode != old_mode:
            found.append(f"gradients are {SWITCHED[mode == PLAIN]} (they were {SWITCHED[old_mode == PLAIN]})")
        if default != old_default:
            found.append(f"the default dtype is {default} (it was {old_default})")
        return found or ["its arguments are others"]


def _then(advice: str) -> str:
    return advice and f". {advice}"
