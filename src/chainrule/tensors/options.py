"""Arguments of PyTorch that leave no choice here: device, layout, memory format, pinned memory.

They are accepted where they say what is so anyway, and raise where they ask for something that is not here. A memory
format changes no value of a result: it is accepted, and the memory stays in the order that the operation gives it.
"""

from __future__ import annotations

from typing import Any

from chainrule.errors import ArgumentError, ArgumentTypeError, nearest
from chainrule.tensors.tensor import device


class Option:
    """A value that can be passed for a layout or memory format."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"chainrule.{self.name}"


strided = Option("strided")
contiguous_format = Option("contiguous_format")
preserve_format = Option("preserve_format")
channels_last = Option("channels_last")
channels_last_3d = Option("channels_last_3d")

ACCEPTED: dict[str, tuple[Any, ...]] = {
    "layout": (None, strided),
    "memory_format": (None, contiguous_format, preserve_format, channels_last, channels_last_3d),
    "pin_memory": (None, False),
    "non_blocking": (None, False, True),
}


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raise unless the options say what is so anyway."""
    for key, value in options.items():
        if key == "device":
            if value is not None:
                device(value)
        elif key not in ACCEPTED:
            raise ArgumentTypeError(f"{name}: got an unexpected argument {key!r}", fix=nearest(key, ACCEPTED))
        elif not any(value is accepted for accepted in ACCEPTED[key]):
            accepted = " or ".join(repr(v) for v in ACCEPTED[key])
            raise ArgumentError(f"{name}: {key}={value!r} is not here", expected=accepted)
