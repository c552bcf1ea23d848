"""What is computed again rather than kept: what is cheap, and follows from what is in memory anyway, sinks into its readers.

    kernel 1: v1 = add(x, y), v2 = relu(v1)  → memory
    kernel 2: v3 = mul(v2, z)  → memory

v2 is two operations on what is in memory: kernel 2 reads x and y, and kernel 1 is not needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.compiler.fields import Field, Fixed, Gather, Map, Source
from chainrule.compiler.readings import CHEAP
from chainrule.compiler.value import LANES
from chainrule.graph.sizes import Size

if TYPE_CHECKING:
    from chainrule.compiler.regions import Regions

MOST_SUNK = 4  # operations on what a region has computed that are done again rather than kept


def sink(regions: Regions) -> None:
    """Let readers compute again what is cheap and follows from what is in memory anyway, instead of storing it."""
    kept = set(regions.outputs) | regions.reads.buffered
    again: dict[Field, int] = {}  # what is computed again, and in how many operations
    outside = regions.read_outside()
    in_memory = kept | outside
    for field in regions.order:
        if field not in regions.home or field not in outside or field in kept or not field.shape:
            continue
        found = _steps_from_memory(regions, field, in_memory)
        if found is None:
            continue
        steps, leaves = found
        operations = sum([1 + sum(again.get(x, 0) for x in step.inputs) for step in steps])
        large = [leaf for leaf in leaves if len(leaf.shape) >= field.ndim]
        if leaves and operations <= MOST_SUNK and len(large) <= 2:
            again[field] = operations
            in_memory.discard(field)
            regions.leave_to_readers(steps)
    regions.drop_empty()


def _steps_from_memory(
    regions: Regions, field: Field, in_memory: set[Field]
) -> tuple[list[Field], dict[Field, None]] | None:
    """Return what its region computes for ``field`` from what is in memory, and what that is; None if it is not cheap."""
    steps: dict[Field, None] = {field: None}
    leaves: dict[Field, None] = {}
    todo = [field]
    while todo:
        step = todo.pop()
        is_cheap = step.primitive.name in CHEAP if isinstance(step, Map) else takes_rows(step)
        if not is_cheap or len(steps) > MOST_SUNK:
            return None
        for reading in regions.reads.of(step):
            x = reading.field
            if isinstance(x, (Source, Fixed)) or x in in_memory:
                leaves[x] = None
            elif x.shape and regions.home.get(x) is regions.home[field]:
                if x not in steps:
                    steps[x] = None
                    todo.append(x)
            else:
                return None
    return list(steps), leaves


def takes_rows(field: Field) -> bool:
    """Say whether a field is whole rows of another one, each at least as long as a vector: read as fast as memory of its own."""
    last = field.shape[-1] if field.ndim > 1 else 0
    return isinstance(field, Gather) and field.axes == (0,) and (isinstance(last, Size) or last >= LANES)
