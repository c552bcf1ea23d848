"""Options of training, and of what gives it batches, as NumPy's numbers: as Python's, and kept as Python's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

X, y = np.linspace(-1, 1, 60, dtype=np.float32).reshape(20, 3), np.arange(20) % 2

OPTIONS: list[dict[str, Any]] = [
    {"batch_size": np.int64(8)},
    {"batch_size": np.uint8(8)},
    {"epochs": np.int32(2)},
    {"lr": np.float32(0.1)},
    {"weight_decay": np.float64(0.1), "optimizer": "adamw"},
    {"seed": np.int64(3)},
    {"patience": np.int64(2)},
    {"min_delta": np.float32(0.5)},
    {"target": np.float64(0.1)},
    {"time_limit": np.float64(900)},
    {"clip_norm": np.float32(0.5)},
    {"l1": np.float32(0.5), "l2": np.float64(0.5)},
    {"class_weight": {np.int64(0): np.float64(2), np.int64(1): np.float32(1)}},
    {"normalize": (np.float32(0), np.float32(2))},
    {"checkpoint_every": np.int64(2)},
    {"compile": np.True_, "progress": np.False_},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ", ".join(options))
def test_training_takes_options_of_numpy_as_python_s(options: dict[str, Any]) -> None:
    found = []
    plain = {name: x.item() if isinstance(x, np.generic) else x for name, x in options.items()}
    for chosen in (options, plain):
        model = nn.Sequential(nn.Linear(3, 2))
        with cr.no_grad():
            model[0].weight.copy_(cr.arange(6.0).reshape(2, 3) / 6)
            model[0].bias.zero_()
        trainer = cr.Trainer(model, **{"epochs": 3, "progress": False, **chosen})
        trainer.fit((X, y))
        found.append((trainer.history["train_loss"], model[0].weight.tolist()))
        assert not any(isinstance(value, np.generic) for value in vars(trainer).values())
    assert found[0] == found[1]


def test_samplers_and_loaders_count_by_integers_of_numpy() -> None:
    rows = TensorDataset(cr.tensor(X))
    four = np.uint8(4)
    assert [len(batch) for (batch,) in DataLoader(rows, batch_size=four)] == [4] * 5
    assert type(DataLoader(rows, batch_size=four).batch_size) is int
    assert len(list(RandomSampler(rows, replacement=True, num_samples=four))) == 4
    assert len(list(WeightedRandomSampler([1.0] * 9, four))) == 4
    assert [len(batch) for batch in BatchSampler(SequentialSampler(rows), four, False)] == [4] * 5
    assert [len(part) for part in random_split(rows, np.array([8, 12]))] == [8, 12]  # type: ignore[arg-type]  # on purpose
