"""The error of a batch as one number: losses by name, targets in the right form, rows with weights."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, DataError, nearest
from chainrule.nn import Module
from chainrule.nn import functional as F  # noqa: N812 - PyTorch's habit
from chainrule.tensors.dtypes import FROM_NUMPY
from chainrule.tensors.tensor import Tensor, numpy_dtype

LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": F.cross_entropy,
    "bce_with_logits": F.binary_cross_entropy_with_logits,
    "bce": F.binary_cross_entropy,
    "nll": F.nll_loss,
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "l1": F.l1_loss,
    "huber": F.huber_loss,
    "smooth_l1": F.smooth_l1_loss,
}
CLASS_INDEX = ("cross_entropy", "nll")


class Objective:
    """A loss with the form its targets take. ``objective(output, y, weight)`` is Σ wᵢ lossᵢ / Σ wᵢ, or the loss's mean.

    ``name``     of the loss
    ``classes``  whether targets are class indices
    """

    def __init__(self, loss: str | Callable[..., Tensor], *, classes: bool | None = None) -> None:
        if isinstance(loss, str):
            if loss not in LOSSES:
                fix = nearest(loss, LOSSES)
                raise ArgumentError(f"there is no loss {loss!r}", expected=f"one of {', '.join(LOSSES)}", fix=fix)
            self.name, self.loss = loss, LOSSES[loss]
        elif callable(loss):
            self.name = getattr(loss, "__name__", type(loss).__name__)
            self.loss = loss
        else:
            raise ArgumentError(f"loss={loss!r}", expected=f"a function, a loss module, or one of {', '.join(LOSSES)}")
        by_name = self.name in CLASS_INDEX or self.name in ("CrossEntropyLoss", "NLLLoss")
        self.classes = by_name if classes is None else classes

    def __call__(self, output: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the error of a batch."""
        y = self.aligned(output, y)
        if weight is None:
            return self.loss(output, y)
        losses = self._row_losses(output, y)
        if losses.ndim > 1:
            losses = losses.flatten(1).mean(1)
        return (losses * weight).sum() / weight.sum()

    def aligned(self, output: Tensor, y: Tensor) -> Tensor:
        """Return numeric targets in the shape of the output: [n] beside [n, 1] would broadcast to [n, n]."""
        if self.classes:
            return y
        if y.ndim == 1 and output.ndim == 2 and isinstance(output.shape[1], int) and output.shape[1] == 1:
            return y.unsqueeze(1)
        return y

    def _row_losses(self, output: Tensor, y: Tensor) -> Tensor:
        if isinstance(self.loss, Module) and hasattr(self.loss, "reduction"):
            each = copy.copy(self.loss)
            each.__dict__["reduction"] = "none"
            found: Tensor = each(output, y)
            return found
        if "reduction" in inspect.signature(self.loss).parameters:
            return self.loss(output, y, reduction="none")
        raise ArgumentError(
            f"row or class weights with the loss {self.name}, which takes no `reduction`",
            expected="a loss that can return one value per row",
            fix="give it a parameter reduction, and return one loss per row for reduction='none'",
        )


def default_loss(y: Any, output: Tensor) -> str:
    """Return the loss that fits: cross-entropy for classes, logistic for 0/1 with one output, else squared error."""
    whole = numpy_dtype(y).kind in "iub" if isinstance(y, Tensor) else np.asarray(y).dtype.kind in "iub"
    if not whole:
        return "mse"
    one = output.ndim == 1 or output.shape[-1] == 1
    if not one:
        return "cross_entropy"
    values = y._value if isinstance(y, Tensor) else np.asarray(y)
    return "bce_with_logits" if values.size and values.min() >= 0 and values.max() <= 1 else "mse"


def check_targets(y: Any, output: Tensor, objective: Objective) -> None:
    """Raise DataError for class indices that the output has no column for."""
    if not objective.classes or y.dtype.kind not in "iu" or output.ndim < 2:
        return
    columns = output.shape[1]
    bad = (y < 0) | (y >= columns)
    bad &= y != -100
    if bad.any():
        row = int(np.argmax(bad.reshape(len(y), -1).any(axis=1)))
        raise DataError(
            f"row {row} has label {y[bad][0]}, and the model has {columns} outputs",
            expected=f"labels 0 to {columns - 1}",
            fix="number the classes from 0, or give the model an output per class",
        )


def class_weights(y: Any, wanted: Any) -> Any:
    """Return a weight per row: ``"balanced"`` (n / (classes · count)) or a dict from class to weight."""
    classes, inverse, counts = np.unique(y, return_inverse=True, return_counts=True)
    if wanted == "balanced":
        per_class = len(y) / (len(classes) * counts)
    elif isinstance(wanted, dict):
        unknown = [c for c in wanted if c not in classes]
        if unknown:
            raise ArgumentError(f"class_weight names {unknown}, which no row has", expected=f"classes of {list(classes)}")
        per_class = np.array([float(wanted.get(c.item(), 1.0)) for c in classes])
    else:
        raise ArgumentError(f"class_weight={wanted!r}", expected="'balanced' or a dict from class to weight")
    return per_class[inverse.reshape(len(y))]


def tensor_like(array: Any, dtype: Any) -> Tensor:
    """Return an array as a tensor; floating-point arrays in ``dtype``."""
    array = np.asarray(array)
    if array.dtype.kind == "f" and array.dtype != dtype:
        array = array.astype(dtype)
    if array.dtype not in FROM_NUMPY:
        array = array.astype(np.int64 if array.dtype.kind in "iu" else dtype)
    return Tensor(array)
