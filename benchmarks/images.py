"""MNIST as it comes, in uint8, from the folder CHAINRULE_DATA; without it random images of the same shape."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from networks import NETWORKS, Network, Rule
from numpy.typing import NDArray

BATCH = 128
NETWORK: Network = replace(NETWORKS["mnist-128"], name="images", rule=Rule("adam", 1e-3))


@dataclass(frozen=True)
class Images:
    """Rows of 784 grey values, and digits, to train on and to look at."""

    x: NDArray[np.uint8]
    y: NDArray[np.uint8]
    val_x: NDArray[np.uint8]
    val_y: NDArray[np.uint8]
    source: str


def folder() -> Path | None:
    """Return the folder of the four files, if it is there."""
    named = os.environ.get("CHAINRULE_DATA")
    found = Path(named) / "mnist" if named else None
    return found if found and (found / "train-images-idx3-ubyte.gz").is_file() else None


def load() -> Images:
    place = folder()
    if place is None:
        rng = np.random.default_rng(0)
        x = rng.integers(0, 256, (70_000, 784), np.uint8)
        y = rng.integers(0, 10, 70_000).astype(np.uint8)
        return Images(x[:60_000], y[:60_000], x[60_000:], y[60_000:], "random images (CHAINRULE_DATA has no mnist)")
    parts = [
        _idx(place / f"{name}.gz")
        for name in (
            "train-images-idx3-ubyte",
            "train-labels-idx1-ubyte",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        )
    ]
    return Images(parts[0].reshape(-1, 784), parts[1], parts[2].reshape(-1, 784), parts[3], "MNIST")


def _idx(file: Path) -> NDArray[np.uint8]:
    """Read an IDX file of bytes: two zeros, 8, the number of axes, the sizes (big-endian), the values."""
    data = gzip.decompress(file.read_bytes())
    axes = data[3]
    shape = np.frombuffer(data, ">i4", axes, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def as_floats(x: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return grey values from 0 to 1."""
    return np.multiply(x, np.float32(1 / 255), dtype=np.float32)
