"""Parameter groups that are reordered between runs of a compiled step: each parameter has the rates of its group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

X = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
Y = np.arange(12) % 3


@pytest.fixture(params=["interpreter", "native"], autouse=True)
def engine(request: Any, monkeypatch: Any) -> None:
    """Each engine in turn."""
    monkeypatch.setenv("CHAINRULE_COMPILE", "1" if request.param == "native" else "0")


def reverse(o: Any) -> None:
    o.param_groups.reverse()


def swap(o: Any) -> None:
    o.param_groups[0], o.param_groups[1] = o.param_groups[1], o.param_groups[0]


def assign(o: Any) -> None:
    o.param_groups = [dict(group) for group in o.param_groups[::-1]]


def swap_params(o: Any) -> None:
    one, other = o.param_groups
    one["params"], other["params"] = other["params"], one["params"]


def move(o: Any) -> None:
    fewer, more = sorted((group["params"] for group in o.param_groups[::-1]), key=len)
    fewer.insert(0, more.pop())


def made(kind: Any) -> tuple[Any, Any]:
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    groups = [
        {"params": list(model[0].parameters()), "lr": 0.3},
        {"params": list(model[2].parameters()), "lr": 0.001},
    ]
    return model, kind(groups, lr=0.1)


def weights(model: Any) -> list[Any]:
    return [p.detach().numpy().copy() for p in model.parameters()]


def check(compiled: list[Any], eager: list[Any]) -> None:
    for one, other in zip(compiled, eager, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
@pytest.mark.parametrize("change", [reverse, swap, assign, swap_params, move])
def test_a_step_after_groups_changed_places(kind: Any, change: Callable[[Any], None]) -> None:
    found = []
    for is_compiled in (True, False):
        model, o = made(kind)

        def step(a: Any, b: Any, model: Any = model, o: Any = o) -> Any:
            loss = nn.functional.cross_entropy(model(a), b)
            o.zero_grad()
            loss.backward()
            o.step()
            return loss

        x, y = cr.tensor(X[:4]), cr.tensor(Y[:4])
        run: Any = cr.compile(step) if is_compiled else step
        run(x, y)
        change(o)
        run(x, y)
        run(x, y)
        change(o)
        if is_compiled:
            run.over(X, Y, batch_size=4)
            change(o)
            run.repeat(x, y, times=3)
        else:
            for k in range(0, 12, 4):
                step(cr.tensor(X[k : k + 4]), cr.tensor(Y[k : k + 4]))
            change(o)
            for _ in range(3):
                step(x, y)
        found.append(weights(model))
    check(*found)


def test_a_callback_of_fit_that_reverses_the_groups() -> None:
    found = []
    for is_compiled in (True, False):
        model, o = made(optim.SGD)

        def after_epoch(trainer: Any, epoch: int, row: Any, o: Any = o) -> None:
            if epoch in (1, 3):
                o.param_groups.reverse()

        cr.fit(
            model, (X, Y), optimizer=o, epochs=5, batch_size=4, seed=0, keep_best=False, progress=False,
            compile=is_compiled, callbacks=[after_epoch],
        )  # fmt: skip
        found.append(weights(model))
    check(*found)


def test_zero_grad_alone_clears_the_parameters_that_are_there() -> None:
    model, o = made(optim.SGD)
    kept = model[2].bias

    @cr.compile
    def clear(a: Any) -> Any:
        o.zero_grad()
        return a * 2

    clear(cr.ones(1))
    assert o.param_groups[1]["params"].pop() is kept
    kept.grad = cr.ones(3)
    clear(cr.ones(1))
    assert kept.grad is not None


def test_the_same_parameters_in_other_lists_and_groups_cost_no_trace() -> None:
    model, o = made(optim.SGD)

    @cr.compile
    def step(a: Any, b: Any) -> Any:
        loss = nn.functional.cross_entropy(model(a), b)
        o.zero_grad()
        loss.backward()
        o.step()
        return loss

    x, y = cr.tensor(X), cr.tensor(Y)
    step(x, y)
    o.param_groups = [{**group, "params": [*group["params"]], "lr": 0.2} for group in o.param_groups]
    step(x, y)
    assert len(step.graphs) == 1
