"""Handwritten digits (MNIST) by a 784-128-64-10 network.

    CHAINRULE_DATA=/path/to/data python examples/mnist.py [seed …]

The last 10,000 rows of the training file choose the epoch; the settings were written down once and not searched for. The test
file is read once per seed, at the end.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.data import read_idx

EPOCHS, BATCH, RATE = 20, 128, 2e-3


def network(seed: int) -> nn.Module:
    """Return the untrained network."""
    cr.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(784, 128),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(64, 10),
    )


def read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images as rows of numbers between 0 and 1, and labels."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz").reshape(-1, 784).astype(np.float32) / 255
    return images, read_idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)


def train(folder: Path, seed: int, epochs: int = EPOCHS) -> tuple[cr.Trainer, cr.History]:
    """Train on the first 50,000 rows of the training file and watch the other 10,000."""
    X, y = read(folder, "train")
    trainer = cr.Trainer(
        network(seed), optimizer="adam", lr=RATE, batch_size=BATCH, epochs=epochs, schedule="one_cycle",
        metrics=["accuracy"], monitor="val_accuracy", seed=seed,
    )  # fmt: skip
    history = trainer.fit((X[:50_000], y[:50_000]), val=(X[50_000:], y[50_000:]))
    return trainer, history


def main(seeds: list[int]) -> list[float]:
    """Train from each seed and return the accuracies on the test file."""
    folder = Path(os.environ["CHAINRULE_DATA"]) / "mnist"
    scores = []
    for seed in seeds:
        trainer, history = train(folder, seed)
        score = trainer.evaluate(read(folder, "t10k"))["accuracy"]
        print(f"seed {seed}: test accuracy {score:.2%} ({history.seconds:.0f} s)", flush=True)
        scores.append(score)
    print(f"test accuracy {', '.join(f'{score:.2%}' for score in scores)}: median {np.median(scores):.2%}")
    return scores


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [0, 1, 2])
