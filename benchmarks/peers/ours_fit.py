"""chainrule by ``cr.fit``. A module of its own: the steps alone do not load the training loop."""

from __future__ import annotations

import time
from typing import Any

import images
import numpy as np
import torch_shaped
from networks import Network

import chainrule as cr

from .ours import refuses as refuses
from .ours import versions as versions


class Epochs(cr.Callback):
    """Takes the time from the beginning of the first epoch to the end of the last, and the losses."""

    def on_train_begin(self, trainer: Any) -> None:
        self.losses: list[float] = []
        self.began = self.ended = 0.0

    def on_epoch_begin(self, trainer: Any, epoch: int) -> None:
        self.began = self.began or time.perf_counter()

    def on_epoch_end(self, trainer: Any, epoch: int, row: dict[str, float]) -> None:
        self.ended = time.perf_counter()
        self.losses.append(row["train_loss"])


class Joined(cr.nn.Module):
    """Category numbers and features come as one array of numbers, the categories first."""

    def __init__(self, model: Any, categories: int) -> None:
        super().__init__()
        self.model, self.categories = model, categories

    def forward(self, x: Any) -> Any:
        return self.model(x[:, : self.categories].long(), x[:, self.categories :])


class Fit:
    """``cr.fit``: rows shuffled in each epoch, losses by epoch. The first pass has the order of the others, to compare."""

    def __init__(self, network: Network) -> None:
        cr.manual_seed(0)
        rows = network.rows()
        model = torch_shaped.model(cr, network)
        if len(rows.columns()) > 1:
            model = Joined(model, len(network.categories))
        columns = [part.reshape(-1, part.shape[-1]) for part in rows.columns()]
        x = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1, dtype=np.float32)
        self.data = (x, rows.targets.reshape(-1, *rows.targets.shape[2:]))
        self.clock = Epochs()
        self.trainer = cr.Trainer(
            model,
            loss={"bce": "bce_with_logits"}.get(network.loss, network.loss),
            optimizer=torch_shaped.optimizer(cr, network, model.parameters()),
            batch_size=network.batch,
            clip_norm=network.clip_norm,
            epochs=1,
            keep_best=False,
            progress=False,
            callbacks=[self.clock],
        )

    def run_in_order(self, passes: int) -> list[float]:
        """Train on the batches in their order: what is given as an iterable of batches is not shuffled."""
        size = self.trainer.batch_size
        x, y = self.data
        batches = [(x[k : k + size], y[k : k + size]) for k in range(0, len(x), size)]
        return self._fit(batches, passes)

    def run(self, passes: int) -> Any:
        return self._fit(self.data, passes)

    def _fit(self, data: Any, passes: int) -> list[float]:
        self.trainer.epochs = len(self.trainer.history) + passes
        self.trainer.fit(data)
        self.seconds = self.clock.ended - self.clock.began
        return self.clock.losses


class Images:
    """An epoch of images by ``cr.fit``: shuffled, validated. ``run`` returns the accuracy after each epoch."""

    def __init__(self, found: images.Images) -> None:
        cr.manual_seed(0)
        network = images.NETWORK
        model = torch_shaped.model(cr, network)
        self.data = (found.x, found.y)
        self.val = (found.val_x, found.val_y)
        self.clock = Epochs()
        self.trainer = cr.Trainer(
            model,
            loss="cross_entropy",
            optimizer=torch_shaped.optimizer(cr, network, model.parameters()),
            batch_size=network.batch,
            metrics=["accuracy"],
            normalize=(0, 255),
            epochs=1,
            keep_best=False,
            progress=False,
            callbacks=[self.clock],
        )

    def run(self, epochs: int) -> list[float]:
        self.trainer.epochs = len(self.trainer.history) + epochs
        self.trainer.fit(self.data, val=self.val)
        self.seconds = self.clock.ended - self.clock.began
        return [row["val_accuracy"] for row in self.trainer.history.rows[-epochs:]]
