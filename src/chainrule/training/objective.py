"""The error of a batch as one number: losses by name, targets in the right form, rows with weights."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError, nearest
from chainrule.graph import Array
from chainrule.nn import Module
from chainrule.nn import functional as F
from chainrule.tensors.dtypes import FROM_NUMPY
from chainrule.tensors.tensor import Tensor
from chainrule.training import own_function

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
MODULES: dict[type[Module], str] = {
    nn.CrossEntropyLoss: "cross_entropy",
    nn.BCEWithLogitsLoss: "bce_with_logits",
    nn.BCELoss: "bce",
    nn.NLLLoss: "nll",
    nn.MSELoss: "mse",
    nn.L1Loss: "mae",
    nn.HuberLoss: "huber",
    nn.SmoothL1Loss: "smooth_l1",
}
OF_CLASSES = ("cross_entropy", "nll")  # a target is the number of a class, and there is an output for each
IGNORED = -100  # PyTorch's sign for a row that does not count; here one has to ask for it
OF_YES_OR_NO = ("bce_with_logits", "bce")  # a target is 0, 1 or between
NOT_LOGITS = ("bce", "mse", "mae", "l1", "huber", "smooth_l1")  # the output estimates the target itself


class Objective:
    """A loss with the form its targets take. ``objective(output, y, weight)`` is Σ wᵢ lossᵢ / Σ wᵢ, or the loss's mean.

    ``name``       of the loss
    ``loss``       the function or module
    ``kind``       its name in ``LOSSES``; "" for a loss of one's own
    ``classes``    whether targets are class numbers
    ``threshold``  a row of one output is predicted to be of class 1 above this: 0 for logits, ½ for estimates of 0 or 1

    A loss with ``reduction='sum'`` gives Σ wᵢ lossᵢ.
    """

    def __init__(self, loss: str | Callable[..., Tensor], *, classes: bool | None = None) -> None:
        check_loss(loss)
        self.loss: Callable[..., Tensor] = LOSSES[loss] if isinstance(loss, str) else loss
        self.kind = kind_of(loss)
        self.name = loss if isinstance(loss, str) else _name_of(loss)
        self.classes = self.kind in OF_CLASSES if classes is None else classes
        self.threshold = 0.5 if self.kind in NOT_LOGITS else 0.0

    def __call__(self, output: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the error of a batch, 0-d."""
        y = self.aligned(output, y)
        own_function.note(self.loss, f"the loss {self.name}")
        error: Any = self.loss(output, y) if weight is None else self._weighted(output, y, weight)
        if not isinstance(error, Tensor) or error.ndim:
            got = f"shape {tuple(error.shape)}" if isinstance(error, Tensor) else type(error).__name__
            raise ShapeError(
                f"the loss {self.name} gave {got} for a batch", expected="a tensor of one number", fix="take its mean"
            )
        found: Tensor = error
        return found

    def aligned(self, output: Tensor, y: Tensor) -> Tensor:
        """Return numeric targets in the shape of the output: [n] beside [n, 1] would broadcast to [n, n]."""
        fitted = y
        if not self.classes and y.ndim == 1 and output.ndim == 2 and _is_one(output.shape[1]):
            fitted = y.unsqueeze(1)
        elif not self.classes and y.ndim == 2 and output.ndim == 1 and _is_one(y.shape[1]):
            fitted = y.squeeze(1)
        return fitted

    @property
    def ignore_index(self) -> int | None:
        """The class number of rows that do not count; None unless the loss was given as a module or a partial with one."""
        settings = (
            self.loss.keywords if isinstance(self.loss, functools.partial) else getattr(self.loss, "__dict__", {})
        )
        found = settings.get("ignore_index")
        return None if found is None else int(found)

    def _weighted(self, output: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        losses, reduction = self._row_losses(output, y)
        if losses.ndim > 1:
            losses = losses.flatten(1).mean(1)
        total: Tensor = (losses * weight).sum()
        return total if reduction == "sum" else total / weight.sum()

    def _row_losses(self, output: Tensor, y: Tensor) -> tuple[Tensor, str]:
        """Return one loss per row, and the reduction that the loss itself would have made of them."""
        if isinstance(self.loss, Module) and isinstance(getattr(self.loss, "reduction", None), str):
            each = copy.copy(self.loss)
            each.__dict__["reduction"] = "none"
            found: Tensor = each(output, y)
            return found, self.loss.reduction
        reduction = None if isinstance(self.loss, Module) else _parameters(self.loss).get("reduction")
        if reduction is None:
            raise ArgumentError(
                f"row or class weights with the loss {self.name}, which takes no `reduction`",
                expected="a loss that can return one value per row",
                fix="give it a parameter reduction, and return one loss per row for reduction='none'",
            )
        return self.loss(output, y, reduction="none"), str(reduction.default)

    def __repr__(self) -> str:
        return f"<Objective: {self.name}{', of class numbers' if self.classes else ''}>"


def check_loss(loss: Any) -> None:
    """Raise for what is no loss, with the nearest names for a misspelt one."""
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ArgumentError(
                f"there is no loss {loss!r}", expected=f"one of {', '.join(LOSSES)}", fix=nearest(loss, LOSSES)
            )
    elif isinstance(loss, type):
        raise ArgumentTypeError(f"loss={loss.__name__}, a class", expected="an object", fix=f"write {loss.__name__}()")
    elif not callable(loss):
        raise ArgumentTypeError(
            f"loss={loss!r}", expected=f"a function (output, y), a loss module, or one of {', '.join(LOSSES)}"
        )


def check_loss_is_learned(loss: Any, model: Module, learned: Iterable[Tensor]) -> None:
    """Raise for a loss module with parameters, not the model's, that are not ``learned``: they would silently stay."""
    if not isinstance(loss, Module):
        return
    known = {*learned, *model.parameters()}
    left_out = [name for name, p in loss.named_parameters() if p.requires_grad and p not in known]
    if left_out:
        names = ", ".join(left_out[:5]) + (", …" if len(left_out) > 5 else "")
        raise ArgumentError(
            f"the loss {type(loss).__name__} has parameters that the optimizer does not improve: {names}",
            expected="an optimizer over the model's parameters and the loss's",
            fix="write optimizer=cr.optim.Adam([*model.parameters(), *loss.parameters()]), "
            "or freeze them: loss.requires_grad_(False)",
        )


def kind_of(loss: str | Callable[..., Tensor]) -> str:
    """Return which of ``LOSSES`` a loss is, also as a module, a function or a partial; "" for one of the user's own."""
    if isinstance(loss, str):
        return loss
    if isinstance(loss, functools.partial):
        return kind_of(loss.func)
    if isinstance(loss, Module):
        return next((name for module, name in MODULES.items() if isinstance(loss, module)), "")
    return next((name for name, function in LOSSES.items() if function is loss), "")


def _name_of(loss: Callable[..., Tensor]) -> str:
    inner = loss.func if isinstance(loss, functools.partial) else loss
    return str(getattr(inner, "__name__", type(inner).__name__))


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # no signature can be read
        return {}


def _is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1


# -- what fits the data --------------------------------------------------------------------------------------------


def objective_for(loss: str | Callable[..., Tensor] | None, y: Array, output: Tensor) -> Objective:
    """Return the objective for these targets and outputs; ``loss`` None: the default.

    Integer targets number classes where the loss says so, and for a loss of one's own where there is one per row and
    several outputs.
    """
    objective = Objective(default_loss(y, output) if loss is None else loss)
    numbers_classes = y.dtype.kind in "iub" and _columns(y) == 1 and output.ndim > 1
    if objective.kind == "":
        objective.classes = numbers_classes and output.shape[1] > 1
    elif objective.classes and y.ndim == output.ndim and _columns(y) > 1:
        objective.classes = False  # a probability for each class
    return objective


def _columns(y: Array) -> int:
    return 1 if y.ndim == 1 else int(np.prod(y.shape[1:]))


def default_loss(y: Any, output: Tensor) -> str:
    """Return the loss that fits: cross-entropy for classes, logistic for 0/1 with one output, else squared error.

    Integers in several columns are yes or no, column by column (or a single yes in each row: then classes).
    """
    values = y._value if isinstance(y, Tensor) else np.asarray(y)
    if values.dtype.kind not in "iub":
        return "mse"
    is_binary = bool(values.size) and values.min() >= 0 and values.max() <= 1
    if output.ndim == 1 or output.shape[-1] == 1:
        return "bce_with_logits" if is_binary else "mse"
    if _columns(values) == 1 or values.ndim < output.ndim:
        return "cross_entropy"
    if not is_binary:
        return "mse"
    return "cross_entropy" if (values.sum(axis=1) == 1).all() else "bce_with_logits"


def check_targets(y: Any, output: Tensor, objective: Objective, name: str = "") -> None:
    """Raise where the loss cannot use these targets for these outputs: DataError with the row, ShapeError with sizes."""
    y = np.asarray(y)
    before = f"{name}: " if name else ""
    if objective.classes:
        _check_classes(y, output, objective, before)
    elif objective.kind in OF_YES_OR_NO and ((y < 0) | (y > 1)).any():
        bad = (y < 0) | (y > 1)
        row = int(np.argmax(bad.reshape(len(y), -1).any(axis=1)))
        raise DataError(
            f"{before}row {row} has target {y[bad][0]}, and the loss is {objective.name}",
            expected="0, 1 or a number between",
            fix="number the two classes 0 and 1, or use loss='mse' for quantities",
        )
    if objective.kind and not objective.classes:
        _check_columns(y, output, objective, before)


def _check_classes(y: Array, output: Tensor, objective: Objective, before: str) -> None:
    if output.ndim < 2:
        raise ShapeError(
            f"the model's outputs have shape {tuple(output.shape)}, and the loss is {objective.name}",
            expected="an output per class: [rows, classes]",
            fix="give the last layer an output per class, or use loss='bce_with_logits' for two classes",
        )
    if y.dtype.kind not in "iu":
        return
    columns = output.shape[1]
    bad = (y < 0) | (y >= columns)
    if objective.ignore_index is not None:
        bad &= y != objective.ignore_index
    if not bad.any():
        return
    row = int(np.argmax(bad.reshape(len(y), -1).any(axis=1)))
    fix = "number the classes from 0, or give the model an output per class"
    if columns == 1:
        fix = "give the model an output per class, or use loss='bce_with_logits' for two classes"
    if y[bad][0] == IGNORED:
        module = "NLLLoss" if objective.kind == "nll" else "CrossEntropyLoss"
        fix = f"leave such rows out, or say that they do not count: loss=nn.{module}(ignore_index={IGNORED})"
    raise DataError(
        f"{before}row {row} has label {y[bad][0]}, and the model has {columns} output{'s' * (columns > 1)}",
        expected=f"labels 0 to {columns - 1}" if columns > 1 else "label 0 alone",
        fix=fix,
    )


def _check_columns(y: Array, output: Tensor, objective: Objective, before: str) -> None:
    """A number for each output: otherwise they would broadcast, or fail inside the loss."""
    given, wanted = tuple(y.shape[1:]), tuple(output.shape[1:])
    if given == wanted or {given, wanted} == {(), (1,)}:
        return
    raise ShapeError(
        f"{before}y has {_counted(given)} per row, and the model gives {_counted(wanted)}",
        expected=f"the same number for the loss {objective.name}",
        fix="give the last layer an output for each column of y",
    )


def _counted(shape: tuple[int, ...]) -> str:
    if len(shape) > 1:
        return f"an array of shape {shape}"
    count = shape[0] if shape else 1
    return f"{count} number{'s' * (count != 1)}"


# -- weights ---------------------------------------------------------------------------------------------------------


def class_weights(y: Any, wanted: Any, *, complete: bool = True) -> Array:
    """Return a weight per row: ``"balanced"`` (n / (classes · count)) or a dict from class to weight (others: 1).

    ``complete`` says that ``y`` holds all rows: then a class in the dict that no row has is an error.
    """
    y = np.asarray(y)
    if y.dtype.kind not in "iub" or _columns(y) != 1:
        raise DataError(
            f"class_weight with targets of {y.dtype} and shape {y.shape}", expected="a class number per row"
        )
    classes, inverse, counts = np.unique(y, return_inverse=True, return_counts=True)
    per_class: Array
    if isinstance(wanted, str) and wanted == "balanced":
        per_class = len(y) / (len(classes) * counts)
    elif isinstance(wanted, dict):
        known = classes.tolist()
        unknown = [c for c in wanted if c not in known]
        if unknown and complete:
            raise ArgumentError(f"class_weight names {unknown[0]!r}, which no row has", expected=f"classes of {known}")
        per_class = np.array([float(wanted.get(c, 1.0)) for c in known])
        if not (np.isfinite(per_class).all() and (per_class >= 0).all()):
            raise ArgumentError(f"class_weight={wanted!r}", expected="weights of at least 0")
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
