"""When training ends, and with which weights."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, GradientError
from chainrule.training import Metric
from chainrule.training.best import Best
from tests.training.problems import Recorder, StopAt, classes, network, numbers, state_bits, trainer


class Values:
    """A metric that says what it is told to say, epoch after epoch."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def metric(self, *, higher: bool = True) -> Metric:
        return Metric("told", lambda targets, outputs: self.values.pop(0), higher)


def told(values: list[float], *, higher: bool = True, **options: Any) -> tuple[cr.Trainer, cr.History, list[Any]]:
    weights: list[Any] = []
    own = trainer(
        network(),
        metrics=[Values(*values).metric(higher=higher)],
        monitor="val_told",
        epochs=len(values),
        callbacks=[lambda trainer, epoch, row: weights.append(state_bits(trainer.model))],
        **options,
    )
    history = own.fit(classes(), val=classes(20, seed=1))
    return own, history, weights


@pytest.mark.parametrize(
    ("values", "higher", "best"),
    [
        ([1.0, 3.0, 2.0], True, 2),
        ([3.0, 1.0, 2.0], False, 2),
        ([1.0, 1.0, 1.0], True, 1),
        ([math.nan, 1.0, math.nan], True, 2),
        ([math.nan, math.nan], False, 1),
        ([math.inf, 2.0, 1.0], False, 3),
        ([-1.0, -0.5, -0.7], True, 2),
    ],
)
def test_the_model_ends_with_the_weights_of_the_best_epoch(values: list[float], higher: bool, best: int) -> None:
    own, history, weights = told(values, higher=higher)
    assert history.best_epoch == best
    assert state_bits(own.model) == weights[best - 1]
    assert not own.model.training
    assert history.stopped == "epochs"


def test_the_weights_of_the_last_epoch_stay_if_that_is_wanted() -> None:
    own, history, weights = told([1.0, 3.0, 2.0], keep_best=False)
    assert history.best_epoch == 2
    assert state_bits(own.model) == weights[2]
    assert own.best is not None
    assert own.best.weights is None


def test_early_stopping_waits_for_patience_epochs_without_improvement() -> None:
    _, history, _ = told([1.0, 2.0, 1.9, 1.9, 5.0], patience=2)
    assert (len(history), history.best_epoch, history.stopped) == (4, 2, "early stopping")
    _, history, _ = told([1.0, 2.0, 1.9, 3.0, 2.0, 2.0], patience=2)
    assert (len(history), history.best_epoch, history.stopped) == (6, 4, "early stopping")


def test_an_epoch_of_nan_is_no_improvement() -> None:
    _, history, _ = told([math.nan] * 5, patience=2)
    assert (len(history), history.stopped) == (3, "early stopping")


def test_an_improvement_must_be_larger_than_min_delta() -> None:
    _, history, _ = told([1.0, 1.05, 1.09, 1.2], min_delta=0.1, patience=3)
    assert history.best_epoch == 4
    _, history, _ = told([1.0, 1.05, 1.09, 1.2], min_delta=0.1, patience=2)
    assert (len(history), history.best_epoch) == (3, 1)


def test_a_target_ends_training_as_soon_as_it_is_reached() -> None:
    _, history, _ = told([0.5, 0.9, 0.95], target=0.9)
    assert (len(history), history.stopped) == (2, "target")
    _, history, _ = told([0.5, 0.2, 0.1], target=0.2, higher=False)
    assert (len(history), history.stopped) == (2, "target")


def test_early_stopping_goes_by_the_validation_loss_and_else_by_the_training_loss() -> None:
    X, y = classes(30)
    noise = np.random.default_rng(1).integers(0, 3, 30)
    own = trainer(network(hidden=30), epochs=200, lr=0.05, patience=5)
    history = own.fit((X, noise), val=(X + 1, noise))
    assert history.stopped == "early stopping"
    assert history.best_epoch == int(np.argmin(history["val_loss"])) + 1 == len(history) - 5
    assert trainer(network()).fit((X, y)).best_epoch == 3


def test_a_time_limit_ends_training_after_the_batch_at_hand() -> None:
    X, y = classes(2000)

    class Slow(cr.Callback):
        def on_batch_end(self, *args: Any) -> None:
            time.sleep(0.01)

    began = time.monotonic()
    own = trainer(network(), epochs=10_000, time_limit=0.3, batch_size=20, callbacks=[Slow()])
    history = own.fit((X, y))
    assert history.stopped == "time"
    assert 0.3 <= history.seconds < time.monotonic() - began + 0.01 < 60.0
    assert history.partial.endswith("of 100 batches")


def test_a_time_limit_counts_what_was_trained_before() -> None:
    own = trainer(network(), epochs=3)
    own.fit(classes())
    own.history.seconds = 100.0
    own.epochs, own.time_limit = 10, 50.0
    history = own.fit(classes())
    assert (len(history), history.stopped) == (3, "time")


# -- stopped amid an epoch -----------------------------------------------------------------------------------------


def test_an_epoch_that_is_ended_early_is_a_row_of_the_history_and_may_be_the_best() -> None:
    own = trainer(network(), callbacks=[StopAt(2, 1, "enough")], lr=0.05)
    history = own.fit(classes(48), val=classes(20, seed=1))
    assert (len(history), history.stopped, history.partial) == (2, "enough", "1 of 3 batches")
    assert history.best_epoch == 2
    assert "(1 of 3 batches)" in str(history).splitlines()[2]


def test_an_epoch_stopped_at_its_last_batch_is_whole() -> None:
    history = trainer(network(), callbacks=[StopAt(2, 3)]).fit(classes(48))
    assert (len(history), history.partial, history.stopped) == (2, "", "callback")
    X, y = classes(48)
    batches = [(X[k : k + 16], y[k : k + 16]) for k in (0, 16, 32)]
    history = trainer(network(), callbacks=[StopAt(2, 3)]).fit(iter_again(batches))
    assert history.partial == ""
    history = trainer(network(), callbacks=[StopAt(2, 2)]).fit(iter_again(batches))
    assert history.partial == "2 of more batches"


def iter_again(batches: list[Any]) -> Any:
    class Again:
        def __iter__(self) -> Any:
            return iter(batches)

    return Again()


def test_training_can_be_ended_before_the_first_epoch() -> None:
    class Never(cr.Callback):
        def on_train_begin(self, trainer: cr.Trainer) -> None:
            trainer.stop("not today")

    model = network()
    before = state_bits(model)
    history = trainer(model, callbacks=[Never()]).fit(classes())
    assert (len(history), history.stopped, history.best) == (0, "not today", {})
    assert state_bits(model) == before


def test_an_epoch_can_be_ended_before_its_first_batch() -> None:
    class Second(cr.Callback):
        def on_epoch_begin(self, trainer: cr.Trainer, epoch: int) -> None:
            if epoch == 2:
                trainer.stop()

    history = trainer(network(), callbacks=[Second()]).fit(classes())
    assert (len(history), history.stopped, history.partial) == (1, "callback", "")


# -- fit called again ----------------------------------------------------------------------------------------------


def test_fit_again_goes_on_to_the_bits_of_one_run() -> None:
    once, twice = network(), network()
    whole = trainer(once, epochs=6)
    whole.fit(classes(), val=classes(20, seed=1))
    parts = trainer(twice, epochs=2)
    parts.fit(classes(), val=classes(20, seed=1))
    parts.epochs = 6
    history = parts.fit(classes(), val=classes(20, seed=1))
    assert len(history) == 6
    assert state_bits(once) == state_bits(twice)


def test_fit_again_without_more_epochs_changes_nothing() -> None:
    model = network()
    own = trainer(model)
    own.fit(classes())
    before = state_bits(model)
    assert len(own.fit(classes())) == 3
    assert own.history.stopped == "epochs"
    assert state_bits(model) == before


def test_fit_again_after_an_early_end_repeats_the_epoch_from_its_beginning() -> None:
    once, twice = network(), network()
    trainer(once, epochs=4).fit(classes(48))
    stopper = StopAt(3, 2)
    parts = trainer(twice, epochs=4, callbacks=[stopper])
    parts.fit(classes(48))
    assert parts.history.partial
    stopper.epoch = 0
    history = parts.fit(classes(48))
    assert (len(history), history.partial, history.stopped) == (4, "", "epochs")
    assert state_bits(once) == state_bits(twice)


def test_weights_changed_between_two_fits_are_gone_on_with() -> None:
    model = network()
    own = trainer(model)
    own.fit(classes())
    with cr.no_grad():
        model[2].bias[0] = 50.0
    own.epochs = 4
    history = own.fit(classes())
    assert history.notes == ["the weights were changed from outside after epoch 3"]
    assert history["train_loss"][3] > history["train_loss"][2]
    assert abs(own.standing().weights["2.bias"][0] - 50) < 1


def test_other_rows_may_be_learned_from_in_the_next_fit() -> None:
    own = trainer(network())
    own.fit(classes(48))
    own.epochs = 5
    assert len(own.fit(classes(32, seed=7))) == 5


@pytest.mark.parametrize("stopped", [False, True])
def test_a_rate_set_between_two_fits_is_gone_on_with(stopped: bool) -> None:
    own = trainer(network(), lr=0.1, callbacks=[StopAt(3, 2)] if stopped else [])
    own.fit(classes(48))
    own.callbacks.clear()
    own.optimizer.param_groups[0]["lr"] = 0.01
    own.epochs = 4
    history = own.fit(classes(48))
    assert history["lr"] == ([0.1, 0.1, 0.01, 0.01] if stopped else [0.1, 0.1, 0.1, 0.01])
    assert history.notes == [f"lr was set to 0.01 from outside after epoch {2 if stopped else 3}"]


def test_a_model_that_got_other_layers_needs_a_new_trainer() -> None:
    model = network()
    own = trainer(model)
    own.fit(classes())
    model.append(nn.Linear(3, 3))
    with pytest.raises(ArgumentError, match="the model has other parameters than when it was trained"):
        own.fit(classes())


def test_after_an_error_training_stands_where_the_epoch_began() -> None:
    class Fails(cr.Callback):
        def on_batch_end(self, trainer: cr.Trainer, epoch: int, batch: int, loss: float, outputs: cr.Tensor) -> None:
            if (epoch, batch) == (3, 2):
                raise ZeroDivisionError

    once, twice = network(), network()
    trainer(once, epochs=4).fit(classes(48))
    failing = trainer(twice, epochs=4, callbacks=[Fails()])
    with pytest.raises(ZeroDivisionError):
        failing.fit(classes(48))
    assert len(failing.history) == 2
    failing.callbacks.clear()
    failing.fit(classes(48))
    assert state_bits(once) == state_bits(twice)


# -- what is monitored ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("monitor", "val", "message"),
    [
        ("val_accuracy", True, "expected one of train_loss, val_loss, val_r2.*Add 'accuracy' to metrics"),
        ("accuracy", True, "Add 'accuracy' to metrics"),
        ("r2", True, "Did you mean val_r2?"),
        ("val_los", True, "Did you mean val_loss?"),
        ("val_loss", False, r"Give validation rows, val=\(X, y\)"),
        ("lr", False, "expected one of train_loss, train_r2"),
    ],
)
def test_a_monitor_that_is_not_there_is_refused_before_training(monitor: str, val: bool, message: str) -> None:
    recorder = Recorder()
    own = trainer(network(outputs=1), metrics=["r2"], monitor=monitor, callbacks=[recorder])
    with pytest.raises(ArgumentError, match=f"monitor='{monitor}'; {message}" if "expected" in message else message):
        own.fit(numbers(), val=numbers(20, seed=1) if val else None)
    assert recorder.events == []


def test_another_monitor_in_the_next_fit_begins_anew() -> None:
    own = trainer(network(), metrics=["accuracy"])
    own.fit(classes(), val=classes(20, seed=1))
    own.epochs, own.monitor = 5, "val_accuracy"
    history = own.fit(classes(), val=classes(20, seed=1))
    assert own.best is not None
    assert own.best.name == "val_accuracy"
    assert history.best_epoch == 3 + int(np.argmax(history["val_accuracy"][3:])) + 1


def test_a_best_is_kept_and_restored_as_values() -> None:
    best = Best("val_loss", higher=False, min_delta=0.5)
    assert best.see({"val_loss": 2.0}, 1)
    assert not best.see({"val_loss": 1.6}, 2)
    assert vars(Best.from_dict(best.to_dict())) == vars(best) == vars(best.copy())


def test_after_training_gradients_of_inputs_can_be_read_and_those_of_parameters_after_zero_grad() -> None:
    X, y = classes()
    model = network()
    trainer(model).fit((X, y))
    x = cr.tensor(X, requires_grad=True)
    model(x).sum().backward()
    assert x.grad is not None
    with pytest.raises(GradientError, match=r"did not keep.*zero_grad\(\) first"):
        model[0].weight.grad
    model.zero_grad()
    model(x).sum().backward()
    assert model[0].weight.grad.any()


class Weights(cr.Callback):
    """Notes the bits of the model after each batch of the first epoch, and stops after one of them."""

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.bits: list[Any] = []

    def on_batch_end(self, trainer: Any, epoch: int, batch: int, loss: Any, outputs: Any) -> None:
        self.bits.append(state_bits(trainer.model))
        if batch == self.at:
            trainer.stop("enough")


@pytest.mark.parametrize("native", ["0", "1"])
@pytest.mark.parametrize("from_arrays", [True, False])
@pytest.mark.parametrize("at", [1, 3, 10])
def test_nothing_is_learned_after_the_batch_at_which_training_is_stopped(
    at: int, from_arrays: bool, native: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", native)
    X, y = classes(160)
    data = (X, y) if from_arrays else iter_again([(X[k : k + 16], y[k : k + 16]) for k in range(0, 160, 16)])
    whole, stopped = Weights(), Weights(at)
    trainer(network(), epochs=1, callbacks=[whole]).fit(data)
    own = trainer(network(), epochs=1, callbacks=[stopped])
    history = own.fit(data)
    assert stopped.bits == whole.bits[:at]
    assert state_bits(own.model) == whole.bits[at - 1]
    assert bool(history.partial) == (at < 10)


def test_a_time_limit_ends_many_batches_of_one_call_where_the_history_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    X, y = classes(200_000)
    own = trainer(network(), epochs=1, batch_size=1, time_limit=0.05, optimizer="adam")
    history = own.fit((X, y))
    steps = {int(state["step"]) for state in own.optimizer.state.values()}
    assert steps == {int(history.partial.split()[0])}
