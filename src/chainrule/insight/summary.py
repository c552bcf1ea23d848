"""Everything that a report shows of a run: plain values, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, nearest
from chainrule.graph import Array
from chainrule.insight.flows import ErrorFlow

TASKS = ("classification", "regression")


@dataclass(frozen=True, slots=True)
class Advice:
    """What was seen, with its numbers; what it means; what to do. ``name`` is the rule's; ``urgent`` ones come first."""

    name: str
    seen: str
    means: str
    do: str
    urgent: bool = False

    def __str__(self) -> str:
        return f"{self.seen} {self.means} {self.do}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorstError:
    """A row on which the network was most wrong.

    ``place``        where the row is: "line 17", "row 3", a file's name
    ``actual, predicted``  labels or numbers
    ``loss``         of this row
    ``probability``  that the network gave to what it predicted
    ``cells``        the row's cells by column
    ``image``        [height, width] or [height, width, 3 or 4], any range of numbers (uint8 is taken as it is)
    """

    place: str
    actual: Any
    predicted: Any
    loss: float | None = None
    probability: float | None = None
    cells: Mapping[str, Any] = field(default_factory=dict)
    image: Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """A run, for its report.

    ``title, target``     what was learned: "digits", "price"
    ``task``              "classification" or "regression"
    ``metric, score``     the measure of the verdict, on test rows (on validation rows where there are no test rows)
    ``higher_is_better``  whether more of the metric is better
    ``baseline, baseline_score``  what needs no learning ("always 3", "the mean"), and its score on the same rows
    ``within_chance``     whether the two differ by no more than chance explains on so many rows
    ``metrics``           more measures on the same rows
    ``num_train, num_validation, num_test``  rows of each part
    ``class_names``       in the order of their indices
    ``verdict``           sentences; empty: they are made from the scores
    ``history``           per name ("train_loss", "val_loss", "val_accuracy", "lr", …) a number for each epoch
    ``best_epoch``        (from 1) whose weights were kept
    ``ended_at_best``     whether that was the last one, and more epochs might be better still
    ``confusion``         counts, [actual class, predicted class]
    ``actual, predicted`` numbers of the same rows, for regression
    ``error_flow``        what ``chainrule.error_flow`` found
    ``worst``             the worst errors, worst first
    ``data_notes``        lines: columns used and left out, missing cells, unseen categories
    ``config``            the resolved configuration, nested
    ``environment``       versions, platform
    ``advice``            None: found from the rest
    """

    title: str
    task: str
    metric: str
    score: float
    baseline: str
    baseline_score: float
    higher_is_better: bool = True
    within_chance: bool = False
    target: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    num_train: int = 0
    num_validation: int = 0
    num_test: int = 0
    class_names: Sequence[str] = ()
    verdict: Sequence[str] = ()
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    best_epoch: int | None = None
    ended_at_best: bool = False
    seconds: float | None = None
    num_parameters: int | None = None
    confusion: Array | None = None
    actual: Array | None = None
    predicted: Array | None = None
    error_flow: ErrorFlow | None = None
    worst: Sequence[WorstError] = ()
    data_notes: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    advice: Sequence[Advice] | None = None

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ArgumentError(
                f"Summary: task={self.task!r}", expected=" or ".join(map(repr, TASKS)), fix=nearest(self.task, TASKS)
            )
        lengths = {name: len(values) for name, values in self.history.items()}
        if len(set(lengths.values())) > 1:
            raise ArgumentError(f"Summary: the history has {lengths} numbers", expected="one for each epoch everywhere")
        if self.best_epoch is not None and not 1 <= self.best_epoch <= max(self.num_epochs, 1):
            raise ArgumentError(
                f"Summary: best_epoch={self.best_epoch} of {self.num_epochs} epochs", expected="epochs counted from 1"
            )
        if self.confusion is not None:
            classes = len(self.class_names)
            if np.shape(self.confusion) != (classes, classes):
                raise ArgumentError(
                    f"Summary: a confusion matrix of shape {np.shape(self.confusion)} for {classes} class names",
                    expected="[actual class, predicted class], a row and a column for each class",
                )
        sizes = [None if numbers is None else np.size(numbers) for numbers in (self.actual, self.predicted)]
        if sizes[0] != sizes[1]:
            raise ArgumentError(
                f"Summary: {sizes[0] or 'no'} actual and {sizes[1] or 'no'} predicted numbers",
                expected="both, of the same rows, or none",
            )

    @property
    def num_epochs(self) -> int:
        """How many epochs the history has."""
        return max((len(values) for values in self.history.values()), default=0)

    @property
    def scored_part(self) -> str:
        """Which rows the score is of: "test" or "validation"."""
        return "validation" if self.num_validation and not self.num_test else "test"

    @property
    def num_scored(self) -> int:
        """How many rows the score is of."""
        return self.num_test or self.num_validation

    @property
    def is_shown_better(self) -> bool:
        """Whether the score is better than the baseline's by more than chance explains."""
        return self.is_better and not self.within_chance

    @property
    def is_better(self) -> bool:
        """Whether the score is better than the baseline's."""
        if not (math.isfinite(self.score) and math.isfinite(self.baseline_score)):
            return False
        return self.score > self.baseline_score if self.higher_is_better else self.score < self.baseline_score
