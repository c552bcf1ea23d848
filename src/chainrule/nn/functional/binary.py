"""Losses of yes and no: the input says how probable yes is, the target (0, 1 or between) what was."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.graph import primitive
from chainrule.nn.functional.reduction import check_floating, check_same_shape, check_tensors, reduced, reduction_of
from chainrule.tensors.apply import apply2
from chainrule.tensors.arithmetic import clamp, log, log1p, logaddexp, where
from chainrule.tensors.logic import isfinite
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor

LEAST_LOG = -100.0  # a logarithm below counts as this: a loss stays finite where a probability is 0
LEAST_VARIANCE = float(np.float32(1e-12))  # p (1 - p) in the gradient counts at least as this; PyTorch's number


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Return -t log σ(z) - (1 - t) log(1 - σ(z)) for logits z = input and targets t, without overflow.

    ``weight`` multiplies the losses, ``pos_weight`` the part of the positive targets; both broadcast.
    """
    name = "binary_cross_entropy_with_logits"
    check_tensors(name, input=input, target=target)
    check_floating(name, input=input, target=target)
    check_same_shape(name, input, target)
    how = reduction_of(reduction, size_average, reduce)
    zero = input.new_zeros(())
    # -log(1 - σ(z)) = softplus(z), and -log σ(z) = softplus(z) - z; so the gradient is σ(z) - t, whose digits are kept
    # where it is small. Of an infinite z the difference is none; its loss is (1 - t) z + max(-z, 0).
    finite, infinite = logaddexp(input, zero), (-input).relu()
    if pos_weight is None:
        positive = target
    else:
        positive = pos_weight * target
        either = positive - target + 1.0
        finite, infinite = either * finite, either * infinite
    losses = where(isfinite(input), finite - positive * input, (1.0 - target) * input + infinite)
    return reduced(losses if weight is None else losses * weight, how)


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return -t log p - (1 - t) log(1 - p) for probabilities p = input; logarithms are at least -100.

    Raises ArgumentError for a probability outside of [0, 1]. With logits, binary_cross_entropy_with_logits is better.
    """
    name = "binary_cross_entropy"
    check_tensors(name, input=input, target=target)
    check_floating(name, input=input, target=target)
    check_same_shape(name, input, target)
    how = reduction_of(reduction, size_average, reduce)
    if STATE.mode != TRACE:
        _check_probabilities(name, input._value)
    losses = _surprise(input, target)
    return reduced(losses if weight is None else losses * weight, how)


def _check_probabilities(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> None:
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        at = tuple(int(k) for k in np.argwhere(wrong)[0])
        raise ArgumentError(
            f"{name}: got the probability {values[at]} at {at if len(at) != 1 else f'row {at[0]}'}",
            expected="numbers from 0 to 1",
            fix="put a sigmoid before, or use binary_cross_entropy_with_logits",
        )


def _surprise(p: Tensor, t: Tensor) -> Tensor:
    """Return -t log p - (1 - t) log(1 - p), its logarithms and its slope (p - t) / (p (1 - p)) in p kept finite.

    The value comes from limited logarithms, the gradient from a function that has the right one everywhere: the same
    loss where p (1 - p) ≥ ε, and the parabola (p² / 2 - t p) / ε outside.
    """
    fixed = p.detach()
    log_p, log_q = log(fixed), log1p(-fixed)
    value = -(t * clamp(log_p, min=LEAST_LOG) + (1.0 - t) * clamp(log_q, min=LEAST_LOG))
    if STATE.mode != TRACE and not (p.requires_grad or t.requires_grad):
        return value
    inside = fixed * (1.0 - fixed) >= LEAST_VARIANCE
    safe = where(inside, p, 0.5)
    rate = 1.0 / LEAST_VARIANCE
    parabola = rate * (p * p * 0.5 - t * p) + t * (log_q - log_p + rate * fixed)
    slope = where(inside, -t * log(safe) - (1.0 - t) * log1p(-safe), parabola)
    return apply2(primitive("set_value"), slope, value.detach())
