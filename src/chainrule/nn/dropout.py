"""Layers that leave numbers out at random while training, and do nothing in eval mode."""

from __future__ import annotations

from chainrule.errors import ArgumentError
from chainrule.graph.numeric import as_number
from chainrule.nn import functional as F
from chainrule.nn.module import Module
from chainrule.tensors.tensor import Tensor


class _Dropout(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ArgumentError(f"{type(self).__name__}: got p={p}", expected="a probability from 0 to 1")
        self.p = as_number(p)
        self.inplace = inplace

    def extra_repr(self) -> str:
        """Return the probability and whether it works in place."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Set each element to 0 with probability p and divide the others by 1 - p (Hinton et al. 2012)."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the input, thinned out while training."""
        return F.dropout(input, self.p, self.training, self.inplace)


class AlphaDropout(_Dropout):
    """Dropout for SELU networks: mean 0 and variance 1 stay (Klambauer et al. 2017)."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the input, thinned out while training."""
        return F.alpha_dropout(input, self.p, self.training, self.inplace)
