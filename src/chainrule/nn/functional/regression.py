"""Losses of numbers: how far an input is from its target."""

from __future__ import annotations

from chainrule.errors import ArgumentError
from chainrule.nn.functional.reduction import check_same_shape, check_tensors, reduced, reduction_of, warn_if_broadcast
from chainrule.tensors import reductions
from chainrule.tensors.arithmetic import abs, clamp, square
from chainrule.tensors.tensor import Tensor


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Return the (mean of the) squared differences; with ``weight`` the mean is Σ w (input - target)² / Σ w."""
    check_tensors("mse_loss", input=input, target=target)
    how = reduction_of(reduction, size_average, reduce)
    warn_if_broadcast("mse_loss", input, target)
    return _weighted("mse_loss", square(input - target), weight, input, how)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Return the (mean of the) absolute differences, whose gradient is 0 where they are 0."""
    check_tensors("l1_loss", input=input, target=target)
    how = reduction_of(reduction, size_average, reduce)
    warn_if_broadcast("l1_loss", input, target)
    return _weighted("l1_loss", abs(input - target), weight, input, how)


def _weighted(name: str, losses: Tensor, weight: Tensor | None, input: Tensor, how: str) -> Tensor:
    if weight is None:
        return reduced(losses, how)
    check_same_shape(f"{name} (weight)", input, weight)
    weighted = losses * weight
    if how == "mean":
        return reductions.sum(weighted) / reductions.sum(weight)
    return reduced(weighted, how)


def _huber(difference: Tensor, delta: float) -> Tensor:
    """Return d²/2 where |d| ≤ δ, else δ (|d| - δ/2); also for infinite d, without a NaN in the gradient."""
    near = clamp(difference, -delta, delta)
    return near * (difference - 0.5 * near)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """Return d² / (2 beta) where the difference |d| is below beta, else |d| - beta / 2 (Girshick 2015)."""
    check_tensors("smooth_l1_loss", input=input, target=target)
    how = reduction_of(reduction, size_average, reduce)
    warn_if_broadcast("smooth_l1_loss", input, target)
    if beta < 0:
        raise ArgumentError(f"smooth_l1_loss: got beta={beta}", expected="a number that is not negative")
    difference = input - target
    return reduced(abs(difference) if beta == 0 else _huber(difference, beta) / beta, how)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """Return d² / 2 where the difference |d| is below delta, else delta · (|d| - delta / 2) (Huber 1964).

    ``weight`` multiplies the losses; unlike that of mse_loss and l1_loss, their mean is not divided by its mean.
    """
    check_tensors("huber_loss", input=input, target=target)
    how = reduction_of(reduction)
    warn_if_broadcast("huber_loss", input, target)
    if delta <= 0:
        raise ArgumentError(f"huber_loss: got delta={delta}", expected="a number above 0")
    losses = _huber(input - target, delta)
    if weight is not None:
        check_same_shape("huber_loss (weight)", input, weight)
        losses = losses * weight
    return reduced(losses, how)
