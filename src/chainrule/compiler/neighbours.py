"""Neighbours: random numbers that are drawn for several vectors side by side, and one vector's or one number's alone.

A number follows from its counter, whoever draws it: drawn together, a few vectors take little longer than one.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from chainrule.compiler import vector_random
from chainrule.compiler.fields import Random, is_one
from chainrule.compiler.index import Index, is_still, key_of, strides_of
from chainrule.compiler.readings import Readings
from chainrule.compiler.region import Region
from chainrule.compiler.value import F32, LANES, Value
from chainrule.graph.sizes import Size

if TYPE_CHECKING:
    from chainrule.compiler.evaluator import Evaluator


@dataclasses.dataclass
class Neighbours:
    """``count`` vectors side by side, of which the one numbered ``number`` is written."""

    count: int
    number: int = 0
    drawn: dict[Any, list[Value]] = dataclasses.field(default_factory=dict)


def most_drawn(reads: Readings, region: Region) -> int:
    """Return for how many vectors uniform numbers of float32 should be made at once; 0 if a region makes none.

    Several take little longer than one. Four counters give a vector; rows that begin amid a counter need one more.
    """
    last = [
        field.shape[-1]
        for field in reads.within(region.members)
        if isinstance(field, Random) and field.kind == "uniform" and field.dtype == F32 and field.shape
    ]
    in_fours = all(not isinstance(n, Size) and n % 4 == 0 for n in last)
    return 0 if not last else 4 if in_fours else 3


def among(before: Neighbours | None, number: int, count: int) -> Neighbours | None:
    """Return the neighbours of vector ``number`` of a row of a tile, ``before`` being those of the vector before it.

    The first ``count`` vectors are whole, and drawn together if there are several; a last one of fewer lanes stands alone.
    """
    if count == 1 or number >= count:
        return None
    if number == 0:
        return Neighbours(count)
    assert before is not None
    before.number = number
    return before


def draw(ev: Evaluator, field: Random, index: Index) -> Value:
    """Return random numbers: of this vector, of its neighbours too where they are drawn together, or one."""
    e, loops = ev.e, ev.open
    seed, number = [ev.value(x, ()) for x in field.inputs]
    if field.offset:
        number = number + field.offset
    unit = loops.lane_stride(field.shape, index)
    rows_of_four = all(
        is_still(at) or is_one(stride) or (not isinstance(stride, Size) and stride % 4 == 0)
        for at, stride in zip(index, strides_of(field.shape), strict=True)
    ) and all(not isinstance(at.offset, Size) and at.offset == 0 for at in index)
    flat = loops.place(field.shape, index)
    if unit is not None:
        together = ev.neighbours
        if together is not None and is_one(unit) and field.kind == "uniform" and field.dtype == F32:
            key = (field, key_of(index))
            if key not in together.drawn:
                first = flat - LANES * together.number if together.number else flat
                together.drawn[key] = vector_random.neighbours(
                    e, seed, number, first, together.count, aligned=rows_of_four
                )
            return together.drawn[key][together.number]
        if is_one(unit) and rows_of_four and e.lanes == LANES:
            return vector_random.consecutive(e, field.kind, seed, number, flat, field.dtype, **field.attributes)
        flat = e.wide(flat) + e.lane_numbers() * e.wide(e.size(unit))
    return vector_random.at(e, field.kind, seed, number, flat, field.dtype, **field.attributes)
