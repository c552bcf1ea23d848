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


class Changes:
    """Counts the changes to all modules of the process."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def bump(self) -> None:
        """Say that some module changed."""
        self.count += 1


CHANGES = Changes()


class CountedDict(OrderedDict[Any, Any]):
    """A dict of a module (its parts, its hooks): who writes into it past the module is counted, too."""


def _counted(name: str) -> Callable[..., Any]:
    method = getattr(OrderedDict, name)

    @functools.wraps(method)
    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        CHANGES.bump()
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
