"""From a product region to records: packing the second factor where its columns do not lie side by side, and the product."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.compiler import product as kernels
from chainrule.compiler.emit import LANES, Emitter, Module, Value
from chainrule.compiler.evaluator import Evaluator, Index, KernelEmitter, index_of, view_of
from chainrule.compiler.fields import Field, is_one
from chainrule.compiler.pack import pack_any, pack_rows, pack_transposed
from chainrule.compiler.plan import Entry, Items, Record
from chainrule.compiler.product import PRODUCT_ARGS, Tile, choose_tile, count_tiles
from chainrule.graph.sizes import Dim, Size, evaluate

if TYPE_CHECKING:
    from chainrule.compiler.build import Build
    from chainrule.compiler.regions import Region


def product_records(build: Build, region: Region, place: int) -> None:
    """Write the kernels of a product region, and their records."""
    _ProductRecords(build, region, place).write()


class Factor:
    """One factor in memory: its field, an offset, and the strides of its batch, free and contracted axes."""

    def __init__(self, x: Field, build: Build, batch: tuple[int, ...], contracted: tuple[int, ...]) -> None:
        self.field, strides, self.offset = view_of(x, build.regions)
        free = [k for k in range(x.ndim) if k not in batch and k not in contracted]
        self.batch: Dim = strides[batch[0]] if batch else 0
        self.free, self.size = strides[free[0]], x.shape[free[0]]
        self.inner, self.terms = strides[contracted[0]], x.shape[contracted[0]]

    @property
    def place(self) -> list[Entry]:
        """Its slot and offset, as entries."""
        return [Entry("slot", self.field), Entry("offset", self.field, self.offset)]


class _ProductRecords:
    def __init__(self, build: Build, region: Region, place: int) -> None:
        product = region.product
        assert product is not None
        self.build, self.region, self.place, self.product = build, region, place, product
        self.a = Factor(product.inputs[0], build, product.batch[0], product.contracted[0])
        self.b = Factor(product.inputs[1], build, product.batch[1], product.contracted[1])
        self.batches: Dim = product.shape[0] if product.batch[0] else 1
        self.tile = self._tile()

    def _hint(self, size: Dim) -> int | None:
        if not isinstance(size, Size):
            return size
        return int(evaluate(size, self.build.hints)) if self.build.hints else None

    def _tile(self) -> Tile:
        n = self.b.size if not isinstance(self.b.size, Size) else None
        hints = self._hint(self.a.size), n if n is not None else self._hint(self.b.size), self._hint(self.a.terms)
        tile = choose_tile(*hints, self.build.machine.registers, self.product.dtype)
        return tile.with_columns(n)

    def write(self) -> None:
        """Write packing, if it is needed, and the product."""
        field = self.product
        b_place, b_inner, b_batch = self.b.place, self.b.inner, self.b.batch
        b_panel: Dim = self.tile.width
        if not is_one(self.b.free):
            b_place, b_inner, b_panel, b_batch = self._pack()
        entries = [
            *self.a.place,
            *b_place,
            *[Entry("size", None, n) for n in (self.a.size, self.b.size, self.a.terms, self.batches)],
            *[Entry("size", None, n) for n in (self.a.batch, self.a.free, self.a.inner, self.a.free, 0)],
            *[Entry("size", None, n) for n in (b_batch, b_inner, b_panel)],
            *[Entry("size", None, n) for n in (0, 0, 0, 0, 0, 0)],
        ]
        assert len(entries) == PRODUCT_ARGS
        e = KernelEmitter(self.build.module, "kernel", PRODUCT_ARGS)
        members: dict[Field, Index] = {f: index_of(self.region.axes[f]) for f in self.region.members}
        loops = [d for d in self.region.axes[field]]
        column_loop = loops[-1]
        ev = Evaluator(e, self.build.regions, members, column_loop)

        def prepare(_: Emitter) -> None:
            for member in self.region.members[1:]:
                for x, index in ev.parts(member, members[member]):
                    if not _reads(x, members, ev):
                        ev.hoist(x, index, frozenset())
            for stored in self.region.stored:
                e.pointer(stored)

        def epilogue(e_: Emitter, row: Value, column: Value, value: Value, mask: Value | None, batch: Value) -> None:
            for d, i in zip(loops, (batch, row, column)[3 - len(loops) :], strict=True):
                if d is not None:
                    ev.at[d] = i
            e.mask = mask

            def body() -> None:
                ev.know(field, members[field], value)
                for member in self.region.members[1:]:
                    ev.value(member, members[member])
                for stored in self.region.stored:
                    ev.store(ev.value(stored, members[stored]), stored, members[stored])

            ev.inside(body)
            e.mask = None

        kernels._Product(e, self.tile, field.dtype, epilogue, prepare).write()
        self.build.add(e, entries, self._count(), self.place)

    def _count(self) -> Items:
        """Return how many tiles there are, once sizes are numbers."""
        tile, m, n, batches = self.tile, self.a.size, self.b.size, self.batches
        return lambda number: count_tiles(tile, number(m), number(n), number(batches))

    def _pack(self) -> tuple[list[Entry], Dim, Dim, Dim]:
        """Write the record that packs the second factor into panels; return what the product has to know."""
        build, width, k, n = self.build, self.tile.width, self.b.terms, self.b.size
        panels = (n + (width - 1)) // width
        one = panels * (k * width)
        target = Field((self.batches * one,), self.product.dtype)
        build.scratch.append((target, self.place))
        module = Module()
        write = pack_transposed if is_one(self.b.inner) else pack_rows if is_one(self.b.free) else pack_any
        write(module, "kernel", self.product.dtype)
        build.module.declarations.update(module.declarations)
        name = build.named(module.functions["kernel"])
        target_place = [Entry("slot", target), Entry("offset", target)]
        sizes = (k, n, self.batches, self.b.batch, self.b.inner, self.b.free, one, k * width, width)
        entries = (*self.b.place, *target_place, *[Entry("size", None, size) for size in sizes])
        strips = self.batches * ((n + (LANES - 1)) // LANES)
        build.records.append(Record(name, entries, strips, self.place))
        return target_place, width, k * width, one


def _reads(x: Field, members: dict[Field, Index], ev: Evaluator) -> bool:
    if x in members:
        return True
    return not ev.in_memory(x) and any(_reads(y, members, ev) for y in x.inputs)
