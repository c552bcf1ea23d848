"""Packing a matrix B[k, n] into panels: [N / width][K][width], what a product reads with one stride and no gaps.

Needed where the columns of B do not lie side by side, as in x Wᵀ with W[out, in] (``pack_transposed``), and useful where
its rows are a power of two apart, which a cache maps to few places (``pack_rows``). The kernels have the calling convention
of ``product.py``; ``args`` are ``PackEntry``. A strip of 16 columns is one item of work. Where N is not a multiple of 16
the lanes beyond it hold copies of the last column: products leave them out.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from .emit import I64, LANES, Dtype, Emitter, Module, Value
from .product import address, buffer, entry, pointer


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


def pack_transposed(module: Module, name: str, dtype: Dtype) -> None:
    """Write a kernel for matrices of stride 1 along k: blocks of 16 columns are transposed in registers."""
    _Pack(module, name, dtype).write(_transposed)


def pack_rows(module: Module, name: str, dtype: Dtype) -> None:
    """Write a kernel for matrices of stride 1 along n."""
    _Pack(module, name, dtype).write(_rows)


def pack_any(module: Module, name: str, dtype: Dtype) -> None:
    """Write a kernel for matrices of any strides, an element at a time."""
    _Pack(module, name, dtype).write(_any)


class _Pack:
    def __init__(self, module: Module, name: str, dtype: Dtype) -> None:
        self.e = e = Emitter(module, name, [("ptr", "frame"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")])
        self.dtype = dtype
        self.source, self.target = buffer(e, PackEntry.SOURCE), buffer(e, PackEntry.TARGET)
        self.size = {k: entry(e, k) for k in PackEntry if k not in (PackEntry.SOURCE, PackEntry.TARGET)}

    def write(self, strip: Callable[[_Pack, str, str, Value], None]) -> None:
        """Call ``strip(pack, source, target, first column)`` for each."""
        e, size = self.e, self.size
        strips = e.arithmetic("div", size[PackEntry.N] + (LANES - 1), LANES)

        def item(number: Value) -> None:
            batch, rest = e.arithmetic("div", number, strips), e.remainder(number, strips)
            n = rest * LANES
            panel, column = e.arithmetic("div", n, size[PackEntry.WIDTH]), e.remainder(n, size[PackEntry.WIDTH])
            source = e.offset(self.source, batch * size[PackEntry.SOURCE_BATCH], self.dtype)
            place = batch * size[PackEntry.TARGET_BATCH] + panel * size[PackEntry.TARGET_PANEL] + column
            strip(self, source, e.offset(self.target, place, self.dtype), n)

        e.loop(Value(e, "%begin", I64), Value(e, "%end", I64), 1, item)
        e.finish()

    def column(self, source: str, n: Value) -> str:
        """Return the address of column ``n``, of the last one where there is none."""
        n = self.e.minimum(n, self.size[PackEntry.N] - 1)
        return self.e.offset(source, n * self.size[PackEntry.SOURCE_N], self.dtype)


def _any(pack: _Pack, source: str, target: str, n: Value) -> None:
    """One element after the other."""
    e, dtype, size = pack.e, pack.dtype, pack.size

    def column(j: Value) -> None:
        start = pack.column(source, n + j)

        def row(k: Value) -> None:
            x = e.load(e.offset(start, k * size[PackEntry.SOURCE_K], dtype), dtype)
            e.store(x, e.offset(target, k * size[PackEntry.WIDTH] + j, dtype))

        e.loop(0, size[PackEntry.K], 1, row)

    e.loop(0, LANES, 1, column)


def _rows(pack: _Pack, source: str, target: str, n: Value) -> None:
    """Copy rows of 16, the last columns an element at a time."""
    e, dtype, size = pack.e, pack.dtype, pack.size
    whole = n + LANES <= size[PackEntry.N]

    def row(k: Value) -> None:
        x = e.load(e.offset(source, k * size[PackEntry.SOURCE_K] + n, dtype), dtype, LANES)
        e.store(x, e.offset(target, k * size[PackEntry.WIDTH], dtype))

    e.loop(0, e.select(whole, size[PackEntry.K], 0), 1, row)
    e.when(~whole, lambda: _any(pack, source, target, n))


def _transposed(pack: _Pack, source: str, target: str, n: Value) -> None:
    """Four rows from 16 columns at a time, the last four overlapping those before; fewer an element at a time."""
    e, dtype, size = pack.e, pack.dtype, pack.size
    k = size[PackEntry.K]
    whole = e.compare("ge", k, 4)
    starts = e.stack(I64, LANES)

    def note(j: Value) -> None:
        e.store(address(e, pack.column(source, n + j)), e.offset(starts, j, I64))

    e.loop(0, LANES, 1, note, at_least_once=True)

    def block(first: Value) -> None:
        first = e.minimum(first, k - 4)
        quarters = []
        for j in range(LANES):
            start = pointer(e, e.load(e.offset(starts, j, I64), I64))
            quarters.append(e.load(e.offset(start, first, dtype), dtype, 4))
        row = e.offset(target, first * size[PackEntry.WIDTH], dtype)
        for x in transpose(e, quarters):
            e.store(x, row)
            row = e.offset(row, size[PackEntry.WIDTH], dtype)

    e.loop(0, e.select(whole, k, 0), 4, block)
    e.when(~whole, lambda: _any(pack, source, target, n))


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
