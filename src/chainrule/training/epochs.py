"""Several epochs in one native call, where each is one batch of all rows and nothing has to happen between them.

What each epoch's row of the history says, which epoch is best and where training ends are found out afterwards, from the
errors of all of them. Where training ought to have stood still in between, it goes back to the beginning of the call and comes
to that place again: the same steps give the same bits.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from chainrule.optim.lr_scheduler import ReduceLROnPlateau
from chainrule.training.batches import ArrayBatches, Batch
from chainrule.training.callbacks import Callback
from chainrule.training.state import Standing, Weights, first_nonfinite, put_back, standing, weights_of

if TYPE_CHECKING:
    from chainrule.training.loop import Loop
    from chainrule.training.trainer import Trainer

SECONDS = 0.1  # of one call
MOST = 100_000  # epochs of one call: each gets a row of the history
WORTH = 4  # epochs, fewer of which are learned from one by one
BETWEEN = ("on_epoch_begin", "on_batch_end", "on_epoch_end")  # what a callback must not listen to


def may_be_one_call(loop: Loop) -> bool:
    """Say whether nothing has to happen between the epochs of a call of ``fit``."""
    trainer, batches = loop.trainer, loop.batches
    listens = any(
        getattr(type(callback), event) is not getattr(Callback, event)
        for callback in trainer.callbacks
        for event in BETWEEN
    )
    return (
        trainer.compile
        and isinstance(batches, ArrayBatches)
        and batches.count == 1
        and loop.val is None
        and not (trainer.metrics or listens or trainer.steps_by_batch)
        and trainer.checkpoint is None
        and not isinstance(trainer.scheduler, ReduceLROnPlateau)
    )


class Epochs:
    """Epochs of one batch, many at once; ``loop`` learns from one at a time where that is not possible."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.at_once = 1
        self.careful = 0  # epochs that are learned from one by one, since something goes wrong in one of them

    def learn(self) -> bool:
        """Learn for several epochs, and write their rows of the history; False if the next one is better done by itself."""
        loop = self.loop
        trainer = loop.trainer
        if self.careful:
            self.careful -= 1
            return False
        done = len(trainer.history)
        count = min(self.at_once, MOST, trainer.epochs - done)
        if count < WORTH:
            self.at_once *= 4
            return False
        batches = loop.batches
        assert isinstance(batches, ArrayBatches)  # may_be_one_call said so
        batch = batches.whole()
        trainer.kept = None  # before there is another one
        start = trainer.kept = standing(trainer)
        loop.in_epoch = True
        trainer.model.train()
        began, clock = loop.seconds(), time.perf_counter()
        found = _run(trainer, batch, count)
        if found is None:
            return self._one_by_one(count)
        losses, rates = found
        took = time.perf_counter() - clock
        left = SECONDS if trainer.time_limit is None else min(SECONDS, max(trainer.time_limit - loop.seconds(), 0.0))
        self.at_once = max(WORTH, min(MOST, int(count * left / max(took, 1e-9)), 16 * count))
        rows = self._rows(losses, rates, batch.size, done, began, loop.seconds())
        whole, best = self._follow(rows)
        if not whole or first_nonfinite(trainer.tensors(), trainer.optimizer):
            return self._one_by_one(count)
        weights = None
        if trainer.keep_best and best is not None and best < whole:
            self._again(start, batch, best)
            weights = weights_of(trainer.tensors())
            _run(trainer, batch, whole - best)
        elif whole < count:
            self._again(start, batch, whole)
        if trainer.keep_best and best is not None and weights is None:
            weights = weights_of(trainer.tensors())
        self._write(rows[:whole], weights)
        return True

    def _again(self, start: Standing, batch: Batch, count: int) -> None:
        """Go back to the beginning of the call, and come as far as ``count`` epochs."""
        put_back(self.loop.trainer, start)
        _run(self.loop.trainer, batch, count)

    def _one_by_one(self, count: int) -> bool:
        """Go back: one of the epochs ends in an error, which is told when it is learned from by itself."""
        trainer = self.loop.trainer
        trainer.go_back()
        trainer.kept, self.loop.in_epoch = None, False
        self.careful, self.at_once = count, 1
        return False

    def _rows(
        self, losses: list[float], rates: list[float], size: float, done: int, began: float, ended: float
    ) -> list[dict[str, float]]:
        """Return a row of the history for each epoch, as ``Loop.epoch`` writes it."""
        share = (ended - began) / len(losses)
        return [
            {
                "epoch": done + k,
                "train_loss": (0.0 + loss * size) / size,
                "lr": rate,
                "seconds": round(began + k * share, 3),
            }
            for k, (loss, rate) in enumerate(zip(losses, rates, strict=True), 1)
        ]

    def _follow(self, rows: list[dict[str, float]]) -> tuple[int, int | None]:
        """Return how many epochs are learned from until an end is reached, and which of them (from 1) is the best, if any.

        0 epochs: an error is not finite.
        """
        trainer = self.loop.trainer
        assert trainer.best is not None  # fit made it
        best, found = trainer.best.copy(), None
        for k, row in enumerate(rows, 1):
            if not math.isfinite(row["train_loss"]):
                return 0, None
            if best.see(row, int(row["epoch"])):
                found = k
            is_at_target = trainer.target is not None and best.reaches(row, trainer.target)
            if is_at_target or (trainer.patience is not None and best.since >= trainer.patience):
                return k, found
        return len(rows), found

    def _write(self, rows: list[dict[str, float]], weights: Weights | None) -> None:
        """Write the rows and what goes with them: training stands at their end."""
        loop = self.loop
        trainer, best = loop.trainer, loop.trainer.best
        assert best is not None  # fit made it
        for row in rows:
            trainer.history.rows.append(row)
            is_best = best.see(row, len(trainer.history))
            loop.progress.batch()
            loop.progress.epoch(len(trainer.history), row, best=is_best)
        trainer.history.best_epoch = best.epoch
        if weights is not None:
            best.weights = weights
        trainer.history.partial = ""
        trainer.kept, loop.in_epoch = None, False
        loop.rate = rows[-1]["lr"]


def _run(trainer: Trainer, batch: Batch, count: int) -> tuple[list[float], list[float]] | None:
    """Learn from a batch so many times; return the error and the rate of each time, None if it could not be done."""
    rates: list[float] = []
    losses = trainer.learn_again(batch, count, rates)
    return None if losses is None else (losses.tolist(), rates or [trainer.rate] * count)
