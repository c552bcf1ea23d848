from __future__ import annotations

from pathlib import Path

import pytest

from chainrule.cli.main import DONE, FAILED, USAGE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "kept" / "code"
    monkeypatch.setenv("CHAINRULE_CACHE", str(place))
    return place


def test_the_cache_is_shown_and_cleared(chainrule, folder) -> None:
    assert "nothing yet" in chainrule("cache").out
    folder.mkdir(parents=True, mode=0o700)
    (folder / "a.code").write_bytes(b"x" * 2_000_000)
    (folder / "mine.txt").write_text("not an entry")
    found = chainrule("cache")
    assert found.code == DONE
    assert "1 entry, 2.0 MB of at most 268" in found.out
    assert "1 entry removed" in chainrule("cache", "clear").out
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_a_folder_that_others_can_write_is_refused(chainrule, folder) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    found = chainrule("cache", "clear")
    assert found.code == FAILED
    assert "can be written by others" in found.out


def test_without_a_folder_there_is_no_cache(chainrule, monkeypatch) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", "")
    assert "there is no cache" in chainrule("cache").out


def test_another_word_is_an_error_of_usage(chainrule, folder) -> None:
    assert chainrule("cache", "empty").code == USAGE
