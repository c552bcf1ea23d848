"""Arrays that live in registers: their elements in row-major order, 16 to a vector, and moving them about.

The order of elements in vectors matters to nobody but the shuffles: what is computed element by element has the same bits
wherever it stands. So small arrays fill their vectors whatever their shape, and four rows of four are one vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chainrule.compiler.emit import Emitter
from chainrule.compiler.value import BOOL, LANES, Dtype, Value


class Cells(NamedTuple):
    """``size`` elements. One vector of one lane stands for all of them: they are equal.

    Lanes beyond the elements hold what does no harm, elements or zeros, but nothing undefined.
    """

    size: int
    vectors: list[Value]

    @property
    def is_uniform(self) -> bool:
        """Whether all elements are one number."""
        return self.vectors[0].lanes == 1


class Cell(NamedTuple):
    """One element: a lane of a value."""

    value: Value
    lane: int


def width_of(count: int) -> int:
    """Return how many lanes the vectors of an array have: the power of two that holds it, 16 at most."""
    return min(1 << (count - 1).bit_length(), LANES)


def blocks(count: int) -> list[range]:
    """Return the elements of each vector."""
    return [range(start, min(start + LANES, count)) for start in range(0, count, LANES)]


def cell(x: Cells, k: int) -> Cell:
    """Return element ``k``."""
    return Cell(x.vectors[0], 0) if x.is_uniform else Cell(x.vectors[k // LANES], k % LANES)


def spread(e: Emitter, x: Cells) -> Cells:
    """Return the same elements, each in a lane of its own."""
    if not x.is_uniform or x.size == 1:
        return x
    return Cells(x.size, [e.wide(x.vectors[0], width_of(x.size))] * len(blocks(x.size)))


def pick(e: Emitter, x: Cells, order: Sequence[int]) -> Cells:
    """Return the elements of ``x`` with these numbers."""
    if x.is_uniform:
        return Cells(len(order), x.vectors)
    if order[0] == order[-1] and len(set(order)) == 1:
        return Cells(len(order), [assemble(e, [cell(x, order[0])], 1)])
    once = list(dict.fromkeys(order))  # what is repeated may be brought together first
    if len(once) < len(order):
        at = {k: place for place, k in enumerate(once)}
        again = [at[k] for k in order]
        if _shuffles(once) + _shuffles(again) < _shuffles(order):
            return pick(e, pick(e, x, once), again)
    return gather(e, [cell(x, k) for k in order])


def _shuffles(order: Sequence[int]) -> int:
    """Return about how many shuffles bring these elements together."""
    sources = [len({k // LANES for k in order[b.start : b.stop]}) for b in blocks(len(order))]
    return sum([max(n - 1, 1) for n in sources])


def gather(e: Emitter, found: Sequence[Cell]) -> Cells:
    """Return these elements as an array."""
    width = width_of(len(found))
    return Cells(len(found), [assemble(e, found[b.start : b.stop], width) for b in blocks(len(found))])


def assemble(e: Emitter, found: Sequence[Cell], width: int) -> Value:
    """Return one vector of these elements; the last one fills the lanes that are left."""
    sources = {c.value.name: c.value for c in found}
    values = list(sources.values())
    lanes = [c.lane for c in found]
    filled = [*found, *[found[-1]] * (width - len(found))]
    if len(values) == 1:
        (x,) = values
        if x.lanes == 1:
            return e.wide(x, width)
        if x.lanes == width and lanes == list(range(len(lanes))):
            return x
        return e.lane(x, lanes[0]) if width == 1 else e.shuffle(x, None, [c.lane for c in filled])
    if len(values) == 2 and values[0].lanes > 1 and values[1].lanes > 1:
        a, b = values
        most = max(a.lanes, b.lanes)
        order = [c.lane + (most if c.value.name == b.name else 0) for c in filled]
        return e.shuffle(_widened(e, a, most), _widened(e, b, most), order)
    if all(2 * x.lanes > width for x in values):
        return _one_by_one(e, values, filled)
    half = width // 2
    low, high = filled[:half], filled[half:]
    if half == 1:
        first, second = (assemble(e, [c], 1) for c in (low[0], high[0]))
        return e.with_lane(e.wide(first, 2), 1, second)
    a, b = assemble(e, low, half), assemble(e, high, half)
    return e.shuffle(a, b, range(width))


def _one_by_one(e: Emitter, values: Sequence[Value], found: Sequence[Cell]) -> Value:
    """Return one vector of elements of vectors that are as wide: of each in turn, put where they belong."""
    lanes = max([x.lanes for x in values])
    result, *others = [_widened(e, x, lanes) for x in values]
    placed = [c.lane if c.value.name == values[0].name else 0 for c in found]
    placed += [0] * (lanes - len(placed))
    for x, original in zip(others, values[1:], strict=True):
        order = [lanes + c.lane if c.value.name == original.name else k for c, k in zip(found, placed, strict=False)]
        if original is not values[-1]:
            order += placed[len(order) :]
        result = e.shuffle(result, x, order)
        placed = list(range(lanes))
    return result


def _widened(e: Emitter, x: Value, lanes: int) -> Value:
    """Return a vector that begins with the lanes of ``x``."""
    return x if x.lanes == lanes else e.shuffle(x, None, [k % x.lanes for k in range(lanes)])


def first_lanes(e: Emitter, count: int, lanes: int) -> Value:
    """Return the mask of the first ``count`` lanes."""
    truths = ", ".join(f"i1 {'true' if k < count else 'false'}" for k in range(lanes))
    return Value(e, f"<{truths}>", BOOL, lanes, constant=True)


def load(e: Emitter, pointer: str, count: int, dtype: Dtype) -> Cells:
    """Return what stands in memory side by side."""
    width = width_of(count)
    vectors = []
    for b in blocks(count):
        mask = None if len(b) == width else first_lanes(e, len(b), width)
        vectors.append(e.load(e.offset(pointer, b.start, dtype), dtype, width, mask))
    return Cells(count, vectors)


def store(e: Emitter, x: Cells, pointer: str) -> None:
    """Write an array to memory."""
    x = spread(e, x)
    width = width_of(x.size)
    for b, value in zip(blocks(x.size), x.vectors, strict=True):
        mask = None if len(b) == width else first_lanes(e, len(b), width)
        e.store(value, e.offset(pointer, b.start, value.dtype), mask)
