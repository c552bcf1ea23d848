"""The one contraction of the compiler: C[b, m, n] = Σ_k A[b, m, k] B[b, k, n], a tile of C in registers at a time.

Linear layers, convolutions, attention, their gradients and their optimizer steps differ in strides and in what is done with
a finished vector of C. So a kernel depends on the dtype, the tile and that epilogue only; sizes, strides and addresses are
entries of ``args`` (``Entry``), read when it runs:

    void kernel(ptr frame, ptr args, i64 begin, i64 end)

``frame`` holds addresses, ``args`` integers of 64 bits. A buffer is two entries: which address of the frame, and how many
bytes after it. ``[begin, end)`` are the tiles to do; no two tiles share an element of C, so threads may share a kernel.

Operands. A has any strides: each of its elements is broadcast, so a transposed A costs nothing. The columns of B lie side by
side; its rows are ``B_K`` apart, its panels (of as many columns as the tile has) ``B_PANEL``. A matrix in row-major order
and one packed in panels (``pack.py``) thus differ in these two numbers. A may be packed too, its rows being the columns of
panels of 16: for large products, whose rows are spread over too many places of a cache (``Tile.packed_a``).

Order of the sums, which depends on the shapes alone, never on the tile, the threads or the machine: chunks of ``CHUNK``
terms, each summed by fma in rising order from 0, are added in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

from .emit import Emitter
from .interface import CHUNK as CHUNK
from .interface import Kind
from .module import Module
from .terms import Block, Terms
from .tile import Registers as Registers
from .tile import Tile as Tile
from .tile import choose_tile as choose_tile
from .tile import count_tiles as count_tiles
from .value import I64, LANES, Dtype, Value


class Entry(IntEnum):
    """What stands where in ``args``; strides are in elements. From ``PRODUCT_ARGS`` on they belong to the epilogue."""

    A = 0  # slot, then offset in bytes
    B = 2
    M = 4  # rows of C
    N = 5  # columns of C
    K = 6  # terms of each sum; may be 0
    BATCHES = 7
    A_BATCH = 8
    A_ROW = 9
    A_K = 10
    A_PANEL = 11  # where A is packed (then A_ROW and A_K are not read): the length of a panel
    B_BATCH = 12
    B_K = 13
    B_PANEL = 14  # the tile's columns where B is in row-major order, the length of a panel where it is packed
    COLUMNS_OUTER = 15  # 0: all tiles of a row of tiles come first, 1: all tiles of a column of tiles (mostly faster; see blocking.py)
    PARTIAL = 16  # slot, then offset in bytes: sums to go on from, each row side by side; see ``product``
    PARTIAL_ROW = 18
    PARTIAL_BATCH = 19


PRODUCT_ARGS = 20


class Epilogue(Protocol):
    """What is done with a finished vector of C: ``value`` belongs at [batch, row, column …]; ``mask``: lanes that exist.

    Vectors have as many lanes meanwhile (``Emitter.lanes``) as ``value``: few at the end of a row.
    """

    def __call__(self, e: Emitter, row: Value, column: Value, value: Value, mask: Value | None, batch: Value) -> None:
        """Write the instructions."""


def entry(e: Emitter, number: int) -> Value:
    """Return an entry of ``args``."""
    return e.load(e.offset("%args", number, I64), I64)


def buffer(e: Emitter, number: int) -> str:
    """Return the address of the buffer whose slot and offset are the entries ``number`` and ``number + 1``."""
    slot = e.offset("%frame", entry(e, number), I64)
    base = e.raw(f"load ptr, ptr {slot}, align 8")
    return e.raw(f"getelementptr i8, ptr {base}, i64 {entry(e, number + 1).name}")


def address(e: Emitter, pointer: str) -> Value:
    """Return a pointer as a number, which a loop can carry."""
    return e.op(f"ptrtoint ptr {pointer} to i64", I64)


def pointer(e: Emitter, number: Value) -> str:
    """Return the pointer that ``address`` made a number."""
    return e.raw(f"inttoptr i64 {number.name} to ptr")


class Prefetch(Protocol):
    """Asks for what the epilogue will load or store at [batch, row, column …]; rows and columns may lie just beyond C."""

    def __call__(self, e: Emitter, row: Value, column: Value, batch: Value) -> None:
        """Write the instructions."""


class Column(NamedTuple):
    """A vector of each row of a tile: how many lanes it has, and which of them exist (None: all)."""

    lanes: int = LANES
    mask: Value | None = None


class Where(NamedTuple):
    """A tile among the others: the row and column of C where it begins, and which of its rows are its own."""

    row: Value
    column: Value
    batch: Value
    start: Value
    stop: Value


def product(
    module: Module,
    name: str,
    tile: Tile,
    dtype: Dtype,
    epilogue: Epilogue,
    *,
    prepare: Callable[[Emitter], None] | None = None,
    prefetch: Prefetch | None = None,
    resume: bool = False,
    terms: Terms | None = None,
) -> None:
    """Write the kernel ``name`` into ``module``; ``prepare`` is called once, at its entry.

    ``prefetch`` is called for every vector of a tile before the tile is computed, or while it is where its epilogue is
    deferred: then a whole tile's time ahead, which is what an optimizer needs whose state does not fit the caches.
    A last row of tiles that would reach beyond C begins earlier, and leaves the rows it shares with the one before alone;
    of fewer rows than a tile has, each is a tile of equal rows. (Where A is packed, its panels end with copies instead.)
    So the epilogue sees every element of C once.
    With ``resume`` the sums go on from those in ``PARTIAL``: what the chunks before gave.
    ``terms``: which terms are added where the others are known to be 0, in a list for each row or column of tiles.
    """
    e = Emitter(module, name, [("ptr", "frame"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")])
    if prepare:
        prepare(e)
    write_product(e, tile, dtype, epilogue, prefetch, resume=resume, terms=terms)


def write_product(
    e: Emitter,
    tile: Tile,
    dtype: Dtype,
    epilogue: Epilogue,
    prefetch: Prefetch | None = None,
    *,
    resume: bool = False,
    terms: Terms | None = None,
) -> None:
    """Write the same into a function that was begun."""
    _Product(e, tile, dtype, epilogue, prefetch, resume, terms).write()


class _Product:
    """The writer of one kernel. Entries are loaded where they are used: registers are scarcer than loads."""

    def __init__(
        self,
        e: Emitter,
        tile: Tile,
        dtype: Dtype,
        epilogue: Epilogue,
        prefetch: Prefetch | None,
        resume: bool,
        terms: Terms | None,
    ) -> None:
        self.e, self.tile, self.dtype = e, tile, dtype
        self.epilogue, self.prefetch, self.resume, self.terms = epilogue, prefetch, resume, terms
        vectors = tile.rows * tile.vectors
        self.sums = e.stack(dtype, vectors * LANES)  # of the tile finished last
        self.before = e.stack(dtype, vectors * LANES)  # of the chunks before

    def entry(self, number: Entry) -> Value:
        """Return an entry of ``args``."""
        return entry(self.e, number)

    def write(self) -> None:
        """Whole tiles, then those of the last columns."""
        e, tile = self.e, self.tile
        begin, end = Value(e, "%begin", I64), Value(e, "%end", I64)
        m = self.entry(Entry.M)
        self.row_tiles = e.arithmetic("div", m + (tile.rows - 1), tile.rows)
        if not tile.packed_a:
            self.few = m < tile.rows  # then every row is a tile
            self.row_tiles = e.select(self.few, m, self.row_tiles)
        if not tile.tail:
            panels = e.arithmetic("div", self.entry(Entry.N), tile.width)
            self.walk(begin, end, panels, tile.vectors)
        elif tile.only_tail:
            self.walk(begin, end, None, tile.tail)
        else:
            panels = e.arithmetic("div", self.entry(Entry.N), tile.width)
            whole = self.entry(Entry.BATCHES) * self.row_tiles * panels
            self.walk(begin, e.minimum(end, whole), panels, tile.vectors)
            self.walk(e.maximum(begin - whole, 0), end - whole, None, tile.tail)
        e.finish()

    def walk(self, begin: Value, end: Value, panels: Value | None, vectors: int) -> None:
        """Do the tiles [begin, end) of those that have ``vectors`` vectors: of all panels of B, or of the last alone."""
        e, rows = self.e, self.tile.rows

        def turn(number: Value, *pending: Value) -> list[Value]:
            if panels is None:
                batch = e.quotient(number, self.row_tiles)
                row_tile = number - batch * self.row_tiles
                width = self.tile.width
                panel = e.index(0) if self.tile.only_tail else e.arithmetic("div", self.entry(Entry.N), width)
            else:
                columns_outer = self.entry(Entry.COLUMNS_OUTER) > 0
                inner_count = e.select(columns_outer, self.row_tiles, panels)
                outer_count = e.select(columns_outer, panels, self.row_tiles)
                rest = e.quotient(number, inner_count)
                batch = e.quotient(rest, outer_count)
                inner, outer = number - rest * inner_count, rest - batch * outer_count
                row_tile, panel = e.select(columns_outer, inner, outer), e.select(columns_outer, outer, inner)
            first, m = row_tile * rows, self.entry(Entry.M)
            a = batch * self.entry(Entry.A_BATCH)
            if self.tile.packed_a:
                bound = e.minimum(m - first, rows)
                a = a + (first >> 4) * self.entry(Entry.A_PANEL) + (first & 15)
            else:
                own = e.select(self.few, row_tile, first)
                bound = e.select(self.few, e.index(rows - 1), first - e.minimum(first, m - rows))
                first = own - bound
                a = a + e.select(self.few, own, first) * self.entry(Entry.A_ROW)
            here = [first, panel * self.tile.width, batch, bound]
            where = self.where(here)
            b = batch * self.entry(Entry.B_BATCH) + panel * self.entry(Entry.B_PANEL)
            a = address(e, e.offset(buffer(e, Entry.A), a, self.dtype))
            b = address(e, e.offset(buffer(e, Entry.B), b, self.dtype))
            columns = self.columns(where, vectors, is_tail=panels is None)
            if self.terms:
                self.block = self.terms.block(e, panel if self.terms.kind is Kind.ROWS else row_tile)
            if self.prefetch and not deferred:
                e.loop(where.start, where.stop, 1, lambda i: self.prefetch_row(where, vectors, i))
            self.multiply(a, b, where, columns, self.where(pending) if deferred else None)
            if deferred:
                return here
            self.dispose(where, columns)
            return []

        deferred = self.tile.deferred and vectors == self.tile.vectors
        none = [e.index(0), e.index(0), e.index(0), e.index(0 if self.tile.packed_a else rows)] if deferred else []
        last = e.loop(begin, end, 1, turn, none)
        if deferred:
            where = self.where(last)
            self.dispose(where, self.columns(where, vectors, is_tail=panels is None))

    def where(self, numbers: Sequence[Value]) -> Where:
        """Return a tile given by its row, column and batch, and the end of its own rows, or their start if A is not packed."""
        row, column, batch, bound = numbers
        zero, rows = self.e.index(0), self.e.index(self.tile.rows)
        return Where(row, column, batch, *((zero, bound) if self.tile.packed_a else (bound, rows)))

    def columns(self, where: Where, vectors: int, *, is_tail: bool) -> list[Column]:
        """Return the vectors of a row of a tile."""
        e, tile = self.e, self.tile
        found = [Column()] * vectors
        if is_tail:
            found[-1] = Column(tile.last)
            for j in range(vectors - tile.masked, vectors):
                left, lanes = self.entry(Entry.N) - where.column - j * LANES, found[j].lanes
                found[j] = Column(lanes, e.lane_numbers(lanes=lanes) < e.wide(left, lanes))
        return found

    def at(self, memory: str, vector: Value | int) -> str:
        """Return the address of a vector of the tile's own memory."""
        return self.e.offset(memory, vector * LANES, self.dtype)

    def multiply(self, a: Value, b: Value, where: Where, columns: list[Column], pending: Where | None) -> None:
        """Write the sums of a tile to ``self.sums``; dispose of those of the tile ``pending`` meanwhile."""
        e, rows, dtype = self.e, self.tile.rows, self.dtype
        k = self.entry(Entry.K)
        chunks = e.maximum(e.arithmetic("div", k + (CHUNK - 1), CHUNK), 1)
        several = chunks > 1
        if self.resume:
            self.load_partial(where, columns)
        else:
            e.when(several, lambda: self.clear(rows * len(columns)))
        # Rows 0 to 8 of A are reached from the first by odd multiples of the row stride, times 1, 2, 4 or 8.
        if self.tile.packed_a:
            self.a_step = e.index(LANES * dtype.itemsize)
        else:
            stride = e.select(self.few, e.index(0), self.entry(Entry.A_ROW)) * dtype.itemsize
            self.a_odd = {odd: stride * odd if odd > 1 else stride for odd in (1, 3, 5, 7, 9) if odd < rows}
            self.a_step = self.entry(Entry.A_K) * dtype.itemsize
        self.b_step = self.entry(Entry.B_K) * dtype.itemsize
        zeros = [e.wide(e.constant(0, dtype), column.lanes) for column in columns] * rows

        def terms(start: Value | int, stop: Value, now: list[Value], listed: Block | None) -> list[Value]:
            if listed is None:
                return e.loop(start, stop, 1, lambda _, *now: self.term(list(now), columns), now)

            def turn(place: Value, *sums: Value) -> list[Value]:
                k = listed.term(place)
                return self.term([a + k * self.a_step, b + k * self.b_step, *sums], columns)[2:]

            return [a, b, *e.loop(start, stop, 1, turn, now[2:])]

        def chunk(number: Value, a: Value, b: Value, *stop: Value) -> list[Value]:
            listed = self.block.chunk(number) if self.terms else None
            length = listed.count() if listed else e.minimum(k - number * CHUNK, CHUNK)
            if pending:

                def turn(i: Value, start: Value, *now: Value) -> list[Value]:
                    waits = e.compare("ge", i, pending.start) & (i < stop[0])
                    e.when(waits, lambda: self.dispose_row(pending, columns, i))
                    if self.prefetch:
                        self.prefetch_row(where, len(columns), i)
                    end = e.arithmetic("div", length * (i + 1), rows)
                    return [end, *terms(start, end, list(now), listed)]

                _, a, b, *sums = e.loop(0, rows, 1, turn, [e.index(0), a, b, *zeros], at_least_once=True)
            else:
                a, b, *sums = terms(0, length, [a, b, *zeros], listed)
            for q, value in enumerate(sums):
                e.store(value, self.at(self.sums, q))
            if self.resume:
                self.add_sums(len(sums))
            else:
                e.when(several, lambda: self.add_sums(len(sums)))
            return [a, b, e.index(0)] if pending else [a, b]

        e.loop(0, chunks, 1, chunk, [a, b, pending.stop] if pending else [a, b], at_least_once=True)

    def term(self, now: list[Value], columns: list[Column]) -> list[Value]:
        """Add the products of one k to the sums."""
        e, dtype = self.e, self.dtype
        a, b, sums = now[0], now[1], now[2:]
        row_of_b = pointer(e, b)
        row = [e.load(e.offset(row_of_b, LANES * j, dtype), dtype, x.lanes, x.mask) for j, x in enumerate(columns)]
        base, new = pointer(e, a), []
        for i in range(self.tile.rows):
            if i and i % 9 == 0 and not self.tile.packed_a:
                base = e.raw(f"getelementptr i8, ptr {base}, i64 {self.a_odd[9].name}")
            x = e.load(self.row_of_a(base, i), dtype)
            new += [e.fma(e.wide(x, y.lanes), y, sums[i * len(row) + j]) for j, y in enumerate(row)]
        return [a + self.a_step, b + self.b_step, *new]

    def row_of_a(self, base: str, i: int) -> str:
        """Return the address of row ``i`` in a form that is one operand of a machine instruction."""
        if self.tile.packed_a:
            return self.e.offset(base, i, self.dtype)
        odd = i % 9
        if not odd:
            return base
        while odd % 2 == 0:
            odd //= 2
        kind = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}[i % 9 // odd]
        return self.e.raw(f"getelementptr {kind}, ptr {base}, i64 {self.a_odd[odd].name}")

    def clear(self, count: int) -> None:
        """Begin with zeros."""
        e, zero = self.e, self.e.wide(self.e.constant(0, self.dtype))
        e.loop(0, count, 1, lambda q: e.store(zero, self.at(self.before, q)), at_least_once=True)

    def load_partial(self, where: Where, columns: list[Column]) -> None:
        """Begin with what earlier chunks gave. The rows that are not the tile's own are not read."""
        e, dtype, partial = self.e, self.dtype, buffer(self.e, Entry.PARTIAL)
        place = where.batch * self.entry(Entry.PARTIAL_BATCH) + where.column
        stride = self.entry(Entry.PARTIAL_ROW)

        def row(i: Value) -> None:
            start = e.offset(partial, (where.row + i) * stride + place, dtype)
            for j, column in enumerate(columns):
                value = e.load(e.offset(start, j * LANES, dtype), dtype, column.lanes, column.mask)
                e.store(value, self.at(self.before, i * len(columns) + j))

        e.loop(where.start, where.stop, 1, row, at_least_once=True)

    def add_sums(self, count: int) -> None:
        """Add the sums of a chunk to those before it."""
        e, dtype = self.e, self.dtype

        def vector(q: Value) -> None:
            before, now = self.at(self.before, q), self.at(self.sums, q)
            total = e.load(before, dtype, LANES) + e.load(now, dtype, LANES)
            e.store(total, before)
            e.store(total, now)

        e.loop(0, count, 1, vector, at_least_once=True)

    def dispose(self, where: Where, columns: list[Column]) -> None:
        """Call the epilogue for the tile's own rows."""
        self.e.loop(where.start, where.stop, 1, lambda i: self.dispose_row(where, columns, i))

    def dispose_row(self, where: Where, columns: list[Column], i: Value) -> None:
        """Call the epilogue for one row."""
        e = self.e
        whole = [x.lanes for x in columns].count(LANES)
        for j, x in enumerate(columns):
            e.neighbour = (j, whole)
            value = e.load(self.at(self.sums, i * len(columns) + j), self.dtype, x.lanes)
            column = where.column + j * LANES if j else where.column
            e.lanes = x.lanes
            self.epilogue(e, where.row + i, column, value, x.mask, where.batch)
            e.lanes = LANES

    def prefetch_row(self, where: Where, vectors: int, i: Value) -> None:
        """Ask for what the epilogue of one row will need."""
        for j in range(vectors):
            assert self.prefetch
            self.prefetch(self.e, where.row + i, where.column + j * LANES if j else where.column, where.batch)
