"""The summary of a network: rows, totals, text."""

from __future__ import annotations

from typing import Any

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ChainruleError


def test_the_text_of_a_summary() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10))
    assert str(nn.summary(model, (32, 1, 28, 28))).splitlines() == [
        "Sequential",
        "layer  type         output shape  parameters  learned     memory",
        "----------------------------------------------------------------",
        "0      Flatten      (32, 784)              0        0   98.0 KiB",
        "1      Linear       (32, 128)        100,480  100,480  408.5 KiB",
        "2      BatchNorm1d  (32, 128)            256      256   17.0 KiB",
        "3      ReLU         (32, 128)              0        0   16.0 KiB",
        "4      Linear       (32, 10)           1,290    1,290    6.3 KiB",
        "----------------------------------------------------------------",
        "parameters: 102,026 (102,026 learned, 0 fixed)",
        "memory: parameters 398.5 KiB, buffers 1.0 KiB, outputs of the layers 147.2 KiB",
    ]


def test_a_summary_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout())
    model[1].eval()
    before = {key: value.clone().tolist() for key, value in model.state_dict().items()}
    nn.summary(model, (5, 3))
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert {key: value.tolist() for key, value in model.state_dict().items()} == before
    assert not any(m._hooked for m in model.modules())


def test_a_model_of_ones_own_with_shared_and_fixed_parts() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, 4)
            self.shared = nn.Linear(4, 4)
            self.scale = nn.Parameter(cr.ones(4))

        def forward(self, ids: cr.Tensor, factor: float) -> Any:
            return {"out": self.shared(self.shared(self.embed(ids))) * self.scale * factor}

    model = Net()
    model.embed.requires_grad_(False)
    found = nn.summary(model, (cr.tensor([[1, 2]]), 2.0))
    assert [(row.path, row.output_shape, row.num_parameters) for row in found.rows] == [
        ("embed", (1, 2, 4), 40), ("shared", (1, 2, 4), 20), ("shared", (1, 2, 4), 0), ("(the model)", (1, 2, 4), 4),
    ]  # fmt: skip
    assert (found.num_parameters, found.num_learned) == (64, 24)
    assert "parameters: 64 (24 learned, 40 fixed)" in repr(found)


def test_an_example_can_be_a_tensor() -> None:
    assert nn.summary(nn.Linear(2, 3), cr.ones(7, 2)).rows[0].output_shape == (7, 3)


def test_an_input_that_does_not_fit_is_told_from_its_layer_and_leaves_no_hooks() -> None:
    model = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(ChainruleError, match=r"layer 0 \(Linear\): expected 2 features"):
        nn.summary(model, (1, 5))
    assert not model[0]._hooked
    for wrong in ("text", (), None):
        with pytest.raises(ChainruleError, match="summary"):
            nn.summary(model, wrong)
    with pytest.raises(ChainruleError, match="expected a Module"):
        nn.summary(cr.relu, (1, 2))  # type: ignore[arg-type]  # wrong on purpose
