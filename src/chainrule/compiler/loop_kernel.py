"""From a loop region to a kernel.

    for each index of the outer loops:                      (in vectors, if the last of them runs along the lanes)
        for each phase:
            what needs no folded loop any more: computed once, stored
            for each index of the folded loops:             (in vectors, if the last of them runs along the lanes)
                what is computed for every index: stored, or added up

A value of an earlier phase that is not in memory is computed again. A fold adds up 16 lanes (or rows) in rising order, in
chunks of a fixed size, chunk after chunk, and the lanes in halves at the end: the order follows from the sizes alone.
A folded loop too short for a vector is written out turn by turn, for 16 rows at once; their values outlive the phase.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.compiler.emit import Emitter
from chainrule.compiler.evaluator import LONG, Columns, Evaluator, Index, KernelEmitter, Neighbours, index_of
from chainrule.compiler.fields import Field, Fold, Map, Place, same
from chainrule.compiler.interleave import store_columns
from chainrule.compiler.regions import Region, Regions, folds_short_rows, lane_of, phases, runs_inside
from chainrule.compiler.value import BOOL, I64, LANES, Value
from chainrule.graph.sizes import Dim, Size

CHUNK_OF_LANES = 1024  # elements of a sum along the lanes
CHUNK_OF_ROWS = 256  # of a sum along another axis


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
        self.ev = Evaluator(e, regions, self.index, self.lane)
        self.in_loop = {f for f in region.members if runs_inside(region, f)}
        self.phase = phases(regions, region)
        # For how many vectors random numbers are drawn at once: with no loop inside, which would draw others each turn.
        self.draws = regions.draws(region) if self.lane_is_inner or not self.inner else 0
        self.items: Dim = 1
        self.rows: Value | None = None  # how many lanes exist, where some may not
        self.turns: list[dict[Any, Any]] = []  # of a short loop: what each of them knows

    # -- loops ---------------------------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Write the body of the kernel."""
        e = self.e
        begin, end = Value(e, "%begin", I64), Value(e, "%end", I64)
        if any(same(self.region.dims[d], 0) for d in self.region.outer):  # nothing: the other loops may be long
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

        def body(i: Value) -> None:
            self.ev.at[d] = i
            self.ev.inside(write)
            del self.ev.at[d]

        self.e.loop(start, stop, 1, body)

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
            self.ev.at[lane] = e.index(0)
            e.mask = None if number == LANES else e.first_lanes(stop)
            self.rows = None if number == LANES else stop
            return list(write(carry) or [])
        values = list(carry)
        left: Value | None = None

        def turn(i: Value | int, mask: Value | None, now: Sequence[Value]) -> Sequence[Value]:
            self.ev.at[lane] = i if isinstance(i, Value) else e.index(i)
            e.mask = mask
            self.rows = None if mask is None else left
            result = list(self.ev.inside(lambda: write(now)) or [])
            e.mask = None
            del self.ev.at[lane]
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
        ready = frozenset(self.ev.at)
        for field in self.region.members:
            if isinstance(field, (Fold, Place)):
                for x, index in self._folded(field):
                    self._hoist_parts(x, index, ready)
            else:
                self._hoist_parts(field, self.index[field], ready)

    def _hoist_parts(self, field: Field, index: Index, ready: frozenset[int]) -> None:
        if field in self.index:  # a member: it waits for its turn
            for x, inner in self.ev.parts(field, index):
                if not self._reads_member(x):
                    self.ev.hoist(x, inner, ready)
        elif not self._reads_member(field):
            self.ev.hoist(field, index, ready)

    def _reads_member(self, x: Field) -> bool:
        if x in self.index:
            return True
        if self.ev.in_memory(x):
            return False
        return any(self._reads_member(y) for y in x.inputs)

    # -- phases ----------------------------------------------------------------------------------------------------------------

    def _body(self, _: Sequence[Value]) -> Sequence[Value]:
        members = self.region.members
        if folds_short_rows(self.region):
            (loop,) = self.inner
            width = self.region.dims[loop]
            assert not isinstance(width, Size)
            self.turns = [{} for _ in range(width)]
            self.ev.columns = Columns(loop, self.turns, self.rows)
        for phase in range(max(self.phase.values(), default=0) + 1):
            now = [f for f in members if self.phase[f] == phase]
            outside = [f for f in now if f not in self.in_loop and not isinstance(f, (Fold, Place))]
            if not self.region.dims:
                self._side_by_side(outside)
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

    def _side_by_side(self, numbers: Sequence[Field]) -> None:
        """Compute single numbers that one function gives, each from its own operands, in the lanes of a vector."""
        e, rank = self.e, dict[Field, int]()
        e.calls = True
        groups: dict[tuple[int, str, Any], list[Map]] = {}
        for field in numbers:
            before = max([rank.get(r.field, 0) for r in self.regions.readings(field)], default=0)
            rank[field] = before
            if isinstance(field, Map) and field.dtype.kind == "f" and field.primitive.name in LONG:
                rank[field] = before + 1
                groups.setdefault((before, field.primitive.name, field.dtype), []).append(field)
        for _, group in sorted(groups.items(), key=lambda item: item[0][0]):
            for start in range(0, len(group), LANES):
                part = group[start : start + LANES]
                rows = [[self.ev.value(x, i) for x, i in self.ev.parts(field, self.index[field])] for field in part]
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
                    self.ev.know(field, self.index[field], e.lane(result, k))

    def _store(self, field: Field) -> None:
        if field in self.region.stored:
            index = self.index[field]
            self.ev.store(self.ev.value(field, index), self.target_of(field), index)

    def _folded(self, field: Field) -> list[tuple[Field, Index]]:
        """Return what a fold combines, and at which index."""
        return [(field.inputs[0], index_of(self.regions.fold_axes[field]))]

    def _fold(self, folds: Sequence[Field], stored: Sequence[Field]) -> None:
        """Write the folded loops of one phase."""
        e = self.e
        lanes = LANES if self.lane is not None else 1
        start: list[Value] = []
        for f in folds:
            start.extend(self._neutral(f, lanes))

        def turn(carry: Sequence[Value]) -> list[Value]:
            result: list[Value] = []
            for field in self.region.members:  # those of this phase, and what they are computed from
                if field in stored:
                    index = self.index[field]
                    self.ev.store(self.ev.value(field, index), self.target_of(field), index)
            at = 0
            for f in folds:
                width = 1 if isinstance(f, Fold) else 2
                ((x, index),) = self._folded(f)
                value = self.ev.value(x, index)
                value = e.wide(value, lanes) if lanes > 1 else value
                result.extend(self._combine_in(f, carry[at : at + width], value, index))
                at += width
            return result

        columns = self.ev.columns
        if columns is None:
            values = self._inner_loops(self.inner, turn, start, folds)
        else:
            values = self._short_rows(columns, folds, start)
            for field in stored:
                self._store_turns(columns, field)
        at = 0
        for f in folds:
            width = 1 if isinstance(f, Fold) else 2
            found = self._finish(f, values[at : at + width])
            self.ev.know(f, self.index[f], found)
            at += width
        for f in folds:
            self._store(f)

    def _inner_loops(
        self,
        rest: Sequence[int],
        turn: Callable[[Sequence[Value]], list[Value]],
        carry: list[Value],
        folds: Sequence[Field],
    ) -> list[Value]:
        """Write the folded loops from ``rest[0]`` inwards; the innermost adds up from nothing, chunk by chunk."""
        e = self.e
        if any(same(self.region.dims[d], 0) for d in self.region.inner):
            return carry
        if not rest and not self.lane_is_inner:
            return turn(carry)
        if rest and (len(rest) > 1 or self.lane_is_inner):  # there are loops inside: each turn's result is combined
            d = rest[0]
            self._hoist()

            def body(i: Value, *now: Value) -> list[Value]:
                self.ev.at[d] = i
                found: list[Value] = self.ev.inside(lambda: self._from_nothing(rest[1:], turn, list(now), folds))
                del self.ev.at[d]
                return found

            return e.loop(0, e.size(self.region.dims[d]), 1, body, carry)
        return self._chunks(rest[0] if rest else None, turn, carry, folds)

    def _short_rows(self, columns: Columns, folds: Sequence[Field], start: Sequence[Value]) -> list[Value]:
        """Return what a short folded loop, written out, gives: sums in halves, places from the first to the last."""
        e = self.e
        terms: list[list[Value]] = [[] for _ in folds]
        places = list(start)

        def turn() -> None:
            at = 0
            for k, f in enumerate(folds):
                ((x, index),) = self._folded(f)
                value = e.wide(self.ev.value(x, index))
                if isinstance(f, Fold):
                    terms[k].append(value)
                    at += 1
                else:
                    places[at : at + 2] = self._combine_in(f, places[at : at + 2], value, index)
                    at += 2

        self._hoist()
        for columns.turn, known in enumerate(self.turns):
            self.ev.at[columns.loop] = e.index(columns.turn)
            self.ev.within(known, turn)
        del self.ev.at[columns.loop]
        at = 0
        for k, f in enumerate(folds):
            if isinstance(f, Fold):
                places[at] = in_halves(e, f, terms[k])
            at += 1 if isinstance(f, Fold) else 2
        return places

    def _store_turns(self, columns: Columns, field: Field) -> None:
        """Write what was computed turn by turn."""
        index, target = self.index[field], self.target_of(field)
        together = self.ev.in_columns(target, index)
        values = []
        for columns.turn, known in enumerate(self.turns):
            self.ev.at[columns.loop] = self.e.index(columns.turn)
            value = self.ev.within(known, lambda: self.ev.value(field, index))
            values.append(self.e.wide(value))
            if not together:
                self.ev.store(value, target, index)
        del self.ev.at[columns.loop]
        if together:
            store_columns(self.e, values, self.ev.first_column(target, index), columns.rows)

    def _from_nothing(
        self, rest: Sequence[int], turn: Callable[..., list[Value]], carry: list[Value], folds: Sequence[Field]
    ) -> list[Value]:
        fresh = [v for f in folds for v in self._neutral(f, LANES if self.lane is not None else 1)]
        return self._joined(folds, carry, self._inner_loops(rest, turn, fresh, folds))

    def _chunks(
        self, d: int | None, turn: Callable[..., list[Value]], carry: list[Value], folds: Sequence[Field]
    ) -> list[Value]:
        """Write the innermost folded loop: ``d``, or the one along the lanes."""
        e = self.e
        loop = self.lane if d is None else d
        assert loop is not None
        size = self.region.dims[loop]
        chunk = CHUNK_OF_LANES if d is None else CHUNK_OF_ROWS

        def run(start: Value | int, stop: Value, now: list[Value]) -> list[Value]:
            if d is None:
                return self._lanes(start, stop, size, turn, now)
            self._hoist()

            def body(i: Value, *values: Value) -> list[Value]:
                self.ev.at[d] = i
                found: list[Value] = self.ev.inside(lambda: turn(values))
                del self.ev.at[d]
                return found

            return e.loop(start, stop, 1, body, now)

        if not folds or (not isinstance(size, Size) and size <= chunk):
            return run(0, e.size(size), carry)
        whole = e.size(size)

        def one(start: Value, *now: Value) -> list[Value]:
            stop = start + chunk
            fresh = [v for f in folds for v in self._neutral(f, now[0].lanes)]
            found = self.ev.inside(lambda: run(start, e.select(stop < whole, stop, whole), fresh))
            return self._joined(folds, list(now), found)

        return e.loop(0, whole, chunk, one, carry)

    # -- folds -------------------------------------------------------------------------------------------------------------------

    def _neutral(self, f: Field, lanes: int) -> list[Value]:
        e = self.e
        x = f.inputs[0]
        if isinstance(f, Place):
            value = _lowest(x.dtype) if f.kind == "max" else _highest(x.dtype)
            return [e.wide(e.constant(value, x.dtype), lanes), e.wide(e.constant(-1, I64), lanes)]
        assert isinstance(f, Fold)
        return [e.wide(neutral(e, f), lanes)]

    def _combine(self, f: Fold, a: Value, b: Value) -> Value:
        return combine(self.e, f, a, b)

    def _combine_in(self, f: Field, carry: Sequence[Value], value: Value, index: Index) -> list[Value]:
        """Combine the value of one turn; lanes that are masked out count nothing."""
        e = self.e
        masked = e.mask is not None and self.lane_is_inner
        if isinstance(f, Fold):
            if masked and e.mask is not None:
                value = e.select(e.mask, value, self._neutral(f, value.lanes)[0])
            return [self._combine(f, carry[0], value)]
        assert isinstance(f, Place)
        place = self.ev.position(index[f.axis])
        place = e.wide(place, value.lanes)
        better = self._is_better(f, value, carry[0]) | (e.eq(carry[1], -1))
        if masked and e.mask is not None:
            better = better & e.mask
        return [e.select(better, value, carry[0]), e.select(better, place, carry[1])]

    def _is_better(self, f: Field, a: Value, b: Value) -> Value:
        """Return whether ``a`` beats ``b``: NaN beats all but NaN."""
        e = self.e
        assert isinstance(f, Place)
        better = a > b if f.kind == "max" else a < b
        if a.dtype.kind == "f":
            better = better | (e.is_nan(a) & ~e.is_nan(b))
        return better

    def _better(self, f: Field, a: Sequence[Value], b: Sequence[Value]) -> list[Value]:
        """Return the better of two (value, place) pairs; at a tie the smaller place; place -1 is none yet."""
        e = self.e
        none_a, none_b = e.eq(a[1], -1), e.eq(b[1], -1)
        tie = ~self._is_better(f, a[0], b[0]) & ~self._is_better(f, b[0], a[0])
        takes_b = ~none_b & (none_a | self._is_better(f, b[0], a[0]) | (tie & (b[1] < a[1])))
        return [e.select(takes_b, b[0], a[0]), e.select(takes_b, b[1], a[1])]

    def _joined(self, folds: Sequence[Field], carry: Sequence[Value], found: Sequence[Value]) -> list[Value]:
        result: list[Value] = []
        at = 0
        for f in folds:
            if isinstance(f, Fold):
                result.append(self._combine(f, carry[at], found[at]))
                at += 1
            else:
                result.extend(self._better(f, carry[at : at + 2], found[at : at + 2]))
                at += 2
        return result

    def _finish(self, f: Field, values: Sequence[Value]) -> Value:
        """Return the folded value: along the lanes, these are combined too."""
        e = self.e
        if isinstance(f, Fold):
            if not self.lane_is_inner:
                return values[0]
            return e.fold(values[0], lambda a, b: self._combine(f, a, b))
        if not self.lane_is_inner:
            return values[1]
        best, place = values
        width = best.lanes
        while width > 1:
            half = width // 2
            pick = (lambda x, at, half=half: e.shuffle(x, None, range(at, at + half))) if half > 1 else e.lane
            a = [pick(best, 0), pick(place, 0)]
            b = [pick(best, half), pick(place, half)]
            best, place = self._better(f, a, b)
            width = half
        return place


def neutral(e: Emitter, f: Fold) -> Value:
    """Return the number that a fold begins with."""
    dtype = f.inputs[0].dtype
    nothing = -0.0 if dtype.kind == "f" else 0  # -0.0 + x = x, whatever x is
    number: Any = {"add": 0, "mul": 1, "or": 0, "and": 1, "pick": nothing}.get(f.kind)
    if number is None:
        number = _lowest(dtype) if f.kind == "max" else _highest(dtype)
    return e.constant(number, dtype)


def combine(e: Emitter, f: Fold, a: Value, b: Value) -> Value:
    """Return what a fold makes of what it has and what comes next."""
    if f.kind == "max":
        return e.maximum(a, b)
    if f.kind == "min":
        return e.minimum(a, b)
    if f.kind == "or":
        return a | b
    if f.kind == "and":
        return a & b
    return a * b if f.kind == "mul" else a + b


def in_halves(e: Emitter, f: Fold, terms: Sequence[Value]) -> Value:
    """Return a few terms combined: those of the lower half of a power of two with those of the upper, and so on."""
    first, *others = terms
    if begins_with_zero(f):
        first = combine(e, f, e.wide(neutral(e, f), first.lanes), first)
    terms = [first, *others]
    half = 1 << (len(terms) - 1).bit_length() >> 1
    while half:
        terms = [combine(e, f, x, terms[k + half]) if k + half < len(terms) else x for k, x in enumerate(terms[:half])]
        half //= 2
    return terms[0]


def begins_with_zero(f: Fold) -> bool:
    """Say whether it matters that a fold begins with its neutral number: 0 + -0.0 is 0."""
    return f.kind == "add" and f.dtype.kind == "f"


def _lowest(dtype: Any) -> Any:
    if dtype.kind == "f":
        return -np.inf
    return 0 if dtype == BOOL else np.iinfo(dtype).min


def _highest(dtype: Any) -> Any:
    if dtype.kind == "f":
        return np.inf
    return 1 if dtype == BOOL else np.iinfo(dtype).max
