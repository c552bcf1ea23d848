"""What rules are written with: the options of a group, the state of a parameter, and what several rules share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.graph import Array, Node
from chainrule.ops.lines import LARGE, zeros_in_lines
from chainrule.tensors.dtypes import default_float
from chainrule.tensors.tensor import Tensor, concrete

Group = dict[str, Any]
State = dict[str, Tensor]
Nodes = dict[str, Node]
Limits = dict[str, tuple[float, float]]  # at least, and below
Hyper = dict[str, Any]  # numbers as nodes of no dimensions, flags as they are

# They choose among PyTorch's implementations of one rule; here there is one.
IMPLEMENTATIONS = ("foreach", "fused", "capturable", "differentiable")
INFINITE = math.inf


def minimized(p: Node, g: Node, hyper: Hyper) -> Node:
    """Return the gradient of what is minimized: -g to maximize, and with weight decay that of ½ λ p² added."""
    if hyper["maximize"]:
        g = -g
    return g + hyper["weight_decay"] * p if hyper["decays"] else g


def mean_towards(mean: Node, x: Node, beta: Node) -> Node:
    """Return the running mean that forgets: β mean + (1 - β) x."""
    return beta * mean + (1 - beta) * x


def zeros_like(parameter: Tensor) -> Tensor:
    """Return a tensor of zeros with the shape, dtype and memory order of a parameter."""
    value = concrete_value(parameter)
    if value.nbytes >= LARGE and value.flags.c_contiguous:
        return Tensor(zeros_in_lines(value.shape, value.dtype))
    return Tensor(np.zeros_like(value))


def one_number(value: float = 0.0) -> Tensor:
    """Return a tensor of no dimensions in the default dtype."""
    return Tensor(np.array(value, default_float()))


def concrete_value(parameter: Tensor) -> Array:
    """Return the array of a parameter, also while tracing: state is made with values."""
    if parameter._value is None:
        return concrete(parameter, "an optimizer's state")
    value: Array = parameter._value
    return value


def as_number(option: Any) -> Any:
    """Return an option that may be a tensor of one element as a Python number."""
    return option._value.item() if isinstance(option, Tensor) else option


def check_number(value: Any, name: str, low: float, below: float, place: str) -> None:
    """Raise unless low <= value < below; NaN never is."""
    number = as_number(value) if not isinstance(value, Tensor) or value.numel() == 1 else None
    if isinstance(number, (bool, np.bool_)) or not isinstance(number, (int, float, np.integer, np.floating)):
        got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise ArgumentTypeError(f"{place}: got {name}={got}", expected="a number")
    if not low <= number < below:
        limit = "" if below == INFINITE else f" and below {below:g}"
        raise ArgumentError(f"{place}: got {name}={number!r}", expected=f"a number of at least {low:g}{limit}")


def two(betas: Any, place: str) -> tuple[Any, Any]:
    """Return the two betas; raise for anything else."""
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise ArgumentError(f"{place}: got betas={betas!r}", expected="two numbers")
    return betas[0], betas[1]
