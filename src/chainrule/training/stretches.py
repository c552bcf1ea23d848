"""An epoch's batches, learned from one by one or, where nothing has to happen between them, many in one native call.

Control comes back about every tenth of a second, for progress, Ctrl-C and the time limit. Where it comes back changes no
result: the batches, their order and their sums are those of learning from one after the other.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.graph import Array
from chainrule.nn.place import name_kind
from chainrule.tensors.row_at_fault import is_refused_number, row_at_fault
from chainrule.tensors.tensor import Tensor
from chainrule.training.batches import ArrayBatches, Batch, Batches, batch_starts
from chainrule.training.callbacks import Callback

if TYPE_CHECKING:
    from chainrule.training.trainer import Trainer

SECONDS = 0.1  # between two looks at the clock
MOST_STEPS = 100_000  # of one call: their errors are kept


class Learned(NamedTuple):
    """What one or several batches gave: their errors, how much each counts, their targets and outputs if wanted.

    ``rate`` is the learning rate of the last one.
    """

    losses: Array
    sizes: Array
    rate: float
    targets: Array | None
    outputs: Array | None
    last: Tensor | None = None


class Looked(NamedTuple):
    """What looking at one or several batches gave: their errors, how much each counts, their outputs."""

    losses: Array
    sizes: Array
    outputs: Array


def stretches(trainer: Trainer, batches: Batches, *, measured: bool) -> Iterator[Learned | None]:
    """Learn from every batch of an epoch; None where training was told to stop and batches are left, which ends it."""
    if isinstance(batches, ArrayBatches) and _may_hurry(trainer, batches):
        yield from _learn_in_a_hurry(trainer, batches, measured)
        return
    for learned in map(partial(_one_unless_told, trainer), batches.epoch(trainer.generator), itertools.count()):
        yield learned  # no batch is kept
        if learned is None:
            return


def looks(trainer: Trainer, batches: ArrayBatches) -> Iterator[Looked]:
    """Look at every batch, in the order of the rows."""
    stretch = _Stretch(batches, batches.order(None))
    at_once = 1
    while stretch.is_left():
        steps = min(at_once, stretch.alike()) if trainer.compile else 1
        began = time.perf_counter()
        found = trainer.look_from(stretch.like(), batches.source, stretch.rows(steps), steps)
        if found is None or not found[0]:
            yield _look_at(trainer, stretch.batch())
            stretch.go(1)
            continue
        done, losses, outputs = found
        assert outputs is not None  # they are always wanted here
        at_once = _steps_at_once(time.perf_counter() - began, done)
        yield Looked(
            losses[:done].astype(np.float64), stretch.sizes(done), outputs[:done].reshape(-1, *outputs.shape[2:])
        )
        stretch.go(done)


def told_row(trainer: Trainer, batches: ArrayBatches, done: Callable[[], int]) -> Iterator[Looked]:
    """Yield what ``looks`` does; say of an index that is refused in which row, of those after ``done()``, it is."""
    try:
        yield from looks(trainer, batches)
    except ChainruleError as error:
        if is_refused_number(error):
            name_kind(error, trainer.model)
            row = row_at_fault(error, [batches.rows.X, batches.rows.y], np.arange(done(), len(batches.rows)))
            error.what += f", in {batches.name}" if row is None else f", row {row} of {batches.name}"
        raise


def _look_at(trainer: Trainer, batch: Batch) -> Looked:
    error, output = trainer.look_at(batch)
    return Looked(np.array([float(error._value)]), np.array([float(batch.size)]), output._value)


def _steps_at_once(seconds: float, done: int) -> int:
    """Return how many steps the next call should do, after ``done`` of them took so many seconds."""
    return max(1, min(MOST_STEPS, int(done * SECONDS / max(seconds, 1e-6)), 16 * done))


def _one_unless_told(trainer: Trainer, batch: Batch, number: int) -> Learned | None:
    return None if number and trainer.why_stop else _one(trainer, batch)


def _one(trainer: Trainer, batch: Batch) -> Learned:
    rate = trainer.rate
    loss, outputs = trainer.learn(batch)
    return Learned(np.array([loss]), np.array([float(batch.size)]), rate, batch.y._value, outputs._value, outputs)


def _may_hurry(trainer: Trainer, batches: ArrayBatches) -> bool:
    listens = any(type(callback).on_batch_end is not Callback.on_batch_end for callback in trainer.callbacks)
    return trainer.compile and not listens and len(batch_starts(len(batches.rows), batches.batch_size)) > 1


class _Stretch:
    """The batches of an epoch, and how far one has come."""

    def __init__(self, batches: ArrayBatches, order: Array) -> None:
        self.batches, self.order = batches, order
        self.starts = [*batch_starts(len(order), batches.batch_size), len(order)]
        weight = batches.row_weight
        self.weight = None if weight is None else weight.take(order)
        self.at = 0

    def is_left(self) -> bool:
        return self.at < len(self.starts) - 1

    def go(self, steps: int) -> None:
        self.at += steps

    def alike(self) -> int:
        """Return how many batches from here on have the size of the next."""
        starts, k = self.starts, self.at
        whole = len(starts) - 1 - k if starts[-1] - starts[-2] == starts[k + 1] - starts[k] else len(starts) - 2 - k
        return max(whole, 1)

    def rows(self, steps: int) -> Array:
        """Return the rows of the next batches, and those of one more, which are asked for ahead."""
        return self.order[self.starts[self.at] : self.starts[min(self.at + steps + 1, len(self.starts) - 1)]]

    def sizes(self, steps: int) -> Array:
        """Return how much each of the next batches counts."""
        start, stop = self.starts[self.at], self.starts[self.at + steps]
        size = (stop - start) // steps
        if self.weight is None:
            return np.full(steps, float(size))
        sizes: Array = self.weight[start:stop].reshape(steps, size).sum(axis=1, dtype=np.float64)
        return sizes

    def like(self) -> Batch:
        """Return a batch of the size of the next, whose numbers do not matter."""
        return self.batches.like(self.starts[self.at + 1] - self.starts[self.at])

    def batch(self) -> Batch:
        """Return the next batch."""
        return self.batches.batch(self.order[self.starts[self.at] : self.starts[self.at + 1]])


def _learn_in_a_hurry(trainer: Trainer, batches: ArrayBatches, measured: bool) -> Iterator[Learned | None]:
    """Learn from an epoch of arrays, in as few calls as the clock allows."""
    stretch = _Stretch(batches, batches.order(trainer.generator))
    at_once = max(1, min(MOST_STEPS, int(SECONDS / trainer.seconds_of_step))) if trainer.seconds_of_step else 1
    while stretch.is_left():
        if stretch.at and trainer.why_stop:
            yield None
            return
        sizes = stretch.sizes(min(at_once, stretch.alike()))
        began = time.perf_counter()
        learned = _many(trainer, stretch, sizes, measured) if sizes.all() else None
        if learned is None:
            learned = _single(trainer, stretch)
            at_once = 1
            if learned is not None:
                yield learned
            continue
        done = len(learned.losses)
        stretch.go(done)
        seconds = time.perf_counter() - began
        trainer.seconds_of_step = max(seconds, 1e-6) / done
        at_once = _steps_at_once(seconds, done)
        yield learned


def _single(trainer: Trainer, stretch: _Stretch) -> Learned | None:
    """Learn from the next batch by itself; None where it counts for nothing."""
    batch = stretch.batch()
    stretch.go(1)
    return None if batch.weight is not None and not batch.size else _one(trainer, batch)


def _many(trainer: Trainer, stretch: _Stretch, sizes: Array, measured: bool) -> Learned | None:
    """Learn from the next batches, of these sizes, in one native call; None if that cannot be."""
    batches, steps = stretch.batches, len(sizes)
    order, size = stretch.rows(steps), stretch.starts[stretch.at + 1] - stretch.starts[stretch.at]
    found = trainer.learn_from(stretch.like(), batches.source, order, steps, outputs=measured)
    if found is None or not found[0]:
        return None
    done, losses, outputs, rate = found
    targets = None
    if measured and outputs is not None:
        targets = batches.y.take(order[: done * size], axis=0)
        outputs = outputs[:done].reshape(len(targets), *outputs.shape[2:])
    return Learned(losses[:done].astype(np.float64), sizes[:done], rate, targets, outputs)
