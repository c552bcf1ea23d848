"""An optimizer that a compiled function makes itself: each call makes it anew, as in eager mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import TraceError


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


RULES: dict[str, Any] = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
    "adam": lambda p: optim.Adam(p, lr=0.1),
    "adamw": lambda p: optim.AdamW(p, lr=0.1),
    "nadam": lambda p: optim.NAdam(p, lr=0.01),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5),
}


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("rule", RULES)
def test_each_call_makes_the_optimizer_anew(rule: str, steps: int) -> None:
    def run(wrap: Any) -> tuple[list[float], Any]:
        cr.manual_seed(0)
        model = nn.Linear(4, 2)

        @wrap
        def step(x: Any) -> Any:
            optimizer = RULES[rule](model.parameters())
            for k in range(steps):
                optimizer.param_groups[0]["lr"] = 0.1 / (k + 1)
                optimizer.zero_grad()
                loss = model(x).pow(2).mean()
                loss.backward()
                optimizer.step()
            return loss.detach()

        return [step(cr.ones(3, 4)).item() for _ in range(4)] + np.ravel(model.weight.tolist()).tolist(), step

    ours, step = run(cr.compile)
    np.testing.assert_allclose(ours, run(lambda f: f)[0], rtol=1e-4, atol=1e-6)
    assert len(step.graphs) == 1


def test_one_that_is_made_at_the_first_call_keeps_its_state() -> None:
    class Holder:
        optimizer: Any = None

    def run(wrap: Any) -> list[float]:
        cr.manual_seed(0)
        model, holder = nn.Linear(4, 2), Holder()

        @wrap
        def step(x: Any) -> Any:
            if holder.optimizer is None:
                holder.optimizer = optim.Adam(model.parameters(), lr=0.1)
            holder.optimizer.zero_grad()
            loss = model(x).pow(2).mean()
            loss.backward()
            holder.optimizer.step()
            return loss.detach()

        found = [step(cr.ones(3, 4)).item() for _ in range(5)]
        return [*found, holder.optimizer.state_dict()["state"][0]["step"].item()]

    np.testing.assert_allclose(run(cr.compile), run(lambda f: f), rtol=1e-4, atol=1e-6)


def test_what_only_a_run_knows_is_refused() -> None:
    model = nn.Linear(4, 2)
    rate = cr.tensor(0.1)

    def learn(optimizer: Any, x: Any) -> None:
        model(x).sum().backward()
        optimizer.step()

    def with_a_tensor(x: Any) -> None:
        learn(optim.SGD(model.parameters(), lr=rate), x)

    def with_a_schedule(x: Any) -> None:
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        schedule = optim.lr_scheduler.StepLR(optimizer, 1)
        for _ in range(2):
            learn(optimizer, x)
            schedule.step()

    def of_its_own(x: Any) -> None:
        w = model.weight.detach().clone().requires_grad_()
        (x @ w.T).sum().backward()
        optim.SGD([w], lr=0.1).step()

    for function, told in (
        (with_a_tensor, "makes an optimizer, SGD, with a tensor as 'lr'"),
        (with_a_schedule, "makes an optimizer, SGD, and steps it after a scheduler's step"),
        (of_its_own, "makes an optimizer, SGD, for tensors that it makes, too"),
    ):
        with pytest.raises(TraceError, match=told):
            cr.compile(function)(cr.ones(3, 4))
