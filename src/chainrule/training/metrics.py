"""How good predictions are, as numbers. NumPy in, one number out.

Classification metrics take ``labels`` (integers) and ``scores`` (one column per class, larger is likelier; or, for two
classes, one column: the score of class 1). Regression metrics take ``targets`` and ``predictions``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import ArgumentError, nearest

Array = np.ndarray[Any, np.dtype[Any]]


class Metric(NamedTuple):
    """A metric by name: what computes it, and whether more is better."""

    name: str
    compute: Callable[[Array, Array], float]
    higher_is_better: bool


def predicted_labels(scores: Array) -> Array:
    """Return the likeliest class of each row."""
    if scores.ndim == 1 or scores.shape[-1] == 1:
        return (scores.reshape(len(scores)) > 0).astype(np.int64)
    return np.argmax(scores, axis=-1)


def accuracy(labels: Array, scores: Array) -> float:
    """Return the part of rows whose likeliest class is right."""
    return float(np.mean(predicted_labels(scores) == labels.reshape(len(labels))))


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
    predicted = predicted_labels(scores)
    flat = labels.reshape(len(labels))
    return float(np.mean([np.mean(predicted[flat == c] == c) for c in np.unique(flat)]))


def f1(labels: Array, scores: Array) -> float:
    """Return the mean over classes of 2 · precision · recall / (precision + recall) (macro F1)."""
    predicted = predicted_labels(scores)
    flat = labels.reshape(len(labels))
    values = []
    for c in np.union1d(flat, predicted):
        hits = np.sum((predicted == c) & (flat == c))
        values.append(2 * hits / max(np.sum(predicted == c) + np.sum(flat == c), 1))
    return float(np.mean(values))


def _positive_scores(scores: Array) -> Array:
    if scores.ndim == 2 and scores.shape[1] == 2:
        return np.asarray(scores[:, 1] - scores[:, 0])
    if scores.ndim == 2 and scores.shape[1] > 2:
        raise ArgumentError(f"this metric is for two classes; got {scores.shape[1]}", expected="2")
    return scores.reshape(len(scores))


def roc_auc(labels: Array, scores: Array) -> float:
    """Return the chance that a row of class 1 scores above a row of class 0 (ties count half)."""
    positive = labels.reshape(len(labels)).astype(bool)
    s = _positive_scores(scores)
    order = np.argsort(s, kind="stable")
    _, inverse, counts = np.unique(s, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2.0)[inverse.reshape(len(s))]  # mean rank of ties
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if n1 == 0 or n0 == 0 or order.size == 0:
        return float("nan")
    return float((ranks[positive].sum() - n1 * (n1 + 1) / 2.0) / (n1 * n0))


def average_precision(labels: Array, scores: Array) -> float:
    """Return the area under precision over recall: Σ (Rₖ - Rₖ₋₁) Pₖ over falling thresholds."""
    positive = labels.reshape(len(labels)).astype(bool)
    s = _positive_scores(scores)
    order = np.argsort(-s, kind="stable")
    hits = np.cumsum(positive[order])
    if not hits.size or hits[-1] == 0:
        return float("nan")
    ends = np.append(np.nonzero(np.diff(s[order]))[0], len(s) - 1)
    precision = hits[ends] / (ends + 1)
    recall = np.concatenate([[0.0], hits[ends] / hits[-1]])
    return float(np.sum(np.diff(recall) * precision))


def mse(targets: Array, predictions: Array) -> float:
    """Return the mean squared error."""
    return float(np.mean((targets.reshape(-1).astype(np.float64) - predictions.reshape(-1)) ** 2))


def rmse(targets: Array, predictions: Array) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(mse(targets, predictions)))


def mae(targets: Array, predictions: Array) -> float:
    """Return the mean absolute error."""
    return float(np.mean(np.abs(targets.reshape(-1).astype(np.float64) - predictions.reshape(-1))))


def r2(targets: Array, predictions: Array) -> float:
    """Return 1 - squared error / squared error of the mean."""
    t = targets.reshape(-1).astype(np.float64)
    total = np.sum((t - t.mean()) ** 2)
    return float(1 - np.sum((t - predictions.reshape(-1)) ** 2) / total) if total else float("nan")


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", accuracy, True),
        Metric("error_rate", error_rate, False),
        Metric("balanced_accuracy", balanced_accuracy, True),
        Metric("f1", f1, True),
        Metric("roc_auc", roc_auc, True),
        Metric("average_precision", average_precision, True),
        Metric("mse", mse, False),
        Metric("rmse", rmse, False),
        Metric("mae", mae, False),
        Metric("r2", r2, True),
    )
}


def metric_named(metric: Any) -> Metric:
    """Return the metric for a name, a function of (targets, outputs), or a Metric."""
    if isinstance(metric, Metric):
        return metric
    if callable(metric):
        return Metric(getattr(metric, "__name__", "metric"), metric, True)
    if metric in METRICS:
        return METRICS[metric]
    raise ArgumentError(
        f"there is no metric {metric!r}", expected=f"one of {', '.join(METRICS)}", fix=nearest(str(metric), METRICS)
    )
