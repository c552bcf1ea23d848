"""Cutting the fields into regions: each becomes one kernel, and only what another region needs goes through memory.

A loop region computes fields over one set of loops, its ``dims``. Those in ``inner`` are folded away: what lies before
the fold is computed for every index of all loops, what lies after it once per index of the outer ones. A product region is
a contraction with what is computed element by element of its result (bias, activation, the optimizer's update).

Which fields are computed by a region at all, and what they read: ``readings.py``. What is computed again by readers: ``sink.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.compiler.fields import (
    Assemble,
    Field,
    Fixed,
    Fold,
    Map,
    Number,
    Order,
    Place,
    Product,
    Scatter,
    SizeOf,
    Source,
    Sweep,
    in_order,
    is_one,
)
from chainrule.compiler.readings import Reading, Readings
from chainrule.compiler.region import Axes, Region, folded_axes
from chainrule.compiler.schedules import schedules
from chainrule.compiler.sink import sink
from chainrule.graph.sizes import Dim, surely_same, surely_same_shape

FAILING = frozenset(["index_within"])
DIVIDING = frozenset(["floor_divide", "trunc_divide", "remainder", "fmod"])
MOST_MEMBERS = 100  # of a region: no kernel grows with the length of a chain
LOOK_BACK = 6  # regions that are considered for a field that reads nothing of them


class Regions:
    """All regions of a graph, in an order in which they can run; ``home`` says which region computes a field."""

    def __init__(self, outputs: Sequence[Field]) -> None:
        self.outputs = list(outputs)
        self.all: list[Region] = []
        self.home: dict[Field, Region] = {}
        self.order = in_order(outputs)
        self.reads = Readings(outputs, self.order)
        self.fold_axes: dict[Field, Axes] = {}  # of a fold: the loops along which the axes of its input run
        self._numbers: list[Region] = []  # those without loops
        numbers = self._numbers_of_sources()
        if len(numbers) > MOST_MEMBERS:
            for group in schedules(numbers, self.reads, MOST_MEMBERS):
                self._begin(group[0])
                for field in group[1:]:
                    self._settle(self.all[-1], field, ())
            self._numbers.clear()  # no other joins them: they stay alike
        for field in (*numbers, *[f for f in self.order if f not in numbers]):
            if field in self.reads.computed and field not in self.home:
                self._assign(field)
        sink(self)
        self._find_stored()
        for region in self.all:
            region.folds_columns = self._folds_columns(region)
        self._phases: dict[Region, dict[Field, int]] = {}  # those known: from here on regions stay as they are

    # -- what a region does ----------------------------------------------------------------------------------------------------

    def checks(self, region: Region) -> bool:
        """Say whether a region computes something that may fail: an index out of range, an integer divided by 0."""
        return any(
            isinstance(field, Map)
            and (field.primitive.name in FAILING or (field.primitive.name in DIVIDING and field.dtype.kind in "iu"))
            for field in self.reads.within(region.members)
        )

    def phases(self, region: Region) -> dict[Field, int]:
        """Return how many folds, one after the other, each member of a region waits for."""
        phase = self._phases.get(region)
        if phase is None:
            phase = self._phases[region] = {}
            for field in region.members:
                at = 0
                for reading in self.reads.of(field):
                    if reading.field in phase:
                        at = max(at, phase[reading.field] + (1 if isinstance(reading.field, (Fold, Place)) else 0))
                phase[field] = at
        return phase

    # -- which region ----------------------------------------------------------------------------------------------------------

    def _numbers_of_sources(self) -> dict[Field, None]:
        """Return the fields without axes that depend on inputs of the graph alone: they are computed first."""
        found: dict[Field, None] = {}
        for field in self.order:
            if field.shape or field not in self.reads.computed:
                continue
            if isinstance(field, Map):
                roots = [self.reads.memory_root(x) for x in field.inputs]
                if all(x in found or isinstance(x, (Source, Fixed, Number, SizeOf)) for x in roots):
                    found[field] = None
            elif isinstance(field, Fold) and all(
                r.field in found or isinstance(r.field, (Source, Fixed)) for r in self.reads.of(field)
            ):
                found[field] = None
        return found

    def _assign(self, field: Field) -> None:
        readings = self.reads.of(field)
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
            folded = folded_axes(field)
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
            if not surely_same_shape(shape, region.product.shape):
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
            folded = folded_axes(field)
            inner = frozenset([d for axis in folded if (d := axes[axis]) is not None])
            if not inner or used != set(range(len(region.dims))) or (region.inner and region.inner != inner):
                return False
            if region.inner and not inside and not self._reads_in_common(region, field):
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

    def _reads_in_common(self, region: Region, field: Field) -> bool:
        """Say whether ``field`` reads a field with axes that ``region`` reads too."""
        wanted = {r.field for r in self.reads.of(field) if r.field.shape}
        return any(r.field in wanted for member in region.members for r in self.reads.of(member))

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
                free = [k for k, size in enumerate(region.dims) if k not in bound.values() and surely_same(size, n)]
                free.sort(key=lambda k: (k in region.inner, k))  # the last loop, a folded one first
                if not free:
                    return None
                d = bound[axis] = free[-1]
            elif not surely_same(region.dims[d], n):
                return None
            axes.append(d)
        if sorted(d for d in axes if d is not None) != [d for d in axes if d is not None] and not inside:
            return None
        return tuple(axes)

    # -- what is kept ------------------------------------------------------------------------------------------------------

    def leave_to_readers(self, fields: Sequence[Field]) -> None:
        """Let no region compute these fields any more, but whoever reads them."""
        self.reads.leave_to_readers(fields)
        for field in fields:
            home = self.home.pop(field)
            home.members.remove(field)
            del home.axes[field]

    def drop_empty(self) -> None:
        """Drop regions that compute nothing any more."""
        self.all = [region for region in self.all if region.members]
        for k, region in enumerate(self.all):
            region.index = k

    def read_outside(self) -> set[Field]:
        """Return the fields that a region reads and another one computes."""
        outside: set[Field] = set()
        for region in self.all:
            for field in region.members:
                for reading in self.reads.of(field):
                    if self.home.get(reading.field) is not region:
                        outside.add(reading.field)
        return outside

    def _find_stored(self) -> None:
        kept = set(self.outputs) | self.reads.buffered | self.read_outside()
        for region in self.all:
            region.stored = [field for field in region.members if field in kept]

    def _folds_columns(self, region: Region) -> bool:
        """Say whether all that a region reads lies side by side along the last loop that is not folded."""
        last = len(region.dims) - 1
        if last not in region.inner or not region.outer or region.special is not None or region.product is not None:
            return False
        found = set()
        for field in region.members:
            loops = self.fold_axes.get(field, region.axes[field])
            for reading in self.reads.of(field):
                if reading.field in region.axes:
                    continue
                along = [loops[axis] for axis in reading.axes if axis is not None]
                if reading.moved or (len(along) > 1 and reading.axes[-1] is None):
                    return False
                if len(along) > 1:
                    found.add(along[-1])
        return found == {region.outer[-1]}


def fits_loops(region: Region, loops: set[int]) -> bool:
    """Say whether what runs along these loops is computed once per element: along all outer ones, and all folded or none."""
    return set(region.outer) <= loops and (region.inner <= loops or not region.inner & loops)


def fits_epilogue(product: Product) -> bool:
    """Say whether the result of a contraction has one axis of rows and one of columns (and at most one of batch)."""
    free = [n for n in product.shape[len(product.batch[0]) :] if not is_one(n)]
    batch = [n for n in product.shape[: len(product.batch[0])] if not is_one(n)]
    a_free = product.inputs[0].ndim - len(product.batch[0]) - len(product.contracted[0])
    return len(free) == 2 and not batch and a_free == 1
