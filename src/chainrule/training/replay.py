"""An epoch that went wrong, repeated from its beginning up to the batch where the first NaN or infinity appears."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chainrule.errors import NotFiniteError
from chainrule.training.batches import Batches
from chainrule.training.nonfinite import where_not_finite, where_not_finite_in_use
from chainrule.training.state import first_nonfinite, set_weights, weights_of

if TYPE_CHECKING:
    from chainrule.training.trainer import Trainer

LEFT = "The model is as it was when the epoch began"


def explain(trainer: Trainer, batches: Batches, seen: str) -> NotFiniteError:
    """Return the error for an epoch in which something was ``seen`` that is not finite. Training stands at its beginning.

    The same batches with the same random numbers give the same bits, so that what happened happens again.
    """
    rate = float(trainer.optimizer.param_groups[0]["lr"])
    return NotFiniteError(
        f"{seen}. It began with {_first_place(trainer, batches)}",
        expected="finite numbers",
        fix=f"lower the learning rate (now {rate:g}), limit the gradient (clip_norm=1.0), scale the inputs, or use a "
        f"loss on logits. {LEFT}",
    )


def explain_in_use(trainer: Trainer, batches: Batches, seen: str) -> NotFiniteError:
    """Return the error for rows that are only looked at: the model need not go back for that."""
    place = "values that could not be found again"
    for number, batch in enumerate(batches.epoch(None), 1):
        found = where_not_finite_in_use(trainer.model, trainer.objective, batch)
        if found:
            place = f"{found}, in batch {number} of {batches.name}"
            break
    return NotFiniteError(
        f"{seen}. It began with {place}",
        expected="finite numbers",
        fix=f"scale the inputs, or lower the learning rate. {LEFT}",
    )


def _first_place(trainer: Trainer, batches: Batches) -> str:
    model = trainer.model
    damaged = first_nonfinite(trainer.tensors())
    if damaged:
        return f"{damaged} before the first batch: it was changed from outside (a callback?)"
    model.train()
    for number, batch in enumerate(batches.epoch(trainer.generator), 1):
        weights, draws = weights_of(trainer.tensors()), trainer.generator.get_state()
        loss, _ = trainer.learn(batch)
        damaged = first_nonfinite(trainer.tensors())
        if math.isfinite(loss) and not damaged:
            continue
        set_weights(trainer.tensors(), weights)
        trainer.generator.set_state(draws)
        place = where_not_finite(model, trainer.objective, batch, trainer.penalty())
        if not place and damaged.startswith("the tensor"):
            place = f"{damaged} after the forward pass"
        return f"{place or f'the update of {damaged} after it: the step is too large'}, in batch {number}"
    return (
        "something that did not happen again when the epoch was repeated: a callback that changes the model, or batches "
        "that are others when they are read again"
    )
