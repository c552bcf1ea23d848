"""Keras on JAX with a training loop of one's own, as its guide writes it: stateless calls in a step under ``jit``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import keras
import keras_network
import numpy as np
from networks import Network

from peers.keras_fit import refuses, versions

__all__ = ["Peer", "refuses", "versions"]


class Peer:
    def __init__(self, network: Network) -> None:
        keras.utils.set_random_seed(0)
        rows = network.rows()
        model, optimizer = keras_network.model(network), keras_network.optimizer(network)
        loss_of = keras_network.LOSSES[network.loss]()
        optimizer.build(model.trainable_variables)

        def error_of(trained: Any, other: Any, x: Any, y: Any) -> Any:
            outputs, other = model.stateless_call(trained, other, x, training=True)
            return loss_of(y, outputs), other

        gradient = jax.value_and_grad(error_of, has_aux=True)

        def step(state: Any, x: Any, y: Any) -> Any:
            trained, other, moments = state
            (error, other), g = gradient(trained, other, x, y)
            trained, moments = optimizer.stateless_apply(moments, g, trained)
            return (trained, other, moments), error

        self.step = jax.jit(step, donate_argnums=0)
        self.state = tuple(
            [variable.value for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
        )
        self.batches = []
        for k in range(len(rows)):
            inputs = [jnp.asarray(part[k]) for part in rows.columns()]
            self.batches.append((inputs if len(inputs) > 1 else inputs[0], jnp.asarray(rows.targets[k])))

    def run(self, passes: int) -> Any:
        losses = []
        for _ in range(passes):
            for x, y in self.batches:
                self.state, loss = self.step(self.state, x, y)
                losses.append(loss)
        jax.block_until_ready(self.state)
        return np.asarray(jax.device_get(losses))
