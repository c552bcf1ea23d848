"""How good predictions are, as numbers. NumPy in, one number out.

Classification metrics take ``labels`` (integers) and ``scores`` (one column per class, larger is likelier; or, for two
classes, one column: the score of class 1, which is predicted above 0). Regression metrics take ``targets`` and
``predictions``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, ShapeError, nearest
from chainrule.graph import Array


class Metric(NamedTuple):
    """A metric by name: what computes it from targets and outputs, and whether more is better.

    ``of_scores`` says that it takes ``scores`` as above, with 0 between the two classes of one column.
    """

    name: str
    compute: Callable[[Array, Array], float]
    higher_is_better: bool
    of_scores: bool = False

    def measure(self, targets: Array, outputs: Array, threshold: float = 0.0) -> float:
        """Return the metric of a model's outputs; those of one column mean class 1 above ``threshold``."""
        if self.of_scores and threshold:
            outputs = outputs - threshold
        return float(self.compute(targets, outputs))


# -- classification ----------------------------------------------------------------------------------------------------


def predicted_labels(scores: Array) -> Array:
    """Return the likeliest class of each row."""
    if scores.ndim == 1 or scores.shape[-1] == 1:
        return (scores.reshape(len(scores)) > 0).astype(np.int64)
    labels: Array = np.argmax(scores, axis=-1)
    return labels


def accuracy(labels: Array, scores: Array) -> float:
    """Return the part of rows whose likeliest class is right."""
    return float(np.mean(predicted_labels(scores) == _flat(labels, scores)))


def error_rate(labels: Array, scores: Array) -> float:
    """Return the part of rows whose likeliest class is wrong."""
    return 1.0 - accuracy(labels, scores)


def confusion_matrix(labels: Array, predicted: Array, num_classes: int) -> Array:
    """Return counts: row = true class, column = predicted class."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels.astype(np.int64), predicted.astype(np.int64)), 1)
    return counts


def balanced_accuracy(labels: Array, scores: Array) -> float:
    """Return the mean over classes of the part of their rows that is right."""
    predicted, true = predicted_labels(scores), _flat(labels, scores)
    return float(np.mean([np.mean(predicted[true == c] == c) for c in np.unique(true)]))


def f1(labels: Array, scores: Array) -> float:
    """Return the mean over classes of 2 · precision · recall / (precision + recall) (macro F1)."""
    predicted, true = predicted_labels(scores), _flat(labels, scores)
    values = []
    for c in np.union1d(true, predicted):
        hits = np.sum((predicted == c) & (true == c))
        values.append(2 * hits / (np.sum(predicted == c) + np.sum(true == c)))
    return float(np.mean(values))


def roc_auc(labels: Array, scores: Array) -> float:
    """Return the chance that a row of class 1 scores above a row of class 0, ties counting half; NaN without both.

    By ranks (Mann and Whitney 1947): (Σ ranks of class 1 - n₁ (n₁ + 1) / 2) / (n₁ n₀), tied rows sharing their mean rank.
    """
    positive, s = _of_two_classes(labels, scores)
    _, inverse, counts = np.unique(s, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse.reshape(len(s))]
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if n1 == 0 or n0 == 0:
        return float("nan")
    return float((ranks[positive].sum() - n1 * (n1 + 1) / 2.0) / (n1 * n0))


def average_precision(labels: Array, scores: Array) -> float:
    """Return the area under precision over recall: Σ (Rₖ - Rₖ₋₁) Pₖ over falling thresholds; NaN without class 1."""
    positive, s = _of_two_classes(labels, scores)
    order = np.argsort(-s, kind="stable")
    hits = np.cumsum(positive[order])
    if not hits[-1]:
        return float("nan")
    ends = np.append(np.nonzero(np.diff(s[order]))[0], len(s) - 1)  # tied rows share a threshold
    precision = hits[ends] / (ends + 1)
    recall = np.concatenate([[0.0], hits[ends] / hits[-1]])
    return float(np.sum(np.diff(recall) * precision))


def _flat(labels: Array, scores: Array) -> Array:
    if labels.size != len(labels) or len(labels) != len(scores) or scores.ndim > 2:
        raise ShapeError(
            f"labels of shape {labels.shape} and scores of shape {scores.shape}",
            expected="a label and a row of scores for each row",
        )
    return labels.reshape(len(labels))


def _of_two_classes(labels: Array, scores: Array) -> tuple[Array, Array]:
    """Return whether each row is of class 1, and its score."""
    true = _flat(labels, scores)
    if scores.ndim == 2 and scores.shape[1] > 2:
        raise ArgumentError(f"this metric is for two classes; the scores have {scores.shape[1]} columns")
    if not np.isin(true, (0, 1)).all():
        raise ArgumentError(f"this metric is for the labels 0 and 1; got {np.unique(true)[:5].tolist()}")
    s = scores[:, 1] - scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 2 else scores.reshape(len(scores))
    return true.astype(bool), s


# -- regression --------------------------------------------------------------------------------------------------------


def mse(targets: Array, predictions: Array) -> float:
    """Return the mean squared error."""
    t, p = _columns(targets, predictions)
    return float(np.mean((t - p) ** 2))


def rmse(targets: Array, predictions: Array) -> float:
    """Return the root of the mean squared error (of all columns together)."""
    return float(np.sqrt(mse(targets, predictions)))


def mae(targets: Array, predictions: Array) -> float:
    """Return the mean absolute error."""
    t, p = _columns(targets, predictions)
    return float(np.mean(np.abs(t - p)))


def r2(targets: Array, predictions: Array) -> float:
    """Return 1 - squared error / squared error of the mean, the mean over columns; NaN where all targets are equal."""
    t, p = _columns(targets, predictions)
    total = np.sum((t - t.mean(axis=0)) ** 2, axis=0)
    if not total.all():
        return float("nan")
    return float(np.mean(1 - np.sum((t - p) ** 2, axis=0) / total))


def _columns(targets: Array, predictions: Array) -> tuple[Array, Array]:
    """Return both as float64 of shape [rows, columns]; [n] and [n, 1] are the same."""
    t, p = (a.reshape(len(a), -1).astype(np.float64) for a in (targets, predictions))
    if t.shape != p.shape:
        raise ShapeError(f"targets of shape {targets.shape} and predictions of shape {predictions.shape}")
    return t, p


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", accuracy, True, of_scores=True),
        Metric("error_rate", error_rate, False, of_scores=True),
        Metric("balanced_accuracy", balanced_accuracy, True, of_scores=True),
        Metric("f1", f1, True, of_scores=True),
        Metric("roc_auc", roc_auc, True, of_scores=True),
        Metric("average_precision", average_precision, True, of_scores=True),
        Metric("mse", mse, False),
        Metric("rmse", rmse, False),
        Metric("mae", mae, False),
        Metric("r2", r2, True),
    )
}


def metric_named(metric: Any) -> Metric:
    """Return the metric for a name, a function of (targets, outputs) of which more is better, or a Metric."""
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        if metric not in METRICS:
            raise ArgumentError(
                f"there is no metric {metric!r}", expected=f"one of {', '.join(METRICS)}", fix=nearest(metric, METRICS)
            )
        return METRICS[metric]
    if not callable(metric):
        raise ArgumentTypeError(
            f"metrics: got {metric!r}", expected=f"a function, a Metric, or one of {', '.join(METRICS)}"
        )
    return Metric(getattr(metric, "__name__", type(metric).__name__), metric, True)
