"""Padding: elements added around an axis."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.errors import ArgumentError, ShapeError, nearest
from chainrule.graph import primitive
from chainrule.graph.numeric import as_ints
from chainrule.tensors.apply import apply
from chainrule.tensors.arithmetic import abs, clamp, remainder
from chainrule.tensors.creation import arange
from chainrule.tensors.shaping import constant_pad
from chainrule.tensors.tensor import Tensor
from chainrule.tensors.views import slice_axis

MODES = ("constant", "reflect", "replicate", "circular")


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Return input with elements added before and after the last axes: (before last, after last, before the one …).

    ``mode``  'constant' (``value``, 0 unless given; negative numbers cut), 'reflect' (mirrored at the edge element),
              'replicate' (the edge element), 'circular' (the other end)
    """
    pad = as_ints(pad)
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ArgumentError(
            f"pad: got {list(pad)} for {input.ndim} axes", expected="two numbers for each padded axis, the last first"
        )
    if mode == "constant":
        return constant_pad(input, pad, 0.0 if value is None else value)
    if mode not in MODES:
        raise ArgumentError(f"pad: got mode={mode!r}", expected=f"one of {', '.join(MODES)}", fix=nearest(mode, MODES))
    if value is not None:
        raise ArgumentError(f"pad: got value={value} with mode={mode!r}", expected="no value")
    y = input
    for k in range(len(pad) // 2):
        y = _extended(y, y.ndim - 1 - k, pad[2 * k], pad[2 * k + 1], mode)
    return y


def _extended(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    if mode == "circular" and (before < 0 or after < 0):  # what is cut does not come in again
        x = slice_axis(x, axis, max(-before, 0), x.shape[axis] - max(-after, 0))
        before, after = max(before, 0), max(after, 0)
    size = x.shape[axis]
    most = size - 1 if mode == "reflect" else size
    if mode != "replicate" and (before > most or after > most):
        raise ShapeError(
            f"pad: got {before} and {after} elements around an axis of {size} with mode={mode!r}",
            expected=f"at most {most}",
        )
    place = arange(-before, size + after)
    if mode == "replicate":
        place = clamp(place, 0, size - 1)
    elif mode == "circular":
        place = remainder(place, size)
    else:
        place = (size - 1) - abs((size - 1) - abs(place))
    return apply(primitive("take"), (x, place), {"axes": (axis,)})
