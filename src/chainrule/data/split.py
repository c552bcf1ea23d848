"""Split rows at random into those to train on and those held out, by a seed.

>>> train, held_out = random_split_indices(10, 0.2, generator(0))
>>> len(train), len(held_out)
(8, 2)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chainrule.data.columns import Rows
from chainrule.errors import ArgumentError, DataError


def generator(seed: int) -> np.random.Generator:
    """Make the random generator that splits draw from: the same seed gives the same split on every platform."""
    if seed < 0:
        raise ArgumentError(f"seed={seed}", expected="0 or more")
    return np.random.Generator(np.random.PCG64(seed))


def num_held_out(num_rows: int, fraction: float) -> int:
    """Return how many rows are held out: the fraction, rounded half up, at least 1 and at most all but 1."""
    if not 0.0 < fraction < 1.0:
        raise ArgumentError(f"fraction={fraction}", expected="more than 0 and less than 1")
    if num_rows < 2:
        rows = "1 row" if num_rows == 1 else f"{num_rows} rows"
        raise DataError(
            f"{rows} cannot be split", expected="at least 2", fix="give more rows, or a file to validate on"
        )
    return min(max(1, int(num_rows * fraction + 0.5)), num_rows - 1)


def random_split_indices(num_rows: int, fraction: float, random: np.random.Generator) -> tuple[Rows, Rows]:
    """Split rows into (train, held out), each in rising order; ``num_held_out`` gives the sizes."""
    held_out = num_held_out(num_rows, fraction)
    order = random.permutation(num_rows)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def stratified_split_indices(
    labels: npt.NDArray[np.generic], fraction: float, random: np.random.Generator
) -> tuple[Rows, Rows]:
    """Split rows into (train, held out), with each class in both in proportion, as far as whole rows allow.

    ``labels`` [rows] holds a class per row. Held out are ``num_held_out`` rows in all: of each class the whole part of
    its share, then one row more of the classes with the largest remainders (ties: the class drawn first). The last row of
    a class is never held out; where that leaves too few rows to hold out, fewer are held out, and if there would be none,
    it is an error.

    Both parts are in rising order.
    """
    if labels.ndim != 1:
        raise ArgumentError(f"labels have shape {labels.shape}", expected="one dimension, a class per row")
    wanted = num_held_out(len(labels), fraction)
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    most = counts - 1
    if most.sum() == 0:
        raise DataError(
            f"each of the {len(counts)} classes has one row: none can be held out",
            expected="a class with 2 rows or more",
            fix="hold rows out at random, or give a file to validate on",
        )
    share = counts * (wanted / len(labels))
    taken = np.minimum(np.floor(share).astype(np.int64), most)
    ties = random.permutation(len(counts))
    while taken.sum() < min(wanted, int(most.sum())):
        remainder = np.where(taken < most, share - taken, -np.inf)
        taken[ties[np.argmax(remainder[ties])]] += 1
    order = random.permutation(len(labels))
    order = order[np.argsort(codes[order], kind="stable")]  # class by class, at random within each
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(labels)) - np.repeat(starts, counts)
    held = rank < np.repeat(taken, counts)
    return np.sort(order[~held]), np.sort(order[held])
