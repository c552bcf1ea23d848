"""A ``Network`` in JAX: its loss as a function of parameters, and the optimizers, by optax or by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from networks import BETAS, DECAY, EPS, MOMENTUM, Network, Rows

ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "": lambda x: x,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
    "leaky_relu": jax.nn.leaky_relu,
}
State = dict[str, Any]  # parameters, running statistics, optimizer state, key: all that a step changes


def forward_of(network: Network) -> Callable[..., Any]:
    """Return a function (parameters, statistics, key, inputs) that returns the outputs and the new statistics.

    It is that of training. Weights are [in, out] here, which spares XLA a transposition.
    """

    def forward(p: State, statistics: State, key: Any, inputs: list[Any]) -> tuple[Any, State]:
        columns = list(inputs)
        if network.categories:
            codes = columns.pop(0)
            columns = [p[f"table{k}"][codes[:, k]] for k in range(len(network.categories))] + columns
        x = columns[0] if len(columns) == 1 else jnp.concatenate(columns, axis=1)
        new: State = {}
        for k, layer in enumerate(network.layers):
            x = x @ p[f"weight{k}"] + p[f"bias{k}"]
            if layer.norm:
                axis = 0 if layer.norm == "batch" else 1
                mean = x.mean(axis, keepdims=True)
                var = jnp.square(x - mean).mean(axis, keepdims=True)
                if layer.norm == "batch":
                    old_mean, old_var = statistics[f"norm{k}"]
                    unbiased = var[0] * (len(x) / (len(x) - 1))
                    new[f"norm{k}"] = (0.9 * old_mean + 0.1 * mean[0], 0.9 * old_var + 0.1 * unbiased)
                x = (x - mean) * jax.lax.rsqrt(var + 1e-5) * p[f"scale{k}"] + p[f"shift{k}"]
            x = ACTIVATIONS[layer.activation](x)
            if layer.dropout:
                kept = jax.random.bernoulli(jax.random.fold_in(key, k), 1 - layer.dropout, x.shape)
                x = jnp.where(kept, x / (1 - layer.dropout), 0)
        return x, new

    return forward


def _error(kind: str, x: Any, targets: Any) -> Any:
    if kind == "cross_entropy":
        logs = jax.nn.log_softmax(x)
        return -jnp.take_along_axis(logs, targets[:, None], axis=1).mean()
    if kind == "bce":
        return (jnp.logaddexp(0, x) - x * targets).mean()
    return jnp.square(x - targets).mean()


Update = Callable[[Any, Any, Any], tuple[Any, Any]]  # (parameters, gradients, state) to new parameters and state


def by_optax(network: Network) -> tuple[Callable[[Any], Any], Update]:
    """Return ``init`` and ``update`` of optax's optimizer."""
    import optax

    rule = network.rule
    make: dict[str, Callable[[], Any]] = {
        "sgd": lambda: optax.sgd(rule.lr),
        "momentum": lambda: optax.sgd(rule.lr, momentum=MOMENTUM),
        "adam": lambda: optax.adam(rule.lr, *BETAS, eps=EPS),
        "adamw": lambda: optax.adamw(rule.lr, *BETAS, eps=EPS, weight_decay=rule.weight_decay),
        "rmsprop": lambda: optax.rmsprop(rule.lr, decay=DECAY, eps=EPS, eps_in_sqrt=False),
    }
    parts = [optax.clip_by_global_norm(network.clip_norm)] if network.clip_norm else []
    if rule.weight_decay and rule.name != "adamw":
        parts.append(optax.add_decayed_weights(rule.weight_decay))
    chain = optax.chain(*parts, make[rule.name]())

    def update(p: Any, g: Any, state: Any) -> tuple[Any, Any]:
        changes, state = chain.update(g, state, p)
        return optax.apply_updates(p, changes), state

    return chain.init, update


def by_hand(network: Network) -> tuple[Callable[[Any], Any], Update]:
    """Return the same rules written out."""
    rule, tree = network.rule, jax.tree.map

    def zeros(p: Any) -> Any:
        return tree(jnp.zeros_like, p)

    def prepared(p: Any, g: Any) -> Any:
        if network.clip_norm:
            norm = jnp.sqrt(sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(g)))
            scale = jnp.minimum(1.0, network.clip_norm / (norm + 1e-6))
            g = tree(lambda x: x * scale, g)
        if rule.weight_decay and rule.name != "adamw":
            g = tree(lambda x, w: x + rule.weight_decay * w, g, p)
        return g

    def sgd(p: Any, g: Any, state: Any) -> tuple[Any, Any]:
        return tree(lambda w, x: w - rule.lr * x, p, prepared(p, g)), state

    def momentum(p: Any, g: Any, m: Any) -> tuple[Any, Any]:
        m = tree(lambda old, x: MOMENTUM * old + x, m, prepared(p, g))
        return tree(lambda w, x: w - rule.lr * x, p, m), m

    def rmsprop(p: Any, g: Any, v: Any) -> tuple[Any, Any]:
        g = prepared(p, g)
        v = tree(lambda old, x: DECAY * old + (1 - DECAY) * x * x, v, g)
        return tree(lambda w, x, s: w - rule.lr * x / (jnp.sqrt(s) + EPS), p, g, v), v

    def adam(p: Any, g: Any, state: Any) -> tuple[Any, Any]:
        (t, m, v), (beta1, beta2) = state, BETAS
        g, t = prepared(p, g), t + 1
        if rule.name == "adamw":
            p = tree(lambda w: w * (1 - rule.lr * rule.weight_decay), p)
        m = tree(lambda old, x: beta1 * old + (1 - beta1) * x, m, g)
        v = tree(lambda old, x: beta2 * old + (1 - beta2) * x * x, v, g)
        c = jnp.sqrt(1 - beta2**t)
        rate, eps = rule.lr * c / (1 - beta1**t), EPS * c
        return tree(lambda w, a, b: w - rate * a / (jnp.sqrt(b) + eps), p, m, v), (t, m, v)

    if rule.name in ("adam", "adamw"):
        return lambda p: (jnp.zeros(()), zeros(p), zeros(p)), adam
    return {"sgd": (lambda p: (), sgd), "momentum": (zeros, momentum), "rmsprop": (zeros, rmsprop)}[rule.name]


class Training:
    """What the peers on JAX share: the first state, and one step."""

    def __init__(self, network: Network, rules: Callable[[Network], tuple[Callable[[Any], Any], Update]]) -> None:
        init, update = rules(network)
        weights = {k: jnp.asarray(w.T if k.startswith("weight") else w) for k, w in network.weights().items()}
        norms = {
            f"norm{k}": (jnp.zeros(layer.width), jnp.ones(layer.width))
            for k, layer in enumerate(network.layers)
            if layer.norm == "batch"
        }
        self.state: State = {
            "parameters": weights,
            "statistics": norms,
            "optimizer": init(weights),
            "key": jax.random.key(0),
        }
        is_random = any(layer.dropout for layer in network.layers)
        forward = forward_of(network)

        def error_of(p: State, statistics: State, key: Any, inputs: list[Any], targets: Any) -> tuple[Any, State]:
            x, new = forward(p, statistics, key, inputs)
            return _error(network.loss, x, targets), new

        gradient = jax.value_and_grad(error_of, has_aux=True)

        def step(state: State, inputs: list[Any], targets: Any) -> tuple[State, Any]:
            key, sub = jax.random.split(state["key"]) if is_random else (state["key"], None)
            (error, statistics), g = gradient(state["parameters"], state["statistics"], sub, inputs, targets)
            p, optimizer = update(state["parameters"], g, state["optimizer"])
            return {"parameters": p, "statistics": statistics, "optimizer": optimizer, "key": key}, error

        def outputs(state: State, inputs: list[Any]) -> Any:
            return forward(state["parameters"], state["statistics"], None, inputs)[0]

        self.step, self.outputs = step, outputs


def on_device(rows: Rows) -> tuple[list[Any], Any]:
    """Return inputs and targets as JAX's arrays."""
    return [jnp.asarray(part) for part in rows.columns()], jnp.asarray(rows.targets)


def versions() -> str:
    return f"jax {jax.__version__}"
