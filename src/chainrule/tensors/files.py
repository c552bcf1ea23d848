"""Files that are either the old one or the new one, whole, at every moment."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from pathlib import Path

from chainrule.errors import FileError, nearest
from chainrule.interrupts import held

PathLike = str | os.PathLike[str]
Bytes = bytes | bytearray | memoryview

_numbers = itertools.count()


def atomic_write(path: PathLike, contents: Bytes) -> None:
    """Write a file so that ``path`` names the old contents or the new ones, never a part of them.

    The bytes go to a temporary file in the same folder, to the disk, and then take the name. After an error, or a loss
    of power at any moment, the old file is still there; the temporary file is removed if the process lives to do so.
    A link keeps pointing where it does; an existing file keeps its permissions.

    Raises FileError with the system's reason: no such folder, no permission, no space left.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    mode = _mode_of(target, path)
    temporary = os.path.join(folder, f".{name[:100]}.{os.getpid()}-{next(_numbers)}.tmp")
    with held() as ctrl_c:  # which happens while the bytes are written, or else when the file is there
        _replace(target, temporary, contents, mode, path, ctrl_c)


def _replace(target: str, temporary: str, contents: Bytes, mode: int | None, path: PathLike, ctrl_c: held) -> None:
    written = False
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        written = True
        try:
            with ctrl_c.let_through():
                view = memoryview(contents).cast("B")
                while view:
                    view = view[os.write(file, view) :]
                if mode is not None and hasattr(os, "fchmod"):
                    os.fchmod(file, mode)
                os.fsync(file)
        finally:
            os.close(file)
        os.replace(temporary, target)
        written = False
        _sync_folder(os.path.dirname(target))
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if written:
            os.unlink(temporary)


def _mode_of(target: str, path: PathLike) -> int | None:
    """Return the permissions of a file that exists; raise if it is no file that could be replaced."""
    try:
        found = os.stat(target)
    except OSError:
        return None  # not there, or not to be seen: opening says which
    if stat.S_ISDIR(found.st_mode):
        raise FileError(f"cannot write {os.fspath(path)!r}: it is a folder", expected="the name of a file")
    if not stat.S_ISREG(found.st_mode):
        raise FileError(f"cannot write {os.fspath(path)!r}: it is a device or a pipe", expected="an ordinary file")
    return stat.S_IMODE(found.st_mode)


def _sync_folder(folder: str) -> None:
    """Bring the new name itself to the disk, where folders can be opened (not on Windows)."""
    if os.name == "nt":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that do not know it
            raise
    finally:
        os.close(opened)


def cannot_write(path: PathLike, error: OSError) -> FileError:
    """Return the error for a file that could not be written, with the system's reason."""
    folder = Path(path).parent
    fix = "the file that was there before, if any, is as it was"
    if isinstance(error, FileNotFoundError) and not folder.is_dir():
        fix = f"make the folder {str(folder)!r} first"
    elif error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        fix = "free some space on that disk; " + fix
    elif isinstance(error, PermissionError):
        fix = "choose a folder that you may write to"
    return FileError(f"cannot write {os.fspath(path)!r}: {_reason(error)}", fix=fix)


def read_file(path: PathLike) -> bytes:
    """Return all bytes of a file. Raises FileError with the system's reason; a missing file gets the nearest names."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise _missing(Path(path)) from error
    except IsADirectoryError as error:
        raise FileError(f"cannot read {os.fspath(path)!r}: it is a folder", expected="the name of a file") from error
    except OSError as error:
        raise FileError(f"cannot read {os.fspath(path)!r}: {_reason(error)}") from error


def _missing(path: Path) -> FileError:
    """Say how far the path exists, and what is there with a name like the missing one."""
    known, lost = path.parent, path.name
    while not known.is_dir() and known != known.parent:
        known, lost = known.parent, known.name
    try:
        names = os.listdir(known)
    except OSError:
        names = []
    what = f"there is no file {str(path)!r}"
    if known != path.parent:
        what += f": there is no folder {str(known / lost)!r}"
    return FileError(what, fix=nearest(lost, names) or "check the name")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
