"""Many epochs in one native call: the history, the weights and the ends of one epoch after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import NotFiniteError
from chainrule.training.epochs import Epochs
from chainrule.training.trainer import Trainer

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
Y = np.array([[0], [1], [1], [0]], np.float32)
WEIGHT = np.array([1.0, 2.0, 0.5, 1.0], np.float32)


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many epochs each native call was for."""
    found: list[int] = []
    learn = Trainer.learn_again

    def counted(self: Trainer, batch: Any, times: int, rates: Any) -> Any:
        found.append(times)
        return learn(self, batch, times, rates)

    monkeypatch.setattr(Trainer, "learn_again", counted)
    return found


def trainer(callbacks: Any = (), dropout: float = 0.0, **options: Any) -> Trainer:
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Dropout(dropout), nn.Linear(4, 1))
    given = {"loss": "bce_with_logits", "lr": 0.05, "batch_size": 4, "epochs": 300, "progress": False, **options}
    return Trainer(model, callbacks=callbacks, **given)


def weights(model: Any) -> list[bytes]:
    return [x.detach().numpy().tobytes() for x in model.state_dict().values()]


def rows(history: Any) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history.rows]


def listening(trainer: Any, epoch: int, row: Any) -> None:
    """A callback that has to be told of every epoch."""


CASES: dict[str, dict[str, Any]] = {
    "adam": {},
    "momentum": {"optimizer": lambda p, lr: cr.optim.SGD(p, lr=10 * lr, momentum=0.9)},
    "the last weights": {"keep_best": False},
    "clipped, with a penalty": {"clip_norm": 0.1, "l2": 1e-3},
    "cosine": {"schedule": "cosine"},
    "steps": {"schedule": "step"},
    "dropout": {"dropout": 0.5},
    "target": {"target": 0.3},
    "patience": {"dropout": 0.5, "patience": 7},
    "patience of one": {"dropout": 0.5, "patience": 1},
    "all rows": {"batch_size": None},
    "time": {"time_limit": 100.0},
}


@pytest.mark.parametrize("name", CASES)
def test_the_bits_and_the_history_are_those_of_one_epoch_after_the_other(name: str, calls: list[int]) -> None:
    options = CASES[name]
    alone = trainer([listening], **options)
    expected = alone.fit((X, Y))
    assert not calls
    many = trainer(**options)
    history = many.fit((X, Y))
    assert calls
    assert rows(history) == rows(expected)
    assert (history.best_epoch, history.stopped, history.partial) == (expected.best_epoch, expected.stopped, "")
    assert weights(many.model) == weights(alone.model)
    assert many.optimizer.state_dict()["param_groups"] == alone.optimizer.state_dict()["param_groups"]
    seconds = [row["seconds"] for row in history.rows]
    assert seconds == sorted(seconds)


def test_weighted_rows(calls: list[int]) -> None:
    alone, many = trainer([listening]), trainer()
    assert rows(alone.fit((X, Y, WEIGHT))) == rows(many.fit((X, Y, WEIGHT)))
    assert weights(alone.model) == weights(many.model)
    assert max(calls) > 4


def test_going_on_later_is_the_same_as_at_once(calls: list[int]) -> None:
    whole, parts = trainer(dropout=0.3), trainer(dropout=0.3, epochs=97)
    expected = whole.fit((X, Y))
    parts.fit((X, Y))
    parts.epochs = 300
    assert rows(parts.fit((X, Y))) == rows(expected)
    assert weights(parts.model) == weights(whole.model)


def test_what_has_to_happen_between_epochs_happens(calls: list[int], tmp_path: Any) -> None:
    seen: list[int] = []
    trainer([lambda trainer, epoch, row: seen.append(epoch)], epochs=40).fit((X, Y))
    assert seen == list(range(1, 41))
    trainer(epochs=40).fit((X, Y), val=(X, Y))
    trainer(epochs=40, metrics=["accuracy"]).fit((X, Y))
    trainer(epochs=40, schedule="plateau").fit((X, Y))
    trainer(epochs=40, batch_size=2).fit((X, Y))
    trainer(epochs=40, checkpoint=tmp_path / "state").fit((X, Y))
    trainer(epochs=40, compile=False).fit((X, Y))
    assert not calls


def test_a_callback_that_is_told_of_the_end_alone_may_listen(calls: list[int]) -> None:
    class Ends(cr.Callback):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def on_train_begin(self, trainer: Any) -> None:
            self.seen.append("begin")

        def on_train_end(self, trainer: Any) -> None:
            self.seen.append("end")

    ends = Ends()
    trainer([ends], epochs=40).fit((X, Y))
    assert ends.seen == ["begin", "end"]
    assert calls


def growing(optimizer: Any) -> Any:
    """A rate that grows until nothing is finite."""
    return cr.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.3**epoch)


def test_an_epoch_that_fails_is_named_and_training_stands_before_it(calls: list[int]) -> None:
    def failing(callbacks: Any) -> tuple[str, Trainer]:
        found = trainer(callbacks, loss="mse", optimizer="sgd", schedule=growing)
        with pytest.raises(NotFiniteError) as error:
            found.fit((X, Y))
        return str(error.value), found

    (text, many), (expected, alone) = failing([]), failing([listening])
    assert calls
    assert text == expected
    assert len(many.history) == len(alone.history) > 20
    assert rows(many.history) == rows(alone.history)
    assert weights(many.model) == weights(alone.model)


def test_a_stop_between_calls_ends_training_after_whole_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = trainer(epochs=5000)
    learn = Epochs.learn

    def stopping(self: Epochs) -> bool:
        done = learn(self)
        if len(found.history) > 100:
            found.stop("enough")
        return done

    monkeypatch.setattr(Epochs, "learn", stopping)
    history = found.fit((X, Y))
    assert 100 < len(history) < 5000
    assert (history.stopped, history.partial) == ("enough", "")


def test_every_epoch_is_a_line_of_the_progress(capsys: pytest.CaptureFixture[str]) -> None:
    trainer(epochs=60, progress=None).fit((X, Y))
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("epoch") for line in lines) == 60
