"""Each epoch's batches: rows of arrays in an order drawn by counter, or what an iterable of batches gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from chainrule.digest import sha256
from chainrule.errors import ArgumentError, ArgumentTypeError, ChainruleError, DataError
from chainrule.graph import Array
from chainrule.ops import philox
from chainrule.tensors.generator import Generator, drawing_from
from chainrule.tensors.row_at_fault import row_at_fault
from chainrule.tensors.tensor import Tensor
from chainrule.training.form import Form
from chainrule.training.objective import class_weights
from chainrule.training.rows import Rows as Rows
from chainrule.utils.data import DataLoader
from chainrule.utils.data.dataset import arrays_of

if TYPE_CHECKING:
    from chainrule.run import Scaling

MOST_CONVERTED = 1 << 30  # bytes: inputs that would take more in the model's dtype are converted batch by batch


class Batch(NamedTuple):
    """Some rows as tensors; ``size`` is how much they count: their number, or the sum of their weights."""

    X: Tensor
    y: Tensor
    weight: Tensor | None
    size: float


class Source(NamedTuple):
    """Arrays of all inputs, targets and weights, as they lie in memory, and what is done to inputs as they are gathered."""

    rows: tuple[Array, Array, Array | None]
    scaling: Scaling | None = None


Check = Callable[[Array, str], None]  # of targets, and whose they are


class Batches(Protocol):
    """Where batches come from."""

    name: str
    count: int | None  # batches per epoch, if that is known

    def first(self) -> tuple[Array, Array]:
        """Return a few rows, (X, y), to look at before training."""

    def prepare(self, form: Form, check: Check) -> None:
        """Take note of what the model and the loss want; ``check`` raises for targets that do not fit."""

    def epoch(self, generator: Generator | None) -> Iterator[Batch]:
        """Yield the batches of an epoch, in an order drawn from ``generator`` (None: in the order of the data)."""

    def generators(self) -> list[Generator]:
        """Return the generators that the order depends on, beside the trainer's."""

    def fingerprint(self) -> str:
        """Return a hash of the data: a resumed run must see the same ones; "" where it cannot be known."""


class ArrayBatches:
    """Batches of checked arrays.

    ``batch_size`` None takes all rows at once, in their order. A single row left over at the end joins the batch before
    it: statistics over one row (batch normalisation) do not exist.
    """

    def __init__(self, rows: Rows, batch_size: int | None, class_weight: Any = None) -> None:
        self.rows = rows
        self.name = rows.name
        self.batch_size = batch_size
        self.weight = rows.weight
        if class_weight is not None:
            by_class = class_weights(rows.y, class_weight)
            self.weight = by_class if self.weight is None else self.weight * by_class
        self.count: int | None = len(batch_starts(len(rows), batch_size))
        self.drawn: Array | None = None  # the order of the epoch at hand, if it is not that of the data

    def first(self) -> tuple[Array, Array]:
        """Return the first two rows, and all targets."""
        return self.rows.X[:2], self.rows.y

    def prepare(self, form: Form, check: Check) -> None:
        """Check all targets, and convert everything now; not inputs in bytes, or that would take much more memory then."""
        check(self.rows.y, self.name)
        self.form = form
        self.X, self.y = self.rows.X, form.targets(self.rows.y, f"{self.name}: y")
        self.row_weight = form.weights(self.weight)
        is_small = self.X.size * form.dtype.itemsize <= max(MOST_CONVERTED, self.X.nbytes)
        self.is_converted = is_small and not (form.keeps(self.X) and self.count != 1)
        if self.is_converted:
            self.X = form.inputs(self.X, f"{self.name}: X")
        elif form.keeps(self.X):
            self.X = np.ascontiguousarray(self.X)  # rows are gathered from memory where they lie one after the other

    @property
    def source(self) -> Source:
        """What native code gathers batches from."""
        return Source((self.X, self.y, self.row_weight), None if self.is_converted else self.form.scaling)

    def epoch(self, generator: Generator | None) -> Iterator[Batch]:
        """Yield the batches, in an order drawn from ``generator`` (None: in the order of the rows).

        All rows at once are not copied: a model that writes into its input gets an error then.
        """
        starts = batch_starts(len(self.rows), self.batch_size)
        if generator is not None and len(starts) == 1:
            yield self.whole()
            return
        order = self.order(generator)
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
            batch = self.batch(order[start:stop])
            if batch.weight is None or generator is None or batch.size:  # nothing is learned from weights of 0
                yield batch
            del batch  # before there is a next one

    def order(self, generator: Generator | None) -> Array:
        """Return the order of the rows in an epoch, drawn from ``generator`` (None: that of the data)."""
        self.drawn = None
        if generator is None:
            return np.arange(len(self.rows))
        generator.draw += 1
        self.drawn = philox.permutation(generator.seed_value, generator.draw - 1, len(self.rows))
        return self.drawn

    def row_at_fault(self, error: ChainruleError, number: int) -> int | None:
        """Return the row that an error is about, in the batch of that number (from 0) of those learned from in this epoch."""
        rows = self.rows_of(number)
        return None if rows is None else row_at_fault(error, [self.rows.X, self.rows.y], rows)

    def rows_of(self, number: int) -> Array | None:
        """Return which rows are in the batch of that number (from 0) of those learned from in this epoch."""
        order = np.arange(len(self.rows)) if self.drawn is None else self.drawn
        batches = np.split(order, batch_starts(len(order), self.batch_size)[1:])
        weight = self.row_weight
        learned = [rows for rows in batches if weight is None or weight[rows].any()]
        return learned[number] if number < len(learned) else None

    def whole(self) -> Batch:
        """Return the batch of all rows, which cannot be written to."""
        weight = None if self.row_weight is None else _read_only(self.row_weight)
        return self._batch(_read_only(self.X), _read_only(self.y), weight)

    def batch(self, rows: Array) -> Batch:
        """Return the batch of these rows."""
        weight = None if self.row_weight is None else self.row_weight.take(rows)
        return self._batch(self.X.take(rows, axis=0), self.y.take(rows, axis=0), weight)

    def like(self, size: int) -> Batch:
        """Return a batch of that size whose numbers do not matter: nothing is copied, and one row converted."""
        weight = None if self.row_weight is None else self.row_weight[:size]
        if self.is_converted:
            return _batch(self.X[:size], self.y[:size], weight)
        row = self.form.inputs(self.X[:1], f"{self.name}: X")
        return _batch(np.empty((size, *row.shape[1:]), row.dtype), self.y[:size], weight)

    def _batch(self, X: Array, y: Array, weight: Array | None) -> Batch:
        return _batch(X if self.is_converted else self.form.inputs(X, f"{self.name}: X"), y, weight)

    def generators(self) -> list[Generator]:
        """Return none: the order is drawn from the trainer's."""
        return []

    def fingerprint(self) -> str:
        """Return a hash of inputs, targets and weights."""
        return hash_of([self.X, self.y] if self.row_weight is None else [self.X, self.y, self.row_weight])


class GivenBatches:
    """The batches of an iterable that gives (X, y) or (X, y, row weights) anew in each epoch, such as a DataLoader."""

    def __init__(self, source: Any, class_weight: Any = None, *, name: str) -> None:
        if isinstance(class_weight, str):
            raise ArgumentError(
                f"class_weight={class_weight!r} with data that come in batches",
                expected="a dict from class to weight",
                fix="count the classes first, or give the data as arrays",
            )
        self.source = source
        self.name = name
        self.class_weight = class_weight
        self._first: tuple[Array, Array] | None = None
        self.count: int | None = len(source) if hasattr(source, "__len__") else None

    def first(self) -> tuple[Array, Array]:
        """Return the first batch, read once; generators are left as they were."""
        if self._first is None:
            self._first = self._read_first()
        return self._first

    def _read_first(self) -> tuple[Array, Array]:
        generator = Generator().manual_seed(0)
        states = [(other, other.get_state()) for other in self.generators()]
        try:
            with drawing_from(generator):
                rows = next(self.rows(), None)
        finally:
            for other, state in states:
                other.set_state(state)
        if rows is None:
            raise DataError(f"{self.name}: the iterable gave no batch", expected="at least one batch (X, y)")
        return rows.X, rows.y

    def rows(self) -> Iterator[Rows]:
        """Yield the checked rows of each batch."""
        batches = iter(self.source)
        if batches is self.source:
            raise ArgumentTypeError(
                f"{self.name}: got {type(self.source).__name__}, which can be read only once",
                expected="an iterable that begins anew for each epoch",
                fix="give a list of batches, a DataLoader, or an object with __iter__",
            )
        for number, batch in enumerate(batches, 1):
            name = f"{self.name}, batch {number}"
            if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
                got = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
                raise DataError(f"{name}: got {got}", expected="(X, y) or (X, y, row weights)")
            yield Rows(*batch, name=name)

    def prepare(self, form: Form, check: Check) -> None:
        """Take note of what the model and the loss want; ``check`` raises for targets that do not fit."""
        self.form, self.check = form, check

    def epoch(self, generator: Generator | None) -> Iterator[Batch]:
        """Yield the batches as they come."""
        for rows in self.rows():
            weight = rows.weight
            if self.class_weight is not None:
                by_class = class_weights(rows.y, self.class_weight, complete=False)
                weight = by_class if weight is None else weight * by_class
            if weight is not None and not weight.any():
                continue
            self.check(rows.y, rows.name)
            X, y = self.form.inputs(rows.X, f"{rows.name}: X"), self.form.targets(rows.y, f"{rows.name}: y")
            yield _batch(X, y, self.form.weights(weight))

    def generators(self) -> list[Generator]:
        """Return the generators of a DataLoader and its sampler."""
        places = (self.source, getattr(self.source, "sampler", None), getattr(self.source, "batch_sampler", None))
        found = [getattr(place, "generator", None) for place in places]
        return list(dict.fromkeys(generator for generator in found if isinstance(generator, Generator)))

    def fingerprint(self) -> str:
        """Return a hash of the arrays behind a DataLoader of a TensorDataset; "" for other iterables."""
        arrays = arrays_of(self.source.dataset) if isinstance(self.source, DataLoader) else None
        if arrays is None:
            return ""
        return hash_of(arrays[0] if arrays[1] is None else [*arrays[0], arrays[1]])


def batches_of(data: Any, batch_size: int | None, class_weight: Any, name: str) -> ArrayBatches | GivenBatches:
    """Return the batches of training data: (X, y), (X, y, weights), Rows, a TensorDataset, or an iterable of batches."""
    rows = _arrays(data, name)
    if rows is not None:
        return ArrayBatches(rows, batch_size, class_weight)
    return GivenBatches(_iterable(data, name), class_weight, name=name)


def rows_of(data: Any, name: str) -> Rows:
    """Return rows to look at: those of arrays, or all of an iterable of batches, read once and joined."""
    rows = _arrays(data, name)
    if rows is not None:
        return rows
    with drawing_from(Generator().manual_seed(0)):  # a loader that shuffles draws from nobody else's
        found = list(GivenBatches(_iterable(data, name), name=name).rows())
    if not found:
        raise DataError(f"{name}: the iterable gave no batch", expected="at least one batch (X, y)")
    weights = [batch.weight for batch in found if batch.weight is not None]
    weight = np.concatenate(weights) if len(weights) == len(found) else None
    return Rows(np.concatenate([b.X for b in found]), np.concatenate([b.y for b in found]), weight, name=name)


def _arrays(data: Any, name: str) -> Rows | None:
    if isinstance(data, Rows):
        return data
    if isinstance(data, tuple) and len(data) in (2, 3):
        return Rows(*data, name=name)
    if isinstance(data, list) and len(data) in (2, 3) and not isinstance(data[0], tuple):
        return Rows(*data, name=name)
    tensors = getattr(data, "tensors", None)
    if isinstance(tensors, tuple) and len(tensors) in (2, 3):
        return Rows(*tensors, name=name)
    return None


def _iterable(data: Any, name: str) -> Any:
    if hasattr(data, "__iter__") and not isinstance(data, (str, bytes, dict, np.ndarray, Tensor)):
        return data
    raise ArgumentTypeError(
        f"{name}: got {type(data).__name__}",
        expected="(X, y), (X, y, row weights), a TensorDataset, or an iterable of batches such as a DataLoader",
    )


def batch_starts(num_rows: int, batch_size: int | None) -> list[int]:
    """Return the row at which each batch begins; a single row left over joins the batch before it.

    >>> batch_starts(10, 4), batch_starts(9, 4), batch_starts(3, None)
    ([0, 4, 8], [0, 4], [0])
    """
    if batch_size is None or batch_size >= num_rows:
        return [0]
    starts = list(range(0, num_rows, batch_size))
    if num_rows % batch_size == 1 and batch_size > 1:
        starts.pop()
    return starts


def _batch(X: Array, y: Array, weight: Array | None) -> Batch:
    if weight is None:
        return Batch(Tensor(X), Tensor(y), None, float(len(X)))
    return Batch(Tensor(X), Tensor(y), Tensor(weight), float(weight.sum(dtype=np.float64)))


def hash_of(arrays: Iterable[Array]) -> str:
    """Return the SHA-256 of arrays, with their dtypes and shapes, in hexadecimal."""
    arrays = [*arrays]
    digest = sha256(sum(array.nbytes for array in arrays))
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
