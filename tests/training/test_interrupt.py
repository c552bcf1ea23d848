"""Ctrl-C: the first stops after the batch at hand, the second interrupts at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import chainrule as cr
from tests.training.problems import classes, network, state_bits, trainer

ROOT = Path(__file__).parent.parent.parent


class Presses(cr.Callback):
    """Ctrl-C at one batch of one epoch, once or more often."""

    def __init__(self, epoch: int, batch: int, times: int = 1) -> None:
        self.place, self.times = (epoch, batch), times

    def on_batch_end(self, trainer: cr.Trainer, epoch: int, batch: int, loss: float, outputs: cr.Tensor) -> None:
        if (epoch, batch) == self.place:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


def test_the_first_stops_after_the_batch_at_hand_and_keeps_the_best_weights() -> None:
    before = signal.getsignal(signal.SIGINT)
    weights: list[Any] = []
    own = trainer(
        network(), epochs=9, lr=0.05,
        callbacks=[Presses(3, 2), lambda trainer, epoch, row: weights.append(state_bits(trainer.model))],
    )  # fmt: skip
    history = own.fit(classes(48), val=classes(20, seed=1))
    assert (len(history), history.stopped, history.partial) == (3, "interrupted", "2 of 3 batches")
    assert history.best_epoch is not None
    assert state_bits(own.model) == weights[history.best_epoch - 1]
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_interrupts_at_once_and_leaves_the_model_as_the_epoch_began() -> None:
    before = signal.getsignal(signal.SIGINT)
    done, model = network(), network()
    trainer(done, epochs=2, keep_best=False).fit(classes(48))
    own = trainer(model, epochs=9, callbacks=[Presses(3, 2, times=2)])
    with pytest.raises(KeyboardInterrupt):
        own.fit(classes(48))
    assert len(own.history) == 2
    assert state_bits(model) == state_bits(done)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_run_goes_on_to_the_bits_of_one_that_was_not() -> None:
    whole, interrupted = network(), network()
    trainer(whole, epochs=5).fit(classes(48))
    own = trainer(interrupted, epochs=5, callbacks=[Presses(2, 1)])
    own.fit(classes(48))
    assert own.history.stopped == "interrupted"
    own.callbacks.clear()
    assert own.fit(classes(48)).stopped == "epochs"
    assert state_bits(whole) == state_bits(interrupted)


def test_outside_of_the_main_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[Any] = []

    def run() -> None:
        own = trainer(network(), callbacks=[lambda *_: seen.append(signal.getsignal(signal.SIGINT))])
        seen.append(own.fit(classes()).stopped)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before, before, before, "epochs"]


def test_where_it_is_ignored_it_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert trainer(network(), callbacks=[Presses(1, 1)]).fit(classes()).stopped == "epochs"
    finally:
        signal.signal(signal.SIGINT, before)


PROGRAM = """
import sys, time
sys.path.insert(0, {root!r})
import chainrule as cr
from tests.training.problems import *

class Slow(cr.Callback):
    def on_batch_end(self, trainer, epoch, batch, loss, outputs):
        if epoch == 2 and batch == 1:
            print("ready", flush=True)
        if epoch >= 2:
            time.sleep(0.05)

own = trainer(network(), epochs=1000, callbacks=[Slow()])
history = own.fit(classes(), val=classes(20, seed=1))
print(history.stopped, len(history) < 1000, own.model.training)
"""


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent otherwise on Windows")
def test_a_real_ctrl_c_stops_a_process_cleanly() -> None:
    code = PROGRAM.format(root=str(ROOT))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("interrupted True False\n", "", 0)
