"""PyTorch's own samples of modules and optimizers, in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.oracle
ROOT = Path(__file__).parent.parent.parent


def test_no_sample_of_a_module_or_optimizer_is_wrong_and_the_page_is_current(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("expecttest")
    page = tmp_path / "page.md"
    run = subprocess.run(
        [sys.executable, "-m", "tests.oracles.layer_samples", "--table", str(page)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    written = (ROOT / "docs" / "layer-coverage.md").read_text("utf-8")
    assert page.read_text("utf-8") == written, "docs/layer-coverage.md is not current: write it again with --table"
