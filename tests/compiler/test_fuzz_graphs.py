"""Random graphs of all primitives: native code beside the interpreter, at seven batch sizes from one compilation.

`make campaign` judges 10,000 graphs; the suite the first twentieth of each row of seeds.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

from .random_graphs import check_seeds, seeds_of

ROWS = 10
TOGETHER = 8  # graphs in one compilation


@pytest.mark.parametrize("row", range(ROWS))
def test_random_graphs_give_what_the_interpreter_gives(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    check_seeds(seeds_of(row, settings().max_examples), group=TOGETHER)
