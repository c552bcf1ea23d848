"""How good a network is on rows, beside a baseline that needs no learning: the most frequent class, the mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data import TargetEncoder
from chainrule.errors import NameUnknown, nearest
from chainrule.insight.figures import counted, metric_name
from chainrule.tasks.network import softmax
from chainrule.training import metrics

Array = npt.NDArray[Any]

SMALLEST = 1e-15  # a probability of 0 counts as this in the log loss
CHANCE = 1.96  # standard errors within which 95 % of the differences lie that are chance


@dataclass(frozen=True, slots=True)
class Scores:
    """Measures of a network on ``num_rows`` rows, and the baseline's on the same rows; ``metric`` is the one to judge by.

    ``within_chance`` says that the two differ by no more than chance explains on so many rows.

    >>> scores = Scores("accuracy", 5, {"accuracy": 0.8, "error_rate": 0.2}, {"accuracy": 0.6, "error_rate": 0.4}, "always 'no'")
    >>> print(scores)
    accuracy 80.00 % (error 20.00 %), baseline 60.00 % (always 'no'), 5 rows
    >>> scores["error_rate"]
    0.2
    """

    metric: str
    num_rows: int
    values: Mapping[str, float]
    baseline: Mapping[str, float]
    baseline_name: str
    within_chance: bool = False

    @property
    def higher_is_better(self) -> bool:
        """Whether more of the metric is better."""
        return self.metric != "rmse"

    @property
    def doubt(self) -> str:
        """Say that the network is no better than the baseline; "" where it is."""
        difference = self.values[self.metric] - self.baseline[self.metric]
        if not (difference > 0 if self.higher_is_better else difference < 0):
            return "the network is no better than the baseline"
        if not self.within_chance:
            return ""
        rows = counted(self.num_rows, "row")
        return f"the network is no better than the baseline as far as {rows} can tell: the difference may be chance"

    def __getitem__(self, name: str) -> float:
        """Return a measure; the baseline's are named "baseline_…"."""
        named = {**self.values, **{f"baseline_{key}": value for key, value in self.baseline.items()}}
        if name not in named:
            raise NameUnknown(f"there is no measure {name!r}", expected=", ".join(named), fix=nearest(name, named))
        return named[name]

    def __str__(self) -> str:
        score, baseline = (shown(self.metric, one[self.metric]) for one in (self.values, self.baseline))
        also, name = ("error_rate", "error") if self.metric == "accuracy" else ("r2", "R²")
        beside = f" ({name} {shown(also, self.values[also])})" if also in self.values else ""
        rows = counted(self.num_rows, "row")
        return f"{metric_name(self.metric)} {score}{beside}, baseline {baseline} ({self.baseline_name}), {rows}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Scores:
        """Make the scores again from what ``to_dict`` returned."""
        return cls(**saved)


def shown(metric: str, value: float) -> str:
    """Write a measure as people read it.

    >>> shown("accuracy", 0.8765), shown("rmse", 48211.37), shown("r2", 0.91234)
    ('87.65 %', '48,211', '0.912')
    """
    if metric in ("accuracy", "error_rate", "balanced_accuracy"):
        return f"{100 * value:.2f} %"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}" if abs(value) >= 1 else f"{value:.3g}"


def scores_of(target: TargetEncoder, outputs: Array, y: Array, actual: Array) -> Scores:
    """Score a network's outputs [rows, outputs] for rows of classes ``y``, or of numbers ``actual`` [rows]."""
    if target.task == "regression":
        predicted = target.decode(outputs[:, 0])
        constant = np.full(len(actual), target.mean)
        mean = f"the mean {shown('rmse', target.mean)} for every row"
        chance = is_chance((constant - actual) ** 2 - (predicted - actual) ** 2)
        return Scores("rmse", len(actual), _of_numbers(actual, predicted), _of_numbers(actual, constant), mean, chance)
    frequencies = np.array(target.counts, np.float64) / sum(target.counts)
    without_looking = np.tile(np.log(np.maximum(frequencies, SMALLEST)), (len(y), 1))
    always = f"always {str(target.baseline)!r}"
    chance = is_chance((outputs.argmax(axis=1) == y) * 1.0 - (without_looking.argmax(axis=1) == y))
    return Scores("accuracy", len(y), _of_classes(y, outputs), _of_classes(y, without_looking), always, chance)


def is_chance(gains: Array) -> bool:
    """Say whether gains of one network over another, row by row [rows], may have come about by chance: |Σ d| ≤ 1.96 √(Σ d²).

    If neither were better, each gain d would be as likely to be -d, and √(Σ d²) the standard deviation of Σ d. Of classes
    d is 1, 0 or -1, and this is the test of McNemar (Psychometrika 12, 1947, p. 153) at 5 %; of numbers d is the
    difference of squared errors.

    >>> is_chance(np.array([1, 1, -1, 0, 1])), is_chance(np.ones(10))
    (True, False)
    """
    return bool(abs(gains.sum()) <= CHANCE * np.sqrt(np.square(gains).sum()))


def row_losses(target: TargetEncoder, outputs: Array, y: Array) -> npt.NDArray[np.float64]:
    """Return each row's loss [rows]: -log p(class), or the squared error of the standardised number."""
    if target.task == "regression":
        errors: npt.NDArray[np.float64] = (outputs[:, 0].astype(np.float64) - y) ** 2
        return errors
    chosen = softmax(outputs)[np.arange(len(y)), y]
    losses: npt.NDArray[np.float64] = -np.log(np.maximum(chosen, SMALLEST))
    return losses


def _of_classes(y: Array, scores: Array) -> dict[str, float]:
    accuracy = metrics.accuracy(y, scores)
    measures = {
        "accuracy": accuracy,
        "error_rate": 1.0 - accuracy,
        "balanced_accuracy": metrics.balanced_accuracy(y, scores),
        "f1": metrics.f1(y, scores),
        "log_loss": float(np.mean(-np.log(np.maximum(softmax(scores)[np.arange(len(y)), y], SMALLEST)))),
    }
    if scores.shape[1] == 2 and len(np.unique(y)) == 2:
        measures["roc_auc"] = metrics.roc_auc(y, scores)
    return measures


def _of_numbers(actual: Array, predicted: Array) -> dict[str, float]:
    measures = {"rmse": metrics.rmse(actual, predicted), "mae": metrics.mae(actual, predicted)}
    if len(np.unique(actual)) > 1:
        measures["r2"] = metrics.r2(actual, predicted)
    return measures
