"""An epoch's batches, learned from one by one or, where nothing has to happen between them, many in one native call.

Control comes back about every tenth of a second, for progress, Ctrl-C and the time limit. Where it comes back changes no
result: the batches, their order and their sums are those of learning from one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
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

    losses: Array
    sizes: Array
    rate: float
    targets: Array | None
    outputs: Array | None
    last: Tensor | None = None


def stretches(trainer: Trainer, batches: Batches, *, measured: bool) -> Iterator[Learned]:
    """Learn from every batch of an epoch."""
    if isinstance(batches, ArrayBatches) and _may_hurry(trainer, batches):
        yield from _Hurry(trainer, batches, measured).run()
        return
    yield from map(partial(_one, trainer), batches.epoch(trainer.generator))  # which keeps no batch


def _one(trainer: Trainer, batch: Batch) -> Learned:
    rate = trainer.rate
    loss, outputs = trainer.learn(batch)
    return Learned(np.array([loss]), np.array([float(batch.size)]), rate, batch.y._value, outputs._value, outputs)


def _may_hurry(trainer: Trainer, batches: ArrayBatches) -> bool:
    listens = any(type(callback).on_batch_end is not Callback.on_batch_end for callback in trainer.callbacks)
    return trainer.compile and not listens and len(batch_starts(len(batches.rows), batches.batch_size)) > 2


class _Hurry:
    """One epoch of arrays, in as few calls as the clock allows."""

    def __init__(self, trainer: Trainer, batches: ArrayBatches, measured: bool) -> None:
        self.trainer, self.batches, self.measured = trainer, batches, measured
        self.order = batches.order(trainer.generator)
        self.starts = [*batch_starts(len(self.order), batches.batch_size), len(self.order)]
        weight = batches.row_weight
        self.weight = None if weight is None else weight.take(self.order)
        self.rate = trainer.rate

    def run(self) -> Iterator[Learned]:
        """Learn from every batch."""
        k, count, at_once = 0, len(self.starts) - 1, 1
        while k < count:
            alike = self._alike(k)
            steps = min(at_once, alike)
            began = time.perf_counter()
            learned = self._many(k, steps) if k and alike > 1 else None
            if learned is None:
                learned = self._single(k)
                k += 1
                if learned is not None:
                    yield learned
                    at_once = 1
                continue
            k += len(learned.losses)
            seconds = max(time.perf_counter() - began, 1e-6)
            at_once = max(1, min(MOST_STEPS, int(len(learned.losses) * min(SECONDS / seconds, 16))))
            yield learned

    def _single(self, k: int) -> Learned | None:
        """Learn from a batch by itself; None for one that counts for nothing."""
        batch = self.batches.batch(self.order[self.starts[k] : self.starts[k + 1]])
        return None if batch.weight is not None and not batch.size else _one(self.trainer, batch)

    def _alike(self, k: int) -> int:
        """Return how many batches from ``k`` on have its size and count for something."""
        starts = self.starts
        size = starts[k + 1] - starts[k]
        whole = len(starts) - 1 - k if starts[-1] - starts[-2] == size else len(starts) - 2 - k
        return max(whole, 1)

    def _many(self, k: int, steps: int) -> Learned | None:
        trainer, batches = self.trainer, self.batches
        start, stop = self.starts[k], self.starts[k + steps]
        size = self.starts[k + 1] - start
        sizes = np.full(steps, float(size))
        if self.weight is not None:
            sizes = self.weight[start:stop].reshape(steps, size).sum(axis=1, dtype=np.float64)
            if not sizes.all():
                return None
        order = self.order[start : stop + size]  # with the next batch: its rows are asked for ahead
        found = trainer.learn_from(
            batches.like(size), (batches.X, batches.y, batches.row_weight), order, steps, outputs=self.measured
        )
        if found is None or not found[0]:
            return None
        done, losses, outputs, rate = found
        targets = batches.y.take(order[: done * size], axis=0) if self.measured else None
        if outputs is not None:
            outputs = outputs[:done].reshape(done * size, *outputs.shape[2:])
        return Learned(losses[:done].astype(np.float64), sizes[:done], rate, targets, outputs)
