"""Random graphs of all primitives: native code beside the interpreter, at seven batch sizes from one compilation.

`make campaign` judges 10,000 graphs; the suite the first twentieth of each row of seeds.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

from .random_graphs import check_seeds, seeds_of
from .rows import rows

TOGETHER = 8  # graphs in one compilation


@pytest.mark.parametrize("row", rows())
def test_random_graphs_give_what_the_interpreter_gives(row: int, monkeypatch: pytest.MonkeyPatch, figures: Any) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    seeds = seeds_of(row, settings().max_examples)
    redrawn = check_seeds(seeds, group=TOGETHER)  # fails where one is not native
    figures("random graphs", graphs=len(seeds), **{"not native": 0, "operations drawn again": redrawn})
