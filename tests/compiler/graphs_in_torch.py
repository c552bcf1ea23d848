"""What PyTorch makes of one operation of a random graph, in the dtype it is given; what only moves, and sums, are NumPy's."""

from __future__ import annotations

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


def in_torch(made_by: Any, operands: list[Any], attributes: dict[str, Any]) -> Any:
    """Return the result of a primitive for arrays."""
    rule = getattr(torch, made_by.name, None) if made_by.name in SAME_NAME else None
    if torch is None or rule is None or operands[0].dtype.kind != "f":
        return np.asarray(made_by.evaluate(*operands, **attributes))
    return rule(*[torch.from_numpy(np.array(x, order="C")) for x in operands], **attributes).numpy()
