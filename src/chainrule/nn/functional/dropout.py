"""Dropout: numbers left out at random while training."""

from __future__ import annotations

import math

from chainrule.errors import ArgumentError
from chainrule.nn.functional.reduction import check_floating
from chainrule.tensors.apply import cast
from chainrule.tensors.creation import rand_like
from chainrule.tensors.memory import write
from chainrule.tensors.tensor import Tensor, numpy_dtype

SELU_LIMIT = 1.7580993408473766  # scale · alpha of SELU: what it gives far below 0, with the sign turned


def _check_probability(name: str, p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(f"{name}: got p={p}", expected="a probability from 0 to 1")


def _kept(input: Tensor, p: float) -> Tensor:
    """Return 1 with probability 1 - p, else 0, for each element."""
    return cast(rand_like(input) >= p, numpy_dtype(input))


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Return input with each element set to 0 with probability p and the others divided by 1 - p (Hinton 2012)."""
    _check_probability("dropout", p)
    if not training or p == 0:
        return input
    check_floating("dropout", input=input)
    y = input * 0.0 if p == 1 else input * (_kept(input, p) * (1.0 / (1.0 - p)))
    return write(input, y) if inplace else y


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Return input with elements set to SELU's limit at random, then scaled so that mean 0 and variance 1 stay."""
    _check_probability("alpha_dropout", p)
    if not training or p == 0:
        return input
    check_floating("alpha_dropout", input=input)
    if p == 1:
        y = input * 0.0
    else:
        scale = 1.0 / math.sqrt((SELU_LIMIT**2 * p + 1.0) * (1.0 - p))
        kept = _kept(input, p)
        y = input * (kept * scale) + ((kept - 1.0) * (SELU_LIMIT * scale) + SELU_LIMIT * scale * p)
    return write(input, y) if inplace else y
