"""What every test can rely on: one thread, reproducible examples, and nothing skipped in silence.

Markers: `oracle` on a test, or `pytestmark = pytest.mark.oracle` in a module, says that it needs PyTorch; a module that
imports it at the top says `torch = pytest.importorskip("torch")`. The fixtures `data_folder`, `browser` and `emulator`
set the markers `data`, `browser` and `emulator` on whoever asks for them.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Nothing above imports NumPy, which reads these once: sums in one order, and no test takes another's core.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_threads] = "1"

# Traces run on the interpreter, bit for bit as eager mode, unless a test asks for native code (or the variable is 1).
os.environ.setdefault("CHAINRULE_COMPILE", "0")

IN_CI = os.environ.get("CI") == "true"

# A test that sets its own number of examples keeps it in every profile.
settings.register_profile("here", deadline=None, max_examples=50)
settings.register_profile(
    "ci",
    settings.get_profile("here"),
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("campaign", settings.get_profile("here"), max_examples=1000, print_blob=True)
settings.load_profile("ci" if IN_CI else "here")


def has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


# What tests against PyTorch share holds no test of its own, and cannot be imported without it.
SHARED_WITH_TORCH = [
    "compiler/random_networks.py",
    "compiler/trained_networks.py",
    "nn/beside_torch.py",
    "oracles/layer_samples.py",
    "oracles/op_samples.py",
    "optim/optim_samples.py",
]
collect_ignore = [] if has_torch() else SHARED_WITH_TORCH


@pytest.fixture(scope="session", autouse=True)
def _code_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is compiled is kept in a folder of the tests, not in the user's."""
    os.environ["CHAINRULE_CACHE"] = str(tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of the real data sets, from the environment variable CHAINRULE_DATA."""
    named = os.environ.get("CHAINRULE_DATA", "")
    if not named:
        pytest.skip("needs the real data sets: set CHAINRULE_DATA to their folder")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"CHAINRULE_DATA is {named!r}, which is no folder", pytrace=False)
    return folder


@pytest.fixture(scope="session")
def browser() -> str:
    """The command of a Chromium that can run headless."""
    for command in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(command):
            return found
    pytest.skip("needs Chromium to open a page: make browser")


@pytest.fixture(scope="session")
def emulator() -> tuple[str, str]:
    """The commands of a C compiler for 64-bit ARM and of an emulator that runs its programs."""
    compiler, found = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if compiler and found:
        return compiler, found
    pytest.skip("needs a C compiler and an emulator for 64-bit ARM: make emulator")


# What a campaign counts is printed at the end, summed up over its tests, whatever process they ran in.


@pytest.fixture
def figures(record_property: Callable[[str, Any], None]) -> Callable[..., None]:
    """Take counts under a heading: figures("random graphs", graphs=1000)."""

    def add(heading: str, **counts: int) -> None:
        record_property("figures", [heading, counts])

    return add


def pytest_terminal_summary(terminalreporter: Any) -> None:
    totals: dict[str, Counter[str]] = {}
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "figures":
                totals.setdefault(value[0], Counter()).update(value[1])
    for heading, counts in totals.items():
        terminalreporter.write_line(f"{heading}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))


def pytest_report_header() -> str:
    data = os.environ.get("CHAINRULE_DATA") or "not set"
    return f"chainrule: PyTorch {'is' if has_torch() else 'is not'} here, CHAINRULE_DATA {data}, CI {IN_CI}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "data_folder" in fixtures:
            item.add_marker("data")
        if "browser" in fixtures:
            item.add_marker("browser")
        if "emulator" in fixtures:
            item.add_marker("emulator")
        if item.get_closest_marker("oracle") and not has_torch():
            item.add_marker(pytest.mark.skip(reason="needs PyTorch: make test ORACLES=1"))


# With CI=true a skip is a failure: what is not run there is not held by anything.


def refuse_skip(report: Any) -> None:
    expected_to_fail = hasattr(report, "wasxfail")
    if IN_CI and report.skipped and not expected_to_fail:
        place, line, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{place}:{line}: with CI=true nothing may be skipped. {reason}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    refuse_skip(report)
    return report
