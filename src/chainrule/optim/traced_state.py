"""An optimizer's state, as code sees it that is traced: what it asks for is compared at each call."""

from __future__ import annotations

import operator
import weakref
from typing import Any

from chainrule.optim.traced_groups import note_optimizer
from chainrule.tensors.facts import weakly
from chainrule.tensors.guarded_names import Name
from chainrule.tensors.trace import Trace


class Entries(Name):
    """What is in the state of an optimizer when code asks for it: of which parameters, under which names, and which tensors."""

    __slots__ = ("_found", "_optimizer")

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = weakref.ref(optimizer)
        super().__init__(id(optimizer), type(optimizer).__name__, _nothing)
        state = vars(optimizer)["state"]
        self._found = [(weakly(p), _names(held), [*map(weakly, _values(held))]) for p, held in state.items()]

    def _fact(self) -> Any:
        return None

    def holds(self) -> bool:
        optimizer = self._optimizer()
        state = {} if optimizer is None else optimizer.__dict__["state"]
        if len(state) != len(self._found):
            return False
        for (p, held), (find, names, finds) in zip(state.items(), self._found, strict=True):
            if find() is not p or _names(held) != names:
                return False
            if not all(map(operator.is_, map(operator.call, finds), _values(held))):
                return False
        return True

    def difference(self) -> str:
        return f"what is in the state of {self.text} changed"


def note_state(trace: Trace, optimizer: Any) -> None:
    """Let it matter what is in the state of an optimizer, which the code asks for; as it is now, at the first time.

    What the code asks later, a step may have added to that; where it was there before, the step adds nothing.
    """
    if trace.is_first((id(optimizer), Entries)):
        note_optimizer(trace, optimizer)
        trace.reached.names.append(Entries(optimizer))


def _names(held: Any) -> Any:
    return tuple(held) if isinstance(held, dict) else None


def _values(held: Any) -> Any:
    return held.values() if isinstance(held, dict) else (held,)


def _nothing() -> None:
    """Stand for what is looked at in another way."""
