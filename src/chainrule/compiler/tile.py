"""The shape of a tile: how much of a product's result is held in registers, chosen by the shape of the whole.

Measured on Zen 4: with vectors of 512 bits 8 × 16 sums already keep the multipliers busy (their latency is 4 cycles), so what
decides is that no rows are wasted, and how much of a tile's beginning and end the sums of the next one hide.
"""

from __future__ import annotations

from typing import NamedTuple

from chainrule.compiler.interface import Items
from chainrule.compiler.value import LANES, Dtype
from chainrule.graph.sizes import Dim

NARROW = (4, 8, LANES)  # lanes of a last vector


class Tile(NamedTuple):
    """How much of C a tile holds: ``rows`` × 16 ``vectors``.

    Where N is not a multiple, the last tile of a row has ``tail`` vectors, and lanes of its last ``masked`` vectors may be
    missing. ``tail`` and ``masked`` follow from N (``with_columns``), or suit every N when both equal ``vectors``.
    ``last``: the lanes of the last vector of the tail, fewer where a register of half or a quarter of the width holds them; then only
    these are computed, loaded and stored.
    ``only_tail``: N is less than the width, every tile is the last of its row.
    ``deferred``: the epilogue of a tile runs between the multiply-adds of the next.
    ``packed_a``: A is packed in panels of 16 rows, of which ``rows`` must be a divisor.
    """

    rows: int
    vectors: int
    tail: int = 0
    masked: int = 0
    only_tail: bool = False
    deferred: bool = False
    packed_a: bool = False
    last: int = LANES

    @property
    def width(self) -> int:
        """Columns."""
        return self.vectors * LANES

    def with_columns(self, n: int | None) -> Tile:
        """Return the tile for C of ``n`` columns, or of any number of columns (None)."""
        if n is None:
            return self._replace(tail=self.vectors, masked=self.vectors, only_tail=False, last=LANES)
        tail = -(-(n % self.width) // LANES)
        rest = n % LANES or LANES
        last = next(lanes for lanes in NARROW if rest <= lanes)
        return self._replace(tail=tail, masked=int(rest < last), last=last, only_tail=0 < n < self.width)


def count_tiles(tile: Tile, m: Dim, n: Dim, batches: Dim = 1) -> Items:
    """Return how many tiles there are, the largest ``end`` of a call."""
    return Items(batches * (n // tile.width + (tile.tail > 0)), m, tile.rows, not tile.packed_a, divided=0)


class Registers(NamedTuple):
    """A machine's vector registers: their width, and how many there are."""

    bits: int
    number: int


def choose_tile(
    m_hint: int | None,
    n: int | None,
    k_hint: int | None,
    registers: Registers,
    dtype: Dtype,
    *,
    in_place: bool = False,
    draws: int = 0,
) -> Tile:
    """Return the tile that should take least time for C of about ``m_hint`` rows and ``n`` columns (None: unknown).

    ``in_place``: the epilogue loads, computes and stores, as an optimizer does. Where vectors are wide enough to leave
    the other units idle, such an epilogue is deferred, and that of short sums or of a C beyond the nearer caches; of the
    shortest sums not: there is too little between which it could run.
    ``draws``: it makes random numbers, best for so many vectors side by side; as that takes all registers it is not deferred.
    """
    per_vector = max(1, LANES * dtype.itemsize * 8 // registers.bits)
    per_cycle = 1 if registers.bits == 512 else 2  # multiply-adds, of a latency of 4
    shortest = 7 if registers.bits == 512 else 4.2  # cycles per term of the sums, measured
    m, columns, k = m_hint or 192, n or 384, max(k_hint or 256, 1)
    deferred = (
        registers.bits == 512 and not draws and (in_place or 5 < k <= 64 or m * columns * dtype.itemsize >= 1 << 20)
    )

    narrowest = min(registers.bits, 256) / registers.bits  # of 512 bits, two of half the width take as long as one

    def size(vectors: int, last: int = LANES) -> float:  # in registers
        return (vectors - 1) * per_vector + max(last * per_vector / LANES, narrowest)

    def fits(rows: int, vectors: int) -> bool:  # sums, a row of B and a broadcast element of A
        return (rows * vectors + vectors) * per_vector + 1 <= registers.number

    def cycles(rows: int, width: float) -> float:
        sums = rows * width / per_cycle
        loads = rows / 2 + width / per_cycle
        after = sums if deferred else 6 * sums - 30  # what the sums of the next tile do not hide
        alone = 5.5 * max(rows - k, 0) if deferred else 0  # rows of the last tile between which there are no sums
        return k * max(sums, loads, shortest) + max(after, 10) + alone + 35

    def total(tile: Tile) -> float:
        row_tiles = m if m < tile.rows else -(-m // tile.rows)
        whole = columns // tile.width * cycles(tile.rows, size(tile.vectors))
        tail = cycles(tile.rows, size(tile.tail, tile.last)) if tile.tail else 0
        code = tile.vectors + (0 if tile.only_tail else tile.tail)
        return row_tiles * (whole + tail) * (1 + 0.01 * code)

    highest = 24 if m_hint else 8  # of few rows the fewest are wasted, however many there will be
    widths = list(range(1, 9))
    if draws:  # side by side, as many as there is room for
        most = min(draws, max(columns // LANES, 1))
        widths = [next(vectors for vectors in range(most, 0, -1) if vectors == 1 or fits(1, vectors))]
    shapes = [(rows, vectors) for vectors in widths for rows in range(1, highest + 1) if fits(rows, vectors)]
    shapes = shapes or [(1, 1)]  # more than there are registers for
    return min((Tile(*shape, deferred=deferred).with_columns(n) for shape in shapes), key=total)
