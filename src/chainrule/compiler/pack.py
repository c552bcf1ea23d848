"""Packing a matrix B[k, n] into panels: [N / width][K][width], what a product reads with one stride and no gaps.

Needed where the columns of B do not lie side by side, as in x Wᵀ with W[out, in] (``pack_transposed``), and useful where
its rows are a power of two apart, which a cache maps to few places (``pack_rows``). The kernels have the calling convention
of ``product.py``; ``args`` are ``PackEntry``. A strip of 16 columns is one item of work. Where N is not a multiple of 16
the lanes beyond it hold copies of the last column: products leave them out.
"""

from __future__ import annotations

from enum import IntEnum

from .emit import Emitter
from .module import Module
from .product import address, buffer, entry, pointer
from .value import I64, LANES, Dtype, Value


class PackEntry(IntEnum):
    """What stands where in ``args``; strides are in elements."""

    SOURCE = 0  # slot, then offset in bytes
    TARGET = 2
    K = 4
    N = 5
    BATCHES = 6
    SOURCE_BATCH = 7
    SOURCE_K = 8
    SOURCE_N = 9
    TARGET_BATCH = 10
    TARGET_PANEL = 11  # between panels: K times WIDTH, or more
    WIDTH = 12  # of a panel, a multiple of 16


PACK_ARGS = 13


def count_strips(n: int, batches: int = 1) -> int:
    """Return how many items of work there are."""
    return batches * -(-n // LANES)


def packed_size(k: int, n: int, width: int) -> int:
    """Return how many elements the panels of one matrix take."""
    return -(-n // width) * k * width


class _Pack:
    def __init__(self, module: Module, name: str, dtype: Dtype) -> None:
        self.e = e = Emitter(module, name, [("ptr", "frame"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")])
        self.dtype = dtype
        self.source, self.target = buffer(e, PackEntry.SOURCE), buffer(e, PackEntry.TARGET)
        self.size = {k: entry(e, k) for k in PackEntry if k not in (PackEntry.SOURCE, PackEntry.TARGET)}
        self.begin, self.end = Value(e, "%begin", I64), Value(e, "%end", I64)

    def strip(self, number: Value) -> tuple[str, str, Value]:
        """Return where a strip comes from (its matrix), where it goes, and its first column."""
        e, size = self.e, self.size
        strips = e.arithmetic("div", size[PackEntry.N] + (LANES - 1), LANES)
        batch = e.quotient(number, strips)
        n = (number - batch * strips) * LANES
        panel = e.quotient(n, size[PackEntry.WIDTH])
        source = e.offset(self.source, batch * size[PackEntry.SOURCE_BATCH], self.dtype)
        place = batch * size[PackEntry.TARGET_BATCH] + panel * size[PackEntry.TARGET_PANEL]
        place = place + (n - panel * size[PackEntry.WIDTH])
        return source, e.offset(self.target, place, self.dtype), n

    def column(self, source: str, n: Value) -> str:
        """Return the address of column ``n``, of the last one where there is none."""
        n = self.e.minimum(n, self.size[PackEntry.N] - 1)
        return self.e.offset(source, n * self.size[PackEntry.SOURCE_N], self.dtype)

    def any(self, source: str, target: str, n: Value) -> None:
        """Pack a strip one element after the other."""
        e, dtype, size = self.e, self.dtype, self.size

        def column(j: Value) -> None:
            start = self.column(source, n + j)

            def row(k: Value) -> None:
                x = e.load(e.offset(start, k * size[PackEntry.SOURCE_K], dtype), dtype)
                e.store(x, e.offset(target, k * size[PackEntry.WIDTH] + j, dtype))

            e.loop(0, size[PackEntry.K], 1, row)

        e.loop(0, LANES, 1, column)


def pack_any(module: Module, name: str, dtype: Dtype) -> None:
    """Write a kernel for matrices of any strides, an element at a time."""
    pack = _Pack(module, name, dtype)
    pack.e.loop(pack.begin, pack.end, 1, lambda number: pack.any(*pack.strip(number)))
    pack.e.finish()


def pack_rows(module: Module, name: str, dtype: Dtype) -> None:
    """Write a kernel for matrices of stride 1 along n. Eight strips go together, so that long pieces of a row are read."""
    pack = _Pack(module, name, dtype)
    e, size, together = pack.e, pack.size, 8
    sources, targets = e.stack(I64, together), e.stack(I64, together)

    def group(first: Value) -> None:
        count = e.minimum(pack.end - first, together)

        def note(i: Value, whole: Value) -> list[Value]:
            source, target, n = pack.strip(first + i)
            fits = n + LANES <= size[PackEntry.N]
            e.when(~fits, lambda: pack.any(source, target, n))  # the last columns
            e.store(address(e, e.offset(source, n, dtype)), e.offset(sources, whole, I64))
            e.store(address(e, target), e.offset(targets, whole, I64))
            return [whole + e.cast(fits, I64)]

        [whole] = e.loop(0, count, 1, note, [e.index(0)], at_least_once=True)

        def row(k: Value) -> None:
            source_row, target_row = k * size[PackEntry.SOURCE_K], k * size[PackEntry.WIDTH]

            def strip(i: Value) -> None:
                source = pointer(e, e.load(e.offset(sources, i, I64), I64))
                target = pointer(e, e.load(e.offset(targets, i, I64), I64))
                x = e.load(e.offset(source, source_row, dtype), dtype, LANES)
                e.store(x, e.offset(target, target_row, dtype))

            e.loop(0, whole, 1, strip)

        e.loop(0, size[PackEntry.K], 1, row)

    e.loop(pack.begin, pack.end, together, group)
    e.finish()


def pack_transposed(module: Module, name: str, dtype: Dtype) -> None:
    """Write a kernel for matrices of stride 1 along k, by transposition in registers.

    Four rows from 16 columns at a time, the last four overlapping those before; fewer rows an element at a time.
    """
    pack = _Pack(module, name, dtype)
    e, size = pack.e, pack.size
    starts = e.stack(I64, LANES)

    def item(number: Value) -> None:
        source, target, n = pack.strip(number)
        k = size[PackEntry.K]

        def note(j: Value) -> None:
            e.store(address(e, pack.column(source, n + j)), e.offset(starts, j, I64))

        def block(first: Value) -> None:
            first = e.minimum(first, k - 4)
            columns = []
            for j in range(LANES):
                start = pointer(e, e.load(e.offset(starts, j, I64), I64))
                columns.append(e.load(e.offset(start, first, dtype), dtype, 4))
            row = e.offset(target, first * size[PackEntry.WIDTH], dtype)
            for x in transpose(e, columns):
                e.store(x, row)
                row = e.offset(row, size[PackEntry.WIDTH], dtype)

        e.loop(0, LANES, 1, note, at_least_once=True)
        whole = e.compare("ge", k, 4)
        e.loop(0, e.select(whole, k, 0), 4, block)
        e.when(~whole, lambda: pack.any(source, target, n))

    e.loop(pack.begin, pack.end, 1, item)
    e.finish()


def transpose(e: Emitter, columns: list[Value]) -> list[Value]:
    """Return the 4 rows of 16 lanes of a block given as 16 columns of 4."""
    # Column j + 4 q goes to quarter q of register j: then each quarter of the four registers is a 4 × 4 block of its own.
    registers = []
    for j in range(4):
        low = e.shuffle(columns[j], columns[j + 4], range(8))
        high = e.shuffle(columns[j + 8], columns[j + 12], range(8))
        registers.append(e.shuffle(low, high, range(16)))

    def in_quarters(x: Value, y: Value, order: tuple[int, ...]) -> Value:
        lanes = [4 * quarter + k % 4 + LANES * (k // 4) for quarter in range(4) for k in order]
        return e.shuffle(x, y, lanes)

    a, b, c, d = registers
    ab, cd = in_quarters(a, b, (0, 4, 1, 5)), in_quarters(c, d, (0, 4, 1, 5))
    first = [in_quarters(ab, cd, (0, 1, 4, 5)), in_quarters(ab, cd, (2, 3, 6, 7))]
    ab, cd = in_quarters(a, b, (2, 6, 3, 7)), in_quarters(c, d, (2, 6, 3, 7))
    return [*first, in_quarters(ab, cd, (0, 1, 4, 5)), in_quarters(ab, cd, (2, 3, 6, 7))]
