"""Linear layers."""

from __future__ import annotations

import math
from typing import Any

from chainrule.errors import ArgumentError
from chainrule.graph.numeric import as_int
from chainrule.nn import functional as F
from chainrule.nn import init
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter
from chainrule.tensors.creation import empty
from chainrule.tensors.tensor import Tensor


def checked_sizes(layer: str, **sizes: Any) -> list[int]:
    """Return the sizes as plain ints; raise unless all are whole numbers that are not negative."""
    found = []
    for name, given in sizes.items():
        size = as_int(given)
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise ArgumentError(f"{layer}: got {name}={given!r}", expected="a whole number that is not negative")
        found.append(size)
    return found


class Identity(Module):
    """y = x; takes any arguments when created."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """Return the input."""
        return input


class Linear(Module):
    """y = x · weightᵀ + bias: (…, in_features) to (…, out_features).

    ``weight`` (out_features, in_features) and ``bias`` (out_features,) start uniform on ±1/√in_features.

    >>> import chainrule as cr
    >>> cr.nn.Linear(3, 2)(cr.ones(5, 3)).shape
    chainrule.Size([5, 2])
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        in_features, out_features = checked_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(empty(out_features, in_features, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_features, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Write starting values."""
        bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """Return input · weightᵀ + bias."""
        held = self._parameters
        return F.linear(input, held["weight"], held["bias"])  # type: ignore[arg-type]  # the weight is never None

    def extra_repr(self) -> str:
        """Return sizes and whether there is a bias."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """yₖ = x1ᵀ · weightₖ · x2 + biasₖ: (…, in1_features) and (…, in2_features) to (…, out_features).

    ``weight`` (out, in1, in2) and ``bias`` (out,) start uniform on ±1/√in1_features.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        in1_features, in2_features, out_features = checked_sizes(
            "Bilinear", in1_features=in1_features, in2_features=in2_features, out_features=out_features
        )
        if in1_features == 0:
            raise ArgumentError("Bilinear: got in1_features=0", expected="at least 1")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.weight = Parameter(empty(out_features, in1_features, in2_features, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_features, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Write starting values."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Return the bilinear map of the two inputs."""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return sizes and whether there is a bias."""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )
