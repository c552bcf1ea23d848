"""Which epoch is best so far, by one number of each epoch's row of the history."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chainrule.errors import ArgumentError, nearest
from chainrule.graph import Array
from chainrule.training.metrics import METRICS, Metric


class Best:
    """The best epoch so far.

    ``name``       of the number that decides
    ``higher``     whether more of it is better
    ``min_delta``  an improvement must be larger than this
    ``value``      at the best epoch; NaN before
    ``epoch``      the best epoch, from 1; None before
    ``since``      epochs since then
    ``weights``    the model's tensors after it, by name; None if they are not kept
    """

    def __init__(self, name: str, *, higher: bool, min_delta: float) -> None:
        self.name = name
        self.higher = higher
        self.min_delta = min_delta
        self.value = math.nan
        self.epoch: int | None = None
        self.since = 0
        self.weights: dict[str, Array] | None = None

    def see(self, row: Mapping[str, float], epoch: int) -> bool:
        """Take note of an epoch's row, and return whether it is the best so far."""
        if self.epoch is not None and not self._improves(row[self.name]):
            self.since += 1
            return False
        self.value, self.epoch, self.since = row[self.name], epoch, 0
        return True

    def _improves(self, value: float) -> bool:
        if math.isnan(self.value):
            return not math.isnan(value)
        return value > self.value + self.min_delta if self.higher else value < self.value - self.min_delta

    def reaches(self, row: Mapping[str, float], target: float) -> bool:
        """Return whether an epoch's row is at least as good as ``target``."""
        return row[self.name] >= target if self.higher else row[self.name] <= target

    def copy(self) -> Best:
        """Return a copy that shares the weights, which are never written into."""
        made = Best(self.name, higher=self.higher, min_delta=self.min_delta)
        made.value, made.epoch, made.since, made.weights = self.value, self.epoch, self.since, self.weights
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values and arrays."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Best:
        """Return what ``to_dict`` gave."""
        best = cls(values["name"], higher=values["higher"], min_delta=values["min_delta"])
        vars(best).update(values)
        return best


def best_by(monitor: str | None, metrics: Sequence[Metric], *, with_val: bool, min_delta: float) -> Best:
    """Return a Best for what is monitored; None: the loss on the validation rows, or without any on the training rows.

    Raises ArgumentError for a name that no row of the history will have.
    """
    prefix = "val_" if with_val else "train_"
    higher = {"train_loss": False, f"{prefix}loss": False}
    higher.update({f"{prefix}{metric.name}": metric.higher_is_better for metric in metrics})
    name = f"{prefix}loss" if monitor is None else monitor
    if name not in higher:
        raise ArgumentError(
            f"monitor={name!r}", expected=f"one of {', '.join(higher)}", fix=_advice(name, higher, with_val=with_val)
        )
    return Best(name, higher=higher[name], min_delta=min_delta)


def _advice(name: str, known: Iterable[str], *, with_val: bool) -> str:
    if name.startswith("val_") and not with_val:
        return "give validation rows, val=(X, y)"
    metric = name.removeprefix("val_").removeprefix("train_")
    there = [other for other in known if other.endswith(f"_{metric}")]
    if there:
        return f"did you mean {there[-1]}?"
    return f"add {metric!r} to metrics" if metric in METRICS else nearest(name, known)
