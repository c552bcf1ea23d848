"""Optimizers by name, and how the learning rate changes by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.errors import ArgumentError, ArgumentTypeError, nearest
from chainrule.nn import Module
from chainrule.optim import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
)
from chainrule.optim.lr_scheduler import (
    CosineAnnealingLR,
    CyclicLR,
    ExponentialLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)
from chainrule.optim.lr_scheduler.cycle import has_momentum

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD, "adam": Adam, "adamw": AdamW, "adamax": Adamax, "nadam": NAdam, "radam": RAdam, "rmsprop": RMSprop,
    "adagrad": Adagrad, "adadelta": Adadelta,
}  # fmt: skip
RATES = {"sgd": 1e-2, "adagrad": 1e-2, "adadelta": 1.0}  # where none is given; others 1e-3
SCHEDULES = {
    "constant": "the rate stays",
    "cosine": "it falls to 0 along a cosine over all epochs",
    "one_cycle": "it rises to lr and falls far below over all batches",
    "step": "a tenth of it after each third of the epochs",
    "exponential": "it falls evenly to a hundredth over all epochs",
    "plateau": "half of it after three epochs without improvement of what is monitored",
}
BY_BATCH = (OneCycleLR, CyclicLR)

MakeOptimizer = Callable[[Any], Optimizer]
MakeSchedule = Callable[[Optimizer], LRScheduler]


def make_optimizer(
    model: Module, optimizer: str | Optimizer | MakeOptimizer, lr: float | None, weight_decay: float | None
) -> Optimizer:
    """Return the optimizer for a name or a function, over the model's parameters that require grad; or the one given.

    None leaves a rate or a weight decay to the optimizer's own default (0.01 for AdamW).
    """
    if isinstance(optimizer, Optimizer):
        if lr is not None or weight_decay is not None:
            raise ArgumentError("lr or weight_decay beside an Optimizer", fix="set them when creating the optimizer")
        own = set(model.parameters())
        if not any(parameter in own for group in optimizer.param_groups for parameter in group["params"]):
            raise ArgumentError(
                f"the {type(optimizer).__name__} improves no parameter of the model",
                expected="an optimizer over model.parameters()",
            )
        return optimizer
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ArgumentError(
            f"{type(model).__name__} has no parameter that requires grad", expected="something to learn"
        )
    options: dict[str, Any] = {} if weight_decay is None else {"weight_decay": weight_decay}
    if isinstance(optimizer, str):
        check_optimizer(optimizer)
        rate = RATES.get(optimizer, 1e-3) if lr is None else lr
        return OPTIMIZERS[optimizer](parameters, lr=rate, **options)
    if not callable(optimizer):
        raise ArgumentTypeError(
            f"optimizer={optimizer!r}", expected=f"an Optimizer, its class, or one of {', '.join(OPTIMIZERS)}"
        )
    if lr is not None:
        options["lr"] = lr
    made = optimizer(parameters, **options)
    if not isinstance(made, Optimizer):
        raise ArgumentTypeError(f"optimizer: the function returned {type(made).__name__}", expected="an Optimizer")
    return made


def check_optimizer(name: str) -> None:
    """Raise for a name of no optimizer, with the nearest ones."""
    if name not in OPTIMIZERS:
        fix = nearest(name, OPTIMIZERS)
        raise ArgumentError(f"optimizer={name!r}", expected=f"one of {', '.join(OPTIMIZERS)}", fix=fix)


def check_schedule(schedule: Any) -> None:
    """Raise for what is no schedule, with the nearest names for a misspelt one."""
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            fix = nearest(schedule, SCHEDULES)
            raise ArgumentError(f"schedule={schedule!r}", expected=f"one of {', '.join(SCHEDULES)}", fix=fix)
    elif not isinstance(schedule, LRScheduler) and not callable(schedule):
        raise ArgumentTypeError(
            f"schedule={schedule!r}",
            expected=f"a function from the optimizer to a scheduler, None, or one of {', '.join(SCHEDULES)}",
        )


def make_schedule(
    schedule: str | LRScheduler | MakeSchedule, optimizer: Optimizer, *, epochs: int, batches: int | None, higher: bool
) -> LRScheduler | None:
    """Return the scheduler for a name or a function; None for a constant rate.

    ``batches`` is their number per epoch, ``higher`` whether more of what is monitored is better.
    """
    if schedule == "constant":
        return None
    if schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=epochs)
    if schedule == "step":
        return StepLR(optimizer, step_size=max(1, epochs // 3), gamma=0.1)
    if schedule == "exponential":
        return ExponentialLR(optimizer, gamma=0.01 ** (1 / epochs))
    if schedule == "plateau":
        return ReduceLROnPlateau(optimizer, mode="max" if higher else "min", factor=0.5, patience=3)
    if schedule == "one_cycle":
        if batches is None:
            raise ArgumentError(
                "schedule='one_cycle' with data whose number of batches is not known", fix="give the data a __len__"
            )
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        return OneCycleLR(optimizer, max_lr=rates, total_steps=epochs * batches, cycle_momentum=has_momentum(optimizer))
    made = schedule if isinstance(schedule, LRScheduler) else schedule(optimizer)  # type: ignore[operator]  # names are done
    if not isinstance(made, LRScheduler) or made.optimizer is not optimizer:
        got = type(made).__name__ if not isinstance(made, LRScheduler) else "one of another optimizer"
        raise ArgumentTypeError(f"schedule: got {got}", expected="a scheduler of the trainer's optimizer")
    return made


def steps_by_batch(scheduler: LRScheduler | None, wanted: str | None) -> bool:
    """Return whether the schedule takes a step after each batch; ``wanted``: "batch", "epoch", or None for its habit."""
    if wanted == "batch" and isinstance(scheduler, ReduceLROnPlateau):
        raise ArgumentError(
            "schedule_by='batch' with ReduceLROnPlateau, which needs what is monitored",
            expected="'epoch' or None",
        )
    return scheduler is not None and (wanted == "batch" or (wanted is None and isinstance(scheduler, BY_BATCH)))
