"""The loss of each row on its own, whatever the reduction of the loss function, and its gradient at the outputs."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.graph import Array
from chainrule.nn import Module
from chainrule.tensors.autograd import enable_grad, grad
from chainrule.tensors.shaping import stack
from chainrule.tensors.tensor import Tensor
from chainrule.training.objective import Objective


def row_losses(objective: Objective, output: Tensor, y: Tensor) -> tuple[Array, Tensor]:
    """Return the loss of each row, [rows], and the gradient of their sum at ``output``.

    The loss of a row is what the loss function would say of that row alone: with several outputs their mean where the
    function takes the mean, their sum where it takes the sum. A function without ``reduction`` is called row by row.
    """
    with enable_grad(), np.errstate(all="ignore"):
        leaf = output.detach().clone().requires_grad_()
        losses = _losses(objective, leaf, objective.aligned(leaf, y))
        if not losses.requires_grad:
            return np.asarray(losses.detach()), Tensor(np.zeros_like(leaf._value))
        (gradient,) = grad(losses.sum(), leaf, materialize_grads=True)
    assert gradient is not None  # materialized
    return np.asarray(losses.detach()), gradient


def _losses(objective: Objective, output: Tensor, y: Tensor) -> Tensor:
    reduction, each = _unreduced(objective.loss)
    num_rows = output.shape[0]
    if each is None:
        parts = [objective.loss(output[k : k + 1], y[k : k + 1]) for k in range(num_rows)]
        for k, part in enumerate(parts):
            _check(objective, part, k)
        return stack([part.reshape(()) for part in parts])
    losses = each(output, y)
    if losses.ndim == 0 or losses.shape[0] != num_rows:
        raise ShapeError(
            f"the loss {objective.name} with reduction='none' gave shape {tuple(losses.shape)} for {num_rows} rows",
            expected=f"one loss for each row: ({num_rows},) or ({num_rows}, …)",
        )
    if losses.ndim == 1:
        return losses
    by_row = losses.reshape(num_rows, -1)
    summed: Tensor = by_row.sum(1) if reduction in ("sum", "batchmean") else by_row.mean(1)
    return summed


def _check(objective: Objective, part: Any, row: int) -> None:
    if not isinstance(part, Tensor) or part.numel() != 1:
        got = f"shape {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
        raise ShapeError(f"the loss {objective.name} gave {got} for row {row} alone", expected="a tensor of one number")


def _unreduced(loss: Callable[..., Any]) -> tuple[str, Callable[..., Tensor] | None]:
    """Return the reduction of a loss and the same loss without one; None if it cannot be asked for that."""
    if isinstance(loss, Module):
        if not isinstance(getattr(loss, "reduction", None), str):
            return "", None
        each = copy.copy(loss)
        each.__dict__["reduction"] = "none"
        return loss.reduction, each
    try:
        parameters = inspect.signature(loss).parameters
    except (TypeError, ValueError):  # no signature can be read
        return "", None
    if "reduction" not in parameters:
        return "", None
    default = parameters["reduction"].default
    return default if isinstance(default, str) else "mean", lambda output, y: loss(output, y, reduction="none")
