"""Losses with a margin, and of similarity: what belongs together near, what does not far."""

from __future__ import annotations

from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn.functional.distance import pairwise_distance
from chainrule.nn.functional.reduction import check_same_shape, check_tensors, reduced, reduction_of
from chainrule.tensors import reductions
from chainrule.tensors.arithmetic import clamp, eq, logaddexp, minimum, ne, sqrt, where
from chainrule.tensors.tensor import Tensor


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return input where the target is 1, max(0, margin - input) where it is -1."""
    check_tensors("hinge_embedding_loss", input=input, target=target)
    how = reduction_of(reduction, size_average, reduce)
    far = where(ne(target, 1), clamp(margin - input, min=0.0), 0.0)
    near = where(ne(target, -1), input, 0.0)
    return reduced(far + near, how)


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return max(0, -target · (input1 - input2) + margin): target 1 wants input1 above input2, -1 below."""
    check_tensors("margin_ranking_loss", input1=input1, input2=input2, target=target)
    how = reduction_of(reduction, size_average, reduce)
    if not input1.ndim == input2.ndim == target.ndim:
        raise ShapeError(
            f"margin_ranking_loss: got shapes {tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)}",
            expected="equally many axes",
        )
    return reduced(clamp(-target * (input1 - input2) + margin, min=0.0), how)


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return log(1 + e^(-target · input)), for targets 1 and -1, without overflow."""
    check_tensors("soft_margin_loss", input=input, target=target)
    how = reduction_of(reduction, size_average, reduce)
    check_same_shape("soft_margin_loss", input, target)
    return reduced(logaddexp(-target * input, input.new_zeros(())), how)


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return 1 - cos for target 1, max(0, cos - margin) for -1; cos between rows (N, D), target (N,)."""
    check_tensors("cosine_embedding_loss", input1=input1, input2=input2, target=target)
    how = reduction_of(reduction, size_average, reduce)
    if target.ndim not in (0, 1):
        raise ShapeError(f"cosine_embedding_loss: got a target of {target.ndim} axes", expected="0 or 1")
    if input1.ndim != target.ndim + 1 or input2.ndim != target.ndim + 1:
        raise ShapeError(
            f"cosine_embedding_loss: got shapes {tuple(input1.shape)} and {tuple(input2.shape)} with a target of "
            f"shape {tuple(target.shape)}",
            expected="inputs of one axis more than the target",
        )
    axis, least = target.ndim, 1e-12  # squared lengths are that much longer than 0
    products = reductions.sum(input1 * input2, axis)
    lengths = sqrt((reductions.sum(input1 * input1, axis) + least) * (reductions.sum(input2 * input2, axis) + least))
    cosine = products / lengths
    losses = where(eq(target, 1), 1.0 - cosine, 0.0) + where(eq(target, -1), clamp(cosine - margin, min=0.0), 0.0)
    return reduced(losses, how)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return max(0, d(anchor, positive) - d(anchor, negative) + margin), d the p-norm of the difference of rows.

    ``swap`` takes d(positive, negative) where it is smaller than d(anchor, negative) (Balntas et al. 2016).
    """
    check_tensors("triplet_margin_loss", anchor=anchor, positive=positive, negative=negative)
    how = reduction_of(reduction, size_average, reduce)
    if margin <= 0:
        raise ArgumentError(f"triplet_margin_loss: got margin={margin}", expected="a number above 0")
    if not anchor.ndim == positive.ndim == negative.ndim:
        shapes = [tuple(x.shape) for x in (anchor, positive, negative)]
        raise ShapeError(f"triplet_margin_loss: got shapes {shapes}", expected="equally many axes")
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduced(clamp(margin + near - far, min=0.0), how)
