"""What each column of a table is: a number, a category, a yes or no, or nothing to learn from, and why.

>>> from chainrule.data.table import read_table
>>> table = read_table({"age": [39, 50, 38, 53], "work": ["State", "Private", "State", None], "site": ["A"] * 4})
>>> print(infer_schema(table))
column  kind         different  missing  examples        note
age     numeric              4           39 · 50 · 38
work    categorical          2        1  State · Private
site    constant             1           A               dropped: every cell is 'A'
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.data.columns import Column, NumberColumn, TextColumn, parse_number
from chainrule.data.table import Table, aligned
from chainrule.errors import ArgumentError, DataError, nearest

KINDS = {
    "numeric": "a number: standardised, and its place among the training values",
    "categorical": "one of several texts or codes: one feature per category",
    "boolean": "yes or no: one feature, 1 for yes",
    "presence": "free text or an id that is often missing: one feature, 1 where it is filled",
    "identifier": "an id or free text, different in nearly every row: dropped",
    "constant": "the same in every row: dropped",
    "empty": "missing in every row: dropped",
    "dropped": "dropped because you asked for it",
}
ASKED = "you asked for it"  # why a column is read as it is, or not at all
USED = ("numeric", "categorical", "boolean", "presence")

YES_NO = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"), ("off", "on"), ("0", "1"))
"""Pairs of texts, in any case, that make a column boolean; the second counts as 1."""

_ID_NAME = re.compile(r"(?i:^|[\W_])(?i:id|ids|no|nr|index|idx|key|row|uuid|guid|unnamed \d+)$|[a-z]I[dD]$")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
_WITH_UNIT = re.compile(r"\D{0,4}\d[\d.,' ]*\D{0,4}")
_FEWEST_FOR_ID = 20  # rows; in fewer, numbers that run like an id may be the data
_MOST_ODD_TEXTS = 3  # different texts in a column of numbers that look like mistakes, not like categories


@dataclass(frozen=True, slots=True)
class ColumnSchema:
    """What one column is: its kind, its counts, and why it is dropped or read as it is."""

    name: str
    kind: str
    num_missing: int
    num_distinct: int
    examples: tuple[str, ...]
    reason: str = ""

    @property
    def used(self) -> bool:
        """Whether the column is learned from."""
        return self.kind in USED


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a table and their kinds, in order. ``print`` shows them with what was dropped and why."""

    columns: tuple[ColumnSchema, ...]
    num_rows: int
    source: str

    @property
    def used(self) -> tuple[ColumnSchema, ...]:
        """The columns that are learned from."""
        return tuple(column for column in self.columns if column.used)

    @property
    def dropped(self) -> tuple[ColumnSchema, ...]:
        """The columns that are not learned from."""
        return tuple(column for column in self.columns if not column.used)

    def __getitem__(self, name: str) -> ColumnSchema:
        """Return what is known of a column; an unknown name gets the nearest ones."""
        for column in self.columns:
            if column.name == name:
                return column
        names = [column.name for column in self.columns]
        raise DataError(f"the schema of {self.source} has no column {name!r}", fix=nearest(name, names))

    def __str__(self) -> str:
        rows = [["column", "kind", "different", "missing", "examples", "note"]]
        for column in self.columns:
            note = column.reason if column.used else f"dropped: {column.reason}"
            missing = f"{column.num_missing:,}" if column.num_missing else ""
            examples = " · ".join(column.examples)
            rows.append([column.name, column.kind, f"{column.num_distinct:,}", missing, examples, note])
        return aligned(rows, longest=100, right=(2, 3))

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as values that JSON can hold."""
        columns = [
            {
                "name": column.name,
                "kind": column.kind,
                "num_missing": column.num_missing,
                "num_distinct": column.num_distinct,
                "examples": list(column.examples),
                "reason": column.reason,
            }
            for column in self.columns
        ]
        return {"source": self.source, "num_rows": self.num_rows, "columns": columns}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Schema:
        """Make the schema again from what ``to_dict`` returned."""
        columns = tuple(
            ColumnSchema(**{**column, "examples": tuple(column["examples"])}) for column in saved["columns"]
        )
        return cls(columns, saved["num_rows"], saved["source"])


def infer_schema(
    table: Table,
    *,
    target: str | None = None,
    kinds: Mapping[str, str] | None = None,
    drop: Collection[str] = (),
) -> Schema:
    """Say what each column is.

    The column ``target`` is left out. ``kinds`` names the kind of some columns ({"zip": "categorical"}); ``drop`` names
    columns that must not be used.

    Raises:
        DataError: a column of numbers holds a few texts, which are likely mistakes; the line of the first is named.
        ArgumentError: a kind is unknown.
    """
    given = {**(kinds or {}), **dict.fromkeys(drop, "dropped")}
    check_kinds(given)
    for name in given:
        table[name]  # an unknown column is an error
    columns = []
    for name in table.names:
        if name == target:
            continue
        columns.append(_given_column(table, name, given[name]) if name in given else _infer_column(table, name))
    if not any(column.used for column in columns):
        columns = [_used_after_all(table, column) for column in columns]
    return Schema(tuple(columns), table.num_rows, table.source)


def check_kinds(kinds: Mapping[str, str]) -> None:
    """Raise for a kind of column that is not there, with the nearest ones."""
    for name, kind in kinds.items():
        if kind not in KINDS:
            hint = nearest(kind, KINDS)
            raise ArgumentError(f"kinds: column {name!r} has kind {kind!r}", expected=", ".join(KINDS), fix=hint)


def _describe(table: Table, name: str, kind: str, reason: str = "") -> ColumnSchema:
    column = table[name]
    examples: list[str] = []
    for row in range(min(table.num_rows, 200)):
        cell = column.cell(row)
        if cell and cell not in examples:
            examples.append(cell)
        if len(examples) == 3:
            break
    shown = tuple(_short(text) for text in examples)
    return ColumnSchema(name, kind, table.num_missing(name), num_distinct(column), shown, reason)


def _short(text: str) -> str:
    if len(text) > 10 and "." in text and (number := parse_number(text)) is not None:
        return f"{number:.6g}"
    return text if len(text) <= 24 else text[:23] + "…"


def num_distinct(column: Column) -> int:
    """Count the different filled cells of a column."""
    if isinstance(column, NumberColumn):
        return len(np.unique(column.values[~np.isnan(column.values)]))
    return len(np.unique(column.codes[column.codes >= 0]))


def _given_column(table: Table, name: str, kind: str) -> ColumnSchema:
    described = _describe(table, name, kind, ASKED if kind == "dropped" else f"{ASKED} as {kind}")
    if kind == "numeric":
        table.numbers(name)  # text is an error
    if kind == "boolean" and described.num_distinct > 2:
        fix = "call the column categorical"
        raise DataError(
            f"column {name!r} has {described.num_distinct} different cells", expected="2, as boolean", fix=fix
        )
    return described


def _infer_column(table: Table, name: str) -> ColumnSchema:
    column = table[name]
    described = _describe(table, name, "numeric" if isinstance(column, NumberColumn) else "categorical")
    if described.num_distinct == 0:
        return replace(described, kind="empty", reason="every cell is missing")
    if described.num_distinct == 1:
        if described.num_missing == 0:
            return replace(described, kind="constant", reason=f"every cell is {described.examples[0]!r}")
        return replace(described, kind="presence", reason=f"each filled cell is {described.examples[0]!r}")
    if described.num_distinct == 2 and is_yes_no(column.categories()[1]):
        return replace(described, kind="boolean")
    if isinstance(column, NumberColumn):
        runs = _runs_like_an_id(name, column)
        return replace(described, kind="identifier", reason=runs) if runs else described
    _refuse_odd_texts(table, name, column)
    return _text_kind(described, column)


def is_yes_no(names: Iterable[str]) -> bool:
    """Say whether two categories are a no and a yes."""
    return tuple(sorted(name.lower() for name in names)) in {tuple(sorted(pair)) for pair in YES_NO}


def _runs_like_an_id(name: str, column: NumberColumn) -> str:
    """Say why a column of numbers is an id; empty where it is none."""
    values = column.values
    if len(values) < _FEWEST_FOR_ID or not np.isfinite(values).all() or (values != np.floor(values)).any():
        return ""
    if len(np.unique(values)) < len(values):
        return ""
    if (np.diff(values) == 1).all():
        return "an id: it counts the rows"
    if values.max() - values.min() + 1 == len(values):
        return f"an id: each number from {values.min():.0f} to {values.max():.0f} once"
    if _ID_NAME.search(name):
        return "an id, by its name: each number occurs once"
    return ""


def _text_kind(described: ColumnSchema, column: TextColumn) -> ColumnSchema:
    num_filled = len(column) - described.num_missing
    if described.num_distinct <= max(10, num_filled // 2):
        return described
    reason = f"{described.num_distinct:,} different texts in {num_filled:,} filled cells{_hint(column)}"
    few, most = max(5, len(column) // 50), len(column) - max(5, len(column) // 50)
    if few <= described.num_missing <= most:  # filled or not may say something: the cabin of a passenger
        return replace(described, kind="presence", reason=reason)
    return replace(described, kind="identifier", reason=reason)


def _hint(column: TextColumn) -> str:
    """Say what texts that are dropped look like, where they could be made useful."""
    sample = column.texts[:50]
    if any(parse_number(text) is not None for text in sample):
        return ""
    for pattern, hint in ((_DATE, "like dates"), (_WITH_UNIT, "like numbers with a unit or a decimal comma")):
        if all(pattern.match(text) if pattern is _DATE else pattern.fullmatch(text) for text in sample):
            return f"; they look {hint} ({sample[0]!r})"
    return ""


def _refuse_odd_texts(table: Table, name: str, column: TextColumn) -> None:
    """Refuse a column of numbers in which a few cells are text: mistakes or a sign for missing, not categories."""
    counts = Counter(column.codes[column.codes >= 0].tolist())
    odd = [code for code in counts if parse_number(column.texts[code], column.decimal) is None]
    num_numbers = len(counts) - len(odd)
    num_odd_cells = sum(counts[code] for code in odd)
    if not odd:  # numbers that were kept as text: leading zeros, long ids
        return
    many_numbers = num_numbers > 10 and num_odd_cells <= max(1, counts.total() // 20)
    if many_numbers and len(odd) <= _MOST_ODD_TEXTS:
        table.numbers(name)  # raises, naming the first
    commas = [parse_number(column.texts[code], ",") is not None for code in counts]
    if column.decimal == "." and len(counts) > 10 and all(commas):
        raise DataError(
            f"{table.source}, column {name!r}: cells such as {column.texts[0]!r} have a decimal comma",
            expected="numbers with a decimal point",
            fix=f"say so when reading (decimal=','), or call the column categorical (kinds={{{name!r}: 'categorical'}})",
        )


def _used_after_all(table: Table, column: ColumnSchema) -> ColumnSchema:
    """Keep numbers that run like an id where nothing else is left to learn from."""
    if (
        column.kind == "identifier"
        and isinstance(table[column.name], NumberColumn)
        and not column.reason.startswith(ASKED)
    ):
        return replace(column, kind="numeric", reason=f"{column.reason}; kept, as no other column is left")
    return column


def category_order(names: Iterable[str]) -> list[str]:
    """Sort names of categories: numbers by value, before texts by alphabet.

    >>> category_order(["10", "9", "b", "a"])
    ['9', '10', 'a', 'b']
    """

    def key(name: str) -> tuple[bool, float, str]:
        number = parse_number(name)
        return (number is None or number != number, number if number is not None and number == number else 0.0, name)

    return sorted(names, key=key)
