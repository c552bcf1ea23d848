"""JAX: many steps in one ``lax.scan`` inside one ``jit``, the state donated, every loss returned.

``Peer`` has optax's optimizer, ``ByHand`` the same rule written out.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jax_network
import numpy as np
from networks import Network


def versions() -> str:
    return jax_network.versions()


def refuses(network: Network) -> str:
    return ""


class Peer:
    rules = staticmethod(jax_network.by_optax)

    def __init__(self, network: Network) -> None:
        training = jax_network.Training(network, self.rules)
        self.state, self.rows = training.state, training.rows
        batches, step = training.batches, training.step

        @functools.partial(jax.jit, donate_argnums=0, static_argnums=2)
        def steps(state: Any, rows: Any, count: int) -> Any:
            def one(state: Any, k: Any) -> Any:
                inputs, targets = jax.tree.map(lambda part: part[k % batches], rows)
                return step(state, inputs, targets)

            return jax.lax.scan(one, state, jnp.arange(count))

        self.steps, self.batches = steps, batches

    def run(self, passes: int) -> list[float]:
        self.state, losses = self.steps(self.state, self.rows, passes * self.batches)
        jax.block_until_ready(self.state)
        return np.asarray(losses).tolist()


class ByHand(Peer):
    rules = staticmethod(jax_network.by_hand)
