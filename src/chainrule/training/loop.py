"""One call of ``fit``: epoch after epoch, until an end is reached."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import ChainruleError, DataError, NotFiniteError
from chainrule.graph import Array
from chainrule.nn.place import name_kind
from chainrule.optim.lr_scheduler import ReduceLROnPlateau
from chainrule.tensors.row_at_fault import is_refused_number
from chainrule.training.batches import ArrayBatches, Batches
from chainrule.training.epochs import Epochs, may_be_one_call
from chainrule.training.interrupt import Heard, told_of_interrupt
from chainrule.training.progress import Progress
from chainrule.training.replay import explain, explain_in_use
from chainrule.training.state import Left, first_nonfinite, set_weights, standing, weights_of
from chainrule.training.stretches import Learned, stretches

if TYPE_CHECKING:
    from chainrule.training.trainer import Trainer

PATIENCE = 0.1  # seconds after Ctrl-C for which a look at the validation rows goes on


def first_bad(losses: Array) -> int | None:
    """Return which is the first that is not finite; None if all are."""
    finite = np.isfinite(losses)
    return None if finite.all() else int(finite.argmin())


class Loop:
    """Trains on ``batches`` and looks at ``val`` after each epoch. What lasts is in the trainer."""

    def __init__(self, trainer: Trainer, batches: Batches, val: ArrayBatches | None) -> None:
        self.trainer = trainer
        self.batches = batches
        self.val = val
        self.began = time.monotonic() - trainer.history.seconds
        self.progress = Progress(
            trainer.epochs, batches.count, done=len(trainer.history), wanted=trainer.progress
        )  # fmt: skip
        self.in_epoch = False
        self.has_looked = self.is_compiling = False
        trainer.before_learning = self.compile
        self.heard = Heard()
        self.written = -1  # epochs done when the checkpoint was written

    def run(self) -> None:
        """Train until an end is reached; leave the model with the best weights, in eval mode.

        Raises KeyboardInterrupt for a second Ctrl-C; for the first one, where no epoch was begun or where training was
        over before it: after everything was kept.
        """
        trainer = self.trainer
        trainer.why_stop = ""
        with told_of_interrupt(lambda: trainer.stop("interrupted")) as self.heard:
            try:
                trainer.tell("on_train_begin")
                if found := first_nonfinite(trainer.tensors()):
                    raise NotFiniteError(f"{found} before training", expected="finite numbers")
                self.write_checkpoint()
                many = Epochs(self) if may_be_one_call(self) else None
                while not self.is_over():
                    if many is None or not many.learn():
                        self.epoch()
            finally:
                self.heard.raises_from = math.inf  # what is put back and kept is so as a whole
                self.progress.close()
                trainer.history.seconds = self.seconds()
                if self.in_epoch:  # an error: as if the epoch had not begun
                    self.undo()
            trainer.history.stopped = trainer.why_stop
            self.leave()
            self.write_checkpoint()
            trainer.tell("on_train_end")
        if self.heard.count and (trainer.why_stop != "interrupted" or not len(trainer.history)):
            raise KeyboardInterrupt

    def compile(self, prepare: Callable[[], None]) -> None:
        """Let ``prepare`` compile the step, which Ctrl-C interrupts at once, and tell what will run it."""
        self.is_compiling = True
        with self.heard.at_once():
            if self.heard.count:
                raise KeyboardInterrupt
            prepare()
        self.is_compiling = False
        self.progress.tell(self.trainer.engine())

    def undo(self) -> None:
        """Let all be as if the epoch had not begun."""
        self.trainer.go_back()
        self.trainer.kept = None
        self.in_epoch = False

    def look(self) -> dict[str, float]:
        """Look at the validation rows; return {} where Ctrl-C came too early, or too long before the end, to wait for it."""
        assert self.val is not None
        is_first, self.has_looked = not self.has_looked, True  # the first one compiles
        if is_first and self.heard.count:
            return {}
        try:
            with self.heard.at_once(wanted=is_first):
                return self.trainer.look(self.val, "val_", lambda: self.heard.seconds_ago() > PATIENCE)
        except KeyboardInterrupt:
            if self.heard.count > 1:
                raise
            return {}

    def epoch(self) -> None:
        """Learn from every batch once, look at the validation rows, and write a row of the history."""
        trainer, number = self.trainer, len(self.trainer.history) + 1
        trainer.tell("on_epoch_begin", number)
        if trainer.why_stop:
            return
        trainer.kept = None  # before there is another one: it is as large as the model and the optimizer's state
        trainer.kept, self.in_epoch = standing(trainer), True
        try:
            row, part = self.learn(number)
        except KeyboardInterrupt:
            if self.heard.count > 1 or not self.is_compiling:
                raise
            self.undo()
            return
        if self.val is not None:
            looked = self.look()
            if not looked and len(trainer.history):
                self.undo()
                return
            if not looked:  # in the first epoch: without what was learned there would be nothing
                part = part or "all batches, but no look at the validation rows"
            row.update(looked)
            if looked and not math.isfinite(row["val_loss"]):
                raise explain_in_use(trainer, self.val, f"epoch {number}: the validation loss is {row['val_loss']}")
        row["lr"] = self.rate
        row["seconds"] = round(self.seconds(), 3)
        trainer.history.append(row)
        trainer.history.partial = part
        is_best = self.keep_if_best(row)
        if not part:
            self.step_schedule(row)
            trainer.kept = None
        self.in_epoch = False
        self.progress.epoch(number, row, best=is_best)
        trainer.tell("on_epoch_end", number, row)
        if not part and number % trainer.checkpoint_every == 0:
            self.write_checkpoint()

    def learn(self, epoch: int) -> tuple[dict[str, float], str]:
        """Learn from every batch; return a row of the history, and what part was done if the epoch was ended early."""
        trainer = self.trainer
        measured: list[tuple[np.ndarray, np.ndarray]] | None = [] if self.val is None and trainer.metrics else None
        total = size = 0.0
        number, part = 0, ""
        trainer.model.train()
        learning = stretches(trainer, self.batches, measured=measured is not None)
        for learned in self.told_where(learning):
            if learned is None:
                part = f"{number} of {self.batches.count or 'more'} batches"
                break
            self.rate = learned.rate
            losses, weights = learned.losses, learned.sizes
            k = first_bad(losses)
            if k is not None:
                self.explain(f"epoch {epoch}, batch {number + k + 1}: the loss is {losses[k]}")
            number += len(losses)
            # added one after the other, as if they had come so
            total = float(np.concatenate(([total], losses * weights)).cumsum()[-1])
            size = float(np.concatenate(([size], weights)).cumsum()[-1])
            if measured is not None and learned.targets is not None and learned.outputs is not None:
                measured.append((learned.targets, learned.outputs))
            if learned.last is not None:
                for callback in trainer.callbacks:
                    callback.on_batch_end(trainer, epoch, number, float(learned.losses[-1]), learned.last)
            self.progress.batch(len(learned.losses))
            if trainer.time_limit is not None and self.seconds() > trainer.time_limit:
                trainer.stop("time")
        if not number:
            raise DataError(f"{self.batches.name}: the iterable gave no batch", expected="at least one batch (X, y)")
        if found := first_nonfinite(trainer.tensors(), trainer.optimizer):
            self.explain(f"epoch {epoch}: {found} after batch {number}")
        row = {"epoch": epoch, "train_loss": total / size}
        if measured is not None:
            targets, outputs_ = (np.concatenate(parts) for parts in zip(*measured, strict=True))
            row.update(trainer.measured(targets, outputs_, "train_"))
        return row, part

    def told_where(self, learning: Iterator[Learned | None]) -> Iterator[Learned | None]:
        """Yield what is learned; say of an index that is refused in which batch, and row of the data, it is."""
        done = 0
        try:
            for learned in learning:
                yield learned
                done += 0 if learned is None else len(learned.losses)
                del learned  # before there is a next one
        except ChainruleError as error:
            if is_refused_number(error):
                name_kind(error, self.trainer.model)
                row = self.batches.row_at_fault(error, done) if isinstance(self.batches, ArrayBatches) else None
                error.what += f", in batch {done + 1}" + ("" if row is None else f", row {row} of {self.batches.name}")
            raise

    def explain(self, seen: str) -> None:
        """Raise the error that says where the first value that is not finite came from."""
        self.trainer.go_back()
        raise explain(self.trainer, self.batches, seen)

    # -- between epochs -----------------------------------------------------------------------------------------------

    def keep_if_best(self, row: dict[str, float]) -> bool:
        """Note, and keep, the weights of the best epoch so far."""
        trainer = self.trainer
        assert trainer.best is not None  # fit made it
        if trainer.best.name not in row:
            return False
        if not trainer.best.see(row, len(trainer.history)):
            return False
        trainer.history.best_epoch = trainer.best.epoch
        if trainer.keep_best:
            trainer.best.weights = weights_of(trainer.tensors())
        return True

    def step_schedule(self, row: dict[str, float]) -> None:
        """Let the learning rate follow its schedule, if it does so by epoch."""
        scheduler, best = self.trainer.scheduler, self.trainer.best
        if isinstance(scheduler, ReduceLROnPlateau) and best is not None:
            scheduler.step(row[best.name])
        elif scheduler is not None and not self.trainer.steps_by_batch:
            scheduler.step()

    def is_over(self) -> bool:
        """Say whether training ends here, and note why."""
        trainer, best = self.trainer, self.trainer.best
        if trainer.why_stop:
            return True
        row = trainer.history.rows[-1] if len(trainer.history) else None
        if row is not None and best is not None and best.name in row:
            if trainer.target is not None and best.reaches(row, trainer.target):
                trainer.stop("target")
            elif trainer.patience is not None and best.since >= trainer.patience:
                trainer.stop("early stopping")
        if trainer.time_limit is not None and self.seconds() > trainer.time_limit:
            trainer.stop("time")
        if len(trainer.history) >= trainer.epochs:
            trainer.stop("epochs")
        return bool(trainer.why_stop)

    def leave(self) -> None:
        """Put the best weights into the model, and remember where training stands."""
        trainer, best = self.trainer, self.trainer.best
        weights = None
        if trainer.kept is None:
            trainer.kept = standing(trainer)
            weights = trainer.kept.weights
        if trainer.keep_best and best is not None and best.weights is not None:
            set_weights(trainer.tensors(), best.weights)
            weights = best.weights  # never written into
        trainer.left = Left.by(trainer, weights_of(trainer.tensors()) if weights is None else weights)
        trainer.model.eval()

    def write_checkpoint(self) -> None:
        """Write the state of training, if that is asked for and it changed since."""
        trainer = self.trainer
        done = len(trainer.history) - bool(trainer.history.partial)
        if trainer.checkpoint is not None and self.written != done:
            trainer.save(trainer.checkpoint)
            self.written = done

    def seconds(self) -> float:
        """Return how long training has taken, earlier calls included."""
        return time.monotonic() - self.began
