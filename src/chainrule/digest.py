"""SHA-256: Python's own for a little, OpenSSL's for much.

OpenSSL's is six times as fast (1000 MB a second), and takes 5 ms and 3.5 MB of memory to load: more than all the code that a
training has on disk. The module random of Python chooses as we do.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import Any, Protocol

OWN = ("_sha2", "_sha256")  # since Python 3.12, and before
MUCH = 1 << 21  # bytes: from here on loading OpenSSL pays


class Digest(Protocol):
    """What has a digest of all that it was given."""

    @property
    def digest_size(self) -> int: ...

    def update(self, data: Any, /) -> None: ...

    def digest(self) -> bytes: ...

    def hexdigest(self) -> str: ...


def sha256(length: int = 0) -> Digest:
    """Return a new SHA-256, as ``hashlib`` does, that will be given about ``length`` bytes."""
    made: Digest = _made_by("hashlib" if length >= MUCH or "_hashlib" in sys.modules else "")()
    return made


@cache
def _made_by(name: str) -> Any:
    for module in (name,) if name else OWN:
        try:
            return importlib.import_module(module).sha256
        except ImportError:  # Python was built without it
            continue
    return _made_by("hashlib")
