"""How often a fit has the model's weights in memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

WIDTH = 256
WEIGHTS = 4 * 3 * WIDTH * (WIDTH + 1)  # bytes
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((64, WIDTH), np.float32), RNG.standard_normal((64, WIDTH), np.float32)


@pytest.fixture(autouse=True)
def on_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "0")


def trainer(*, keep_best: bool) -> cr.Trainer:
    cr.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(WIDTH, WIDTH) for _ in range(3)])
    optimizer = cr.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    made = cr.Trainer(model, optimizer=optimizer, loss="mse", epochs=2, progress=False, keep_best=keep_best)
    made.fit((X, Y))
    return made


def copies_of(trainer: cr.Trainer) -> float:
    """How many copies of the weights are held beside the model and the optimizer."""
    held = {}
    assert trainer.kept is not None
    assert trainer.left is not None
    for weights in (trainer.kept.weights, trainer.left.weights, trainer.best.weights if trainer.best else None):
        held.update({id(array): array.nbytes for array in (weights or {}).values()})
    states = sum(v.numpy().nbytes for held in trainer.kept.optimizer["state"].values() for v in held.values())
    return (sum(held.values()) + states) / WEIGHTS


def test_what_is_left_in_the_model_is_kept_once() -> None:
    assert copies_of(trainer(keep_best=False)) == 2  # where training stands: the weights, their momentum
    assert copies_of(trainer(keep_best=True)) == 2  # which are the best ones
    worse = trainer(keep_best=True)
    worse.epochs, worse.optimizer.param_groups[0]["lr"] = 3, 100.0
    worse.fit((X, Y))
    assert worse.history.best_epoch == 2
    assert copies_of(worse) == 3  # and the best ones


def test_to_go_on_takes_no_copy_beside_where_training_stands() -> None:
    one = trainer(keep_best=False)
    one.epochs += 1
    tracemalloc.start()
    try:
        one._take_up(*one.left.changed(one))  # type: ignore[union-attr]
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert max(held, peak) < WEIGHTS / 2
    assert one.kept is None
    assert one.left is None


def test_weights_that_were_changed_since_are_found() -> None:
    one = trainer(keep_best=False)
    last = [*one.model.parameters()][-1]
    assert one.left is not None
    assert one.left.changed(one)[0] is None
    with cr.no_grad():
        last[-1] += 1
    changed = one.left.changed(one)[0]
    assert changed is not None
    assert changed["2.bias"].tolist() == last.tolist()
