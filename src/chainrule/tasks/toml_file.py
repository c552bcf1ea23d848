"""Configurations as TOML files."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from typing import Any

from chainrule.errors import FileError
from chainrule.forks import undisturbed
from chainrule.tensors.files import read_file


def to_toml(values: Mapping[str, Any]) -> str:
    """Return nested plain values as TOML."""
    try:
        with undisturbed():
            import tomli_w  # an extra: Python reads TOML and cannot write it
    except ImportError:
        raise FileError(
            "config.toml is written by tomli-w, which is not installed",
            fix='install it: pip install "chainrule[command]"',
        ) from None
    return tomli_w.dumps(values)


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file; a mistake in it is named with its line."""
    try:
        return tomllib.loads(read_file(path).decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{os.fspath(path)} is no TOML file: {error}", fix="restore it from a copy") from None
