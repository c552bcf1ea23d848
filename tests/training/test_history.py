"""The history as a table, as CSV, and as plain values."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

import chainrule as cr
from chainrule.errors import NameUnknown
from tests.training.problems import StopAt, classes, network, trainer


def history() -> cr.History:
    return trainer(network(), metrics=["accuracy"], epochs=2).fit(classes(), val=classes(20, seed=1))


def test_columns_are_lists_with_a_number_per_epoch() -> None:
    h = history()
    assert h.names == ["epoch", "train_loss", "val_loss", "val_accuracy", "lr", "seconds"]
    assert h["epoch"] == [1, 2]
    assert "val_loss" in h
    assert "val_f1" not in h
    assert [row["epoch"] for row in h] == [1, 2]
    assert h.best == h.rows[h.best_epoch - 1]  # type: ignore[operator]  # there is one
    with pytest.raises(NameUnknown, match="the history has no 'val_los'.*Did you mean"):
        h["val_los"]
    with pytest.raises(NameUnknown, match="It has"):
        h["zzzzz"]


def test_csv_keeps_every_digit() -> None:
    h = history()
    rows = list(csv.DictReader(io.StringIO(h.to_csv())))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == h.rows
    assert h.to_csv().splitlines()[0] == "epoch,train_loss,val_loss,val_accuracy,lr,seconds"


def test_columns_that_some_epochs_lack_are_empty_or_not_a_number() -> None:
    h = cr.History()
    h.append({"epoch": 1, "a": 1.0})
    h.append({"epoch": 2, "b": 2.0})
    assert math.isnan(h["a"][1])
    assert h.to_csv() == "epoch,a,b\n1,1.0,\n2,,2.0\n"
    assert "1" in str(h)


def test_plain_values_go_to_json_and_back() -> None:
    h = trainer(network(), callbacks=[StopAt(2, 1, "enough")]).fit(classes())
    h.note("a note")
    h.note("a note")
    again = cr.History.from_dict(json.loads(json.dumps(h.to_dict())))
    assert vars(again) == vars(h)
    assert (again.notes, again.stopped, again.partial) == (["a note"], "enough", "1 of 4 batches")


def test_a_history_prints_as_a_table() -> None:
    h = cr.History()
    h.append({"epoch": 1, "train_loss": 0.5, "val_balanced_accuracy": 0.25})
    h.append({"epoch": 2, "train_loss": 0.25, "val_balanced_accuracy": 1 / 3})
    h.best_epoch, h.stopped, h.seconds, h.partial = 1, "time", 12.34, "3 of 10 batches"
    h.note("something to know")
    assert str(h).splitlines() == [
        "       epoch    train_loss  val_balanced_accuracy",
        "           1           0.5                   0.25  best",
        "           2          0.25                0.33333  (3 of 10 batches)",
        "stopped: time, after 12.3 s",
        "something to know",
    ]
    assert repr(h) == "<History: 2 epochs, best 1>"


def test_a_last_epoch_that_is_the_best_may_be_bettered_unless_training_ended_for_another_reason() -> None:
    history = cr.History()
    for epoch in (1, 2, 3):
        history.append({"epoch": epoch, "train_loss": 1 / epoch, "val_loss": 2 / epoch})
    history.best_epoch = 3
    ended = {}
    for why in ("epochs", "time", "early stopping", "target", "interrupted", "good enough"):
        history.stopped = why
        ended[why] = history.ended_at_best
    assert [why for why, is_best in ended.items() if is_best] == ["epochs", "time"]
    history.stopped, history.best_epoch = "epochs", 2
    assert not history.ended_at_best


def test_the_training_loss_alone_does_not_say_that_more_epochs_help() -> None:
    history = cr.History()
    history.append({"epoch": 1, "train_loss": 0.5})
    history.best_epoch, history.stopped = 1, "epochs"
    assert not history.ended_at_best


def test_cutting_forgets_what_came_after() -> None:
    h = history()
    h.stopped = "epochs"
    h.cut(5, 2)
    assert (len(h), h.stopped) == (2, "epochs")
    h.cut(1, 1)
    assert (len(h), h.stopped, h.best_epoch) == (1, "", 1)
    assert cr.History().best == {}


def test_a_number_is_no_name_of_a_history() -> None:
    history = trainer(network(), epochs=1).fit(classes(20))
    with pytest.raises(NameUnknown, match=r"the history has no 0.*history\.rows has the epochs' rows"):
        history[0]  # type: ignore[index]
