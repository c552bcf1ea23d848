"""Rows of a few elements each, side by side in memory, as vectors that hold one column of 16 rows, and back.

16 rows of ``width`` elements are ``width`` whole vectors of memory: they are loaded as they lie, and shuffled in registers.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.compiler.emit import LANES, Dtype, Emitter, Value


def load_columns(e: Emitter, start: str, width: int, dtype: Dtype, rows: Value | None) -> list[Value]:
    """Return the columns of 16 rows from ``start`` on; only the first ``rows`` of them exist (None: all)."""
    masks = _masks(e, width, rows)
    vectors = [
        e.load(e.offset(start, LANES * k, dtype), dtype, LANES, mask) if k else e.load(start, dtype, LANES, mask)
        for k, mask in enumerate(masks)
    ]
    return [_together(e, vectors, [row * width + column for row in range(LANES)]) for column in range(width)]


def store_columns(e: Emitter, columns: Sequence[Value], start: str, rows: Value | None) -> None:
    """Write what ``load_columns`` returns back."""
    width = len(columns)
    for k, mask in enumerate(_masks(e, width, rows)):
        places = range(LANES * k, LANES * (k + 1))
        x = _together(e, columns, [LANES * (place % width) + place // width for place in places])
        e.store(x, e.offset(start, LANES * k, x.dtype), mask)


def _masks(e: Emitter, width: int, rows: Value | None) -> list[Value | None]:
    """Return for each vector of memory which of its lanes exist."""
    if rows is None:
        return [None] * width
    elements = rows * width
    return [e.lane_numbers() < e.wide(elements - LANES * k) for k in range(width)]


def _together(e: Emitter, vectors: Sequence[Value], places: Sequence[int]) -> Value:
    """Return one vector of these elements of ``vectors``, counted through all of them: one shuffle for each but the first."""
    sources = sorted({place // LANES for place in places})
    first = sources[0]
    result, order = vectors[first], [place - LANES * first for place in places]
    if len(sources) == 1:
        return e.shuffle(result, None, order)
    arrived = [place // LANES == first for place in places]
    order = [k if here else 0 for k, here in zip(order, arrived, strict=True)]
    for source in sources[1:]:
        new = [place // LANES == source for place in places]
        order = [LANES + place % LANES if fresh else k for place, fresh, k in zip(places, new, order, strict=True)]
        result = e.shuffle(result, vectors[source], order)
        order = list(range(LANES))
    return result
