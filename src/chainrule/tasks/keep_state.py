"""Keeps the training state of the last whole epoch on disk, so that a run that is killed or stopped can go on."""

from __future__ import annotations

import time
from pathlib import Path

from chainrule.training import Callback, Trainer

SECONDS_BETWEEN = 5.0


class KeepState(Callback):
    """Writes the state of training to ``path``: after the first epoch, then every few seconds, and at the end.

    ``Trainer.save`` writes the last whole epoch: after Ctrl-C or a time limit training goes on to the same bits as if it
    had not been stopped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.epochs = 0  # those of the state that was written
        self._written_at = -SECONDS_BETWEEN

    def on_epoch_end(self, trainer: Trainer, epoch: int, row: dict[str, float]) -> None:
        """Write the state if the last time is long ago."""
        if time.monotonic() - self._written_at >= SECONDS_BETWEEN:
            self._write(trainer)
            self._written_at = time.monotonic()

    def on_train_end(self, trainer: Trainer) -> None:
        """Write the last whole epoch."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        trainer.save(self.path)
        self.epochs = len(trainer.history) - bool(trainer.history.partial)
