"""The suite's own promises: what is skipped, and where a skip is a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPING = """
import pytest

def test_that_passes():
    pass

def test_that_skips():
    pytest.skip("no reason in particular")

@pytest.mark.xfail(strict=True)
def test_that_is_known_to_fail():
    assert False

def test_that_reads_data(data_folder):
    pass
"""
SKIPPED_WHOLE = 'import pytest\npytest.importorskip("chainrule_is_not_so_called")\n'


def run_suite(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(Path(__file__).parent / "conftest.py", folder)
    (folder / "test_skipping.py").write_text(SKIPPING)
    (folder / "test_skipped_whole.py").write_text(SKIPPED_WHOLE)
    inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "CHAINRULE_DATA")}
    inherited = {name: value for name, value in inherited.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    options = ["-o", "markers=oracle:\ndata:\nbrowser:\nemulator:"]
    return subprocess.run(
        [*command, *options], cwd=folder, env=inherited | environment, capture_output=True, text=True, check=False
    )


def test_a_skip_gives_its_reason(tmp_path: Path) -> None:
    run = run_suite(tmp_path)
    assert run.returncode == 0, run.stdout
    assert "1 passed, 3 skipped, 1 xfailed" in run.stdout
    assert "no reason in particular" in run.stdout
    assert "set CHAINRULE_DATA" in run.stdout


@pytest.mark.parametrize("workers", [[], ["-n1"]], ids=["alone", "xdist"])
def test_a_skip_is_a_failure_in_ci(tmp_path: Path, workers: list[str]) -> None:
    run = run_suite(tmp_path, CI="true", PYTEST_ADDOPTS=" ".join([*workers, "--continue-on-collection-errors"]))
    assert run.returncode == 1, run.stdout
    assert "1 failed, 1 passed, 1 xfailed, 2 errors" in run.stdout
    assert "with CI=true nothing may be skipped. Skipped: no reason in particular" in run.stdout
    assert "could not import 'chainrule_is_not_so_called'" in run.stdout


def test_a_data_folder_that_is_none_fails_everywhere(tmp_path: Path) -> None:
    run = run_suite(tmp_path, CHAINRULE_DATA=str(tmp_path / "nowhere"))
    assert run.returncode == 1, run.stdout
    assert "which is no folder" in run.stdout
