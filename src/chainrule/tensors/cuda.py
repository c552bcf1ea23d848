"""``chainrule.cuda``: there is none, and code that asks is told so."""

from __future__ import annotations


def is_available() -> bool:
    """Return False: tensors live on the CPU."""
    return False


def device_count() -> int:
    """Return 0."""
    return 0


def manual_seed(seed: int) -> None:
    """Do nothing: there is no generator on a GPU."""


def manual_seed_all(seed: int) -> None:
    """Do nothing: there is no generator on a GPU."""
