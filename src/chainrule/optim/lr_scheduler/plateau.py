"""A rate that falls when a metric stops improving."""

from __future__ import annotations

import math
from typing import Any

from chainrule.errors import ArgumentError
from chainrule.graph.numeric import as_number as plain_number
from chainrule.optim.lr_scheduler.scheduler import (
    LRScheduler,
    check_range,
    checked_optimizer,
    current_rates,
    per_group,
    set_rate,
)
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.rule import as_number
from chainrule.tensors.state import STATE, TRACE


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the rates by ``factor`` when the metric has not improved for more than ``patience`` epochs.

    ``mode``            "min" or "max": which way is better
    ``threshold``       how much counts as better: a part of the best so far ("rel"), or a difference ("abs")
    ``cooldown``        epochs after a fall during which none is counted as bad
    ``min_lr``          the lowest rate, one for all groups or one for each
    ``eps``             a fall by less than this is not made
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        owner = type(self).__name__
        check_range(owner, "factor", factor, factor < 1.0, "a number below 1")
        check_range(owner, "mode", mode, mode in ("min", "max"), "'min' or 'max'")
        is_known = threshold_mode in ("rel", "abs")
        check_range(owner, "threshold_mode", threshold_mode, is_known, "'rel' or 'abs'")
        self.optimizer = checked_optimizer(optimizer, owner)
        self.factor = plain_number(factor)
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else plain_number(min_lr)
        self.min_lrs = per_group("min_lr", min_lr, optimizer, owner)
        self.patience = plain_number(patience)
        self.cooldown = plain_number(cooldown)
        self.eps = plain_number(eps)
        self.mode = mode
        self.threshold: float = plain_number(threshold)
        self.threshold_mode = threshold_mode
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self.last_epoch = 0
        self._last_lr = current_rates(optimizer)
        self._reset()

    def _reset(self) -> None:
        self.best = self.mode_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0

    @property
    def in_cooldown(self) -> bool:
        """Whether a fall was so recent that bad epochs do not count."""
        return self.cooldown_counter > 0

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]  # it takes a metric
        """Take note of an epoch's metric, and let the rates fall if it is time."""
        metric = float(metrics)
        if STATE.mode == TRACE and STATE.trace is not None:
            STATE.trace.at_each_run(self, lambda scheduler: ReduceLROnPlateau.step(scheduler, metric, epoch))
            return
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(metric):
            self.best = metric
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = current_rates(self.optimizer)

    def _is_better(self, metric: float) -> bool:
        if self.mode == "min":
            limit = self.best * (1.0 - self.threshold) if self.threshold_mode == "rel" else self.best - self.threshold
            return metric < limit
        limit = self.best * (1.0 + self.threshold) if self.threshold_mode == "rel" else self.best + self.threshold
        return metric > limit

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(self.min_lrs) != len(groups):
            if self.default_min_lr is None:
                raise ArgumentError(
                    f"ReduceLROnPlateau: min_lr has {len(self.min_lrs)} values for {len(groups)} parameter groups",
                    fix="make the scheduler after all groups were added, or set its min_lrs",
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, lowest in zip(groups, self.min_lrs, strict=True):
            old = float(as_number(group["lr"]))
            new = max(old * self.factor, lowest)
            if old - new > self.eps:
                set_rate(group, new)
