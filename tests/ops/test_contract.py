"""Contractions that are computed the other way round are what they were, in the usual order of memory."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.graph import primitive
from chainrule.ops.contract import LARGE

CONTRACT = primitive("contract")


@pytest.mark.parametrize("front", [(1,), (32,), (33,), (4, 8)])
def test_few_rows_times_a_large_transposed_matrix_give_the_product_in_row_major_order(front: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.integers(-9, 9, (*front, 130)).astype(np.float32), rng.integers(-9, 9, (128, 130)).astype(np.float32)
    assert w.size >= LARGE
    y = CONTRACT.evaluate(x, w, batch=((), ()), contracted=((x.ndim - 1,), (1,)))
    assert y.flags.c_contiguous
    assert np.array_equal(y, np.einsum("...k,nk->...n", x.astype(np.int64), w.astype(np.int64)))  # exact in float32
