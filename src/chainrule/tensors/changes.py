"""The count of changes to modules and leaves: what a trace may rely on while it stands still.

A compiled function has to know whether some module was put into eval mode, got another layer or another hook since it
was traced. Asking every module costs microseconds; this one number is asked instead, and only when it moved are the
modules looked at. It moves whenever the Python side of a module does, when a tensor is given other memory, and when the
default dtype is set; never when only numbers in tensors change.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from chainrule.tensors.state import STATE


class Changes:
    """Counts the changes to all modules of the process; ``moves``: those by which a tensor got other memory."""

    __slots__ = ("count", "moves")

    def __init__(self) -> None:
        self.count = self.moves = 0

    def bump(self) -> None:
        """Say that some module changed."""
        self.count += 1

    def note_move(self) -> None:
        """Say that a tensor got other memory."""
        self.count += 1
        self.moves += 1


CHANGES = Changes()


class CountedDict(OrderedDict[Any, Any]):
    """A dict of a module (its parts, its hooks): who writes into it past the module is counted, too, and told to an open trace."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if STATE.trace is not None:
            STATE.trace.reached.structure.note_born(self)
        super().__init__(*args, **kwargs)


def before_change(held: dict[Any, Any], *others: set[str]) -> None:
    """Tell an open trace that a dict of a module, and what goes with it, is about to be changed."""
    if STATE.trace is not None:
        STATE.trace.reached.structure.note(held, *others)


def _counted(name: str) -> Callable[..., Any]:
    method = getattr(OrderedDict, name)

    @functools.wraps(method)
    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        CHANGES.bump()
        before_change(self)
        return method(self, *args, **kwargs)

    return counted


for _name in (
    "__setitem__",
    "__delitem__",
    "__ior__",
    "clear",
    "move_to_end",
    "pop",
    "popitem",
    "setdefault",
    "update",
):
    setattr(CountedDict, _name, _counted(_name))
