"""The one contraction of the compiler: C[b, m, n] = Σ_k A[b, m, k] B[b, k, n], a tile of C in registers at a time.

Linear layers, convolutions, attention, their gradients and their optimizer steps differ in strides and in what is done with
a finished vector of C. So a kernel depends on the dtype, the tile and that epilogue only; sizes, strides and addresses are
entries of ``args`` (``Entry``), read when it runs:

    void kernel(ptr frame, ptr args, i64 begin, i64 end)

``frame`` holds addresses, ``args`` integers of 64 bits. A buffer is two entries: which address of the frame, and how many
bytes after it. ``[begin, end)`` are the tiles to do; no two tiles share an element of C, so threads may share a kernel.

Operands. A has any strides: each of its elements is broadcast, so a transposed A costs nothing. The columns of B lie side by
side; its rows are ``B_K`` apart, its panels (of as many columns as the tile has) ``B_PANEL``. A matrix in row-major order
and one packed in panels (``pack.py``) thus differ in these two numbers. A may be packed too: see ``A_TILE``.

Order of the sums, which depends on the shapes alone, never on the tile, the threads or the machine: chunks of ``CHUNK``
terms, each summed by fma in rising order from 0, are added in order.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple, Protocol

from .emit import I64, LANES, Dtype, Emitter, Module, Value

CHUNK = 256  # terms summed one after the other, before they are added to the sum of those before them


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
    A_FIRST = 11  # between the first rows of tiles, per row: A_ROW, or 0 where A is packed in tiles
    A_TILE = 12  # between tiles: 0, or the length of a packed tile
    B_BATCH = 13
    B_K = 14
    B_PANEL = 15  # the tile's columns where B is in row-major order, the length of a panel where it is packed
    COLUMNS_OUTER = 16  # 0: all tiles of a row of tiles come first, 1: all tiles of a column of tiles
    RESUME = 17  # 1: begin with the sums in PARTIAL, which chunks before these gave, instead of nothing
    PARTIAL = 18  # slot, then offset in bytes; rows of N sums side by side
    PARTIAL_ROW = 20
    PARTIAL_BATCH = 21


PRODUCT_ARGS = 22


class Tile(NamedTuple):
    """How much of C a tile holds: ``rows`` × 16 ``vectors``.

    Where N is not a multiple, the last tile of a row has ``tail`` vectors, and lanes of its last ``masked`` vectors may be
    missing. ``tail`` and ``masked`` follow from N (``with_columns``), or suit every N when both equal ``vectors``.
    ``deferred``: the epilogue of a tile runs between the multiply-adds of the next.
    """

    rows: int
    vectors: int
    tail: int = 0
    masked: int = 0
    deferred: bool = False

    @property
    def width(self) -> int:
        """Columns."""
        return self.vectors * LANES

    def with_columns(self, n: int | None) -> Tile:
        """Return the tile for C of ``n`` columns, or of any number of columns (None)."""
        if n is None:
            return self._replace(tail=self.vectors, masked=self.vectors)
        tail = -(-(n % self.width) // LANES)
        return self._replace(tail=tail, masked=int(n % LANES > 0))


def count_tiles(tile: Tile, m: int, n: int, batches: int = 1) -> int:
    """Return how many tiles there are, the largest ``end`` of a call."""
    row_tiles = m if m < tile.rows else -(-m // tile.rows)
    if tile.masked == tile.vectors == tile.tail and tile.vectors > 1:
        column_tiles = n // tile.width + 1
    else:
        column_tiles = -(-n // tile.width)
    return batches * row_tiles * column_tiles


class Epilogue(Protocol):
    """What is done with a finished vector of C: ``value`` belongs at [batch, row, column …]; ``mask``: lanes that exist."""

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


class Where(NamedTuple):
    """A tile among the others: its place in C, and its rows that are its own (from ``skip`` on)."""

    row: Value
    column: Value
    batch: Value
    skip: Value


def product(
    module: Module,
    name: str,
    tile: Tile,
    dtype: Dtype,
    epilogue: Epilogue,
    *,
    prepare: Callable[[Emitter], None] | None = None,
) -> None:
    """Write the kernel ``name`` into ``module``; ``prepare`` is called once, at its entry.

    A last row of tiles that would reach beyond C begins earlier, and leaves the rows it shares with the one before alone;
    of fewer rows than a tile has, each is a tile of equal rows. So the epilogue sees every element of C once.
    """
    e = Emitter(module, name, [("ptr", "frame"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")])
    _Product(e, tile, dtype, epilogue, prepare).write()


class _Product:
    def __init__(
        self, e: Emitter, tile: Tile, dtype: Dtype, epilogue: Epilogue, prepare: Callable[[Emitter], None] | None
    ) -> None:
        self.e, self.tile, self.dtype, self.epilogue = e, tile, dtype, epilogue
        self.a, self.b, self.partial = (buffer(e, k) for k in (Entry.A, Entry.B, Entry.PARTIAL))
        self.size = {k: entry(e, k) for k in Entry if k not in (Entry.A, Entry.B, Entry.PARTIAL)}
        if prepare:
            prepare(e)
        size, rows = self.size, tile.rows
        self.few = size[Entry.M] < rows  # then every row is a tile
        self.row_step = e.select(self.few, e.index(0), e.index(1))
        count = e.arithmetic("div", size[Entry.M] + (rows - 1), rows)
        self.row_tiles = e.select(self.few, size[Entry.M], count)
        self.last_row = size[Entry.M] - rows
        self.column_tiles = e.arithmetic("div", size[Entry.N], tile.width)
        self.chunks = e.arithmetic("div", size[Entry.K] + (CHUNK - 1), CHUNK)
        self.chunks = e.select(self.chunks > 1, self.chunks, e.index(1))
        self.resume = size[Entry.RESUME] > 0
        self.many = (self.chunks > 1) | self.resume
        # Rows 0 to 8 of A are reached from the first by odd multiples of the row stride, times 1, 2, 4 or 8.
        stride = size[Entry.A_ROW] * self.row_step * dtype.itemsize
        self.a_odd = {odd: stride * odd for odd in (1, 3, 5, 7, 9) if odd < rows}
        self.a_step = size[Entry.A_K] * dtype.itemsize
        self.b_step = size[Entry.B_K] * dtype.itemsize
        vectors = rows * tile.vectors
        self.sums = e.stack(dtype, vectors * LANES)  # of a finished tile
        self.before = e.stack(dtype, vectors * LANES)  # of the chunks before

    def write(self) -> None:
        """Whole tiles, then those of the last columns."""
        e, tile = self.e, self.tile
        begin, end = Value(e, "%begin", I64), Value(e, "%end", I64)
        whole = self.size[Entry.BATCHES] * self.row_tiles * self.column_tiles
        self.walk(begin, e.minimum(end, whole), self.column_tiles, tile.vectors, 0)
        if tile.tail:
            self.walk(e.maximum(begin - whole, 0), end - whole, e.index(1), tile.tail, tile.masked)
        e.finish()

    def walk(self, begin: Value, end: Value, column_tiles: Value, vectors: int, masked: int) -> None:
        """Do the tiles [begin, end) of those that have ``vectors`` vectors."""
        e, size = self.e, self.size
        rows_inner = size[Entry.COLUMNS_OUTER] > 0
        first_column = self.column_tiles * self.tile.width if masked or vectors < self.tile.vectors else e.index(0)
        inner_count = e.maximum(e.select(rows_inner, self.row_tiles, column_tiles), 1)
        outer_count = e.maximum(e.select(rows_inner, column_tiles, self.row_tiles), 1)
        rest = e.arithmetic("div", begin, inner_count)
        start = [
            e.remainder(begin, inner_count),
            e.remainder(rest, outer_count),
            e.arithmetic("div", rest, outer_count),
        ]

        def turn(_: Value, inner: Value, outer: Value, batch: Value) -> list[Value]:
            row_tile, column_tile = e.select(rows_inner, inner, outer), e.select(rows_inner, outer, inner)
            first = row_tile * self.tile.rows
            row = e.select(self.few, row_tile, e.minimum(first, self.last_row))
            skip = e.select(self.few, e.index(self.tile.rows - 1), first - row)
            where = Where(row, first_column + column_tile * self.tile.width, batch, skip)
            panel = column_tile if first_column.constant else self.column_tiles
            masks = [None] * (vectors - masked) + [self.mask(where.column, j) for j in range(vectors - masked, vectors)]
            self.multiply(where, row_tile, panel, masks)
            self.dispose(where, masks)
            following = inner + 1
            turned = e.cast(e.compare("ge", following, inner_count), I64)
            outer = outer + turned
            around = e.cast(e.compare("ge", outer, outer_count), I64)
            return [following * (1 - turned), outer * (1 - around), batch + around]

        e.loop(begin, end, 1, turn, start)

    def mask(self, column: Value, j: int) -> Value:
        """Return which lanes of vector ``j`` of a tile at ``column`` exist."""
        e = self.e
        return e.lane_numbers() < e.wide(self.size[Entry.N] - column - j * LANES)

    def at(self, memory: str, vector: Value | int) -> str:
        """Return the address of a vector of the tile's own memory."""
        return self.e.offset(memory, vector * LANES, self.dtype)

    def multiply(self, where: Where, row_tile: Value, panel: Value, masks: list[Value | None]) -> None:
        """Write the sums of a tile to ``self.sums``."""
        e, size, vectors = self.e, self.size, len(masks)
        a = where.batch * size[Entry.A_BATCH] + where.row * size[Entry.A_FIRST] + row_tile * size[Entry.A_TILE]
        b = where.batch * size[Entry.B_BATCH] + panel * size[Entry.B_PANEL]
        a = address(e, e.offset(self.a, a, self.dtype))
        b = address(e, e.offset(self.b, b, self.dtype))
        e.when(self.many, lambda: self.begin_sums(where, masks))
        zero = e.wide(e.constant(0, self.dtype))
        places = range(self.tile.rows * vectors)

        def chunk(number: Value, a: Value, b: Value) -> list[Value]:
            length = e.minimum(size[Entry.K] - number * CHUNK, CHUNK)
            a, b, *sums = e.loop(
                0, length, 1, lambda _, *now: self.term(list(now), masks), [a, b, *[zero for _ in places]]
            )
            for q, value in enumerate(sums):
                e.store(value, self.at(self.sums, q))
            e.when(self.many, lambda: self.add_sums(len(places)))
            return [a, b]

        e.loop(0, self.chunks, 1, chunk, [a, b], at_least_once=True)

    def term(self, now: list[Value], masks: list[Value | None]) -> list[Value]:
        """Add the products of one k to the sums."""
        e, dtype = self.e, self.dtype
        a, b, sums = now[0], now[1], now[2:]
        row_of_b = pointer(e, b)
        columns = [e.load(e.offset(row_of_b, j * LANES, dtype), dtype, LANES, mask) for j, mask in enumerate(masks)]
        base, new = pointer(e, a), []
        for i in range(self.tile.rows):
            if i and i % 9 == 0:
                base = e.raw(f"getelementptr i8, ptr {base}, i64 {self.a_odd[9].name}")
            x = e.wide(e.load(self.row_of_a(base, i % 9), dtype))
            new += [e.fma(x, y, sums[i * len(masks) + j]) for j, y in enumerate(columns)]
        return [a + self.a_step, b + self.b_step, *new]

    def row_of_a(self, base: str, i: int) -> str:
        """Return the address of row ``i`` in a form that is one operand of a machine instruction."""
        if not i:
            return base
        odd = i
        while odd % 2 == 0:
            odd //= 2
        kind = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}[i // odd]
        return self.e.raw(f"getelementptr {kind}, ptr {base}, i64 {self.a_odd[odd].name}")

    def begin_sums(self, where: Where, masks: list[Value | None]) -> None:
        """Set ``self.before`` to what earlier chunks gave, or to zeros."""
        e, dtype = self.e, self.dtype
        zero = e.wide(e.constant(0, dtype))
        count = self.tile.rows * len(masks)
        e.loop(0, count, 1, lambda q: e.store(zero, self.at(self.before, q)), at_least_once=True)

        def row(i: Value) -> None:
            for j, mask in enumerate(masks):
                place = self.row_of(where, i) * self.size[Entry.PARTIAL_ROW] + where.column + j * LANES
                place = place + where.batch * self.size[Entry.PARTIAL_BATCH]
                value = e.load(e.offset(self.partial, place, dtype), dtype, LANES, mask)
                e.store(value, self.at(self.before, i * len(masks) + j))

        def rows() -> None:
            e.loop(0, self.tile.rows, 1, row, at_least_once=True)

        e.when(self.resume, rows)

    def add_sums(self, count: int) -> None:
        """Add the sums of a chunk to those before it."""
        e, dtype = self.e, self.dtype

        def vector(q: Value) -> None:
            before, now = self.at(self.before, q), self.at(self.sums, q)
            total = e.load(before, dtype, LANES) + e.load(now, dtype, LANES)
            e.store(total, before)
            e.store(total, now)

        e.loop(0, count, 1, vector, at_least_once=True)

    def row_of(self, where: Where, i: Value) -> Value:
        """Return which row of C row ``i`` of the tile is."""
        return where.row + i * self.row_step

    def dispose(self, where: Where, masks: list[Value | None]) -> None:
        """Call the epilogue for the tile's own rows."""
        e = self.e

        def row(i: Value) -> None:
            for j, mask in enumerate(masks):
                value = e.load(self.at(self.sums, i * len(masks) + j), self.dtype, LANES)
                column = where.column + j * LANES if j else where.column
                self.epilogue(e, self.row_of(where, i), column, value, mask, where.batch)

        e.loop(where.skip, self.tile.rows, 1, row, at_least_once=True)


class Registers(NamedTuple):
    """A machine's vector registers: their width, and how many there are."""

    bits: int
    number: int


def choose_tile(m_hint: int | None, n: int | None, k_hint: int | None, registers: Registers, dtype: Dtype) -> Tile:
    """Return the tile that should take least time for C of about ``m_hint`` rows and ``n`` columns (None: unknown)."""
    per_vector = max(1, LANES * dtype.itemsize * 8 // registers.bits)
    most = max(registers.number * 3 // 4 // per_vector, 1)  # sums; the rest hold B, a broadcast A and what is spare
    m, columns, k = m_hint or 12 * 16, n or 16 * 24, max(k_hint or 256, 1)
    best: tuple[float, Tile] | None = None
    for vectors in range(1, min(most, 8) + 1):
        for rows in range(1, min(most // vectors, 24) + 1):
            tile = Tile(rows, vectors).with_columns(n)

            def cycles(v: int, rows: int = rows) -> float:
                sums = rows * v * per_vector
                turn = max(sums, 0.5 * rows + v * per_vector, 4 if registers.bits == 512 else 8)
                return turn * k + 2 * sums + 40

            row_tiles = m if m < rows else -(-m // rows)
            total = row_tiles * (columns // tile.width * cycles(vectors) + (cycles(tile.tail) if tile.tail else 0))
            if best is None or total < best[0]:
                best = total, tile
    assert best
    return best[1]
