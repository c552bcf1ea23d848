"""Schedules that swing: cosines, and cycles in which rate and momentum move against each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from chainrule.errors import ArgumentError
from chainrule.graph.numeric import as_number as plain_number
from chainrule.optim.lr_scheduler.scheduler import (
    LRScheduler,
    check_range,
    checked_optimizer,
    current_rates,
    is_integer,
    is_number,
    per_group,
    restore_functions,
    saved_functions,
    set_rate,
)
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.rule import Group
from chainrule.tensors.state import STATE, TRACE

MOMENTA = ("betas", "momentum")  # options that take part in a cycle, the first that an optimizer has


class CosineAnnealingLR(LRScheduler):
    """η(t) = η_min + ½ (η₀ - η_min) (1 + cos(π t / T_max)): down in T_max epochs, and up again.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        check_range("CosineAnnealingLR", "T_max", T_max, T_max > 0, "a number of epochs above 0")
        self.T_max = plain_number(T_max)
        self.eta_min = plain_number(eta_min)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        rates = current_rates(self.optimizer)
        t, period = self.last_epoch, self.T_max
        if self._is_initial:
            return rates
        if self._step_count == 1 and t > 0:
            return self.closed_form()
        if (t - 1 - period) % (2 * period) == 0:  # up from the bottom, where the ratio below would be 0 / 0
            rise = (1 - math.cos(math.pi / period)) / 2
            return [rate + (base - self.eta_min) * rise for rate, base in zip(rates, self.base_lrs, strict=True)]
        ratio = (1 + math.cos(math.pi * t / period)) / (1 + math.cos(math.pi * (t - 1) / period))
        return [ratio * (rate - self.eta_min) + self.eta_min for rate in rates]

    def closed_form(self) -> list[float]:
        height = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """A cosine down from the starting rate to eta_min, begun anew after T_0 epochs, then after T_0 T_mult, and so on.

    ``step(epoch)`` takes fractions: ``step(epoch + batch / batches)`` after every batch.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        owner = type(self).__name__
        check_range(owner, "T_0", T_0, is_integer(T_0, 1), "an integer above 0")
        check_range(owner, "T_mult", T_mult, is_integer(T_mult, 1), "an integer of at least 1")
        check_range(owner, "eta_min", eta_min, is_number(eta_min), "a number")
        self.T_0 = plain_number(T_0)
        self.T_i = self.T_0
        self.T_mult = plain_number(T_mult)
        self.eta_min = plain_number(eta_min)
        self.T_cur: float = plain_number(last_epoch)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go to the next epoch, or to ``epoch``, which may have a fraction."""
        if STATE.mode == TRACE and STATE.trace is not None:
            STATE.trace.at_each_run(self, lambda scheduler: CosineAnnealingWarmRestarts.step(scheduler, epoch))
            return
        if epoch is None and self.last_epoch >= 0:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            epoch = epoch or 0
            check_range(type(self).__name__, "epoch", epoch, epoch >= 0, "0 or more")
            self._place(epoch)
        self.last_epoch = math.floor(epoch)
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            set_rate(group, rate)
        self._last_lr = current_rates(self.optimizer)

    def _place(self, epoch: float) -> None:
        """Find the cycle that an epoch lies in. Cycle k begins at T_0 (1 + T_mult + … + T_mult^(k-1))."""
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            k = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**k - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult**k


def has_momentum(optimizer: Optimizer) -> bool:
    """Say whether an optimizer has what takes part in a cycle of momentum."""
    return any(name in optimizer.defaults for name in MOMENTA)


def _momentum_name(optimizer: Optimizer, owner: str) -> str:
    """Return the option that takes part in a cycle of momentum."""
    for name in MOMENTA:
        if name in optimizer.defaults:
            return name
    raise ArgumentError(
        f"{owner}: {type(optimizer).__name__} has neither momentum nor betas", fix="pass cycle_momentum=False"
    )


def _set_momentum(group: Group, name: str, momentum: float) -> None:
    group[name] = (momentum, *group["betas"][1:]) if name == "betas" else momentum


def _prepare_momentum(optimizer: Optimizer, owner: str, lowest: Any, highest: Any, last_epoch: int) -> bool:
    """Start all groups at their highest momentum; return whether it is the first of their betas."""
    name = _momentum_name(optimizer, owner)
    for group, low, high in zip(optimizer.param_groups, lowest, highest, strict=True):
        if last_epoch == -1:
            _set_momentum(group, name, high)
            group["max_momentum"], group["base_momentum"] = high, low
    return name == "betas"


class CyclicLR(LRScheduler):
    """Up from base_lr to max_lr in step_size_up batches, down again in step_size_down, and so on; step after each batch.

    ``mode``   "triangular"; "triangular2" halves the height with each cycle; "exp_range" multiplies it by gamma^batch
    ``scale_fn``, ``scale_mode``  a height of your own, a function of the "cycle" (from 1) or of the "iterations"
    ``cycle_momentum``  move the momentum the other way, from max_momentum to base_momentum

    Smith, "Cyclical learning rates for training neural networks", 2017.
    """

    _unsaved = ("optimizer", "_scale_fn_custom")

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        checked_optimizer(optimizer, "CyclicLR")
        modes = ("triangular", "triangular2", "exp_range")
        check_range("CyclicLR", "mode", mode, mode in modes or scale_fn is not None, f"one of {', '.join(modes)}")
        base_lrs = per_group("base_lr", base_lr, optimizer, "CyclicLR")
        self.max_lrs = per_group("max_lr", max_lr, optimizer, "CyclicLR")
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, base_lrs, strict=True):
                set_rate(group, rate)
        up = float(step_size_up)
        self.total_size = up + (up if step_size_down is None else float(step_size_down))
        self.step_ratio = up / self.total_size
        self.mode = mode
        self.gamma = plain_number(gamma)
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode
        if scale_fn is None:
            self.scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums = per_group("base_momentum", base_momentum, optimizer, "CyclicLR")
            self.max_momentums = per_group("max_momentum", max_momentum, optimizer, "CyclicLR")
            self.use_beta1 = _prepare_momentum(
                optimizer, "CyclicLR", self.base_momentums, self.max_momentums, last_epoch
            )
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """Return the height of a cycle, or of an iteration."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular":
            return 1.0
        return 0.5 ** (x - 1) if self.mode == "triangular2" else float(self.gamma**x)

    def get_lr(self) -> list[float]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            name = "betas" if self.use_beta1 else "momentum"
            for group, low, high in zip(
                self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True
            ):
                _set_momentum(group, name, high - (high - low) * height * scale)
        return [low + (high - low) * height * scale for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Return the state; of a scale function only the attributes of a callable object: code is not saved."""
        custom = self._scale_fn_custom
        return {**super().state_dict(), "_scale_fn_custom": None if custom is None else saved_functions([custom])[0]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        if self._scale_fn_custom is not None:
            restore_functions([self._scale_fn_custom], [state_dict["_scale_fn_custom"]])


class OneCycleLR(LRScheduler):
    """One cycle over the whole training: up to max_lr, then down to far below the start; step after each batch.

    The start is max_lr / div_factor, the end start / final_div_factor. ``pct_start`` is the part of all steps that goes
    up. ``three_phase`` goes down as long as it went up, then to the end. The momentum moves the other way.

    Smith and Topin, "Super-convergence: very fast training of neural networks using large learning rates", 2018.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        checked_optimizer(optimizer, "OneCycleLR")
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        check_range("OneCycleLR", "pct_start", pct_start, is_number(pct_start, 0.0, 1.0), "a number from 0 to 1")
        is_known = anneal_strategy in ("cos", "linear")
        check_range("OneCycleLR", "anneal_strategy", anneal_strategy, is_known, "'cos' or 'linear'")
        self._anneal_func_type = anneal_strategy
        self._schedule_phases = _phases(self.total_steps, plain_number(pct_start), three_phase)
        if last_epoch == -1:
            highest = per_group("max_lr", max_lr, optimizer, "OneCycleLR")
            for group, high in zip(optimizer.param_groups, highest, strict=True):
                group["initial_lr"], group["max_lr"] = high / plain_number(div_factor), high
                group["min_lr"] = group["initial_lr"] / plain_number(final_div_factor)
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            lowest = per_group("base_momentum", base_momentum, optimizer, "OneCycleLR")
            highest = per_group("max_momentum", max_momentum, optimizer, "OneCycleLR")
            self.use_beta1 = _prepare_momentum(optimizer, "OneCycleLR", lowest, highest, last_epoch)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch > self.total_steps:
            raise ArgumentError(
                f"OneCycleLR: step {self.last_epoch} of a cycle of {self.total_steps} steps",
                fix="make total_steps the number of all batches of all epochs",
            )
        phases = self._schedule_phases
        k = next((k for k, phase in enumerate(phases) if self.last_epoch <= phase["end_step"]), len(phases) - 1)
        phase, start = phases[k], phases[k - 1]["end_step"] if k else 0.0
        part = (self.last_epoch - start) / (phase["end_step"] - start)
        name = "betas" if self.cycle_momentum and self.use_beta1 else "momentum"
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[phase["start_lr"]], group[phase["end_lr"]], part))
            if self.cycle_momentum:
                start_momentum, end_momentum = group[phase["start_momentum"]], group[phase["end_momentum"]]
                _set_momentum(group, name, self._between(start_momentum, end_momentum, part))
        return rates

    def _between(self, start: float, end: float, part: float) -> float:
        if self._anneal_func_type == "linear":
            return start + (end - start) * part
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)


def _total_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    given = (
        {"total_steps": total_steps}
        if total_steps is not None
        else {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
    )
    for name, value in given.items():
        if value is None:
            raise ArgumentError(
                f"OneCycleLR: got {name}=None", expected="total_steps, or both epochs and steps_per_epoch"
            )
        check_range("OneCycleLR", name, value, is_integer(value, 1), "an integer above 0")
    return math.prod(plain_number(value) for value in given.values() if value is not None)


def _phases(total: int, part: float, three: bool) -> list[dict[str, Any]]:
    """Return each phase: its last step, and the group's options that it goes between."""
    up = {
        "end_step": float(part * total) - 1, "start_lr": "initial_lr", "end_lr": "max_lr",
        "start_momentum": "max_momentum", "end_momentum": "base_momentum",
    }  # fmt: skip
    down = {
        "end_step": total - 1, "start_lr": "max_lr", "end_lr": "min_lr",
        "start_momentum": "base_momentum", "end_momentum": "max_momentum",
    }  # fmt: skip
    if not three:
        return [up, down]
    back = {**down, "end_step": float(2 * part * total) - 2, "end_lr": "initial_lr"}
    return [up, back, {**down, "start_lr": "initial_lr", "start_momentum": "max_momentum"}]
