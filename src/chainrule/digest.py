"""SHA-256: Python's own for a little, OpenSSL's for much.

OpenSSL's is six times as fast (1000 MB a second), and takes 5 ms and 3.5 MB of memory to load: more than all the code that a
training has on disk. The module random of Python chooses as we do.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import Any, Protocol

from chainrule.forks import undisturbed

OWN = "_sha2" if sys.version_info >= (3, 12) else "_sha256"
MUCH = 1 << 20  # bytes: from here on loading OpenSSL pays


class Digest(Protocol):
    """What has a digest of all that it was given."""

    @property
    def digest_size(self) -> int: ...

    def update(self, data: Any, /) -> None: ...

    def digest(self) -> bytes: ...

    def hexdigest(self) -> str: ...


def sha256(length: int = 0) -> Digest:
    """Return a new SHA-256, as ``hashlib`` does, that will be given about ``length`` bytes."""
    made: Digest = _made_by("hashlib" if length >= MUCH or "_hashlib" in sys.modules else OWN)()
    return made


@cache
def _made_by(name: str) -> Any:
    try:
        with undisturbed():
            return importlib.import_module(name).sha256
    except ImportError:  # Python was built without its own
        with undisturbed():
            return importlib.import_module("hashlib").sha256
