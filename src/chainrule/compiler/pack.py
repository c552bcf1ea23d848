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
from .product import buffer, entry


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
    """Write a kernel for matrices of stride 1 along k: 16×16 blocks are transposed in registers."""
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

    def columns(self, source: str, n: Value) -> list[str]:
        """Return the addresses of columns n to n + 15, of the last one again where there are fewer."""
        e, last = self.e, self.size[PackEntry.N] - 1
        places = [e.minimum(n + j, last) * self.size[PackEntry.SOURCE_N] for j in range(LANES)]
        return [e.offset(source, place, self.dtype) for place in places]


def _any(pack: _Pack, source: str, target: str, n: Value) -> None:
    """One row of a strip after the other."""
    e, dtype, size = pack.e, pack.dtype, pack.size
    places = pack.columns(source, n)

    def row(k: Value) -> None:
        place = k * size[PackEntry.SOURCE_K]
        for j, column in enumerate(places):
            x = e.load(e.offset(column, place, dtype), dtype)
            e.store(x, e.offset(target, k * size[PackEntry.WIDTH] + j, dtype))

    e.loop(0, size[PackEntry.K], 1, row)


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
    """Blocks of 16×16, the last one overlapping the one before; fewer than 16 rows an element at a time."""
    e, dtype, size = pack.e, pack.dtype, pack.size
    whole = e.compare("ge", size[PackEntry.K], LANES)
    places = pack.columns(source, n)

    def block(first: Value) -> None:
        k = e.minimum(first, size[PackEntry.K] - LANES)
        rows = transpose(e, [e.load(e.offset(place, k, dtype), dtype, LANES) for place in places])
        for i, row in enumerate(rows):
            e.store(row, e.offset(target, (k + i) * size[PackEntry.WIDTH], dtype))

    e.loop(0, e.select(whole, size[PackEntry.K], 0), LANES, block)
    e.when(~whole, lambda: _any(pack, source, target, n))


def transpose(e: Emitter, rows: list[Value]) -> list[Value]:
    """Return the columns of a square block, by exchanging halves at distances 8, 4, 2 and 1."""
    rows, step = list(rows), LANES // 2
    while step:
        low = [j if not j & step else LANES + j - step for j in range(LANES)]
        high = [j + step if not j & step else LANES + j for j in range(LANES)]
        for i in (i for i in range(LANES) if not i & step):
            a, b = rows[i], rows[i + step]
            rows[i], rows[i + step] = e.shuffle(a, b, low), e.shuffle(a, b, high)
        step //= 2
    return rows
