"""Optimizers: what a step does to parameters, given their gradients; and schedules of their rates.

optimizer       parameter groups, state and ``step``; an optimizer is two pure methods, ``init`` and ``update``
rule            what rules are written with
sgd, adam, …    one rule per file; the docstring is the rule, with its paper
saved           state in PyTorch's form
lr_scheduler    how rates change from epoch to epoch, or from step to step
"""

from typing import NoReturn

from chainrule.errors import NameUnknown, nearest
from chainrule.optim import lr_scheduler
from chainrule.optim.adadelta import Adadelta
from chainrule.optim.adagrad import Adagrad
from chainrule.optim.adam import Adam, AdamW
from chainrule.optim.adamax import Adamax
from chainrule.optim.nadam import NAdam
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.radam import RAdam
from chainrule.optim.rmsprop import RMSprop
from chainrule.optim.sgd import SGD

__all__ = [
    "Optimizer",
    "SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta",
    "lr_scheduler",
]  # fmt: skip


def __getattr__(name: str) -> NoReturn:
    raise NameUnknown(
        f"chainrule.optim has no {name!r}", expected=f"one of {', '.join(__all__)}", fix=nearest(name, __all__)
    )
