"""Switches in the environment: the words for on and off, the same for each of them, and one error for any other word."""

from __future__ import annotations

import os

from chainrule.errors import ArgumentError, nearest

ON, OFF = ("1", "on", "true", "yes"), ("0", "off", "false", "no")


def read_switch(name: str, *, default: bool) -> bool:
    """Say whether the environment variable ``name`` is on; ``default`` where it is not set, or empty.

    Raises:
        ArgumentError: it is neither a word for on nor one for off.
    """
    value = os.environ.get(name, "").strip()
    word = value.lower()
    if not word:
        return default
    if word in ON or word in OFF:
        return word in ON
    fix = nearest(word, (*ON, *OFF)) or f"unset {name}"
    raise ArgumentError(f"{name} is {value!r}", expected=f"{', '.join(ON)} or {', '.join(OFF)}", fix=fix)
