"""From a loop region to a kernel.

    for each index of the outer loops:                      (in vectors, if the last of them runs along the lanes)
        for each phase:
            what needs no folded loop any more: computed once, stored
            for each index of the folded loops:             (in vectors, if the last of them runs along the lanes)
                what is computed for every index: stored, or added up

A value of an earlier phase that is not in memory is computed again. A fold adds up 16 lanes (or rows), in chunks of a fixed
size (``folds.py``). A folded loop too short for a vector is written out turn by turn (``columns.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from chainrule.compiler import folds as folding
from chainrule.compiler.columns import Columns
from chainrule.compiler.evaluator import Evaluator
from chainrule.compiler.fields import Field, Fold, Place
from chainrule.compiler.folds import CHUNK_OF_LANES, CHUNK_OF_ROWS
from chainrule.compiler.index import Index, index_of
from chainrule.compiler.kernel_emitter import KernelEmitter
from chainrule.compiler.neighbours import Neighbours, most_drawn
from chainrule.compiler.region import Region, folds_short_rows, lane_of, runs_inside
from chainrule.compiler.regions import Regions
from chainrule.compiler.side_by_side import compute_side_by_side
from chainrule.compiler.value import I64, LANES, Value
from chainrule.graph.sizes import Dim, Size, surely_same


class LoopKernel:
    """Writes the kernel of one loop region; ``items`` is how much work there is, in units that may be shared out."""

    def __init__(self, e: KernelEmitter, regions: Regions, region: Region, target_of: Callable[[Field], Field]) -> None:
        self.e = e
        self.region = region
        self.regions = regions
        self.target_of = target_of
        outer, inner = region.outer, sorted(region.inner)
        self.lane = lane_of(region)
        self.outer = [d for d in outer if d != self.lane]
        self.inner = [d for d in inner if d != self.lane]
        self.lane_is_inner = self.lane in region.inner
        self.index: dict[Field, Index] = {f: index_of(region.axes[f]) for f in region.members}
        self.ev = Evaluator(e, regions.reads, self.index, self.lane)
        self.in_loop = {f for f in region.members if runs_inside(region, f)}
        self.phase = regions.phases(region)
        # For how many vectors random numbers are drawn at once: with no loop inside, which would draw others each turn.
        self.draws = most_drawn(regions.reads, region) if self.lane_is_inner or not self.inner else 0
        self.items: Dim = 1
        self.rows: Value | None = None  # how many lanes exist, where some may not

    # -- loops ---------------------------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Write the body of the kernel."""
        e = self.e
        begin, end = Value(e, "%begin", I64), Value(e, "%end", I64)
        if any(surely_same(self.region.dims[d], 0) for d in self.region.outer):  # nothing: the other loops may be long
            self.items = 0
        elif self.outer:
            first = self.outer[0]
            self.items = self.region.dims[first]
            self._loop(first, begin, end, lambda: self._outer_loops(self.outer[1:]))
        elif self.lane is not None and not self.lane_is_inner:
            size = self.region.dims[self.lane]
            self.items = (size + (LANES - 1)) // LANES
            stop = end * LANES
            whole = e.size(size)
            self._lanes(begin * LANES, e.select(stop < whole, stop, whole), size, self._body)
        else:
            self._body([])

    def _loop(self, d: int, start: Value | int, stop: Value | int, write: Callable[[], Any]) -> None:
        self._hoist()
        self.e.loop(start, stop, 1, lambda i: self.ev.turn(d, i, write))

    def _outer_loops(self, rest: Sequence[int]) -> None:
        if rest:
            self._loop(rest[0], 0, self.e.size(self.region.dims[rest[0]]), lambda: self._outer_loops(rest[1:]))
        elif self.lane is not None and not self.lane_is_inner:
            size = self.region.dims[self.lane]
            self._lanes(0, self.e.size(size), size, self._body)
        else:
            self._body([])

    def _lanes(
        self,
        start: Value | int,
        stop: Value,
        size: Dim,
        write: Callable[[Sequence[Value]], Sequence[Value]],
        carry: Sequence[Value] = (),
    ) -> list[Value]:
        """Write the loop along the lanes: whole vectors, then what is left over, with a mask."""
        e, lane = self.e, self.lane
        assert lane is not None
        number = size if not isinstance(size, Size) else None
        self._hoist()
        if number is not None and number <= LANES and isinstance(start, int):  # one vector: values outlive the phase
            self.ev.open.at[lane] = e.index(0)
            e.mask = None if number == LANES else e.first_lanes(stop)
            self.rows = None if number == LANES else stop
            return list(write(carry) or [])
        values = list(carry)
        left: Value | None = None

        def turn(i: Value | int, mask: Value | None, now: Sequence[Value]) -> Sequence[Value]:
            e.mask = mask
            self.rows = None if mask is None else left
            i = i if isinstance(i, Value) else e.index(i)
            result = list(self.ev.turn(lane, i, lambda: write(now)) or [])
            e.mask = None
            return result

        if folds_short_rows(self.region):  # long as it is written out, it stands once: with a mask for all turns
            assert not values  # of the outer loops nothing is carried

            def rows(i: Value) -> None:
                nonlocal left
                left = stop - i
                turn(i, e.lane_numbers() < e.wide(left), ())

            e.loop(start, stop, LANES, rows)
            return values
        if number is None or number >= LANES:
            first = e.index(start) if isinstance(start, int) else start
            whole = first + e.bits("and", stop - first, -LANES)
            count = self.draws
            if count and (number is None or number >= count * LANES):

                def together(start: Value, *now: Value) -> Sequence[Value]:
                    self.ev.neighbours = neighbours = Neighbours(count)
                    for neighbours.number in range(count):
                        now = tuple(turn(start + LANES * neighbours.number, None, now))
                    self.ev.neighbours = None
                    return now

                groups = first + e.arithmetic("div", whole - first, count * LANES) * (count * LANES)
                values = e.loop(first, groups, count * LANES, together, values)
                first = groups
            values = e.loop(first, whole, LANES, lambda i, *now: turn(i, None, now), values)
        else:
            whole = e.index(start) if isinstance(start, int) else start
        if number is None or number % LANES:
            left = stop - whole
            values = e.either(left > 0, lambda: list(turn(whole, e.lane_numbers() < e.wide(left), values)), values)
        return values

    def _hoist(self) -> None:
        """Compute what depends only on the loops that are open."""
        ready = frozenset(self.ev.open.at)
        for field in self.region.members:
            if isinstance(field, (Fold, Place)):
                self._hoist_parts(*self._folded(field), ready)
            else:
                self._hoist_parts(field, self.index[field], ready)

    def _hoist_parts(self, field: Field, index: Index, ready: frozenset[int]) -> None:
        if field in self.index:  # a member: it waits for its turn
            for x, inner in self.ev.parts(field, index):
                if not self.ev.reads_member(x):
                    self.ev.hoist(x, inner, ready)
        elif not self.ev.reads_member(field):
            self.ev.hoist(field, index, ready)

    # -- phases ----------------------------------------------------------------------------------------------------------------

    def _body(self, _: Sequence[Value]) -> Sequence[Value]:
        members = self.region.members
        if folds_short_rows(self.region):
            (loop,) = self.inner
            width = self.region.dims[loop]
            assert not isinstance(width, Size)
            self.ev.columns = Columns(self.ev, loop, width, self.rows)
        for phase in range(max(self.phase.values(), default=0) + 1):
            now = [f for f in members if self.phase[f] == phase]
            outside = [f for f in now if f not in self.in_loop and not isinstance(f, (Fold, Place))]
            if not self.region.dims:
                compute_side_by_side(self.ev, self.regions.reads, outside, self.index)
            for field in outside:
                value = self.ev.value(field, self.index[field])
                self.ev.know(field, self.index[field], value)
            for field in outside:
                self._store(field)
            folds = [f for f in now if isinstance(f, (Fold, Place))]
            stored = [f for f in now if f in self.in_loop and f in self.region.stored]
            if folds or stored:
                self._fold(folds, stored)
        return []

    def _store(self, field: Field) -> None:
        if field in self.region.stored:
            index = self.index[field]
            self.ev.memory.store(self.ev.value(field, index), self.target_of(field), index)

    # -- folds ---------------------------------------------------------------------------------------------------------------

    def _folded(self, field: Field) -> tuple[Field, Index]:
        """Return what a fold combines, and at which index."""
        return field.inputs[0], index_of(self.regions.fold_axes[field])

    def _fold(self, folds: Sequence[Field], stored: Sequence[Field]) -> None:
        """Write the folded loops of one phase."""
        e = self.e
        lanes = LANES if self.lane is not None else 1
        start = folding.nothing(e, folds, lanes)

        def turn(carry: Sequence[Value]) -> list[Value]:
            result: list[Value] = []
            for field in self.region.members:  # those of this phase, and what they are computed from
                if field in stored:
                    self._store(field)
            for f, own in folding.shares(folds):
                x, index = self._folded(f)
                value = self.ev.value(x, index)
                value = e.wide(value, lanes) if lanes > 1 else value
                result.extend(self._combine_in(f, carry[own], value, index))
            return result

        columns = self.ev.columns
        if columns is None:
            values = self._inner_loops(self.inner, turn, start, folds)
        else:
            values = self._short_rows(columns, folds, start)
            for field in stored:
                columns.store(field, self.target_of(field), self.index[field])
        for f, own in folding.shares(folds):
            self.ev.know(f, self.index[f], self._finish(f, values[own]))
        for f in folds:
            self._store(f)

    def _combine_in(self, f: Field, carry: Sequence[Value], value: Value, index: Index) -> list[Value]:
        """Combine the value of one turn; lanes that are masked out count nothing."""
        mask = self.e.mask if self.lane_is_inner else None
        if isinstance(f, Fold):
            return [folding.with_value(self.e, f, carry[0], value, mask)]
        assert isinstance(f, Place)
        return folding.with_place(self.e, f, carry, value, self.ev.open.position(index[f.axis]), mask)

    def _finish(self, f: Field, values: Sequence[Value]) -> Value:
        """Return the folded value: along the lanes, these are combined too."""
        return folding.across_lanes(self.e, f, values) if self.lane_is_inner else values[-1]

    def _short_rows(self, columns: Columns, folds: Sequence[Field], start: Sequence[Value]) -> list[Value]:
        """Return what a short folded loop, written out, gives: sums in halves, places from the first to the last."""
        e = self.e
        terms: dict[Field, list[Value]] = {f: [] for f in folds}
        carry = list(start)

        def turn() -> None:
            for f, own in folding.shares(folds):
                x, index = self._folded(f)
                value = e.wide(self.ev.value(x, index))
                if isinstance(f, Fold):
                    terms[f].append(value)
                else:
                    carry[own] = self._combine_in(f, carry[own], value, index)

        self._hoist()
        columns.each(turn)
        for f, own in folding.shares(folds):
            if isinstance(f, Fold):
                carry[own] = [folding.in_halves(e, f, terms[f])]
        return carry

    def _inner_loops(
        self,
        rest: Sequence[int],
        turn: Callable[[Sequence[Value]], list[Value]],
        carry: list[Value],
        folds: Sequence[Field],
    ) -> list[Value]:
        """Write the folded loops from ``rest[0]`` inwards; each adds up what those inside give, from nothing, chunk by chunk."""
        if any(surely_same(self.region.dims[d], 0) for d in self.region.inner):
            return carry
        if not rest and not self.lane_is_inner:
            return turn(carry)
        if rest and (len(rest) > 1 or self.lane_is_inner):  # there are loops inside: each turn's result is combined

            def inside(now: Sequence[Value]) -> list[Value]:
                return self._from_nothing(rest[1:], turn, list(now), folds)

            return self._chunks(rest[0], inside, carry, folds, is_innermost=False)
        return self._chunks(rest[0] if rest else None, turn, carry, folds)

    def _rows(
        self,
        d: int,
        start: Value | int,
        stop: Value,
        turn: Callable[[Sequence[Value]], list[Value]],
        now: list[Value],
        together: int,
    ) -> list[Value]:
        """Write the loop along ``d``; turns that do no more than add up stand ``together``, then each chain has its place."""
        e = self.e
        self._hoist()

        def turns(count: int) -> Callable[..., list[Value]]:
            def body(i: Value, *values: Value) -> list[Value]:
                carry: Any = values
                for k in range(count):
                    carry = self.ev.turn(d, i + k if k else i, partial(turn, carry))
                return list(carry)

            return body

        if together > 1 and not self.in_loop:
            first = e.index(start) if isinstance(start, int) else start
            whole = first + e.bits("and", stop - first, -together)
            now = e.loop(first, whole, together, turns(together), now)
            start = whole
        return e.loop(start, stop, 1, turns(1), now)

    def _from_nothing(
        self, rest: Sequence[int], turn: Callable[..., list[Value]], carry: list[Value], folds: Sequence[Field]
    ) -> list[Value]:
        fresh = folding.nothing(self.e, folds, LANES if self.lane is not None else 1)
        return folding.joined(self.e, folds, carry, self._inner_loops(rest, turn, fresh, folds))

    def _chunks(
        self,
        d: int | None,
        turn: Callable[..., list[Value]],
        carry: list[Value],
        folds: Sequence[Field],
        *,
        is_innermost: bool = True,
    ) -> list[Value]:
        """Write a folded loop: ``d``, or the one along the lanes."""
        e = self.e
        loop = self.lane if d is None else d
        assert loop is not None
        size = self.region.dims[loop]
        chunk = CHUNK_OF_LANES if d is None else CHUNK_OF_ROWS
        chains = folding.Chains(e, folds, size, along_lanes=d is None)
        together = folding.CHAINS if chains.several and is_innermost else 1

        def one_chain(now: Sequence[Value]) -> list[Value]:
            return chains.turn(turn, now)

        def run(start: Value | int, stop: Value, now: list[Value]) -> list[Value]:
            now = chains.begin(now)
            if d is None:
                return chains.end(self._lanes(start, stop, size, one_chain, now))
            return chains.end(self._rows(d, start, stop, one_chain, now, together))

        if not any(map(folding.is_sum, folds)) or (not isinstance(size, Size) and size <= chunk):
            return run(0, e.size(size), carry)
        whole = e.size(size)
        count = (size + (chunk - 1)) // chunk
        most = folding.CHAINS_OF_CHUNKS if len(folds) <= folding.FEW_FOLDS else 1
        of_chunks = folding.Chains(e, folds, count, along_lanes=False, most=most)

        def one(start: Value, *now: Value) -> list[Value]:
            stop = start + chunk
            fresh = folding.nothing(e, folds, carry[0].lanes)
            found = self.ev.scopes.inside(lambda: run(start, e.select(stop < whole, stop, whole), fresh))
            return of_chunks.turn(lambda before: folding.joined(e, folds, before, found), now)

        return of_chunks.end(e.loop(0, whole, chunk, one, of_chunks.begin(carry)))
