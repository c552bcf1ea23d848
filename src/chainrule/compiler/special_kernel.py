"""Kernels of what is neither loops over one space nor a product: windows, scatter, running sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from chainrule.compiler.evaluator import Evaluator
from chainrule.compiler.fields import Assemble, Field, Order, Scatter, Source, Sweep, is_one
from chainrule.compiler.index import STILL, At, Index, operand
from chainrule.compiler.interface import Items
from chainrule.compiler.kernel_emitter import KERNEL, KernelEmitter
from chainrule.compiler.plan import Work
from chainrule.compiler.value import F32, F64, I64, LANES, Value
from chainrule.graph.sizes import Dim, Shape, numel, surely_same

if TYPE_CHECKING:
    from chainrule.compiler.build import Build
    from chainrule.compiler.region import Region


def special_record(build: Build, region: Region, place: int) -> None:
    """Write the kernels of a region that is one special field, and their records."""
    field = region.special
    if isinstance(field, Assemble):
        _assemble(build, field, place)
    elif isinstance(field, Scatter):
        _scatter(build, field, place)
    elif isinstance(field, Sweep):
        _sweep(build, field, place)
    else:
        assert isinstance(field, Order)
        _order(build, field, place)


class Loops:
    """Nested loops over a shape; the last axis runs along the lanes if ``lanes``."""

    def __init__(self, build: Build, shape: Shape, *, lanes: bool) -> None:
        self.e = KernelEmitter(build.module, KERNEL)
        self.shape = shape
        kept = [k for k, n in enumerate(shape) if not is_one(n)]
        self.lane = kept[-1] if kept and lanes else None
        self.outer = [k for k in kept if k != self.lane]
        self.ev = Evaluator(self.e, build.regions.reads, {}, self.lane)
        self.index: Index = tuple([At(k) if k in kept else STILL for k in range(len(shape))])
        self.items: Dim = 1

    def write(self, body: Callable[[], None], *, alone: bool = False) -> None:
        """Write the loops around ``body``; with ``alone``, all of them belong to one item."""
        e = self.e
        begin, end = Value(e, "%begin", I64), Value(e, "%end", I64)
        if any(surely_same(n, 0) for n in self.shape):  # nothing: the other loops may be long
            self.items = 0
        elif self.outer and not alone:
            self.items = self.shape[self.outer[0]]
            self._loop(self.outer[0], begin, end, lambda: self._inside(self.outer[1:], body))
        elif self.lane is not None and not self.outer and not alone:
            size = self.shape[self.lane]
            self.items = (size + (LANES - 1)) // LANES
            stop, whole = end * LANES, e.size(size)
            self._lanes(begin * LANES, e.select(stop < whole, stop, whole), body)
        else:
            self._inside(self.outer, body)

    def _loop(self, d: int, start: Value | int, stop: Value, body: Callable[[], None]) -> None:
        self.e.loop(start, stop, 1, lambda i: self.ev.turn(d, i, body))

    def _inside(self, rest: Sequence[int], body: Callable[[], None]) -> None:
        if rest:
            self._loop(rest[0], 0, self.e.size(self.shape[rest[0]]), lambda: self._inside(rest[1:], body))
        elif self.lane is not None:
            self._lanes(0, self.e.size(self.shape[self.lane]), body)
        else:
            body()

    def _lanes(self, start: Value | int, stop: Value, body: Callable[[], None]) -> None:
        e, lane = self.e, self.lane
        assert lane is not None

        def turn(i: Value) -> None:
            left = stop - i
            e.mask = e.lane_numbers() < e.wide(left)
            self.ev.turn(lane, i, body)
            e.mask = None

        e.loop(start, stop, LANES, turn)


def _copy(
    build: Build, x: Field, shape: Shape, target: Field, where: Callable[[Index], Index], place: int, part: str
) -> None:
    """Write ``x``, broadcast to ``shape``, into ``target`` at ``where(index)``."""
    loops = Loops(build, shape, lanes=True)

    def body() -> None:
        value = loops.ev.value(x, operand(x, loops.index))
        loops.ev.memory.store(value, target, where(loops.index))

    loops.write(body)
    build.add(loops.e, [], Items(loops.items), place, Work(part, 0, numel(shape)))


def copy_record(build: Build, x: Field, target: Source, place: int) -> None:
    """Write the kernel that copies a field to other memory of its shape, and its record."""
    _copy(build, x, x.shape, target, lambda index: index, place, f"copy over {target.name}")


def _assemble(build: Build, field: Assemble, place: int) -> None:
    if field.base is not None:
        _copy(build, field.base, field.shape, field, lambda index: index, place, "what lies below the ")
    for piece in field.pieces:

        def window(index: Index, piece: Any = piece) -> Index:
            places = []
            for where in piece.places:
                at = STILL if where.axis is None else index[where.axis]
                places.append(At(at.loop, where.offset + where.step * at.offset, where.step * at.step))
            return tuple(places)

        _copy(build, piece.x, piece.x.shape, field, window, place, "a piece of the ")


def _scatter(build: Build, field: Scatter, place: int) -> None:
    base = field.base if field.base is not None else build.zero(field.dtype)
    _copy(build, base, field.shape, field, lambda index: index, place, "what lies below the ")
    width = max(i.ndim for i in field.index)
    common = next(i for i in field.index if i.ndim == width).shape
    for i in field.index:
        common = tuple(
            [m if is_one(n) else n for n, m in zip((1,) * (width - i.ndim) + tuple(i.shape), common, strict=True)]
        )
    rest = [axis for axis in range(field.ndim) if axis not in field.axes]
    shape = (*[field.shape[a] for a in rest[: field.place]], *common, *[field.shape[a] for a in rest[field.place :]])
    side_by_side = field.ndim - 1 not in field.axes  # in memory, along the last axis of ``shape``
    in_lanes = side_by_side and len(shape) > field.place + width and not is_one(shape[-1])
    loops = Loops(build, shape, lanes=in_lanes)
    loops.outer.sort(key=lambda k: not field.place <= k < field.place + width)  # in the order of the index arrays
    e, ev = loops.e, loops.ev

    def body() -> None:
        inner = loops.index[field.place : field.place + width]
        places = [ev.value(i, operand(i, inner)) for i in field.index]
        outside = [*loops.index[: field.place], *loops.index[field.place + width :]]
        pointer = e.pointer(field)
        total: Value = e.index(0)
        stride_after: Dim = 1
        lane_stride: Dim | None = None
        k = len(outside)
        for axis in reversed(range(field.ndim)):
            if axis in field.axes:
                part = places[field.axes.index(axis)]
            else:
                k -= 1
                part = ev.open.start(outside[k])
                if outside[k].loop is not None and outside[k].loop == loops.lane:
                    lane_stride = stride_after
            total = total + part * e.size(stride_after)
            stride_after = stride_after * field.shape[axis]
        address = e.offset(pointer, total, field.dtype)
        value = ev.value(field.x, operand(field.x, loops.index))
        if lane_stride is None:
            if field.adds:
                value = e.load(address, field.dtype) + value
            e.store(value, address)
            return
        assert is_one(lane_stride)
        value = e.wide(value)
        if field.adds:
            value = e.load(address, field.dtype, LANES, e.mask) + value
        e.store(value, address, e.mask)

    loops.write(body, alone=True)
    elements = numel(shape)
    build.add(e, [], Items(1), place, Work("", elements if field.adds else 0, elements))


def _sweep(build: Build, field: Sweep, place: int) -> None:
    x = field.inputs[0]
    outer = tuple([1 if k == field.axis and not surely_same(n, 0) else n for k, n in enumerate(x.shape)])
    loops = Loops(build, outer, lanes=False)
    e, ev = loops.e, loops.ev
    size = x.shape[field.axis]
    wide = F64 if field.kind == "sum" and x.dtype == F32 else x.dtype

    def body() -> None:
        def turn(i: Value, *carry: Value) -> list[Value]:
            at = e.size(size) - 1 - i if field.reverse else i
            index = tuple([At(field.axis) if k == field.axis else place_at for k, place_at in enumerate(loops.index)])

            def one() -> list[Value]:
                value = ev.value(x, index)
                if field.kind == "sum":
                    result = [carry[0] + e.cast(value, wide)]
                else:
                    not_worse = value >= carry[0] if field.kind == "argmax" else value <= carry[0]
                    if value.dtype.kind == "f":
                        not_worse = not_worse | e.is_nan(value)
                    takes = not_worse | e.eq(i, 0)
                    result = [e.select(takes, value, carry[0]), e.select(takes, at, carry[1])]
                ev.memory.store(e.cast(result[-1], field.dtype), field, index)
                return result

            found: list[Value] = ev.turn(field.axis, at, one)
            return found

        start = [e.constant(0, wide)]
        if field.kind != "sum":
            start.append(e.index(0))
        e.loop(0, e.size(size), 1, turn, start)

    loops.write(body)
    build.add(e, [], Items(loops.items), place, Work("", numel(x.shape), numel(x.shape)))


def _order(build: Build, field: Order, place: int) -> None:
    """Write a merge sort of places, bottom up: stable, n log n comparisons, the runs of a pass in two rows of scratch."""
    x = field.inputs[0]
    size = x.shape[field.axis]
    rows = [Field((size,), I64), Field((size,), I64)]
    build.scratch += [(row, place) for row in rows]
    loops = Loops(
        build,
        tuple([1 if k == field.axis and not surely_same(n, 0) else n for k, n in enumerate(x.shape)]),
        lanes=False,
    )
    e, ev = loops.e, loops.ev
    n = e.size(size)

    index = tuple([At(field.axis) if k == field.axis else other for k, other in enumerate(loops.index)])

    def key(at: Value) -> Value:
        found: Value = ev.turn(field.axis, at, lambda: ev.value(x, index))
        return found

    def comes_first(a: Value, b: Value) -> Value:
        first = a > b if field.descending else a < b
        if a.dtype.kind != "f":
            return first
        a_last, b_last = (e.is_nan(b), e.is_nan(a)) if field.descending else (e.is_nan(a), e.is_nan(b))
        return first | (b_last & ~a_last)

    def body() -> None:
        first, second = [e.pointer(row) for row in rows]
        e.loop(0, n, 1, lambda i: e.store(i, e.offset(first, i, I64)))
        bits = e.op(f"call i64 @llvm.ctlz.i64({(n - 1)!r}, i1 false)", I64)
        e.module.declare("llvm.ctlz.i64", "declare i64 @llvm.ctlz.i64(i64, i1)")
        passes = e.select(n > 1, e.index(64) - bits, 0)

        def one_pass(k: Value) -> None:
            width = e.bits("shl", e.index(1), k)
            is_even = e.eq(k & 1, 0)
            source = e.raw(f"select {is_even!r}, ptr {first}, ptr {second}")
            target = e.raw(f"select {is_even!r}, ptr {second}, ptr {first}")

            def merge(run: Value) -> None:
                start = run * width * 2
                middle, stop = e.minimum(start + width, n), e.minimum(start + width * 2, n)

                def take(at: Value, i: Value, j: Value) -> list[Value]:
                    left = e.load(e.offset(source, e.minimum(i, middle - 1), I64), I64)
                    right = e.load(e.offset(source, e.minimum(j, stop - 1), I64), I64)
                    takes_right = (j < stop) & (e.compare("ge", i, middle) | comes_first(key(right), key(left)))
                    e.store(e.select(takes_right, right, left), e.offset(target, at, I64))
                    step = e.cast(takes_right, I64)
                    return [i + (1 - step), j + step]

                e.loop(start, stop, 1, take, [start, middle])

            e.loop(0, e.arithmetic("div", n + width * 2 - 1, width * 2), 1, merge)

        e.loop(0, passes, 1, one_pass)
        is_even = e.eq(passes & 1, 0)
        sorted_row = e.raw(f"select {is_even!r}, ptr {first}, ptr {second}")

        def give(i: Value) -> None:
            value = e.load(e.offset(sorted_row, i, I64), I64)
            ev.turn(field.axis, i, lambda: ev.memory.store(value, field, index))

        e.loop(0, n, 1, give)

    loops.write(body, alone=True)
    build.add(e, [], Items(1), place, Work("", numel(x.shape), numel(x.shape)))
