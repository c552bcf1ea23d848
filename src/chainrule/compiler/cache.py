"""Machine code kept on disk, so that the second run of a program starts without LLVM.

An entry is a file in the folder $CHAINRULE_CACHE, else ``chainrule/native`` in the user's cache folder. Its name is a hash of
all that its code follows from: what the caller compiles (a graph, or text in LLVM's language), the source of the compiler, the version of LLVM, the target. So an
entry is never wrong, only unused, and the oldest go when the folder grows too large.

Code that is loaded is run. The folder must belong to the user, and nobody else may be able to write to it; the same is asked of
each file in it. Everything is opened relative to the folder that was checked, and no link is followed in it.
Where there is no such folder, or it cannot be written, code is compiled anew in each process: one warning says so and what to
do, and ``Loaded.note`` says why. ``off`` is no reason for a warning.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import stat
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from chainrule.compiler.llvm import object_code
from chainrule.compiler.loader import Library
from chainrule.compiler.target import Target
from chainrule.digest import sha256
from chainrule.errors import ArgumentError, NativeError, warn
from chainrule.switches import OFF, ON

VARIABLE = "CHAINRULE_CACHE"
"""The environment variable that names the folder; ``off``: none."""
LIMIT = 256 * 2**20  # bytes of all entries together
LEFT = 0.9  # of the limit, when old entries have gone
EVERY = (
    32  # entries written, about, after which the whole folder is looked at: that is what takes longest where it is full
)

HAS_OWNERS = hasattr(os, "geteuid") and os.open in os.supports_dir_fd  # not on Windows, where no code is made either

SUFFIX, UNFINISHED = ".native", ".unfinished"
ENTRY = r"[0-9a-f]{64}\.native"
BEGUN = r"\.[0-9a-f]{64}\.native\.\d+\.[0-9a-f]{8}\.unfinished"
ABANDONED_AFTER = 3600  # seconds since a file was begun that nobody finished
TOUCH_AFTER = 60  # seconds: an entry's time of last use is not written again within them

# An entry: head, checksum of all that follows it, lengths of metadata and code, metadata, code.
HEAD = b"chainrule native code 1\n"
LENGTHS = struct.Struct("<QQ")
CHECKSUM = sha256().digest_size


class Loaded(NamedTuple):
    """Code in memory, and what its maker noted beside it. ``note``: why it was not kept on disk ("" where it was)."""

    library: Library
    metadata: bytes
    from_cache: bool
    note: str = ""


class State(NamedTuple):
    """What the folder holds.

    ``refused``     why it is not used ("" where it is)
    ``unwritable``  why nothing new is kept in it, though what it holds is used
    """

    folder: Path | None
    refused: str
    num_entries: int = 0
    size: int = 0  # bytes
    newest: float = 0.0  # when the newest entry was made or last used, in seconds since 1970
    unwritable: str = ""


_told: set[Path | None] = set()  # the folders of which this process was warned


def load_or_build(
    key: bytes,
    build: Callable[[], tuple[str, bytes]],
    target: Target,
    symbols: Mapping[str, int] | None = None,
    read: Callable[[bytes], object] = bytes,
) -> Loaded:
    """Return the code for ``key``: from disk, or from the text in LLVM's language that ``build()`` returns with metadata.

    ``key`` must tell apart whatever makes ``build`` return something else, except the source of chainrule's compiler, LLVM
    and the target, which are added here. ``symbols``: addresses for what the code calls, as ``Library`` takes them.
    ``read`` is called with the metadata; an entry for which it raises NativeError is built again.

    Raises:
        NativeError: LLVM refuses the text, or the code calls what is not in ``symbols``.
    """
    name = _name(key, target)
    note = ""
    try:
        with _folder() as folder:
            entry = _read(folder, name)
            if entry is not None:
                metadata, code = entry
                with contextlib.suppress(NativeError):  # of another machine, say: made anew
                    read(metadata)
                    return Loaded(Library(code, symbols), metadata, from_cache=True)
    except _Unusable as unusable:
        note = str(unusable)
    ir, metadata = build()
    read(metadata)
    code = object_code(ir, target)
    library = Library(code, symbols)
    if not note:
        try:
            with _folder() as folder:
                size = _write(folder, name, metadata, code)
                if _is_due(name, size):
                    _bound(folder, keep=name)
        except _Unusable as unusable:
            note = str(unusable)
    if note:
        _warn(note)
    return Loaded(library, metadata, from_cache=False, note=note)


def _warn(why: str) -> None:
    """Warn, once for each folder, that code is not kept; not where nobody could or would keep it."""
    path, _ = place()
    if path in _told or is_off() or not HAS_OWNERS:
        return
    _told.add(path)
    warn(
        f"native code is not kept on disk, and compiled again in each process: {why}. Otherwise {VARIABLE}=FOLDER names a "
        f"folder of your own, and {VARIABLE}=off keeps none"
    )


def state() -> State:
    """Return what the folder holds. It is not made; where it is not there, it is tried whether it could be."""
    path, missing = place()
    if path is None:
        return State(None, missing)
    try:
        with _folder(make=False) as folder:
            found = list(_entries(_files(folder)))
    except _Unusable as unusable:
        if not unusable.is_absent:
            return State(path, str(unusable))
        above = _above(path)
        return State(path, _refused_above(above) or _unwritable(above) or _unmakable(path, above))
    newest = max((when for _, _, when in found), default=0.0)
    return State(path, "", len(found), sum(size for _, size, _ in found), newest, _unwritable(path))


def clear() -> int:
    """Remove all entries, and nothing else; return how many there were.

    Raises:
        NativeError: the folder is one that is not used.
    """
    if place()[0] is None:
        return 0
    try:
        with _folder(make=False) as folder:
            files = list(_files(folder))
            names = [name for name, _, _ in _entries(files)]
            for name in [*names, *_unfinished(files, older_than=0)]:
                _remove(folder, name)
    except _Unusable as unusable:
        if unusable.is_absent:
            return 0
        raise NativeError(str(unusable)) from None
    return len(names)


# The name.


def _name(key: bytes, target: Target) -> str:
    digest = sha256()
    for part in (HEAD, key, _source(), _llvm(), target.key()):
        digest.update(LENGTHS.pack(len(part), 0) + part)  # with lengths: no two lists of parts run together
    return digest.hexdigest() + SUFFIX


@functools.cache
def _source() -> bytes:
    """Return what changes whenever the source that writes code does: of each file the size and the time it was written.

    Sizes and times are read in a tenth of the time that contents take, and hold for a wheel as for a checkout: an
    installer writes files anew, or into a folder of another name.
    """
    package = Path(__file__).resolve().parent.parent
    found = [os.fsencode(package)]
    for folder in ("compiler", "ops", "graph", "run"):
        try:
            with os.scandir(package / folder) as files:
                rows = sorted((file.name, file.stat()) for file in files if file.name.endswith(".py"))
        except OSError:  # chainrule runs from a zip file: the file stands for what is in it
            archive = next((place for place in package.parents if place.is_file()), None)
            rows = [(archive.name, archive.stat())] if archive else []
        found += [f"{folder}/{name} {about.st_size} {about.st_mtime_ns}".encode() for name, about in rows]
    return b"\n".join(found)


@functools.cache
def _llvm() -> bytes:
    """Return what changes whenever llvmlite does, without loading it (60 ms) or the reader of package metadata (20 ms)."""
    found = importlib.util.find_spec("llvmlite")
    folders = found.submodule_search_locations if found is not None else None
    parts = []
    for folder in folders or ():
        for file in ("_version.py", "binding/libllvmlite.so"):
            with contextlib.suppress(OSError):
                about = os.stat(os.path.join(folder, file))
                parts.append(f"{folder}/{file} {about.st_size} {about.st_mtime_ns}")
    return "\n".join(parts).encode()


# The folder.


class _Unusable(Exception):
    """Why the folder is not used."""

    def __init__(self, why: str, *, is_absent: bool = False) -> None:
        super().__init__(why)
        self.is_absent = is_absent


def is_off() -> bool:
    """Say whether the environment says that no code is kept."""
    return os.environ.get(VARIABLE, "").strip().lower() in OFF


def place() -> tuple[Path | None, str]:
    """Return the folder as the environment names it, or None and why there is none.

    Raises:
        ArgumentError: the environment names none, and does not switch it off.
    """
    named = os.environ.get(VARIABLE, "")
    if is_off():
        return None, f"{VARIABLE} is off"
    if named.strip().lower() in ON:
        raise ArgumentError(
            f"{VARIABLE} is {named!r}",
            expected="a folder, or off",
            fix=f"unset {VARIABLE} to keep code in the user's cache folder; ./{named} is a folder of this name",
        )
    if named:
        return Path(named).absolute(), ""
    caches = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(caches):  # the XDG specification: a relative path is ignored
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            return None, f"the user has no home folder to keep it in (set {VARIABLE})"
        caches = os.path.join(home, ".cache")
    return Path(caches) / "chainrule" / "native", ""


@contextlib.contextmanager
def _folder(make: bool = True) -> Iterator[int]:
    """Open the folder, checked, made with ``make`` where it is not there; raise _Unusable."""
    path, missing = place()
    if path is None:
        raise _Unusable(missing)
    if not HAS_OWNERS:
        raise _Unusable("this system does not tell who may write to a folder")
    try:
        folder = _open_folder(path, make)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not make:
            raise _Unusable(f"{path} is not there", is_absent=True) from error
        if path.is_symlink():
            raise _Unusable(f"{path} is a symbolic link: name the folder that it leads to ({VARIABLE})") from error
        raise _Unusable(f"{path} cannot be used ({error.strerror})") from error
    try:
        _check(os.fstat(folder), path)
        yield folder
    except OSError as error:
        raise _Unusable(f"{path} cannot be used ({error.strerror})") from error
    finally:
        os.close(folder)


def _open_folder(path: Path, make: bool) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        if not make:
            raise
    if refused := _refused_above(_above(path)):
        raise _Unusable(refused)
    os.makedirs(path.parent, mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, mode=0o700)
    return os.open(path, flags)


def _above(path: Path) -> Path:
    """Return the nearest folder above that is there."""
    return next(place for place in path.parents if place.exists())


def _refused_above(folder: Path) -> str:
    """Say why no folder is made in this one; "" if it may be."""
    if os.stat(folder).st_uid in (os.geteuid(), 0):
        return ""
    return f"{folder} belongs to another user"  # `sudo` with the home of a user: leave no folder of root's there


def _unwritable(folder: Path) -> str:
    """Say why nothing can be made in a folder; "" if it can, as far as is known without trying."""
    if os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return ""
    return f"{folder} cannot be written (its permissions, or a disk that is read only)"


def _unmakable(path: Path, above: Path) -> str:
    """Say why no folder can be made in this one, on the way to ``path``, by making one and removing it; "" if it can."""
    trial = above / f".chainrule-{os.getpid()}"
    try:
        os.mkdir(trial, mode=0o700)
        os.rmdir(trial)
    except OSError as error:
        return f"{path} cannot be used ({error.strerror})"
    return ""


def _check(about: os.stat_result, what: object) -> None:
    """Refuse a folder or file that another user may have written to: what is in it would be run."""
    if about.st_uid != os.geteuid():
        raise _Unusable(
            f"{what} belongs to another user, whose code would be run: name a folder of your own ({VARIABLE})"
        )
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _Unusable(f"others may write to {what}, and their code would be run: chmod go-w {what}")


# The files.


Files = Iterable[tuple[str, os.stat_result]]


def _entries(files: Files) -> Iterator[tuple[str, int, float]]:
    """Yield name, size in bytes and time of last use of each entry."""
    for name, about in files:
        if re.fullmatch(ENTRY, name):
            yield name, about.st_size, about.st_mtime


def _unfinished(files: Files, older_than: float) -> Iterator[str]:
    """Yield the names of files that were begun and never finished."""
    for name, about in files:
        if re.fullmatch(BEGUN, name) and about.st_mtime <= time.time() - older_than:
            yield name


def _files(folder: int) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as files:
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # another process removed it
                about = file.stat(follow_symlinks=False)
                if stat.S_ISREG(about.st_mode):
                    yield file.name, about


def _read(folder: int, name: str) -> tuple[bytes, bytes] | None:
    """Return metadata and code of an entry; None: it is not there, damaged, or not to be trusted."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    with open(file, "rb", buffering=0) as opened:
        about = os.fstat(file)
        try:
            _check(about, name)
            data = opened.readall() if stat.S_ISREG(about.st_mode) else b""
        except (_Unusable, OSError):
            return None
        entry = _unpack(data, name)
        if entry is not None and about.st_mtime < time.time() - TOUCH_AFTER:
            with contextlib.suppress(OSError):  # a disk that is read only keeps no times
                os.utime(file)
    return entry


def _pack(name: str, metadata: bytes, code: bytes) -> bytes:
    body = LENGTHS.pack(len(metadata), len(code)) + metadata + code
    return HEAD + _checksum(name, body) + body


def _unpack(data: bytes, name: str) -> tuple[bytes, bytes] | None:
    start = len(HEAD) + CHECKSUM
    body = data[start:]
    if data[: len(HEAD)] != HEAD or len(body) < LENGTHS.size or data[len(HEAD) : start] != _checksum(name, body):
        return None
    of_metadata, of_code = LENGTHS.unpack_from(body)
    middle = LENGTHS.size + of_metadata
    return (body[LENGTHS.size : middle], body[middle:]) if len(body) == middle + of_code else None


def _checksum(name: str, body: bytes) -> bytes:
    """Return a hash of an entry that is right under its own name alone."""
    digest = sha256(len(body))
    digest.update(name.encode() + body)
    return digest.digest()


def _write(folder: int, name: str, metadata: bytes, code: bytes) -> int:
    """Write an entry, and return its size.

    It is written under another name, to the disk, then renamed, so that a reader sees all of it or nothing.
    """
    entry = _pack(name, metadata, code)
    temporary = f".{name}.{os.getpid()}.{os.urandom(4).hex()}{UNFINISHED}"
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        with open(file, "wb") as opened:
            opened.write(entry)
            opened.flush()
            os.fsync(file)
        with contextlib.suppress(FileNotFoundError):  # cleared meanwhile
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        _remove(folder, temporary)
        raise
    return len(entry)


def _is_due(name: str, size: int) -> bool:
    """Say whether the folder is looked at after an entry was written: by chance, which its name is; more often, the larger it is."""
    chance = max(1 / EVERY, size / (LIMIT * (1 - LEFT)))
    return int(name[:8], 16) < chance * 2**32


def _bound(folder: int, keep: str) -> None:
    """Remove what was not used for longest when there is too much, and what nobody finished."""
    files = list(_files(folder))
    for name in _unfinished(files, ABANDONED_AFTER):
        _remove(folder, name)
    entries = sorted(_entries(files), key=lambda entry: entry[2])
    size = sum(of_entry for _, of_entry, _ in entries)
    if size <= LIMIT:
        return
    for name, of_entry, _ in entries:
        if size <= LEFT * LIMIT:
            break
        if name != keep:
            _remove(folder, name)
            size -= of_entry


def _remove(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
