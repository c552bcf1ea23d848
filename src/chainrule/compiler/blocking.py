"""How a large product is cut so that what is used again is still in a cache; all figures were measured, not derived.

A small product is one call of its kernel. A large one packs A once, then takes B a block at a time: ``columns`` of B and
``terms`` of the sums, packed, and multiplied with the same terms of all of A, rows of tiles outermost where they are high, so
that one tile of A stays in the nearest caches and the block of B in those behind. Blocks of the same columns follow each other: all but the
first resume from the sums so far, all but the last store them.
"""

from __future__ import annotations

from typing import NamedTuple

from .product import CHUNK, Tile
from .value import Dtype


class Block(NamedTuple):
    """Columns of C and terms of their sums."""

    column: int
    columns: int
    term: int
    terms: int


def blocks(n: int, k: int, dtype: Dtype) -> list[Block]:
    """Return the blocks in which to multiply by a B of ``k`` rows and ``n`` columns: one unless it is beyond 4 MB.

    They depend on the shape alone, and terms are cut between chunks: the sums have the same bits, cut or not.
    """
    columns, terms = max(n, 1), max(k, 1)
    if n * k * dtype.itemsize > 4 << 20:
        columns, terms = 512, max(4096 // dtype.itemsize // CHUNK, 1) * CHUNK
    return [
        Block(column, min(columns, n - column), term, min(terms, k - term))
        for column in range(0, max(n, 1), columns)
        for term in range(0, max(k, 1), terms)
    ]


def columns_outer(tile: Tile) -> bool:
    """Return whether the tiles of a column should follow each other: what then is read again is A, and not B."""
    return not tile.packed_a or tile.rows < tile.width


def pays_to_pack_a(m: int, n: int, k: int, dtype: Dtype) -> bool:
    """Return whether A is so large that its rows crowd each other out, and used so often that copying it is cheap."""
    return m * k * dtype.itemsize >= 1 << 20 and n >= 256


def pays_to_pack_b(m: int, n: int, k: int, dtype: Dtype) -> bool:
    """Return the same of a B whose columns lie side by side (any other must be packed)."""
    return k * n * dtype.itemsize >= 2 << 20 and m >= 256
