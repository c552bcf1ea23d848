"""Datasets: rows by number, or one after the other."""

from __future__ import annotations

import itertools
import math
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, IndexingError, ShapeError
from chainrule.graph import Array
from chainrule.tensors.creation import randperm
from chainrule.tensors.generator import Generator
from chainrule.tensors.tensor import Tensor, concrete

Row_co = TypeVar("Row_co", covariant=True)


class Dataset(Generic[Row_co]):
    """Rows by number: a subclass writes ``__getitem__`` and ``__len__``.

    One that can fetch many rows at once may write ``__getitems__(indices)``, which returns a list of rows.
    """

    def __getitem__(self, index: Any) -> Row_co:
        raise ArgumentTypeError(f"{type(self).__name__} has no rows by number", fix="write __getitem__(self, index)")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[Row_co]):
    """Rows one after the other, of which there may be no number: a subclass writes ``__iter__``."""

    def __iter__(self) -> Iterator[Row_co]:
        raise ArgumentTypeError(f"{type(self).__name__} has no rows", fix="write __iter__(self)")

    def __add__(self, other: Dataset[Any]) -> ChainDataset:  # type: ignore[override]  # joined by iteration
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Rows of tensors that agree in the size of axis 0: row k is ``(x[k], y[k], …)``.

    >>> import chainrule as cr
    >>> TensorDataset(cr.ones(3, 2), cr.arange(3))[1]
    (tensor([1., 1.]), tensor(1))
    """

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors:
            raise ArgumentError("TensorDataset: got no tensor", expected="at least one")
        for k, x in enumerate(tensors):
            if not isinstance(x, Tensor):
                raise ArgumentTypeError(
                    f"TensorDataset: argument {k} is a {type(x).__name__}",
                    expected="a tensor",
                    fix="use chainrule.tensor(…) or chainrule.from_numpy(…)",
                )
            if not x.shape or len(x) != len(tensors[0]):
                raise ShapeError(
                    f"TensorDataset: argument {k} has shape {tuple(x.shape)}, argument 0 {tuple(tensors[0].shape)}",
                    expected="the same number of rows",
                )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple([x[index] for x in self.tensors])

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, ...]]:
        return [self[index] for index in indices]


class ConcatDataset(Dataset[Any]):
    """The rows of several datasets, one after the other."""

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ArgumentError("ConcatDataset: got no dataset", expected="at least one")
        for k, dataset in enumerate(self.datasets):
            if isinstance(dataset, IterableDataset):
                raise ArgumentTypeError(
                    f"ConcatDataset: dataset {k} has no rows by number", fix="join iterable datasets with ChainDataset"
                )
        self.cumulative_sizes = list(itertools.accumulate(length_of(dataset) for dataset in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexingError(f"row {index} of a dataset of {len(self)} rows")
        k = bisect_right(self.cumulative_sizes, place)
        return self.datasets[k][place - (self.cumulative_sizes[k - 1] if k else 0)]


class ChainDataset(IterableDataset[Any]):
    """The rows of several iterable datasets, one after the other."""

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        self.datasets = list(datasets)
        for k, dataset in enumerate(self.datasets):
            if not isinstance(dataset, IterableDataset):
                raise ArgumentTypeError(
                    f"ChainDataset: dataset {k} is a {type(dataset).__name__}", expected="iterable datasets"
                )

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self.datasets)  # type: ignore[arg-type]  # checked to be iterable

    def __len__(self) -> int:
        return sum(length_of(dataset) for dataset in self.datasets)


class Subset(Dataset[Any]):
    """The rows of another dataset that ``indices`` names, in that order."""

    def __init__(self, dataset: Dataset[Any], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[k] for k in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        rows = [self.indices[k] for k in indices]
        fetch = getattr(self.dataset, "__getitems__", None)
        return list(fetch(rows)) if callable(fetch) else [self.dataset[row] for row in rows]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Dataset[Any], lengths: Sequence[float], generator: Generator | None = None) -> list[Subset]:
    """Split the rows at random into parts of these lengths, or of these fractions (which add up to 1).

    Rows that fractions leave over go to the parts in turn, one each.
    """
    total = length_of(dataset)
    counts = list(lengths)
    if math.isclose(sum(counts), 1) and sum(counts) <= 1:
        for k, part in enumerate(counts):
            if not 0 <= part <= 1:
                raise ArgumentError(f"random_split: fraction {k} is {part}", expected="a number from 0 to 1")
        counts = [math.floor(total * part) for part in counts]
        for k in range(total - int(sum(counts))):
            counts[k % len(counts)] += 1
        for k, count in enumerate(counts):
            if count == 0:
                warnings.warn(f"random_split: part {k} of {total} rows is empty", stacklevel=2)
    if sum(counts) != total:
        raise ArgumentError(
            f"random_split: the lengths {list(lengths)} add up to {sum(counts)}",
            expected=f"the {total} rows of the dataset, or fractions that add up to 1",
        )
    order = randperm(total, generator=generator).tolist()
    ends = [int(end) for end in itertools.accumulate(counts)]
    return [Subset(dataset, order[end - int(count) : end]) for end, count in zip(ends, counts, strict=True)]


def length_of(dataset: Any) -> int:
    """Return the number of rows; raise if the dataset does not know."""
    if not hasattr(dataset, "__len__"):
        raise ArgumentTypeError(f"{type(dataset).__name__} has no len()", fix="write __len__(self)")
    return len(dataset)


def arrays_of(dataset: Any) -> tuple[tuple[Array, ...], Array | None] | None:
    """Return the arrays behind a TensorDataset (or a Subset of one) and the rows that count; None for another dataset."""
    rows: Array | None = None
    while type(dataset) is Subset:
        chosen = np.asarray(dataset.indices, np.int64)
        rows = chosen if rows is None else chosen[rows]
        dataset = dataset.dataset
    if type(dataset) is not TensorDataset or any(x.requires_grad for x in dataset.tensors):
        return None
    return tuple([concrete(x, "a DataLoader") for x in dataset.tensors]), rows
