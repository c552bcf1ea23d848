"""What PyTorch makes of one operation of a random graph, in the dtype it is given; what only moves is NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

try:
    import torch
except ImportError:  # then the interpreter's float32 stands for PyTorch's
    torch = None  # type: ignore[assignment]

SAME_NAME = frozenset(
    [
        *("add", "sub", "mul", "div", "neg", "sqrt", "abs", "pow", "maximum", "minimum", "fmod", "remainder", "hypot"),
        *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logaddexp", "sigmoid", "erf", "erfc", "erfinv"),
        *("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
    ]
)


def _sum_to(x: Any, shape: tuple[int, ...]) -> Any:
    extra = x.ndim - len(shape)
    axes = [*range(extra), *[extra + k for k, n in enumerate(shape) if n == 1 and x.shape[extra + k] != 1]]
    y = x.sum(axes, keepdim=True) if axes else x.clone()
    return y.reshape(shape)


def _cumsum(x: Any, axis: int, reverse: bool) -> Any:
    return x.flip(axis).cumsum(axis).flip(axis) if reverse else x.cumsum(axis)


def _contract(a: Any, b: Any, batch: Any, contracted: Any) -> Any:
    """Return the batch axes, then those of a that are left, then those of b."""
    names = iter(range(52))
    of_a, of_b = [next(names) for _ in a.shape], [-1] * b.ndim
    for left, right in (batch, contracted):
        for i, j in zip(left, right, strict=True):
            of_b[j] = of_a[i]
    of_b = [next(names) if k < 0 else k for k in of_b]
    free_a = [of_a[k] for k in range(a.ndim) if k not in (*batch[0], *contracted[0])]
    free_b = [of_b[k] for k in range(b.ndim) if k not in (*batch[1], *contracted[1])]
    return torch.einsum(a, of_a, b, of_b, [of_a[k] for k in batch[0]] + free_a + free_b)


RULES: dict[str, Callable[..., Any]] = {
    "sum": lambda x, axes: x.sum(axes) if axes else x.clone(),
    "sum_to": _sum_to,
    "prod": lambda x, axis: x.prod(axis),
    "cumsum": _cumsum,
    "contract": _contract,
    "softmax": lambda x, axis: x.softmax(axis),
    "log_softmax": lambda x, axis: x.log_softmax(axis),
}


def in_torch(made_by: Any, operands: list[Any], attributes: dict[str, Any]) -> Any:
    """Return the result of a primitive for arrays."""
    name = made_by.name
    rule = RULES.get(name) or (getattr(torch, name, None) if name in SAME_NAME else None)
    if torch is None or rule is None or operands[0].dtype.kind != "f":
        return np.asarray(made_by.evaluate(*operands, **attributes))
    return rule(*[torch.from_numpy(np.array(x, order="C")) for x in operands], **attributes).numpy()
