"""An epoch's batches, learned from one by one or, where nothing has to happen between them, many in one native call.

Control comes back about every tenth of a second, for progress, Ctrl-C and the time limit. Where it comes back changes no
result: the batches, their order and their sums are those of learning from one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.graph import Array
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

    losses: list[float]
    sizes: list[float]
    rate: float
    targets: Array | None
    outputs: Array | None
    last: Tensor | None = None


class Looked(NamedTuple):
    """What looking at one or several batches gave: their errors, how much each counts, their outputs."""

    losses: list[float]
    sizes: list[float]
    outputs: Array


def stretches(trainer: Trainer, batches: Batches, *, measured: bool) -> Iterator[Learned]:
    """Learn from every batch of an epoch."""
    if isinstance(batches, ArrayBatches) and _may_hurry(trainer, batches):
        yield from _learn_in_a_hurry(trainer, batches, measured)
        return
    for batch in batches.epoch(trainer.generator):
        yield _one(trainer, batch)


def looks(trainer: Trainer, batches: ArrayBatches) -> Iterator[Looked]:
    """Look at every batch, in the order of the rows."""
    stretch = _Stretch(batches, batches.order(None))
    while stretch.is_left():
        steps = stretch.alike() if trainer.compile else 1
        sizes = stretch.sizes(steps)
        batch = stretch.batch()
        found = trainer.look_from(batch, batches.source, stretch.rows(steps), steps) if steps > 1 else None
        if found is None or not found[0]:
            error, output = trainer.look_at(batch)
            yield Looked([float(error._value)], [batch.size], output._value)
            stretch.go(1)
            continue
        done, losses, outputs = found
        assert outputs is not None  # they are always wanted here
        yield Looked(losses[:done].tolist(), sizes[:done], outputs[:done].reshape(-1, *outputs.shape[2:]))
        stretch.go(done)


def _one(trainer: Trainer, batch: Batch) -> Learned:
    rate = trainer.rate
    loss, outputs = trainer.learn(batch)
    return Learned([loss], [batch.size], rate, batch.y._value, outputs._value, outputs)


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
        """Return the rows of the next batches."""
        return self.order[self.starts[self.at] : self.starts[self.at + steps]]

    def sizes(self, steps: int) -> list[float]:
        """Return how much each of the next batches counts."""
        start, stop = self.starts[self.at], self.starts[self.at + steps]
        size = (stop - start) // steps
        if self.weight is None:
            return [float(size)] * steps
        sizes: list[float] = self.weight[start:stop].reshape(steps, size).sum(axis=1, dtype=np.float64).tolist()
        return sizes

    def batch(self) -> Batch:
        """Return the next batch."""
        return self.batches.batch(self.rows(1))


def _learn_in_a_hurry(trainer: Trainer, batches: ArrayBatches, measured: bool) -> Iterator[Learned]:
    """Learn from an epoch of arrays, in as few calls as the clock allows."""
    stretch = _Stretch(batches, batches.order(trainer.generator))
    at_once = max(1, min(MOST_STEPS, int(SECONDS / trainer.seconds_of_step))) if trainer.seconds_of_step else 1
    while stretch.is_left():
        steps = min(at_once, stretch.alike())
        sizes = stretch.sizes(steps)
        batch = stretch.batch()
        began = time.perf_counter()
        learned = _many(trainer, stretch, batch, sizes, measured) if all(sizes) else None
        if learned is None:
            stretch.go(1)
            if batch.weight is None or batch.size:  # nothing is learned from weights of 0
                yield _one(trainer, batch)
            at_once = 1
            continue
        stretch.go(len(learned.losses))
        seconds = max(time.perf_counter() - began, 1e-6) / len(learned.losses)
        trainer.seconds_of_step = seconds
        at_once = max(1, min(MOST_STEPS, int(SECONDS / seconds), 16 * len(learned.losses)))
        yield learned


def _many(trainer: Trainer, stretch: _Stretch, batch: Batch, sizes: list[float], measured: bool) -> Learned | None:
    """Learn from the next batches, of these sizes, in one native call; None if that cannot be."""
    batches, steps = stretch.batches, len(sizes)
    order = stretch.rows(steps)
    found = trainer.learn_from(batch, batches.source, order, steps, outputs=measured)
    if found is None or not found[0]:
        return None
    done, losses, outputs, rate = found
    targets = None
    if measured and outputs is not None:
        targets = batches.y.take(order[: done * (len(order) // steps)], axis=0)
        outputs = outputs[:done].reshape(len(targets), *outputs.shape[2:])
    return Learned(losses[:done].tolist(), sizes[:done], rate, targets, outputs)
