from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import Command
from tests.tasks.small_data import columns, without, write_csv


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def chainrule(here: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command, called in an empty folder."""
    return Command(capsys)


@pytest.fixture
def table(here: Path) -> Path:
    """A table with the target "answer"."""
    return write_csv(here / "table.csv", without(columns(80), "price"))


@pytest.fixture
def run(chainrule: Command, table: Path, here: Path) -> Path:
    """A run on the table."""
    words = ("train", table, "--target", "answer", "--out", here / "run", "--epochs", 20, "--lr", 0.01)
    assert chainrule(*words, "--quiet", "--no-report").code == 0
    return here / "run"
