from __future__ import annotations

import importlib.metadata

import numpy as np

import chainrule as cr
from chainrule.cli import doctor
from chainrule.compiler import target


def test_doctor_shows_versions_the_machine_and_the_folders(chainrule, here) -> None:
    found = chainrule("doctor")
    for part in (cr.__version__, np.__version__, "BLAS", "threads", "CPU", str(here / "runs"), "can be written"):
        assert part in found.out
    assert list(here.iterdir()) == []


def test_doctor_says_what_is_missing_and_how_to_get_it(chainrule, monkeypatch) -> None:
    required = ["numpy>=2.0", "nonesuch>=1.2", "absent>=3; extra == 'command'", "pytest>=8; extra == 'tests'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: required)
    found = chainrule("doctor")
    assert found.code == 1
    assert "nonesuch         missing  (asked for: >=1.2)" in found.out
    assert 'nonesuch missing: pip install "chainrule"' in found.out
    assert 'absent missing: pip install "chainrule[command]"' in found.out


def test_doctor_is_content_without_extras(chainrule, monkeypatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["numpy>=2.0", "absent; extra == 'command'"])
    assert chainrule("doctor").code == 0


def test_doctor_says_what_native_code_is_made_for(chainrule, monkeypatch) -> None:
    monkeypatch.setattr(target, "unsupported", lambda: None)
    monkeypatch.setattr(target, "host", target.avx2)
    assert "native     code for avx2\n" in chainrule("doctor").out
    monkeypatch.setattr(target, "unsupported", lambda: "native code is made for Linux, and this is darwin")
    assert "native     none: native code is made for Linux, and this is darwin. NumPy" in chainrule("doctor").out


def test_what_only_some_machines_have_is_not_missing(chainrule, monkeypatch) -> None:
    required = ["numpy>=2.0", "absent>=3; sys_platform == 'linux' and python_version < '3.16'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: required)
    found = chainrule("doctor")
    assert found.code == 0
    assert "absent           not here, as on some machines" in found.out
    assert "missing" not in found.out


def test_doctor_works_from_the_source_alone(chainrule, monkeypatch) -> None:
    def requires(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    found = chainrule("doctor")
    assert found.code == 0
    assert "is not installed" in found.out


def test_doctor_names_a_folder_that_cannot_be_written(chainrule, monkeypatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    assert "CANNOT be written (Permission denied)" in chainrule("doctor").out


def test_doctor_says_where_the_data_sets_should_be(chainrule, monkeypatch) -> None:
    monkeypatch.setenv("CHAINRULE_DATA", "/no/such/folder")
    assert "/no/such/folder: no such folder" in chainrule("doctor").out


def test_doctor_says_which_variable_of_the_environment_means_nothing(chainrule, monkeypatch) -> None:
    for name, value in (("CHAINRULE_COMPILE", "maybe"), ("CHAINRULE_THREADS", "2"), ("CHAINRULE_TARGET", "axv2")):
        monkeypatch.setenv(name, value)
    found = chainrule("doctor")
    assert found.code == 1
    assert "CHAINRULE_COMPILE  maybe: WRONG. CHAINRULE_COMPILE is 'maybe'; expected 1, on" in found.out
    assert "CHAINRULE_THREADS  2\n" in found.out
    assert "CHAINRULE_TARGET  axv2: WRONG. CHAINRULE_TARGET is 'axv2'" in found.out
