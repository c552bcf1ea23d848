"""Kernels that all programs share, where several Python threads ask for one first."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from chainrule.run import gather, kernel
from tests.compiler.machine_code import needs_native

MANY = """
import threading
import numpy as np
import chainrule as cr
from chainrule import nn

random = np.random.default_rng(0)
x, y = random.standard_normal((24, 6)).astype("f"), random.integers(0, 3, 24)
losses = {}


def train(k):
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    for p in model.parameters():
        p.data.fill_(0.125)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    @cr.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    losses[k] = step.over(x, y, batch_size=7, passes=20)[-1].item()


threads = [threading.Thread(target=train, args=(k,)) for k in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(losses), len(set(losses.values())))
"""


@needs_native
def test_threads_that_ask_at_once_get_the_same_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    build, barrier = kernel.load_or_build, threading.Barrier(3)
    addresses = []

    def together(*arguments, **named):  # all find that there is none, and each makes one
        barrier.wait(10)
        found = build(*arguments, **named)
        time.sleep(0.05 * len(addresses))
        return found

    monkeypatch.setattr(kernel, "_kept", {})
    monkeypatch.setattr(kernel, "load_or_build", together)

    def ask() -> None:
        u8, f32 = np.dtype(np.uint8), np.dtype(np.float32)
        addresses.append(gather.gather_kernel(u8, f32, scaled=True, marked=False))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(addresses) == 3
    assert len(set(addresses)) == 1


@needs_native
def test_threads_train_on_batches_for_the_first_time_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["6", "1"]
