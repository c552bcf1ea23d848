"""From a product region to records: packing the second factor where its columns do not lie side by side, and the product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.compiler import dot
from chainrule.compiler.blocking import blocks, columns_outer, pays_to_pack_a, pays_to_pack_b
from chainrule.compiler.emit import Emitter
from chainrule.compiler.evaluator import Evaluator
from chainrule.compiler.fields import Field, is_one
from chainrule.compiler.index import Index, index_of
from chainrule.compiler.interface import FIRST_INPUT, Items, Kind, TermList
from chainrule.compiler.kernel_emitter import KERNEL, KernelEmitter
from chainrule.compiler.memory import view_of
from chainrule.compiler.module import Module
from chainrule.compiler.neighbours import among, most_drawn
from chainrule.compiler.pack import pack_any, pack_rows, pack_transposed
from chainrule.compiler.plan import Entry, Record, Work
from chainrule.compiler.product import PRODUCT_ARGS, write_product
from chainrule.compiler.terms import PIECE, Terms, watch
from chainrule.compiler.tile import Registers, Tile, choose_tile, count_tiles
from chainrule.compiler.value import I32, LANES, Value
from chainrule.compiler.zeros import zeros_from
from chainrule.graph.sizes import Dim, Size, evaluate, numel, surely_same

if TYPE_CHECKING:
    from chainrule.compiler.build import Build
    from chainrule.compiler.region import Region


FAR = 4 << 20  # bytes of a result that no near cache holds
APART = 16  # elements between panels: a power of two apart, they would share places of a cache


class Cut(NamedTuple):
    """Columns of the result and terms of their sums that one record computes."""

    column: Dim
    columns: Dim
    term: Dim
    terms: Dim


def product_records(build: Build, region: Region, place: int) -> None:
    """Write the kernels of a product region, and their records."""
    _ProductRecords(build, region, place).write()


class Factor:
    """One factor in memory: its field, an offset, and the strides of its batch, free and contracted axes."""

    def __init__(self, x: Field, build: Build, batch: tuple[int, ...], contracted: tuple[int, ...]) -> None:
        self.field, strides, self.offset = view_of(x, build.regions.reads)
        free = [k for k in range(x.ndim) if k not in batch and k not in contracted]
        self.batch: Dim = strides[batch[0]] if batch else 0
        self.free, self.size = strides[free[0]], x.shape[free[0]]
        self.inner, self.terms = strides[contracted[0]], x.shape[contracted[0]]


class Panels(NamedTuple):
    """A factor packed: its field, and how far apart its panels and its batches are."""

    field: Field
    panel: Dim
    batch: Dim


class _ProductRecords:
    def __init__(self, build: Build, region: Region, place: int) -> None:
        product = region.product
        assert product is not None
        self.build, self.region, self.place, self.product = build, region, place, product
        self.dtype = product.dtype
        self.a = Factor(product.inputs[0], build, product.batch[0], product.contracted[0])
        self.b = Factor(product.inputs[1], build, product.batch[1], product.contracted[1])
        self.batches: Dim = product.shape[0] if product.batch[0] else 1
        self.m, self.n, self.k = self.a.size, self.b.size, self.a.terms
        self.is_single = is_one(self.batches)
        hints = self._hint(self.m), self._hint(self.n), self._hint(self.k)
        m, n, k = [64 if hint is None else hint for hint in hints]
        self.writes_over = any(field in build.targets.over for field in region.stored)
        registers = Registers(build.machine.vector_bits, build.machine.num_registers)
        self.tile = choose_tile(
            *hints, registers, self.dtype, in_place=self.writes_over, draws=most_drawn(build.regions.reads, region)
        )
        self.is_large = m * n * self.dtype.itemsize >= FAR
        self.packs_a = self.is_single and pays_to_pack_a(m, n, k, self.dtype)
        if self.packs_a:
            per_vector = LANES * self.dtype.itemsize * 8 // registers.bits
            rows = max(r for r in (1, 2, 4, 8, 16) if (r + 1) * per_vector < registers.number)
            self.tile = Tile(rows, 1, deferred=self.tile.deferred)
        self.packs_b = not is_one(self.b.free) or (self.is_single and pays_to_pack_b(m, n, k, self.dtype))

    def _hint(self, size: Dim) -> int | None:
        if not isinstance(size, Size):
            return size
        return int(evaluate(size, self.build.hints)) if self.build.hints else None

    def write(self) -> None:
        """Write packing, where it is needed, and the product, cut into blocks if it is large."""
        k = self.k
        if is_one(self.a.inner) and is_one(self.b.inner) and not isinstance(k, Size) and dot.pays(k):
            self._dots(k)
            return
        cuts: list[Cut] = [Cut(0, self.n, 0, self.k)]
        if self.is_single and not isinstance(self.n, Size) and not isinstance(self.k, Size):
            cuts = [Cut(*block) for block in blocks(self.n, self.k, self.dtype)]
        packed_a = None
        if self.packs_a:
            packed_a = self._pack(self.a, self.m, self.k, (self.a.inner, self.a.free), LANES, Cut(0, self.m, 0, self.k))
        sums = Field((self.m, self.n), self.dtype)
        if len(cuts) > 1:
            self.build.scratch.append((sums, self.place))
        panels: Panels | None = None
        listed = self._listed_of_tiles() if len(cuts) == 1 and not self.packs_a else None
        for cut in cuts:
            if self.packs_b:
                strides = self.b.inner, self.b.free
                panels = self._pack(self.b, self.n, self.k, strides, self.tile.width, cut, panels)
            is_last = surely_same(cut.term + cut.terms, self.k)
            resumes = not surely_same(cut.term, 0)
            self._product(cut, packed_a, panels, sums, resumes=resumes, is_last=is_last, listed=listed)

    def _dots(self, k: int) -> None:
        """Write the record of a product of rows with rows."""
        n = None if isinstance(self.n, Size) else self.n
        machine = self.build.machine
        dots = dot.choose_dots(n, k, Registers(machine.vector_bits, machine.num_registers), self.dtype)
        entries = [
            Entry("slot", self.a.field),
            Entry("offset", self.a.field, self.a.offset),
            Entry("slot", self.b.field),
            Entry("offset", self.b.field, self.b.offset),
            *_sizes(self.m, self.n, k, self.batches, self.a.batch, self.a.free, 1, 0, self.b.batch, self.b.free, 0, 0),
            Entry("slot", self.a.field),
            Entry("offset", self.a.field),
            *_sizes(0, 0),
        ]
        assert len(entries) == PRODUCT_ARGS
        listed = self._listed(Kind.GROUPS, self.a, self.b, dots.rows)
        e = KernelEmitter(self.build.module, KERNEL, PRODUCT_ARGS)
        epilogue, _ = self._epilogue(e, Cut(0, self.n, 0, k))
        terms = Terms(e.pointer(listed), Kind.GROUPS) if listed else None
        dot.write_dot_product(e, dots, self.dtype, epilogue, terms=terms)

        count = dot.count_dots(dots, self.m, self.n, k, self.dtype, self.batches)
        self.build.add(e, entries, count, self.place, self._work(Cut(0, self.n, 0, k), ""))

    def _listed_of_tiles(self) -> tuple[Field, Kind] | None:
        """Return the list for the tiles of a product, and whether the data are its first factor or its second; None: there is none."""
        found = self._listed(Kind.COLUMNS, self.a, self.b, self.tile.rows)
        if found is not None:
            return found, Kind.COLUMNS
        if self.packs_b:
            return None
        found = self._listed(Kind.ROWS, self.b, self.a, self.tile.width)
        return None if found is None else (found, Kind.ROWS)

    def _listed(self, kind: Kind, data: Factor, other: Factor, block: int) -> Field | None:
        """Return a list of terms for a product with data, and write the record that watches the other factor.

        None: no lists are wanted, the rows of ``data`` are not 0 where those of an input of any number of rows are, such as are
        gathered, or the other factor is a part of what is in memory.
        """
        apart, step = (data.inner, data.free) if kind is Kind.ROWS else (data.free, data.inner)
        rows, columns = (data.terms, data.size) if kind is Kind.ROWS else (data.size, data.terms)
        source = zeros_from(data.field)
        if (
            not self.is_single
            or source is None
            or source in self.build.targets.over.values()
            or isinstance(columns, Size)
            or columns < LANES
            or not (is_one(step) and surely_same(apart, columns) and surely_same(data.offset, 0))
            or not surely_same(rows, source.shape[0])  # a row of the product is one of the data
            or not surely_same(numel(source.shape[1:]), columns)
            or not surely_same(numel(other.field.shape), other.size * other.terms)
        ):
            return None
        build, targets = self.build, self.build.targets
        width = 64 if isinstance(other.size, Size) else other.size
        work = width * (block // LANES) if kind is Kind.ROWS else block * width // (1 if kind is Kind.GROUPS else LANES)
        number = targets.slot[source] - FIRST_INPUT
        build.lists.append(TermList(targets.num_slots, number, kind, block, columns, max(work, 1)))
        if not build.listed:
            return None
        found = Field((1,), I32)
        targets.slot[found] = targets.num_slots
        targets.num_slots += 1
        e = KernelEmitter(self.build.module, KERNEL)
        count = numel(other.field.shape)
        watch(e, e.pointer(found), e.pointer(other.field), e.size(count), self.dtype)
        items = Items((count + (PIECE - 1)) // PIECE)
        build.add(e, [], items, self.place, Work("watching a factor of the ", 0, count, ((found, 0),)))
        return found

    def _work(self, cut: Cut, part: str, packed: tuple[Panels | None, ...] = ()) -> Work:
        """Return what the record of a block does; all it reads and writes but the factors has the size of the result."""
        a = self.batches * self.m * cut.terms
        b = self.batches * cut.terms * cut.columns
        places = [(self.a.field, a), (self.b.field, b)]
        places += [(panels.field, size) for panels, size in zip(packed, (a, b), strict=False) if panels is not None]
        elements = self.batches * self.m * cut.columns
        return Work(part, 2 * elements * cut.terms, elements, tuple(places))

    def _product(
        self,
        cut: Cut,
        packed_a: Panels | None,
        packed_b: Panels | None,
        sums: Field,
        *,
        resumes: bool,
        is_last: bool,
        listed: tuple[Field, Kind] | None,
    ) -> None:
        """Write the record of one block."""
        a, b = self.a, self.b
        tile = self.tile.with_columns(cut.columns if not isinstance(cut.columns, Size) else None)
        tile = tile._replace(packed_a=packed_a is not None)
        if packed_a is None:
            a_place = [Entry("slot", a.field), Entry("offset", a.field, a.offset + cut.term * a.inner)]
        else:
            a_place = [Entry("slot", packed_a.field), Entry("offset", packed_a.field, cut.term * LANES)]
        if packed_b is None:
            start = b.offset + cut.term * b.inner + cut.column * b.free
            b_place = [Entry("slot", b.field), Entry("offset", b.field, start)]
            b_sizes: tuple[Dim, ...] = (b.batch, b.inner, tile.width)
        else:
            b_place = [Entry("slot", packed_b.field), Entry("offset", packed_b.field)]
            b_sizes = (packed_b.batch, tile.width, packed_b.panel)
        partial = sums if resumes else a.field  # read only if the sums go on
        entries = [
            *a_place,
            *b_place,
            *_sizes(self.m, cut.columns, cut.terms, self.batches),
            *_sizes(a.batch, a.free, a.inner, 0 if packed_a is None else packed_a.panel),
            *_sizes(*b_sizes, int(columns_outer(tile))),
            Entry("slot", partial),
            Entry("offset", partial, cut.column if resumes else 0),
            *_sizes(self.n, 0),
        ]
        assert len(entries) == PRODUCT_ARGS
        e = KernelEmitter(self.build.module, KERNEL, PRODUCT_ARGS)
        epilogue, prefetch = self._epilogue(e, cut) if is_last else (self._keep(e, sums, cut), None)
        terms = Terms(e.pointer(listed[0]), listed[1]) if listed else None
        write_product(e, tile, self.dtype, epilogue, prefetch, resume=resumes, terms=terms)

        count = count_tiles(tile, self.m, cut.columns, self.batches)
        part = "" if surely_same(cut.columns, self.n) and surely_same(cut.terms, self.k) else "a block of the "
        self.build.add(e, entries, count, self.place, self._work(cut, part, (packed_a, packed_b)))

    def _keep(self, e: KernelEmitter, sums: Field, cut: Cut) -> Any:
        """Return the epilogue that keeps the sums so far."""

        def epilogue(_: Emitter, row: Value, column: Value, value: Value, mask: Value | None, batch: Value) -> None:
            place = row * e.size(self.n) + column + e.size(cut.column)
            e.store(value, e.offset(e.pointer(sums), place, self.dtype), mask)

        return epilogue

    def _epilogue(self, e: KernelEmitter, cut: Cut) -> tuple[Any, Any]:
        """Return the epilogue that computes what the region computes of the product, and what asks for its memory ahead."""
        field, region = self.product, self.region
        members: dict[Field, Index] = {f: index_of(region.axes[f]) for f in region.members}
        loops = region.axes[field]
        ev = Evaluator(e, self.build.regions.reads, members, loops[-1])
        for member in region.members[1:]:  # what depends on no loop is computed at the kernel's entry
            for x, index in ev.parts(member, members[member]):
                if not ev.reads_member(x):
                    ev.hoist(x, index, frozenset())
        for value in ev.scopes.numbers(self.dtype):
            e.widened[value.name, LANES] = e.wide(value)

        def stand(row: Value, column: Value, batch: Value) -> None:
            if not surely_same(cut.column, 0):
                column = column + e.size(cut.column)
            for d, i in zip(loops, (batch, row, column)[3 - len(loops) :], strict=True):
                if d is not None:
                    ev.open.at[d] = i

        draws = most_drawn(self.build.regions.reads, region)

        def epilogue(_: Emitter, row: Value, column: Value, value: Value, mask: Value | None, batch: Value) -> None:
            stand(row, column, batch)
            e.mask = mask
            if draws:
                ev.neighbours = among(ev.neighbours, *e.neighbour)

            def body() -> None:
                ev.know(field, members[field], value)
                for member in region.members[1:]:
                    ev.value(member, members[member])
                for stored in region.stored:
                    ev.memory.store(ev.value(stored, members[stored]), stored, members[stored])

            ev.scopes.inside(body)
            e.mask = None

        over = [field for field in region.stored if field in self.build.targets.over]

        def prefetch(_: Emitter, row: Value, column: Value, batch: Value) -> None:
            stand(row, column, batch)
            places: list[str] = ev.scopes.inside(
                lambda: [ev.memory.address(written, members[written]) for written in over]
            )
            for address in places:
                e.prefetch(address, write=True, locality=3)

        return epilogue, prefetch if over and self.is_large else None

    def _pack(
        self, x: Factor, n: Dim, k: Dim, strides: tuple[Dim, Dim], width: int, cut: Cut, into: Panels | None = None
    ) -> Panels:
        """Write the record that packs (a block of) a factor into panels of ``width`` columns."""
        build = self.build
        inner, free = strides
        if into is None:
            panel = cut.terms * width + APART
            whole = (cut.columns + (width - 1)) // width * panel
            into = Panels(Field((self.batches * whole,), self.dtype), panel, whole)
            build.scratch.append((into.field, self.place))
        module = Module()
        write = pack_transposed if is_one(inner) else pack_rows if is_one(free) else pack_any
        write(module, KERNEL, self.dtype)
        build.module.declarations.update(module.declarations)
        start = x.offset + cut.term * inner + cut.column * free
        entries = (
            Entry("slot", x.field),
            Entry("offset", x.field, start),
            Entry("slot", into.field),
            Entry("offset", into.field),
            *_sizes(cut.terms, cut.columns, self.batches, x.batch, inner, free, into.batch, into.panel, width),
        )
        strips = self.batches * ((cut.columns + (LANES - 1)) // LANES)
        work = Work("packing for the ", 0, self.batches * cut.terms * cut.columns)
        items = Items(strips, divided=cut.columns + LANES)
        build.records.append(Record(build.named(module.functions[KERNEL]), entries, items, self.place, work))
        return into


def _sizes(*sizes: Dim) -> list[Entry]:
    return [Entry("size", None, size) for size in sizes]
