"""Losses of distributions: counts, normal numbers, and one distribution against another."""

from __future__ import annotations

import math

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.graph import primitive
from chainrule.graph.sizes import same_shape
from chainrule.nn.functional.reduction import check_tensors, reduced, reduction_of
from chainrule.tensors.apply import apply2
from chainrule.tensors.arithmetic import clamp, exp, log, where, xlogy
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor
from chainrule.tensors.views import unsqueeze


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """Return target · (log target - input): the Kullback-Leibler divergence, for an input of log-probabilities.

    ``log_target``  the target holds log-probabilities too
    ``reduction``   'batchmean' divides the sum by the number of rows: the divergence itself. 'mean' divides by the number
                    of elements, so it is smaller by the number of classes
    """
    check_tensors("kl_div", input=input, target=target)
    by_rows = reduction == "batchmean" and size_average is None and reduce is None
    how = "sum" if by_rows else reduction_of(reduction, size_average, reduce)
    losses = exp(target) * (target - input) if log_target else xlogy(target, target) - target * input
    y = reduced(losses, how)
    return y / input.shape[0] if by_rows and input.ndim else y


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return rate - target · log rate, for counts as target; the input is log rate, or the rate.

    ``full`` adds Stirling's approximation of log(target!), where the target is above 1.
    """
    check_tensors("poisson_nll_loss", input=input, target=target)
    how = reduction_of(reduction, size_average, reduce)
    losses = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        counts = where(target > 1, target, 1.0)
        stirling = counts * log(counts) - counts + 0.5 * log(2 * math.pi * counts)
        losses = losses + where(target > 1, stirling, 0.0)
    return reduced(losses, how)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Return ½ (log var + (input - target)² / var), for a mean and a variance that the network gives.

    ``var`` is one number or has the input's shape; its last axis may be missing, or one axis have size 1. It counts at
    least as ``eps``; the gradient does not see this limit. ``full`` adds ½ log 2π.
    """
    check_tensors("gaussian_nll_loss", input=input, target=target)
    how = reduction_of(reduction)
    if not isinstance(var, Tensor):
        if var < 0:
            raise ArgumentError(f"gaussian_nll_loss: got var={var}", expected="a number that is not negative")
        spread = var * input.new_ones(tuple(input.shape))
    else:
        spread = _fitted_variance(input, var)
    if eps <= 0:
        raise ArgumentError(f"gaussian_nll_loss: got eps={eps}", expected="a number above 0")
    if STATE.mode != TRACE and np.any(spread._value < 0):
        raise ArgumentError("gaussian_nll_loss: got a negative variance", expected="numbers that are not negative")
    spread = apply2(primitive("set_value"), spread, clamp(spread.detach(), min=eps))
    losses = 0.5 * (log(spread) + (input - target) ** 2 / spread)
    return reduced(losses + 0.5 * math.log(2 * math.pi) if full else losses, how)


def _fitted_variance(input: Tensor, var: Tensor) -> Tensor:
    shape, of_var = tuple(input.shape), tuple(var.shape)
    if not of_var or same_shape(shape, of_var):
        return var
    if same_shape(shape[:-1], of_var):
        return unsqueeze(var, -1)
    if len(of_var) == len(shape):
        differing = [n for m, n in zip(shape, of_var, strict=True) if not (m is n or m == n)]
        if len(differing) == 1 and differing[0] == 1:
            return var
    raise ShapeError(
        f"gaussian_nll_loss: got an input of shape {shape} and a variance of shape {of_var}",
        expected="one shape; the last axis of the variance may be missing, or one axis may have size 1",
    )
