"""Optimizers: what a step does to parameters, given their gradients; and schedules of their rates.

optimizer       parameter groups, state and ``step``; an optimizer is two pure methods, ``init`` and ``update``
rule            what rules are written with
sgd, adam, …    one rule per file; the docstring is the rule, with its paper. Loaded when first asked for
saved           state in PyTorch's form
lr_scheduler    how rates change from epoch to epoch, or from step to step
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from chainrule.errors import NameUnknown, nearest
from chainrule.forks import undisturbed
from chainrule.optim.optimizer import Optimizer

if TYPE_CHECKING:
    from chainrule.optim import lr_scheduler
    from chainrule.optim.adadelta import Adadelta
    from chainrule.optim.adagrad import Adagrad
    from chainrule.optim.adam import Adam, AdamW
    from chainrule.optim.adamax import Adamax
    from chainrule.optim.nadam import NAdam
    from chainrule.optim.radam import RAdam
    from chainrule.optim.rmsprop import RMSprop
    from chainrule.optim.sgd import SGD

_LATER = {
    "SGD": "sgd", "Adam": "adam", "AdamW": "adam", "Adamax": "adamax", "NAdam": "nadam", "RAdam": "radam",
    "RMSprop": "rmsprop", "Adagrad": "adagrad", "Adadelta": "adadelta",
}  # fmt: skip

__all__ = [
    "Optimizer",
    "SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta",
    "lr_scheduler",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LATER:
        with undisturbed():
            found = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    elif name == "lr_scheduler":
        with undisturbed():
            found = importlib.import_module(f"{__name__}.lr_scheduler")
    else:
        raise NameUnknown(
            f"chainrule.optim has no {name!r}",
            expected=f"one of {', '.join(__all__)}",
            fix=lambda: nearest(name, __all__),
        )
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
