"""Machine code on disk: made once for a text, a machine and a version of LLVM, and loaded ever after.

An entry is written to a file of its own and renamed, so that nobody sees half of one; what is damaged is made again. The
folder belongs to the user alone: code in a folder that others can write is not loaded, since it would run as the user.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from chainrule.compiler.llvm import object_code
from chainrule.compiler.loader import Library
from chainrule.compiler.target import Target
from chainrule.errors import FileError

FOLDER = "CHAINRULE_CACHE"  # where the cache is; "" or "0": none
ENTRY = ".code"  # the end of an entry's name
MAGIC = b"chainrule machine code 1\n"
MOST_BYTES = 256 * 1024 * 1024


class Loaded(NamedTuple):
    """Code in memory, and whether it was on disk."""

    library: Library
    from_cache: bool


def load_or_make(ir: str, target: Target) -> Loaded:
    """Return the functions of a module: from the disk if they are there, else made now and kept there."""
    key = hashlib.sha256(f"{target.key()}\n{llvm_version()}\n".encode() + ir.encode()).hexdigest()
    place = folder()
    path = place / f"{key}{ENTRY}" if place is not None else None
    if path is not None:
        code = _read(path)
        if code is not None:
            with contextlib.suppress(FileError):  # damaged in a way that the checksum does not show: made again
                return Loaded(Library(code), True)
    code = object_code(ir, target)
    if path is not None:
        _write(path, code)
    return Loaded(Library(code), False)


@functools.cache
def llvm_version() -> str:
    """Return the version of what makes the code."""
    try:
        return importlib.metadata.version("llvmlite")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def chosen_folder() -> Path | None:
    """Return the folder that the cache has, or would have; None if it is switched off."""
    named = os.environ.get(FOLDER)
    if named is not None:
        return Path(named) if named not in ("", "0") else None
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not base:
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            return None
        base = os.path.join(home, ".cache")
    return Path(base) / "chainrule" / "native"


def refusal(place: Path) -> str:
    """Say why code in a folder is not to be trusted, or the folder cannot be used; "" if neither is so."""
    try:
        found = place.lstat()
    except OSError as error:
        return f"{place} cannot be read: {error.strerror}"
    if not stat.S_ISDIR(found.st_mode):
        return f"{place} is no folder"
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        return f"{place} belongs to somebody else"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{place} can be written by others (chmod go-w)"
    return ""


def folder() -> Path | None:
    """Return the folder of the cache, made if need be; None if there is none that can be trusted."""
    place = chosen_folder()
    if place is None:
        return None
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return None if refusal(place) else place


def entries(place: Path) -> list[Path]:
    """Return the files of the cache."""
    try:
        return [path for path in place.iterdir() if path.name.endswith(ENTRY)]
    except OSError:
        return []


def clear(place: Path) -> int:
    """Remove all entries; return how many."""
    removed = 0
    for path in entries(place):
        with contextlib.suppress(OSError):
            path.unlink()
            removed += 1
    return removed


def _read(path: Path) -> bytes | None:
    """Return the code of an entry; None if there is none, or it is damaged."""
    try:
        contents = path.read_bytes()
    except OSError:
        return None
    begin = len(MAGIC) + 32
    code = contents[begin:]
    if not contents.startswith(MAGIC) or contents[len(MAGIC) : begin] != hashlib.sha256(code).digest():
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # used last
    return code


def _write(path: Path, code: bytes) -> None:
    """Keep an entry; where that cannot be done there is none, and the code is made again next time."""
    try:
        number, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    except OSError:
        return
    try:
        with os.fdopen(number, "wb") as file:
            file.write(MAGIC + hashlib.sha256(code).digest() + code)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        return
    _keep_within(path.parent, MOST_BYTES)


def _keep_within(place: Path, most: int) -> None:
    """Remove the entries that were not used for longest, until the rest fits."""
    found = []
    for path in entries(place):
        with contextlib.suppress(OSError):
            state = path.stat()
            found.append((state.st_mtime, state.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            total -= size
