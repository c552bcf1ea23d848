from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from chainrule.compiler import cache, target

pytestmark = pytest.mark.skipif(target.unsupported() is not None, reason="this machine has no native code")

TWICE = "define i64 @twice(i64 %x) {\n  %y = add i64 %x, %x\n  ret i64 %y\n}\n"


def test_the_second_time_code_comes_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    calls = []

    def build() -> tuple[str, bytes]:
        calls.append(1)
        return TWICE, b"notes"

    for time in range(2):
        loaded = cache.load_or_build(b"twice", build, target.host())
        assert loaded.from_cache == bool(time)
        assert (loaded.metadata, loaded.note) == (b"notes", "")
        assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(loaded.library["twice"])(21) == 42
    assert len(calls) == 1
