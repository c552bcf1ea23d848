"""Where every value lives, and the list of records that a run goes through.

A record is one call of a kernel: its name, how much work it has, and the entries of its ``args``. Addresses are a slot of
the frame and an offset: slot 0 is the word that a failed check sets, slot 1 the arena, then the inputs, the constants and
the outputs that are given to the caller. Values that live in the arena share its memory when their lives do not overlap.
Sizes may be symbols: offsets and entries are worked out for numbers once the batch size is known.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from chainrule.compiler.fields import Field, Fixed, Fold, Place, Source
from chainrule.compiler.interface import FIRST_INPUT, Items
from chainrule.compiler.region import Region, runs_inside
from chainrule.compiler.regions import Regions
from chainrule.graph.sizes import Dim, surely_same_shape


class Entry(NamedTuple):
    """One entry of args: the slot of a field's memory, its offset in bytes (plus ``size`` elements), or a size."""

    kind: str
    field: Field | None = None
    size: Dim = 0


class Work(NamedTuple):
    """What a record does, for those who measure it, where its region does not say it.

    ``part``      which part of its region ("" for all of it)
    ``flops``     how many operations on numbers; None: those of the region's members
    ``elements``  the elements that it goes through; None: all indices of the region's loops. No buffer is counted for more
    ``touched``   how many elements of single buffers it reads or writes, where that is another number
    """

    part: str = ""
    flops: Dim | None = None
    elements: Dim | None = None
    touched: tuple[tuple[Field, Dim], ...] = ()


WHOLE = Work()


class Record(NamedTuple):
    """One call of a kernel."""

    kernel: str
    entries: tuple[Entry, ...]
    items: Items
    region: int
    work: Work = WHOLE


class Targets:
    """Which memory a stored field has: that of an input it replaces, that of an output, or the arena."""

    def __init__(self, regions: Regions, sources: Sequence[Source], in_place: Mapping[int, int]) -> None:
        self.regions = regions
        self.sources = list(sources)
        self.fixed = [field for field in regions.order if isinstance(field, Fixed)]
        self.slot: dict[Field, int] = {}
        self.over: dict[Field, Source] = {}  # fields that are written over an input
        for k, source in enumerate(sources):
            self.slot[source] = FIRST_INPUT + k
        at = FIRST_INPUT + len(sources)
        for fixed in self.fixed:
            self.slot[fixed] = at
            at += 1
        self.order = self._order(in_place)
        self.copied: list[tuple[Field, Source]] = []  # what replaces an input only when everything else is done
        for k, field in enumerate(regions.outputs):
            over = self.over.get(field)
            if over is not None:
                self.slot[field] = self.slot[over]
            elif k in in_place:
                self.copied.append((field, self.sources[in_place[k]]))
            else:
                self.slot[field] = at
                at += 1
        self.num_slots = at
        self._find_lives()

    # -- writing over inputs -----------------------------------------------------------------------------------------------

    def _order(self, in_place: Mapping[int, int]) -> list[Region]:
        """Return the regions in an order in which no input is written over before it is read for the last time.

        Nor before the last check: one that fails stops the run, and nothing has changed.
        """
        regions = self.regions
        reads: list[set[Field]] = [set() for _ in regions.all]
        after: list[set[int]] = [set() for _ in regions.all]
        for region in regions.all:
            for field in region.members:
                for reading in regions.reads.of(field):
                    home = regions.home.get(reading.field)
                    if home is None:
                        reads[region.index].add(reading.field)
                    elif home is not region:
                        after[region.index].add(home.index)
        checks = {
            region.index for region in regions.all if regions.checks(region)
        }  # what fails must fail before a write
        readers: dict[Field, set[int]] = {}
        for k, read in enumerate(reads):
            for field in read:
                readers.setdefault(field, set()).add(k)
        writes: list[tuple[int, Field, Source]] = []
        for output, target in in_place.items():
            field, source = regions.outputs[output], self.sources[target]
            writer = regions.home.get(field)
            if writer is not None and writer.index not in checks and self._may_write(writer, field, source):
                writes.append((writer.index, field, source))

        def trial(chosen: Sequence[tuple[int, Field, Source]]) -> list[set[int]]:
            """Return which regions come before which, when these outputs are written over these inputs."""
            before = [set(x) for x in after]
            for writer, _, source in chosen:
                before[writer] |= (readers.get(source, set()) | checks) - {writer}
            return before

        found = _sorted(trial(writes), early=[k for k, _, _ in writes])
        if found is None:  # some writes wait for each other: those that do are left out, the later ones first
            kept: list[tuple[int, Field, Source]] = []
            for write in writes:
                if _sorted(trial([*kept, write])) is not None:
                    kept.append(write)
            writes = kept
            found = _sorted(trial(writes), early=[k for k, _, _ in writes])
        assert found is not None
        self.over.update({field: source for _, field, source in writes})
        return [regions.all[k] for k in found]

    def _may_write(self, region: Region, field: Field, source: Source) -> bool:
        """Say whether a region may write ``field`` over ``source``: it reads it nowhere but at the same place, before."""
        if (
            field.dtype != source.dtype
            or region.special is not None
            or not surely_same_shape(field.shape, source.shape)
        ):
            return False
        own = region.axes[field]
        if any(d in region.inner for d in own):  # a later phase may read again
            return False
        phase = self.regions.phases(region)
        last = max(phase.values())

        def time(member: Field, inside: int) -> float:
            """Return when a member is computed: before the folded loops of its phase, or in those of phase ``inside``."""
            if isinstance(member, (Fold, Place)):
                return phase[member]
            return inside if runs_inside(region, member) else phase[member] - 0.5

        written = time(field, last)
        for member in region.members:
            loops = self.regions.fold_axes.get(member, region.axes[member])
            for reading in self.regions.reads.of(member):
                if reading.field is source:
                    axes = tuple([None if k is None else loops[k] for k in reading.axes])
                    if reading.moved or axes != own or time(member, last) > written:
                        return False
        return True

    # -- lives ---------------------------------------------------------------------------------------------------------------

    def _find_lives(self) -> None:
        self.lives: dict[Field, tuple[int, int]] = {}
        place = {region: k for k, region in enumerate(self.order)}
        for region in self.order:
            for field in region.stored:
                if field not in self.slot:
                    self.lives[field] = (place[region], place[region])
        for region in self.order:
            for member in region.members:
                for reading in self.regions.reads.of(member):
                    if reading.field in self.lives:
                        first, last = self.lives[reading.field]
                        self.lives[reading.field] = (first, max(last, place[region]))

        for field, _ in self.copied:
            self.lives[field] = (self.lives[field][0], len(self.order))


def _sorted(after: Sequence[set[int]], early: Iterable[int] = ()) -> list[int] | None:
    """Return an order in which each comes after those it names; None if there is none.

    Where it is free it is the given one, but for those of ``early``: they come as soon as they can.
    """
    left = [len(x) for x in after]
    followers: list[list[int]] = [[] for _ in after]
    for k, before in enumerate(after):
        for j in before:
            followers[j].append(k)
    first = set(early)
    ready = [(k not in first, k) for k, n in enumerate(left) if n == 0]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        _, k = heapq.heappop(ready)
        order.append(k)
        for j in followers[k]:
            left[j] -= 1
            if left[j] == 0:
                heapq.heappush(ready, (j not in first, j))
    return order if len(order) == len(after) else None
