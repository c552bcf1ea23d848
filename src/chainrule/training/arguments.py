"""The arguments of a Trainer, checked before anything else happens."""

from __future__ import annotations

import math
import os
from typing import Any

from chainrule.errors import ArgumentError, ArgumentTypeError, FileError
from chainrule.graph.numeric import as_int, as_number


def checked_whole(name: str, value: Any, least: int, *, optional: bool = False) -> Any:
    """Return ``value`` as a plain int; raise unless it is a whole number of at least that (or None, if ``optional``)."""
    if optional and value is None:
        return None
    whole = as_int(value)
    if isinstance(whole, bool) or not isinstance(whole, int) or whole < least:
        none = ", or None" if optional else ""
        raise ArgumentError(f"{name}={value!r}", expected=f"a whole number of at least {least}{none}")
    return whole


def checked_number(name: str, value: Any, *, least: float = -math.inf, above: float = -math.inf) -> Any:
    """Return ``value`` as Python's; raise unless it is None or finite, of at least ``least`` and larger than ``above``."""
    if value is None:
        return None
    number = as_number(value)
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not is_number or not math.isfinite(number) or number < least or number <= above:
        limit = "" if above == -math.inf else f" above {above:g}"
        limit = limit if least == -math.inf else f" of at least {least:g}"
        raise ArgumentError(f"{name}={value!r}", expected=f"a number{limit}")
    return number


def check_switches(compile: Any, progress: Any) -> None:
    """Raise unless they are True or False; ``progress`` may be None."""
    if not isinstance(compile, bool):
        raise ArgumentTypeError(f"compile={compile!r}", expected="True or False")
    if progress is not None and not isinstance(progress, bool):
        raise ArgumentTypeError(f"progress={progress!r}", expected="True, False, or None: where a terminal is")


def check_normalize(normalize: Any) -> None:
    """Raise unless it is None or (mean, std): finite numbers, the second one above 0."""
    if normalize is None:
        return
    if not isinstance(normalize, (tuple, list)) or len(normalize) != 2:
        raise ArgumentError(f"normalize={normalize!r}", expected="(mean, std), two numbers, or None")
    for name, value in zip(("mean", "std"), normalize, strict=True):
        if value is None:
            raise ArgumentError(f"normalize={normalize!r}: the {name} is None", expected="a number")
        checked_number(f"normalize: {name}", value, **({"above": 0.0} if name == "std" else {}))


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
