"""Several Python threads call one compiled function for the first time."""

import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ChainruleError


def at_once(call, count: int = 6) -> list:
    barrier, found = threading.Barrier(count), []

    def run() -> None:
        barrier.wait(10)
        try:
            found.append(call())
        except (ChainruleError, RuntimeError, ValueError) as error:
            found.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_one_thread_traces_and_the_others_are_served() -> None:
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.BatchNorm1d(32), nn.Linear(32, 3)).eval()
    x = cr.tensor(np.random.default_rng(0).standard_normal((5, 20)).astype("f"))
    with cr.no_grad():
        expected = model(x).numpy()
    predict = cr.compile(model)
    found = at_once(lambda: predict(x).detach().numpy())
    for y in found:
        np.testing.assert_allclose(y, expected, atol=1e-5)
    assert len(predict.graphs) == 1


def test_code_that_decides_on_the_size_is_traced_once_too() -> None:
    @cr.compile
    def f(x):
        return x.sum(0) if x.shape[0] > 3 else x

    x = cr.ones(5, 2)
    found = at_once(lambda: f(x).numpy().tolist())
    assert found == [[5.0, 5.0]] * len(found)
    assert len(f.graphs) == 1


def test_many_steps_of_threads_go_through_one_trace() -> None:
    f = cr.compile(lambda x: (x * 2).sum())
    rows = np.arange(12, dtype="f").reshape(6, 2)
    found = at_once(lambda: f.over(rows, batch_size=2).numpy().tolist())
    assert found == [[12.0, 44.0, 76.0]] * len(found)
    assert len(f.graphs) == 1


def test_a_thread_that_fails_lets_the_next_one_trace() -> None:
    calls = []

    @cr.compile
    def f(x):
        calls.append(0)
        if len(calls) == 1:
            raise ValueError("the first")
        return x + 1

    found = at_once(lambda: f(cr.ones(2)).numpy().tolist(), 3)
    assert sum(isinstance(one, ValueError) for one in found) == 1, found
