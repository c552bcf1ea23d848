"""What all schedules share: counting, and setting the rates of an optimizer's groups."""

from __future__ import annotations

import functools
import math
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from chainrule.errors import ArgumentError, ArgumentTypeError, NameUnknown
from chainrule.graph.numeric import as_number as plain_number
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.rule import Group, as_number
from chainrule.optim.traced_groups import refused
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor


class LRScheduler:
    """Sets the rate of each parameter group, epoch by epoch. A schedule of your own overrides ``get_lr``.

    ``optimizer``   whose groups' ``lr`` is set, first when the scheduler is made
    ``last_epoch``  the number of the last finished epoch, to continue from; -1 starts anew

    In ``get_lr``, ``last_epoch`` is the epoch whose rates are wanted, ``base_lrs`` are the rates at the start, and the
    groups hold the rates of the epoch before: most rules change those by a factor, so that schedules can be chained.
    """

    optimizer: Optimizer
    base_lrs: list[float]
    _unsaved: tuple[str, ...] = ("optimizer",)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer, last_epoch = checked_optimizer(optimizer, type(self).__name__), plain_number(last_epoch)
        for k, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", as_number(group["lr"]))
            elif "initial_lr" not in group:
                raise ArgumentError(
                    f"{type(self).__name__}: got last_epoch={last_epoch}, and parameter group {k} has no 'initial_lr'",
                    expected="a rate to start from",
                    fix="load the optimizer's state first, or leave last_epoch out",
                )
        self.base_lrs = [as_number(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._is_initial = False
        self._get_lr_called_within_step = False
        self._start()

    @property
    def last_epoch(self) -> int:
        """The number of the last finished epoch."""
        if STATE.mode == TRACE:
            _note_read(self, "last_epoch")
        if "last_epoch" not in self.__dict__:
            raise NameUnknown(
                f"{type(self).__name__} has no attribute 'last_epoch'",
                fix="ask the schedules that it is made of, each counts its own epochs",
            )
        epoch: int = self.__dict__["last_epoch"]
        return epoch

    @last_epoch.setter
    def last_epoch(self, epoch: int) -> None:
        if STATE.mode == TRACE and STATE.trace is not None and "last_epoch" in self.__dict__:
            raise refused(STATE.trace, f"sets last_epoch of {type(self).__name__}")
        self.__dict__["last_epoch"] = epoch

    def _start(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_lr(self) -> list[Any]:
        """Return the rate of each group for the epoch ``last_epoch``. Called by ``step``; see ``get_last_lr``."""
        raise ArgumentTypeError(f"{type(self).__name__} has no rule", fix="write get_lr(self) -> list of rates")

    def closed_form(self) -> list[float] | None:
        """Return the rates for ``last_epoch`` from ``base_lrs`` alone; None if the rule has no such form."""
        return None

    def get_last_lr(self) -> list[float]:
        """Return the rate of each group as the last ``step`` set it."""
        _note_read(self, "_last_lr")
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch. Inside a compiled function: after each of its runs."""
        if STATE.mode == TRACE and STATE.trace is not None:
            STATE.trace.at_each_run(self, lambda scheduler: LRScheduler.step(scheduler, epoch))
            return
        if self._step_count == 1:
            self._check_order()
        self._step_count += 1
        self._update(epoch)

    def _check_order(self) -> None:
        own_step = type(self.optimizer).step is not Optimizer.step
        if not own_step and not self.optimizer._stepped:
            warnings.warn(
                f"{type(self).__name__}.step() was called before optimizer.step(): the first rate of the schedule is "
                "never used. Call optimizer.step() first.",
                stacklevel=3,
            )

    def _update(self, epoch: int | None = None) -> None:
        """Set the rates for the next epoch; those for ``epoch``, in closed form if there is one."""
        self._get_lr_called_within_step = True
        try:
            if epoch is None:
                self.last_epoch += 1
                rates = self.get_lr()
            else:
                self.last_epoch = epoch
                rates = self.closed_form() or self.get_lr()
        finally:
            self._get_lr_called_within_step = False
        groups = self.optimizer.param_groups
        if len(rates) != len(groups):
            raise ArgumentError(
                f"{type(self).__name__}: {len(rates)} rates for {len(groups)} parameter groups",
                fix="make the scheduler after all groups were added",
            )
        for group, rate in zip(groups, rates, strict=True):
            set_rate(group, rate)
        self._last_lr = current_rates(self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer."""
        return {name: value for name, value in self.__dict__.items() if name not in self._unsaved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` returned."""
        self.__dict__.update({name: value for name, value in state_dict.items() if name not in self._unsaved})


def _note_read(scheduler: LRScheduler, name: str) -> None:
    """While tracing, let it matter what a scheduler says of itself: it is a constant in the graph."""
    if STATE.mode == TRACE and STATE.trace is not None:
        find = functools.partial(_attribute, weakref.ref(scheduler), name)
        text = f"{'get_last_lr()' if name == '_last_lr' else name} of {type(scheduler).__name__}"
        STATE.trace.read_option((id(scheduler), name), text, find, is_rate=True)


def _attribute(find: Callable[[], Any], name: str) -> Any:
    return getattr(find(), "__dict__", {}).get(name)


def checked_optimizer(optimizer: Any, owner: str) -> Optimizer:
    """Return the optimizer; raise for anything else."""
    if not isinstance(optimizer, Optimizer):
        raise ArgumentTypeError(f"{owner}: got {type(optimizer).__name__}", expected="an optimizer")
    return optimizer


def current_rates(optimizer: Optimizer) -> list[float]:
    """Return the rate of each group as it is now."""
    return [as_number(group["lr"]) for group in optimizer.param_groups]


def set_rate(group: Group, rate: float) -> None:
    """Set the rate of a group; one that is a tensor is written in place."""
    if isinstance(group["lr"], Tensor):
        group["lr"]._value[...] = rate
    else:
        group["lr"] = rate


def per_group(name: str, value: Any, optimizer: Optimizer, owner: str) -> list[Any]:
    """Return one value per parameter group, from one for all or a list of them."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [plain_number(value)] * count
    if len(value) != count:
        raise ArgumentError(
            f"{owner}: got {len(value)} values as {name}", expected=f"one, or one for each of {count} parameter groups"
        )
    return [plain_number(one) for one in value]


def check_range(owner: str, name: str, value: Any, holds: bool, expected: str) -> None:
    """Raise ArgumentError unless ``holds``."""
    if not holds:
        raise ArgumentError(f"{owner}: got {name}={value!r}", expected=expected)


def is_integer(value: Any, at_least: int) -> bool:
    """Return whether ``value`` is an integer of at least that."""
    return isinstance(plain_number(value), int) and value >= at_least


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Return whether ``value`` is a number from ``low`` to ``high``."""
    return isinstance(plain_number(value), (int, float)) and low <= value <= high


def saved_functions(functions: list[Callable[..., Any]]) -> list[Any]:
    """Return what can be saved of functions: the attributes of callable objects; None for plain functions."""
    return [None if not hasattr(f, "__dict__") or hasattr(f, "__code__") else dict(f.__dict__) for f in functions]


def restore_functions(functions: list[Callable[..., Any]], saved: list[Any]) -> None:
    """Give callable objects the attributes that ``saved_functions`` returned."""
    for function, attributes in zip(functions, saved, strict=True):
        if attributes is not None:
            function.__dict__.update(attributes)
