"""What is added to a loss to keep weights small."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chainrule.errors import ArgumentError
from chainrule.nn.module import Module
from chainrule.tensors.tensor import Tensor


def _weights(model: Module | Iterable[Tensor], *, biases: bool) -> list[Tensor]:
    held: Iterable[Tensor] = model.parameters() if isinstance(model, Module) else model
    found = [p for p in held if p.requires_grad and (biases or p.ndim > 1)]
    if not found:
        raise ArgumentError(
            "a penalty of a model without learned weights",
            expected="a parameter with two axes or more",
            fix="pass biases=True",
        )
    return found


def _summed(weights: list[Tensor], of_one: Callable[[Tensor], Tensor]) -> Tensor:
    total = of_one(weights[0])
    for w in weights[1:]:
        total = total + of_one(w)
    return total


def l1_penalty(model: Module | Iterable[Tensor], *, biases: bool = False) -> Tensor:
    """Return Σ |w| over the learned weights, to be added to a loss; it drives weights to exactly 0.

    Parameters of one axis (biases, scales) count only with ``biases=True``.

    >>> import chainrule as cr
    >>> cr.nn.utils.l1_penalty([cr.tensor([[1.0, -2.0]], requires_grad=True)]).item()
    3.0
    """
    return _summed(_weights(model, biases=biases), lambda w: w.abs().sum())


def l2_penalty(model: Module | Iterable[Tensor], *, biases: bool = False) -> Tensor:
    """Return Σ w² over the learned weights, to be added to a loss; it draws weights towards 0.

    Parameters of one axis (biases, scales) count only with ``biases=True``.

    >>> import chainrule as cr
    >>> cr.nn.utils.l2_penalty([cr.tensor([[1.0, -2.0]], requires_grad=True)]).item()
    5.0
    """
    return _summed(_weights(model, biases=biases), lambda w: (w * w).sum())
