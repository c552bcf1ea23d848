"""Which fields are computed for themselves, by a region, and what each of them reads, through all that it computes itself.

A field that is cheap to compute from what is in memory anyway belongs to no region: each reader computes it (constants, moves,
random numbers, the mask of a ReLU).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from chainrule.compiler.fields import (
    Assemble,
    Field,
    Fixed,
    Fold,
    Gather,
    Iota,
    Map,
    Move,
    Number,
    Order,
    Place,
    Product,
    Random,
    Reshape,
    Scatter,
    SizeOf,
    Source,
    Sweep,
    is_one,
)
from chainrule.compiler.region import Axes

CHEAP = frozenset(
    [
        "add",
        "sub",
        "mul",
        "neg",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "where",
        "cast",
        "abs",
        "relu",
        "maximum",
        "minimum",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "bitwise_not",
        "stop",
        "set_value",
        "index_within",
        "isnan",
        "isfinite",
        "isinf",
        "sign",
    ]
)
MOST_AGAIN = 12  # operations that are done again by each reader rather than kept
MOST_OF_NUMBERS = 4  # operations on single numbers that are done again by each reader


class Reading(NamedTuple):
    """A field with memory or a region, and which axis of the reader each of its axes follows; ``moved`` if shifted."""

    field: Field
    axes: Axes
    moved: bool


class Readings:
    """What the fields of a graph read. ``computed``: those of regions; ``buffered``: those that somebody reads as memory."""

    def __init__(self, outputs: Sequence[Field], order: Sequence[Field]) -> None:
        self.order = order
        self.computed: set[Field] = set(outputs)
        self.buffered: set[Field] = set()
        self._known: dict[Field, list[Reading]] = {}  # as long as what is computed stays the same
        self._find_computed()

    # -- what is computed ----------------------------------------------------------------------------------------------------

    def _find_computed(self) -> None:
        """Find the fields that are computed by a region rather than by each reader."""
        computed = self.computed
        for field in self.order:
            if isinstance(field, (Fold, Place, Product, Gather, Scatter, Assemble, Sweep, Order)):
                computed.add(field)
            if isinstance(field, (Product, Gather)):
                for x in field.inputs[: 2 if isinstance(field, Product) else 1]:
                    self._need_memory(self.memory_root(x))
            elif isinstance(field, Reshape) and isinstance(field.inputs[0], Move):
                self._need_memory(field.inputs[0])
            elif isinstance(field, Reshape):
                self._need_memory(self.memory_root(field.inputs[0]))
        cost: dict[Field, int] = {}  # of those computed by readers
        for field in self.order:
            if isinstance(field, Map) and field not in computed:
                total = sum(cost.get(x, 0) for x in field.inputs) + (1 if field.primitive.name in CHEAP else 8)
                if not field.shape or total > MOST_AGAIN or not self._is_at_hand(field, total):
                    computed.add(field)
                else:
                    cost[field] = total
            elif isinstance(field, (Move, Reshape)):
                cost[field] = cost.get(field.inputs[0], 0)

    def _need_memory(self, x: Field) -> None:
        self.buffered.add(x)
        if not isinstance(x, (Source, Fixed)):
            self.computed.add(x)

    def memory_root(self, x: Field) -> Field:
        """Return the field whose memory a view of it shows."""
        while isinstance(x, (Move, Reshape)) and x not in self.computed:
            if isinstance(x.inputs[0], (Number, SizeOf)):
                break
            x = x.inputs[0]
        return x

    def _is_at_hand(self, field: Field, operations: int) -> bool:
        """Say whether all that ``field`` reads is there before any loop: given, or single numbers if it is little work."""
        for x in field.inputs:
            while isinstance(x, (Move, Reshape)) and x not in self.computed:
                x = x.inputs[0]
            if x in self.computed and (x.shape or operations > MOST_OF_NUMBERS):
                return False
        return True

    # -- what is read --------------------------------------------------------------------------------------------------------

    def of(self, field: Field) -> list[Reading]:
        """Return what ``field`` reads: computed fields, and where, through all that readers compute themselves."""
        known = self._known.get(field)
        if known is not None:
            return known
        found = self._known[field] = []
        axes: Axes = tuple(range(field.ndim))
        if isinstance(field, (Fold, Place)):
            axes = tuple(range(field.inputs[0].ndim))
            self._read(field.inputs[0], axes, False, found)
        elif isinstance(field, Map):
            for x in field.inputs:
                self._read(x, aligned(x, axes), False, found)
        elif isinstance(field, Gather):
            self._read_gathered(field, axes, found)
        elif isinstance(field, (Move, Reshape, Random, Iota, Number, SizeOf)):  # forced into memory
            self._into(field, axes, False, found)
        else:
            for x in field.inputs:
                self._read(x, (None,) * x.ndim, True, found)
        return found

    def within(self, members: Sequence[Field]) -> Iterator[Field]:
        """Yield members of a region, and all that it computes for them."""
        seen: set[Field] = set(members)
        stack = list(members)
        while stack:
            field = stack.pop()
            yield field
            for x in field.inputs:
                if x not in seen and x not in self.computed:
                    seen.add(x)
                    stack.append(x)

    def leave_to_readers(self, fields: Iterable[Field]) -> None:
        """Let no region compute these fields any more, but whoever reads them."""
        self.computed.difference_update(fields)
        self._known.clear()

    def _read(self, x: Field, axes: Axes, moved: bool, found: list[Reading]) -> None:
        if isinstance(x, (Source, Fixed)) or x in self.computed:
            found.append(Reading(x, axes, moved))
        else:
            self._into(x, axes, moved, found)

    def _into(self, x: Field, axes: Axes, moved: bool, found: list[Reading]) -> None:
        if isinstance(x, Map):
            for part in x.inputs:
                self._read(part, aligned(part, axes), moved, found)
        elif isinstance(x, Move):
            inner = tuple([None if place.axis is None else axes[place.axis] for place in x.places])
            self._read(x.inputs[0], inner, moved or not x.renames, found)
        elif isinstance(x, Reshape):
            self._read(x.inputs[0], (None,) * x.inputs[0].ndim, True, found)
        elif isinstance(x, Random):
            for part in x.inputs:
                self._read(part, (), moved, found)
        elif isinstance(x, Gather):
            self._read_gathered(x, axes, found)

    def _read_gathered(self, x: Gather, axes: Axes, found: list[Reading]) -> None:
        self._read(x.inputs[0], (None,) * x.inputs[0].ndim, True, found)
        width = max(i.ndim for i in x.inputs[1:])
        for i in x.inputs[1:]:
            self._read(i, aligned(i, axes[x.place : x.place + width]), False, found)


def aligned(x: Field, axes: Axes) -> Axes:
    """Return which of ``axes`` each axis of an operand follows when it broadcasts to them."""
    extra = len(axes) - x.ndim
    return tuple([None if is_one(n) else axes[k + extra] for k, n in enumerate(x.shape)])
