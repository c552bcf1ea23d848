"""A column of a table: numbers, or text by codes; made from cells of text or from NumPy values.

Two forms, chosen once when a column is made: ``NumberColumn`` (float64, NaN where a cell is missing) when every filled
cell is a number, else ``TextColumn`` (a code per row into its different texts, -1 where a cell is missing). Text that
would lose something as a number stays text: leading zeros (``01234``), integers beyond 2**53, underscores.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from chainrule.errors import DataError

Numbers = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]
Rows = npt.NDArray[np.int64]

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN", "null", "NULL", "Null", "None", "?")
"""The cells that count as missing unless the caller names others."""

SEPARATOR = "\0"  # between packed cells; no cell may contain it
LARGEST_EXACT = 2.0**53  # integers below it are exact as float64

_LEADING_ZERO = re.compile(r"(?:^|\0)[+-]?0[0-9]")
_LONG_INTEGER = re.compile(r"(?:^|\0)([+-]?[0-9]{16,})(?=\0|$)")
_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})\.0+")


@dataclass(frozen=True, eq=False, slots=True)
class NumberColumn:
    """A column of numbers: float64, NaN where a cell is missing."""

    values: Numbers

    def __len__(self) -> int:
        return len(self.values)

    @property
    def missing(self) -> Mask:
        """Which cells are missing."""
        return np.isnan(self.values)

    def take(self, rows: npt.NDArray[np.integer] | Mask | slice) -> NumberColumn:
        """Return the cells of these rows."""
        return NumberColumn(self.values[rows])

    def cell(self, row: int) -> str:
        """Return one cell as text, ``""`` where it is missing."""
        value = float(self.values[row])
        return "" if math.isnan(value) else number_text(value)

    def categories(self) -> tuple[Codes, tuple[str, ...]]:
        """Return a code per row (-1: missing) and the text of each different number, in rising order."""
        different, codes = np.unique(self.values, return_inverse=True)  # NaN sorts last, once
        names = tuple(number_text(value) for value in different.tolist() if not math.isnan(value))
        return np.where(codes == len(names), -1, codes).astype(np.int32), names


@dataclass(frozen=True, eq=False, slots=True)
class TextColumn:
    """A column of text: a code per row into its different texts, -1 where a cell is missing."""

    codes: Codes
    texts: tuple[str, ...]
    decimal: str = "."  # the decimal sign of numbers in the source

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def missing(self) -> Mask:
        """Which cells are missing."""
        return self.codes < 0

    def take(self, rows: npt.NDArray[np.integer] | Mask | slice) -> TextColumn:
        """Return the cells of these rows."""
        return TextColumn(self.codes[rows], self.texts, self.decimal)

    def cell(self, row: int) -> str:
        """Return one cell as text, ``""`` where it is missing."""
        code = int(self.codes[row])
        return "" if code < 0 else self.texts[code]

    def categories(self) -> tuple[Codes, tuple[str, ...]]:
        """Return a code per row (-1: missing) and the different texts that occur, in order of their names.

        A text that is a plain number is named like the number (``1.0`` is ``1``), so that a category is the same one
        whether a file held it beside text or an array held it as a number.
        """
        occurs = np.zeros(len(self.texts), dtype=np.bool_)
        occurs[self.codes[self.codes >= 0]] = True
        keys = [category_name(text) if seen else "" for text, seen in zip(self.texts, occurs.tolist(), strict=True)]
        names = sorted({key for key, seen in zip(keys, occurs.tolist(), strict=True) if seen})
        place = {name: code for code, name in enumerate(names)}
        # one place more, for the code -1
        renumbered = np.array([place.get(key, -1) for key in keys] + [-1], dtype=np.int32)
        return renumbered[self.codes], tuple(names)

    def numbers(self) -> tuple[Numbers, Mask]:
        """Return the cells as numbers (NaN where missing or not a number) and which filled cells are no numbers."""
        values = np.full(len(self.texts) + 1, np.nan)
        wrong = np.zeros(len(self.texts) + 1, dtype=np.bool_)  # the last place serves the code -1
        for code, text in enumerate(self.texts):
            number = parse_number(text, self.decimal)
            wrong[code] = number is None
            values[code] = math.nan if number is None else number
        return values[self.codes], wrong[self.codes]


Column = NumberColumn | TextColumn


def number_text(value: float) -> str:
    """Write a number as short as it can be read back: ``3``, not ``3.0``.

    >>> number_text(3.0), number_text(0.1), number_text(-0.0)
    ('3', '0.1', '0')
    """
    if value.is_integer() and abs(value) < LARGEST_EXACT:
        return str(int(value))
    return repr(value)


def category_name(text: str) -> str:
    """Name a category: a plain number without its empty decimals, any other text as it is.

    >>> category_name("1.0"), category_name("01.0"), category_name("1.10"), category_name("red")
    ('1', '01.0', '1.10', 'red')
    """
    return number_text(float(text)) if _PLAIN_NUMBER.fullmatch(text) else text


def parse_number(text: str, decimal: str = ".") -> float | None:
    """Read a number, or return None: an underscore, which Python allows in a number, is text."""
    if "_" in text:
        return None
    try:
        return float(text.replace(decimal, ".") if decimal != "." else text)
    except ValueError:
        return None


def column_from_chunks(chunks: Sequence[str], *, missing: frozenset[str], decimal: str, as_text: bool) -> Column:
    """Make a column from packed cells: each chunk holds stripped cells with ``SEPARATOR`` between them."""
    if not as_text:
        numbers = _numbers_from_chunks(chunks, missing, decimal)
        if numbers is not None:
            return NumberColumn(numbers)
    return _text_column(chain.from_iterable(chunk.split(SEPARATOR) for chunk in chunks), missing, decimal)


def column_from_cells(cells: Iterable[object], *, missing: frozenset[str], as_text: bool) -> Column:
    """Make a column from Python objects: text is read as a file's cells are, None and NaN are missing."""
    texts = [_object_text(cell).strip() for cell in cells]
    if any(SEPARATOR in text for text in texts):
        return _text_column(texts, missing, ".")
    chunks = [SEPARATOR.join(texts)] if texts else []
    return column_from_chunks(chunks, missing=missing, decimal=".", as_text=as_text)


def column_from_array(values: npt.NDArray[np.generic], *, missing: frozenset[str], as_text: bool) -> Column:
    """Make a column from a one-dimensional NumPy array of numbers, booleans, dates or objects."""
    kind = values.dtype.kind
    if kind in "iuf" and not as_text and not (kind in "iu" and _beyond_exact(values)):
        return NumberColumn(values.astype(np.float64))
    if kind == "M":
        dates = values.astype("datetime64[s]")
        written = np.char.replace(np.char.replace(np.datetime_as_string(dates), "T00:00:00", ""), "T", " ")
        return column_from_cells(np.where(np.isnat(dates), "", written).tolist(), missing=missing, as_text=True)
    return column_from_cells(values.tolist(), missing=missing, as_text=as_text)


def _beyond_exact(values: npt.NDArray[np.generic]) -> bool:
    return bool(len(values)) and (float(values.max()) >= LARGEST_EXACT or float(values.min()) <= -LARGEST_EXACT)


def _object_text(cell: object) -> str:
    if isinstance(cell, (list, tuple, dict, set, np.ndarray)):
        raise DataError(f"a cell is a {type(cell).__name__}", expected="a number, a text, a boolean or a date per cell")
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return ""
    if isinstance(cell, bytes):
        return cell.decode("utf-8", errors="replace")
    if isinstance(cell, (float, np.floating)):
        return "" if math.isnan(cell) else number_text(float(cell))
    return str(cell)


def _numbers_from_chunks(chunks: Sequence[str], missing: frozenset[str], decimal: str) -> Numbers | None:
    """Read all cells as numbers; None where a filled cell is no number, or would lose something as one."""
    parts: list[Numbers] = []
    integral = True
    for chunk in chunks:
        if "_" in chunk:
            return None
        cells = chunk.split(SEPARATOR)
        if decimal != ".":
            cells = chunk.replace(decimal, ".").split(SEPARATOR)
        part = _floats(cells)
        if part is None:
            part = _floats(["nan" if cell in missing else cell for cell in cells])
        if part is None:
            return None
        integral = integral and _is_integral(part)
        parts.append(part)
    values = np.concatenate(parts) if parts else np.empty(0)
    if integral and _loses_digits(chunks, values):
        return None
    return values


def _floats(cells: list[str]) -> Numbers | None:
    try:
        return np.fromiter(map(float, cells), dtype=np.float64, count=len(cells))
    except ValueError:
        return None


def _is_integral(values: Numbers) -> bool:
    filled = values[np.isfinite(values)]
    return bool((filled == np.floor(filled)).all())


def _loses_digits(chunks: Sequence[str], values: Numbers) -> bool:
    """Say whether integers have leading zeros, or more digits than float64 holds."""
    if any(_LEADING_ZERO.search(chunk) for chunk in chunks):
        return True
    long = bool((np.abs(values[np.isfinite(values)]) >= LARGEST_EXACT).any())
    return long and any(
        int(text) != float(text) for chunk in chunks for text in _LONG_INTEGER.findall(chunk) if len(text) < 4000
    )


class _Numbering(dict[str, int]):
    """Give each new text the next number."""

    def __missing__(self, text: str) -> int:
        self[text] = number = len(self)
        return number


def _text_column(cells: Iterator[str] | list[str], missing: frozenset[str], decimal: str) -> TextColumn:
    numbering = _Numbering()
    codes = np.fromiter(map(numbering.__getitem__, cells), dtype=np.int32)
    texts = tuple(text for text in numbering if text not in missing)
    place = {text: code for code, text in enumerate(texts)}
    renumbered = np.array([place.get(text, -1) for text in numbering], dtype=np.int32)
    return TextColumn(renumbered[codes] if len(codes) else codes, texts, decimal)
