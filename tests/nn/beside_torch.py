"""One call made here and in PyTorch: values, gradients and second gradients compared by the table of tolerances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from tests.tolerances import assert_close

torch = pytest.importorskip("torch")

Function = Callable[..., Any]


def pair(values: Any, dtype: str = "float64", *, requires_grad: bool = False) -> tuple[Any, Any]:
    """Return the same numbers as a tensor of ours and of PyTorch's; integers and truth values keep their dtype."""
    array = np.asarray(values)
    if array.dtype.kind == "f":
        array = array.astype(dtype)
    ours, theirs = cr.tensor(array), torch.tensor(array)
    if requires_grad and array.dtype.kind == "f":
        ours.requires_grad_()
        theirs.requires_grad_()
    return ours, theirs


def compare(
    ours: Function, theirs: Function, *values: Any, dtype: str = "float64", order: int = 2, length: int = 1
) -> None:
    """Compare a function of these inputs; ``order`` is the highest derivative, of every floating-point input."""
    pairs = [pair(v, dtype, requires_grad=order > 0) for v in values]
    mine, other = [p for p, _ in pairs], [q for _, q in pairs]
    y, t = ours(*mine), theirs(*other)
    compare_derivatives(y, t, mine, other, order=order, length=length)


def compare_derivatives(
    y: Any, t: Any, mine: Sequence[Any], other: Sequence[Any], *, order: int = 2, length: int = 1
) -> None:
    """Compare two results, and their derivatives with respect to the inputs that want one."""
    rng = np.random.default_rng(7)
    assert_close(y, t, length=length)
    x = [p for p in mine if p.requires_grad]
    z = [q for q in other if q.requires_grad]
    for k in range(order):
        if not t.requires_grad or not z:
            break
        weights = rng.normal(size=tuple(t.shape)).astype(np.asarray(t.detach()).dtype)
        total, their_total = (y * cr.tensor(weights)).sum(), (t * torch.tensor(weights)).sum()
        more = k + 1 < order
        theirs = torch.autograd.grad(their_total, z, create_graph=more, allow_unused=True)
        if not total.requires_grad:
            found: Any = (None,) * len(x)
        else:
            found = cr.autograd.grad(total, x, create_graph=more, allow_unused=True)
        for g, h, p in zip(found, theirs, z, strict=True):
            expected = torch.zeros_like(p).detach() + (0 if h is None else h.detach())
            actual = np.zeros_like(expected.detach().numpy()) if g is None else g
            assert_close(actual, expected, length=length)
        if not more:
            break
        y = sum((g * (j + 1.0)).sum() for j, g in enumerate(found) if g is not None)
        t = sum((h * (j + 1.0)).sum() for j, h in enumerate(theirs) if h is not None)
        if not isinstance(y, cr.Tensor) or not isinstance(t, torch.Tensor):
            break


def normal(*shape: int, seed: int = 0) -> Any:
    """Return standard normal numbers."""
    return np.random.default_rng(seed).normal(size=shape)
