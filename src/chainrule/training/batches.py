"""The rows to learn from: checked arrays, and each epoch's batches in an order drawn by counter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.ops import philox
from chainrule.tensors.generator import Generator
from chainrule.tensors.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]


class Rows:
    """Inputs, targets and weights of rows, as arrays: ``X`` [rows, …], ``y`` [rows, …], ``weight`` [rows] or None."""

    def __init__(self, X: Any, y: Any, weight: Any = None, *, name: str = "the training data") -> None:  # noqa: N803
        self.X = as_array(X, f"{name}: X")
        self.y = as_array(y, f"{name}: y")
        self.weight = None if weight is None else as_array(weight, f"{name}: the row weights")
        self.name = name
        if self.X.ndim == 0 or len(self.X) == 0:
            raise DataError(f"{name}: X has shape {self.X.shape}", expected="at least one row")
        for what, other in (("y", self.y), ("the row weights", self.weight)):
            if other is not None and (other.ndim == 0 or len(other) != len(self.X)):
                rows = "no axis" if other.ndim == 0 else f"{len(other)} rows"
                raise DataError(f"{name}: X has {len(self.X)} rows, {what} {rows}", expected="the same number")
        check_finite(self.X, f"{name}: X")
        check_finite(self.y, f"{name}: y")
        if self.weight is not None:
            check_finite(self.weight, f"{name}: the row weights")
            if self.weight.min() < 0 or self.weight.sum() <= 0:
                raise DataError(f"{name}: row weights from {self.weight.min()}", expected="≥ 0, and some above 0")

    def __len__(self) -> int:
        return len(self.X)


def as_array(values: Any, name: str) -> Array:
    """Return values as a numeric array."""
    if isinstance(values, Tensor):
        return np.asarray(values.detach())
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{name} is ragged ({error})", expected="rows of equal length") from None
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{name} holds {array.dtype} values", expected="numbers", fix="encode text first, or use `chainrule train`"
        )
    return array


def check_finite(array: Array, name: str) -> None:
    """Raise DataError with the first row (and column) that holds a NaN or an infinity."""
    if array.dtype.kind != "f":
        return
    with np.errstate(all="ignore"):
        total = np.add.reduce(array, axis=None, dtype=np.float64)
    if np.isfinite(total):
        return
    bad = ~np.isfinite(array)
    if not bad.any():
        return
    place = np.unravel_index(int(np.argmax(bad)), array.shape)
    where = f"row {place[0]}" + (f", column {place[1]}" if len(place) > 1 else "")
    rows = int(bad.reshape(len(array), -1).any(axis=1).sum())
    raise DataError(
        f"{name} holds {array[place]} in {where} ({rows} of {len(array)} rows have such values)",
        expected="finite numbers",
        fix="fill or drop missing values first",
    )


def batch_indices(num_rows: int, batch_size: int | None, generator: Generator | None) -> Iterator[Array]:
    """Yield the row numbers of each batch of an epoch: shuffled by the generator's next draw, or in order.

    ``batch_size`` None takes all rows at once, in order. A single row left over joins the batch before it: statistics
    over one row (batch normalisation) do not exist.
    """
    if batch_size is None or batch_size >= num_rows:
        yield np.arange(num_rows)
        return
    if generator is None:
        order: Array = np.arange(num_rows)
    else:
        order = philox.permutation(generator.seed_value, generator.draw, num_rows)
        generator.draw += 1
    starts = list(range(0, num_rows, batch_size))
    if num_rows % batch_size == 1 and batch_size > 1:
        starts.pop()
    for start, stop in zip(starts, [*starts[1:], num_rows], strict=True):
        yield order[start:stop]
