"""Compiled steps that ask what is in the state of an optimizer: beside the same code run eagerly, call by call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.errors import TraceError

CALLS = 4


@pytest.fixture(params=["interpreter", "native"], autouse=True)
def engine(request: Any, monkeypatch: Any) -> None:
    """Each engine in turn."""
    monkeypatch.setenv("CHAINRULE_COMPILE", "1" if request.param == "native" else "0")


def momentum(p: Any) -> Any:
    return optim.SGD([p], lr=0.1, momentum=0.9)


def adam(p: Any) -> Any:
    return optim.Adam([p], lr=0.1)


def first_of(held: dict[str, Any]) -> Any:
    return next((x for name, x in held.items() if name != "step"), cr.zeros(2)).norm() + len(held)


def by_get(o: Any, p: Any) -> Any:
    held = o.state.get(p)
    return cr.zeros(()) if held is None else first_of(held)


def by_name(o: Any, p: Any) -> Any:
    for name in ("exp_avg", "momentum_buffer"):
        if o.state[p].get(name) is not None:
            return o.state[p][name].norm()
    return cr.zeros(())


def by_in(o: Any, p: Any) -> Any:
    return first_of(o.state[p]) if p in o.state else cr.zeros(())


def by_length(o: Any, p: Any) -> Any:
    return cr.full((), float(len(o.state)))


def by_loop(o: Any, p: Any) -> Any:
    return cr.zeros(()) + sum(first_of(held) for held in o.state.values() if held)


def by_names(o: Any, p: Any) -> Any:
    return cr.full((), float(sum(len(held) for _, held in o.state.items())))


def by_state_dict(o: Any, p: Any) -> Any:
    return cr.ones(()) if o.state_dict()["state"] else cr.zeros(())


ASK = [by_get, by_name, by_in, by_length, by_loop, by_names, by_state_dict]


def step_of(make: Any, ask: Any, *, compiled: bool, after: bool = False) -> tuple[Any, Any, Any]:
    p = cr.nn.Parameter(cr.ones(2))
    o = make(p)

    def step(x: Any) -> Any:
        found = None if after else ask(o, p)
        o.zero_grad()
        (p * x).pow(2).sum().backward()
        o.step()
        return ask(o, p) if after else found

    return (cr.compile(step) if compiled else step), o, p


def results(make: Any, ask: Any, *, clear: int = CALLS, **how: Any) -> tuple[list[float], Any]:
    step, o, _ = step_of(make, ask, **how)
    found = []
    for k in range(CALLS):
        if k == clear:
            o.state.clear()
        found.append(float(step(cr.full((2,), k + 1.0))))
    return found, step


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("ask", ASK)
@pytest.mark.parametrize("make", [momentum, adam])
def test_state_that_the_first_call_makes_is_there_at_the_second(make: Any, ask: Any, after: bool) -> None:
    expected, _ = results(make, ask, compiled=False, after=after)
    ours, step = results(make, ask, compiled=True, after=after)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    assert len(step.graphs) <= 2


@pytest.mark.parametrize("ask", ASK)
@pytest.mark.parametrize("make", [momentum, adam])
def test_state_that_is_cleared_is_not_there(make: Any, ask: Any) -> None:
    expected, _ = results(make, ask, compiled=False, clear=2)
    ours, _ = results(make, ask, compiled=True, clear=2)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_what_is_asked_after_the_step_alone_costs_no_second_trace() -> None:
    _, step = results(adam, by_name, compiled=True, after=True)
    assert len(step.graphs) == 1


def test_the_report_says_that_the_state_changed() -> None:
    _, step = results(adam, by_in, compiled=True)
    assert "what is in the state of Adam changed" in step.report()


@pytest.mark.parametrize("make", [momentum, adam, lambda p: optim.SGD([p], lr=0.1)])
def test_state_that_no_code_asks_for_costs_no_trace(make: Any) -> None:
    _, step = results(make, lambda o, p: p.sum(), compiled=True)
    assert len(step.graphs) == 1


def test_looking_for_a_trace_makes_no_entry() -> None:
    step, o, _ = step_of(adam, lambda o, p: p.sum(), compiled=True)
    step(cr.ones(2))
    o.state.clear()
    assert step.traced_for(cr.ones(2)) is None
    assert not o.state


def test_a_name_for_the_state_itself_asks_too() -> None:
    def run(*, compiled: bool) -> list[float]:
        p = cr.nn.Parameter(cr.ones(2))
        o = adam(p)
        state = o.state

        def step(x: Any) -> Any:
            found = state[p]["exp_avg"].norm() if p in state else cr.zeros(())
            o.zero_grad()
            (p * x).pow(2).sum().backward()
            o.step()
            return found

        run = cr.compile(step) if compiled else step
        return [float(run(cr.ones(2))) for _ in range(3)]

    np.testing.assert_allclose(run(compiled=True), run(compiled=False), rtol=1e-5)


def test_a_state_that_is_replaced_is_another_trace() -> None:
    found = []
    for compiled in (False, True):
        step, o, p = step_of(momentum, by_name, compiled=compiled)
        step(cr.ones(2))
        o.state = type(o.state)(dict, {p: {"momentum_buffer": cr.full((2,), 5.0)}})
        found.append(float(step(cr.ones(2))))
    assert found[0] == pytest.approx(50**0.5)
    assert found[1] == pytest.approx(found[0])


def test_code_that_decides_on_a_size_after_its_step_finds_no_state_of_the_first_try() -> None:
    def run(*, compiled: bool) -> list[float]:
        p = cr.nn.Parameter(cr.ones(2))
        o = adam(p)

        def step(x: Any) -> Any:
            found = cr.ones(()) if p in o.state else cr.zeros(())
            o.zero_grad()
            (p * x).pow(2).sum().backward()
            o.step()
            return found * 2 if x.shape[0] > 3 else found

        run = cr.compile(step) if compiled else step
        return [float(run(cr.ones(n, 2))) for n in (5, 5, 2, 2)]

    assert run(compiled=True) == run(compiled=False) == [0.0, 2.0, 1.0, 1.0]


@pytest.mark.parametrize("error", [ValueError, TraceError])
def test_a_trace_that_fails_leaves_no_state(error: type[Exception]) -> None:
    p = cr.nn.Parameter(cr.ones(2))
    o, is_wrong = adam(p), [True]

    @cr.compile
    def step(x: Any) -> Any:
        found = cr.ones(()) if p in o.state else cr.zeros(())
        (p * x).pow(2).sum().backward()
        o.step()
        if is_wrong[0]:
            if error is ValueError:
                raise ValueError("wrong")
            float(x.sum())
        return found

    with pytest.raises(error):
        step(cr.ones(2))
    assert not o.state
    is_wrong[0] = False
    assert [float(step(cr.ones(2))) for _ in range(3)] == [0.0, 1.0, 1.0]


def test_an_optimizer_with_a_step_of_its_own_asks_too() -> None:
    class Heavy(optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {"lr": 0.1})

        def step(self, closure: Callable[[], Any] | None = None) -> None:
            with cr.no_grad():
                for group in self.param_groups:
                    for p in group["params"]:
                        held = self.state[p]
                        p -= 0.1 * (p.grad if "buffer" not in held else held["buffer"].add_(p.grad))

    def run(*, compiled: bool) -> list[float]:
        p = cr.nn.Parameter(cr.ones(2))
        o = Heavy([p])

        def step(x: Any) -> Any:
            o.zero_grad()
            (p * x).pow(2).sum().backward()
            o.step()
            return p.sum()

        run = cr.compile(step) if compiled else step
        found = [float(run(cr.ones(2))) for _ in range(3)]
        o.state[p]["buffer"] = cr.ones(2)
        return found + [float(run(cr.ones(2))) for _ in range(3)]

    np.testing.assert_allclose(run(compiled=True), run(compiled=False), rtol=1e-5)


@pytest.mark.parametrize("value", [lambda p: p.detach() * 1, lambda p: 3], ids=["tensor", "number"])
def test_what_code_puts_into_a_state_is_refused(value: Any) -> None:
    p = cr.nn.Parameter(cr.ones(2))
    o = adam(p)

    @cr.compile
    def step(x: Any) -> Any:
        o.state[p]["kept"] = value(p)
        return x.sum()

    with pytest.raises(TraceError, match=r"'o\.state' was changed while 'step' was traced"):
        step(cr.ones(2))
    assert not o.state
    o.state[p]["kept"] = cr.zeros(2)
    with pytest.raises(TraceError, match=r"'o\.state' was changed while 'step' was traced"):
        step(cr.ones(2))
    assert o.state[p]["kept"].tolist() == [0, 0]
    assert list(o.state[p]) == ["kept"]


def test_many_runs_in_one_call_ask_too() -> None:
    eager, _, _ = step_of(momentum, by_name, compiled=False)
    expected = [float(eager(cr.ones(2))) for _ in range(5)]
    step, _, _ = step_of(momentum, by_name, compiled=True)
    np.testing.assert_allclose(step.repeat(cr.ones(2), times=5).tolist(), expected, rtol=1e-5)


def test_a_loss_given_to_fit_asks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.arange(16, dtype=np.float32).reshape(8, 2) / 16

    def losses(*, compiled: bool) -> list[float]:
        cr.manual_seed(0)
        model = cr.nn.Linear(2, 1)
        o = optim.Adam(model.parameters(), lr=0.01)

        def loss(a: Any, b: Any) -> Any:
            return ((a - b) ** 2).mean() * (100 if len(o.state) else 1)

        report = cr.fit(
            model,
            (X, X.sum(1, keepdims=True)),
            loss=loss,
            optimizer=o,
            epochs=3,
            batch_size=4,
            compile=compiled,
            progress=False,
        )
        return list(report["train_loss"])

    np.testing.assert_allclose(losses(compiled=True), losses(compiled=False), rtol=1e-5)
