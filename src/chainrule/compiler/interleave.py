"""Rows of a few elements each, side by side in memory, as vectors that hold one column of 16 rows, and back.

16 rows of ``width`` elements are ``width`` whole vectors of memory: they are loaded as they lie, and shuffled in registers.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence

from chainrule.compiler.emit import Emitter
from chainrule.compiler.value import I32, I64, LANES, U8, Dtype, Value

FEW = 4  # columns, for which the shuffles are written where they are needed; of more they stand once, in a function


def load_columns(e: Emitter, start: str, width: int, dtype: Dtype, rows: Value | None) -> list[Value]:
    """Return the columns of 16 rows from ``start`` on; only the first ``rows`` of them exist (None: all)."""
    if width <= FEW:
        return _load(e, start, width, dtype, rows)
    name = f"columns.{width}.{dtype.name}{'' if rows is None else '.some'}"
    if name not in e.module.functions:
        inner = Emitter(e.module, name, [("ptr", "rows"), ("i64", "count"), ("ptr", "columns")], internal=True)
        columns = _load(inner, "%rows", width, dtype, None if rows is None else Value(inner, "%count", I64))
        for k, x in enumerate(columns):
            inner.store(x, inner.offset("%columns", LANES * k, dtype))
        inner.finish()
    memory = e.stack(dtype, width * LANES)
    e.call(name, f"ptr {start}", repr(e.index(LANES) if rows is None else rows), f"ptr {memory}")
    return [e.load(e.offset(memory, LANES * k, dtype), dtype, LANES) for k in range(width)]


def store_columns(e: Emitter, columns: Sequence[Value], start: str, rows: Value | None) -> None:
    """Write what ``load_columns`` returns back."""
    width = len(columns)
    if width <= FEW:
        _store(e, columns, start, rows)
        return
    columns = [e.cast(x, U8) if x.dtype.kind == "b" else x for x in columns]
    name = f"rows.{width}.{columns[0].dtype.name}{'' if rows is None else '.some'}"
    if name not in e.module.functions:
        vectors = [(x.type, f"x{k}") for k, x in enumerate(columns)]
        inner = Emitter(e.module, name, [*vectors, ("ptr", "rows"), ("i64", "count")], internal=True)
        own = [Value(inner, f"%x{k}", x.dtype, LANES) for k, x in enumerate(columns)]
        _store(inner, own, "%rows", None if rows is None else Value(inner, "%count", I64))
        inner.finish()
    e.call(name, *map(repr, columns), f"ptr {start}", repr(e.index(LANES) if rows is None else rows))


def _load(e: Emitter, start: str, width: int, dtype: Dtype, rows: Value | None) -> list[Value]:
    masks = _masks(e, width, rows)
    vectors = [
        e.load(e.offset(start, LANES * k, dtype), dtype, LANES, mask) if k else e.load(start, dtype, LANES, mask)
        for k, mask in enumerate(masks)
    ]
    return [_together(e, vectors, [row * width + column for row in range(LANES)]) for column in range(width)]


def _store(e: Emitter, columns: Sequence[Value], start: str, rows: Value | None) -> None:
    """Write columns as rows.

    The elements of a column go to the lanes that they have in memory, and each vector of memory is blended of the columns. 16
    divided by the greatest common divisor of ``width`` and 16 rows have lanes of their own; after them the lanes come again.
    """
    width = len(columns)
    distinct = LANES // math.gcd(width, LANES)
    moved: dict[tuple[int, int], Value] = {}  # by column and group of rows
    for column, x in enumerate(columns):
        for group in range(LANES // distinct):
            row_of = {(row * width + column) % LANES: row for row in range(group * distinct, (group + 1) * distinct)}
            moved[column, group] = e.shuffle(x, None, [row_of.get(lane, 0) for lane in range(LANES)])
    for k, mask in enumerate(_masks(e, width, rows)):
        lanes: dict[tuple[int, int], list[int]] = {}
        for lane in range(LANES):
            row, column = divmod(LANES * k + lane, width)
            lanes.setdefault((column, row // distinct), []).append(lane)
        first, *others = lanes
        vector = moved[first]
        for other in others:
            vector = _blend(e, vector, moved[other], lanes[other])
        e.store(vector, e.offset(start, LANES * k, vector.dtype), mask)


def _masks(e: Emitter, width: int, rows: Value | None) -> list[Value | None]:
    """Return for each vector of memory which of its lanes exist."""
    if rows is None:
        return [None] * width
    elements = e.cast(e.minimum(rows, LANES), I32) * width
    return [e.lane_numbers(I32) < e.wide(elements - LANES * k) for k in range(width)]


def _together(e: Emitter, vectors: Sequence[Value], places: Sequence[int]) -> Value:
    """Return one vector of these elements of ``vectors``, counted through all of them.

    Elements that stand in different lanes are blended, which takes less than a shuffle, where they are; then the lanes are
    put in order: one shuffle for each blend.
    """
    blends: list[tuple[Value, dict[int, int]]] = []  # and which place is in which of its lanes
    for source in sorted({place // LANES for place in places}):
        own = {place % LANES: place for place in places if place // LANES == source}
        if blends and blends[-1][1].keys().isdisjoint(own):
            before, lanes = blends[-1]
            blends[-1] = _blend(e, before, vectors[source], own), {**lanes, **own}
        else:
            blends.append((vectors[source], own))
    result, lanes = blends[0]
    lane_of = {place: lane for lane, place in lanes.items()}
    result = e.shuffle(result, None, [lane_of.get(place, 0) for place in places])
    for other, lanes in blends[1:]:
        lane_of = {place: LANES + lane for lane, place in lanes.items()}
        result = e.shuffle(result, other, [lane_of.get(place, k) for k, place in enumerate(places)])
    return result


def _blend(e: Emitter, a: Value, b: Value, of_b: Container[int]) -> Value:
    """Return ``a`` with those lanes of ``b``."""
    return e.shuffle(a, b, [LANES + lane if lane in of_b else lane for lane in range(LANES)])
