"""Several schedules: one after the other, or all at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.graph.numeric import as_ints
from chainrule.optim.lr_scheduler.plateau import ReduceLROnPlateau
from chainrule.optim.lr_scheduler.scheduler import LRScheduler, current_rates, set_rate
from chainrule.optim.optimizer import Optimizer
from chainrule.tensors.state import STATE, TRACE


class _Combined(LRScheduler):
    """A schedule made of others."""

    _unsaved = ("optimizer", "_schedulers")
    _schedulers: Sequence[LRScheduler]

    def _check(self, optimizer: Optimizer) -> None:
        owner = type(self).__name__
        for k, scheduler in enumerate(self._schedulers):
            if not isinstance(scheduler, LRScheduler):
                raise ArgumentTypeError(f"{owner}: number {k} is a {type(scheduler).__name__}", expected="a scheduler")
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ArgumentError(
                    f"{owner}: number {k} is ReduceLROnPlateau, which needs a metric at each step", fix="step it itself"
                )
            if scheduler.optimizer is not optimizer:
                raise ArgumentError(f"{owner}: number {k} belongs to another optimizer", expected="one for all")

    def state_dict(self) -> dict[str, Any]:
        """Return the state, with that of each schedule."""
        return {**super().state_dict(), "_schedulers": [scheduler.state_dict() for scheduler in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


class SequentialLR(_Combined):
    """One schedule after the other: number k + 1 starts when the epoch reaches milestone k."""

    def __init__(
        self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int], last_epoch: int = -1
    ) -> None:
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise ArgumentError(
                f"SequentialLR: got {len(schedulers)} schedulers and {len(milestones)} milestones",
                expected="one milestone fewer than schedulers",
            )
        self._schedulers = schedulers
        self._check(optimizer)
        self._milestones = list(as_ints(milestones))
        self.last_epoch = last_epoch + 1
        self.optimizer = optimizer
        for group in optimizer.param_groups:  # undo what making the schedulers did
            set_rate(group, group["initial_lr"])
        _step_back(self)
        first = schedulers[bisect_right(self._milestones, 0)]
        first._start()
        self._last_lr = first.get_last_lr()

    def step(self) -> None:  # type: ignore[override]  # epochs are counted here
        """Go to the next epoch."""
        if STATE.mode == TRACE and STATE.trace is not None:
            STATE.trace.at_each_run(self, SequentialLR.step)
            return
        self.last_epoch += 1
        k = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[k]
        if k > 0 and self._milestones[k - 1] == self.last_epoch:
            scheduler._update(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


def _step_back(scheduler: LRScheduler) -> None:
    if isinstance(scheduler, _Combined):
        for part in scheduler._schedulers:
            _step_back(part)
    else:
        scheduler.last_epoch -= 1


class ChainedScheduler(_Combined):
    """All schedules at once: each changes what the one before it has set."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        if not schedulers:
            raise ArgumentError("ChainedScheduler: got no scheduler", expected="at least one")
        self._schedulers = schedulers
        first = schedulers[0]
        self.optimizer = optimizer or first.optimizer
        self._check(self.optimizer)
        self._last_lr = current_rates(self.optimizer)

    def _start(self) -> None:
        for scheduler in self._schedulers:
            scheduler._step_count = 0
        super()._start()

    def step(self) -> None:  # type: ignore[override]  # each schedule counts its own epochs
        """Go to the next epoch in each schedule."""
        if STATE.mode == TRACE and STATE.trace is not None:
            STATE.trace.at_each_run(self, ChainedScheduler.step)
            return
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = current_rates(self.optimizer)
