"""What a record costs, counted from what it is made of: operations on numbers, and bytes of memory.

Both are rough from below. A product is 2 m n k operations; in loops each operation is one, what is dear (exp, a power) a
few. A buffer counts once however often it is read, and for no more elements than the loops go through.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from chainrule.compiler.fields import Field, Fold, Map, Number, Place, Random
from chainrule.compiler.interface import as_number
from chainrule.compiler.plan import Record, Targets
from chainrule.compiler.readings import CHEAP
from chainrule.compiler.region import Region
from chainrule.graph.sizes import Dim, numel

DEAR = 8  # operations of an exp, say
COPIES = frozenset(["stop", "set_value"])
DRAW = 40  # of a random number


class Cost(NamedTuple):
    """Operations on numbers, and bytes of memory."""

    flops: int
    bytes: int


def cost_of(targets: Targets, record: Record, sizes: dict[str, int]) -> Cost:
    """Return what a record costs for these sizes."""
    region = targets.order[record.region] if record.region < len(targets.order) else None
    work = record.work
    flops = work.flops
    if flops is None:
        assert region is not None
        count = sum(_operations(targets, region, member, sizes) for member in region.members)
    else:
        count = as_number(flops, sizes)
    elements = work.elements
    if elements is None:
        assert region is not None
        elements = numel(tuple(region.dims))
    return Cost(count, _bytes(targets, record, as_number(elements, sizes), sizes))


def _bytes(targets: Targets, record: Record, elements: int, sizes: dict[str, int]) -> int:
    """Return how many bytes the buffers of a record have together, each counted once."""
    touched = dict(record.work.touched)
    found: dict[Field, int] = {}
    for entry in record.entries:
        field = entry.field
        if entry.kind == "slot" and field is not None:
            most = as_number(touched[field], sizes) if field in touched else elements
            place = targets.over.get(field, field)
            size = min(as_number(numel(field.shape), sizes), most) * field.dtype.itemsize
            found[place] = max(found.get(place, 0), size)
    return sum(found.values())


def _operations(targets: Targets, region: Region, member: Field, sizes: dict[str, int]) -> int:
    """Return the operations of a member of a region of loops, in all turns together."""
    regions = targets.regions
    axes = regions.fold_axes.get(member, region.axes[member])
    turns = _product([region.dims[d] for d in axes if d is not None], sizes)
    seen: set[Field] = set()
    total = 1 if isinstance(member, (Fold, Place)) else _of(member)
    stack = list(member.inputs)
    while stack:  # what is computed where it is read
        x = stack.pop()
        if x not in seen and x not in regions.reads.computed:
            seen.add(x)
            total += 0 if _is_number(x) else _of(x)
            stack.extend(x.inputs)
    return total * turns


def _of(x: Field) -> int:
    if isinstance(x, Random):
        return DRAW
    if isinstance(x, Map) and x.primitive.name not in COPIES:
        return 1 if x.primitive.name in CHEAP else DEAR
    return 0


def _is_number(x: Field) -> bool:
    """Say whether a field is computed once, before the loops."""
    return isinstance(x, Number) or not x.shape


def _product(dims: Iterable[Dim], sizes: dict[str, int]) -> int:
    total = 1
    for n in dims:
        total *= as_number(n, sizes)
    return total
