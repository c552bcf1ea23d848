"""PyTorch's own samples of operations, in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

pytestmark = pytest.mark.oracle
ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "op-coverage.md"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("torch")
    pytest.importorskip("expecttest")
    command = [sys.executable, "-m", "tests.oracles.op_samples", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_no_sample_of_an_operation_is_wrong_and_the_page_is_current(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    found = run("--table", str(page))
    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-2000:]
    assert page.read_text("utf-8") == PAGE.read_text("utf-8"), f"{PAGE} is not current: write it again with --table"


def test_samples_for_references_and_with_other_strides_are_right_too() -> None:
    names = ["add", "matmul", "sum", "sort", "__getitem__", "tanh"]
    if settings.default is not None and settings.default.max_examples >= 1000:  # make campaign
        names = []
    found = run("--full", *names)
    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-2000:]
