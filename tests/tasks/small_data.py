"""Small tables and images that can be learned from in a second."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np

Columns = dict[str, list[Any]]


def columns(num_rows: int = 80, seed: int = 0) -> Columns:
    """Two numbers, a colour, and what depends on them: a yes or no, and a price."""
    random = np.random.default_rng(seed)
    width, depth = random.normal(5.0, 2.0, num_rows), random.normal(0.0, 1.0, num_rows)
    colour = random.choice(["red", "green", "blue"], num_rows)
    is_red = colour == "red"
    answer = np.where(width + 2.0 * is_red > 5.5, "yes", "no")
    price = 1000.0 * width + 500.0 * is_red + 100.0 * depth
    return {
        "width": np.round(width, 4).tolist(),
        "depth": np.round(depth, 4).tolist(),
        "colour": colour.tolist(),
        "answer": answer.tolist(),
        "price": np.round(price, 1).tolist(),
    }


def without(table: Columns, *names: str) -> Columns:
    return {name: cells for name, cells in table.items() if name not in names}


def write_csv(path: Path, table: Columns, *, header: bool = True) -> Path:
    rows = [",".join(table)] if header else []
    rows += [",".join(map(str, cells)) for cells in zip(*table.values(), strict=True)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def pictures(num_images: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of 6 x 6 pixels: class 0 is bright above, class 1 below, class 2 on the left."""
    random = np.random.default_rng(seed)
    labels = np.arange(num_images) % 3
    images = random.integers(0, 60, (num_images, 6, 6))
    images[labels == 0, :3] += 150
    images[labels == 1, 3:] += 150
    images[labels == 2, :, :3] += 150
    return images.astype(np.uint8), labels.astype(np.uint8)


def write_idx(path: Path, values: np.ndarray) -> Path:
    """Write uint8 values as an IDX file, packed where the name ends in .gz."""
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    data = header + values.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_folder(folder: Path, *, test: bool = True) -> Path:
    """Write a folder in MNIST's form."""
    folder.mkdir(exist_ok=True)
    for part, seed in (("train", 0), ("t10k", 1)) if test else (("train", 0),):
        images, labels = pictures(60 if part == "train" else 30, seed)
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)
    return folder
