"""The networks that are measured, each described once as data, with its first weights and its rows.

Every peer builds what it runs from the same ``Network``; ``weights`` and ``rows`` are the same numbers for all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]

MOMENTUM = 0.9  # of "momentum"
BETAS = (0.9, 0.999)  # of "adam" and "adamw"
DECAY = 0.99  # of "rmsprop"
EPS = 1e-8
STATE = {"sgd": 0, "momentum": 1, "adam": 2, "adamw": 2, "rmsprop": 1}  # numbers kept for each parameter
GAIN = {"": 1.0, "tanh": 1.0, "sigmoid": 1.0}  # of the first weights; others: √2


@dataclass(frozen=True)
class Layer:
    """activation(norm(x Wᵀ + b)), then dropout. ``norm`` is "", "batch" or "layer"."""

    width: int
    activation: str = ""
    norm: str = ""
    dropout: float = 0.0


@dataclass(frozen=True)
class Rule:
    """An optimizer: "sgd", "momentum", "adam", "adamw" (decoupled decay) or "rmsprop"."""

    name: str
    lr: float
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Network:
    """A network, its loss, its optimizer and its batches.

    ``features``    numbers in a row
    ``categories``  (how many, width of the learned vector) for each column of category numbers, put before the features
    ``loss``        "cross_entropy", "mse" (mean over all elements) or "bce" (of logits)
    ``batches``     how many there are in memory; training goes round and round
    ``source``      where the rows come from: "teacher", "xor" or "matrix_exponential"
    """

    name: str
    layers: tuple[Layer, ...]
    loss: str
    rule: Rule
    batch: int
    features: int = 0
    categories: tuple[tuple[int, int], ...] = ()
    clip_norm: float | None = None
    batches: int = 32
    source: str = "teacher"

    @property
    def inputs(self) -> int:
        """The width of what the first layer sees."""
        return self.features + sum(width for _, width in self.categories)

    @property
    def outputs(self) -> int:
        return self.layers[-1].width

    @property
    def is_plain(self) -> bool:
        """Whether it is linear maps and activations alone."""
        return not self.clip_norm and not any(layer.norm or layer.dropout for layer in self.layers)

    def without_dropout(self) -> Network:
        """The same with nothing random in a step: its losses can be compared."""
        return replace(self, layers=tuple(replace(layer, dropout=0.0) for layer in self.layers))

    def flops(self) -> int:
        """Multiplications and additions of the products of a step: forward, for the weights, and for what feeds them."""
        total, width = 0, self.inputs
        for number, layer in enumerate(self.layers):
            needs_input = number > 0 or bool(self.categories)
            total += 2 * self.batch * width * layer.width * (3 if needs_input else 2)
            width = layer.width
        return total

    def parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes().values())

    def state_bytes(self) -> int:
        """Bytes of parameters and of what the optimizer keeps, in float32."""
        return 4 * self.parameters() * (1 + STATE[self.rule.name])

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The parameters by name, in the order in which every peer has them; weights are [out, in], as PyTorch's."""
        found: dict[str, tuple[int, ...]] = {}
        for number, (count, width) in enumerate(self.categories):
            found[f"table{number}"] = (count, width)
        width = self.inputs
        for number, layer in enumerate(self.layers):
            found[f"weight{number}"] = (layer.width, width)
            found[f"bias{number}"] = (layer.width,)
            if layer.norm:
                found[f"scale{number}"] = (layer.width,)
                found[f"shift{number}"] = (layer.width,)
            width = layer.width
        return found

    def weights(self, seed: int = 0) -> dict[str, Floats]:
        """Draw the first weights: such that the size of what flows neither grows nor shrinks from layer to layer."""
        rng = np.random.default_rng((seed, 1))
        found: dict[str, Floats] = {}
        for name, shape in self.shapes().items():
            if name.startswith("weight"):
                gain = GAIN.get(self.layers[int(name.removeprefix("weight"))].activation, math.sqrt(2))
                limit = gain * math.sqrt(3 / shape[1])
                values = rng.uniform(-limit, limit, shape)
            elif name.startswith("table"):
                values = rng.normal(0, 0.5, shape)
            elif name.startswith("scale"):
                values = np.ones(shape)
            else:
                values = rng.uniform(-0.1, 0.1, shape)
            found[name] = values.astype(np.float32)
        return found

    def rows(self, seed: int = 0) -> Rows:
        """Draw the rows: [batches, batch, …], targets that can be learned in part."""
        rng = np.random.default_rng((seed, 2))
        if self.source == "xor":
            x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
            return Rows(None, x[None], np.array([[0], [1], [1], [0]], np.float32)[None])
        if self.source == "matrix_exponential":
            x = rng.normal(0, 1, (self.batches, self.batch, 2, 2))
            shape = (self.batches, self.batch, 4)
            return Rows(None, _floats(x.reshape(shape)), _floats(_expm(x).reshape(shape)))
        return self._of_a_teacher(rng)

    def _of_a_teacher(self, rng: np.random.Generator) -> Rows:
        count, codes, features = self.batches * self.batch, None, None
        score = np.zeros((count, self.outputs), np.float32)
        if self.categories:
            columns = [rng.integers(0, number, count) for number, _ in self.categories]
            for column, (number, _) in zip(columns, self.categories, strict=True):
                score += rng.normal(0, 1, (number, self.outputs)).astype(np.float32)[column]
            codes = np.stack(columns, axis=1).astype(np.int32).reshape(self.batches, self.batch, -1)
        if self.features:
            features = rng.standard_normal((count, self.features), np.float32)
            teacher = rng.standard_normal((self.features, self.outputs), np.float32)
            score += features @ teacher / math.sqrt(self.features)
            features = features.reshape(self.batches, self.batch, -1)
        score += 0.7 * rng.standard_normal(score.shape, np.float32)  # a part that nobody learns: the loss stays above 0
        if self.loss == "cross_entropy":
            targets = score.argmax(axis=1).astype(np.int32).reshape(self.batches, self.batch)
        else:
            values = (score > 0) if self.loss == "bce" else score
            targets = values.astype(np.float32).reshape(self.batches, self.batch, -1)
        return Rows(codes, features, targets)


@dataclass(frozen=True)
class Rows:
    """Batches in memory, [batches, batch, …]: category numbers, features (either may be missing), and targets."""

    codes: Integers | None
    features: Floats | None
    targets: NDArray[np.float32] | Integers

    def __len__(self) -> int:
        return len(self.targets)

    def columns(self) -> list[NDArray]:
        """What goes in, without what is missing."""
        return [part for part in (self.codes, self.features) if part is not None]


def _floats(x: NDArray) -> Floats:
    return np.ascontiguousarray(x, np.float32)


def _expm(x: NDArray) -> NDArray:
    """The exponential of 2x2 matrices by its series, on a 64th of the matrix, squared six times."""
    term = total = np.broadcast_to(np.eye(2), x.shape)
    for k in range(1, 12):
        term = term @ x / (64 * k)
        total = total + term
    for _ in range(6):
        total = total @ total
    return total


def _mlp(widths: tuple[int, ...], activation: str) -> tuple[Layer, ...]:
    return (*[Layer(width, activation) for width in widths[:-1]], Layer(widths[-1]))


NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network("xor", _mlp((4, 1), "tanh"), "bce", Rule("sgd", 0.5), batch=4, features=2, batches=1, source="xor"),
        Network(
            "xor-squared",
            (Layer(4, "tanh"), Layer(1, "sigmoid")),
            "mse",
            Rule("sgd", 0.5),
            batch=4,
            features=2,
            batches=1,
            source="xor",
        ),
        Network(
            "expm",
            _mlp((32, 16, 4), "tanh"),
            "mse",
            Rule("adam", 1e-3),
            batch=200,
            features=4,
            batches=1,
            source="matrix_exponential",
        ),
        Network(
            "mnist-32", _mlp((128, 64, 10), "relu"), "cross_entropy", Rule("adam", 1e-4), 32, features=784, batches=64
        ),
        Network(
            "mnist-128", _mlp((128, 64, 10), "relu"), "cross_entropy", Rule("adam", 1e-4), 128, features=784, batches=64
        ),
        Network("covertype", _mlp((100, 7), "relu"), "cross_entropy", Rule("adam", 1e-4), 200, features=54),
        Network("deep-20", _mlp((64,) * 20 + (10,), "tanh"), "cross_entropy", Rule("adam", 1e-4), 64, features=64),
        Network(
            "ratings",
            _mlp((128, 64, 32, 1), "relu"),
            "mse",
            Rule("adam", 1e-4),
            256,
            categories=((6040, 64), (3706, 64)),
        ),
        Network(
            "wide",
            _mlp((4096, 4096, 1000), "relu"),
            "cross_entropy",
            Rule("momentum", 1e-3),
            256,
            features=1024,
            batches=2,
        ),
    )
}
TITLES = {
    "xor": "XOR 2-4-1 tanh, BCE, SGD, batch 4",
    "xor-squared": "XOR 2-4-1 tanh and sigmoid, squared error, SGD, batch 4",
    "expm": "2x2 matrix exponential 4-32-16-4 tanh, squared error, Adam, 200 rows",
    "mnist-32": "784-128-64-10 ReLU, cross-entropy, Adam, batch 32",
    "mnist-128": "784-128-64-10 ReLU, cross-entropy, Adam, batch 128",
    "covertype": "54-100-7 ReLU, cross-entropy, Adam, batch 200",
    "deep-20": "64, 20 x 64 tanh, 10, cross-entropy, Adam, batch 64",
    "ratings": "embeddings 6040x64 and 3706x64, 128-64-32-1, squared error, Adam, batch 256",
    "wide": "1024-4096-4096-1000 ReLU, cross-entropy, SGD with momentum, batch 256",
}
