"""The arguments of a Trainer, checked before anything else happens."""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec

from chainrule.errors import ArgumentError, ArgumentTypeError, FileError, nearest
from chainrule.graph.numeric import as_int, as_number
from chainrule.nn import Module
from chainrule.tensors.compile import Compiled

P = ParamSpec("P")


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


def checked_switch(name: str, value: Any, *, optional: bool = False) -> Any:
    """Return ``value`` as a bool; raise unless it is True or False, 1 or 0 (or None, if ``optional``)."""
    if optional and value is None:
        return None
    if as_number(value) not in (True, False):
        raise ArgumentTypeError(f"{name}={value!r}", expected=f"True or False{', or None' if optional else ''}")
    return bool(value)


def options_of(init: Callable[..., None]) -> list[str]:
    """Return the names of what is given by name alone."""
    return [name for name, p in inspect.signature(init).parameters.items() if p.kind is p.KEYWORD_ONLY]


def check_names(owner: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Raise for an option that is not known, with the nearest that is."""
    for name in given:
        if name not in known:
            raise ArgumentTypeError(
                f"{owner}: got the option {name!r}", expected=f"one of {', '.join(known)}", fix=nearest(name, known)
            )


def with_known_names(init: Callable[P, None]) -> Callable[P, None]:
    """Let ``__init__(self, model, *, …)`` raise as ``check_names`` does, before Python raises a TypeError of its own."""
    known = options_of(init)

    @functools.wraps(init)
    def checked(*args: P.args, **options: P.kwargs) -> None:
        owner = type(args[0]).__name__
        check_names(owner, [name for name in options if name != "model"], known)
        if len(args) > 2:
            raise ArgumentTypeError(
                f"{owner}: got {len(args) - 1} arguments by position",
                expected=f"{owner}(model, …), all options by name",
                fix=f"write {owner}(model, …).fit(data): the data are given to fit",
            )
        init(*args, **options)

    return checked


def check_model(model: Any) -> None:
    """Raise for a model that is none; a compiled one is called so."""
    if isinstance(model, Module):
        return
    is_compiled = isinstance(model, Compiled)
    raise ArgumentTypeError(
        f"Trainer: got a {'compiled model' if is_compiled else f'model of type {type(model).__name__}'}",
        expected="an nn.Module",
        fix="give the model itself: fit and Trainer compile its training step by themselves" if is_compiled else "",
    )


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
