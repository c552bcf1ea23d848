"""JAX: the step under ``jit``, its state donated, optax; a Python loop calls it, and reads the losses at the end."""

from __future__ import annotations

from typing import Any

import jax
import jax_network
import numpy as np
import optax
from networks import Network


def versions() -> str:
    return f"{jax_network.versions()}, optax {optax.__version__}"


def refuses(network: Network) -> str:
    return ""


class Peer:
    def __init__(self, network: Network) -> None:
        training = jax_network.Training(network, jax_network.by_optax)
        self.state = training.state
        inputs, targets = jax_network.on_device(network.rows())
        self.batches = [([part[k] for part in inputs], targets[k]) for k in range(len(targets))]
        self.step = jax.jit(training.step, donate_argnums=0)

    def run(self, passes: int) -> Any:
        losses = []
        for _ in range(passes):
            for inputs, targets in self.batches:
                self.state, loss = self.step(self.state, inputs, targets)
                losses.append(loss)
        jax.block_until_ready(self.state)
        return np.asarray(jax.device_get(losses))
