"""Gradients limited in length, or element by element, before an optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Iterable

from chainrule.errors import ArgumentError, NotFiniteError
from chainrule.tensors.arithmetic import clamp
from chainrule.tensors.autograd import no_grad
from chainrule.tensors.creation import tensor
from chainrule.tensors.reductions import norm
from chainrule.tensors.shaping import stack
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor

Tensors = Tensor | Iterable[Tensor]


def _as_list(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _gradients(parameters: Tensors) -> list[Tensor]:
    return [p.grad for p in _as_list(parameters) if p.grad is not None]


def get_total_norm(tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Tensor:
    """Return the norm of all elements of the tensors together, as one vector.

    Raises NotFiniteError for a NaN or infinite norm if ``error_if_nonfinite``.
    """
    parts = _as_list(tensors)
    if not parts:
        return tensor(0.0)
    kind = float(norm_type)
    norms = [norm(x, kind) for x in parts]
    total = norm(stack([n.to(norms[0].dtype) for n in norms]), kind)
    if error_if_nonfinite and STATE.mode != TRACE and not math.isfinite(total.detach().item()):
        raise NotFiniteError(
            f"the norm of {len(parts)} gradients is {total.item()}",
            expected="a finite number",
            fix="lower the learning rate, or pass error_if_nonfinite=False to go on with it",
        )
    return total


def clip_grads_with_norm_(parameters: Tensors, max_norm: float, total_norm: Tensor) -> None:
    """Scale the gradients in place by max_norm / total_norm if that is below 1."""
    factor = clamp(float(max_norm) / (total_norm + 1e-6), max=1.0)
    with no_grad():
        for g in _gradients(parameters):
            g.mul_(factor.to(g.dtype))


def clip_grad_norm_(
    parameters: Tensors, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale the gradients in place so that the norm of all together is at most ``max_norm``; return what it was."""
    held = _as_list(parameters)
    if max_norm < 0:
        raise ArgumentError(f"clip_grad_norm_: got max_norm={max_norm}", expected="a number that is not negative")
    with no_grad():
        total = get_total_norm(_gradients(held), norm_type, error_if_nonfinite)
        clip_grads_with_norm_(held, max_norm, total)
    return total


def clip_grad_value_(parameters: Tensors, clip_value: float) -> None:
    """Limit every element of the gradients to [-clip_value, clip_value], in place."""
    limit = float(clip_value)
    with no_grad():
        for g in _gradients(parameters):
            g.clamp_(-limit, limit)
