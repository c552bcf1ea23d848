"""PyTorch's own sample arguments: none gives a wrong result. The counts: ``python -m tests.optim.optim_samples``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.oracle


def test_pytorchs_samples_of_optimizers_agree() -> None:
    command = [sys.executable, "-m", "tests.optim.optim_samples", "--json"]
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert {"SGD", "Adam", "AdamW", "RMSprop"} <= set(report)
    for name, counts in report.items():
        assert counts["agreed"] > 0, name
        assert counts["wrong"] == []
        assert counts["refused"] == []
        # PyTorch takes its two betas either both as numbers or both as tensors; here each may be either
        assert [text for text in counts["taken"] if "betas must be either both" not in text] == []
