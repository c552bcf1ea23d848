"""A column of numbers → a standardised value and its place among the training values, bin by bin.

The value: ``u = (x - median) / scale``, ``scale`` the interquartile range in units of a normal distribution's standard
deviation, bent smoothly into (-3, 3) by ``u / sqrt(1 + (u / 3)^2)``, so that an outlier cannot outweigh all other inputs
(Holzmüller et al. 2024, "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on Tabular Data").

The place: piecewise-linear encoding over quantile bins ``[b0, b1], [b1, b2], …`` (Gorishniy et al. 2022, "On Embeddings
for Numerical Features in Tabular Deep Learning"): 1 for each bin that x has passed, the fraction within its own bin, 0 for
the bins after. A layer of weights on it is a piecewise-linear function of x, with a slope per bin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data.columns import Numbers
from chainrule.data.notes import ColumnNote
from chainrule.data.table import Table

Features = npt.NDArray[np.float32]

NORMAL_IQR = 1.3489795003921634  # the interquartile range of a normal distribution of standard deviation 1
BOUND = 3.0
LARGEST = 1e150  # numbers beyond it count as it: the difference of two could overflow
_BLOCK = 1 << 16  # rows whose bins are computed at once


@dataclass(frozen=True, slots=True)
class NumericEncoder:
    """Encodes a column of numbers; the statistics are those of the training rows."""

    column: str
    median: float
    scale: float  # 0: every training value was the same, there is no value feature
    low: float
    high: float
    edges: tuple[float, ...]  # of the bins; empty: no bins
    has_missing: bool

    @classmethod
    def fit(cls, table: Table, column: str, *, max_bins: int, max_values: int, rows_per_bin: int) -> NumericEncoder:
        """Take median, scale and bins from the rows of a table."""
        values = table.numbers(column)
        filled = np.clip(values[~np.isnan(values)], -LARGEST, LARGEST)
        has_missing = len(filled) < len(values)
        if len(filled) == 0:
            return cls(column, 0.0, 0.0, 0.0, 0.0, (), has_missing)
        quarter, median, three_quarters = np.quantile(filled, (0.25, 0.5, 0.75)).tolist()
        low, high = float(filled.min()), float(filled.max())
        scale = (three_quarters - quarter) / NORMAL_IQR
        if scale == 0 and high > low:  # more than half of the values are the same
            scale = float(filled.std()) or (high - low)
        edges = bin_edges(filled, max_bins=max_bins, max_values=max_values, rows_per_bin=rows_per_bin)
        return cls(column, median, scale, low, high, tuple(edges.tolist()), has_missing)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features, in order: the value, the bins, missing or not."""
        value = [self.column] if self.scale else []
        bins = [f"{self.column} {low:g}..{high:g}" for low, high in zip(self.edges, self.edges[1:], strict=False)]
        return (*value, *bins, *([f"{self.column} is missing"] if self.has_missing else []))

    def encode(self, table: Table, out: Features) -> ColumnNote:
        """Write the features of a table's rows to ``out`` [rows, features]; a missing cell counts as the median."""
        values = table.numbers(self.column)
        missing = np.isnan(values)
        num_bins = max(0, len(self.edges) - 1)
        first_bin = 1 if self.scale else 0
        for start in range(0, len(values), _BLOCK):
            rows = slice(start, start + _BLOCK)
            x = np.clip(np.where(missing[rows], self.median, values[rows]), -LARGEST, LARGEST)
            if self.scale:
                out[rows, 0] = bent(x, self.median, self.scale)
            if num_bins:
                out[rows, first_bin : first_bin + num_bins] = piecewise_linear(x, np.array(self.edges))
        if self.has_missing:
            out[:, -1] = missing
        num_missing = int(np.count_nonzero(missing))
        num_outside = int(np.count_nonzero((values < self.low) | (values > self.high)))
        return ColumnNote(self.column, num_missing, new_missing=not self.has_missing, num_outside=num_outside)

    def describe(self) -> str:
        """Say in a line how the column is encoded."""
        bins = f", {len(self.edges) - 1} bins" if self.edges else ""
        gaps = ", missing or not" if self.has_missing else ""
        if not self.scale:
            return f"numeric: the same in every training row{gaps}"
        return f"numeric: {self.low:g} to {self.high:g}, median {self.median:g}{bins}{gaps}"

    def to_dict(self) -> dict[str, Any]:
        """Return the encoder as values that JSON can hold."""
        return {"kind": "numeric", **asdict(self), "edges": list(self.edges)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> NumericEncoder:
        """Make the encoder again from what ``to_dict`` returned."""
        fields = {name: value for name, value in saved.items() if name != "kind"}
        return cls(**{**fields, "edges": tuple(fields["edges"])})


def bent(x: Numbers, median: float, scale: float) -> Numbers:
    """Standardise numbers and bend them smoothly into (-3, 3); near the median they stay as they are.

    >>> bent(np.array([-1.0, 0.1, 1e9]), 0.0, 1.0).round(3)
    array([-0.949,  0.1  ,  3.   ])
    """
    with np.errstate(over="ignore"):  # an infinite quotient is clipped
        u = np.clip((x - median) / scale / BOUND, -1e8, 1e8)
    bent_down: Numbers = BOUND * u / np.sqrt(1.0 + u * u)
    return bent_down


def bin_edges(values: Numbers, *, max_bins: int, max_values: int, rows_per_bin: int) -> Numbers:
    """Choose the edges of bins with about the same number of values in each.

    No more than one bin per ``rows_per_bin`` values. Up to ``max_values`` different values become the edges themselves.
    More are cut into at most ``max_bins`` bins: a value so frequent that it would fill a bin alone is an edge, and the
    bins that are left share the other values. Returns no edges where fewer than two bins would be left: the value alone
    says the same.

    >>> bin_edges(np.array([0.0] * 90 + list(range(1, 11))), max_bins=4, max_values=3, rows_per_bin=2)
    array([ 0.,  1.,  4.,  7., 10.])
    """
    most_bins = len(values) // rows_per_bin
    num_bins = min(max_bins, most_bins)
    different, counts = np.unique(values, return_counts=True)
    if num_bins < 2 or len(different) < 3:
        return np.empty(0)
    if len(different) <= max(num_bins + 1, min(max_values, most_bins + 1)):
        return different
    frequent = counts * num_bins >= len(values)
    others = np.repeat(different[~frequent], counts[~frequent])
    num_frequent = int(np.count_nonzero(frequent))
    left = min(num_bins - num_frequent, len(others) // rows_per_bin)
    edges = different[frequent]
    if left > 0:
        edges = np.union1d(edges, np.quantile(others, np.linspace(0.0, 1.0, left + 1)))
    edges = np.union1d(edges, different[[0, -1]])
    return edges if len(edges) > 2 else np.empty(0)


def piecewise_linear(x: Numbers, edges: Numbers) -> Numbers:
    """Encode numbers [rows] by bins with these rising edges: [rows, bins], each in [0, 1].

    >>> piecewise_linear(np.array([-1.0, 0.5, 3.0, 9.0]), np.array([0.0, 1.0, 5.0]))
    array([[0. , 0. ],
           [0.5, 0. ],
           [1. , 0.5],
           [1. , 1. ]])
    """
    low, high = edges[:-1], edges[1:]
    return (np.clip(x[:, None], low, high) - low) / (high - low)
