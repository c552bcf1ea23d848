"""MLX: the step under ``mx.compile``, state in and out, evaluated at each step, as its documentation writes it."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from networks import BETAS, DECAY, EPS, MOMENTUM, Network

mx.set_default_device(mx.cpu)
ACTIVATIONS: dict[str, Any] = {
    "": lambda x: x,
    "relu": nn.relu,
    "tanh": mx.tanh,
    "sigmoid": mx.sigmoid,
    "gelu": nn.gelu,
    "silu": nn.silu,
    "elu": nn.elu,
    "leaky_relu": nn.leaky_relu,
}


def versions() -> str:
    return f"MLX {mx.__version__}"


def refuses(network: Network) -> str:
    return ""


class Model(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network_layers = network.layers
        self.tables = [nn.Embedding(count, width) for count, width in network.categories]
        width, self.linears, self.norms, self.drops = network.inputs, [], [], []
        for layer in network.layers:
            self.linears.append(nn.Linear(width, layer.width))
            norms = {"batch": nn.BatchNorm, "layer": nn.LayerNorm, "": lambda width: nn.Identity()}
            self.norms.append(norms[layer.norm](layer.width))
            self.drops.append(nn.Dropout(layer.dropout) if layer.dropout else nn.Identity())
            width = layer.width
        for name, values in network.weights().items():
            kind, number = name.rstrip("0123456789"), int(name.lstrip("abcdefghijklmnopqrstuvwxyz"))
            place = {"table": self.tables, "weight": self.linears, "bias": self.linears}.get(kind, self.norms)[number]
            setattr(place, {"bias": "bias", "shift": "bias"}.get(kind, "weight"), mx.array(values))

    def __call__(self, *inputs: Any) -> Any:
        columns = list(inputs)
        if self.tables:
            codes = columns.pop(0)
            columns = [table(codes[:, k]) for k, table in enumerate(self.tables)] + columns
        x = columns[0] if len(columns) == 1 else mx.concatenate(columns, axis=1)
        for layer, linear, norm, drop in zip(
            self.network_layers, self.linears, self.norms, self.drops, strict=True
        ):  # fmt: skip
            x = drop(ACTIVATIONS[layer.activation](norm(linear(x))))
        return x


def _optimizer(network: Network) -> Any:
    rule = network.rule
    if rule.name in ("sgd", "momentum"):
        return optim.SGD(rule.lr, momentum=MOMENTUM if rule.name == "momentum" else 0.0)
    if rule.name == "rmsprop":
        return optim.RMSprop(rule.lr, alpha=DECAY, eps=EPS)
    if rule.name == "adamw":
        return optim.AdamW(rule.lr, list(BETAS), EPS, rule.weight_decay, bias_correction=True)
    return optim.Adam(rule.lr, list(BETAS), EPS, bias_correction=True)


LOSSES = {
    "cross_entropy": nn.losses.cross_entropy,
    "mse": nn.losses.mse_loss,
    "bce": nn.losses.binary_cross_entropy,
}


class Peer:
    def __init__(self, network: Network) -> None:
        mx.random.seed(0)
        rows = network.rows()
        model, optimizer, loss_of = Model(network), _optimizer(network), LOSSES[network.loss]
        model.train()
        optimizer.init(model.trainable_parameters())
        self.state = [model.state, optimizer.state, mx.random.state]
        gradient = nn.value_and_grad(model, lambda inputs, y: loss_of(model(*inputs), y, reduction="mean"))

        def step(inputs: list[Any], y: Any) -> Any:
            error, g = gradient(inputs, y)
            if network.clip_norm:
                g, _ = optim.clip_grad_norm(g, network.clip_norm)
            optimizer.update(model, g)
            return error

        self.step = mx.compile(step, inputs=self.state, outputs=self.state)
        self.batches = [
            ([mx.array(part[k]) for part in rows.columns()], mx.array(rows.targets[k])) for k in range(len(rows))
        ]

    def run(self, passes: int) -> list[float]:
        losses = []
        for _ in range(passes):
            for inputs, y in self.batches:
                loss = self.step(inputs, y)
                mx.eval(self.state, loss)
                losses.append(loss)
        return [loss.item() for loss in losses]
