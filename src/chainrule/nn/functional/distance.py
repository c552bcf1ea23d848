"""Lengths of vectors, distances and angles between them."""

from __future__ import annotations

from chainrule.graph import primitive
from chainrule.graph.sizes import Shape, broadcast_shapes
from chainrule.tensors import reductions
from chainrule.tensors.apply import apply2
from chainrule.tensors.arithmetic import clamp
from chainrule.tensors.tensor import Tensor


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Return the vectors along an axis divided by their p-norm, which counts at least as ``eps``."""
    return input / clamp(reductions.norm(input, p, dim, keepdim=True), min=eps)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """Return the p-norm of x1 - x2 + eps along the last axis."""
    return reductions.norm(x1 - x2 + eps, p, -1, keepdim)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Return the cosine of the angle between the vectors along an axis; lengths count at least as ``eps``.

    The gradient is that of the lengths themselves: it does not see their limit.
    """
    p, q = x1.broadcast_to(_common(x1, x2)), x2.broadcast_to(_common(x1, x2))
    lengths = [_at_least(reductions.norm(x, 2, dim, keepdim=True), eps) for x in (p, q)]
    return reductions.sum((p / lengths[0]) * (q / lengths[1]), dim)


def _common(x1: Tensor, x2: Tensor) -> Shape:
    return broadcast_shapes(tuple(x1.shape), tuple(x2.shape))


def _at_least(x: Tensor, least: float) -> Tensor:
    return apply2(primitive("set_value"), x, clamp(x.detach(), min=least))
