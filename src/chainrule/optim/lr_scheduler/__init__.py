"""How rates change while training: call ``step()`` after each epoch (or, where its docs say so, after each batch).

scheduler   what all share
decay       factors that fall, or rise, with the epoch
cycle       cosines, and cycles of rate and momentum
plateau     a rate that falls when a metric stops improving
combined    several schedules one after the other, or at once
"""

from typing import NoReturn

from chainrule.errors import NameUnknown, nearest
from chainrule.optim.lr_scheduler.combined import ChainedScheduler, SequentialLR
from chainrule.optim.lr_scheduler.cycle import CosineAnnealingLR, CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from chainrule.optim.lr_scheduler.decay import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from chainrule.optim.lr_scheduler.plateau import ReduceLROnPlateau
from chainrule.optim.lr_scheduler.scheduler import LRScheduler

__all__ = [
    "LRScheduler",
    "LambdaLR", "MultiplicativeLR", "StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR",
    "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR",
    "ReduceLROnPlateau",
    "SequentialLR", "ChainedScheduler",
]  # fmt: skip


def __getattr__(name: str) -> NoReturn:
    raise NameUnknown(
        f"chainrule.optim.lr_scheduler has no {name!r}",
        expected=f"one of {', '.join(__all__)}",
        fix=lambda: nearest(name, __all__),
    )
