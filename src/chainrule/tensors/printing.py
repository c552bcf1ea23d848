"""A tensor as text, as PyTorch writes it: columns that line up, four digits, large tensors by their edges.

>>> import chainrule as cr
>>> cr.arange(2000).reshape(2, 1000)
tensor([[   0,    1,    2,  ...,  997,  998,  999],
        [1000, 1001, 1002,  ..., 1997, 1998, 1999]])
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, nearest
from chainrule.graph import Array
from chainrule.tensors.dtypes import bool_, get_default_dtype, int64
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor

PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


class PrintOptions:
    """How tensors are printed; ``set_printoptions`` changes it."""

    def __init__(self) -> None:
        self.precision = 4
        self.threshold: float = 1000
        self.edgeitems = 3
        self.linewidth = 80
        self.sci_mode: bool | None = None


OPTIONS = PrintOptions()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are printed; what is left out stays, but for ``sci_mode``.

    ``precision``  digits after the point
    ``threshold``  a tensor with more elements is shown by its edges
    ``edgeitems``  how many elements of each axis an edge has
    ``linewidth``  characters in a line
    ``profile``    'default', 'short' or 'full': the four above at once
    ``sci_mode``   always (True) or never (False) write 1.0000e+00; None: as the numbers need it

    Raises ArgumentError for another profile.
    """
    if profile is not None and profile not in PROFILES:
        raise ArgumentError(
            f"set_printoptions: got profile={profile!r}",
            expected=f"one of {', '.join(PROFILES)}",
            fix=nearest(str(profile), PROFILES),
        )
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    chosen = {name: value for name, value in given.items() if value is not None}
    for name, value in {**PROFILES.get(profile or "", {}), **chosen}.items():
        setattr(OPTIONS, name, value)
    OPTIONS.sci_mode = sci_mode


def tensor_repr(tensor: Tensor) -> str:
    """Return the text of a tensor; one without a value, inside a compiled function, shows its dtype and shape."""
    has_value = isinstance(tensor._value, np.ndarray)
    if not has_value or STATE.mode == TRACE:
        known: Any = tensor._value if has_value else tensor._node  # nothing that would join the trace
        return f"<traced {known.dtype}[{', '.join(map(str, known.shape))}]>"
    array: Array = tensor._value
    suffixes = []
    dtype = tensor.dtype
    if array.size == 0:
        contents = "[]"
        if array.ndim != 1:
            suffixes.append(f"size={array.shape}")
        if dtype is not get_default_dtype():
            suffixes.append(f"dtype={dtype!r}")
    else:
        contents = _contents(array, len("tensor("))
        if OPTIONS.edgeitems == 0:  # the text alone may not show the shape
            suffixes.append(f"size={array.shape}")
        if dtype not in (get_default_dtype(), int64, bool_):
            suffixes.append(f"dtype={dtype!r}")
    made_by = tensor.grad_fn
    if made_by is not None and made_by.primitive is not None:
        suffixes.append(f"grad_fn=<{made_by.primitive.name}>")
    elif tensor.requires_grad:
        suffixes.append("requires_grad=True")
    return _joined("tensor(" + contents, suffixes, len("tensor("))


def _joined(text: str, suffixes: list[str], indent: int) -> str:
    """Append the suffixes, each on the last line if it fits there (with a closing parenthesis to come)."""
    length = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if length + len(suffix) + 2 > OPTIONS.linewidth:
            text += ",\n" + " " * indent + suffix
            length = indent + len(suffix)
        else:
            text += ", " + suffix
            length += len(suffix) + 2
    return text + ")"


def _contents(array: Array, indent: int) -> str:
    shortened = array.size > OPTIONS.threshold
    shown = _edges(array) if shortened else array
    width, text = _floats(shown) if array.dtype.kind == "f" else _others(shown)
    return _nested(array, indent, shortened, width, text)


def _edges(array: Array) -> Array:
    """Return the elements that a shortened tensor shows."""
    n = OPTIONS.edgeitems
    places = [np.r_[0:n, size - n : size] if size > 2 * n else np.arange(size) for size in array.shape]
    shown: Array = array[np.ix_(*places)]
    return shown


def _others(shown: Array) -> tuple[int, Callable[[Any], str]]:
    """Return the width of a column of integers or truth values, and how one is written."""
    width = max((len(str(value)) for value in shown.ravel().tolist()), default=1)
    return width, lambda value: str(value).rjust(width)


def _floats(shown: Array) -> tuple[int, Callable[[Any], str]]:
    """Return the width of a column of floats, and how one is written: 1. or 1.5000 or 1.5000e+00."""
    values = shown[np.isfinite(shown) & (shown != 0)]  # zeros, infinities and NaN have no say
    whole = bool((values == np.ceil(values)).all())
    scientific, digits = False, OPTIONS.precision
    width = 1
    if values.size:
        sizes = np.abs(values.astype(np.float64))
        largest, smallest = float(sizes.max()), float(sizes.min())
        scientific = largest / smallest > 1000 or largest > 1e8 or smallest < 1e-4
        if OPTIONS.sci_mode is not None:
            scientific = OPTIONS.sci_mode
        form = f".{digits}e" if scientific else ".0f" if whole else f".{digits}f"
        width = max(len(format(value, form)) for value in values.tolist()) + (whole and not scientific)

    def text(value: float) -> str:
        if scientific:
            written = f"{value:.{digits}e}"
        elif whole:
            written = f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"
        else:
            written = f"{value:.{digits}f}"
        return written.rjust(width)

    return width, text


def _nested(array: Array, indent: int, shortened: bool, width: int, text: Callable[[Any], str]) -> str:
    if array.ndim == 0:
        return text(array.item())
    n, size = OPTIONS.edgeitems, array.shape[0]
    cut = shortened and size > 2 * n
    head, tail = (array[:n], array[size - n :]) if cut else (array, array[size:])
    if array.ndim == 1:
        items = [text(value) for value in head.tolist()]
        if cut:
            items += [" ..." if n else "..."] + [text(value) for value in tail.tolist()]
        in_line = max(1, (OPTIONS.linewidth - indent) // (width + 2))
        lines = [", ".join(items[start : start + in_line]) for start in range(0, len(items), in_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    parts = [_nested(part, indent + 1, shortened, width, text) for part in head]
    if cut:
        parts += ["..."] + [_nested(part, indent + 1, shortened, width, text) for part in tail]
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(parts) + "]"
