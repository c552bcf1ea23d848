"""A ``Network`` in a library shaped like PyTorch: PyTorch itself, or chainrule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from networks import BETAS, DECAY, EPS, MOMENTUM, Network, Rows

ACTIVATIONS = {
    "relu": "ReLU",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "gelu": "GELU",
    "silu": "SiLU",
    "elu": "ELU",
    "leaky_relu": "LeakyReLU",
}


def model(library: Any, network: Network) -> Any:
    """Return the model with its first weights. It takes category numbers and features, whichever there are."""
    nn = library.nn
    parts: list[Any] = []
    width = network.inputs
    for layer in network.layers:
        parts.append(nn.Linear(width, layer.width))
        if layer.norm:
            parts.append(nn.BatchNorm1d(layer.width) if layer.norm == "batch" else nn.LayerNorm(layer.width))
        if layer.activation:
            parts.append(getattr(nn, ACTIVATIONS[layer.activation])())
        if layer.dropout:
            parts.append(nn.Dropout(layer.dropout))
        width = layer.width
    body = nn.Sequential(*parts)
    built = body
    if network.categories:

        class Embedded(nn.Module):  # type: ignore[name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.tables = nn.ModuleList([nn.Embedding(count, width) for count, width in network.categories])
                self.body = body

            def forward(self, codes: Any, *features: Any) -> Any:
                vectors = [table(codes[:, k]) for k, table in enumerate(self.tables)]
                return self.body(library.cat([*vectors, *features], dim=1))

        built = Embedded()
    with library.no_grad():
        for parameter, values in zip(built.parameters(), network.weights().values(), strict=True):
            parameter.copy_(library.from_numpy(values))
    return built


def loss(library: Any, network: Network) -> Callable[[Any, Any], Any]:
    F = library.nn.functional
    return {
        "cross_entropy": F.cross_entropy,
        "mse": F.mse_loss,
        "bce": F.binary_cross_entropy_with_logits,
    }[network.loss]


def optimizer(library: Any, network: Network, parameters: Any, **options: Any) -> Any:
    """Return the optimizer; ``options`` such as ``fused`` go to those that have them."""
    rule, optim = network.rule, library.optim
    if rule.name in ("sgd", "momentum"):
        momentum = MOMENTUM if rule.name == "momentum" else 0.0
        return optim.SGD(parameters, lr=rule.lr, momentum=momentum, weight_decay=rule.weight_decay, **options)
    if rule.name == "rmsprop":
        return optim.RMSprop(parameters, lr=rule.lr, alpha=DECAY, eps=EPS, weight_decay=rule.weight_decay)
    kind = optim.AdamW if rule.name == "adamw" else optim.Adam
    return kind(parameters, lr=rule.lr, betas=BETAS, eps=EPS, weight_decay=rule.weight_decay, **options)


def batches(library: Any, rows: Rows) -> list[tuple[list[Any], Any]]:
    """Return the batches as tensors that share the memory of ``rows`` where the library's indices allow it."""
    found = []
    for k in range(len(rows)):
        inputs = []
        if rows.codes is not None:
            inputs.append(library.from_numpy(rows.codes[k].astype("int64")))
        if rows.features is not None:
            inputs.append(library.from_numpy(rows.features[k]))
        targets = rows.targets[k]
        found.append((inputs, library.from_numpy(targets.astype("int64") if targets.dtype.kind == "i" else targets)))
    return found


def step(library: Any, network: Network, model: Any, optimizer: Any) -> Callable[..., Any]:
    """Return a training step that returns its loss."""
    loss_of = loss(library, network)
    clip = library.nn.utils.clip_grad_norm_

    def step(inputs: list[Any], targets: Any) -> Any:
        optimizer.zero_grad()
        error = loss_of(model(*inputs), targets)
        error.backward()
        if network.clip_norm:
            clip(model.parameters(), network.clip_norm)
        optimizer.step()
        return error.detach()

    return step
