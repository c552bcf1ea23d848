"""SHA-256 is the same number whoever computes it."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from chainrule import digest


@pytest.mark.parametrize("name", [digest.OWN, "hashlib", "nobody"])
def test_whoever_computes_it_it_is_the_same(name: str) -> None:
    made = digest._made_by(name)()
    for part in (b"", b"abc", bytes(range(256)) * 999):
        made.update(part)
    assert made.digest() == hashlib.sha256(b"abc" + bytes(range(256)) * 999).digest()
    assert made.digest_size == 32


def test_openssl_is_loaded_for_much_alone() -> None:
    program = (
        "import sys; from chainrule.digest import MUCH, sha256; sha256(100).update(b'abc'); "
        "print('_hashlib' in sys.modules); sha256(MUCH).update(b'abc'); print('_hashlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
