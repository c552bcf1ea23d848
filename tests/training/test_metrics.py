"""Metrics against scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule import nn
from chainrule.errors import ArgumentError, ArgumentTypeError, ShapeError
from chainrule.training import METRICS, Metric, confusion_matrix, metric_named, predicted_labels
from tests.tolerances import assert_close
from tests.training.problems import classes, network, numbers, trainer

reference = pytest.importorskip("sklearn.metrics")

TWO_CLASSES: dict[str, Any] = {
    "roc_auc": reference.roc_auc_score,
    "average_precision": reference.average_precision_score,
}
OF_LABELS: dict[str, Any] = {
    "accuracy": reference.accuracy_score,
    "error_rate": lambda y, p: 1 - reference.accuracy_score(y, p),
    "balanced_accuracy": reference.balanced_accuracy_score,
    "f1": lambda y, p: reference.f1_score(y, p, average="macro"),
}
OF_NUMBERS: dict[str, Any] = {
    "mse": reference.mean_squared_error,
    "rmse": reference.root_mean_squared_error,
    "mae": reference.mean_absolute_error,
    "r2": reference.r2_score,
}


def test_every_metric_has_a_reference() -> None:
    assert METRICS.keys() == TWO_CLASSES.keys() | OF_LABELS.keys() | OF_NUMBERS.keys()


@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(2, 5))
def test_metrics_of_several_classes_are_scikit_learns(seed: int, rows: int, kinds: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, kinds, rows)
    labels[:kinds] = np.arange(kinds)[:rows]  # each class that is predicted occurs, or scikit-learn warns
    scores = random.normal(size=(rows, kinds)).astype(np.float32)
    scores[:, labels.max() + 1 :] = -np.inf
    predicted = scores.argmax(1)
    for name, expected in OF_LABELS.items():
        assert_close(METRICS[name].compute(labels, scores), float(expected(labels, predicted)))


@given(st.integers(0, 2**32), st.integers(3, 40), st.sampled_from([2, 5, 1000]))
def test_metrics_of_two_classes_are_scikit_learns_with_ties_too(seed: int, rows: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, rows)
    labels[:2] = 0, 1
    scores = random.integers(-levels, levels, rows) / levels
    for name, expected in TWO_CLASSES.items():
        assert_close(METRICS[name].compute(labels, scores), float(expected(labels, scores)))
        assert_close(METRICS[name].compute(labels[:, None], scores[:, None]), float(expected(labels, scores)))
        two = np.stack([-scores / 2, scores / 2], 1)
        assert_close(METRICS[name].compute(labels, two), float(expected(labels, scores)))
    for name, expected in OF_LABELS.items():
        assert_close(METRICS[name].compute(labels, scores), float(expected(labels, scores > 0)))


@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(1, 4))
def test_metrics_of_numbers_are_scikit_learns(seed: int, rows: int, columns: int) -> None:
    random = np.random.default_rng(seed)
    targets, predictions = random.normal(size=(2, rows, columns))
    for name, expected in OF_NUMBERS.items():
        if name != "rmse" or columns == 1:
            assert_close(METRICS[name].compute(targets, predictions), float(expected(targets, predictions)))
    flat = METRICS["r2"].compute(targets[:, 0], predictions[:, :1])
    assert_close(flat, float(reference.r2_score(targets[:, 0], predictions[:, 0])))


def test_the_root_of_the_mean_squared_error_is_that_of_all_columns_together() -> None:
    assert METRICS["rmse"].compute(np.zeros((2, 2)), np.array([[1.0, 1.0], [3.0, 5.0]])) == 3.0


def test_metrics_are_not_a_number_where_they_are_not_defined() -> None:
    assert np.isnan(METRICS["roc_auc"].compute(np.ones(3, int), np.arange(3.0)))
    assert np.isnan(METRICS["average_precision"].compute(np.zeros(3, int), np.arange(3.0)))
    assert np.isnan(METRICS["r2"].compute(np.ones(3), np.arange(3.0)))


def test_the_confusion_matrix_has_a_row_per_true_class() -> None:
    labels, predicted = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0])
    assert (confusion_matrix(labels, predicted, 3) == reference.confusion_matrix(labels, predicted)).all()


def test_the_likeliest_class_is_the_largest_score_or_the_sign() -> None:
    assert predicted_labels(np.array([[0.1, 0.9], [2.0, 1.0]])).tolist() == [1, 0]
    assert predicted_labels(np.array([[-0.5], [0.0], [0.5]])).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("name", "targets", "outputs", "message"),
    [
        ("roc_auc", np.array([0, 1]), np.zeros((2, 3)), "for two classes; the scores have 3 columns"),
        ("roc_auc", np.array([1, 2]), np.zeros(2), r"for the labels 0 and 1; got \[1, 2\]"),
        ("accuracy", np.zeros((2, 3)), np.zeros((2, 3)), r"labels of shape \(2, 3\)"),
        ("f1", np.zeros(2), np.zeros(3), r"labels of shape \(2,\) and scores of shape \(3,\)"),
        ("mse", np.zeros(2), np.zeros((2, 3)), r"targets of shape \(2,\) and predictions of shape \(2, 3\)"),
    ],
)
def test_misfits_are_told_with_their_shapes(name: str, targets: Any, outputs: Any, message: str) -> None:
    with pytest.raises((ArgumentError, ShapeError), match=message):
        METRICS[name].compute(targets, outputs)


def test_a_metric_may_be_a_name_a_function_or_a_metric() -> None:
    def largest(targets: Any, outputs: Any) -> float:
        return float(outputs.max())

    assert metric_named("r2") is METRICS["r2"]
    assert metric_named(largest) == Metric("largest", largest, True)
    own = Metric("spread", lambda t, p: float(np.ptp(p)), False)
    history = trainer(network(outputs=1), metrics=[largest, own, "mae"], monitor="val_spread").fit(
        numbers(), val=numbers(20, seed=1)
    )
    assert history.names == ["epoch", "train_loss", "val_loss", "val_largest", "val_spread", "val_mae", "lr", "seconds"]
    assert history.best_epoch == int(np.argmin(history["val_spread"])) + 1


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["acuracy"], "there is no metric 'acuracy'.*Did you mean accuracy?"),
        ("zzz", "there is no metric 'zzz'; expected one of accuracy"),
        ([3], "metrics: got 3; expected a function, a Metric, or one of"),
    ],
)
def test_what_is_no_metric_is_refused(metrics: Any, message: str) -> None:
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        trainer(network(), metrics=metrics)


def test_one_name_need_not_be_a_list() -> None:
    assert "val_accuracy" in trainer(network(), metrics="accuracy").fit(classes(), val=classes(20, seed=1))


# -- while training ----------------------------------------------------------------------------------------------------


def test_the_metrics_of_an_epoch_are_those_of_the_predictions() -> None:
    X, y = classes(40, kinds=2)
    val = classes(30, kinds=2, seed=1)
    own = trainer(network(outputs=2), metrics=["accuracy", "roc_auc"], keep_best=False)
    history = own.fit((X, y), val=val)
    scores = own.predict(val[0])
    assert history["val_accuracy"][-1] == reference.accuracy_score(val[1], scores.argmax(1))
    assert_close(history["val_roc_auc"][-1], float(reference.roc_auc_score(val[1], scores[:, 1] - scores[:, 0])))
    assert own.evaluate(val) == {name[4:]: history[name][-1] for name in ("val_loss", "val_accuracy", "val_roc_auc")}


def test_without_validation_rows_the_metrics_are_those_of_the_training_rows_as_they_are_learned() -> None:
    X, y = classes(40)
    own = trainer(network(), metrics=["accuracy"], epochs=30, lr=0.02, monitor="train_accuracy")
    history = own.fit((X, y))
    assert history.names == ["epoch", "train_loss", "train_accuracy", "lr", "seconds"]
    assert history["train_accuracy"][-1] > 0.8
    assert history.best_epoch == int(np.argmax(history["train_accuracy"])) + 1


@pytest.mark.parametrize(
    ("loss", "last"),
    [
        ("bce_with_logits", []),
        ("bce", [nn.Sigmoid()]),
        ("mse", [nn.Sigmoid()]),
        ("mse", []),
        (nn.SoftMarginLoss(), []),
        (lambda p, y: ((p - y) ** 2).mean(), [nn.Sigmoid()]),
    ],
)
def test_one_output_means_class_1_above_0_for_logits_and_above_a_half_for_probabilities(loss: Any, last: Any) -> None:
    X, y = classes(80, kinds=2)
    signs = isinstance(loss, nn.SoftMarginLoss)
    own = trainer(nn.Sequential(network(outputs=1), *last), loss=loss, epochs=60, lr=0.05, metrics=["accuracy"])
    history = own.fit((X, y), val=(X, y)) if not signs else own.fit((X, (2 * y - 1).astype(float)))
    if not signs:
        assert history["val_accuracy"][-1] > 0.9
