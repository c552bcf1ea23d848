"""The contraction where both operands have stride 1 along k, as x Wᵀ has with W[out, in]: neither is packed.

C[b, m, n] = Σ_k A[b, m, k] B[b, n, k]. A tile of sums takes a vector of each of its rows of A and of B at a time; each sum
is 16 partial sums in the lanes of a vector, folded at the end by a transposition that adds. For sums of some length that
costs less than packing B (``pays``). Calling convention, entries and epilogue are those of
``product.py``, except that ``B_K`` is the stride between the rows of B.

Order of the sums, which depends on K alone: within a chunk of ``DOT_CHUNK`` terms, term k goes to lane k mod 16, each lane
is summed by fma in rising order from 0, and halves of the lanes are added to halves; the chunks are added in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from chainrule.compiler.interface import Items
from chainrule.graph.sizes import Dim

from .emit import Emitter
from .module import Module
from .product import Entry, Epilogue, Registers, buffer, entry
from .terms import Block, Terms
from .value import I64, LANES, Dtype, Value

DOT_CHUNK = 4096  # terms, 256 in each lane
KEPT = 1 << 20  # bytes of A
PIECE = 512  # of them are gone through at a time where that takes several passes


class Dots(NamedTuple):
    """A tile of ``rows`` × ``columns`` sums (each a vector); ``columns`` is a power of two.

    ``lanes``: how many of the 16 partial sums of each are made together, in one register; the others follow in further
    passes over k. ``masked``: N may be no multiple of 16. ``whole``: K is a multiple of 16.
    """

    rows: int
    columns: int
    lanes: int = LANES
    masked: bool = True
    whole: bool = False


def pays(k: int) -> bool:
    """Return whether products of ``k`` terms should be made so: by k alone, for the order of the sums depends on it.

    Measured: shorter sums cost more to fold than packing saves, and rows longer than this no longer stay in the nearest
    cache while they are used again, so that many rows are multiplied faster packed (few are not).
    """
    return 256 <= k <= 1024


def choose_dots(n: int | None, k: int | None, registers: Registers, dtype: Dtype) -> Dots:
    """Return the tile that fits the registers, for ``n`` columns and ``k`` terms (None: unknown)."""
    lanes = min(registers.bits // (8 * dtype.itemsize), LANES)
    rows, columns = (4, 4) if registers.number >= 32 else (4, 2) if k and pays(k) else (3, 4)
    return Dots(rows, columns, lanes, n is None or n % LANES > 0, k is not None and k % LANES == 0)


def count_dots(dots: Dots, m: Dim, n: Dim, k: int, dtype: Dtype, batches: Dim = 1) -> Items:
    """Return how many items of work there are: ``rows`` of C by 16 columns."""
    strips = (n + (LANES - 1)) // LANES
    together = max(KEPT // (max(k, 1) * dots.rows * dtype.itemsize), 1)  # as the kernel finds it
    return Items(batches * strips, m, dots.rows, divided=together * strips)


def dot_product(
    module: Module,
    name: str,
    dots: Dots,
    dtype: Dtype,
    epilogue: Epilogue,
    *,
    prepare: Callable[[Emitter], None] | None = None,
    terms: Terms | None = None,
) -> None:
    """Write the kernel ``name`` into ``module``; ``prepare`` is called once, at its entry."""
    e = Emitter(module, name, [("ptr", "frame"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")])
    if prepare:
        prepare(e)
    write_dot_product(e, dots, dtype, epilogue, terms=terms)


def write_dot_product(e: Emitter, dots: Dots, dtype: Dtype, epilogue: Epilogue, *, terms: Terms | None = None) -> None:
    """Write the same into a function that was begun.

    ``terms``: which groups of 16 terms are added where the others are known to be 0, in a list for each row of tiles. What is
    left of K after whole groups is always added; K is ``DOT_CHUNK`` at most then.
    """
    sums = e.stack(dtype, dots.rows * LANES)
    partial = e.stack(dtype, dots.rows * dots.columns * LANES) if dots.lanes < LANES else ""

    def item(number: Value) -> None:
        m, n = entry(e, Entry.M), entry(e, Entry.N)
        row_tiles = e.arithmetic("div", m + (dots.rows - 1), dots.rows)
        strips = e.arithmetic("div", n + (LANES - 1), LANES)
        batch = e.quotient(number, row_tiles * strips)
        number = number - batch * row_tiles * strips
        # As many rows of A together as a cache keeps; all strips of B for them, then the next rows.
        length = e.maximum(entry(e, Entry.K), 1) * (dots.rows * dtype.itemsize)
        together = e.maximum(e.arithmetic("div", e.index(KEPT), length), 1)
        group = e.quotient(number, together * strips)
        first, number = group * together, number - group * together * strips
        size = e.minimum(together, row_tiles - first)
        strip = e.quotient(number, size)
        row_tile = first + number - strip * size
        row, column = row_tile * dots.rows, strip * LANES
        listed = terms.block(e, row_tile) if terms else None
        a = e.offset(buffer(e, Entry.A), batch * entry(e, Entry.A_BATCH), dtype)
        b = e.offset(buffer(e, Entry.B), batch * entry(e, Entry.B_BATCH), dtype)
        a_stride, b_stride, last = entry(e, Entry.A_ROW), entry(e, Entry.B_K), m - 1
        # Rows beyond the last are the last again.
        rows_of_a = [e.offset(a, e.minimum(row + i, last) * a_stride, dtype) for i in range(dots.rows)]

        def some_columns(j: Value) -> None:
            places = [column + j + k if k else column + j for k in range(dots.columns)]
            if dots.masked:
                places = [e.minimum(place, n - 1) for place in places]
            rows_of_b = [e.offset(b, place * b_stride, dtype) for place in places]
            lanes = _sums(e, dots, dtype, rows_of_a, rows_of_b, partial, listed)
            for i in range(dots.rows):
                x = lanes[i * dots.columns : (i + 1) * dots.columns]
                e.store(_lanes(e, x), e.offset(sums, j + i * LANES if i else j, dtype))

        e.loop(0, LANES, dots.columns, some_columns, at_least_once=True)
        mask = e.lane_numbers() < e.wide(n - column) if dots.masked else None

        def dispose(i: Value) -> None:
            epilogue(e, row + i, column, e.load(e.offset(sums, i * LANES, dtype), dtype, LANES), mask, batch)

        e.loop(0, e.minimum(m - row, dots.rows), 1, dispose, at_least_once=True)

    e.loop(Value(e, "%begin", I64), Value(e, "%end", I64), 1, item)
    e.finish()


class Lane(NamedTuple):
    """A lane of a vector."""

    vector: Value
    number: int


def _sums(
    e: Emitter,
    dots: Dots,
    dtype: Dtype,
    rows_of_a: list[str],
    rows_of_b: list[str],
    partial: str,
    listed: Block | None,
) -> list[Lane]:
    """Return the sums of a tile; ``partial`` is memory for a vector of each."""
    zeros = [e.wide(e.constant(0, dtype), dots.lanes)] * (dots.rows * dots.columns)
    k = entry(e, Entry.K)
    piece = PIECE if listed is None else DOT_CHUNK

    def terms(first: Value, mask: Value | None, now: list[Value]) -> list[Value]:
        x = [e.load(e.offset(row, first, dtype), dtype, dots.lanes, mask) for row in rows_of_a]
        new = list(now)
        for j, row in enumerate(rows_of_b):
            y = e.load(e.offset(row, first, dtype), dtype, dots.lanes, mask)
            for i in range(dots.rows):
                q = i * dots.columns + j
                new[q] = e.fma(x[i], y, now[q])
        return new

    def lanes(first: Value, whole: Value, stop: Value, now: list[Value]) -> list[Value]:
        """Add terms to the lanes from that of the term ``first`` on."""
        if listed is None:
            now = e.loop(first, whole, LANES, lambda first, *now: terms(first, None, list(now)), now)
        else:

            def group(place: Value, *now: Value) -> list[Value]:
                return terms(first + listed.term(place) * LANES, None, list(now))

            now = e.loop(0, listed.count(), 1, group, now)
        if not dots.whole:  # at most one turn more
            last = first + (whole - first + (LANES - 1) & -LANES)
            mask = e.lane_numbers(lanes=dots.lanes) < e.wide(stop - last, dots.lanes)
            now = e.loop(last, stop, LANES, lambda first, *now: terms(first, mask, list(now)), now)
        return now

    def ends(start: Value, length: int, limit: Value) -> tuple[Value, Value]:
        stop = e.minimum(start + length, limit)
        return (stop if dots.whole else start + (stop - start & -LANES)), stop

    def in_passes(start: Value, limit: Value) -> None:
        """Add a piece that stays in the nearest cache, in as many passes as a vector has registers."""
        whole, stop = ends(start, piece, limit)

        def one_pass(lane: Value) -> None:
            places = [e.offset(partial, lane + q * LANES, dtype) for q in range(len(zeros))]
            now = [e.load(place, dtype, dots.lanes) for place in places]
            for place, x in zip(places, lanes(start + lane, whole, stop, now), strict=True):
                e.store(x, place)

        e.loop(0, LANES, dots.lanes, one_pass, at_least_once=True)

    def chunk(start: Value, *total: Value) -> list[Value]:
        whole, stop = ends(start, DOT_CHUNK, k)
        if dots.lanes == LANES:
            now = lanes(start, whole, stop, zeros)
        else:
            zero = e.wide(e.constant(0, dtype))
            e.loop(
                0, len(zeros) * LANES, LANES, lambda q: e.store(zero, e.offset(partial, q, dtype)), at_least_once=True
            )
            e.loop(start, stop, piece, lambda start: in_passes(start, stop))
            now = [e.load(e.offset(partial, q * LANES, dtype), dtype, LANES) for q in range(len(zeros))]
        return [old + _fold(e, now[q * size : q * size + size]) for q, old in enumerate(total)]

    size = min(dots.rows * dots.columns & -(dots.rows * dots.columns), LANES)  # of a group that is folded together
    groups = dots.rows * dots.columns // size
    totals = e.loop(0, k, DOT_CHUNK, chunk, [e.wide(e.constant(0, dtype))] * groups)
    return [Lane(totals[q // size], q % size * (LANES // size)) for q in range(len(zeros))]


def _fold(e: Emitter, vectors: list[Value]) -> Value:
    """Return the sums of the lanes of each of 1, 2, 4, 8 or 16 vectors as one vector, equal lanes beside each other."""
    half = LANES // 2
    while half:
        low = [j & ~half for j in range(LANES)]
        high = [j | half for j in range(LANES)]
        if len(vectors) > 1:  # where a lane's number has the bit ``half`` goes a vector of the second half
            other = [LANES * (j & half > 0) for j in range(LANES)]
            low, high = ([j + k for j, k in zip(order, other, strict=True)] for order in (low, high))
            middle = len(vectors) // 2
            pairs = list(zip(vectors[:middle], vectors[middle:], strict=True))
            vectors = [e.shuffle(a, b, low) + e.shuffle(a, b, high) for a, b in pairs]
        else:
            x = vectors[0]
            vectors = [e.shuffle(x, None, low) + e.shuffle(x, None, high)]
        half //= 2
    return vectors[0]


def _lanes(e: Emitter, lanes: list[Lane]) -> Value:
    """Return lanes of one vector as a vector of their own."""
    if len(lanes) == 1:
        return e.lane(lanes[0].vector, lanes[0].number)
    return e.shuffle(lanes[0].vector, None, [lane.number for lane in lanes])
