"""Which row of the data holds an index or a label that an operation refused, told from its place in a batch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.graph import Array
from chainrule.ops.index import REFUSED


def is_refused_number(error: ChainruleError) -> bool:
    """Say whether the error is about a number among the operands: an index or a label."""
    return REFUSED in vars(error)


def row_at_fault(error: ChainruleError, arrays: Iterable[Array | None], rows: Array) -> int | None:
    """Return which of the ``rows`` of arrays, those of a batch, holds the number; None if it is not found where it ought to be.

    The number's place is one in what the model made of the batch, which need not have the batch's rows in its first axis.
    """
    place, number = vars(error)[REFUSED]
    if not place or place[0] >= len(rows):
        return None
    row = int(rows[place[0]])
    holds = any(array is not None and bool(np.any(np.asarray(array[row]) == number)) for array in arrays)
    return row if holds else None
