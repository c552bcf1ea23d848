"""Callbacks are told of everything, in order, and can end training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.training.callbacks import as_callback
from tests.training.problems import Recorder, classes, network, state_bits, trainer


def test_every_event_is_told_in_order() -> None:
    recorder = Recorder()
    trainer(network(), epochs=2, callbacks=[recorder]).fit(classes(32))
    assert recorder.events == [
        ("train begin",),
        ("epoch begin", 1), ("batch end", 1, 1), ("batch end", 1, 2), ("epoch end", 1),
        ("epoch begin", 2), ("batch end", 2, 1), ("batch end", 2, 2), ("epoch end", 2),
        ("train end",),
    ]  # fmt: skip


def test_a_function_is_called_after_each_epoch_with_its_row() -> None:
    seen: list[Any] = []
    own = trainer(network(), callbacks=[lambda trainer, epoch, row: seen.append((trainer, epoch, dict(row)))])
    history = own.fit(classes())
    assert seen == [(own, epoch, row) for epoch, row in enumerate(history, 1)]


def test_a_batch_comes_with_its_loss_and_the_outputs_before_the_step() -> None:
    X, y = classes(20)
    recorder = Recorder()
    model = network()
    with cr.no_grad():
        before = model(cr.from_numpy(X)).numpy()
    history = trainer(model, batch_size=None, epochs=1, callbacks=[recorder]).fit((X, y))
    assert (recorder.outputs[0] == before).all()
    assert recorder.losses == history["train_loss"]


def test_at_the_end_the_best_weights_are_back_and_the_model_is_in_eval_mode() -> None:
    class Last(cr.Callback):
        def on_train_end(self, trainer: cr.Trainer) -> None:
            self.bits, self.training = state_bits(trainer.model), trainer.model.training

    last = Last()
    model = network()
    trainer(model, callbacks=[last]).fit(classes())
    assert last.bits == state_bits(model)
    assert last.training is False


def test_the_model_learns_in_train_mode_and_is_looked_at_in_eval_mode() -> None:
    modes: list[bool] = []

    class Watching(nn.Module):
        def forward(self, x: cr.Tensor) -> cr.Tensor:
            modes.append(self.training)
            return x

    model = nn.Sequential(network(), Watching())
    trainer(model, compile=False, epochs=1).fit(classes(32), val=classes(10, seed=1))
    assert modes == [False, False, True, True, False]  # a look at each part first
    model.train()
    own = trainer(model, compile=False)
    own.evaluate(classes(10))
    own.predict(classes(10)[0])
    assert model.training
    assert model[1].training


def test_what_a_callback_predicts_does_not_change_training() -> None:
    class Curious(cr.Callback):
        def on_batch_end(self, trainer: cr.Trainer, *args: Any) -> None:
            trainer.predict(classes(10)[0])
            trainer.evaluate(classes(10))

    cr.manual_seed(0)
    quiet = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    cr.manual_seed(0)
    watched = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    trainer(quiet).fit(classes())
    trainer(watched, callbacks=[Curious()]).fit(classes())
    assert state_bits(quiet) == state_bits(watched)


def test_a_callback_may_change_the_rate() -> None:
    class Halves(cr.Callback):
        def on_epoch_end(self, trainer: cr.Trainer, epoch: int, row: dict[str, float]) -> None:
            trainer.optimizer.param_groups[0]["lr"] /= 2

    history = trainer(network(), lr=0.1, callbacks=[Halves()]).fit(classes())
    assert history["lr"] == [0.1, 0.05, 0.025]


@pytest.mark.parametrize("compiled", [True, False])
def test_a_callback_may_freeze_a_layer_and_switch_weight_decay_on(compiled: bool) -> None:
    class Changes(cr.Callback):
        def on_epoch_begin(self, trainer: cr.Trainer, epoch: int) -> None:
            if epoch == 2:
                trainer.model[0].requires_grad_(False)
                self.frozen = trainer.model[0].weight.detach().numpy().copy()
            if epoch == 3:
                trainer.optimizer.param_groups[0]["weight_decay"] = 0.5

    changes = Changes()
    model = network()
    history = trainer(model, epochs=4, optimizer="sgd", callbacks=[changes], compile=compiled, keep_best=False).fit(
        classes()
    )
    assert np.array_equal(model[0].weight.detach().numpy(), changes.frozen)
    assert history.notes == []


def test_frozen_and_decayed_layers_have_the_same_bits_compiled_and_eager() -> None:
    class Changes(cr.Callback):
        def on_epoch_begin(self, trainer: cr.Trainer, epoch: int) -> None:
            trainer.optimizer.param_groups[0]["weight_decay"] = 0.5 if epoch == 2 else 0.0

    bits = []
    for compiled in (True, False):
        model = network()
        trainer(model, callbacks=[Changes()], compile=compiled).fit(classes())
        bits.append(state_bits(model))
    assert bits[0] == bits[1]


@pytest.mark.filterwarnings("ignore:.*not compiled:UserWarning")  # its history says it too
def test_a_step_that_cannot_be_traced_runs_uncompiled_and_says_so() -> None:
    class Asks(nn.Module):
        def forward(self, x: cr.Tensor) -> cr.Tensor:
            return x * 2 if x.sum() > 0 else x

    untraced, eager = nn.Sequential(network(), Asks()), nn.Sequential(network(), Asks())
    history = trainer(untraced).fit(classes(), val=classes(20, seed=1))
    trainer(eager, compile=False).fit(classes(), val=classes(20, seed=1))
    assert state_bits(untraced) == state_bits(eager)
    assert len(history.notes) == 1
    assert "not compiled" in history.notes[0]
    assert "truth value" in history.notes[0]
    assert "not compiled" in str(history)


@pytest.mark.filterwarnings("ignore:.*not compiled:UserWarning")  # its history says it too
def test_a_note_is_in_the_history_of_the_run_that_goes_on(tmp_path: Path) -> None:
    class Asks(nn.Module):
        def forward(self, x: cr.Tensor) -> cr.Tensor:
            return x * 2 if x.sum() > 0 else x

    first = trainer(nn.Sequential(network(), Asks()), epochs=1)
    first.save(tmp_path / "state")
    own = trainer(nn.Sequential(network(), Asks()))
    own.evaluate(classes(20))
    own.resume(tmp_path / "state")
    assert "not compiled" in own.fit(classes()).notes[0]


def test_a_callback_is_itself_or_a_function() -> None:
    recorder = Recorder()
    assert as_callback(recorder) is recorder
    cr.Callback().on_train_end(trainer(network()))
