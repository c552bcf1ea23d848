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
from chainrule.training.engine import Engine
from tests.training.problems import StopAt, classes, network, state_bits, trainer

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


@pytest.mark.parametrize("place", ["on_epoch_end", "on_train_end"])
def test_one_that_comes_when_training_is_over_is_told_when_all_is_kept(place: str, tmp_path: Path) -> None:
    class PressesAtTheEnd(cr.Callback):
        pass

    def press(self: Any, trainer: cr.Trainer, epoch: int = 3, row: Any = None) -> None:
        if epoch == 3 and not pressed:
            pressed.append(place)
            signal.raise_signal(signal.SIGINT)

    pressed: list[str] = []
    setattr(PressesAtTheEnd, place, press)
    whole, model = network(), network()
    trainer(whole).fit(classes(48))
    own = trainer(model, callbacks=[PressesAtTheEnd()], checkpoint=tmp_path / "state")
    if place == "on_epoch_end":
        assert own.fit(classes(48)).stopped == "interrupted"
    else:
        with pytest.raises(KeyboardInterrupt):
            own.fit(classes(48))
        assert own.history.stopped == "epochs"
    assert state_bits(model) == state_bits(whole)
    other = trainer(network())
    other.resume(tmp_path / "state")
    other.fit(classes(48))
    assert state_bits(other.model) == state_bits(whole)


def test_one_before_the_first_epoch_interrupts_and_leaves_the_model_alone() -> None:
    class PressesAtTheBeginning(cr.Callback):
        def on_train_begin(self, trainer: cr.Trainer) -> None:
            signal.raise_signal(signal.SIGINT)

    model = network()
    own = trainer(model, callbacks=[PressesAtTheBeginning()])
    with pytest.raises(KeyboardInterrupt):
        own.fit(classes(48))
    assert len(own.history) == 0
    assert state_bits(model) == state_bits(network())
    own.callbacks.clear()
    assert own.fit(classes(48)).stopped == "epochs"


def test_what_is_put_back_after_the_second_is_put_back_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third Ctrl-C comes while the epoch is undone."""
    go_back = cr.Trainer.go_back

    def pressed(trainer: cr.Trainer) -> None:
        signal.raise_signal(signal.SIGINT)
        go_back(trainer)

    done, model = network(), network()
    trainer(done, epochs=2, keep_best=False).fit(classes(48))
    own = trainer(model, epochs=9, callbacks=[Presses(3, 2, times=2)])
    monkeypatch.setattr(cr.Trainer, "go_back", pressed)
    with pytest.raises(KeyboardInterrupt):
        own.fit(classes(48))
    assert state_bits(model) == state_bits(done)


def test_a_long_look_at_validation_rows_is_given_up_with_its_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.training.loop.PATIENCE", 0.0)
    val = classes(3000, seed=1)
    whole, model = network(), network()
    trainer(whole, epochs=4).fit(classes(48), val=val)
    own = trainer(model, epochs=4, callbacks=[Presses(2, 3)])
    history = own.fit(classes(48), val=val)
    assert (history.stopped, len(history), history.partial) == ("interrupted", 1, "")
    own.callbacks.clear()
    assert own.fit(classes(48), val=val).stopped == "epochs"
    assert state_bits(model) == state_bits(whole)


@pytest.mark.parametrize(
    ("batch", "partial"), [(2, "2 of 3 batches"), (3, "all batches, but no look at the validation rows")]
)
def test_in_the_first_epoch_what_was_learned_is_left_without_a_look(batch: int, partial: str, tmp_path: Path) -> None:
    val = classes(20, seed=1)
    whole, model, learned = network(), network(), network()
    trainer(whole, epochs=4).fit(classes(48), val=val)
    trainer(learned, epochs=1, callbacks=[StopAt(1, batch)]).fit(classes(48))
    own = trainer(model, epochs=4, callbacks=[Presses(1, batch)], checkpoint=tmp_path / "state")
    history = own.fit(classes(48), val=val)
    assert (history.stopped, len(history), history.partial) == ("interrupted", 1, partial)
    assert (history.best_epoch, history.names) == (None, ["epoch", "train_loss", "lr", "seconds"])
    assert state_bits(model) == state_bits(learned)
    own.callbacks.clear()
    assert own.fit(classes(48), val=val).stopped == "epochs"
    assert state_bits(model) == state_bits(whole)


class PressesIn:
    """Ctrl-C while something of a Trainer's engine works for the first time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        function, self.left = getattr(Engine, name), 1

        def pressed(engine: Engine, *args: Any) -> Any:
            if self.left:
                self.left = 0
                signal.raise_signal(signal.SIGINT)
            return function(engine, *args)

        monkeypatch.setattr(Engine, name, pressed)


def test_while_compiling_it_interrupts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    PressesIn(monkeypatch, "prepare")
    whole, model = network(), network()
    own = trainer(model)
    with pytest.raises(KeyboardInterrupt):
        own.fit(classes(48))
    assert state_bits(model) == state_bits(network())
    assert signal.getsignal(signal.SIGINT) is before
    trainer(whole).fit(classes(48))
    assert own.fit(classes(48)).stopped == "epochs"
    assert state_bits(model) == state_bits(whole)


def test_while_compiling_for_more_epochs_it_ends_where_training_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, model = network(), network()
    own = trainer(model)
    own.fit(classes(48))
    stood = state_bits(model)
    own.epochs = 5
    PressesIn(monkeypatch, "prepare")
    history = own.fit(classes(48))
    assert (history.stopped, len(history)) == ("interrupted", 3)
    assert state_bits(model) == stood
    own.fit(classes(48))
    trainer(whole, epochs=5).fit(classes(48))
    assert state_bits(model) == state_bits(whole)


def test_while_the_first_look_compiles_it_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    PressesIn(monkeypatch, "look")
    own = trainer(network())
    history = own.fit(classes(48), val=classes(20, seed=1))
    assert (len(history), history.partial) == (1, "all batches, but no look at the validation rows")
    assert not any(module.training for module in own.model.modules())


PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have let it be ignored
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
