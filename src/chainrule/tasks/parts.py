"""The parts of the data: rows to learn from, rows to stop by, rows that are looked at once, at the end.

all rows ─┬─ test         a fraction, or a file of its own; looked at once, at the end
          └─ the rest ─┬─ validation   a fraction, or a file; early stopping and the choice of the epoch see it
                       └─ training     the weights and every encoder are made from these rows alone
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from chainrule.data import TargetEncoder, generator, random_split_indices, stratified_split_indices
from chainrule.errors import DataError
from chainrule.tasks.config import DataConfig

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]


class Inputs(Protocol):
    """What turns one kind of data into a network's inputs, saved with the model."""

    @property
    def num_inputs(self) -> int:
        """How many numbers a row has."""

    def load(self, source: object) -> Any:
        """Read data of this kind: from a file, or from memory."""

    def encode(self, data: Any) -> tuple[Array, list[str]]:
        """Return the inputs, float32 [rows, inputs], and what a reader should know of them."""

    def targets(self, data: Any, target: TargetEncoder, labels: str = "") -> Part:
        """Return the rows as a part to be scored."""

    def places(self, data: Any) -> tuple[str, Array]:
        """Return what counts the rows ("line" or "row"), and the number of each."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON can hold."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Part:
    """Rows with their targets.

    ``X, y``          what the network gets: float32 [rows, inputs]; int64 classes or float32 numbers [rows]
    ``actual``        the targets as their owner knows them: labels, or numbers in their own unit
    ``source``        where the rows came from; ``places`` counts them there, in ``place_name``: "line" or "row"
    ``cells, image``  a row as its owner knows it
    ``notes``         what a reader should know
    """

    X: Array
    y: Array
    actual: Array
    source: str
    place_name: str
    places: Array
    cells: Callable[[int], Mapping[str, str]]
    image: Callable[[int], Array] | None = None
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.X)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Prepared:
    """Data that a network can learn from, with what made them so.

    ``inputs, target``  are saved with the model
    ``schema``          what the data are, as JSON can hold it; ``fingerprints`` of what was read
    ``notes``           what a reader should know of the data
    ``config``          what was asked for, with everything that was found out
    """

    config: DataConfig
    inputs: Inputs
    target: TargetEncoder
    train: Part
    validation: Part | None
    test: Part | None
    schema: Mapping[str, Any]
    fingerprints: Mapping[str, str]
    notes: Sequence[str]


TEST_FRACTION = 0.2  # where "auto" finds no test files


def fraction(chosen: float | str) -> float:
    """Return which part of the rows is held out; none where there is a file for it."""
    if chosen == "auto":
        return TEST_FRACTION
    return 0.0 if isinstance(chosen, str) else chosen


def split(labels: Array | None, num_rows: int, part: float, seed: int, what: str, *, source: str) -> tuple[Rows, Rows]:
    """Split rows into (kept, held out): each class in both in proportion where there are ``labels``.

    The same seed holds the same rows out; ``what`` names the part in messages and draws it apart from the other one;
    ``source`` is where the rows came from.
    """
    if part == 0.0:
        return np.arange(num_rows), np.arange(0)
    random = generator(2 * seed + (what == "validation"))
    try:
        if labels is None:
            return random_split_indices(num_rows, part, random)
        return stratified_split_indices(labels, part, random)
    except DataError as error:
        rows = f"{num_rows:,} row{'s' * (num_rows != 1)}"
        raise error.within(f"{source}: the {what} part ({part:g} of {rows})") from None
