"""The error flow as a report shows it: a field of units for each layer, the largest of them in a table, by class."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.insight.figures import counted, number, percent, points, signed
from chainrule.insight.flows import ErrorFlow, LayerFlow

MOST_UNITS = 400  # drawn of a layer
MOST_ROWS = 10  # of the table of units
MOST_HEAT = 12  # units beside classes
LABELLED = 3  # units whose number stands beside them
FULL = 32, 16  # units in a line of a field, on wide and on narrow pages
FULL_LARGE, LARGE = (50, 20), 128  # the same for layers of more than so many units


def flow_section(flow: ErrorFlow) -> dict[str, Any]:
    """Return the values for the page."""
    largest = max((_mean_size(layer) for layer in flow), default=0.0)
    return {
        "rows": counted(flow.rows, "row"),
        "loss": f"{flow.loss_name.replace('_', '-')} {number(flow.loss, 3)} per row",
        "notes": list(flow.notes),
        "classes": list(flow.classes),
        "layers": [_layer(layer, flow, largest) for layer in flow],
    }


def _mean_size(layer: LayerFlow) -> float:
    return float(layer.mean_abs_delta.mean()) if layer.units else 0.0


def _layer(layer: LayerFlow, flow: ErrorFlow, largest: float) -> dict[str, Any]:
    size = _mean_size(layer)
    dead = int(layer.dead.sum()) if layer.activation else 0
    raising, lowering = (float(layer.share[s].sum()) for s in (layer.contribution > 0, layer.contribution < 0))
    drawn = sorted(layer.order[:MOST_UNITS].tolist())
    wide, narrow = FULL if len(drawn) <= LARGE else FULL_LARGE
    return {
        "name": layer.name,
        "kind": " → ".join(part for part in (layer.kind, layer.activation) if part),
        "units": counted(layer.units, "unit"),
        "mean_size": number(size, 3),
        "size_width": _part(size, largest),
        "dead": counted(dead, "unit") if dead else "",
        "silent": layer.is_silent,
        "balance": f"{percent(raising)} of the share raises the loss, {percent(lowering)} lowers it",
        "columns": _columns(len(drawn), wide),
        "narrow_columns": _columns(len(drawn), narrow),
        "cells": [_cell(layer, flow, unit) for unit in drawn],
        "not_drawn": counted(layer.units - len(drawn), "unit") if len(drawn) < layer.units else "",
        "table": [_row(layer, flow, int(unit)) for unit in layer.order[:MOST_ROWS]],
        "rest": _rest(layer),
        "heat": _heat(layer, flow) if flow.classes else None,
    }


def _columns(count: int, most: int) -> int:
    """Return how many to a line, so that all lines are about full.

    >>> _columns(10, 32), _columns(40, 32), _columns(64, 32)
    (10, 20, 32)
    """
    lines = -(-count // most)
    return -(-count // lines) if lines else 1


def _part(value: float, largest: float) -> str:
    return f"{100 * value / largest:.1f}" if largest > 0 else "0"


def _sign(layer: LayerFlow, unit: int) -> str:
    if layer.activation and layer.inactive[unit] == 1.0:
        return "dead"
    value = layer.contribution[unit]
    return "up" if value > 0 else "down" if value < 0 else "none"


EFFECT = {
    "up": "raises the loss",
    "down": "lowers the loss",
    "none": "no effect",
    "dead": "dead: 0 in every row",
}


def _cell(layer: LayerFlow, flow: ErrorFlow, unit: int) -> dict[str, Any]:
    """One unit: the area of its disc is its share, in parts of the layer's largest."""
    largest = float(layer.share.max())
    relative = math.sqrt(layer.share[unit] / largest) if largest > 0 else 0.0
    sign = _sign(layer, unit)
    told = [
        f"unit {unit}: {percent(layer.share[unit])} of the layer's share",
        f"contribution {signed(layer.contribution[unit])} ({EFFECT[sign]})",
        f"mean δ {signed(layer.mean_delta[unit])}, mean |δ| {number(layer.mean_abs_delta[unit], 3)}",
        f"mean a {number(layer.mean_activation[unit], 3)}, 0 in {percent(layer.inactive[unit])} of rows",
    ]
    worst = _worst_class(layer, flow, unit)
    if worst:
        told.append(f"largest |δ| in class {worst}")
    named = relative > 0 and layer.units <= LARGE and unit in layer.order[:LABELLED]
    return {"size": f"{relative:.3f}", "sign": sign, "hint": "\n".join(told), "label": str(unit) if named else ""}


def _worst_class(layer: LayerFlow, flow: ErrorFlow, unit: int) -> str:
    if not flow.classes:
        return ""
    by_class = layer.abs_delta_by_class[:, unit]
    if not np.nanmax(by_class) > 0:
        return ""
    k = int(np.nanargmax(by_class))
    return f"{flow.classes[k]} ({number(by_class[k], 3)})"


def _row(layer: LayerFlow, flow: ErrorFlow, unit: int) -> dict[str, Any]:
    largest = float(layer.share.max())
    return {
        "unit": unit,
        "share": points(layer.share[unit]),
        "width": _part(float(layer.share[unit]), largest),
        "sign": _sign(layer, unit),
        "contribution": signed(layer.contribution[unit]),
        "mean_delta": signed(layer.mean_delta[unit]),
        "mean_size": number(layer.mean_abs_delta[unit], 3),
        "mean_activation": number(layer.mean_activation[unit], 3),
        "inactive": points(layer.inactive[unit]),
        "worst": _worst_class(layer, flow, unit),
    }


def _rest(layer: LayerFlow) -> str:
    others = layer.order[MOST_ROWS:]
    if not len(others):
        return ""
    return f"{counted(len(others), 'other unit')}: {percent(float(layer.share[others].sum()))} of the share"


def _heat(layer: LayerFlow, flow: ErrorFlow) -> dict[str, Any]:
    """Mean δ of the units with the largest share, by class; the strongest colour is the largest |mean δ| shown."""
    units = layer.order[:MOST_HEAT].tolist()
    shown = layer.delta_by_class[:, units]
    largest = float(np.nanmax(np.abs(shown))) if np.isfinite(shown).any() else 0.0
    rows = []
    for unit in units:
        cells = []
        for k, name in enumerate(flow.classes):
            value = layer.delta_by_class[k, unit]
            if not math.isfinite(value):
                cells.append({"sign": "absent", "strength": "0", "hint": f"class {name}: no rows"})
                continue
            hint = (
                f"unit {unit}, class {name}: mean δ {signed(value)}, "
                f"mean |δ| {number(layer.abs_delta_by_class[k, unit], 3)}"
            )
            sign = "up" if value > 0 else "down" if value < 0 else "none"
            cells.append({"sign": sign, "strength": f"{abs(value) / largest if largest else 0:.2f}", "hint": hint})
        rows.append({"unit": unit, "cells": cells})
    return {"rows": rows, "largest": number(largest, 3), "some": len(units) < layer.units}
