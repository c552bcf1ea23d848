"""What many runs in one return beside tensors: what the last run would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr

ROWS = np.ones((24, 6), np.float32)


@pytest.fixture(autouse=True, params=["interpreter", "native"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1" if request.param == "native" else "0")


def of_sizes(x: Any) -> Any:
    return x.sum(), x.shape, {"rows": x.shape[0], "twice": (x.shape[0] * 2, "text")}


@pytest.mark.parametrize("batch", [8, 9])
def test_over_returns_sizes_as_those_of_the_last_batch(batch: int) -> None:
    last = cr.compile(of_sizes)(ROWS[-24 % -batch or -batch :])
    sums, *others = cr.compile(of_sizes).over(ROWS, batch_size=batch)
    assert sums.tolist() == [batch * 6] * (24 // batch) + [24 % batch * 6] * (24 % batch > 0)
    assert others == list(last[1:]) == list(of_sizes(cr.ones(24 % batch or batch, 6))[1:])
    assert type(others[0]) is cr.Size


def test_repeat_returns_sizes() -> None:
    sums, *others = cr.compile(of_sizes).repeat(ROWS, times=3)
    assert sums.tolist() == [144.0] * 3
    assert others == list(of_sizes(cr.tensor(ROWS))[1:])
    assert cr.compile(lambda x: {"y": x * 2, "of": x.shape}).repeat(ROWS, times=2)["of"] == (24, 6)
