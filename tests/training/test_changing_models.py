"""Models whose hooks, layers, buffers and counters change while they run: cr.fit does what a loop does, compiled or not."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


class Trained(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.more = nn.ModuleList()

    def forward(self, x: Any) -> Any:
        y = self.linear(x)
        for layer in self.more:
            y = layer(y)
        return y


class HookedOnce(Trained):
    def __init__(self) -> None:
        super().__init__()
        self.handle = self.linear.register_forward_hook(self.once)

    def once(self, module: Any, args: Any, output: Any) -> Any:
        self.handle.remove()
        return output * 3


class HooksAdded(Trained):
    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        self.linear.register_forward_hook(lambda module, args, output: output * 0.9)
        return y


class Growing(Trained):
    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        if len(self.more) < 2:
            self.more.append(nn.Tanh())
        return y


class LazilyNormed(Trained):
    def forward(self, x: Any) -> Any:
        if not hasattr(self, "mean"):
            self.register_buffer("mean", x.mean(0))
        return super().forward(x - self.mean)


class Appending(Trained):
    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.sizes.append(int(x.shape[0]))
        self.calls += 1
        return super().forward(x) / self.calls


KINDS = [(HookedOnce, True), (HooksAdded, True), (Growing, True), (Appending, True), (LazilyNormed, False)]


@pytest.mark.filterwarnings("ignore:not compiled:UserWarning")  # its history says it too
@pytest.mark.parametrize(("kind", "is_refused"), KINDS)
def test_fit_does_what_a_loop_does(kind: Any, is_refused: bool) -> None:
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(16, 2)).astype(np.float32) + 1, rng.normal(size=(16, 1)).astype(np.float32)
    cr.manual_seed(0)
    looped = kind()
    fitted = kind()
    fitted.load_state_dict(looped.state_dict())

    optimizer = cr.optim.SGD(looped.parameters(), lr=0.1)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(looped(cr.tensor(rows)), cr.tensor(targets))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    make = functools.partial(cr.optim.SGD, lr=0.1)
    options = {"batch_size": None, "epochs": 4, "loss": "mse", "keep_best": False, "progress": False}
    history = cr.fit(fitted, (rows, targets), optimizer=make(fitted.parameters()), **options)
    np.testing.assert_allclose(history["train_loss"], losses, rtol=1e-4)
    assert any("not compiled" in note for note in history.notes) is is_refused
    assert list(fitted.state_dict()) == list(looped.state_dict())
    for name, value in fitted.state_dict().items():
        np.testing.assert_allclose(value.numpy(), looped.state_dict()[name].numpy(), rtol=1e-4, atol=1e-6)
    assert len(fitted.linear._forward_hooks) == len(looped.linear._forward_hooks)
    assert len(fitted.more) == len(looped.more)
    assert getattr(fitted, "sizes", 0) == getattr(looped, "sizes", 0)
