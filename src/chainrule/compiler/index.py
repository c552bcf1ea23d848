"""Where an element stands, seen from inside the loops of a kernel.

An index says for each axis of a field where it is: ``offset + step · i`` of a loop, or a fixed offset. One loop may run along
the lanes: what depends on it is a vector, everything else one number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.compiler.fields import Field, Move, is_one
from chainrule.graph.sizes import Dim, Shape, Size, surely_same

if TYPE_CHECKING:
    from chainrule.compiler.kernel_emitter import KernelEmitter
    from chainrule.compiler.value import Value


class At(NamedTuple):
    """Where along one axis: ``offset + step · (index of loop ``loop``)``; ``loop`` None stands still."""

    loop: int | None
    offset: Dim = 0
    step: int = 1


Index = tuple[At, ...]
STILL = At(None)


def is_still(at: At) -> bool:
    """Say whether it certainly is the first place, at every turn."""
    return at.loop is None and surely_same(at.offset, 0)


def index_of(axes: Sequence[int | None]) -> Index:
    """Return the index of a field whose axes run along these loops."""
    return tuple([STILL if d is None else At(d) for d in axes])


def operand(x: Field, index: Index) -> Index:
    """Return the index of an operand that broadcasts to a field at ``index``."""
    extra = len(index) - x.ndim
    return tuple([STILL if is_one(n) else index[k + extra] for k, n in enumerate(x.shape)])


def moved(x: Move, index: Index) -> Index:
    """Return the index of what is moved."""
    places = []
    for place in x.places:
        if place.axis is None:
            places.append(At(None, place.offset))
        else:
            outer = index[place.axis]
            places.append(At(outer.loop, place.offset + place.step * outer.offset, place.step * outer.step))
    return tuple(places)


def strides_of(shape: Shape) -> list[Dim]:
    """Return the row-major strides, in elements."""
    strides: list[Dim] = []
    total: Dim = 1
    for n in reversed(shape):
        strides.append(total)
        total = total * n
    return strides[::-1]


def key_of(index: Index) -> tuple[Any, ...]:
    """Return what stands for an index in a dictionary: sizes by their text."""
    return tuple([(a, str(b) if isinstance(b, Size) else b, c) for a, b, c in index])


class OpenLoops:
    """The loops inside of which code is written. ``at``: the index of each; along the lanes, that of the first one."""

    def __init__(self, e: KernelEmitter, lane: int | None) -> None:
        self.e = e
        self.lane = lane
        self.at: dict[int, Value] = {}

    def position(self, at: At) -> Value:
        """Return the index along one axis: 16 of them where it follows the lanes."""
        e = self.e
        x: Value = e.size(at.offset)
        if at.loop is not None:
            i = self.at[at.loop]
            if at.loop == self.lane:
                i = e.wide(i) + e.lane_numbers()
            if at.step != 1:
                i = i * at.step
            x = i if x.constant and x.name == "0" else i + x
        return x

    def start(self, at: At) -> Value:
        """Return the index along one axis of the first lane."""
        e = self.e
        x: Value = e.size(at.offset)
        if at.loop is None:
            return x
        i = self.at[at.loop]
        if at.step != 1:
            i = i * at.step
        return i if x.constant and x.name == "0" else i + x

    def place(self, shape: Shape, index: Sequence[At]) -> Value:
        """Return the row-major place of an element (of the first lane) in an array of ``shape``."""
        e = self.e
        total: Value = e.index(0)
        for at, stride in zip(index, strides_of(shape), strict=True):
            if is_still(at):
                continue
            part = self.start(at)
            if not is_one(stride):
                part = part * e.size(stride)
            total = part if total.constant and total.name == "0" else total + part
        return total

    def lane_stride(self, shape: Shape, index: Index) -> Dim | None:
        """Return how far apart in memory neighbouring lanes are; None if the lanes do not matter."""
        stride: Dim | None = None
        for at, n in zip(index, strides_of(shape), strict=True):
            if at.loop is not None and at.loop == self.lane:
                stride = at.step * n if stride is None else stride + at.step * n
        return stride
