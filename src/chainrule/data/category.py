"""A column of categories, of yes and no, or of filled and empty cells → one feature each.

Categories too rare to learn from share one feature. A category that training did not have counts as rare; where no
category was rare, it gets each feature's mean over the training rows, which says nothing for or against any category.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data.columns import Codes
from chainrule.data.notes import ColumnNote
from chainrule.data.schema import YES_NO, category_order
from chainrule.data.table import Table
from chainrule.errors import DataError

Features = npt.NDArray[np.float32]

_UNKNOWN = -1  # in lists of codes: missing or unseen


def _recoded(codes: Codes, names: tuple[str, ...], place: Mapping[str, int]) -> tuple[Codes, dict[str, int]]:
    """Number categories by ``place`` (-1: missing or not in it), and count those that are not in it."""
    table = np.array([place.get(name, _UNKNOWN) for name in names] + [_UNKNOWN], dtype=np.int32)
    recoded = table[codes]
    counts = np.bincount(codes[(recoded == _UNKNOWN) & (codes >= 0)], minlength=len(names))
    return recoded, {names[code]: int(counts[code]) for code in np.flatnonzero(counts).tolist()}


@dataclass(frozen=True, slots=True)
class CategoryEncoder:
    """One feature per category that is frequent enough, one for the rare ones, one for missing cells."""

    column: str
    categories: tuple[str, ...]  # with a feature each
    rare: tuple[str, ...]  # with a feature together, the unseen ones too
    has_missing: bool
    means: tuple[float, ...]  # each feature's mean over the training rows

    @classmethod
    def fit(cls, table: Table, column: str, *, min_count: int, max_categories: int) -> CategoryEncoder:
        """Take the categories and their frequencies from the rows of a table."""
        codes, names = table.categories(column)
        counts = Counter({names[code]: int(count) for code, count in enumerate(np.bincount(codes[codes >= 0]))})
        often = [name for name, count in counts.most_common(max_categories) if count >= min_count]
        rare = set(counts) - set(often)
        num_missing = len(codes) - counts.total()
        categories = tuple(category_order(often))
        totals = [counts[name] for name in categories]
        if rare:
            totals.append(sum(counts[name] for name in rare))
        if num_missing:
            totals.append(num_missing)
        means = tuple(total / max(1, len(codes)) for total in totals)
        return cls(column, categories, tuple(category_order(rare)), num_missing > 0, means)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features, in order: the categories, the rare ones together, missing."""
        names = [f"{self.column} = {category}" for category in self.categories]
        if self.rare:
            names.append(f"{self.column} = (other)")
        if self.has_missing:
            names.append(f"{self.column} is missing")
        return tuple(names)

    def encode(self, table: Table, out: Features) -> ColumnNote:
        """Write the features of a table's rows to ``out`` [rows, features]."""
        codes, names = table.categories(self.column)
        missing = codes < 0
        other = len(self.categories)
        places = {name: place for place, name in enumerate(self.categories)} | dict.fromkeys(self.rare, other)
        recoded, unseen = _recoded(codes, names, places)
        if self.rare:
            recoded[(recoded == _UNKNOWN) & ~missing] = other
        if self.has_missing:
            recoded[missing] = len(self.means) - 1
        out[...] = 0.0
        known = np.flatnonzero(recoded != _UNKNOWN)
        out[known, recoded[known]] = 1.0
        out[recoded == _UNKNOWN] = np.array(self.means, dtype=np.float32)
        return ColumnNote(self.column, int(np.count_nonzero(missing)), new_missing=not self.has_missing, unseen=unseen)

    def describe(self) -> str:
        """Say in a line how the column is encoded."""
        rare = f", {len(self.rare)} rare ones as one" if self.rare else ""
        gaps = ", missing or not" if self.has_missing else ""
        return f"categorical: {len(self.categories)} categories{rare}{gaps}"

    def to_dict(self) -> dict[str, Any]:
        """Return the encoder as values that JSON can hold."""
        lists = {"categories": list(self.categories), "rare": list(self.rare), "means": list(self.means)}
        return {"kind": "categorical", **asdict(self), **lists}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> CategoryEncoder:
        """Make the encoder again from what ``to_dict`` returned."""
        lists = (tuple(saved["categories"]), tuple(saved["rare"]))
        return cls(saved["column"], *lists, saved["has_missing"], tuple(saved["means"]))


@dataclass(frozen=True, slots=True)
class BooleanEncoder:
    """1 for yes, 0 for no; where it is missing or neither, the mean of the training rows."""

    column: str
    no: str
    yes: str
    mean: float
    has_missing: bool

    @classmethod
    def fit(cls, table: Table, column: str) -> BooleanEncoder:
        """Find which of two cells means yes, and how often it does."""
        codes, names = table.categories(column)
        if len(names) > 2:
            raise DataError(f"column {column!r} has {len(names)} different cells", expected="2, as a boolean column")
        no, yes = _no_and_yes(names)
        known = codes[codes >= 0]
        mean = float(np.mean(known == names.index(yes))) if yes in names and len(known) else 0.0
        return cls(column, no, yes, mean, has_missing=len(known) < len(codes))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features: yes, missing."""
        return (f"{self.column} = {self.yes}", *([f"{self.column} is missing"] if self.has_missing else []))

    def encode(self, table: Table, out: Features) -> ColumnNote:
        """Write the features of a table's rows to ``out`` [rows, features]."""
        codes, names = table.categories(self.column)
        missing = codes < 0
        places = {name: place for place, pair in enumerate((self.no, self.yes)) for name in _spellings(pair, names)}
        recoded, unseen = _recoded(codes, names, places)
        out[:, 0] = np.where(recoded == _UNKNOWN, self.mean, recoded)
        if self.has_missing:
            out[:, 1] = missing
        return ColumnNote(self.column, int(np.count_nonzero(missing)), new_missing=not self.has_missing, unseen=unseen)

    def describe(self) -> str:
        """Say in a line how the column is encoded."""
        gaps = ", missing or not" if self.has_missing else ""
        return f"boolean: {self.yes} in {self.mean:.1%} of the rows, else {self.no}{gaps}"

    def to_dict(self) -> dict[str, Any]:
        """Return the encoder as values that JSON can hold."""
        return {"kind": "boolean", **asdict(self)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> BooleanEncoder:
        """Make the encoder again from what ``to_dict`` returned."""
        return cls(**{name: value for name, value in saved.items() if name != "kind"})


def _no_and_yes(names: tuple[str, ...]) -> tuple[str, str]:
    """Tell no from yes among two cells (or name the other one where only one occurs)."""
    lower = {name.lower(): name for name in names}
    for no, yes in YES_NO:
        if lower and set(lower) <= {no, yes}:
            return lower.get(no, no), lower.get(yes, yes)
    ordered = category_order(names)
    if not ordered:
        return "0", "1"
    return (ordered[0] if len(ordered) == 2 else "other"), ordered[-1]


def _spellings(wanted: str, names: tuple[str, ...]) -> list[str]:
    """Find the cells that are this one in another case: ``True`` and ``TRUE``."""
    return [name for name in names if name.lower() == wanted.lower()]


@dataclass(frozen=True, slots=True)
class PresenceEncoder:
    """1 where a cell is filled, 0 where it is missing: all that free text gives here."""

    column: str
    mean: float

    @classmethod
    def fit(cls, table: Table, column: str) -> PresenceEncoder:
        """Count the filled cells."""
        return cls(column, 1.0 - table.num_missing(column) / max(1, len(table)))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of the feature."""
        return (f"{self.column} is filled",)

    def encode(self, table: Table, out: Features) -> ColumnNote:
        """Write the feature of a table's rows to ``out`` [rows, 1]."""
        missing = table[self.column].missing
        out[:, 0] = ~missing
        return ColumnNote(self.column, int(np.count_nonzero(missing)), new_missing=self.mean == 1.0)

    def describe(self) -> str:
        """Say in a line how the column is encoded."""
        return f"presence: filled in {self.mean:.1%} of the rows"

    def to_dict(self) -> dict[str, Any]:
        """Return the encoder as values that JSON can hold."""
        return {"kind": "presence", **asdict(self)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> PresenceEncoder:
        """Make the encoder again from what ``to_dict`` returned."""
        return cls(saved["column"], saved["mean"])
