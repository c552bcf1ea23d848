"""Single numbers, a few for each of many parameters (the schedules of an optimizer), cut so that one kernel serves many times."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from chainrule.compiler.fields import Field, Map
from chainrule.compiler.readings import Readings
from chainrule.compiler.value import LANES

TOGETHER = LANES // 2  # alike schedules in a kernel: two powers of each fill the lanes of a vector


def schedules(numbers: Iterable[Field], reads: Readings, most: int) -> list[list[Field]]:
    """Return groups of ``numbers``, at most ``most`` in each, that compute the same of other sources: as many as there can be.

    The numbers of a parameter are those that read one another. Alike are those of the same operations in the same order; they are
    dealt to groups of one size, if they can be, so that all groups are one kernel. Numbers of which no others are alike are in no group.
    """
    fields = list(numbers)
    heads = {field: field for field in fields}

    def head(field: Field) -> Field:
        while heads[field] is not field:
            field = heads[field]
        return field

    for field in fields:
        for reading in reads.of(field):
            if reading.field in heads:
                heads[head(field)] = head(reading.field)
    connected: dict[Field, list[Field]] = {}
    for field in fields:
        connected.setdefault(head(field), []).append(field)
    alike: dict[tuple[tuple[str, str], ...], list[list[Field]]] = {}
    for members in connected.values():
        if len(members) <= most and all(isinstance(field, Map) for field in members):
            kind = tuple([(field.primitive.name, field.dtype.name) for field in members if isinstance(field, Map)])
            alike.setdefault(kind, []).append(members)
    groups = []
    for kind, several in alike.items():
        if len(several) > 1:
            count = _number_of_groups(len(several), min(max(most // len(kind), 1), TOGETHER))
            bounds = [k * len(several) // count for k in range(count + 1)]
            groups += [[field for members in several[a:b] for field in members] for a, b in pairwise(bounds)]
    return groups


def _number_of_groups(count: int, most: int) -> int:
    """Return into how many groups of at most ``most`` to deal ``count``: equal ones, unless these were half as large."""
    fewest = -(-count // most)
    return next((n for n in range(fewest, 2 * fewest + 1) if count % n == 0), fewest)
