from __future__ import annotations

import pytest


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let traces become native code, as they do for users."""
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
