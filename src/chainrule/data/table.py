"""A table: named columns of equal length, with the place of each row for messages; and the ways to get one.

>>> table = read_table({"age": [39, 50, None], "work": ["State", "Private", "?"]})
>>> table.names, len(table), table.num_missing("work")
(('age', 'work'), 3, 1)
>>> table.numbers("age")
array([39., 50., nan])
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data.columns import (
    MISSING,
    Codes,
    Column,
    Mask,
    NumberColumn,
    Numbers,
    Rows,
    column_from_array,
    column_from_cells,
)
from chainrule.data.delimited import read_delimited
from chainrule.errors import ArgumentError, ArgumentTypeError, DataError, near_names, nearest


class Table:
    """Ordered named columns of equal length.

    ``source`` names where the rows came from. ``places`` holds the line of each row in that file (``in_file``), else its
    number, counted from 0; parts of a table keep them, so that a message names the place in the original. A table is
    not changed after it is made.
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        *,
        source: str = "table",
        places: Rows | None = None,
        in_file: bool = False,
        header: bool = True,
    ) -> None:
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
            raise DataError(
                f"{source}: the columns have different numbers of rows ({counts})", expected="the same number"
            )
        self.columns: dict[str, Column] = dict(columns)
        self.source = source
        self.in_file = in_file
        self.header = header
        self.num_rows = next(iter(lengths.values()), 0)
        self.places: Rows = np.arange(self.num_rows) if places is None else places

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(self.columns)

    def __len__(self) -> int:
        return self.num_rows

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> Column:
        """Return a column; an unknown name gets the nearest ones."""
        try:
            return self.columns[name]
        except KeyError:
            raise self.no_column(name) from None

    def no_column(self, name: str, *, purpose: str = "") -> DataError:
        """Make the error for a column that someone named and that is not there; ``purpose`` is what it was to be."""
        return DataError(
            f"{self.source}: no column {name!r}{purpose}",
            expected=f"one of {self._shown_names()}",
            fix=self._header_hint(name) or nearest(name, self.names),
        )

    def lacks(self, *names: str, purpose: str) -> DataError:
        """Make the error for columns that rows of this kind have and these do not; ``purpose`` is what they are."""
        many = "s" if len(names) > 1 else ""
        what = (
            f"{self.source}: no column{many} {', '.join(map(repr, names))}, {purpose}; there are {self._shown_names()}"
        )
        near = [(name, found[0]) for name in names[:3] if (found := near_names(name, self.names))]
        renamed = " and ".join(f"{found!r} is {name!r}" for name, found in near)
        fix = f"if {renamed} under another name, rename {'them' if len(near) > 1 else 'it'}" if near else ""
        return DataError(what, fix=self._header_hint(names[0]) or fix)

    def _shown_names(self) -> str:
        return ", ".join(map(repr, self.names[:12])) + (", …" if len(self.names) > 12 else "")

    def _header_hint(self, name: str) -> str:
        """Say that the header may be a row, where that is likely why a column is not found."""
        is_number = name.lstrip("-").isdigit()
        if self.header and _looks_like_data(self.names) and (is_number or not near_names(name, self.names)):
            return "the first line looks like data: if the file has no header, say so (header=False)"
        return ""

    def num_missing(self, name: str) -> int:
        """Count the missing cells of a column."""
        return int(np.count_nonzero(self[name].missing))

    def place(self, row: int) -> str:
        """Name a row as its owner would find it: ``adult.csv line 17``."""
        place = int(self.places[row])
        return f"{self.source} line {place}" if self.in_file else f"{self.source} row {place} (counted from 0)"

    def take(self, rows: npt.NDArray[np.integer] | Mask | slice) -> Table:
        """Return a table of these rows, which keep their places."""
        return self._with({name: column.take(rows) for name, column in self.columns.items()}, self.places[rows])

    def select(self, names: Iterable[str]) -> Table:
        """Return a table of these columns, in this order."""
        return self._with({name: self[name] for name in names}, self.places)

    def without(self, names: Iterable[str]) -> Table:
        """Return a table without these columns."""
        gone = set(names)
        for name in gone:
            self[name]  # an unknown name is an error here too
        return self._with({name: column for name, column in self.columns.items() if name not in gone}, self.places)

    def numbers(self, name: str) -> Numbers:
        """Return a column as float64 [rows], NaN where missing; text or an infinity is an error that names the line."""
        column = self[name]
        if isinstance(column, NumberColumn):
            values = column.values
        else:
            values, wrong = column.numbers()
            if wrong.any():
                raise self._not_numbers(name, wrong)
        infinite = np.isinf(values)
        if infinite.any():
            row = int(np.argmax(infinite))
            raise DataError(
                f"{self.place(row)}, column {name!r}: {values[row]:g} (in {np.count_nonzero(infinite)} cells)",
                expected="finite numbers",
                fix="correct the cell, or leave it empty to mark it as missing",
            )
        return values

    def _not_numbers(self, name: str, wrong: Mask) -> DataError:
        column = self[name]
        rows = np.flatnonzero(wrong)
        others = {column.cell(int(row)) for row in rows[:1000]} - {column.cell(int(rows[0]))}
        also = f", and {len(rows) - 1} more such cells" if len(rows) > 1 else ""
        shown = f" (such as {', '.join(map(repr, sorted(others)[:3]))})" if others else ""
        cell = column.cell(int(rows[0]))
        if len(rows) == self.num_rows - self.num_missing(name):
            what = f"{self.place(int(rows[0]))}, column {name!r}: {cell!r} is not a number, nor is any other cell"
            return DataError(what, expected="numbers", fix="take another column, or make this one categorical")
        return DataError(
            f"{self.place(int(rows[0]))}, column {name!r}: {cell!r} is not a number{also}{shown}",
            expected="a number, or an empty cell where it is missing",
            fix=f"correct the cells, name them as missing (missing={cell!r}), or make the column categorical",
        )

    def categories(self, name: str) -> tuple[Codes, tuple[str, ...]]:
        """Return a column as codes [rows] (-1: missing) and the names of the categories that occur."""
        return self[name].categories()

    def _with(self, columns: Mapping[str, Column], places: Rows) -> Table:
        table = Table(columns, source=self.source, places=places, in_file=self.in_file, header=self.header)
        table.num_rows = len(places)  # also when no column is left
        return table

    def __repr__(self) -> str:
        return f"Table({self.source!r}, {self.num_rows} rows, columns {', '.join(self.names)})"

    def __str__(self) -> str:
        shown = range(min(self.num_rows, 8))
        rows = [list(self.names)] + [[column.cell(row) for column in self.columns.values()] for row in shown]
        more = f"\n… {self.num_rows} rows" if self.num_rows > len(shown) else ""
        return aligned(rows) + more


def read_table(
    source: object,
    *,
    header: bool = True,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    decimal: str = ".",
    quote: str | None = '"',
    missing: str | Collection[str] = MISSING,
    as_text: Collection[str] = (),
) -> Table:
    """Read a table from a file or take it from memory.

    ``source`` is the path of a CSV, TSV or semicolon file (also .gz), a pandas frame, a dict of arrays or lists, a
    two-dimensional or a structured NumPy array, or a Table (returned as it is). Columns without names (``header=False``,
    arrays) are called "0", "1", ….

    In files, blank lines are ignored, spaces around cells are stripped, and ``delimiter=None`` finds the delimiter out.
    ``missing`` are the cells that count as missing, beside empty ones (default: ``MISSING``). ``decimal`` is the sign in
    numbers, ``quote`` the one around cells (None: quotes are ordinary characters). ``as_text`` names columns whose cells are kept as written even if all are numbers (``3.10`` is then not ``3.1``).

    Raises:
        DataError: the source cannot be read as a table; the message names file, line and column.
    """
    tokens = frozenset({missing, ""} if isinstance(missing, str) else {*missing, ""})
    if isinstance(source, Table):
        return source
    if isinstance(source, (str, os.PathLike)):
        parsed = read_delimited(
            os.fspath(source),
            header=header,
            delimiter=delimiter,
            encoding=encoding,
            decimal=decimal,
            quote=quote,
            missing=tokens,
            as_text=as_text,
        )
        return Table(parsed.columns, source=parsed.source, places=parsed.lines, in_file=True, header=header)
    if _is_frame(source):
        return _from_frame(source, tokens, as_text)
    if isinstance(source, Mapping):
        return _from_columns(source, "dict", tokens, as_text)
    if isinstance(source, np.ndarray):
        return _from_array(source, tokens, as_text)
    raise ArgumentTypeError(
        f"read_table: got a {type(source).__name__}",
        expected="the path of a CSV file, a pandas frame, a dict of columns, or a two-dimensional array",
    )


def _is_frame(source: object) -> bool:
    """Recognise a pandas frame without importing pandas."""
    return type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "columns")


def _from_frame(frame: Any, missing: frozenset[str], as_text: Collection[str]) -> Table:
    names = [str(name) for name in frame.columns]
    _refuse_duplicates(names, "frame")
    columns: dict[str, Column] = {}
    for position, name in enumerate(names):
        series = frame.iloc[:, position]
        values = series.to_numpy()
        if values.dtype.kind not in "biufM":  # nullable integers, categories, strings: the filled cells as objects
            values = series.to_numpy(dtype=object)
            values = np.where(series.isna().to_numpy(), None, values)
        columns[name] = _column(name, values, missing, as_text)
    return _filled(Table(columns, source="frame"))


def _from_columns(source: Mapping[Any, Any], place: str, missing: frozenset[str], as_text: Collection[str]) -> Table:
    columns = {str(name): _column(str(name), values, missing, as_text) for name, values in source.items()}
    if len(columns) < len(source):
        _refuse_duplicates([str(name) for name in source], place)
    return _filled(Table(columns, source=place))


def _from_array(array: npt.NDArray[Any], missing: frozenset[str], as_text: Collection[str]) -> Table:
    if array.dtype.names is not None:
        return _from_columns({name: array[name] for name in array.dtype.names}, "array", missing, as_text)
    if array.ndim != 2:
        raise DataError(f"array: got {array.ndim} dimensions (shape {array.shape})", expected="2: rows and columns")
    columns = {str(index): _column(str(index), array[:, index], missing, as_text) for index in range(array.shape[1])}
    return _filled(Table(columns, source="array", header=False))


def _column(name: str, values: object, missing: frozenset[str], as_text: Collection[str]) -> Column:
    try:
        if isinstance(values, (str, bytes)) or not isinstance(values, (Sequence, np.ndarray)):
            if not hasattr(values, "__array__"):
                raise DataError(f"got a {type(values).__name__} ({values!r})", expected="a list or an array of cells")
            values = np.asarray(values)
        if isinstance(values, np.ndarray):
            if values.ndim != 1 or values.dtype.kind in "cmV":
                raise DataError(
                    f"got an array of shape {values.shape}, dtype {values.dtype}",
                    expected="one dimension of numbers, texts, booleans or dates",
                )
            return column_from_array(values, missing=missing, as_text=name in as_text)
        return column_from_cells(values, missing=missing, as_text=name in as_text)
    except DataError as error:
        raise error.within(f"column {name!r}") from None


def _filled(table: Table) -> Table:
    if not table.columns:
        raise DataError(f"{table.source}: no columns", expected="at least one column")
    if table.num_rows == 0:
        raise DataError(f"{table.source}: no rows", expected="at least one row")
    return table


def _refuse_duplicates(names: Sequence[str], source: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{source}: more than one column is named {twice[0]!r}", expected="different names")


def _looks_like_data(names: Sequence[str]) -> bool:
    """Say whether a header is likely a row of data: a third of its names are numbers."""
    numbers = sum(name.lstrip("+-").replace(".", "", 1).isdigit() for name in names)
    return 3 * numbers >= len(names)


def aligned(rows: Sequence[Sequence[str]], *, longest: int = 40, right: Collection[int] = ()) -> str:
    """Write rows of cells as aligned columns, each cell at most ``longest`` characters; ``right`` names columns of numbers.

    >>> print(aligned([["name", "n"], ["age", "39"]]))
    name  n
    age   39
    """
    if longest < 2:
        raise ArgumentError(f"longest={longest}", expected="at least 2")
    short = [[cell if len(cell) <= longest else cell[: longest - 1] + "…" for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*short, strict=True)]
    lines = []
    for row in short:
        cells = zip(row, widths, strict=True)
        padded = [cell.rjust(width) if i in right else cell.ljust(width) for i, (cell, width) in enumerate(cells)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)
