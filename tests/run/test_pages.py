"""Large pages: a hint, after which the numbers are where and what they were."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest

from chainrule.run import pages
from chainrule.run.pages import PAGE, WORTH, use_large_pages


def test_the_contents_stay() -> None:
    memory = mmap.mmap(-1, WORTH + 2 * PAGE)
    x = np.frombuffer(memory, np.uint8)
    x[:] = np.random.default_rng(0).integers(0, 256, x.size, np.uint8)
    before, address = x.copy(), x.ctypes.data
    assert use_large_pages(x) in (True, False)
    assert x.ctypes.data == address
    np.testing.assert_array_equal(x, before)


def test_what_is_small_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(pages, "_advise", lambda: lambda *args: asked.append(1))
    assert not use_large_pages(np.zeros(WORTH - 1, np.uint8))
    assert not asked


def test_where_nothing_can_be_asked_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages.sys, "platform", "darwin")
    pages._advise.cache_clear()
    try:
        assert not use_large_pages(np.zeros(2 * WORTH, np.uint8))
    finally:
        pages._advise.cache_clear()


def test_rows_of_a_file_stay_there(tmp_path: Path) -> None:
    x = np.memmap(tmp_path / "rows", np.uint8, "w+", shape=(WORTH + PAGE,))
    x[:] = 7
    use_large_pages(x)
    assert (x == 7).all()
