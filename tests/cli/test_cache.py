from __future__ import annotations

from pathlib import Path

import pytest

from chainrule.cli.cache import add_arguments
from chainrule.cli.parser import Parser
from chainrule.compiler import cache
from chainrule.errors import ArgumentError

NAMES = [f"{digit * 64}.native" for digit in "0a"]


@pytest.fixture
def folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two entries and something else."""
    folder = here / "native"
    folder.mkdir(mode=0o700)
    for name in NAMES:
        (folder / name).write_bytes(bytes(1500))
    (folder / "notes.txt").write_text("mine")
    monkeypatch.setenv(cache.VARIABLE, str(folder))
    return folder


def test_the_folder_is_shown_with_what_it_holds(chainrule, folder: Path) -> None:
    found = chainrule("cache")
    assert found.code == 0
    assert found.out.startswith(f"folder   {folder}\nentries  2\nsize     3 kB, of 256 MB at most\nnewest   2")
    assert chainrule("cache", "show").out == found.out


def test_an_empty_or_missing_folder_is_no_error_and_is_not_made(chainrule, here: Path, monkeypatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(here / "none"))
    found = chainrule("cache")
    assert (found.code, found.err) == (0, "")
    assert "entries  0" in found.out
    assert "newest" not in found.out
    assert chainrule("cache", "clear").out == f"0 entries removed from {here / 'none'}\n"
    assert list(here.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="this system has no /proc, in which nothing can be made")
def test_a_folder_that_cannot_be_made_says_so(chainrule, monkeypatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, "/proc/nope/native")
    found = chainrule("cache")
    assert found.code == 0
    assert found.out.startswith("folder   /proc/nope/native\n         not used: /proc/nope/native cannot be ")
    assert "entries" not in found.out


def test_clearing_leaves_what_is_no_entry(chainrule, folder: Path) -> None:
    (folder / NAMES[0]).unlink()
    found = chainrule("cache", "clear")
    assert (found.code, found.out) == (0, f"1 entry removed from {folder}\n")
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_folder_that_is_not_used_says_why(chainrule, folder: Path, monkeypatch) -> None:
    folder.chmod(0o777)
    assert f"not used: others may write to {folder}" in chainrule("cache").out
    found = chainrule("cache", "clear")
    assert found.code == 1
    assert found.err.startswith(f"chainrule: others may write to {folder}")
    assert len(list(folder.iterdir())) == 3
    monkeypatch.setenv(cache.VARIABLE, "off")
    assert chainrule("cache").out == "folder   none\n         not used: CHAINRULE_CACHE is off\n"
    assert chainrule("cache", "clear").out == "0 entries removed from no folder\n"


def test_a_folder_that_takes_nothing_new_says_so(chainrule, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(cache.os, "access", lambda path, mode, **_: False)
    found = chainrule("cache")
    assert f"folder   {folder}\n         nothing new is kept: {folder} cannot be written" in found.out
    assert "entries  2" in found.out


def test_another_word_is_refused(chainrule, folder: Path) -> None:
    found = chainrule("cache", "claer")
    assert found.code == 2
    assert "'claer'" in found.err
    assert "'clear'" in found.err


def test_an_action_with_dashes_is_told_without_them() -> None:
    parser = Parser("chainrule cache", "about", "")
    add_arguments(parser)
    with pytest.raises(ArgumentError, match=r"cache has no option --clear\. Write chainrule cache clear"):
        parser.read(["--clear"])
    with pytest.raises(ArgumentError, match=r"cache has no option --clean\. See chainrule cache --help"):
        parser.read(["--clean"])
