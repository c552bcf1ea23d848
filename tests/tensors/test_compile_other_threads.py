"""Other Python threads draw random numbers and change containers while a function is traced: the code is not blamed for it."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import TraceError
from chainrule.tensors.contents import Contents
from chainrule.tensors.other_threads import others_wait

X = np.ones((4, 3), np.float32)


@pytest.fixture(autouse=True, params=["interpreter", "native"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1" if request.param == "native" else "0")


class Beside:
    """A thread that does something again and again, until the block ends; ``done``: what it returned."""

    def __init__(self, do: Callable[[], Any], pause: float) -> None:
        self.done: list[Any] = []
        self._do, self._pause, self._ends = do, pause, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ends.is_set():
            self.done.append(self._do())
            time.sleep(self._pause)

    def __enter__(self) -> Beside:
        self._thread.start()
        while not self.done:
            time.sleep(0.001)
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()


@pytest.fixture
def a_thread_that_waits() -> Iterator[None]:
    with Beside(lambda: None, 0.01):
        yield


def wait_for(others: list[Any]) -> None:
    """Let another thread go on, the first time: as code does that is traced for long."""
    count = len(others)
    deadline = time.perf_counter() + 10
    while len(others) < count + 2 and time.perf_counter() < deadline:
        time.sleep(0.001)


def trained(step_of: Callable[[Any], Any], do: Callable[[], Any], pause: float) -> tuple[list[float], list[Any]]:
    """Return losses of a step that lets a thread go on while it is first traced, and what that thread did."""
    with Beside(do, pause) as beside:
        waits = [True]

        def first() -> None:
            if waits:
                waits.clear()
                wait_for(beside.done)

        step = step_of(first)
        losses = [float(step(X)) for _ in range(3)]
    return losses, beside.done


DRAWS = {
    "NumPy": (np.random.rand, np.random.seed),
    "normal numbers of NumPy": (np.random.randn, np.random.seed),
    "Python": (random.random, random.seed),
}


@pytest.mark.parametrize("pause", [0, 0.002])
@pytest.mark.parametrize("whose", DRAWS)
def test_what_another_thread_draws_is_not_refused_nor_wound_back(whose: str, pause: float) -> None:
    draw, seed = DRAWS[whose]

    def step_of(first: Callable[[], None]) -> Any:
        cr.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = cr.optim.SGD(model.parameters(), lr=0.1)

        @cr.compile
        def step(x: Any) -> Any:
            first()
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        return step

    seed(3)
    losses, drawn = trained(step_of, draw, pause)
    seed(3)
    assert drawn == [draw() for _ in drawn]
    assert losses[0] > losses[1] > losses[2]


def test_a_list_to_which_another_thread_appends_is_not_refused() -> None:
    log: list[int] = []

    def step_of(first: Callable[[], None]) -> Any:
        return cr.compile(lambda x: (first(), (x * 2).sum() + (len(log) < 0))[1])

    losses, done = trained(step_of, lambda: log.append(1), 0.002)
    assert losses == [24.0] * 3
    assert len(log) == len(done)


def test_what_the_code_does_itself_is_refused_beside_other_threads(a_thread_that_waits: None) -> None:
    log, generator = [0], np.random.default_rng(3)
    state = str(generator.bit_generator.state)

    def appends(x: Any) -> Any:
        log.append(1)
        return x * 2

    for code, told in [
        (lambda x: x * random.random(), "module 'random'"),
        (lambda x: x * np.random.randn(), "NumPy's global generator"),
        (lambda x: x * generator.normal(), "the generator 'generator'"),
        (appends, "the list 'log' was changed"),
    ]:
        with pytest.raises(TraceError, match=told):
            cr.compile(code)(X)
    assert log == [0]
    assert str(generator.bit_generator.state) == state


class Noisy(nn.Module):
    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, x: Any) -> Any:
        return x * self.draw()


@pytest.mark.parametrize("whose", DRAWS)
def test_code_that_always_waits_for_others_is_blamed_only_if_it_may_draw(whose: str) -> None:
    draw, _ = DRAWS[whose]
    noisy = Noisy(draw)
    with Beside(draw, 0.001):
        waits = cr.compile(lambda x: (time.sleep(0.01), x * 2)[1])
        assert waits(X).tolist() == (X * 2).tolist()
        for code in (lambda x: noisy(x), lambda x: x * draw(), lambda x: x * sum(map(float, [draw()]))):
            with pytest.raises(TraceError, match="drew random numbers"):
                cr.compile(code)(X)


def test_a_list_that_code_and_another_thread_change_is_refused() -> None:
    log: list[Any] = []

    def step_of(first: Callable[[], None]) -> Any:
        return cr.compile(lambda x: (first(), log.append(x.ndim), x.sum())[2])

    with pytest.raises(TraceError, match="the list 'log' was changed"):
        trained(step_of, lambda: log.append(None), 0.002)
    assert set(log) <= {None}


def test_an_iterator_is_taken_from_once_beside_other_threads(a_thread_that_waits: None) -> None:
    it = iter([1, 2, 3])
    with pytest.raises(TraceError, match="took from the iterator 'it'"):
        cr.compile(lambda x: x * next(it))(X)
    assert next(it) == 2


def test_a_function_that_decides_on_a_size_is_traced_beside_other_threads() -> None:
    def step_of(first: Callable[[], None]) -> Any:
        return cr.compile(lambda x: (first(), x.sum() if len(x) == 4 else x.mean())[1])

    random.seed(3)
    losses, drawn = trained(step_of, random.random, 0.002)
    random.seed(3)
    assert losses == [12.0] * 3
    assert drawn == [random.random() for _ in drawn]


def test_how_often_python_switches_between_threads_is_left_as_it_was() -> None:
    before = sys.getswitchinterval()
    with others_wait(0.5) as outer:
        with others_wait(2.0):
            assert sys.getswitchinterval() == 2.0
        assert sys.getswitchinterval() > before
        outer.end()
        assert sys.getswitchinterval() == before
    with others_wait(0.0):
        assert sys.getswitchinterval() == before
    test_what_the_code_does_itself_is_refused_beside_other_threads(None)
    assert sys.getswitchinterval() == before


def test_of_a_list_only_what_the_code_added_in_each_try_is_taken_out() -> None:
    log: list[Any] = [1]
    first = Contents("log", log, "")
    log += [7, 5, (2, "a")]  # in the first try: 7 by the code
    first.tails.append(first.added())
    last = Contents("log", log, "")
    log += [6, 7]
    assert first.take_out(last)
    assert log == [1, 5, (2, "a"), 6]


def test_what_others_appended_stays_where_the_code_is_refused() -> None:
    log: list[int] = []
    going, stop = threading.Event(), threading.Event()

    def append() -> None:
        while not stop.is_set():
            log.append(len(log))
            going.set()
            time.sleep(0.001)

    thread = threading.Thread(target=append)
    thread.start()
    going.wait(10)

    @cr.compile
    def step(x):
        time.sleep(0.02)
        if len(log) < 0:
            return x
        return x * float(x.sum())

    for _ in range(3):
        before = len(log)
        with pytest.raises(TraceError, match="float"):
            step(cr.ones(2))
        assert len(log) >= before
    stop.set()
    thread.join()
    assert log == list(range(len(log)))
