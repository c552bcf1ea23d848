"""What is to be learned: one of several classes, or a number; as arrays for training, and back.

>>> from chainrule.data.table import read_table
>>> table = read_table({"age": [39, 50, 38, 53], "num": [0, 2, 0, 1]})
>>> encoder = TargetEncoder.fit(table, "num > 0")
>>> print(encoder.report())
num > 0: classification, 2 classes: False (2), True (2)
>>> encoder.encode(table)
array([0, 1, 0, 1])
>>> encoder.decode(np.array([1, 0]))
array([ True, False])
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data.columns import Codes, NumberColumn, Numbers, Rows, number_text, parse_number
from chainrule.data.comparison import FALSE_TRUE, Comparison, parse_label_map, parse_target, rename
from chainrule.data.notes import named
from chainrule.data.schema import category_order
from chainrule.data.table import Table
from chainrule.errors import ArgumentError, DataError, DtypeError, nearest

TASKS = ("classification", "regression")

_FORMAT = 1  # of to_dict
_MOST_INTEGER_CLASSES = 20  # whole numbers with more different values are a quantity
_ROWS_PER_CLASS = 5  # and so are those that hardly repeat


@dataclass(frozen=True, slots=True)
class TargetEncoder:
    """Turns a table's target into what a network learns, and a network's answers back.

    Classification: a class is its place in ``classes``; ``counts`` holds how often each occurred in training.
    Regression: ``(y - mean) / scale`` with the training rows' mean and standard deviation.
    """

    column: str
    task: str
    comparison: Comparison | None = None
    classes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    renamed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        table: Table,
        target: str,
        *,
        task: str = "auto",
        labels: str | Mapping[str, str] | None = None,
        missing: str = "error",
    ) -> TargetEncoder:
        """Find out what the target is from the training rows.

        Args:
            table: the training rows.
            target: the name of a column, or a comparison such as ``"num > 0"``.
            task: "classification", "regression", or "auto": texts, booleans, two different whole numbers, and up to 20
                whole numbers that repeat are classes, other numbers a quantity.
            labels: labels to rename, {"<=50K.": "<=50K"} or "a=b,c=d"; they are renamed in each table encoded later.
            missing: "error", or "drop" to fit on the rows with a target alone (``filled_rows`` finds them).

        Raises:
            DataError: there is no such column (with the nearest names), a target is missing (with its line), there is
                one class only, or text where numbers were expected.
        """
        if task not in ("auto", *TASKS):
            raise ArgumentError(f"task={task!r}", expected=f"auto, {' or '.join(TASKS)}", fix=nearest(task, TASKS))
        if missing not in ("error", "drop"):
            raise ArgumentError(
                f"missing={missing!r}", expected="'error' or 'drop'", fix=nearest(missing, ("error", "drop"))
            )
        what = parse_target(target, table.names)
        column = what.column if isinstance(what, Comparison) else what
        if column not in table:
            raise table.no_column(column, purpose=" to be the target")
        filled = np.flatnonzero(~table[column].missing)
        if len(filled) == 0:
            raise DataError(
                f"{table.source}: the target {column!r} is missing in every row", expected="a target per row"
            )
        if len(filled) < len(table) and missing == "error":
            raise _missing_target(table, column)
        table = table.take(filled)
        renamed = _label_map(table, column, labels)
        if isinstance(what, Comparison) or task == "classification" or (labels and task == "auto"):
            if isinstance(what, Comparison) and task == "regression":
                raise ArgumentError(
                    f"target {target!r} is a comparison, task='regression'", expected="a column of numbers"
                )
            return cls._fit_classes(table, what, renamed)
        if task == "regression":
            return cls._fit_numbers(table, column)
        return cls._fit_classes(table, column, renamed) if _is_class(table, column) else cls._fit_numbers(table, column)

    @classmethod
    def _fit_classes(cls, table: Table, what: str | Comparison, renamed: Mapping[str, str]) -> TargetEncoder:
        codes, names = _classes(table, what, renamed)
        counts = dict(zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True))
        classes = tuple(category_order(name for name, count in counts.items() if count))
        if len(classes) < 2:
            fix = "choose another target, or check the values" + (
                " it compares with" if isinstance(what, Comparison) else ""
            )
            raise DataError(
                f"{table.source}: the target {str(what)!r} has one class, {classes[0]!r}, in {_rows(table)}",
                expected="2 or more",
                fix=fix,
            )
        if len(classes) > 20 and 2 * len(classes) > len(table):
            raise DataError(
                f"{table.source}: the target {str(what)!r} has {len(classes):,} classes in {_rows(table)}",
                expected="classes that repeat",
                fix="choose another target; if it is a number, make all its cells numbers",
            )
        column, comparison = (what.column, what) if isinstance(what, Comparison) else (what, None)
        return cls(
            column, "classification", comparison, classes, tuple(map(counts.__getitem__, classes)), renamed=renamed
        )

    @classmethod
    def _fit_numbers(cls, table: Table, column: str) -> TargetEncoder:
        values = table.numbers(column)
        with np.errstate(over="ignore"):
            mean, scale = float(values.mean()), float(values.std())
        if not np.isfinite(scale):
            largest = float(np.abs(values).max())
            what = f"{table.source}: the target {column!r} has numbers up to {largest:g}"
            raise DataError(what, expected="numbers whose squares can be summed", fix="give it in another unit")
        if scale == 0 or values.min() == values.max():
            where = f"each of {_rows(table)}" if len(table) > 1 else "the only row"
            what = f"{table.source}: the target {column!r} is {number_text(float(values[0]))} in {where}"
            raise DataError(what, expected="different numbers", fix="choose another target")
        return cls(column, "regression", mean=mean, scale=scale)

    @property
    def num_classes(self) -> int:
        """How many classes there are; 0 in regression."""
        return len(self.classes)

    @property
    def target(self) -> str:
        """The target as it was written: a column or a comparison."""
        return str(self.comparison or self.column)

    def filled_rows(self, table: Table) -> Rows:
        """Return the rows whose target is not missing."""
        return np.flatnonzero(~table[self.column].missing)

    def encode(self, table: Table, *, labels: str | Mapping[str, str] | None = None) -> npt.NDArray[Any]:
        """Return the targets of a table's rows: int64 class places, or float32 standardised numbers, [rows].

        Raises:
            DataError: a target is missing, or a label did not occur in training; the line is named.
        """
        column = self.column
        if column not in table:
            raise table.lacks(column, purpose="the target")
        if table.num_missing(column):
            raise _missing_target(table, column)
        if self.task == "regression":
            return ((table.numbers(column) - self.mean) / self.scale).astype(np.float32)
        codes, names = _classes(table, self.comparison or column, {**self.renamed, **_label_map(table, column, labels)})
        place = {name: code for code, name in enumerate(self.classes)}
        known = np.array([place.get(name, -1) for name in names], dtype=np.int64)
        encoded = known[codes]
        if (encoded < 0).any():
            raise self._unseen(table, column, codes, names, encoded < 0)
        return encoded

    def unused_labels(self, tables: Iterable[Table], labels: str | Mapping[str, str] | None = None) -> list[str]:
        """Say which labels to rename are in no row of the tables, a line for each; None: those given to ``fit``."""
        tables = list(tables)
        what = self.comparison or self.column
        found = {name for table in tables for name in _classes(table, what, {})[1]}
        renamed = self.renamed if labels is None else _label_map(tables[0], self.column, labels)
        return [
            f"labels: {old!r} is to be renamed and occurs in no row; the labels are {_listed(found)}"
            + (f". {near[0].upper()}{near[1:]}" if (near := nearest(old, found)) else "")
            for old in renamed
            if old not in found
        ]

    def _unseen(
        self, table: Table, column: str, codes: Codes, names: tuple[str, ...], wrong: npt.NDArray[np.bool_]
    ) -> DataError:
        rows = np.flatnonzero(wrong)
        label = names[int(codes[rows[0]])]
        unseen = sorted({names[code] for code in np.unique(codes[rows]).tolist()})
        pairs = {name: near for name in unseen if (near := self._same_but_for_marks(name))}
        if pairs:
            fix = "rename them: labels=" + repr(",".join(f"{old}->{new}" for old, new in pairs.items()))
        else:
            fix = nearest(label, self.classes) or "leave these rows out"
        return DataError(
            f"{table.place(int(rows[0]))}, column {column!r}: label {label!r} did not occur in training "
            f"({len(rows):,} rows with {len(unseen)} such labels)",
            expected=", ".join(self.classes[:10]) + (", …" if len(self.classes) > 10 else ""),
            fix=fix,
        )

    def _same_but_for_marks(self, label: str) -> str:
        """Find the class that differs from a label in case and marks at its end alone."""

        def bare(name: str) -> str:
            return name.strip(" .'\"").casefold()

        same = [name for name in self.classes if bare(name) == bare(label)]
        return same[0] if len(same) == 1 else ""

    def decode(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return labels for class places, or numbers in the target's own units for standardised ones; any shape.

        Labels that are all whole numbers come as int64, other numbers as float64, False and True as bool, else as text.
        """
        if self.task == "regression":
            return values.astype(np.float64) * self.scale + self.mean
        if values.dtype.kind not in "iu":
            raise DtypeError(
                f"classes to decode have dtype {values.dtype}", expected="integers", fix="take the argmax first"
            )
        if values.size and (values.min() < 0 or values.max() >= len(self.classes)):
            raise DataError(
                f"class {int(values.min())} to {int(values.max())}", expected=f"0 to {len(self.classes) - 1}"
            )
        decoded: npt.NDArray[Any] = self.labels[values]
        return decoded

    @property
    def labels(self) -> npt.NDArray[Any]:
        """The classes as an array, in order, of the simplest dtype that holds them."""
        if set(self.classes) == set(FALSE_TRUE):
            return np.array([name == "True" for name in self.classes])
        numbers = [parse_number(name) for name in self.classes]
        exact = [n for n, name in zip(numbers, self.classes, strict=True) if n is not None and number_text(n) == name]
        if len(exact) < len(self.classes):
            return np.array(self.classes)
        return np.array(exact, dtype=np.int64 if all(number.is_integer() for number in exact) else np.float64)

    @property
    def baseline(self) -> str | float:
        """What to answer without looking at a row: the most frequent class, or the mean."""
        if self.task == "regression":
            return self.mean
        return self.classes[int(np.argmax(self.counts))]

    def report(self) -> str:
        """Say in a line what the target is."""
        if self.task == "regression":
            mean, deviation = (_thousands(value) for value in (self.mean, self.scale))
            return f"{named(self.target)}: regression, mean {mean}, standard deviation {deviation}"
        pairs = list(zip(self.classes, self.counts, strict=True))
        shown = ", ".join(f"{name} ({count:,})" for name, count in pairs[:10]) + (", …" if len(pairs) > 10 else "")
        return f"{named(self.target)}: classification, {len(pairs)} classes: {shown}"

    def to_dict(self) -> dict[str, Any]:
        """Return the encoder as values that JSON can hold; ``from_dict`` makes the same encoder, to the bit."""
        saved = asdict(self)  # the comparison too
        lists = {"classes": list(self.classes), "counts": list(self.counts), "renamed": dict(self.renamed)}
        return {"format": _FORMAT, **saved, **lists}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> TargetEncoder:
        """Make the encoder again from what ``to_dict`` returned."""
        if saved.get("format") != _FORMAT:
            raise DataError(f"the saved target encoder has format {saved.get('format')!r}", expected=str(_FORMAT))
        fields = {name: value for name, value in saved.items() if name != "format"}
        try:
            comparison = Comparison(**fields["comparison"]) if fields["comparison"] else None
            lists = {"classes": tuple(fields["classes"]), "counts": tuple(fields["counts"])}
            return cls(**{**fields, **lists, "comparison": comparison})
        except (KeyError, TypeError) as error:
            raise DataError(
                f"the saved target encoder is damaged ({error})", fix="use the file as it was saved"
            ) from None


def _thousands(value: float) -> str:
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:g}"


def _listed(names: Collection[str]) -> str:
    return ", ".join(category_order(names)[:10]) + (", …" if len(names) > 10 else "")


def _rows(table: Table) -> str:
    return f"{len(table):,} row{'s' * (len(table) != 1)}"


def _missing_target(table: Table, column: str) -> DataError:
    missing = table[column].missing
    count = int(np.count_nonzero(missing))
    return DataError(
        f"{table.place(int(np.argmax(missing)))}: the target {column!r} is missing (in {count:,} of {len(table):,} rows)",
        expected="a target in every row",
        fix="fill them in, or leave these rows out (missing='drop')",
    )


def _label_map(table: Table, column: str, labels: str | Mapping[str, str] | None) -> dict[str, str]:
    if isinstance(labels, str):
        return parse_label_map(labels, table.categories(column)[1])
    return {str(old): str(new) for old, new in (labels or {}).items()}


def _classes(table: Table, what: str | Comparison, renamed: Mapping[str, str]) -> tuple[Codes, tuple[str, ...]]:
    codes, names = what.categories(table) if isinstance(what, Comparison) else table.categories(what)
    return rename(codes, names, renamed)


def _is_class(table: Table, column: str) -> bool:
    """Decide between classes and a quantity, which a few texts or infinities among numbers are taken to be errors in."""
    cells = table[column]
    if not isinstance(cells, NumberColumn):
        numbers, wrong = cells.numbers()
        num_wrong = int(np.count_nonzero(wrong))
        return num_wrong > len(wrong) // 20 or len(np.unique(numbers[~wrong])) <= _MOST_INTEGER_CLASSES
    values: Numbers = cells.values
    different = len(np.unique(values))
    if (values != np.floor(values)).any() or np.isinf(values).any():
        return False
    return different <= 2 or (different <= _MOST_INTEGER_CLASSES and different * _ROWS_PER_CLASS <= len(values))
