"""Tensors that code keeps or returns, and that ask for their gradient: they do so, and have it, as in the same code run eagerly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

F = nn.functional
X = np.arange(12, dtype=np.float32).reshape(4, 3) / 10


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


class Network(nn.Module):
    """Two layers; ``look`` is called with the network, its input and what is between them, and returns these two."""

    def __init__(self, look: Callable[[Any, Any, Any], tuple[Any, Any]]) -> None:
        super().__init__()
        self.first, self.second, self.look = nn.Linear(3, 4), nn.Linear(4, 2), look

    def forward(self, x: Any) -> Any:
        x, _ = self.look(self, x, None)
        _, h = self.look(self, x, self.first(x).tanh())
        return self.second(h)


def keeps_its_input(network: Any, x: Any, h: Any) -> tuple[Any, Any]:
    if h is None:
        x = network.seen = x.detach().requires_grad_()
    return x, h


def keeps_what_is_between(network: Any, x: Any, h: Any) -> tuple[Any, Any]:
    if h is not None:
        h.retain_grad()
        network.seen = h
    return x, h


def keeps_several(network: Any, x: Any, h: Any) -> tuple[Any, Any]:
    if h is not None:
        h.retain_grad()
        network.seen = {"h": h, "twice": 2 * h}
    return x, h


def kept(network: Any) -> list[Any]:
    seen = network.seen
    return list(seen.values()) if isinstance(seen, dict) else [seen]


@pytest.mark.parametrize("look", [keeps_its_input, keeps_what_is_between, keeps_several])
def test_what_a_network_keeps_has_its_gradient_after_a_step(look: Any) -> None:
    found = []
    for compiled in (False, True):
        cr.manual_seed(0)
        network = Network(look)
        optimizer = cr.optim.SGD(network.parameters(), lr=0.1)

        def step(x: Any, network: Any = network, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = (network(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        run = cr.compile(step) if compiled else step
        rows = []
        for x in (cr.tensor(X), cr.tensor(X[::-1].copy()), cr.tensor(X)):
            run(x)
            rows.append([None if y.grad is None else y.grad.tolist() for y in kept(network)])
        if compiled:
            losses = run.repeat(x, times=3)
        else:
            losses = cr.stack([run(x).detach() for _ in range(3)])
        rows.append([None if y.grad is None else y.grad.tolist() for y in kept(network)])
        found.append((rows, losses.tolist()))
    (expected, losses), (ours, our_losses) = found
    np.testing.assert_allclose(our_losses, losses, rtol=1e-5)
    for left, right in zip(ours, expected, strict=True):
        assert [x is None for x in left] == [x is None for x in right]
        for x, y in zip(left, right, strict=True):
            if y is not None:
                np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-7)


def test_what_is_returned_asks_for_its_gradient_where_the_code_asked() -> None:
    @cr.compile
    def split(x: Any) -> Any:
        return (2 * x).requires_grad_(), x.detach()

    for _ in range(3):
        weight, plain = split(cr.tensor(X))
        assert [weight.requires_grad, weight.is_leaf, plain.requires_grad] == [True, True, False]
        (weight**2).sum().backward()
        np.testing.assert_allclose(weight.grad.numpy(), 4 * X, rtol=1e-6)


class Box:
    """Holds a weight."""

    def __init__(self) -> None:
        self.weight = cr.ones(3, 2).requires_grad_()


def descends(box: Any, loss: Any, optimizer: Any) -> None:
    loss.backward()
    gradient = box.weight.grad
    optimizer.step()
    with cr.no_grad():
        box.weight = (box.weight - 0.1 * gradient).requires_grad_()


def shrinks(box: Any, loss: Any, optimizer: Any) -> None:
    loss.backward()
    optimizer.step()
    box.weight = (0.9 * box.weight).detach().requires_grad_()


def shrinks_without_tape(box: Any, loss: Any, optimizer: Any) -> None:
    loss.backward()
    optimizer.step()
    with cr.no_grad():
        box.weight = 0.9 * box.weight


@pytest.mark.filterwarnings("ignore:step was traced 8 times")
@pytest.mark.parametrize("is_known", [False, True], ids=["unknown", "known to the optimizer"])
@pytest.mark.parametrize("way", [descends, shrinks, shrinks_without_tape])
def test_a_weight_that_is_replaced_is_the_one_that_learns(way: Any, is_known: bool) -> None:
    found = []
    for compiled in (False, True):
        box, other = Box(), cr.full((3, 2), 0.5).requires_grad_()
        optimizer = cr.optim.SGD([other, box.weight] if is_known else [other], lr=0.1)

        def step(x: Any, box: Any = box, other: Any = other, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = ((x @ box.weight @ other.T) ** 2).mean()
            way(box, loss, optimizer)
            return loss

        run = cr.compile(step) if compiled else step
        x, rows = cr.tensor(X), []
        for k in range(8):
            loss = run(x)
            rows.append(
                [loss.item(), *box.weight.flatten().tolist(), *other.flatten().tolist(), box.weight.requires_grad]
            )
            if k == 3:  # by code outside
                box.weight = cr.full((3, 2), 0.3).requires_grad_(box.weight.requires_grad)
        if compiled:
            run.repeat(x, times=4)
        else:
            [run(x) for _ in range(4)]
        learned = [p for group in optimizer.param_groups for p in group["params"]]
        rows.append([number for p in (box.weight, *learned) for number in p.flatten().tolist()])
        found.append(rows)
    for left, right in zip(*found, strict=True):
        np.testing.assert_allclose(right, left, rtol=1e-4)
