"""Keras on JAX: ``compile`` and ``fit`` on all rows, as many epochs as passes, in their order; losses by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import images
import jax
import keras
import keras_network
from networks import Network


def versions() -> str:
    return f"Keras {keras.__version__}, jax {jax.__version__}"


def refuses(network: Network) -> str:
    return ""


class Peer:
    def __init__(self, network: Network) -> None:
        keras.utils.set_random_seed(0)
        rows = network.rows()
        inputs = [part.reshape(-1, part.shape[-1]) for part in rows.columns()]
        self.x = inputs if len(inputs) > 1 else inputs[0]
        self.y = rows.targets.reshape(-1, *rows.targets.shape[2:])
        self.batch = network.batch
        self.model = keras_network.model(network)
        self.model.compile(
            optimizer=keras_network.optimizer(network),
            loss=keras_network.LOSSES[network.loss](),
            jit_compile=True,
            steps_per_execution=len(rows),
        )

    def run(self, passes: int) -> list[float]:
        history = self.model.fit(self.x, self.y, batch_size=self.batch, epochs=passes, shuffle=False, verbose=0)
        return history.history["loss"]


class Images:
    """An epoch of images by ``fit``: uint8 goes in, a Rescaling layer comes first. ``run`` returns the accuracies."""

    options: Mapping[str, Any] = {}  # of ``compile``

    def __init__(self, found: images.Images) -> None:
        keras.utils.set_random_seed(0)
        network, self.found = images.NETWORK, found
        inputs = keras.Input((network.features,), dtype="uint8")
        scaled = keras.layers.Rescaling(1 / 255)(inputs)
        self.model = keras.Model(inputs, keras_network.model(network)(scaled))
        self.model.compile(
            optimizer=keras_network.optimizer(network),
            loss=keras_network.LOSSES[network.loss](),
            metrics=["accuracy"],
            **self.options,
        )

    def run(self, epochs: int) -> list[float]:
        found = self.found
        history = self.model.fit(
            found.x,
            found.y,
            batch_size=images.BATCH,
            epochs=epochs,
            validation_data=(found.val_x, found.val_y),
            verbose=0,
        )
        return history.history["val_accuracy"]


class Images32(Images):
    """The same with 32 batches in one call."""

    options: Mapping[str, Any] = {"steps_per_execution": 32}
