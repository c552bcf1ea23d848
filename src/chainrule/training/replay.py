"""An epoch that went wrong, repeated from its beginning up to the batch where the first NaN or infinity appears."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chainrule.errors import NotFiniteError
from chainrule.training.batches import ArrayBatches, Batches
from chainrule.training.nonfinite import IN_DATA, where_not_finite, where_not_finite_in_use
from chainrule.training.settings import penalty_of
from chainrule.training.state import first_nonfinite, put_back, standing

if TYPE_CHECKING:
    from chainrule.run import Origin
    from chainrule.training.trainer import Trainer

LEFT = "The model is as it was when the epoch began"


MEND = "mend these rows: a loader or a callback gave them, or wrote into them"


def explain(trainer: Trainer, batches: Batches, seen: str) -> NotFiniteError:
    """Return the error for an epoch in which something was ``seen`` that is not finite. Training stands at its beginning.

    The same batches with the same random numbers give the same bits, so that what happened happens again.
    """
    rate = float(trainer.optimizer.param_groups[0]["lr"])
    place = _first_place(trainer, batches)
    return NotFiniteError(
        f"{seen}. It began with {place}",
        expected="finite numbers",
        fix=f"{MEND}. {LEFT}"
        if place.startswith(IN_DATA)
        else f"lower the learning rate (now {rate:g}), limit the gradient (clip_norm=1.0), scale the inputs, or use a "
        f"loss on logits. {LEFT}",
    )


def explain_in_use(trainer: Trainer, batches: Batches, seen: str) -> NotFiniteError:
    """Return the error for rows that are only looked at: the model need not go back for that."""
    place = "values that could not be found again"
    native = trainer.engine().startswith("native")
    before = 0
    for number, batch in enumerate(batches.epoch(None), 1):
        found = where_not_finite_in_use(trainer.model, trainer.objective, batch)
        origin = trainer.origin(batch, found.layer, looking=True) if found.words or native else None
        if found.words or origin is not None:
            words = found.words or f"{origin} in native code alone"
            row = "" if found.row is None else f", row {before + found.row} of them"
            place = f"{words}, in batch {number} of {batches.name}{row}{_operation(origin)}"
            break
        before += len(batch.X)
    return NotFiniteError(
        f"{seen}. It began with {place}",
        expected="finite numbers",
        fix=f"{MEND if place.startswith(IN_DATA) else 'scale the inputs, or lower the learning rate'}. {LEFT}",
    )


def _first_place(trainer: Trainer, batches: Batches) -> str:
    model = trainer.model
    damaged = first_nonfinite(trainer.tensors(), trainer.optimizer)
    if damaged:
        return f"{damaged} before the first batch: it was changed from outside (a callback?)"
    model.train()
    for number, batch in enumerate(batches.epoch(trainer.generator), 1):
        before = standing(trainer)
        loss, _ = trainer.learn(batch)
        damaged = first_nonfinite(trainer.tensors(), trainer.optimizer)
        if math.isfinite(loss) and not damaged:
            continue
        put_back(trainer, before)
        place = where_not_finite(model, trainer.objective, batch, penalty_of(trainer))
        put_back(trainer, before)  # a forward pass changes running statistics, and draws
        origin = trainer.origin(batch, place.layer)
        native = trainer.engine().startswith("native")
        words = place.words or _without_layer(damaged, origin, native=native)
        rows = batches.rows_of(number - 1) if isinstance(batches, ArrayBatches) else None
        row = "" if rows is None or place.row is None else f", row {rows[place.row]} of {batches.name}"
        return f"{words}, in batch {number}{row}{_operation(origin)}"
    return (
        "something that did not happen again when the epoch was repeated: a callback that changes the model, or batches "
        "that are others when they are read again"
    )


def _without_layer(damaged: str, origin: Origin | None, *, native: bool) -> str:
    """Say what went wrong where output, loss and gradients of all layers are finite."""
    if damaged.startswith("the tensor"):
        return f"{damaged} after the forward pass"
    if damaged.startswith("the optimizer"):
        return f"the update of {damaged} after it: the gradient is too large"
    if damaged.startswith("the parameter") and (origin is None or " in " in origin.operation):
        if origin is not None and math.isnan(origin.value):
            return f"the update of {damaged} after it: the optimizer's rule makes NaN of finite numbers (0 / 0, where eps is 0?)"
        return f"the update of {damaged} after it: the step is too large"
    return f"{origin or 'numbers that could not be found again'}{' in native code alone' if native else ''}"


def _operation(origin: Origin | None) -> str:
    """Say which operation it was."""
    return f": {origin.operation} gave {origin.value:g}" if origin is not None and origin.operation else ""
