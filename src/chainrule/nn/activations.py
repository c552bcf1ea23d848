"""Activations as layers: each calls the function of nn.functional with the arguments it was made with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from chainrule.errors import ArgumentError
from chainrule.graph.numeric import as_int, as_number
from chainrule.nn import functional as F
from chainrule.nn import init
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter
from chainrule.tensors.creation import empty
from chainrule.tensors.tensor import Tensor


class Activation(Module):
    """A function of one input. ``arguments`` names the attributes that it is called with, and that the text shows."""

    function: ClassVar[Callable[..., Tensor]]
    arguments: ClassVar[tuple[str, ...]] = ()

    def forward(self, input: Tensor) -> Tensor:
        """Return the function of the input."""
        return type(self).function(input, **{name: getattr(self, name) for name in self.arguments})

    def extra_repr(self) -> str:
        """Return the arguments; ``inplace`` only if it is chosen."""
        shown = [name for name in self.arguments if name != "inplace" or self.inplace]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)


class InPlace(Activation):
    """An activation that can write its result into its input, with ``inplace=True``."""

    arguments: ClassVar[tuple[str, ...]] = ("inplace",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class Plain(Activation):
    """An activation without arguments; takes any when created."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()


class AlongAxis(Activation):
    """An activation that compares the elements along an axis."""

    arguments = ("dim",)

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = as_int(dim)


class Sigmoid(Plain):
    """1 / (1 + e^-x)"""

    function = staticmethod(F.sigmoid)


class Tanh(Plain):
    """tanh x"""

    function = staticmethod(F.tanh)


class ReLU(InPlace):
    """max(x, 0)"""

    function = staticmethod(F.relu)


class ReLU6(InPlace):
    """min(max(x, 0), 6)"""

    function = staticmethod(F.relu6)


class LeakyReLU(InPlace):
    """x above 0, negative_slope · x below"""

    function = staticmethod(F.leaky_relu)
    arguments = ("negative_slope", "inplace")

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = as_number(negative_slope)


class ELU(InPlace):
    """x above 0, alpha · (e^x - 1) below"""

    function = staticmethod(F.elu)
    arguments = ("alpha", "inplace")

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = as_number(alpha)


class CELU(InPlace):
    """x above 0, alpha · (e^(x / alpha) - 1) below"""

    function = staticmethod(F.celu)
    arguments = ("alpha", "inplace")

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = as_number(alpha)


class SELU(InPlace):
    """The ELU that keeps mean 0 and variance 1"""

    function = staticmethod(F.selu)


class GELU(Activation):
    """x · Φ(x), Φ the normal distribution function; ``approximate='tanh'`` is faster"""

    function = staticmethod(F.gelu)
    arguments = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ArgumentError(f"GELU: got approximate={approximate!r}", expected="'none' or 'tanh'")
        self.approximate = approximate


class SiLU(InPlace):
    """x · σ(x)"""

    function = staticmethod(F.silu)


class Mish(InPlace):
    """x · tanh(softplus(x))"""

    function = staticmethod(F.mish)


class Softplus(Activation):
    """log(1 + e^(beta · x)) / beta; x itself where beta · x is above the threshold"""

    function = staticmethod(F.softplus)
    arguments = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = as_number(beta)
        self.threshold = as_number(threshold)


class Softsign(Plain):
    """x / (1 + |x|)"""

    function = staticmethod(F.softsign)


class Hardtanh(InPlace):
    """x limited to [min_val, max_val]"""

    function = staticmethod(F.hardtanh)
    arguments = ("min_val", "max_val", "inplace")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        if not min_val < max_val:
            raise ArgumentError(f"Hardtanh: got min_val={min_val} and max_val={max_val}", expected="min_val < max_val")
        self.min_val = as_number(min_val)
        self.max_val = as_number(max_val)


class Hardsigmoid(InPlace):
    """0 up to -3, 1 from 3 on, and a line between"""

    function = staticmethod(F.hardsigmoid)

    def extra_repr(self) -> str:
        """Return nothing."""
        return ""


class Hardswish(InPlace):
    """x · hardsigmoid(x)"""

    function = staticmethod(F.hardswish)

    def extra_repr(self) -> str:
        """Return nothing."""
        return ""


class LogSigmoid(Plain):
    """log σ(x), without underflow"""

    function = staticmethod(F.logsigmoid)


class Tanhshrink(Plain):
    """x - tanh x"""

    function = staticmethod(F.tanhshrink)


class _Shrink(Activation):
    arguments = ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = as_number(lambd)

    def extra_repr(self) -> str:
        """Return the limit."""
        return str(self.lambd)


class Softshrink(_Shrink):
    """x moved towards 0 by lambd, 0 within [-lambd, lambd]"""

    function = staticmethod(F.softshrink)


class Hardshrink(_Shrink):
    """x, and 0 within [-lambd, lambd]"""

    function = staticmethod(F.hardshrink)


class Threshold(InPlace):
    """x above the threshold, else value"""

    function = staticmethod(F.threshold)
    arguments = ("threshold", "value", "inplace")

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold = as_number(threshold)
        self.value = as_number(value)


class Softmax(AlongAxis):
    """e^x / Σ e^x along an axis"""

    function = staticmethod(F.softmax)


class LogSoftmax(AlongAxis):
    """x - log Σ e^x along an axis"""

    function = staticmethod(F.log_softmax)


class Softmin(AlongAxis):
    """e^-x / Σ e^-x along an axis"""

    function = staticmethod(F.softmin)


class GLU(Activation):
    """a · σ(b) for the halves a and b of an axis"""

    function = staticmethod(F.glu)
    arguments = ("dim",)

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = as_int(dim)


class PReLU(Module):
    """x above 0, weight · x below: the slope is learned, one for all or one for each channel (axis 1)"""

    weight: Parameter

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters = as_int(num_parameters)
        self.init = as_number(init)
        self.weight = Parameter(empty(self.num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Write starting values."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        """Return the function of the input."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """Return how many slopes are learned."""
        return f"num_parameters={self.num_parameters}"
