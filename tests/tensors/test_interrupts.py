"""Ctrl-C wherever a compiled function is: what is half done is finished or undone first, and all goes on afterwards."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.interrupts import held
from chainrule.run.steps import Steps
from chainrule.tensors.state import STATE, TAPE
from chainrule.tensors.watches import WATCHES

F = nn.functional
X = np.random.default_rng(0).standard_normal((60, 6)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 60)
TRIES = 60

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent otherwise on Windows")


@pytest.fixture(autouse=True)
def pythons_own() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Trained:
    """A network, its optimizer, and a compiled step with all that one may have."""

    def __init__(self) -> None:
        cr.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(6, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout(0.2), nn.Linear(9, 3)
        )  # fmt: skip
        self.optimizer = cr.optim.Adam(self.model.parameters(), lr=0.01)
        self.count = cr.zeros(1, dtype=cr.int64)
        self.seen: Any = None

        @cr.compile
        def step(x: Any, y: Any) -> Any:
            self.optimizer.zero_grad()
            scores = self.model(x)
            loss = F.cross_entropy(scores, y)
            loss.backward()
            self.optimizer.step()
            self.seen = scores.detach()
            with cr.no_grad():
                self.count.add_(1)
            return loss

        self.step = step

    def weights(self) -> list[Any]:
        return [p.tolist() for p in self.model.state_dict().values()]


def calls_of(run: Callable[[], Any], at: int = -1) -> int:
    """Run, with Ctrl-C at the call of a Python function with this number; return how many calls there were."""
    count = 0

    def profile(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        if event == "call":
            if count == at:
                signal.raise_signal(signal.SIGINT)
            count += 1

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def assert_nothing_is_left_open() -> None:
    assert STATE.mode == TAPE
    assert STATE.trace is STATE.reads is None
    assert not WATCHES._counts
    assert (cr.ones(2) + 1).tolist() == [2, 2]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert gc.isenabled()


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Python lets it go in a generator that ends
@pytest.mark.parametrize("how", ["call", "over", "fit"])
def test_at_any_call_of_a_function_while_tracing(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "0")  # that the same code is compiled sixty times tells no more

    def first() -> tuple[Trained, Callable[[], Any]]:
        one = Trained()
        if how == "call":
            return one, lambda: one.step(X, Y)
        if how == "over":
            return one, lambda: one.step.over(X, Y, batch_size=20)
        trainer = cr.Trainer(one.model, epochs=1, batch_size=30, progress=False)
        return one, lambda: trainer.fit((X, Y))

    _, run = first()
    calls = calls_of(run)
    draw = random.Random(0)
    interrupted = 0
    for at in sorted(draw.sample(range(calls), TRIES)):
        one, run = first()
        try:
            calls_of(run, at)
        except KeyboardInterrupt:
            interrupted += 1
        assert_nothing_is_left_open()
        one.model.train()
        once = one.weights()
        assert np.isfinite(one.step(X, Y).item())
        assert one.weights() != once
        assert one.seen.detach().shape == (60, 3)
    assert interrupted >= 0.5 * TRIES


def test_many_runs_in_one_call_end_after_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    run = Steps._some_steps
    asked = []

    def some_steps(self: Any, *args: Any) -> Any:
        done = run(self, *args)
        asked.append(done)
        if len(asked) == 2:
            signal.raise_signal(signal.SIGINT)
        return done

    one, twin = Trained(), Trained()
    one.step(X[:20], Y[:20])
    monkeypatch.setattr(Steps, "_some_steps", some_steps)
    with pytest.raises(KeyboardInterrupt):
        one.step.over(X, Y, batch_size=20, passes=100_000)
    monkeypatch.undo()
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    assert_nothing_is_left_open()
    done = int(one.count)
    assert done == 1 + sum(asked) < 100_000
    cr.manual_seed(0)
    twin = Trained()
    twin.step(X[:20], Y[:20])
    for k in range(done - 1):
        twin.step(X[20 * (k % 3) : 20 * (k % 3) + 20], Y[20 * (k % 3) : 20 * (k % 3) + 20])
    draws = cr.default_generator.get_state()
    assert one.weights() == twin.weights()
    assert one.seen.tolist() == twin.seen.tolist()
    one.step.over(X, Y, batch_size=20)
    assert cr.default_generator.get_state()["draw"] > draws["draw"]


def test_random_numbers_go_on_where_the_last_run_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    one = Trained()
    before = cr.default_generator.get_state()["draw"]
    one.step.over(X, Y, batch_size=20)
    each = (cr.default_generator.get_state()["draw"] - before) // int(one.count)
    timer = threading.Timer(0.15, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        one.step.over(X, Y, batch_size=20, passes=1_000_000)
    timer.join()
    assert cr.default_generator.get_state()["draw"] - before == each * int(one.count)
    assert int(one.count) > 3


@pytest.mark.parametrize("native", [False, True], ids=["interpreted", "native"])
def test_a_single_call_is_done_whole(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(native)))
    one, twin = Trained(), Trained()
    one.step(X[:20], Y[:20])
    program = one.step._traces.entries[0].traced.program
    run = type(program).run

    def interrupted(self: Any, *args: Any) -> Any:
        found = run(self, *args)
        signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(type(program), "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one.step(X[20:40], Y[20:40])
    monkeypatch.setattr(type(program), "run", run)
    draws = cr.default_generator.get_state()
    cr.manual_seed(0)
    twin = Trained()
    for k in (0, 20):
        twin.step(X[k : k + 20], Y[k : k + 20])
    assert one.weights() == twin.weights()
    assert one.seen.tolist() == twin.seen.tolist()
    assert cr.default_generator.get_state()["draw"] == draws["draw"]


@pytest.mark.parametrize("name", ["open", "write", "fsync", "replace"])
def test_a_file_is_the_old_one_or_the_new_one_and_nothing_else_is_left(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tensors.safetensors"
    cr.save({"a": cr.zeros(3)}, file)
    does = getattr(os, name)

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        found = does(*args, **kwargs)
        signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(os, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        cr.save({"a": cr.ones(3)}, file)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert cr.load(file)["a"].tolist() in ([0, 0, 0], [1, 1, 1])


def test_what_is_held_back_happens_in_the_end() -> None:
    happened = []

    def one() -> None:
        with held() as ctrl_c:
            signal.raise_signal(signal.SIGINT)
            happened.append(ctrl_c.is_heard)

    def nested() -> None:
        with held() as outer:
            with held():
                signal.raise_signal(signal.SIGINT)
                happened.append("inner")
            happened.append(outer.is_heard)
            with outer.let_through():
                happened.append("never")

    with pytest.raises(KeyboardInterrupt):
        one()
    with pytest.raises(KeyboardInterrupt):
        nested()
    assert happened == [True, "inner", True]
    with held() as ctrl_c, pytest.raises(KeyboardInterrupt), ctrl_c.let_through():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_handler_is_asked_in_the_end() -> None:
    heard = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    with held():
        signal.raise_signal(signal.SIGINT)
        assert heard == []
    assert heard == [signal.SIGINT]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_hear_no_signals() -> None:
    found = []

    def run() -> None:
        with held() as ctrl_c:
            found.append(ctrl_c.is_heard)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]
