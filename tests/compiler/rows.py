"""The rows of seeds that the fuzzers draw from."""

from __future__ import annotations

import os
import platform

import pytest

from chainrule.compiler import target

ROWS = 10
FIRST_ROW = int(os.environ.get("FUZZ_FROM", "0"))
"""``make campaign FUZZ_FROM=20`` draws graphs and networks that nobody has seen."""


def rows() -> range:
    """Return the rows, each of seeds of its own."""
    return range(FIRST_ROW, FIRST_ROW + ROWS)


def begin(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every second row be compiled for the older of two machines: other tiles, other instructions."""
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    if row % 2 and platform.machine() == "x86_64":
        monkeypatch.setenv(target.VARIABLE, "avx2")
