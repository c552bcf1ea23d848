"""How much memory is there to take, and the error of a program that needs more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chainrule.errors import OutOfMemoryError
from chainrule.forks import undisturbed
from chainrule.graph import Array

WORTH_ASKING = 1 << 24  # bytes: less is there
PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


class Available(NamedTuple):
    """Bytes that can be taken, and who says so."""

    size: int
    of: str


def available() -> Available | None:
    """Return the least of what the machine, the control groups and the process's own limit leave; None if nobody says."""
    return min(_limits(), default=None)


def _limits() -> Iterator[Available]:
    for line in _lines(PROC / "meminfo"):
        if line.startswith("MemAvailable:"):
            yield Available(1024 * int(line.split()[1]), "this machine")
    for folder, names in _groups():
        limit, used, cached = [_number(folder / names[0]), _number(folder / names[1]), _cached(folder, names[2])]
        if limit is not None and used is not None:
            yield Available(max(limit - used + cached, 0), "the control group (a container's limit)")
    if (left := _address_space()) is not None:
        yield Available(left, "the limit of this process (ulimit -v)")


def _address_space() -> int | None:
    """Return how many bytes the process may still map; None if there is no limit."""
    try:
        with undisturbed():
            import resource
    except ImportError:  # Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _lines(PROC / "self" / "statm")
    if limit == resource.RLIM_INFINITY or not pages:
        return None
    return max(limit - int(pages[0].split()[0]) * resource.getpagesize(), 0)


def _groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Yield the folders of the control groups that this process is in, each within the next, and the names of their files."""
    for line in _lines(PROC / "self" / "cgroup"):
        _, kinds, path = line.strip().split(":", 2)
        if not kinds:
            root, names = GROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            root, names = GROUPS / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = root / path.lstrip("/")
        yield folder, names
        while folder != root and root in folder.parents:
            folder = folder.parent
            yield folder, names


def _cached(folder: Path, name: str) -> int:
    """Return the bytes of files that the group counts as used, and that are given up when somebody needs them."""
    for line in _lines(folder / "memory.stat"):
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _number(file: Path) -> int | None:
    """Return the number in a file; None if there is no file, or no limit in it."""
    lines = _lines(file)
    return int(lines[0]) if lines and lines[0].strip().isdigit() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def allocate(size: int, name: str, sizes: dict[str, int]) -> Array:
    """Return so many bytes for the values of the program ``name`` with these sizes.

    Raises OutOfMemoryError if there are not so many: without a word the system would end the process later.
    """
    there = available() if size >= WORTH_ASKING else None
    if there is None or size <= there.size:
        try:
            return np.empty(size, np.uint8)
        except MemoryError:
            there = Available(0, "the system")
    shown = f" for {', '.join([f'{key} = {value:,}' for key, value in sizes.items()])}" if sizes else ""
    left = f"at most {told(there.size)}, which {there.of} leaves" if there.size else f"what {there.of} leaves"
    raise OutOfMemoryError(
        f"{name}: native code needs {told(size)} of memory beside inputs and results{shown}",
        expected=left,
        fix="use a smaller batch (batch_size=), or a narrower network",
    )


def told(size: int) -> str:
    """Return bytes in words.

    >>> told(123_000), told(1_500_000_000)
    ('0.12 MB', '1.50 GB')
    """
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.2f} MB"
