"""The value of every field of a small graph, whole, in registers.

    elementwise    vector by vector, whatever the shape
    moves          a shuffle of what they show, and of what broadcasting repeats
    folds          the lanes or rows that the loops of the general kernels would add up, in their order
    products       Σ by fused multiply-add in rising order

The bits are those of the general kernels: the order of a sum follows from the loops of the field's region alone, and what is
computed element by element does not depend on where its elements stand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from chainrule.compiler import vector_random
from chainrule.compiler.cells import Cell, Cells, blocks, cell, gather, pick, spread, width_of
from chainrule.compiler.dot import pays
from chainrule.compiler.fields import (
    Field,
    Fixed,
    Fold,
    Iota,
    Map,
    Move,
    Number,
    Product,
    Random,
    Reshape,
    SizeOf,
    Source,
)
from chainrule.compiler.folds import CHUNK_OF_LANES, CHUNK_OF_ROWS, combine, in_chains, in_halves, neutral
from chainrule.compiler.interface import Unsuitable
from chainrule.compiler.product import CHUNK
from chainrule.compiler.readings import CHEAP
from chainrule.compiler.region import folds_short_rows, lane_of
from chainrule.compiler.regions import Regions
from chainrule.compiler.straight_emitter import MOST_INSTRUCTIONS, StraightEmitter
from chainrule.compiler.value import I64, LANES, Value
from chainrule.graph.sizes import Dim, Size, evaluate

Array = np.ndarray[Any, Any]
Sizes = Mapping[str, int]
DEAR = 25  # instructions, about, of what is not cheap


def shape_of(field: Field, sizes: Sizes) -> tuple[int, ...]:
    """Return the shape in numbers."""
    return tuple([_number(n, sizes) for n in field.shape])


def _number(n: Dim, sizes: Sizes) -> int:
    return int(evaluate(n, sizes)) if isinstance(n, Size) else int(n)


def estimate(regions: Regions, sizes: Sizes) -> int:
    """Return about how many instructions straight-line code takes: within a factor of two, without writing it.

    Raises:
        Unsuitable: it cannot compute these fields, or would be long.
    """
    cost = 0
    for field in regions.order:
        if not isinstance(field, (Source, Fixed, Number, SizeOf, Iota, Random, Map, Move, Reshape, Fold, Product)):
            raise Unsuitable(f"{type(field).__name__.lower()} is computed by loops")
        count = math.prod(shape_of(field, sizes))
        if not count:
            raise Unsuitable("an array is empty")
        vectors = -(-count // LANES)
        if isinstance(field, Product):
            terms = shape_of(field.inputs[0], sizes)[field.contracted[0][0]]
            if terms > CHUNK or pays(terms):
                raise Unsuitable(f"sums of {terms} products are computed by loops")
            cost += 3 * terms * vectors
        elif isinstance(field, Fold):
            cost += math.prod(shape_of(field.inputs[0], sizes)) // LANES
        elif isinstance(field, (Map, Random)):
            cost += vectors * (1 if isinstance(field, Map) and field.primitive.name in CHEAP else DEAR)
        if cost > MOST_INSTRUCTIONS:
            raise Unsuitable(f"a step takes more than {MOST_INSTRUCTIONS} instructions")
    return cost


class RegisterEvaluator:
    """Writes the values of fields; ``values`` begins with those of sources and constants."""

    def __init__(self, e: StraightEmitter, regions: Regions, sizes: Sizes) -> None:
        self.e = e
        self.regions = regions
        self.sizes = sizes
        self.values: dict[Field, Cells] = {}

    def run(self) -> None:
        """Compute every field that is computed for itself."""
        rules: dict[type, Callable[[Any], Cells]] = {
            Map: self._map,
            Fold: self._fold,
            Product: self._product,
            Random: self._random,
            Number: self._constant,
            SizeOf: self._constant,
        }
        for field in self.regions.order:
            rule = rules.get(type(field))
            if rule is not None:
                self.values[field] = rule(field)

    def shape(self, field: Field) -> tuple[int, ...]:
        """Return the shape in numbers."""
        return shape_of(field, self.sizes)

    # -- what shows another field ------------------------------------------------------------------------------------------

    def numbers(self, field: Field) -> Array:
        """Return 0, 1, 2, … in the shape of a field: the numbers of its elements."""
        shape = self.shape(field)
        return np.arange(math.prod(shape)).reshape(shape)

    def chosen(self, field: Field, order: Array) -> Cells:
        """Return elements of a field, by number."""
        while isinstance(field, (Move, Reshape)):
            if isinstance(field, Move):
                order = self._moved(field).reshape(-1)[order]
            field = field.inputs[0]
        flat = order.reshape(-1)
        if isinstance(field, Iota):
            return self._counted(field, flat)
        return pick(self.e, self.values[field], flat.tolist())

    def _moved(self, field: Move) -> Array:
        """Return for each element of a move the number of what it shows."""
        axes = np.indices(self.shape(field), sparse=True)
        total: Any = np.zeros(self.shape(field), np.int64)
        stride = 1
        for place, n in zip(reversed(field.places), reversed(self.shape(field.inputs[0])), strict=True):
            at = _number(place.offset, self.sizes) + (0 if place.axis is None else place.step * axes[place.axis])
            total = total + stride * at
            stride *= n
        result: Array = total
        return result

    def _counted(self, field: Iota, flat: Array) -> Cells:
        """Return given numbers as an array of constants."""
        e, width = self.e, width_of(len(flat))
        vectors = []
        for b in blocks(len(flat)):
            numbers = [int(flat[min(k, b.stop - 1)]) for k in range(b.start, b.start + width)]
            digits = ", ".join(f"i64 {n}" for n in numbers)
            x = e.index(numbers[0]) if width == 1 else Value(e, f"<{digits}>", I64, width, constant=True)
            vectors.append(e.cast(x, field.dtype))
        return Cells(len(flat), vectors)

    # -- what is computed --------------------------------------------------------------------------------------------------

    def _constant(self, field: Number | SizeOf) -> Cells:
        if isinstance(field, Number):
            return Cells(1, [self.e.constant(field.value, field.dtype)])
        return Cells(1, [self.e.cast(self.e.index(_number(field.size, self.sizes)), field.dtype)])

    def _map(self, field: Map) -> Cells:
        e, shape = self.e, self.shape(field)
        count = math.prod(shape)
        operands = [self.chosen(x, np.broadcast_to(self.numbers(x), shape)) for x in field.inputs]
        if all(x.is_uniform for x in operands):
            parts = [(1, [x.vectors[0] for x in operands])]
        else:
            parts = [
                (len(b), [x.vectors[0 if x.is_uniform else k] for x in operands]) for k, b in enumerate(blocks(count))
            ]
        vectors = []
        for live, values in parts:
            e.live = live
            vectors.append(field.primitive.lower(e, *values, **field.attributes))
        return Cells(count, vectors)

    def _random(self, field: Random) -> Cells:
        e = self.e
        seed, draw = [self.chosen(x, np.zeros((), np.int64)).vectors[0] for x in field.inputs]
        if field.offset:
            draw = draw + field.offset
        numbers = self._counted(Iota(1, I64), self.numbers(field).reshape(-1))
        vectors = [
            vector_random.at(e, field.kind, seed, draw, x, field.dtype, **field.attributes) for x in numbers.vectors
        ]
        return Cells(numbers.size, vectors)

    def _product(self, field: Product) -> Cells:
        e, shape = self.e, self.shape(field)
        a, b = [
            self._factor(x, batch, contracted, len(shape) - 1 - own, len(shape))
            for x, batch, contracted, own in zip(field.inputs, field.batch, field.contracted, (1, 0), strict=True)
        ]
        count, terms = math.prod(shape), a.shape[-1]
        width = width_of(count)
        sums = [e.wide(e.constant(0, field.dtype), width)] * len(blocks(count))
        for k in range(terms):
            factors = [
                spread(e, self.chosen(x, np.broadcast_to(order[..., k], shape)))
                for x, order in zip(field.inputs, (a, b), strict=True)
            ]
            sums = [e.fma(x, y, c) for x, y, c in zip(factors[0].vectors, factors[1].vectors, sums, strict=True)]
        return Cells(count, sums)

    def _factor(self, x: Field, batch: Any, contracted: Any, free_at: int, ndim: int) -> Array:
        """Return the numbers of a factor's elements along the axes of the product, then the contracted one."""
        free = [k for k in range(x.ndim) if k not in batch and k not in contracted]
        numbers = np.transpose(self.numbers(x), [*batch, *free, *contracted])
        shape = [1] * ndim + [numbers.shape[-1]]
        if batch:
            shape[0] = numbers.shape[0]
        shape[free_at] = numbers.shape[len(batch)]
        return numbers.reshape(shape)

    # -- folds ---------------------------------------------------------------------------------------------------------------

    def _fold(self, field: Fold) -> Cells:
        """Return what the loops of the field's region would: along the lanes 16 sums, then their halves; else row by row."""
        x = field.inputs[0]
        region = self.regions.home[field]
        loops = self.regions.fold_axes[field]
        kept = [axis for axis in range(x.ndim) if axis not in field.axes]
        folded = [axis for axis in field.axes if loops[axis] is not None]
        folded.sort(key=lambda axis: loops[axis] or 0)
        single = [axis for axis in field.axes if loops[axis] is None]
        order = np.transpose(self.numbers(x), [*kept, *folded, *single])
        count = math.prod(self.shape(field))
        order = order.reshape(count, *[self.shape(x)[axis] for axis in folded])
        along_lanes = loops[folded[-1]] == lane_of(region)
        chains = []
        for axis in folded:
            loop, is_lane = loops[axis], along_lanes and axis == folded[-1]
            assert loop is not None
            length = self.shape(x)[axis]
            if length > (CHUNK_OF_LANES if is_lane else CHUNK_OF_ROWS):
                raise Unsuitable(f"a sum of {length} terms is computed by loops")
            chains.append(in_chains(field, region.dims[loop], along_lanes=is_lane))
        if along_lanes:
            return self._halved(field, self._folded(field, order, self._lanes, chains), count)
        return self._folded(field, order, self._short_rows if folds_short_rows(region) else self._rows, chains)

    def _folded(
        self, field: Fold, order: Array, innermost: Callable[[Fold, Array, int], Cells], chains: Sequence[int]
    ) -> Cells:
        """Combine along all axes of ``order`` but the first, the last of them innermost, each in so many chains."""
        if order.ndim == 2:
            return innermost(field, order, chains[0])
        parts = [self._folded(field, order[:, k], innermost, chains[1:]) for k in range(order.shape[1])]
        return self._in_order(field, parts, chains[0])

    def _in_order(self, field: Fold, parts: list[Cells], chains: int = 1) -> Cells:
        """Combine arrays element by element, from nothing, dealt to ``chains`` in turn."""
        terms = [spread(self.e, x).vectors for x in parts]
        vectors = []
        for own in zip(*terms, strict=True):  # of each vector its terms
            sums = []
            for k in range(min(chains, len(own))):
                first, *others = own[k::chains]
                sums.append(reduce(lambda x, y: combine(self.e, field, x, y), others, first))
            vectors.append(in_halves(self.e, field, sums))
        return Cells(parts[0].size, vectors)

    def _rows(self, field: Fold, order: Array, chains: int) -> Cells:
        x = field.inputs[0]
        return self._in_order(field, [self.chosen(x, order[:, k]) for k in range(order.shape[1])], chains)

    def _short_rows(self, field: Fold, order: Array, _: int) -> Cells:
        parts = [spread(self.e, self.chosen(field.inputs[0], order[:, k])).vectors for k in range(order.shape[1])]
        return Cells(len(order), [in_halves(self.e, field, terms) for terms in zip(*parts, strict=True)])

    def _lanes(self, field: Fold, order: Array, chains: int) -> Cells:
        """Return for each row as many sums as lanes are used."""
        e = self.e
        count, size = order.shape
        width = width_of(size)
        parts = []
        for start in range(0, size, LANES):
            places = order[:, start : start + LANES]
            missing = width - places.shape[1]
            part = self.chosen(field.inputs[0], places)
            if missing:
                nothing = Cell(neutral(e, field), 0)
                per_row = places.shape[1]
                cells = [
                    cell(part, row * per_row + lane) if lane < per_row else nothing
                    for row in range(count)
                    for lane in range(width)
                ]
                part = gather(e, cells)
            parts.append(part)
        return self._in_order(field, parts, chains)

    def _halved(self, field: Fold, x: Cells, count: int) -> Cells:
        """Combine the lanes of each row, halves with halves."""
        e = self.e
        width = x.size // count
        if count == 1:
            return Cells(1, [e.fold(x.vectors[0], lambda a, b: combine(e, field, a, b))])
        vectors, half = x.vectors, width // 2
        while half:  # what stands in the lower half of a row is combined as it should be; the rest is not read
            vectors = [combine(e, field, v, e.shuffle(v, None, [k ^ half for k in range(v.lanes)])) for v in vectors]
            half //= 2
        return pick(e, Cells(x.size, vectors), range(0, x.size, width))
