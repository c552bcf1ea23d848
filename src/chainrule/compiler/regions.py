"""Cutting the fields into regions: each becomes one kernel, and only what another region needs goes through memory.

A loop region computes fields over one set of loops, its ``dims``. Those in ``inner`` are folded away: what lies before
the fold is computed for every index of all loops, what lies after it once per index of the outer ones. A product region is
a contraction with what is computed element by element of its result (bias, activation, the optimizer's update).

Fields that are cheap to compute again from what is in memory anyway belong to no region: each reader computes them
(constants, moves, random numbers, the mask of a ReLU).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    same,
    same_sizes,
)
from chainrule.compiler.value import F32, LANES
from chainrule.graph.sizes import Dim, Size

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
FAILING = frozenset(["index_within"])
DIVIDING = frozenset(["floor_divide", "trunc_divide", "remainder", "fmod"])
MOST_AGAIN = 12  # operations that are done again by each reader rather than kept
MOST_SUNK = 4  # operations on what a region has computed that are done again rather than kept
MOST_MEMBERS = 100  # of a region: no kernel grows with the length of a chain
LOOK_BACK = 6  # regions that are considered for a field that reads nothing of them
Axes = tuple[int | None, ...]


class Region:
    """Fields computed by one kernel. ``axes`` says for each member which loop each of its axes runs along."""

    __slots__ = ("axes", "dims", "folds_columns", "index", "inner", "members", "product", "special", "stored")

    def __init__(self, index: int, dims: Sequence[Dim]) -> None:
        self.index = index
        self.dims: list[Dim] = list(dims)
        self.inner: frozenset[int] = frozenset()
        self.folds_columns = False  # the last loop, which is folded, goes from row to row of what is read
        self.members: list[Field] = []
        self.axes: dict[Field, Axes] = {}
        self.product: Product | None = None
        self.special: Field | None = None
        self.stored: list[Field] = []

    def add(self, field: Field, axes: Axes) -> None:
        """Let this region compute ``field``."""
        self.members.append(field)
        self.axes[field] = axes

    @property
    def outer(self) -> list[int]:
        """The loops that are not folded."""
        return [d for d in range(len(self.dims)) if d not in self.inner]


class Reading(NamedTuple):
    """A field with memory or a region, and which axis of the reader each of its axes follows; ``moved`` if shifted."""

    field: Field
    axes: Axes
    moved: bool


class Regions:
    """All regions of a graph, in an order in which they can run; ``home`` says which region computes a field."""

    def __init__(self, outputs: Sequence[Field]) -> None:
        self.outputs = list(outputs)
        self.all: list[Region] = []
        self.home: dict[Field, Region] = {}
        self.order = in_order(outputs)
        self.buffered: set[Field] = set()  # somebody reads them as memory
        self.computed: set[Field] = set()
        self._readings: dict[Field, list[Reading]] = {}  # those known, as long as what is computed stays the same
        self.known_phases: dict[Region, dict[Field, int]] | None = None  # those known, once regions stay as they are
        self._computed()
        self._numbers: list[Region] = []  # those without loops
        self.fold_axes: dict[Field, Axes] = {}  # of a fold: the loops along which the axes of its input run
        numbers = self._numbers_of_sources()
        for field in (*numbers, *[f for f in self.order if f not in numbers]):
            if field in self.computed:
                self._assign(field)
        self._sink()
        self._find_stored()
        for region in self.all:
            region.folds_columns = self._folds_columns(region)
        self.known_phases = {}

    # -- what needs a region -------------------------------------------------------------------------------------------

    def _computed(self) -> set[Field]:
        """Return the fields that are computed by a region rather than by each reader."""
        computed = self.computed = set(self.outputs)
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
        return computed

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
            if x in self.computed and (x.shape or operations > MOST_SUNK):
                return False
        return True

    def readings(self, field: Field) -> list[Reading]:
        """Return what ``field`` reads: computed fields, and where, through all that readers compute themselves."""
        known = self._readings.get(field)
        if known is not None:
            return known
        found = self._readings[field] = []
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

    def checks(self, region: Region) -> bool:
        """Say whether a region computes something that may fail: an index out of range, an integer divided by 0."""
        return any(
            isinstance(field, Map)
            and (field.primitive.name in FAILING or (field.primitive.name in DIVIDING and field.dtype.kind in "iu"))
            for field in self._computed_in(region)
        )

    def draws(self, region: Region) -> int:
        """Return for how many vectors uniform numbers of float32 should be made at once; 0 if a region makes none.

        Several take little longer than one. Four counters give a vector; rows that begin amid a counter need one more.
        """
        last = [
            field.shape[-1]
            for field in self._computed_in(region)
            if isinstance(field, Random) and field.kind == "uniform" and field.dtype == F32 and field.shape
        ]
        in_fours = all(not isinstance(n, Size) and n % 4 == 0 for n in last)
        return 0 if not last else 4 if in_fours else 3

    def _computed_in(self, region: Region) -> Iterator[Field]:
        """Yield all that a region computes, for itself or for its members."""
        seen: set[Field] = set(region.members)
        stack = list(region.members)
        while stack:
            field = stack.pop()
            yield field
            for x in field.inputs:
                if x not in seen and x not in self.computed:
                    seen.add(x)
                    stack.append(x)

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

    def _numbers_of_sources(self) -> dict[Field, None]:
        """Return the fields without axes that depend on inputs of the graph alone: they are computed first."""
        found: dict[Field, None] = {}
        for field in self.order:
            if field.shape or field not in self.computed:
                continue
            if isinstance(field, Map):
                roots = [self.memory_root(x) for x in field.inputs]
                if all(x in found or isinstance(x, (Source, Fixed, Number, SizeOf)) for x in roots):
                    found[field] = None
            elif isinstance(field, Fold) and all(
                r.field in found or isinstance(r.field, (Source, Fixed)) for r in self.readings(field)
            ):
                found[field] = None
        return found

    # -- which region ----------------------------------------------------------------------------------------------------

    def _assign(self, field: Field) -> None:
        readings = self.readings(field)
        homes = [(r, self.home[r.field]) for r in readings if r.field in self.home]
        latest = max([home.index for _, home in homes], default=-1)
        if not isinstance(field, (Product, Scatter, Assemble, Sweep, Order)):
            first = max(latest, 0)
            candidates = self.all[first : first + 1] if latest >= 0 else []
            if field.shape:
                candidates += reversed(self.all[max(first + (latest >= 0), len(self.all) - LOOK_BACK) :])
            else:
                candidates += [region for region in self._numbers if region.index > latest]
            for region in candidates:
                inside = [r for r, home in homes if home is region]
                if not any(r.moved for r in inside) and self._join(region, field, inside, latest):
                    return
        self._begin(field)

    def _begin(self, field: Field) -> None:
        shape = field.inputs[0].shape if isinstance(field, (Fold, Place)) else field.shape
        kept = [axis for axis, n in enumerate(shape) if not is_one(n)]
        region = Region(len(self.all), [shape[axis] for axis in kept])
        axes: Axes = tuple([kept.index(axis) if axis in kept else None for axis in range(len(shape))])
        self.all.append(region)
        if not region.dims and not isinstance(field, (Product, Scatter, Assemble, Sweep, Order)):
            self._numbers.append(region)
        if isinstance(field, Product):
            region.product = field
        elif isinstance(field, (Scatter, Assemble, Sweep, Order)):
            region.special = field
        elif isinstance(field, (Fold, Place)):
            folded = _folded(field)
            region.inner = frozenset([d for axis in folded if (d := axes[axis]) is not None])
            self.fold_axes[field] = axes
            axes = tuple([d for axis, d in enumerate(axes) if axis not in folded])
        self._settle(region, field, axes)

    def _settle(self, region: Region, field: Field, axes: Axes) -> None:
        region.add(field, axes)
        self.home[field] = region

    def _join(self, region: Region, field: Field, inside: list[Reading], latest: int) -> bool:
        """Let ``region`` compute ``field`` if its loops allow it."""
        if region.special is not None or len(region.members) >= MOST_MEMBERS:
            return False
        folding = isinstance(field, (Fold, Place))
        shape = field.inputs[0].shape if folding else field.shape
        if region.product is not None:
            if folding or not inside or not isinstance(field, Map) or not fits_epilogue(region.product):
                return False
            if not same_sizes(shape, region.product.shape):
                return False
        axes = self._axes(region, shape, inside)
        if axes is None:
            return False
        used = {d for d in axes if d is not None}
        if region.product is not None:
            if axes != region.axes[region.product]:
                return False
            self._settle(region, field, axes)
            return True
        if folding:
            folded = _folded(field)
            inner = frozenset([d for axis in folded if (d := axes[axis]) is not None])
            if not inner or used != set(range(len(region.dims))) or (region.inner and region.inner != inner):
                return False
            if not region.inner:
                outer = set(range(len(region.dims))) - inner
                if any(not outer <= {d for d in known if d is not None} for known in region.axes.values()):
                    return False
                region.inner = inner
            self.fold_axes[field] = axes
            axes = tuple([d for axis, d in enumerate(axes) if axis not in folded])
        elif not fits_loops(region, used) or (not inside and used != set(range(len(region.dims)))):
            return False
        self._settle(region, field, axes)
        return True

    def _axes(self, region: Region, shape: Sequence[Dim], inside: list[Reading]) -> Axes | None:
        """Return which loop each axis of ``shape`` runs along: as in what is read of this region, else any of its size."""
        bound: dict[int, int] = {}
        for reading in inside:
            for axis, d in zip(reading.axes, region.axes[reading.field], strict=True):
                if axis is not None and d is not None and bound.setdefault(axis, d) != d:
                    return None
        if len(set(bound.values())) < len(bound):
            return None
        axes: list[int | None] = []
        for axis, n in enumerate(shape):
            if is_one(n):
                if axis in bound:
                    return None
                axes.append(None)
                continue
            d = bound.get(axis)
            if d is None:
                free = [k for k, size in enumerate(region.dims) if k not in bound.values() and same(size, n)]
                free.sort(key=lambda k: (k in region.inner, k))  # the last loop, a folded one first
                if not free:
                    return None
                d = bound[axis] = free[-1]
            elif not same(region.dims[d], n):
                return None
            axes.append(d)
        if sorted(d for d in axes if d is not None) != [d for d in axes if d is not None] and not inside:
            return None
        return tuple(axes)

    # -- what is kept ------------------------------------------------------------------------------------------------------

    def _sink(self) -> None:
        """Let readers compute again what is cheap and follows from what is in memory anyway, instead of storing it."""
        kept = set(self.outputs) | self.buffered
        again: dict[Field, int] = {}  # what is computed again, and in how many operations
        outside = self._read_outside()
        in_memory = kept | outside
        for field in self.order:
            if field not in self.home or field not in outside or field in kept or not field.shape:
                continue
            found = self._steps_from_memory(field, in_memory)
            if found is None:
                continue
            steps, leaves = found
            operations = sum([1 + sum(again.get(x, 0) for x in step.inputs) for step in steps])
            large = [leaf for leaf in leaves if len(leaf.shape) >= field.ndim]
            if leaves and operations <= MOST_SUNK and len(large) <= 2:
                again[field] = operations
                in_memory.discard(field)
                self._readings.clear()
                for step in steps:
                    self.computed.discard(step)
                    home = self.home.pop(step)
                    home.members.remove(step)
                    del home.axes[step]
        self._drop_empty()

    def _steps_from_memory(self, field: Field, in_memory: set[Field]) -> tuple[list[Field], dict[Field, None]] | None:
        """Return what its region computes for ``field`` from what is in memory, and what that is; None if it is not cheap."""
        steps: dict[Field, None] = {field: None}
        leaves: dict[Field, None] = {}
        todo = [field]
        while todo:
            step = todo.pop()
            is_cheap = step.primitive.name in CHEAP if isinstance(step, Map) else takes_rows(step)
            if not is_cheap or len(steps) > MOST_SUNK:
                return None
            for reading in self.readings(step):
                x = reading.field
                if isinstance(x, (Source, Fixed)) or x in in_memory:
                    leaves[x] = None
                elif x.shape and self.home.get(x) is self.home[field]:
                    if x not in steps:
                        steps[x] = None
                        todo.append(x)
                else:
                    return None
        return list(steps), leaves

    def _folds_columns(self, region: Region) -> bool:
        """Say whether all that a region reads lies side by side along the last loop that is not folded."""
        last = len(region.dims) - 1
        if last not in region.inner or not region.outer or region.special is not None or region.product is not None:
            return False
        found = set()
        for field in region.members:
            loops = self.fold_axes.get(field, region.axes[field])
            for reading in self.readings(field):
                if reading.field in region.axes:
                    continue
                along = [loops[axis] for axis in reading.axes if axis is not None]
                if reading.moved or (len(along) > 1 and reading.axes[-1] is None):
                    return False
                if len(along) > 1:
                    found.add(along[-1])
        return found == {region.outer[-1]}

    def _drop_empty(self) -> None:
        """Drop regions that compute nothing any more."""
        self.all = [region for region in self.all if region.members]
        for k, region in enumerate(self.all):
            region.index = k

    def _read_outside(self) -> set[Field]:
        """Return the fields that a region reads and another one computes."""
        outside: set[Field] = set()
        for region in self.all:
            for field in region.members:
                for reading in self.readings(field):
                    if self.home.get(reading.field) is not region:
                        outside.add(reading.field)
        return outside

    def _find_stored(self) -> None:
        kept = set(self.outputs) | self.buffered | self._read_outside()
        for region in self.all:
            region.stored = [field for field in region.members if field in kept]


def _folded(field: Field) -> tuple[int, ...]:
    """Return the axes that a fold combines along."""
    if isinstance(field, Fold):
        return field.axes
    return (field.axis,) if isinstance(field, Place) else ()


def aligned(x: Field, axes: Axes) -> Axes:
    """Return which of ``axes`` each axis of an operand follows when it broadcasts to them."""
    extra = len(axes) - x.ndim
    return tuple([None if is_one(n) else axes[k + extra] for k, n in enumerate(x.shape)])


def lane_of(region: Region) -> int | None:
    """Return the loop along the lanes: the last one if it is folded or none is, else the last that is not folded.

    A last loop too short for a vector is folded along the one before it, 16 rows side by side; so is one along which nothing
    lies side by side in memory, as in a sum of the columns of a matrix.
    """
    if not region.dims:
        return None
    last = len(region.dims) - 1
    if folds_short_rows(region) or region.folds_columns:
        return region.outer[-1]
    if last in region.inner or not region.inner:
        return last
    return region.outer[-1] if region.outer else max(region.inner)


def folds_short_rows(region: Region) -> bool:
    """Say whether the last loop alone is folded, and has at most as many turns as a vector has lanes."""
    last = len(region.dims) - 1
    size = region.dims[last] if region.dims else 0
    return region.inner == {last} and bool(region.outer) and not isinstance(size, Size) and 0 < size <= LANES


def fits_loops(region: Region, loops: set[int]) -> bool:
    """Say whether what runs along these loops is computed once per element: along all outer ones, and all folded or none."""
    return set(region.outer) <= loops and (region.inner <= loops or not region.inner & loops)


def runs_inside(region: Region, field: Field) -> bool:
    """Say whether a member is computed for every index of the folded loops."""
    return not isinstance(field, (Fold, Place)) and any(d in region.inner for d in region.axes[field])


def phases(regions: Regions, region: Region) -> dict[Field, int]:
    """Return how many folds, one after the other, each member of a region waits for."""
    if regions.known_phases is not None and region in regions.known_phases:
        return regions.known_phases[region]
    phase: dict[Field, int] = {}
    for field in region.members:
        at = 0
        for reading in regions.readings(field):
            if reading.field in phase:
                at = max(at, phase[reading.field] + (1 if isinstance(reading.field, (Fold, Place)) else 0))
        phase[field] = at
    if regions.known_phases is not None:
        regions.known_phases[region] = phase
    return phase


def takes_rows(field: Field) -> bool:
    """Say whether a field is whole rows of another one, each at least as long as a vector: read as fast as memory of its own."""
    last = field.shape[-1] if field.ndim > 1 else 0
    return isinstance(field, Gather) and field.axes == (0,) and (isinstance(last, Size) or last >= LANES)


def fits_epilogue(product: Product) -> bool:
    """Say whether the result of a contraction has one axis of rows and one of columns (and at most one of batch)."""
    free = [n for n in product.shape[len(product.batch[0]) :] if not is_one(n)]
    batch = [n for n in product.shape[: len(product.batch[0])] if not is_one(n)]
    a_free = product.inputs[0].ndim - len(product.batch[0]) - len(product.contracted[0])
    return len(free) == 2 and not batch and a_free == 1


def in_order(outputs: Sequence[Field]) -> list[Field]:
    """Return every field below ``outputs``, each after what it reads. Iterative: depth is no limit."""
    done: set[Field] = set()
    order: list[Field] = []
    stack: list[tuple[Field, bool]] = [(field, False) for field in reversed(outputs)]
    while stack:
        field, ready = stack.pop()
        if ready:
            order.append(field)
        elif field not in done:
            done.add(field)
            stack.append((field, True))
            stack.extend((x, False) for x in reversed(field.inputs) if x not in done)
    return order
