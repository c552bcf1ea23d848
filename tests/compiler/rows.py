"""The rows of seeds that the fuzzers draw from."""

from __future__ import annotations

import os

ROWS = 10
FIRST_ROW = int(os.environ.get("FUZZ_FROM", "0"))
"""``make campaign FUZZ_FROM=20`` draws graphs and networks that nobody has seen."""


def rows() -> range:
    """Return the rows, each of seeds of its own."""
    return range(FIRST_ROW, FIRST_ROW + ROWS)
