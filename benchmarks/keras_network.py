"""A ``Network`` as a Keras model with its first weights, loss and optimizer."""

from __future__ import annotations

from typing import Any

import keras
from networks import BETAS, DECAY, EPS, MOMENTUM, Network

LOSSES = {
    "cross_entropy": lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "mse": keras.losses.MeanSquaredError,
    "bce": lambda: keras.losses.BinaryCrossentropy(from_logits=True),
}


def model(network: Network) -> Any:
    """Return the model. Its inputs are category numbers and features, whichever there are."""
    layers, inputs, columns = keras.layers, [], []
    if network.categories:
        codes = keras.Input((len(network.categories),), dtype="int32")
        inputs.append(codes)
        columns += [layers.Embedding(count, width)(codes[:, k]) for k, (count, width) in enumerate(network.categories)]
    if network.features:
        inputs.append(keras.Input((network.features,)))
        columns.append(inputs[-1])
    x = columns[0] if len(columns) == 1 else layers.Concatenate()(columns)
    for layer in network.layers:
        x = layers.Dense(layer.width)(x)
        if layer.norm == "batch":
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        elif layer.norm == "layer":
            x = layers.LayerNormalization(epsilon=1e-5)(x)
        if layer.activation == "leaky_relu":
            x = layers.LeakyReLU(negative_slope=0.01)(x)
        elif layer.activation:
            x = layers.Activation(layer.activation)(x)
        if layer.dropout:
            x = layers.Dropout(layer.dropout)(x)
    built = keras.Model(inputs if len(inputs) > 1 else inputs[0], x)
    weights = network.weights()
    for variable, (name, values) in zip(built.trainable_variables, weights.items(), strict=True):
        variable.assign(values.T if name.startswith("weight") else values)
    return built


def optimizer(network: Network) -> Any:
    """Return the optimizer."""
    rule, kinds = network.rule, keras.optimizers
    clip = {"global_clipnorm": network.clip_norm}
    if rule.name in ("sgd", "momentum"):
        return kinds.SGD(rule.lr, momentum=MOMENTUM if rule.name == "momentum" else 0.0, **clip)
    if rule.name == "rmsprop":
        return kinds.RMSprop(rule.lr, rho=DECAY, epsilon=EPS**2, **clip)  # its epsilon is inside the root
    betas = {"beta_1": BETAS[0], "beta_2": BETAS[1], "epsilon": EPS}
    if rule.name == "adamw":
        return kinds.AdamW(rule.lr, weight_decay=rule.weight_decay, **betas, **clip)
    return kinds.Adam(rule.lr, **betas, **clip)
