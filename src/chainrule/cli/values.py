"""Values of options: durations, sizes of layers, lists, pairs.

Each raises ``argparse.ArgumentTypeError`` with what was expected; argparse names the option.
"""

from __future__ import annotations

import argparse
import re

_DURATION = re.compile(r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s?)?")
_NAMED_CHARACTERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " ", "bar": "|"}


def seconds(text: str) -> float:
    """Read a duration: ``90``, ``90s``, ``10m``, ``1h30m``.

    >>> seconds("90"), seconds("10m"), seconds("1h30m")
    (90.0, 600.0, 5400.0)
    """
    found = _DURATION.fullmatch(text.strip().lower())
    parts = found.groupdict() if found else {}
    total = sum(float(parts.get(unit) or 0) * size for unit, size in (("h", 3600), ("m", 60), ("s", 1)))
    if total <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; expected such as 90s, 10m or 1h30m")
    return total


def sizes(text: str) -> tuple[int, ...]:
    """Read the units of hidden layers: ``128,64``; ``none`` for no hidden layer.

    >>> sizes("128,64"), sizes("none")
    ((128, 64), ())
    """
    if text.strip().lower() in ("none", "0", ""):
        return ()
    try:
        return tuple(int(part) for part in text.replace("x", ",").replace("-", ",").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of layers; expected such as 128,64, or none") from None


def names(text: str) -> tuple[str, ...]:
    """Read names with commas between them.

    >>> names("age, sex")
    ('age', 'sex')
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def pair(text: str) -> tuple[str, str]:
    """Read ``column=kind``.

    >>> pair("zip=categorical")
    ('zip', 'categorical')
    """
    name, sign, kind = text.rpartition("=")
    if not sign or not name.strip() or not kind.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no pair; expected column=kind, such as zip=categorical")
    return name.strip(), kind.strip()


def fraction_or_file(text: str) -> float | str:
    """Read a part of the rows: a fraction, or the name of a file.

    >>> fraction_or_file("0.2"), fraction_or_file("val.csv"), fraction_or_file("20%")
    (0.2, 'val.csv', 0.2)
    """
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return text


def character(text: str) -> str:
    """Read one character: itself, or ``tab``, ``comma``, ``semicolon``, ``space``, ``bar``; ``auto`` stays.

    >>> character("tab"), character(";")
    ('\\t', ';')
    """
    value = _NAMED_CHARACTERS.get(text.lower(), text)
    if len(value) != 1 and value != "auto":
        raise argparse.ArgumentTypeError(f"{text!r} is not one character; expected such as , ; or tab")
    return value


def quote(text: str) -> str:
    """Read the quotation mark: one character, or ``none``."""
    return "" if text.lower() == "none" else character(text)
