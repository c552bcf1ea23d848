"""Starting values, written into a tensor in place and without a tape: PyTorch's names, defaults and distributions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ShapeError, nearest
from chainrule.graph import primitive
from chainrule.graph.numeric import as_number
from chainrule.tensors.apply import apply1
from chainrule.tensors.arithmetic import clamp
from chainrule.tensors.autograd import no_grad
from chainrule.tensors.creation import rand, randn
from chainrule.tensors.generator import Generator
from chainrule.tensors.tensor import Tensor, concrete, numpy_dtype

LINEAR = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid")
GAINS = (*LINEAR, "tanh", "relu", "leaky_relu", "selu")


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return by how much the weights before this activation must be larger to keep the variance.

    ``param`` is the negative slope of ``leaky_relu``.

    >>> round(calculate_gain("relu"), 4)
    1.4142
    """
    if nonlinearity in LINEAR:
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else as_number(param)
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ArgumentError(f"calculate_gain: got the negative slope {slope!r}", expected="a number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 0.75
    raise ArgumentError(
        f"calculate_gain: got {nonlinearity!r}", expected=f"one of {', '.join(GAINS)}", fix=nearest(nonlinearity, GAINS)
    )


def _write(tensor: Tensor, values: Any) -> Tensor:
    with no_grad():
        tensor.copy_(values)
    return tensor


def _uniform(tensor: Tensor, generator: Generator | None) -> Tensor:
    return rand(tuple(tensor.shape), generator=generator, dtype=numpy_dtype(tensor))


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Write numbers uniform on [a, b)."""
    return _write(tensor, _uniform(tensor, generator) * (b - a) + a)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Write normal numbers with this mean and standard deviation."""
    drawn = randn(tuple(tensor.shape), generator=generator, dtype=numpy_dtype(tensor))
    return _write(tensor, drawn * std + mean)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Write normal numbers with this mean and standard deviation, none outside of [a, b].

    Drawn by inverting the normal distribution function between its values at a and b.
    """
    if not a < b or std <= 0:
        raise ArgumentError(f"trunc_normal_: got a={a}, b={b}, std={std}", expected="a < b and std > 0")
    low, high = (math.erf((limit - mean) / (std * math.sqrt(2))) for limit in (a, b))
    u = rand(tuple(tensor.shape), generator=generator, dtype=np.float64)
    drawn = apply1(primitive("erfinv"), u * (high - low) + low)
    return _write(tensor, clamp(drawn * (std * math.sqrt(2)) + mean, a, b))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Write one number everywhere."""
    with no_grad():
        tensor.fill_(val)
    return tensor


def ones_(tensor: Tensor) -> Tensor:
    """Write 1 everywhere."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Write 0 everywhere."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """Write the identity matrix: as much of the input passes as there are outputs."""
    _two_axes("eye_", tensor)
    return _write(tensor, Tensor(np.eye(*tensor.shape, dtype=numpy_dtype(tensor))))


def _two_axes(name: str, tensor: Tensor) -> None:
    if tensor.ndim != 2:
        raise ShapeError(f"{name}: got a tensor of shape {tuple(tensor.shape)}", expected="two axes")


def fans(tensor: Tensor) -> tuple[int, int]:
    """Return how many inputs feed one output, and how many outputs one input feeds.

    >>> import chainrule as cr
    >>> fans(cr.zeros(3, 5))
    (5, 3)
    """
    if tensor.ndim < 2:
        raise ShapeError(
            f"fan in and fan out of a tensor of shape {tuple(tensor.shape)}",
            expected="at least two axes: outputs, inputs",
        )
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Write numbers uniform on ±gain · √(6 / (fan in + fan out)) (Glorot and Bengio 2010)."""
    bound = gain * math.sqrt(6.0 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Write normal numbers of deviation gain · √(2 / (fan in + fan out)) (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fans(tensor))), generator)


def _kaiming_deviation(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f"kaiming: got mode={mode!r}", expected="'fan_in' or 'fan_out'")
    fan = fans(tensor)[0 if mode == "fan_in" else 1]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Write numbers uniform on ±gain · √(3 / fan) (He et al. 2015); ``a`` is the negative slope of leaky_relu."""
    if 0 in tensor.shape:
        return tensor
    bound = math.sqrt(3.0) * _kaiming_deviation(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Write normal numbers of deviation gain / √fan (He et al. 2015); ``a`` is the negative slope of leaky_relu."""
    if 0 in tensor.shape:
        return tensor
    return normal_(tensor, 0.0, _kaiming_deviation(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """Write a matrix whose rows (or columns, if they are fewer) are orthogonal and of length gain (Saxe et al. 2013).

    Axes after the first count as columns.
    """
    if tensor.ndim < 2:
        raise ShapeError(f"orthogonal_: got a tensor of shape {tuple(tensor.shape)}", expected="at least two axes")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    drawn = concrete(randn(rows, columns, generator=generator, dtype=np.float64), "orthogonal_")
    q, r = np.linalg.qr(drawn.T if rows < columns else drawn)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # this choice of signs makes every rotation equally likely
    values = (q.T if rows < columns else q) * gain
    return _write(tensor, Tensor(np.ascontiguousarray(values).reshape(tuple(tensor.shape))))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Write normal numbers, and 0 in a part ``sparsity`` of each column, at random places (Martens 2010)."""
    _two_axes("sparse_", tensor)
    rows = tensor.shape[0]
    num_zeros = math.ceil(sparsity * rows)
    normal_(tensor, 0.0, std, generator)
    order = _uniform(tensor, generator).argsort(dim=0)
    with no_grad():
        tensor.mul_((order.argsort(dim=0) >= num_zeros).to(tensor.dtype))
    return tensor
