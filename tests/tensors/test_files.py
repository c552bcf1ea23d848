"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from chainrule.errors import FileError
from chainrule.tensors import files
from chainrule.tensors.files import atomic_write, read_file

posix = pytest.mark.skipif(os.name == "nt", reason="links and permissions as POSIX has them")


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("contents", [b"", b"abc", bytearray(b"abc"), memoryview(b"abc"), b"x" * 3_000_000])
def test_what_is_written_is_what_is_read(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "file"
    atomic_write(path, contents)
    assert read_file(path) == bytes(contents)
    atomic_write(str(path), b"new")
    assert read_file(str(path)) == b"new"
    assert only(tmp_path) == ["file"]


def test_a_relative_path_without_a_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    atomic_write("file", b"abc")
    assert read_file("file") == b"abc"


def test_pieces_that_the_system_takes_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(files.os, "write", lambda file, data: write(file, data[:7]))
    atomic_write(tmp_path / "file", bytes(range(256)))
    assert read_file(tmp_path / "file") == bytes(range(256))


@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace", "close"])
def test_an_error_at_any_step_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old")
    real = getattr(os, step)

    def fails(*args: Any) -> Any:
        if step == "close":
            real(*args)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, step, fails)
        with pytest.raises(FileError, match=r"No space left on device. Free some space on that disk"):
            atomic_write(path, b"new")
    assert read_file(path) == b"old"
    assert only(tmp_path) == ["file"]


def test_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old")

    def interrupted(*args: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            atomic_write(path, b"new")
    assert read_file(path) == b"old"
    assert only(tmp_path) == ["file"]


def test_the_file_is_on_the_disk_before_it_has_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(file: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "file")
        fsync(file)

    def note_replace(old: str, new: str) -> None:
        steps.append("replace")
        assert Path(old).parent == Path(new).parent
        replace(old, new)

    monkeypatch.setattr(files.os, "fsync", note_fsync)
    monkeypatch.setattr(files.os, "replace", note_replace)
    atomic_write(tmp_path / "file", b"abc")
    assert steps == (["file", "replace"] if os.name == "nt" else ["file", "replace", "folder"])


@posix
def test_a_file_system_that_cannot_sync_folders_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def refuses(number: int) -> Any:
        def for_folders(file: int) -> None:
            if stat.S_ISDIR(os.fstat(file).st_mode):
                raise OSError(number, os.strerror(number))
            fsync(file)

        return for_folders

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", refuses(errno.EINVAL))
        atomic_write(tmp_path / "file", b"abc")
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", refuses(errno.EIO))
        with pytest.raises(FileError, match="Input/output error"):
            atomic_write(tmp_path / "file", b"new")
    assert read_file(tmp_path / "file") == b"new", "it has its name, though the folder is not known to be on the disk"


@posix
def test_links_and_permissions_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    atomic_write(path, b"old")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    link.symlink_to("file")
    atomic_write(link, b"new")
    assert link.is_symlink()
    assert read_file(path) == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@posix
def test_what_is_no_ordinary_file_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, expected in ((tmp_path, "it is a folder"), (pipe, "it is a device or a pipe")):
        with pytest.raises(FileError, match=expected):
            atomic_write(path, b"abc")
    assert only(tmp_path) == ["pipe"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot write .*No such file or directory. Make the folder '.*runs' first"):
        atomic_write(tmp_path / "runs" / "model", b"abc")
    assert only(tmp_path) == []


def test_many_writers_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    versions = [bytes([k]) * 100_000 for k in range(8)]
    threads = [threading.Thread(target=atomic_write, args=(path, version)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_file(path) in versions
    assert only(tmp_path) == ["file"]


def test_a_missing_file_gets_the_nearest_names(tmp_path: Path) -> None:
    atomic_write(tmp_path / "model.safetensors", b"abc")
    with pytest.raises(FileError, match=r"there is no file '.*modle.safetensors'. Did you mean model.safetensors\?"):
        read_file(tmp_path / "modle.safetensors")
    (tmp_path / "runs").mkdir()
    with pytest.raises(FileError, match=r"there is no folder '.*rnus'. Did you mean runs\?"):
        read_file(tmp_path / "rnus" / "x" / "model.safetensors")
    with pytest.raises(FileError, match="Check the name"):
        read_file(tmp_path / "quite another")
    with pytest.raises(FileError, match="it is a folder"):
        read_file(tmp_path)
