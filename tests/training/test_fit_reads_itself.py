"""Losses and models that read what training has come to: the history, the trainer, the loader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.utils.data import DataLoader, TensorDataset

READS: dict[str, Callable[[Any], float]] = {
    "length of the history": lambda trainer: 0.2 * len(trainer.history),
    "rows": lambda trainer: 0.2 * len(trainer.history.rows),
    "last loss": lambda trainer: trainer.history["train_loss"][-1] if trainer.history.rows else 0.0,
    "whether it has a column": lambda trainer: float("train_loss" in trainer.history),
    "row by row": lambda trainer: sum(row["train_loss"] for row in trainer.history),
    "an option": lambda trainer: 0.1 * trainer.patience,
    "an attribute of the user's": lambda trainer: getattr(trainer, "beta", 0.0),
}


def data() -> tuple[Any, Any]:
    x = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    return x, x[:, :1] ** 2


def losses(read: Callable[[Any], float], *, compile: bool) -> list[float]:
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))

    def loss(outputs: Any, targets: Any) -> Any:
        return nn.functional.mse_loss(outputs, targets) + read(trainer) * outputs.abs().mean()

    def change(trainer: Any, epoch: int, row: Any) -> None:
        trainer.patience = 100 + epoch
        trainer.beta = 0.3 * epoch

    trainer = cr.Trainer(
        model, loss=loss, epochs=4, lr=0.01, progress=False, compile=compile, callbacks=[change], patience=100
    )
    return trainer.fit(data())["train_loss"]


@pytest.mark.parametrize("name", READS)
def test_a_loss_reads_the_trainer(name: str) -> None:
    expected = losses(READS[name], compile=False)
    np.testing.assert_allclose(losses(READS[name], compile=True), expected, rtol=1e-4)


def test_a_model_reads_its_trainer() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 1)
            self.trainer: Any = None

        def forward(self, x):
            return self.layer(x) * (1.0 if self.trainer is None else 1.0 + len(self.trainer.history))

    def fitted(*, compile: bool) -> list[float]:
        cr.manual_seed(0)
        model = Model()
        trainer = model.trainer = cr.Trainer(model, epochs=4, lr=0.01, progress=False, compile=compile)
        return trainer.fit(data())["train_loss"]

    np.testing.assert_allclose(fitted(compile=True), fitted(compile=False), rtol=1e-4)


def test_compiled_code_reads_a_loader_and_its_data() -> None:
    x = cr.tensor(data()[0])
    loader = DataLoader(TensorDataset(x), batch_size=4)
    f = cr.compile(lambda x: (x * loader.batch_size).sum() * len(loader) + loader.dataset.scale)
    loader.dataset.scale = 1.0
    small = cr.ones(2)
    assert f(small).item() == 2 * 4 * 10 + 1
    loader.dataset.scale = 3.0
    assert f(small).item() == 2 * 4 * 10 + 3
    loader.batch_size = 8
    assert f(small).item() == 2 * 8 * len(loader) + 3
