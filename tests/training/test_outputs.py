"""The outputs that are measured, and given to callbacks: those before the improvement, whatever memory they look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

X, y = np.zeros((40, 1)), np.ones(40, int)


@pytest.fixture(params=["native", "interpreted", "eager"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))
    return {"compile": request.param != "eager", "progress": False}


class Bias(nn.Module):
    """Says the same of each batch: a view of what it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(cr.tensor([[0.05, 0.0]] * 10, dtype=cr.float64))

    def forward(self, x: Any) -> Any:
        return self.bias[: x.shape[0]]


class Itself(Bias):
    def forward(self, x: Any) -> Any:
        return self.bias if len(x) == 10 else self.bias[: len(x)]


class Right(cr.Callback):
    def __init__(self) -> None:
        self.parts: list[float] = []

    def on_batch_end(self, trainer: Any, epoch: int, batch: int, loss: float, output: Any) -> None:
        self.parts.append(float((output.numpy().argmax(1) == 1).mean()))


@pytest.mark.parametrize("model", [Bias, Itself])
def test_outputs_that_look_at_a_parameter_are_those_before_the_improvement(how: Any, model: type[Bias]) -> None:
    # The scores of a row differ by 0.05; a step takes 2 · lr / 10 · 1/2 = 0.02 of it: right after three.
    options = {"optimizer": "sgd", "lr": 0.2, "epochs": 1, "batch_size": 10, "metrics": ["accuracy"], **how}
    assert cr.fit(model(), (X, y), **options)["train_accuracy"] == [0.25]
    right = Right()
    cr.fit(model(), (X, y), callbacks=[right], **options)
    assert right.parts == [0, 0, 0, 1]
