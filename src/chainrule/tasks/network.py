"""Networks from their configuration, and their outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import nn
from chainrule.errors import ArgumentError, nearest
from chainrule.tasks.config import NetworkConfig
from chainrule.tensors.autograd import no_grad
from chainrule.tensors.generator import Generator, drawing_from
from chainrule.training.objective import tensor_like

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}
ROWS_AT_ONCE = 4096  # in `outputs`


def build_network(config: NetworkConfig, num_inputs: int, num_outputs: int, seed: int) -> nn.Sequential:
    """Return the network of a configuration; the same seed gives the same starting weights."""
    check_activation(config.activation)
    layers: list[nn.Module] = [nn.Dropout(config.input_dropout)] if config.input_dropout else []
    width = num_inputs
    with drawing_from(Generator().manual_seed(seed)):
        for units in config.hidden:
            layers += [nn.Linear(width, units), ACTIVATIONS[config.activation]()]
            if config.dropout:
                layers.append(nn.Dropout(config.dropout))
            width = units
        layers.append(nn.Linear(width, num_outputs))
    return nn.Sequential(*layers)


def check_activation(name: str) -> None:
    """Raise for a name of no activation, with the nearest ones."""
    if name not in ACTIVATIONS:
        fix = nearest(name, ACTIVATIONS)
        raise ArgumentError(f"activation={name!r}", expected=f"one of {', '.join(ACTIVATIONS)}", fix=fix)


def outputs(model: nn.Module, X: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the outputs of a network for rows X: float32 [rows, outputs]."""
    model.eval()
    with no_grad():
        parts = [
            model(tensor_like(X[start : start + ROWS_AT_ONCE], np.dtype(np.float32))).numpy()
            for start in range(0, max(len(X), 1), ROWS_AT_ONCE)
        ]
    return np.concatenate(parts)


def softmax(scores: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return probabilities [rows, classes]: exp(score) / Σ exp(score), in float64.

    >>> softmax(np.array([[0.0, 0.0], [1000.0, 0.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    high = scores.astype(np.float64)
    high = np.exp(high - high.max(axis=1, keepdims=True, initial=-np.inf))
    probabilities: npt.NDArray[np.float64] = high / high.sum(axis=1, keepdims=True)
    return probabilities
