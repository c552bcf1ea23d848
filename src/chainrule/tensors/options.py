"""Arguments of PyTorch that most operations take: device, layout, pinned memory, memory format.

All but the last leave no choice here: they are accepted where they say what is so anyway, and raise where they ask for
something that is not here. A memory format says in which order the elements lie in memory; it changes no value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, ShapeError, nearest
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor, device


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


AXES = {contiguous_format: None, channels_last: (0, 2, 3, 1), channels_last_3d: (0, 2, 3, 4, 1)}  # by memory


def check_options(name: str, options: dict[str, Any]) -> Option | None:
    """Raise unless the options say what is so anyway; return the memory format, if one is asked for."""
    for key, value in options.items():
        if key == "device":
            if value is not None:
                device(value)
        elif key not in ACCEPTED:
            raise ArgumentTypeError(f"{name}: got an unexpected argument {key!r}", fix=nearest(key, ACCEPTED))
        elif not any(value is accepted for accepted in ACCEPTED[key]):
            accepted = " or ".join(repr(v) for v in ACCEPTED[key])
            raise ArgumentError(f"{name}: {key}={value!r} is not here", expected=accepted)
    wanted: Option | None = options.get("memory_format")
    return None if wanted is preserve_format else wanted


def has_memory_format(x: Tensor, wanted: Option) -> bool:
    """Return whether the elements lie in memory in that order (in a trace, where no memory is known: yes)."""
    axes = AXES[wanted]
    if axes is not None and x.ndim != len(axes):
        raise ShapeError(f"got {x.ndim} axes and {wanted!r}", expected=f"{len(axes)} axes")
    if STATE.mode == TRACE:
        return True
    array = x._value if axes is None else x._value.transpose(axes)
    return bool(array.flags.c_contiguous)


def own_memory_format(x: Tensor) -> Option:
    """Return the format that the memory of ``x`` is in; of those that are in none, row-major."""
    if STATE.mode != TRACE and not x._value.flags.c_contiguous:
        for wanted in (channels_last, channels_last_3d):
            if x.ndim == len(AXES[wanted] or ()) and has_memory_format(x, wanted):
                return wanted
    return contiguous_format


def in_memory_format(y: Tensor, wanted: Option | None) -> Tensor:
    """Return ``y``, which nobody else has seen, with its elements in that order in memory."""
    if wanted is not None and not has_memory_format(y, wanted):
        axes = AXES[wanted] or tuple(range(y.ndim))
        back = sorted(range(y.ndim), key=axes.__getitem__)
        y._value = np.array(y._value.transpose(axes), order="C").transpose(back)
    return y
