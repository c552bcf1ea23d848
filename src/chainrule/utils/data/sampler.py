"""Samplers: the order in which rows are visited. An epoch is one iteration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.graph import Array
from chainrule.graph.numeric import as_int
from chainrule.tensors.creation import as_tensor, multinomial, rand, randint, randperm
from chainrule.tensors.dtypes import float64
from chainrule.tensors.generator import Generator
from chainrule.tensors.tensor import Tensor

Index_co = TypeVar("Index_co", covariant=True)


class Sampler(Generic[Index_co]):
    """Row numbers, one after the other: a subclass writes ``__iter__``, and ``__len__`` if it knows."""

    def __iter__(self) -> Iterator[Index_co]:
        raise ArgumentTypeError(f"{type(self).__name__} gives no rows", fix="write __iter__(self)")


class _Ordered(Sampler[int]):
    """A sampler that knows the order of a whole epoch at once."""

    def order(self) -> Array:
        """Return the row numbers of a new epoch."""
        raise ArgumentTypeError(f"{type(self).__name__} has no order", fix="write order(self)")

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())


class SequentialSampler(_Ordered):
    """All rows in their order."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def order(self) -> Array:
        return np.arange(len(self.data_source))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(_Ordered):
    """Rows at random: each once per epoch, or drawn with replacement.

    ``num_samples``  how many rows an epoch has; more than there are begins another random order
    ``generator``    draws the orders; the default generator if None
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = _flag(replacement, "RandomSampler")
        self._num_samples = as_int(num_samples)
        self.generator = generator
        if num_samples is None and len(data_source) == 0:
            raise ArgumentError("RandomSampler: the dataset has no rows", expected="at least one")
        checked_count(self.num_samples, "RandomSampler")

    @property
    def num_samples(self) -> int:
        """How many rows an epoch has."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def order(self) -> Array:
        n, wanted = len(self.data_source), self.num_samples
        if self.replacement:
            return _array(randint(n, (wanted,), generator=self.generator))
        orders = [_array(randperm(n, generator=self.generator)) for _ in range(-(-wanted // n))]
        return np.concatenate(orders)[:wanted]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(_Ordered):
    """The given rows in random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def order(self) -> Array:
        return np.asarray(self.indices, np.int64)[_array(randperm(len(self.indices), generator=self.generator))]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(_Ordered):
    """Rows drawn with probabilities in proportion to ``weights``."""

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        self.weights = as_tensor(weights, dtype=float64)
        self.num_samples = checked_count(num_samples, "WeightedRandomSampler")
        self.replacement = _flag(replacement, "WeightedRandomSampler")
        self.generator = generator
        values = _array(self.weights)
        if values.ndim != 1 or not np.all(np.isfinite(values) & (values >= 0)) or not values.sum() > 0:
            raise ArgumentError(
                f"WeightedRandomSampler: got weights of shape {values.shape}, from {values.min(initial=0):g} to "
                f"{values.max(initial=0):g}",
                expected="one axis of finite numbers, none negative and some above 0",
            )

    def order(self) -> Array:
        if not self.replacement:
            return _array(multinomial(self.weights, self.num_samples, generator=self.generator))
        cumulated = np.cumsum(_array(self.weights))
        u = _array(rand(self.num_samples, dtype=float64, generator=self.generator))
        places: Array = np.searchsorted(cumulated, u * cumulated[-1], side="right")
        return np.minimum(places, len(cumulated) - 1)

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """The rows of another sampler in lists of ``batch_size``; the last may be shorter, or is left out.

    >>> list(BatchSampler(SequentialSampler(range(5)), 2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Sampler[int] | Iterable[int], batch_size: int, drop_last: bool) -> None:
        self.batch_size = checked_count(batch_size, "BatchSampler", "batch_size")
        self.sampler = sampler
        self.drop_last = _flag(drop_last, "BatchSampler", "drop_last")

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]  # a sampler without len() raises here
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


def _array(x: Tensor) -> Array:
    array: Array = x._value
    return array


def _flag(value: Any, owner: str, name: str = "replacement") -> bool:
    if not isinstance(value, bool):
        raise ArgumentTypeError(f"{owner}: got {name}={value!r}", expected="True or False")
    return value


def checked_count(value: Any, owner: str, name: str = "num_samples") -> int:
    """Return ``value`` as a plain int; raise ArgumentError unless it is an integer above 0."""
    count = as_int(value)
    if isinstance(count, bool) or not isinstance(count, int) or count <= 0:
        raise ArgumentError(f"{owner}: got {name}={value!r}", expected="an integer above 0")
    return count
