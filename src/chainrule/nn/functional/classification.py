"""Losses of classes: how improbable the network finds the class that is right.

``input`` has the classes in axis 1, (N, C) or (N, C, d₁, …), or is one row (C,). The target holds class numbers, of the
same shape without the classes, or (for ``cross_entropy``) a probability for each class, of the same shape.
"""

from __future__ import annotations

from typing import Any

from chainrule.errors import ArgumentError, DtypeError, ShapeError
from chainrule.graph import primitive
from chainrule.graph.numeric import as_int, as_number
from chainrule.graph.sizes import numel, same_shape
from chainrule.nn.functional.reduction import check_floating, check_tensors, reduced, reduction_of
from chainrule.ops.index import refuse_labels
from chainrule.tensors import reductions
from chainrule.tensors.apply import apply, cast
from chainrule.tensors.dtypes import I64
from chainrule.tensors.indexing import take_along
from chainrule.tensors.logic import eq, logical_not, lt, where
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor, numpy_dtype
from chainrule.tensors.views import reshape, squeeze, unsqueeze

TAKE, IOTA, SUM, CLASS_NUMBERS = primitive("take"), primitive("iota"), primitive("sum"), primitive("class_numbers")


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return -log softmax(input) at the target class; for probabilities as target, its mean under them.

    ``weight``           one number per class; the mean is then weighted
    ``ignore_index``     targets of this class count nothing
    ``label_smoothing``  the part of the target that is spread evenly over all classes

    Raises ArgumentError for a label outside of 0 … C - 1, with its row.
    """
    name = "cross_entropy"
    check_tensors(name, input=input, target=target)
    check_floating(name, input=input)
    how = reduction_of(reduction, size_average, reduce)
    ignore_index, label_smoothing = as_int(ignore_index), as_number(label_smoothing)
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"{name}: got label_smoothing={label_smoothing}", expected="a number from 0 to 1")
    axis = _class_axis(name, input)
    as_probabilities = _is_probabilities(name, input, target)
    weight = _checked_weight(name, weight, input, axis)
    log_p = reductions.log_softmax(input, axis)
    if as_probabilities:
        return _expected(log_p, target, weight, axis, how, label_smoothing)
    labels = _checked_labels(name, input, target, axis, ignore_index)
    if label_smoothing == 0:
        return _at_labels(log_p, labels, weight, axis, ignore_index, how)
    return _smoothed(log_p, labels, weight, axis, ignore_index, how, label_smoothing)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return -input at the target class: the negative log-likelihood, for an input of log-probabilities."""
    check_tensors("nll_loss", input=input, target=target)
    check_floating("nll_loss", input=input)
    how = reduction_of(reduction, size_average, reduce)
    axis = _class_axis("nll_loss", input)
    ignore_index = as_int(ignore_index)
    labels = _checked_labels("nll_loss", input, target, axis, ignore_index)
    weight = _checked_weight("nll_loss", weight, input, axis)
    return _at_labels(input, labels, weight, axis, ignore_index, how)


# -- checks ------------------------------------------------------------------------------------------------------------


def _class_axis(name: str, input: Tensor) -> int:
    if input.ndim == 0:
        raise ShapeError(f"{name}: got a 0-d input", expected="(C,), (N, C) or (N, C, d1, …), C the number of classes")
    return 0 if input.ndim == 1 else 1


def _is_probabilities(name: str, input: Tensor, target: Tensor) -> bool:
    """Return whether the target holds probabilities: it has the input's shape, and floats."""
    shapes_equal = input.ndim == target.ndim and same_shape(tuple(input.shape), tuple(target.shape))
    floating = bool(numpy_dtype(target).kind == "f")
    if floating and not shapes_equal:
        raise DtypeError(
            f"{name}: got a target of {numpy_dtype(target)} and shape {tuple(target.shape)}",
            expected=f"class numbers as int64, or a probability for each class in the shape {tuple(input.shape)}",
            fix="if these are class numbers, use target.long()",
        )
    if shapes_equal and not floating:
        raise DtypeError(
            f"{name}: got a target of {numpy_dtype(target)} in the input's shape {tuple(input.shape)}",
            expected=f"probabilities as floats, or class numbers in the shape {_without_classes(input)}",
            fix="use target.float() for 0 and 1 as probabilities, target.argmax(1) for class numbers",
        )
    return floating


def _without_classes(input: Tensor) -> tuple[Any, ...]:
    shape = tuple(input.shape)
    return () if len(shape) == 1 else (shape[0], *shape[2:])


def _checked_weight(name: str, weight: Tensor | None, input: Tensor, axis: int) -> Tensor | None:
    """Return one weight per class in the input's dtype."""
    if weight is None:
        return None
    check_tensors(name, weight=weight)
    if not same_shape(tuple(weight.shape), (input.shape[axis],)):
        raise ShapeError(
            f"{name}: got a weight of shape {tuple(weight.shape)}",
            expected=f"({input.shape[axis]},), a weight for each class",
        )
    return cast(weight, numpy_dtype(input))


def _checked_labels(name: str, input: Tensor, target: Tensor, axis: int, ignore_index: int) -> Tensor:
    """Return the labels as int64; raise if one is no class."""
    if numpy_dtype(target).kind not in "iu":
        raise DtypeError(
            f"{name}: got a target of {numpy_dtype(target)}", expected="class numbers as int64", fix="use target.long()"
        )
    wanted = _without_classes(input)
    if not same_shape(tuple(target.shape), wanted):
        raise ShapeError(
            f"{name}: got an input of shape {tuple(input.shape)} and a target of shape {tuple(target.shape)}",
            expected=f"a target of shape {wanted}: one class number for each row of the input",
        )
    labels = cast(target, I64)
    if STATE.mode == TRACE:  # values are unknown here: the graph checks them when it runs
        return apply(CLASS_NUMBERS, (labels,), {"classes": input.shape[axis], "ignored": ignore_index, "of": name})
    refuse_labels(name, labels._value, int(input.shape[axis]), ignore_index)
    return labels


# -- the losses --------------------------------------------------------------------------------------------------------


def _may_ignore(labels: Tensor, ignore_index: int) -> bool:
    """Return whether a label may be the ignored one: in a trace nobody knows."""
    return STATE.mode == TRACE or bool((labels._value == ignore_index).any())


def _pick(x: Tensor, labels: Tensor, axis: int) -> Tensor:
    """Return x at each row's label."""
    if x.ndim == 2:
        rows = apply(IOTA, (), {"size": x.shape[0], "dtype": I64})
        return apply(TAKE, (x, rows, labels), {"axes": (0, 1)})
    return squeeze(take_along(x, unsqueeze(labels, axis), axis), axis)


def _at_labels(log_p: Tensor, labels: Tensor, weight: Tensor | None, axis: int, ignore_index: int, how: str) -> Tensor:
    """Return -w log p at the labels; the mean is Σ -w log p / Σ w."""
    if weight is None and not _may_ignore(labels, ignore_index):
        picked = _pick(log_p, labels, axis)
        if how == "mean":  # the sign in the divisor saves a pass over the rows
            return apply(SUM, (picked,), {"axes": tuple(range(picked.ndim))}) / -numel(tuple(picked.shape))
        return reduced(-picked, how)
    ignored = eq(labels, ignore_index)
    safe = where(ignored, 0, labels)
    if STATE.mode == TRACE:  # values are unknown here: a negative label must not count from the end when the graph runs
        safe = where(lt(safe, 0), log_p.shape[axis], safe)
    losses = -_pick(log_p, safe, axis)
    counted = cast(logical_not(ignored), numpy_dtype(log_p))
    if weight is not None:
        of_label = apply(TAKE, (weight, safe), {"axes": (0,)})
        losses, counted = losses * of_label, counted * of_label
    losses = where(ignored, 0.0, losses)
    if how == "mean":
        return reductions.sum(losses) / reductions.sum(counted)
    return reduced(losses, how)


def _smoothed(
    log_p: Tensor, labels: Tensor, weight: Tensor | None, axis: int, ignore_index: int, how: str, smoothing: float
) -> Tensor:
    """Return (1 - s) · the loss at the labels + s / C · the sum of the losses of all classes."""
    at_labels = _at_labels(log_p, labels, weight, axis, ignore_index, how)
    ignored = eq(labels, ignore_index)
    of_classes = -(log_p if weight is None else log_p * _along(weight, log_p, axis))
    even = where(ignored, 0.0, reductions.sum(of_classes, axis))
    if how == "mean":
        counted = cast(logical_not(ignored), numpy_dtype(log_p))
        if weight is not None:
            counted = counted * apply(TAKE, (weight, where(ignored, 0, labels)), {"axes": (0,)})
        even = reductions.sum(even) / reductions.sum(counted)
    else:
        even = reduced(even, how)
    y: Tensor = at_labels * (1 - smoothing) + even * (smoothing / log_p.shape[axis])
    return y


def _along(weight: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return the weights of the classes in a shape that broadcasts along their axis."""
    return reshape(weight, (-1,) + (1,) * (x.ndim - 1 - axis))


def _expected(log_p: Tensor, target: Tensor, weight: Tensor | None, axis: int, how: str, smoothing: float) -> Tensor:
    """Return -Σ p w log q over the classes."""
    classes = log_p.shape[axis]
    if smoothing > 0:
        target = target * (1 - smoothing) + smoothing / classes
    products = log_p * target if weight is None else log_p * target * _along(weight, log_p, axis)
    losses = -reductions.sum(products, axis)
    return reduced(losses, how)
