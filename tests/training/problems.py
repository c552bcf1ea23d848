"""Small networks and data that the tests of training share."""

from __future__ import annotations

from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn

Array = np.ndarray[Any, np.dtype[Any]]
TIMES = ("seconds",)  # columns of a history that no seed decides


def classes(rows: int = 60, features: int = 3, kinds: int = 3, seed: int = 0) -> tuple[Array, Array]:
    """Points around one centre per class, which a small network tells apart."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(kinds, features)) * 2
    y = random.integers(0, kinds, rows)
    return (centres[y] + random.normal(size=(rows, features))).astype(np.float32), y


def numbers(rows: int = 60, features: int = 3, outputs: int = 1, seed: int = 0) -> tuple[Array, Array]:
    """Targets that depend on the inputs, with some noise; [rows] for one output."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, features)).astype(np.float32)
    weights = np.random.default_rng(98).normal(size=(features, outputs))
    y = (np.tanh(X @ weights) + 0.1 * random.normal(size=(rows, outputs))).astype(np.float32)
    return X, y[:, 0] if outputs == 1 else y


def network(inputs: int = 3, outputs: int = 3, *, seed: int = 0, hidden: int = 6) -> nn.Sequential:
    cr.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs))


def rich_network(inputs: int = 3, outputs: int = 3, *, seed: int = 0) -> nn.Sequential:
    """All that changes while training beside the weights: dropout's draws, batch norm's statistics."""
    cr.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, outputs))


def trainer(model: nn.Module, **options: Any) -> cr.Trainer:
    """A silent trainer of few epochs."""
    return cr.Trainer(model, **{"progress": False, "epochs": 3, "batch_size": 16, **options})


def state_bits(model: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


def rows_without_times(history: cr.History) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name not in TIMES} for row in history]


class Recorder(cr.Callback):
    """Writes down every event."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.losses: list[float] = []
        self.outputs: list[Array] = []
        self.rates: list[float] = []

    def on_train_begin(self, trainer: cr.Trainer) -> None:
        self.events.append(("train begin",))

    def on_epoch_begin(self, trainer: cr.Trainer, epoch: int) -> None:
        self.events.append(("epoch begin", epoch))

    def on_batch_end(self, trainer: cr.Trainer, epoch: int, batch: int, loss: float, outputs: cr.Tensor) -> None:
        self.events.append(("batch end", epoch, batch))
        self.losses.append(loss)
        self.outputs.append(outputs.numpy().copy())
        self.rates.append(trainer.optimizer.param_groups[0]["lr"])

    def on_epoch_end(self, trainer: cr.Trainer, epoch: int, row: dict[str, float]) -> None:
        self.events.append(("epoch end", epoch))

    def on_train_end(self, trainer: cr.Trainer) -> None:
        self.events.append(("train end",))


class StopAt(cr.Callback):
    """Stops training after one batch of one epoch."""

    def __init__(self, epoch: int, batch: int, why: str = "callback") -> None:
        self.epoch, self.batch, self.why = epoch, batch, why

    def on_batch_end(self, trainer: cr.Trainer, epoch: int, batch: int, loss: float, outputs: cr.Tensor) -> None:
        if (epoch, batch) == (self.epoch, self.batch):
            trainer.stop(self.why)
