"""JAX: many steps in one ``lax.scan`` inside one ``jit``, the state donated, every loss returned.

``Peer`` has optax's optimizer, ``ByHand`` the same rule written out.
"""

from __future__ import annotations

import functools
from typing import Any

import images
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
        self.state, self.rows = training.state, jax_network.on_device(network.rows())
        batches, step = network.batches, training.step

        @functools.partial(jax.jit, donate_argnums=0, static_argnums=2)
        def steps(state: Any, rows: Any, count: int) -> Any:
            def one(state: Any, k: Any) -> Any:
                inputs, targets = jax.tree.map(lambda part: part[k % batches], rows)
                return step(state, inputs, targets)

            return jax.lax.scan(one, state, jnp.arange(count))

        self.steps, self.batches = steps, batches

    def run(self, passes: int) -> Any:
        self.state, losses = self.steps(self.state, self.rows, passes * self.batches)
        jax.block_until_ready(self.state)
        return np.asarray(losses)


class ByHand(Peer):
    rules = staticmethod(jax_network.by_hand)


class Images:
    """An epoch of images: rows on the device, one ``scan`` that gathers them by a random order; then validation.

    ``run`` returns the accuracy after each epoch.
    """

    def __init__(self, found: images.Images) -> None:
        training = jax_network.Training(images.NETWORK, jax_network.by_hand)
        self.state = training.state
        self.rows = (jnp.asarray(found.x), jnp.asarray(found.y))
        self.val = (jnp.asarray(found.val_x), jnp.asarray(found.val_y))
        self.rng, size = np.random.default_rng(0), images.BATCH

        @functools.partial(jax.jit, donate_argnums=0)
        def epoch(state: Any, rows: Any, order: Any) -> Any:
            def one(state: Any, chosen: Any) -> Any:
                x, y = rows
                return training.step(state, [_grey(x[chosen])], y[chosen].astype(jnp.int32))

            whole = len(order) // size * size
            state, losses = jax.lax.scan(one, state, order[:whole].reshape(-1, size))
            if whole < len(order):  # the last, smaller batch
                state, loss = one(state, order[whole:])
                losses = jnp.append(losses, loss)
            return state, losses

        @jax.jit
        def accuracy(state: Any, val: Any) -> Any:
            x, y = val
            return jnp.mean(jnp.argmax(training.outputs(state, [_grey(x)]), axis=1) == y)

        self.epoch, self.accuracy = epoch, accuracy

    def run(self, epochs: int) -> list[float]:
        found = []
        for _ in range(epochs):
            order = self.rng.permutation(len(self.rows[1])).astype(np.int32)
            self.state, self.losses = self.epoch(self.state, self.rows, order)
            found.append(float(self.accuracy(self.state, self.val)))
        return found


def _grey(x: Any) -> Any:
    return x.astype(jnp.float32) * (1 / 255)
