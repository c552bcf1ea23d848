"""What PyTorch makes of one operation of a random graph, in the dtype it is given; what only moves is NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from string import ascii_letters
from typing import Any

import numpy as np

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

SAME_NAME = frozenset(
    [
        *("add", "sub", "mul", "div", "neg", "sqrt", "abs", "pow", "maximum", "minimum", "fmod", "remainder", "hypot"),
        *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logaddexp", "sigmoid", "erf", "erfc", "erfinv"),
        *("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
    ]
)


def in_torch(made_by: Any, operands: list[Any], attributes: dict[str, Any], *, order: Any = None) -> Any:
    """Return the result of a primitive for arrays (ours where PyTorch has none); ``order`` (a random generator): its sums have another order."""
    rule = SUMS.get(made_by.name)
    if rule is None and made_by.name in SAME_NAME:
        rule = getattr(torch, made_by.name, None)
    if torch is None or rule is None or operands[0].dtype.kind != "f":
        return np.asarray(made_by.evaluate(*operands, **attributes))
    if made_by.name in SUMS:
        attributes = {**attributes, "order": order}
    return rule(*[torch.from_numpy(np.array(x, order="C")) for x in operands], **attributes).numpy()


def _orders(x: Any, axes: Any, order: Any) -> list[Any]:
    """Return an order along each of these axes of ``x``."""
    return [
        torch.arange(x.shape[k]) if order is None else torch.from_numpy(order.permutation(x.shape[k])) for k in axes
    ]


def _ordered(x: Any, axes: Any, orders: Any) -> Any:
    for axis, order in zip(axes, orders, strict=True):
        x = x.index_select(axis, order)
    return x


def _sum(x: Any, *, axes: Any, order: Any) -> Any:
    return _ordered(x, axes, _orders(x, axes, order)).sum(tuple(axes)) if axes else x


def _sum_to(x: Any, *, shape: Any, order: Any) -> Any:
    extra = x.ndim - len(shape)
    axes = [k for k, n in enumerate(x.shape) if k < extra or shape[k - extra] != n]
    return _sum(x, axes=axes, order=order).reshape(shape)


def _cumsum(x: Any, *, axis: int, reverse: bool, order: Any) -> Any:
    del order  # all sums of its beginning: they have one order
    return x.flip(axis).cumsum(axis).flip(axis) if reverse else x.cumsum(axis)


def _along(name: str) -> Callable[..., Any]:
    def rule(x: Any, *, axis: int, order: Any) -> Any:
        orders = _orders(x, [axis], order)
        y = getattr(torch, name)(_ordered(x, [axis], orders), axis)
        return y if y.ndim < x.ndim else _ordered(y, [axis], [orders[0].argsort()])

    return rule


def _contract(a: Any, b: Any, *, batch: Any, contracted: Any, order: Any) -> Any:
    letters = iter(ascii_letters)
    of_a, of_b = [next(letters) for _ in a.shape], [next(letters) for _ in b.shape]
    for i, j in zip((*batch[0], *contracted[0]), (*batch[1], *contracted[1]), strict=True):
        of_b[j] = of_a[i]
    free_a = [x for k, x in enumerate(of_a) if k not in (*batch[0], *contracted[0])]
    free_b = [x for k, x in enumerate(of_b) if k not in (*batch[1], *contracted[1])]
    result = [*[of_a[k] for k in batch[0]], *free_a, *free_b]
    text = f"{''.join(of_a)},{''.join(of_b)}->{''.join(result)}"
    orders = _orders(a, contracted[0], order)
    return torch.einsum(text, _ordered(a, contracted[0], orders), _ordered(b, contracted[1], orders))


def _spread(x: Any, *index: Any, axes: Any, shape: Any, order: Any) -> Any:
    places: list[Any] = [slice(None)] * len(shape)
    for axis, numbers in zip(axes, index, strict=True):
        places[axis] = numbers.numpy()
    y, x = torch.zeros(shape, dtype=x.dtype), x.flatten()
    element = torch.from_numpy(np.asarray(np.arange(y.numel()).reshape(shape)[tuple(places)])).flatten()
    orders = _orders(x, [0], order)
    return y.flatten().index_add(0, _ordered(element, [0], orders), _ordered(x, [0], orders)).reshape(shape)


SUMS: dict[str, Callable[..., Any]] = {
    "sum": _sum,
    "sum_to": _sum_to,
    "cumsum": _cumsum,
    "contract": _contract,
    "spread": _spread,
    **{name: _along(name) for name in ("prod", "softmax", "log_softmax")},
}
