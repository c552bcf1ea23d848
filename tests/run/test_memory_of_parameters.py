"""Parameters and buffers whose memory is not one piece, or that are replaced between calls: in many steps as in single ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

F = nn.functional
RNG = np.random.default_rng(0)
X = RNG.standard_normal((100, 6)).astype(np.float32)
Y = (X @ RNG.standard_normal((6, 2))).astype(np.float32)
W = (0.3 * RNG.standard_normal((2, 6))).astype(np.float32)


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")


def with_gaps(step: int) -> Any:
    wide = np.zeros((2, 6 * step), np.float32)
    wide[:, ::step] = W
    return wide[:, ::step]


LAYOUTS: dict[str, Callable[[], Any]] = {
    "one piece": lambda: cr.tensor(W),
    "transposed": lambda: cr.tensor(W.T.copy()).T,
    "every second column": lambda: cr.from_numpy(with_gaps(2)),
    "the first columns of a wider one": lambda: cr.from_numpy(np.hstack([W, W]))[:, :6],
    "backwards": lambda: cr.from_numpy(np.ascontiguousarray(W[::-1, ::-1])[::-1, ::-1]),
}
RUNS = {
    "calls": lambda step: [step(X[k : k + 20], Y[k : k + 20]) for _ in range(3) for k in range(0, 100, 20)],
    "over": lambda step: step.over(X, Y, batch_size=20, passes=3),
    "repeat": lambda step: step.repeat(X, Y, times=15),
}


class Mean(nn.Module):
    """A layer that moves a buffer."""

    def __init__(self, mean: Any) -> None:
        super().__init__()
        self.register_buffer("mean", mean)

    def forward(self, x: Any) -> Any:
        with cr.no_grad():
            self.mean.mul_(0.9).add_(0.1 * x.mean())
        return x - self.mean.mean()


def trained(layout: str, run: str, optimizer: str) -> list[Any]:
    weight = LAYOUTS[layout]()
    model = nn.Sequential(
        Mean(LAYOUTS[layout]().detach().clone() if run == "calls" else LAYOUTS[layout]()), nn.Linear(6, 2)
    )
    model[1].weight, model[1].bias = nn.Parameter(weight), nn.Parameter(cr.zeros(2))
    rule = getattr(cr.optim, optimizer)(model.parameters(), lr=0.05)

    @cr.compile
    def step(x: Any, y: Any) -> Any:
        rule.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        rule.step()
        return loss

    RUNS[run](step)
    return [model[1].weight.tolist(), model[1].bias.tolist(), model[0].mean.tolist()]


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "one piece"])
def test_what_is_learned_does_not_depend_on_the_layout_of_a_weight(layout: str, run: str, optimizer: str) -> None:
    assert trained(layout, run, optimizer) == trained("one piece", run, optimizer)


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "one piece"])
def test_fit_learns_such_a_weight(layout: str) -> None:
    found = []
    for one in (layout, "one piece"):
        model = nn.Linear(6, 2, bias=False)
        model.weight = nn.Parameter(LAYOUTS[one]())
        history = cr.fit(model, (X, Y), loss="mse", optimizer="sgd", lr=0.05, epochs=5, batch_size=20, progress=False)
        found.append((history["train_loss"], model.weight.tolist()))
    assert found[0] == found[1]


@pytest.mark.parametrize("what", ["all states", "one state", "the optimizer's dict"])
@pytest.mark.parametrize("run", RUNS)
def test_a_state_of_the_optimizer_may_be_replaced_between_calls(run: str, what: str) -> None:
    found = []
    for how in ("calls", run):
        cr.manual_seed(0)
        model = nn.Linear(6, 2)
        optimizer = cr.optim.Adam(model.parameters(), lr=0.05)

        @cr.compile
        def step(x: Any, y: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        if how == "repeat":
            RUNS["repeat"](step)
        else:
            RUNS["calls" if run != "repeat" else "repeat"](step)
        if what == "all states":
            optimizer.state.clear()
        elif what == "one state":
            optimizer.state[model.weight]["exp_avg"] = cr.zeros(2, 6)
        else:
            optimizer.load_state_dict(optimizer.state_dict())
        if run == "repeat":
            for _ in range(15) if how == "calls" else ():
                step(X, Y)
            if how == "repeat":
                RUNS["repeat"](step)
        else:
            RUNS[how](step)
        found.append(model.weight.tolist())
    assert found[0] == found[1]


class Resets(cr.Callback):
    """Begins each epoch without momentum."""

    def on_epoch_end(self, trainer: Any, epoch: int, row: Any) -> None:
        for p in trainer.model.parameters():
            trainer.optimizer.state[p]["exp_avg"] = cr.zeros(*p.shape)


def test_a_callback_may_replace_a_state_between_epochs() -> None:
    found = []
    for compiled in (False, True):
        cr.manual_seed(0)
        model = nn.Linear(6, 2)
        trainer = cr.Trainer(
            model, loss="mse", epochs=4, batch_size=20, callbacks=[Resets()], progress=False, compile=compiled
        )
        trainer.fit((X, Y))
        found.append(model.weight.detach().numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)
