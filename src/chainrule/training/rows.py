"""The rows to learn from, as checked arrays: what cannot be learned from is named with its row and column."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.graph import Array

TOO_LARGE = "scale the column, for instance by its mean and standard deviation"


class Rows:
    """Inputs, targets and weights of rows, as arrays: ``X`` [rows, …], ``y`` [rows, …], ``weight`` [rows] or None.

    Each may be an array, a tensor, lists, or a pandas frame or series. Raises DataError, with the row and the column, for
    what is no number or not finite, and for lengths that differ.
    """

    def __init__(self, X: Any, y: Any, weight: Any = None, *, name: str = "the training data") -> None:
        self.name = name
        self.X = as_array(X, f"{name}: X")
        self.y = as_array(y, f"{name}: y")
        self.weight = None if weight is None else as_array(weight, f"{name}: weight")
        if self.X.ndim == 0 or len(self.X) == 0:
            raise DataError(f"{name}: X has shape {self.X.shape}", expected="at least one row")
        for what, other in (("y", self.y), ("weight", self.weight)):
            if other is not None and (other.ndim == 0 or len(other) != len(self.X)):
                given = "no axis" if other.ndim == 0 else f"{len(other)} rows"
                raise DataError(f"{name}: X has {len(self.X)} rows, {what} {given}", expected="the same number")
        check_finite(self.X, f"{name}: X", columns_of(X))
        check_finite(self.y, f"{name}: y", columns_of(y))
        if self.weight is not None:
            self._check_weight(self.weight)

    def _check_weight(self, weight: Array) -> None:
        what = f"{self.name}: weight"
        if weight.ndim != 1:
            raise DataError(f"{what} has shape {weight.shape}", expected=f"one number per row: ({len(self.X)},)")
        check_finite(weight, what)
        if weight.min() < 0:
            row = int(np.argmax(weight < 0))
            raise DataError(f"{what} holds {weight[row]} in row {row}", expected="numbers that are not negative")
        if not weight.any():
            raise DataError(f"{what} is 0 in every row", expected="some above 0")

    def __len__(self) -> int:
        return len(self.X)

    def __repr__(self) -> str:
        return f"<Rows: X {self.X.shape} {self.X.dtype}, y {self.y.shape} {self.y.dtype}>"


def as_array(values: Any, name: str) -> Array:
    """Return values as an array of numbers or booleans; raise DataError for anything else. ``name`` is for messages."""
    if hasattr(values, "detach"):  # a tensor, ours or PyTorch's
        values = values.detach()
    if "numpy.ma" in sys.modules and isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):  # 10 ms to load
        values = np.ma.filled(values.astype(np.float64), np.nan)
    try:
        array = np.asarray(values)
    except ValueError:
        raise DataError(f"{name} is ragged{_ragged(values)}", expected="rows of equal length") from None
    if array.dtype.kind in "biuf":
        return array
    if array.ndim == 0:
        raise DataError(f"{name} is of type {type(values).__name__}", expected="an array, a tensor, a frame or lists")
    if array.dtype.kind == "O":
        return _from_objects(array, name, columns_of(values))
    first = f": {array.reshape(-1)[0]!s:.40}" if array.dtype.kind in "USMm" and array.size else ""
    raise DataError(
        f"{name} holds {'text' if array.dtype.kind in 'US' else array.dtype}{first}",
        expected="numbers",
        fix="encode it as numbers first, or use `chainrule train`",
    )


def columns_of(values: Any) -> Sequence[Any] | None:
    """Return the names of a frame's columns; None for anything else."""
    columns = getattr(values, "columns", None)
    return None if columns is None or callable(columns) else list(columns)


def _ragged(values: Any) -> str:
    lengths = (
        [len(row) if hasattr(row, "__len__") else 0 for row in values] if isinstance(values, (list, tuple)) else []
    )
    for row, length in enumerate(lengths):
        if length != lengths[0]:
            return f": row 0 has {lengths[0]} values, row {row} has {length}"
    return ""


def _from_objects(array: Array, name: str, columns: Sequence[Any] | None) -> Array:
    """Return an array of objects that are all numbers (a frame of floats and booleans) as numbers."""
    for k, value in enumerate(array.reshape(-1).tolist()):
        if not isinstance(value, (numbers.Real, np.bool_)):
            place = np.unravel_index(k, array.shape)
            raise DataError(
                f"{name} holds {value!r:.40} ({type(value).__name__}) in {_place(place, columns)}",
                expected="numbers",
                fix="fill or drop missing values, and encode text, first",
            )
    values = np.array(array.tolist())
    return values if values.dtype.kind in "biuf" else values.astype(np.float64)


def check_finite(array: Array, name: str, columns: Sequence[Any] | None = None) -> None:
    """Raise DataError with the first row (and column) that holds a NaN or an infinity."""
    if array.dtype.kind != "f" or is_finite(array):
        return
    bad = ~np.isfinite(array)
    place = np.unravel_index(int(np.argmax(bad)), array.shape)
    rows = int(bad.reshape(len(array), -1).any(axis=1).sum())
    raise DataError(
        f"{name} holds {array[place]} in {_place(place, columns)} ({rows} of {len(array)} rows have such values)",
        expected="finite numbers",
        fix="fill or drop missing values first",
    )


def is_finite(array: Array) -> bool:
    """Return whether every number is finite."""
    if array.dtype.kind != "f":
        return True
    with np.errstate(all="ignore"):
        if np.isfinite(np.add.reduce(array, axis=None)):  # a NaN or an infinity makes the sum one
            return True
    return bool(np.isfinite(array).all())


def as_floats(array: Array, dtype: Any, name: str) -> Array:
    """Return numbers in a floating-point dtype; raise DataError for one beyond its range, with its row and column."""
    if array.dtype == dtype:
        return array
    with np.errstate(all="ignore"):
        converted = array.astype(dtype)
    if is_finite(converted):
        return converted
    place = np.unravel_index(int(np.argmax(~np.isfinite(converted))), array.shape)
    raise DataError(
        f"{name} holds {array[place]} in {_place(place, None)}, beyond the range of {converted.dtype}",
        expected=f"at most {np.finfo(converted.dtype).max:.4g}",
        fix=TOO_LARGE,
    )


def _place(place: Sequence[Any], columns: Sequence[Any] | None) -> str:
    """Say where a value is: its row, and its column by name or number."""
    row, *rest = [int(k) for k in place]
    if not rest:
        return f"row {row}"
    if len(rest) > 1:
        return f"row {row}, element {rest}"
    return f"row {row}, column {rest[0] if columns is None else repr(columns[rest[0]])}"
