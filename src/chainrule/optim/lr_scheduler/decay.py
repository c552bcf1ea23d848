"""Schedules by factors of the epoch t: each gives the factor f(t) by which the starting rate is multiplied.

``get_lr`` multiplies the rate of the epoch before by f(t) / f(t-1), so that several schedules can act on one optimizer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from chainrule.errors import ArgumentTypeError
from chainrule.graph.numeric import as_ints
from chainrule.graph.numeric import as_number as plain_number
from chainrule.optim.lr_scheduler.scheduler import (
    LRScheduler,
    check_range,
    current_rates,
    per_group,
    restore_functions,
    saved_functions,
)
from chainrule.optim.optimizer import Optimizer

Factor = Callable[[int], float]


class _ByFunctions(LRScheduler):
    """A schedule whose factors the user's functions give, one for all groups or one for each."""

    _unsaved = ("optimizer", "lr_lambdas")

    def __init__(self, optimizer: Optimizer, lr_lambda: Factor | list[Factor], last_epoch: int = -1) -> None:
        self.lr_lambdas: list[Factor] = per_group("lr_lambda", lr_lambda, optimizer, type(self).__name__)
        for function in self.lr_lambdas:
            if not callable(function):
                raise ArgumentTypeError(
                    f"{type(self).__name__}: got lr_lambda={function!r}", expected="a function of the epoch"
                )
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the state; of the functions only the attributes of callable objects: code is not saved."""
        return {**super().state_dict(), "lr_lambdas": saved_functions(self.lr_lambdas)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        restore_functions(self.lr_lambdas, state_dict["lr_lambdas"])


class LambdaLR(_ByFunctions):
    """f(t) = lr_lambda(t)"""

    def get_lr(self) -> list[float]:
        return [base * f(self.last_epoch) for f, base in zip(self.lr_lambdas, self.base_lrs, strict=True)]


class MultiplicativeLR(_ByFunctions):
    """f(t) = lr_lambda(1) … lr_lambda(t)"""

    def get_lr(self) -> list[float]:
        rates = current_rates(self.optimizer)
        if self._is_initial:
            return rates
        return [rate * f(self.last_epoch) for f, rate in zip(self.lr_lambdas, rates, strict=True)]


class StepLR(LRScheduler):
    """f(t) = gamma ^ ⌊t / step_size⌋

    >>> import chainrule as cr
    >>> optimizer = cr.optim.SGD([cr.zeros(1)], lr=1.0)
    >>> scheduler = StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for epoch in range(4):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.25
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        check_range("StepLR", "step_size", step_size, step_size > 0, "a number of epochs above 0")
        self.step_size = plain_number(step_size)
        self.gamma = plain_number(gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        falls = self.last_epoch != 0 and self.last_epoch % self.step_size == 0
        return [rate * self.gamma if falls else rate for rate in current_rates(self.optimizer)]

    def closed_form(self) -> list[float]:
        return [base * self.gamma ** (self.last_epoch // self.step_size) for base in self.base_lrs]


class MultiStepLR(LRScheduler):
    """f(t) = gamma ^ (number of milestones that t has reached)"""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = Counter(as_ints(milestones))
        self.gamma = plain_number(gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        times = self.milestones[self.last_epoch]
        return [rate * self.gamma**times if times else rate for rate in current_rates(self.optimizer)]

    def closed_form(self) -> list[float]:
        reached = bisect_right(sorted(self.milestones.elements()), self.last_epoch)
        return [base * self.gamma**reached for base in self.base_lrs]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.milestones = Counter({int(epoch): times for epoch, times in state_dict["milestones"].items()})


class ConstantLR(LRScheduler):
    """f(t) = factor while t < total_iters, then 1"""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        check_range("ConstantLR", "factor", factor, 0.0 <= factor <= 1.0, "a number from 0 to 1")
        self.factor = plain_number(factor)
        self.total_iters = plain_number(total_iters)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        rates = current_rates(self.optimizer)
        if self.last_epoch == 0:
            return [rate * self.factor for rate in rates]
        if self.last_epoch != self.total_iters:
            return rates
        return [
            rate * (1.0 / self.factor) if self.factor else base for rate, base in zip(rates, self.base_lrs, strict=True)
        ]

    def closed_form(self) -> list[float]:
        return [base * (1.0 if self.last_epoch >= self.total_iters else self.factor) for base in self.base_lrs]


class LinearLR(LRScheduler):
    """f(t) goes straight from start_factor to end_factor while t ≤ total_iters: a warm-up, mostly"""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        check_range("LinearLR", "start_factor", start_factor, 0.0 < start_factor <= 1.0, "a number above 0, at most 1")
        check_range("LinearLR", "end_factor", end_factor, 0.0 <= end_factor <= 1.0, "a number from 0 to 1")
        self.start_factor = plain_number(start_factor)
        self.end_factor = plain_number(end_factor)
        self.total_iters = plain_number(total_iters)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        rates = current_rates(self.optimizer)
        rise = self.end_factor - self.start_factor
        if self.last_epoch == 0:
            return [rate * self.start_factor for rate in rates]
        if self._is_initial or self.last_epoch > self.total_iters:
            return rates
        # f(t) / f(t-1) = 1 + rise / (T f(t-1))
        ratio = 1.0 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise)
        return [rate * ratio for rate in rates]

    def closed_form(self) -> list[float]:
        part = min(self.total_iters, self.last_epoch) / self.total_iters
        return [base * (self.start_factor + (self.end_factor - self.start_factor) * part) for base in self.base_lrs]


class ExponentialLR(LRScheduler):
    """f(t) = gamma ^ t"""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = plain_number(gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        rates = current_rates(self.optimizer)
        return rates if self._is_initial else [rate * self.gamma for rate in rates]

    def closed_form(self) -> list[float]:
        return [base * self.gamma**self.last_epoch for base in self.base_lrs]


class PolynomialLR(LRScheduler):
    """f(t) = (1 - t / total_iters) ^ power, 0 from then on"""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        check_range("PolynomialLR", "total_iters", total_iters, total_iters > 0, "a number of epochs above 0")
        self.total_iters = plain_number(total_iters)
        self.power = plain_number(power)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        rates = current_rates(self.optimizer)
        if self._is_initial or self.last_epoch > self.total_iters:
            return rates
        left = 1.0 - self.last_epoch / self.total_iters
        ratio = (left / (1.0 - (self.last_epoch - 1) / self.total_iters)) ** self.power
        return [rate * ratio for rate in rates]

    def closed_form(self) -> list[float]:
        left = 1.0 - min(self.total_iters, self.last_epoch) / self.total_iters
        return [base * left**self.power for base in self.base_lrs]
