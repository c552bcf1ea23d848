"""Many steps in one native call: the bits of one call after the other, and what is left where a step is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError
from chainrule.nn import functional as F

from .native import assert_native
from .random_graphs import bits


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    monkeypatch.setenv("CHAINRULE_CACHE", "off")


NETWORKS: dict[str, Callable[[], list[Any]]] = {
    "one layer": lambda: [nn.Linear(5, 4)],
    "dropout": lambda: [nn.Linear(5, 17), nn.ReLU(), nn.Dropout(0.3), nn.Linear(17, 4)],
    "batch norm": lambda: [nn.Linear(5, 9), nn.BatchNorm1d(9), nn.Tanh(), nn.Linear(9, 4)],
    "layer norm": lambda: [nn.LayerNorm(5), nn.Linear(5, 9), nn.GELU(), nn.Linear(9, 4)],
    "words": lambda: [nn.Embedding(11, 3), nn.Flatten(), nn.Linear(15, 4)],
}
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
}


def made(network: str, optimizer: str, *, clip: bool) -> tuple[Any, Any, Any]:
    cr.manual_seed(3)
    model = nn.Sequential(*NETWORKS[network]())
    update = OPTIMIZERS[optimizer](model.parameters())

    @cr.compile
    def step(x: Any, y: Any) -> Any:
        update.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        update.step()
        return loss

    return model, update, step


def rows(network: str, count: int) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    x = random.integers(0, 11, (count, 5)) if network == "words" else random.normal(size=(count, 5)).astype(np.float32)
    return x, random.integers(0, 4, count)


def state(model: Any, update: Any) -> dict[str, Any]:
    values = {name: np.array(x.detach().numpy()) for name, x in model.state_dict().items()}
    for k, part in update.state_dict()["state"].items():
        values |= {f"{k} {name}": np.array(x.numpy() if hasattr(x, "numpy") else x) for name, x in part.items()}
    return values


def assert_same_bits(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert list(a) == list(b)
    for name, value in a.items():
        assert (bits(value) == bits(b[name])).all(), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_many_steps_have_the_bits_of_one_after_the_other(network: str, optimizer: str) -> None:
    x, y = rows(network, 83)
    order = np.random.default_rng(1).permutation(83)
    model, update, step = made(network, optimizer, clip=optimizer == "sgd")
    losses = step.over(x, y, batch_size=16, order=order, passes=2).numpy()
    other, other_update, one = made(network, optimizer, clip=optimizer == "sgd")
    singles = []
    for _ in range(2):
        for start in range(0, 83, 16):
            some = order[start : start + 16]
            singles.append(float(one(cr.tensor(x[some]), cr.tensor(y[some]))))
    assert_native(step.report())
    assert (bits(losses) == bits(np.array(singles, np.float32))).all()
    assert_same_bits(state(model, update), state(other, other_update))


@pytest.mark.parametrize("network", ["one layer", "dropout", "batch norm"])
@pytest.mark.parametrize("wrong", [5, 40])
def test_a_label_that_is_none_leaves_what_the_steps_before_it_left(network: str, wrong: int) -> None:
    x, y = rows(network, 83)
    y[wrong] = 4
    model, update, step = made(network, "adamw", clip=True)
    with pytest.raises(ArgumentError, match=rf"cross_entropy: got the label 4 in row {wrong % 16} for an input of 4"):
        step.over(x, y, batch_size=16)
    other, other_update, one = made(network, "adamw", clip=True)
    starts = iter(range(0, 83, 16))

    def rest() -> None:
        for start in starts:
            one(cr.tensor(x[start : start + 16]), cr.tensor(y[start : start + 16]))

    with pytest.raises(ArgumentError, match=rf"cross_entropy: got the label 4 in row {wrong % 16} for an input of 4"):
        rest()
    assert next(starts, 96) == wrong // 16 * 16 + 16
    assert_same_bits(state(model, update), state(other, other_update))
