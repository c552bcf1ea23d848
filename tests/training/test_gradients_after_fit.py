"""Gradients that the compiled step of a fit did not keep: the advice is one that a user of fit can follow."""

from __future__ import annotations

from typing import Any

import pytest

import chainrule as cr
from chainrule.errors import GradientError
from tests.training.problems import classes, network

both_engines = pytest.mark.parametrize("native", ["0", "1"], ids=["interpreted", "native"])
FIT = r"cr.fit\(…, compile=False\) or Trainer\(…, compile=False\)"


class Reading(cr.Callback):
    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_batch_end(self, trainer: cr.Trainer, epoch: int, batch: int, loss: float, outputs: cr.Tensor) -> None:
        self.norms += [float(p.grad.abs().sum()) for p in trainer.model.parameters()]


def weight(model: cr.nn.Module) -> Any:
    return next(iter(model.parameters()))


@both_engines
def test_a_callback_that_reads_gradients_is_told_to_train_uncompiled(native: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", native)
    with pytest.raises(GradientError, match=FIT):
        cr.fit(network(), classes(), epochs=1, callbacks=[Reading()], progress=False)
    reading = Reading()
    cr.fit(network(), classes(), epochs=1, callbacks=[reading], progress=False, compile=False)
    assert reading.norms


@both_engines
def test_backward_after_a_fit_is_told_the_same_and_zero_grad_helps(native: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", native)
    model = network()
    X, _ = classes()
    cr.fit(model, classes(), epochs=1, progress=False)
    model(cr.tensor(X)).sum().backward()
    with pytest.raises(GradientError, match=f"{FIT}.*zero_grad"):
        weight(model).grad
    model.zero_grad()
    model(cr.tensor(X)).sum().backward()
    assert weight(model).grad is not None


def test_after_a_compiled_function_of_one_s_own_nothing_is_said_of_training() -> None:
    model = network()
    X, _ = classes()

    @cr.compile
    def step(x: cr.Tensor) -> None:
        model.zero_grad()
        model(x).sum().backward()

    step(cr.tensor(X))
    with pytest.raises(GradientError, match="keep_gradients=True") as told:
        weight(model).grad
    assert "compile=False" not in str(told.value)
