"""A table → one matrix of features, by statistics of the training rows alone, which are saved with the model.

>>> from chainrule.data.table import read_table
>>> train = read_table({"age": [20, 30, 40, 50], "work": ["State", "Private", "State", None]})
>>> encoder = TableEncoder.fit(train)
>>> encoder.feature_names
('age', 'work = Private', 'work = State', 'work is missing')
>>> later = encoder.encode(read_table({"age": [35, None], "work": ["State", "Club"]}))
>>> later.features
array([[0.  , 0.  , 1.  , 0.  ],
       [0.  , 0.25, 0.5 , 0.25]], dtype=float32)
>>> print(later.report())
age: 1 of 2 cells missing; none was missing in training, so they count as a typical value
work: 1 of 2 cells hold a category unseen in training: 'Club' (1)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.data.category import BooleanEncoder, CategoryEncoder, PresenceEncoder
from chainrule.data.notes import ColumnNote
from chainrule.data.numeric import Features, NumericEncoder
from chainrule.data.schema import Schema, infer_schema
from chainrule.data.table import Table
from chainrule.errors import ArgumentError, DataError

ColumnEncoder = NumericEncoder | CategoryEncoder | BooleanEncoder | PresenceEncoder

_FORMAT = 1  # of to_dict
_BY_KIND: dict[str, type[ColumnEncoder]] = {
    "numeric": NumericEncoder,
    "categorical": CategoryEncoder,
    "boolean": BooleanEncoder,
    "presence": PresenceEncoder,
}


@dataclass(frozen=True, eq=False, slots=True)
class Encoded:
    """A table's features, float32 [rows, features], and what was met while encoding it."""

    features: Features
    notes: tuple[ColumnNote, ...]
    ignored: tuple[str, ...]  # columns of the table that the encoder does not use

    @property
    def num_unseen(self) -> int:
        """How many cells hold a category that training did not have."""
        return sum(note.num_unseen for note in self.notes)

    @property
    def num_missing(self) -> int:
        """How many cells of the used columns are missing."""
        return sum(note.num_missing for note in self.notes)

    def report(self) -> str:
        """Say what was met, a line for each thing; empty where there was nothing."""
        return "\n".join(line for note in self.notes for line in note.lines(len(self.features)))


@dataclass(frozen=True, slots=True)
class TableEncoder:
    """Turns tables with the columns of the training table into features.

    ``feature_names`` and ``feature_columns`` say for each feature what it is and which column it came from.
    """

    encoders: tuple[ColumnEncoder, ...]
    num_rows: int  # that it was fitted on

    @classmethod
    def fit(
        cls,
        table: Table,
        schema: Schema | None = None,
        *,
        max_bins: int = 24,
        max_values: int = 128,
        rows_per_bin: int = 50,
        min_count: int | None = None,
        max_categories: int = 100,
    ) -> TableEncoder:
        """Take all statistics from the rows of ``table``, which must be the training rows alone.

        Args:
            table: the training rows.
            schema: the columns' kinds (default: inferred from the table; leave the target out there).
            max_bins: into how many bins many different numbers are cut; 0 leaves the standardised value alone.
            max_values: up to how many different numbers become the edges of bins themselves.
            rows_per_bin: how many training rows there must be for each bin.
            min_count: a category in fewer rows is rare (default: 1 + rows / 200, at most 20).
            max_categories: the most categories with a feature each; the most frequent ones get it.

        Raises:
            DataError: a cell cannot be read as its column's kind, or nothing is left to learn from.
        """
        if max_bins < 0 or rows_per_bin < 1 or max_categories < 1:
            got = f"max_bins={max_bins}, rows_per_bin={rows_per_bin}, max_categories={max_categories}"
            raise ArgumentError(got, expected="max_bins at least 0, the others at least 1")
        if len(table) < 2:
            raise DataError(f"{table.source}: {len(table)} row to learn from", expected="at least 2")
        if min_count is None:
            min_count = min(20, 1 + len(table) // 200)
        schema = infer_schema(table) if schema is None else schema
        encoders: list[ColumnEncoder] = []
        for column in schema.used:
            if column.kind == "numeric":
                bins = {"max_bins": max_bins, "max_values": max_values, "rows_per_bin": rows_per_bin}
                encoders.append(NumericEncoder.fit(table, column.name, **bins))
            elif column.kind == "boolean":
                encoders.append(BooleanEncoder.fit(table, column.name))
            elif column.kind == "presence":
                encoders.append(PresenceEncoder.fit(table, column.name))
            else:
                category = CategoryEncoder.fit(table, column.name, min_count=min_count, max_categories=max_categories)
                encoders.append(category)
        encoder = cls(tuple(encoders), len(table))
        if encoder.num_features == 0:
            raise _nothing_to_learn_from(table, schema)
        return encoder

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a table must have."""
        return tuple(encoder.column for encoder in self.encoders)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What each feature is."""
        return tuple(name for encoder in self.encoders for name in encoder.feature_names)

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """Which column each feature came from."""
        return tuple(encoder.column for encoder in self.encoders for _ in encoder.feature_names)

    @property
    def num_features(self) -> int:
        """How many features a row gets."""
        return len(self.feature_names)

    def encode(self, table: Table) -> Encoded:
        """Encode the rows of a table; columns that were not used in training are ignored and named.

        Raises:
            DataError: a column is not there, or holds text where numbers were; column and line are named.
        """
        absent = [name for name in self.columns if name not in table]
        if absent:
            raise table.lacks(*absent, purpose="which the model was trained with")
        features = np.empty((len(table), self.num_features), dtype=np.float32)
        notes = []
        start = 0
        for encoder in self.encoders:
            width = len(encoder.feature_names)
            notes.append(encoder.encode(table, features[:, start : start + width]))
            start += width
        ignored = tuple(name for name in table.names if name not in self.columns)
        return Encoded(features, tuple(notes), ignored)

    def report(self) -> str:
        """Say how each column is encoded, a line for each."""
        lines = [f"{encoder.column}: {encoder.describe()}" for encoder in self.encoders]
        lines.append(
            f"{self.num_features} features from {len(self.encoders)} columns, by {self.num_rows:,} training rows"
        )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the encoder as values that JSON can hold; ``from_dict`` makes the same encoder, to the bit."""
        return {"format": _FORMAT, "num_rows": self.num_rows, "columns": [one.to_dict() for one in self.encoders]}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> TableEncoder:
        """Make the encoder again from what ``to_dict`` returned."""
        if saved.get("format") != _FORMAT:
            raise DataError(f"the saved table encoder has format {saved.get('format')!r}", expected=str(_FORMAT))
        columns: Sequence[Mapping[str, Any]] = saved["columns"]
        try:
            return cls(tuple(_BY_KIND[column["kind"]].from_dict(column) for column in columns), saved["num_rows"])
        except (KeyError, TypeError) as error:
            raise DataError(
                f"the saved table encoder is damaged ({error})", fix="use the file as it was saved"
            ) from None


def _nothing_to_learn_from(table: Table, schema: Schema) -> DataError:
    """Make the error for a table of which no column is used: which there were, and why each is not."""
    if not schema.columns:
        what = f"{table.source}: there is no column beside the target"
        fix = "check that the file has the columns to learn from, and its delimiter (delimiter=)"
        return DataError(what, expected="at least one to learn from", fix=fix)
    shown = [f"{column.name} is not used: {column.reason or column.kind}" for column in schema.columns[:5]]
    more = [f"and {len(schema.columns) - 5} more"] if len(schema.columns) > 5 else []
    return DataError(
        f"{table.source}: no column is left to learn from ({'; '.join(shown + more)})", expected="at least one"
    )
