"""Layers that compare two inputs."""

from __future__ import annotations

from chainrule.graph.numeric import as_int, as_number
from chainrule.nn import functional as F
from chainrule.nn.module import Module
from chainrule.tensors.tensor import Tensor


class CosineSimilarity(Module):
    """The cosine of the angle between the vectors along an axis; lengths count at least as ``eps``."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = as_int(dim)
        self.eps = as_number(eps)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Return the cosines."""
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norm of x1 - x2 + eps along the last axis."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = as_number(p)
        self.eps = as_number(eps)
        self.keepdim = keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Return the distances."""
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
