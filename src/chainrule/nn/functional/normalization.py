"""Normalization: numbers shifted and scaled to mean 0 and variance 1, over the batch or over the features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.errors import ArgumentError, ShapeError
from chainrule.graph.numeric import as_ints
from chainrule.graph.sizes import numel, same_shape
from chainrule.nn.functional.reduction import check_floating, check_tensors
from chainrule.tensors import reductions
from chainrule.tensors.arithmetic import clone, rsqrt
from chainrule.tensors.autograd import no_grad
from chainrule.tensors.tensor import Tensor


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Return (x - mean) / √(variance + eps) · weight + bias over the last axes, whose sizes are ``normalized_shape``."""
    check_tensors("layer_norm", input=input)
    check_floating("layer_norm", input=input)
    sizes = as_ints(normalized_shape)
    count = len(sizes)
    if not sizes or count > input.ndim or not same_shape(tuple(input.shape[-count:]), sizes):
        raise ShapeError(
            f"expected the last {'axis' if count == 1 else f'{count} axes'} to have the sizes {list(sizes)}, "
            f"got an input of shape {tuple(input.shape)}"
        )
    for name, x in (("weight", weight), ("bias", bias)):
        if x is not None and not same_shape(tuple(x.shape), sizes):
            raise ShapeError(f"layer_norm: got a {name} of shape {tuple(x.shape)}", expected=f"{sizes}")
    axes = tuple(range(-count, 0))
    centred = input - reductions.mean(input, axes, keepdim=True)
    variance = reductions.mean(centred * centred, axes, keepdim=True)
    y = centred * rsqrt(variance + eps)
    if weight is not None:
        y = y * weight
    return y if bias is None else y + bias


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return (x - mean) / √(variance + eps) · weight + bias for each channel (axis 1) (Ioffe and Szegedy 2015).

    While training, mean and variance are the batch's, and the running ones move towards them in place by the part
    ``momentum`` (the running variance towards the unbiased one); else they are the running ones. Raises ShapeError if a
    batch to train on has one value per channel: its variance is 0.
    """
    check_tensors("batch_norm", input=input)
    check_floating("batch_norm", input=input)
    if 0 in [size for size in input.shape if isinstance(size, int)]:
        return _of_nothing(input, weight, bias)
    if input.ndim < 2:
        raise ShapeError(f"batch_norm: got an input of shape {tuple(input.shape)}", expected="(N, C) or (N, C, …)")
    channels = input.shape[1]
    for name, x in (("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias)):
        if x is not None and not same_shape(tuple(x.shape), (channels,)):
            raise ShapeError(f"expected {x.numel()} channels in axis 1, got {channels} ({name} has {x.numel()})")
    along = (1, channels) + (1,) * (input.ndim - 2)
    if training:
        axes = (0, *range(2, input.ndim))
        count = numel(tuple([input.shape[axis] for axis in axes]))
        if isinstance(count, int) and count == 1:
            raise ShapeError(
                f"batch_norm: got one value per channel to train on (input of shape {tuple(input.shape)}), whose "
                "variance is 0",
                expected="more than one",
                fix="drop a last batch of one row, or call eval() to use the running statistics",
            )
        mean = reductions.mean(input, axes, keepdim=True)
        centred = input - mean
        squares = centred * centred
        variance = reductions.mean(squares, axes, keepdim=True)
        if running_mean is not None:
            _follow(running_mean, mean.detach().reshape((channels,)), momentum)
        if running_var is not None:
            unbiased = reductions.sum(squares.detach(), axes) / (count - 1)
            _follow(running_var, unbiased, momentum)
    else:
        if running_mean is None or running_var is None:
            raise ArgumentError(
                "batch_norm: got no running statistics outside of training", expected="running_mean and running_var"
            )
        centred = input - running_mean.reshape(along)
        variance = running_var.reshape(along)
    scale = rsqrt(variance + eps)
    if weight is not None:
        scale = scale * weight.reshape(along)
    y = centred * scale
    return y if bias is None else y + bias.reshape(along)


def _of_nothing(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Return a batch without elements: it has no statistics, and the running ones stay."""
    y = clone(input)
    if weight is not None:
        y = y * weight[:1].sum()
    return y if bias is None else y + bias[:1].sum()


def _follow(running: Tensor, new: Tensor, part: Any) -> None:
    """Move running statistics towards those of the batch, in place."""
    with no_grad():
        running.copy_(running * (1 - part) + new * part)
