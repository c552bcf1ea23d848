"""Single numbers, side by side in the lanes of a vector: what one function gives of each, computed once for all.

    exp(a), exp(b), exp(c)    →    exp of the vector (a, b, c, a), taken apart

For functions of many instructions, in the kernels of numbers alone: the schedules of an optimizer for many parameters, say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chainrule.compiler.evaluator import Evaluator
from chainrule.compiler.fields import Field, Map
from chainrule.compiler.index import Index
from chainrule.compiler.readings import Readings
from chainrule.compiler.value import LANES
from chainrule.compiler.vector_math import LONG


def compute_side_by_side(
    ev: Evaluator, reads: Readings, numbers: Sequence[Field], index: Mapping[Field, Index]
) -> None:
    """Compute those of ``numbers`` that one function gives, each from its own operands, in the lanes of a vector."""
    e, rank = ev.e, dict[Field, int]()
    e.calls = True
    groups: dict[tuple[int, str, Any], list[Map]] = {}
    for field in numbers:
        before = max([rank.get(r.field, 0) for r in reads.of(field)], default=0)
        rank[field] = before
        if isinstance(field, Map) and field.dtype.kind == "f" and field.primitive.name in LONG:
            rank[field] = before + 1
            groups.setdefault((before, field.primitive.name, field.dtype), []).append(field)
    for _, group in sorted(groups.items(), key=lambda item: item[0][0]):
        for start in range(0, len(group), LANES):
            part = group[start : start + LANES]
            rows = [[ev.value(x, i) for x, i in ev.parts(field, index[field])] for field in part]
            lanes = 1 << (len(part) - 1).bit_length()
            if lanes == 1 or part[0].attributes:
                continue
            operands = []
            for column in zip(*rows, strict=True):
                vector = e.wide(column[0], lanes)
                for k, x in enumerate(column[1:], 1):
                    vector = e.with_lane(vector, k, x)
                operands.append(vector)
            result = part[0].primitive.lower(e, *operands)
            for k, field in enumerate(part):
                ev.know(field, index[field], e.lane(result, k))
