"""What ``error_flow`` found: for each layer and unit, where the error came through. Readable with ``print``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.errors import IndexingError, NameUnknown, nearest
from chainrule.graph import Array

BAR_WIDTH = 16
EIGHTHS = " ▏▎▍▌▋▊▉"
NO_CLASSES = np.zeros((0, 0))


@dataclass(frozen=True, slots=True, eq=False)
class LayerFlow:
    """The error at the units of one Linear layer, over the rows of a batch. Arrays of ``units`` are float64.

    ``name``              of the module in the model; with ``#2``, … for its second call and so on
    ``kind``              of the module: "Linear", or the name of a class derived from it
    ``units``             how many
    ``activation``        what makes a of z: the modules or operations between, in order; "" where a = z
    ``delta``             δ = ∂loss/∂z of each row, [rows, units]; None with ``per_row=False``
    ``mean_delta``        the mean of δ over rows, [units]
    ``mean_abs_delta``    the mean of |δ| over rows, [units]
    ``delta_by_class``    the mean of δ over the rows of each class, [classes, units]; NaN for a class without rows
    ``abs_delta_by_class``  the same of |δ|
    ``contribution``      the mean over rows of a · ∂loss/∂a, [units]. Silencing the unit (a = 0) changes the loss by
                          about minus this: a positive one raises the loss, a negative one lowers it
    ``share``             |contribution| / Σ |contribution| of the layer, [units]; all 0 where every contribution is 0
    ``mean_activation``   the mean of a over rows, [units]
    ``inactive``          the part of rows in which a is exactly 0, [units]
    """

    name: str
    kind: str
    units: int
    activation: str
    delta: Array | None
    mean_delta: Array
    mean_abs_delta: Array
    delta_by_class: Array
    abs_delta_by_class: Array
    contribution: Array
    share: Array
    mean_activation: Array
    inactive: Array

    @property
    def title(self) -> str:
        """Name, kind and activation: ``hidden (Linear → ReLU)``."""
        kinds = f"{self.kind} → {self.activation}" if self.activation else self.kind
        return f"{self.name} ({kinds})"

    @property
    def dead(self) -> Array:
        """Which units gave exactly 0 in every row, [units] of bool."""
        return np.asarray(self.inactive == 1.0)

    @property
    def dead_share(self) -> float:
        """The part of the layer's units that gave exactly 0 in every row."""
        return float(self.dead.mean()) if self.units else 0.0

    @property
    def is_silent(self) -> bool:
        """Whether every contribution is 0, so that there is nothing to share."""
        return not np.any(self.contribution)

    @property
    def order(self) -> Array:
        """The units, largest share first (of equal ones the lower number first)."""
        return np.argsort(-self.share, kind="stable")

    def to_dict(self, *, per_row: bool = False) -> dict[str, Any]:
        """Return everything as plain values (NaN as None); ``delta`` only with ``per_row``."""
        names = (
            "mean_delta", "mean_abs_delta", "delta_by_class", "abs_delta_by_class",
            "contribution", "share", "mean_activation", "inactive",
        )  # fmt: skip
        found: dict[str, Any] = {
            "name": self.name, "kind": self.kind, "units": self.units, "activation": self.activation,
            "dead_share": self.dead_share,
        }  # fmt: skip
        found.update({name: _plain(getattr(self, name)) for name in names})
        if per_row:
            found["delta"] = None if self.delta is None else _plain(self.delta)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class ErrorFlow:
    """Where the error comes through, layer by layer in order of execution, unit by unit.

    ``layers``         a LayerFlow for each call of a Linear layer
    ``classes``        names of the classes; empty where targets are numbers
    ``rows``           how many were measured
    ``rows_by_class``  how many of each class
    ``loss``           the mean over rows of the loss
    ``loss_name``      which loss
    ``notes``          what a reader should know: layers that were left out, and why

    ``flow["hidden"]`` is a layer by name, ``flow[0]`` by place.
    """

    layers: tuple[LayerFlow, ...]
    classes: tuple[str, ...]
    rows: int
    rows_by_class: tuple[int, ...]
    loss: float
    loss_name: str
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, which: str | int) -> LayerFlow:
        if isinstance(which, int):
            if not -len(self.layers) <= which < len(self.layers):
                raise IndexingError(f"error flow: layer {which} of {len(self.layers)}")
            return self.layers[which]
        for layer in self.layers:
            if layer.name == which:
                return layer
        names = [layer.name for layer in self.layers]
        raise NameUnknown(
            f"the error flow has no layer {which!r}", fix=nearest(str(which), names) or f"it has {', '.join(names)}"
        )

    def __iter__(self) -> Iterator[LayerFlow]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def to_dict(self, *, per_row: bool = False) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold; δ of each row only with ``per_row``."""
        return {
            "rows": self.rows,
            "loss": _number(self.loss),
            "loss_name": self.loss_name,
            "classes": list(self.classes),
            "rows_by_class": list(self.rows_by_class),
            "notes": list(self.notes),
            "layers": [layer.to_dict(per_row=per_row) for layer in self.layers],
        }

    def table(self, *, most: int = 8) -> str:
        """Return the text that ``print`` shows, with the ``most`` units of largest share of each layer."""
        rows = f"{self.rows:,} row" + ("" if self.rows == 1 else "s")
        lines = [
            f"Error flow over {rows}: {self.loss_name} {self.loss:.4g} per row",
            "δ = ∂loss/∂z of a row; contribution = mean of a · ∂loss/∂a (+ raises the loss, - lowers it);",
            "share = |contribution| / Σ |contribution| of the layer; off = rows in which a is exactly 0",
        ]
        for layer in self.layers:
            lines += ["", *self._layer_lines(layer, most)]
        return "\n".join([*lines, *[f"note: {note}" for note in self.notes]])

    __str__ = table

    def _layer_lines(self, layer: LayerFlow, most: int) -> list[str]:
        head = f"{layer.title}: {layer.units} unit" + ("" if layer.units == 1 else "s")
        if layer.units:
            head += f", mean |δ| {layer.mean_abs_delta.mean():.3g}"
        dead = int(layer.dead.sum())
        if dead:
            head += f", {dead} dead (0 in every row)"
        if layer.is_silent:
            return [head, "  every contribution is 0: there is no error to share out, and the shares are 0"]
        shown = layer.order[:most]
        rows = [self._cells(layer, int(unit)) for unit in shown]
        columns = ["unit", "share", "", "contribution", "mean δ", "mean |δ|", "mean a", "off"]
        if self.classes:
            columns.append("most |δ| in class")
        lines = [head, *_aligned([columns, *rows])]
        rest = layer.order[most:]
        if len(rest):
            share = f"{layer.share[rest].sum():.1%}"
            lines.append(f"  and {len(rest)} more unit{'' if len(rest) == 1 else 's'} with {share} of the share")
        return lines

    def _cells(self, layer: LayerFlow, unit: int) -> list[str]:
        cells = [
            str(unit),
            f"{layer.share[unit]:.1%}",
            bar(layer.share[unit], float(layer.share.max())),
            f"{layer.contribution[unit]:+.3g}",
            f"{layer.mean_delta[unit]:+.3g}",
            f"{layer.mean_abs_delta[unit]:.3g}",
            f"{layer.mean_activation[unit]:.3g}",
            f"{layer.inactive[unit]:.0%}",
        ]
        if self.classes:
            by_class = layer.abs_delta_by_class[:, unit]
            cells.append(self.classes[int(np.nanargmax(by_class))])
        return cells

    def __repr__(self) -> str:
        return f"<ErrorFlow: {len(self.layers)} layers, {self.rows} rows>"


def bar(value: float, largest: float, width: int = BAR_WIDTH) -> str:
    """Return a bar of text whose length is ``value`` in parts of ``largest``.

    >>> bar(0.5, 1.0, width=8), bar(0.1, 1.0, width=8)
    ('████    ', '▊       ')
    """
    eighths = round(8 * width * value / largest) if largest > 0 else 0
    full, part = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[part] if part else "")).ljust(width)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    left = {2, 8}  # the bar, and the name of a class
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if k in left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _plain(array: Array) -> Any:
    if array.ndim > 1:
        return [_plain(row) for row in array]
    return [_number(value) for value in array.tolist()]
