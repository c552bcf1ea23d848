"""Activations: functions of one number, element by element, and those that compare the elements along an axis.

At the kinks the gradients are PyTorch's; where a branch is not taken its gradient is kept finite, so that a large input
on the other side never gives NaN.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from chainrule.errors import ArgumentError, ShapeError
from chainrule.graph import primitive
from chainrule.tensors import arithmetic, reductions
from chainrule.tensors.apply import apply1
from chainrule.tensors.arithmetic import abs, clone, expm1, logaddexp, sigmoid, tanh, where
from chainrule.tensors.binary import checked
from chainrule.tensors.creation import zeros
from chainrule.tensors.memory import write
from chainrule.tensors.tensor import Tensor, numpy_dtype
from chainrule.tensors.views import narrow

SQRT_HALF = math.sqrt(0.5)
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
SELU_ALPHA = 1.6732632423543772848170429916717  # Klambauer et al. 2017, section 2
SELU_SCALE = 1.0507009873554804934193349852946


def _result(y: Tensor, x: Tensor, inplace: bool) -> Tensor:
    return write(x, y) if inplace else y


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return max(input, 0); the gradient at 0 is 0."""
    return _result(arithmetic.relu(input), input, inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """Return min(max(input, 0), 6); the gradient at 0 and at 6 is 0."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """Return input limited to [min_val, max_val]; the gradient at the limits is 0."""
    if min_val > max_val:
        raise ArgumentError(f"hardtanh: got min_val={min_val} and max_val={max_val}", expected="min_val ≤ max_val")
    low, high = (min_val, max_val) if numpy_dtype(input).kind == "f" else (int(min_val), int(max_val))
    y = where(input <= low, low, where(input >= high, high, input))
    return _result(y, input, inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """Return input where it is above 0, else negative_slope · input."""
    return _result(where(input > 0, input, input * negative_slope), input, inplace)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """Return input where it is above 0, else weight · input; one weight, or one for each channel (axis 1)."""
    if weight.ndim > 1 or (weight.ndim == 1 and weight.shape[0] != 1 and input.ndim < 2 and input.ndim != 0):
        raise ShapeError(
            f"prelu: got a weight of shape {tuple(weight.shape)} for an input of shape {tuple(input.shape)}",
            expected="one weight, or one for each channel in axis 1",
        )
    if weight.ndim == 1 and weight.shape[0] != 1:
        channels = input.shape[1] if input.ndim > 1 else 1
        if channels is not weight.shape[0] and channels != weight.shape[0]:
            raise ShapeError(f"prelu: expected {weight.shape[0]} channels in axis 1, got {channels}")
        weight = weight.reshape((-1,) + (1,) * (input.ndim - 2))
    elif weight.ndim == 1:
        weight = weight.reshape(())
    return where(input > 0, input, weight * input)


def _exponential_below_0(x: Tensor, alpha: float, rate: float = 1.0) -> Tensor:
    """Return α (e^(rate x) - 1) for x ≤ 0, and 0 above."""
    low = where(x > 0, 0.0, x)
    return alpha * expm1(low if rate == 1.0 else low * rate)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return input where it is above 0, else alpha · (e^input - 1) (Clevert et al. 2015)."""
    return _result(where(input > 0, input, _exponential_below_0(input, alpha)), input, inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return the ELU with the scale and alpha that keep mean 0 and variance 1 (Klambauer et al. 2017)."""
    y = where(input > 0, input * SELU_SCALE, _exponential_below_0(input, SELU_SCALE * SELU_ALPHA))
    return _result(y, input, inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return input where it is above 0, else alpha · (e^(input / alpha) - 1) (Barron 2017)."""
    if alpha == 0:
        raise ArgumentError("celu: got alpha=0", expected="a number other than 0")
    return _result(where(input > 0, input, _exponential_below_0(input, alpha, 1.0 / alpha)), input, inplace)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """Return input · Φ(input), Φ the normal distribution function (Hendrycks and Gimpel 2016); 'tanh' approximates Φ."""
    checked(input, "gelu")
    if approximate == "none":
        return input * ((apply1(primitive("erf"), input * SQRT_HALF) + 1.0) * 0.5)
    if approximate == "tanh":
        inner = SQRT_2_OVER_PI * (input + 0.044715 * (input * input * input))
        return input * sigmoid(2.0 * inner)  # = x (1 + tanh) / 2, which would lose its digits far below 0
    raise ArgumentError(f"gelu: got approximate={approximate!r}", expected="'none' or 'tanh'")


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return input · σ(input) (Elfwing et al. 2017)."""
    x = clone(input) if inplace else input  # the gradient reads it
    return _result(x * sigmoid(x), input, inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """Return input · tanh(softplus(input)) (Misra 2019)."""
    x = clone(input) if inplace else input  # the gradient reads it
    return _result(x * tanh(logaddexp(x, _zero(x))), input, inplace)


def _zero(x: Tensor) -> Tensor:
    return zeros((), dtype=numpy_dtype(x))


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return log(1 + e^(beta · input)) / beta; input itself where beta · input is above the threshold."""
    if beta == 1:
        return where(input > threshold, input, logaddexp(input, _zero(input)))
    scaled = input * beta
    return where(scaled > threshold, input, logaddexp(scaled, _zero(input)) / beta)


def logsigmoid(input: Tensor) -> Tensor:
    """Return log σ(input), without underflow."""
    return -logaddexp(-input, _zero(input))


def softsign(input: Tensor) -> Tensor:
    """Return input / (1 + |input|)."""
    return input / (1.0 + abs(input))


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """Return 0 up to -3, 1 from 3 on, and input / 6 + 1/2 between."""
    return _result(relu6(input + 3.0) / 6.0, input, inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """Return input · hardsigmoid(input) (Howard et al. 2019)."""
    x = clone(input) if inplace else input  # the gradient reads it
    y = where(x <= -3.0, x * 0.0, where(x < 3.0, x * (x + 3.0) / 6.0, x))  # x · 0: NaN at -inf, as in PyTorch
    return _result(y, input, inplace)


def tanhshrink(input: Tensor) -> Tensor:
    """Return input - tanh(input)."""
    return input - tanh(input)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Return input moved towards 0 by lambd, and 0 within [-lambd, lambd]."""
    if lambd < 0:
        raise ArgumentError(f"softshrink: got lambd={lambd}", expected="a number that is not negative")
    inside = input * 0.0  # NaN stays NaN
    return where(input > lambd, input - lambd, where(input < -lambd, input + lambd, inside))


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Return input, and 0 within [-lambd, lambd]."""
    return where((input >= -lambd) & (input <= lambd), 0.0, input)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """Return input where it is above the threshold, else value."""
    return _result(where(input <= threshold, value, input), input, inplace)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Return a · σ(b) for the halves a and b of an axis (Dauphin et al. 2016)."""
    if input.ndim == 0 or input.shape[dim] % 2 != 0:
        raise ShapeError(
            f"glu: got {input.shape[dim] if input.ndim else 'no'} elements along axis {dim} of {tuple(input.shape)}",
            expected="an even number, to halve",
        )
    half = input.shape[dim] // 2
    return narrow(input, dim, 0, half) * sigmoid(narrow(input, dim, half, half))


# -- along an axis -----------------------------------------------------------------------------------------------------


def _axis(name: str, dim: int | None, ndim: int) -> int:
    if dim is not None:
        return dim
    chosen = 0 if ndim in (0, 1, 3) else 1
    warnings.warn(
        f"{name}: no dim given, axis {chosen} was chosen from {ndim} axes; write dim={chosen}, or the axis you mean",
        UserWarning,
        stacklevel=3,
    )
    return chosen


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """Return e^input / Σ e^input along an axis: numbers above 0 that add up to 1."""
    return reductions.softmax(input, _axis("softmax", dim, input.ndim), dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """Return input - log Σ e^input along an axis: the logarithm of the softmax, without underflow."""
    return reductions.log_softmax(input, _axis("log_softmax", dim, input.ndim), dtype)


def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """Return the softmax of -input along an axis."""
    return reductions.softmax(-input, _axis("softmin", dim, input.ndim), dtype)


def _in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def method(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return function(input, *args, **kwargs, inplace=True)

    method.__name__ = method.__qualname__ = function.__name__ + "_"
    method.__doc__ = f"Write the result of ``{function.__name__}`` into the tensor."
    return method


relu_ = _in_place(relu)
leaky_relu_ = _in_place(leaky_relu)
elu_ = _in_place(elu)
selu_ = _in_place(selu)
celu_ = _in_place(celu)
hardtanh_ = _in_place(hardtanh)
threshold_ = _in_place(threshold)
