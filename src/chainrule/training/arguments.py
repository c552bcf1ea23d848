"""The arguments of a Trainer, checked before anything else happens."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, FileError


def check_whole(name: str, value: Any, least: int, *, optional: bool = False) -> None:
    """Raise unless ``value`` is a whole number of at least that (or None, if it is ``optional``)."""
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        none = ", or None" if optional else ""
        raise ArgumentError(f"{name}={value!r}", expected=f"a whole number of at least {least}{none}")


def check_number(name: str, value: Any, *, least: float = -math.inf, above: float = -math.inf) -> None:
    """Raise unless ``value`` is None or a finite number, of at least ``least`` and larger than ``above``."""
    if value is None:
        return
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < least or value <= above:
        limit = "" if above == -math.inf else f" above {above:g}"
        limit = limit if least == -math.inf else f" of at least {least:g}"
        raise ArgumentError(f"{name}={value!r}", expected=f"a number{limit}")


def check_normalize(normalize: Any) -> None:
    """Raise unless it is None or (mean, std): finite numbers, the second one above 0."""
    if normalize is None:
        return
    if not isinstance(normalize, (tuple, list)) or len(normalize) != 2:
        raise ArgumentError(f"normalize={normalize!r}", expected="(mean, std), two numbers, or None")
    for name, value in zip(("mean", "std"), normalize, strict=True):
        if value is None:
            raise ArgumentError(f"normalize={normalize!r}: the {name} is None", expected="a number")
        check_number(f"normalize: {name}", value, **({"above": 0.0} if name == "std" else {}))


def check_by(schedule_by: Any) -> None:
    """Raise unless a schedule can be stepped by that."""
    if schedule_by not in (None, "epoch", "batch"):
        raise ArgumentError(f"schedule_by={schedule_by!r}", expected="'epoch', 'batch' or None")


def check_place(checkpoint: Any) -> None:
    """Raise unless a checkpoint can lie there: a path in a folder that exists."""
    if checkpoint is None:
        return
    if not isinstance(checkpoint, (str, os.PathLike)):
        raise ArgumentTypeError(f"checkpoint={checkpoint!r}", expected="a path, or None")
    folder = os.path.dirname(os.path.abspath(checkpoint))
    if not os.path.isdir(folder):
        raise FileError(f"checkpoint={os.fspath(checkpoint)!r}: there is no folder {folder!r}", fix="make it first")
