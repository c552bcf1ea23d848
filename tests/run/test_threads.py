"""The threads that run native code together: one call has them at a time, and the caller gets its cores back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from chainrule.run.threads import Pool
from tests.compiler.machine_code import needs_native

has_affinity = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen here")
LIMIT = 15  # seconds; what hangs is ended

TRAINED_AT_ONCE = """
import os
import threading
import numpy as np
import chainrule as cr
from chainrule import nn

random = np.random.default_rng(0)
x, y = random.standard_normal((600, 200)).astype("f"), random.integers(0, 5, 600)


def build(seed):
    cr.manual_seed(seed)
    model = nn.Sequential(nn.Linear(200, 80), nn.ReLU(), nn.Linear(80, 5))
    optimizer = cr.optim.SGD(model.parameters(), lr=0.01)

    @cr.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return model, step


def train(step):
    step.over(x, y, batch_size=100, passes=30)


def bits(model):
    return b"".join(p.detach().numpy().tobytes() for p in model.parameters())


cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
expected = []
cr.set_num_threads(1)
for seed in range(3):
    model, step = build(seed)
    train(step)
    expected.append(bits(model))
cr.set_num_threads(2)
for _ in range(3):
    made = [build(seed) for seed in range(3)]
    threads = [threading.Thread(target=train, args=(step,)) for _, step in made]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [bits(model) for model, _ in made] == expected
train(step)
assert cores is None or os.sched_getaffinity(0) == cores
print("done")
"""


def test_a_call_while_another_has_the_workers_is_told_so() -> None:
    pool, started, ends = Pool(), threading.Barrier(3), threading.Event()
    first: list[bool] = []
    second: list[bool] = []
    ran: list[int] = []

    def wait(k: int) -> None:
        started.wait(LIMIT)
        ends.wait(LIMIT)

    running = threading.Thread(target=lambda: first.append(pool.run(2, wait)), daemon=True)
    running.start()
    started.wait(LIMIT)
    other = threading.Thread(target=lambda: second.append(pool.run(2, ran.append)), daemon=True)
    other.start()
    other.join(LIMIT)
    ends.set()
    running.join(LIMIT)
    assert (first, second, ran) == ([True], [False], [])
    assert pool.run(2, ran.append)
    assert sorted(ran) == [0, 1]


def in_a_thread_with_all_cores(check: Callable[[], None]) -> None:
    """Run in a thread of its own: the others of this process may have been kept to one core."""

    def run() -> None:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))  # those of them that the system grants
        check()

    with ThreadPoolExecutor(1) as executor:
        executor.submit(run).result()


@has_affinity
def test_the_caller_gets_its_cores_back() -> None:
    def check() -> None:
        pool, before = Pool(), os.sched_getaffinity(0)
        during: dict[int, set[int]] = {}

        def look(k: int) -> None:
            during[k] = os.sched_getaffinity(0)

        for _ in range(2):
            assert pool.run(2, look)
            assert os.sched_getaffinity(0) == before
        if len(before) > 1:
            assert [len(cores) for cores in during.values()] == [1, 1]
            assert during[0].isdisjoint(during[1])

    in_a_thread_with_all_cores(check)


@has_affinity
def test_the_caller_gets_its_cores_back_where_its_part_fails() -> None:
    def fail(k: int) -> None:
        if k == 0:
            raise ValueError("the caller's part")

    def check() -> None:
        pool, before = Pool(), os.sched_getaffinity(0)
        with pytest.raises(ValueError, match="the caller's part"):
            pool.run(2, fail)
        assert os.sched_getaffinity(0) == before
        assert pool.run(2, lambda k: None), "the workers are free again"

    in_a_thread_with_all_cores(check)


@needs_native
def test_trainings_at_once_with_two_threads_each_end_with_the_bits_of_one_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    done = subprocess.run(
        [sys.executable, "-c", TRAINED_AT_ONCE], capture_output=True, text=True, check=False, timeout=4 * LIMIT
    )
    assert done.stdout == "done\n", done.stderr
