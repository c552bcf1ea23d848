"""The loader: batch after batch of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from chainrule.errors import ArgumentError, IndexingError
from chainrule.graph import Array
from chainrule.graph.numeric import as_int
from chainrule.tensors.generator import Generator
from chainrule.tensors.tensor import Tensor
from chainrule.utils.data.collate import default_collate, default_convert
from chainrule.utils.data.dataset import Dataset, IterableDataset, arrays_of, length_of
from chainrule.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    _Ordered,
    checked_count,
)


class DataLoader:
    """Batches of a dataset; each iteration is an epoch.

    ``batch_size``     rows per batch; None gives single rows as they are
    ``shuffle``        a new random order each epoch, drawn by ``generator`` (the default one if None)
    ``sampler``        the order of the rows; ``batch_sampler``: lists of row numbers, instead of the four above
    ``drop_last``      leave out a last batch that is not full
    ``collate_fn``     makes a batch of a list of rows (``default_collate``)

    Batches are made in this process: arguments that PyTorch has for its worker processes are refused. A TensorDataset, or
    a Subset of one, is indexed by whole batches.

    >>> import chainrule as cr
    >>> from chainrule.utils.data import TensorDataset
    >>> loader = DataLoader(TensorDataset(cr.arange(5)), batch_size=2)
    >>> [x.tolist() for (x,) in loader]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler[int] | Iterable[int] | None = None,
        batch_sampler: Sampler[list[int]] | Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        workers = {
            "num_workers": num_workers, "timeout": timeout, "multiprocessing_context": multiprocessing_context,
            "prefetch_factor": prefetch_factor, "persistent_workers": persistent_workers,
        }  # fmt: skip
        for name, value in workers.items():
            if value:
                raise ArgumentError(
                    f"DataLoader: got {name}={value!r}, which is for worker processes",
                    expected="num_workers=0",
                    fix="leave it out: batches are made in this process",
                )
        self.dataset = dataset
        self.num_workers = 0
        self.pin_memory = pin_memory
        self.worker_init_fn = worker_init_fn
        self.generator = generator
        self.is_iterable = isinstance(dataset, IterableDataset)
        self._check(batch_size, shuffle, sampler, batch_sampler, drop_last)
        if batch_sampler is not None:
            batch_size, drop_last = None, False
        elif sampler is None and not self.is_iterable:
            length_of(dataset)
            source: Any = dataset
            sampler = RandomSampler(source, generator=generator) if shuffle else SequentialSampler(source)
        order: Any = sampler
        self.sampler = order
        self.batch_sampler: Any = batch_sampler
        if batch_size is not None and not self.is_iterable:
            self.batch_sampler = BatchSampler(order, batch_size, drop_last)
        self.batch_size: int | None = as_int(batch_size)
        self.drop_last = drop_last
        batched = self.batch_sampler is not None or batch_size is not None
        self.collate_fn = collate_fn or (default_collate if batched else default_convert)

    def _check(self, batch_size: Any, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: bool) -> None:
        if self.is_iterable:
            for name, value in (("shuffle", shuffle), ("sampler", sampler), ("batch_sampler", batch_sampler)):
                if value:
                    raise ArgumentError(
                        f"DataLoader: got {name}={value!r} with an IterableDataset, which gives its rows in its own order"
                    )
        if batch_size is not None:
            checked_count(batch_size, "DataLoader", "batch_size")
        if sampler is not None and shuffle:
            raise ArgumentError("DataLoader: got both sampler and shuffle=True", expected="one of them")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ArgumentError(
                "DataLoader: got batch_sampler with one of batch_size, shuffle, sampler, drop_last",
                expected="batch_sampler alone: it makes the batches",
            )
        if batch_size is None and drop_last:
            raise ArgumentError("DataLoader: got drop_last=True with batch_size=None: there is no last batch")

    def __len__(self) -> int:
        if self.is_iterable:
            rows = length_of(self.dataset)
            if self.batch_size is None:
                return rows
            return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        if self.is_iterable:
            return self._of_stream()
        if self.batch_sampler is None:
            return (self.collate_fn(self.dataset[index]) for index in self.sampler)
        found = arrays_of(self.dataset) if self.collate_fn is default_collate else None
        if found is None:
            return (self.collate_fn(self._rows(indices)) for indices in self.batch_sampler)
        arrays, rows = found
        return (
            [Tensor(_rows_of(array, places)) for array in arrays]
            for places in (batch if rows is None else rows[batch] for batch in self._batches())
        )

    def _rows(self, indices: list[int]) -> list[Any]:
        fetch = getattr(self.dataset, "__getitems__", None)
        return list(fetch(indices)) if callable(fetch) else [self.dataset[index] for index in indices]

    def _batches(self) -> Iterator[Any]:
        """Return the row numbers of each batch; as parts of one array where the order of the epoch is known."""
        batches = self.batch_sampler
        if type(batches) is not BatchSampler or not isinstance(batches.sampler, _Ordered):
            return iter(batches)
        order, size = batches.sampler.order(), batches.batch_size
        stop = len(order) - len(order) % size if batches.drop_last else len(order)
        return (order[k : k + size] for k in range(0, stop, size))

    def _of_stream(self) -> Iterator[Any]:
        if self.batch_size is None:
            yield from map(self.collate_fn, self.dataset)  # type: ignore[call-overload]  # it is iterable
            return
        batch: list[Any] = []
        for row in self.dataset:  # type: ignore[attr-defined]  # it is iterable
            batch.append(row)
            if len(batch) == self.batch_size:
                yield self.collate_fn(batch)
                batch = []
        if batch and not self.drop_last:
            yield self.collate_fn(batch)


def _rows_of(array: Array, places: Any) -> Array:
    try:
        rows: Array = array.take(places, 0)
    except IndexError as error:
        raise IndexingError(f"DataLoader: {error}", expected=f"rows of a dataset of {len(array)}") from None
    return rows
