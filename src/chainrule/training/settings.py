"""The settings that a Trainer's step is made with, which may be set again while it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.errors import ArgumentError
from chainrule.nn import Module
from chainrule.nn.utils import l1_penalty, l2_penalty
from chainrule.tensors.tensor import Tensor
from chainrule.training.arguments import checked_number
from chainrule.training.step import Objective, Penalty, Step, training_step

if TYPE_CHECKING:
    from chainrule.training.trainer import Trainer


def in_step(trainer: Trainer) -> tuple[Any, ...]:
    """Return the settings that a step is made with, as they are."""
    return trainer.optimizer, trainer.clip_norm, trainer.l1, trainer.l2


def make_step(trainer: Trainer, objective: Objective) -> Step:
    """Return the function of a batch that learns from it, by the settings as they are."""
    penalty = penalty_of(trainer)
    return training_step(trainer.model, objective, trainer.optimizer, clip_norm=trainer.clip_norm, penalty=penalty)


def check_again(trainer: Trainer, optimizer: Any) -> None:
    """Raise unless training can go on by what was set; ``optimizer`` is the one that it began with."""
    if trainer.optimizer is not optimizer:
        raise ArgumentError(
            "trainer.optimizer was replaced after training began",
            expected="the one that it began with",
            fix="set its options (trainer.optimizer.param_groups[0]['lr'] = 0.1), or make a new Trainer",
        )
    trainer.clip_norm = checked_number("clip_norm", trainer.clip_norm, above=0.0)
    trainer.l1 = checked_number("l1", trainer.l1, least=0.0)
    trainer.l2 = checked_number("l2", trainer.l2, least=0.0)
    check_penalties(trainer)


def check_penalties(trainer: Trainer) -> None:
    """Raise for a penalty (``l1``, ``l2``) on a model of which it would count nothing."""
    wanted = [f"{name}={value:g}" for name, value in (("l1", trainer.l1), ("l2", trainer.l2)) if value]
    if wanted and not any(p.requires_grad and p.ndim > 1 for p in trainer.model.parameters()):
        raise ArgumentError(
            f"{' and '.join(wanted)} with a model without weights that learn",
            expected="a parameter with two axes or more that requires grad: biases and scales do not count",
            fix="leave it out, or take weight_decay, which counts every parameter that learns",
        )


def penalty_of(trainer: Trainer) -> Penalty | None:
    """Return what is added to the error; None if nothing is."""
    parts = [(weight, of) for weight, of in ((trainer.l1, l1_penalty), (trainer.l2, l2_penalty)) if weight]
    if not parts:
        return None

    def penalty(model: Module) -> Tensor:
        first, *others = [weight * of(model) for weight, of in parts]
        return first + others[0] if others else first

    return penalty
