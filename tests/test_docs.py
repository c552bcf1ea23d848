"""Every ```pycon block of README.md and docs/ is run, and prints what it says."""

from __future__ import annotations

import doctest
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted(
    path
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if path.exists() and BLOCK.search(path.read_text("utf-8"))
)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_example_prints_what_the_page_says(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")  # as a reader would run it
    text = page.read_text("utf-8")
    source = "\n".join(match.group(1) + "\n" for match in BLOCK.finditer(text))
    test = doctest.DocTestParser().get_doctest(source, {"__name__": "__main__"}, page.name, str(page), 0)
    failures: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=failures.append)
    assert runner.failures == 0, "".join(failures)


def generator(name: str) -> Any:
    """Return the module that writes a page."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_commands_is_what_the_commands_print() -> None:
    module = generator("generate_commands")
    written = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert module.page().split() == written.split(), "not current: run `make docs`"  # where lines break is argparse's


def test_the_page_of_the_compiler_has_the_text_of_its_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")  # which the generator sets, too
    module = generator("generate_compiler")
    written = (ROOT / "docs" / "compiler.md").read_text("utf-8")
    text = module.PAGE.replace("{code}", module.CODE)
    at = 0
    for fixed in re.split(r"\{\w+\}", text):  # between what differs from machine to machine
        found = written.find(fixed, at)
        assert found >= 0, f"not current, run `make docs`:\n{fixed}"
        at = found + len(fixed)
    assert at == len(written)
