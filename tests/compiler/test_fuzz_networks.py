"""Random networks, five steps each: native, interpreted, and in PyTorch from the same weights.

`make campaign` trains 1,000 networks; the suite the first twentieth of each row of seeds.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

pytest.importorskip("torch")

from .random_networks import Redrawn
from .rows import ROWS, rows
from .trained_networks import check_many_steps, check_network, differences_of_planted_faults


@pytest.mark.parametrize("row", rows())
def test_random_networks_train_as_in_pytorch(row: int, monkeypatch: pytest.MonkeyPatch, figures: Any) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    count = settings().max_examples // ROWS
    redrawn = [check_network(seed) for seed in range(row * 1000, row * 1000 + count)]  # fails where one is not native
    total = dict(zip(Redrawn._fields, map(sum, zip(*redrawn, strict=True)), strict=True))
    figures("random networks", networks=count, **{"not native": 0}, **{f"{k} drawn again": n for k, n in total.items()})


@pytest.mark.parametrize("row", rows())
def test_random_networks_train_in_one_call_as_batch_by_batch(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    for seed in range(row * 1000, row * 1000 + settings().max_examples // ROWS // 5):
        check_many_steps(seed)


@pytest.mark.parametrize("seed", range(3))
def test_a_fault_of_a_ten_thousandth_in_one_element_is_found(seed: int) -> None:
    for name, found in differences_of_planted_faults(seed).items():
        assert found, name
