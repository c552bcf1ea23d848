from __future__ import annotations

from pathlib import Path

import pytest

from chainrule.errors import ArgumentError, FileError
from chainrule.tasks.run_folder import CONFIG, STATE, RunFolder, check_free, free_name, partial_of


def complete(path: Path, text: str = "old") -> Path:
    path.mkdir()
    (path / CONFIG).write_text(text, encoding="utf-8")
    return path


def test_a_folder_takes_its_name_when_it_is_finished(tmp_path) -> None:
    folder = RunFolder.begin(tmp_path / "deep" / "run", overwrite=False)
    folder.write(CONFIG, "new")
    assert not (tmp_path / "deep" / "run").exists()
    folder.finish()
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["run"]
    assert (tmp_path / "deep" / "run" / CONFIG).read_text(encoding="utf-8") == "new"


def test_a_run_that_fails_leaves_nothing_not_even_the_folders_made_for_it(tmp_path) -> None:
    folder = RunFolder.begin(tmp_path / "deep" / "deeper" / "run", overwrite=False)
    folder.write(CONFIG, "new")
    folder.give_up(keep_state=True)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_leaves_what_others_put_beside_it(tmp_path) -> None:
    folder = RunFolder.begin(tmp_path / "runs" / "run", overwrite=False)
    (tmp_path / "runs" / "other").mkdir()
    folder.give_up(keep_state=True)
    assert [file.name for file in (tmp_path / "runs").iterdir()] == ["other"]


def test_a_run_is_replaced_only_when_asked_and_only_at_the_end(tmp_path) -> None:
    path = complete(tmp_path / "run")
    with pytest.raises(ArgumentError, match=r"there is a run in .*overwrite=True"):
        RunFolder.begin(path, overwrite=False)
    folder = RunFolder.begin(path, overwrite=True)
    folder.write(CONFIG, "new")
    assert (path / CONFIG).read_text(encoding="utf-8") == "old"
    folder.finish()
    assert (path / CONFIG).read_text(encoding="utf-8") == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_a_folder_that_is_no_run_is_never_replaced(tmp_path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").touch()
    with pytest.raises(ArgumentError, match="not empty, and no run"):
        check_free(tmp_path / "letters", overwrite=True)


def test_an_empty_folder_may_be_filled(tmp_path) -> None:
    (tmp_path / "run").mkdir()
    folder = RunFolder.begin(tmp_path / "run", overwrite=False)
    folder.write(CONFIG, "new")
    folder.finish()
    assert (tmp_path / "run" / CONFIG).is_file()


def test_a_file_or_no_name_is_refused(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="is a file"):
        check_free(tmp_path / "file", overwrite=True)
    with pytest.raises(ArgumentError, match=r"out='\.'"):
        check_free(Path("."), overwrite=True)


def test_a_folder_that_cannot_be_made_is_an_error_with_the_reason(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"cannot make the folder .*run.*: Not a directory"):
        RunFolder.begin(tmp_path / "file" / "run", overwrite=False)


def test_what_a_killed_run_left_is_named_and_replaced_only_when_asked(tmp_path) -> None:
    killed = RunFolder.begin(tmp_path / "run", overwrite=False)
    killed.write("leftover", "x")
    with pytest.raises(ArgumentError, match=r"run.partial is there.*resume=True.*overwrite=True"):
        check_free(tmp_path / "run", overwrite=False)
    again = RunFolder.begin(tmp_path / "run", overwrite=True)
    assert list(again.partial.iterdir()) == []


def test_a_run_goes_on_in_what_a_killed_one_left(tmp_path) -> None:
    killed = RunFolder.begin(tmp_path / "run", overwrite=False)
    killed.write(STATE, "state")
    folder = RunFolder.go_on(tmp_path / "run")
    assert (folder.partial / STATE).read_text(encoding="utf-8") == "state"


def test_a_run_that_ended_early_goes_on_beside_it(tmp_path) -> None:
    path = complete(tmp_path / "run")
    (path / STATE).write_text("state", encoding="utf-8")
    folder = RunFolder.go_on(path)
    assert sorted(file.name for file in folder.partial.iterdir()) == [CONFIG, STATE]
    assert (path / STATE).is_file()


def test_there_may_be_nothing_to_go_on_with(tmp_path) -> None:
    with pytest.raises(ArgumentError, match="nothing to resume"):
        RunFolder.go_on(tmp_path / "run")


def test_names_that_are_taken_get_a_number(tmp_path) -> None:
    assert free_name(tmp_path, "run") == tmp_path / "run"
    (tmp_path / "run").mkdir()
    partial_of(tmp_path / "run-2").mkdir()
    assert free_name(tmp_path, "run") == tmp_path / "run-3"


def test_a_state_to_go_on_from_is_kept_where_that_is_asked_for_or_it_was_there_before(tmp_path) -> None:
    folder = RunFolder.begin(tmp_path / "run", overwrite=False)
    folder.write(STATE, "state")
    assert folder.give_up(keep_state=True)
    assert RunFolder.go_on(tmp_path / "run").give_up(keep_state=False)
    assert folder.partial.is_dir()
    assert not folder.give_up(keep_state=False)
    assert list(tmp_path.iterdir()) == []
