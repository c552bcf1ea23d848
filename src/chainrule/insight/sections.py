"""The parts of a report as plain values: the page only lays them out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from chainrule.graph import Array
from chainrule.insight import charts
from chainrule.insight.charts import Chart
from chainrule.insight.figures import SHARES, counted, listed, metric_name, number, percent, points, score
from chainrule.insight.png import data_address
from chainrule.insight.summary import Summary, WorstError

ROOMY = 12  # classes whose counts are written into the matrix
MOST_CONFUSIONS = 8
MOST_TABLE_EPOCHS = 200
MOST_CELLS = 12  # of a wrong row, shown at once
LONGEST = 300  # characters of a cell


# -- the verdict -------------------------------------------------------------------------------------------------------


def verdict(summary: Summary) -> list[str]:
    """Return the sentences at the top: the given ones, or what the scores say."""
    if summary.verdict:
        return [str(sentence) for sentence in summary.verdict]
    part = counted(summary.num_scored, f"{summary.scored_part} row") if summary.num_scored else "the rows"
    ours, theirs = (score(summary.metric, value) for value in (summary.score, summary.baseline_score))
    if summary.metric == "accuracy":
        sentences = [f"{ours} of {part} are right. Without learning, {summary.baseline} gets {theirs}."]
    else:
        sentences = [
            f"{metric_name(summary.metric)} is {ours} on {part}. Without learning, {summary.baseline} gets {theirs}."
        ]
    best = 1.0 if summary.higher_is_better else 0.0
    error, before = abs(best - summary.score), abs(best - summary.baseline_score)
    if not summary.is_better:
        sentences.append("The network is no better than that.")
    elif summary.within_chance:
        sentences.append(
            f"As far as {part} can tell, the network is no better than that: the difference may be chance."
        )
    elif summary.metric != "r2" and before > 0:
        sentences.append(f"Of the baseline's error {percent(error / before)} is left.")
    if summary.ended_at_best:
        sentences.append("The last epoch is the best: trained longer, the network may do better.")
    return sentences


def score_bars(summary: Summary) -> list[dict[str, str]]:
    """Return the two bars: the network's score, and the baseline's, on one scale."""
    values = {"this network": summary.score, summary.baseline: summary.baseline_score}
    whole = 1.0 if summary.metric in SHARES else max((abs(v) for v in values.values() if math.isfinite(v)), default=1.0)
    bars = []
    for kind, (name, value) in zip(("ours", "theirs"), values.items(), strict=False):
        width = 100 * min(max(value / whole, 0.0), 1.0) if math.isfinite(value) and whole > 0 else 0.0
        bars.append({"name": name, "value": score(summary.metric, value), "width": f"{width:.2f}", "kind": kind})
    if len(bars) == 1:  # a baseline of that very name
        bars.append({**bars[0], "value": score(summary.metric, summary.baseline_score), "kind": "theirs"})
    return bars


def facts(summary: Summary) -> list[tuple[str, str]]:
    """Return short facts: (name, value)."""
    found = []
    for name, count in (
        ("training", summary.num_train),
        ("validation", summary.num_validation),
        ("test", summary.num_test),
    ):
        if count:
            found.append((f"{name} rows", f"{count:,}"))
    if summary.class_names:
        found.append(("classes", f"{len(summary.class_names):,}"))
    if summary.num_parameters is not None:
        found.append(("parameters", f"{summary.num_parameters:,}"))
    if summary.num_epochs:
        best = f", best {summary.best_epoch}" if summary.best_epoch else ""
        found.append(("epochs", f"{summary.num_epochs:,}{best}"))
    if summary.seconds is not None:
        found.append(("training time", duration(summary.seconds)))
    return found


def duration(seconds: float) -> str:
    """Return a time as people say it.

    >>> duration(3.21), duration(75), duration(7320)
    ('3.2 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


# -- curves ------------------------------------------------------------------------------------------------------------


def training_curves(summary: Summary) -> list[Chart]:
    """Return the drawings of losses, of the metrics (that of the verdict first), and of a learning rate that changed."""
    history = {name: list(map(float, values)) for name, values in summary.history.items() if len(values)}
    losses = {name: values for name, values in history.items() if name.endswith("loss")}
    groups: dict[str, dict[str, list[float]]] = {}
    for name, values in history.items():
        if name not in losses and name not in ("lr", "epoch", "seconds"):
            groups.setdefault(name.removeprefix("val_").removeprefix("train_"), {})[name] = values
    best = summary.best_epoch
    found = []
    if losses:
        found.append(charts.curves("Loss", _parts(losses), y_name=_where(losses, "loss"), best_epoch=best))
    for metric in sorted(groups, key=lambda name: name != summary.metric):
        name = metric_name(metric)
        title = name[0].upper() + name[1:]
        series = groups[metric]
        whole = metric in SHARES
        found.append(charts.curves(title, _parts(series), y_name=_where(series, ""), best_epoch=best, percent=whole))
    rates = history.get("lr", [])
    if any(a != b for a, b in pairwise(rates)):
        found.append(charts.curves("Learning rate", {"learning rate": rates}, y_name="", best_epoch=best))
    return found


PARTS = {"train": "training", "val": "validation", "test": "test"}


def _parts(series: dict[str, list[float]]) -> dict[str, list[float]]:
    """Return the series named for the rows they are of, where that tells them apart."""
    parts = {PARTS.get(name.partition("_")[0], name): values for name, values in series.items()}
    if len(parts) < len(series):
        return series
    return dict(sorted(parts.items(), key=lambda item: charts.KINDS.get(item[0], len(charts.KINDS))))


def _where(series: dict[str, list[float]], name: str) -> str:
    part = PARTS.get(next(iter(series)).partition("_")[0])
    return f"{name} on {part} rows".strip() if len(series) == 1 and part else name


def epoch_table(summary: Summary) -> dict[str, Any]:
    """Return the history as a table, every epoch of a short one, evenly chosen ones of a long one."""
    names = [name for name in summary.history if name != "epoch"]
    epochs = summary.num_epochs
    stride = -(-epochs // MOST_TABLE_EPOCHS) if epochs else 1
    shown = sorted({*range(1, epochs + 1, stride), epochs, summary.best_epoch or epochs} - {0})
    rows = [
        {
            "epoch": epoch,
            "best": epoch == summary.best_epoch,
            "cells": [number(float(summary.history[name][epoch - 1])) for name in names],
        }
        for epoch in shown
    ]
    return {"names": names, "rows": rows, "some": len(shown) < epochs, "epochs": epochs}


# -- classes -----------------------------------------------------------------------------------------------------------


def confusion_section(summary: Summary) -> dict[str, Any] | None:
    """Return the confusion matrix as coloured cells, recall and precision of each class, and the commonest confusions."""
    if summary.confusion is None:
        return None
    counts: Array = np.asarray(summary.confusion)
    names = [str(name) for name in summary.class_names]
    actual, predicted = counts.sum(1), counts.sum(0)
    rows = []
    for k, name in enumerate(names):
        cells = []
        for j, other in enumerate(names):
            count = int(counts[k, j])
            share = count / actual[k] if actual[k] else 0.0
            hint = f"actual {name}, predicted {other}: {counted(count, 'row')}"
            cells.append(
                {
                    "count": f"{count:,}" if count else "",
                    "strength": f"{share:.3f}",
                    "sign": ("hit" if j == k else "miss") if count else "zero",
                    "hint": f"{hint} ({percent(share)} of {name})" if actual[k] else f"{hint}; no row is {name}",
                }
            )
        rows.append(
            {"name": name, "cells": cells, "total": f"{int(actual[k]):,}", "recall": _share(counts[k, k], actual[k])}
        )
    classes = [
        {
            "name": name,
            "rows": f"{int(actual[k]):,}",
            "predicted": f"{int(predicted[k]):,}",
            "recall": _share(counts[k, k], actual[k]),
            "precision": _share(counts[k, k], predicted[k]),
            "width": f"{100 * counts[k, k] / actual[k] if actual[k] else 0:.1f}",
        }
        for k, name in enumerate(names)
    ]
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [divmod(int(at), len(names)) for at in order]
    absent = [names[k] for k in np.flatnonzero(actual == 0)]
    return {
        "names": names,
        "rows": rows,
        "classes": classes,
        "roomy": len(names) <= ROOMY,
        "total": counted(int(counts.sum()), "row"),
        "wrong": counted(int(wrong.sum()), "row"),
        "common": [
            {"actual": names[k], "predicted": names[j], "count": counted(int(wrong[k, j]), "time")}
            for k, j in pairs
            if wrong[k, j]
        ],
        "absent": f"No {summary.scored_part} row is of {listed(absent)}: no recall." if absent else "",
    }


def _share(part: Any, whole: Any) -> str:
    return points(float(part) / float(whole)) if whole else "–"


# -- numbers -----------------------------------------------------------------------------------------------------------


def number_charts(summary: Summary) -> list[Chart]:
    """Return the drawings of predicted numbers."""
    if summary.actual is None or summary.predicted is None:
        return []
    pair = np.asarray(summary.actual), np.asarray(summary.predicted)
    drawn = (
        charts.predicted_against_actual(*pair, summary.target),
        charts.residual_histogram(*pair),
        charts.residuals(*pair, summary.target),
    )
    said: set[str] = set()
    found = []
    for chart in drawn:  # what was said beside one drawing holds for the next
        found.append(chart._replace(notes=tuple([note for note in chart.notes if note not in said])))
        said.update(chart.notes)
    return found


# -- worst errors --------------------------------------------------------------------------------------------------------


def worst_section(errors: Sequence[WorstError]) -> list[dict[str, Any]]:
    """Return the worst errors as text, with pictures."""
    return [_worst(error) for error in errors]


def _worst(error: WorstError) -> dict[str, Any]:
    cells = [(str(name), _text(value)) for name, value in error.cells.items()]
    actual, predicted = _text(error.actual), _text(error.predicted)
    image = None
    if error.image is not None:
        height, width = np.shape(error.image)[:2]
        image = {"address": data_address(error.image), "width": width, "height": height}
    return {
        "place": error.place,
        "actual": actual,
        "predicted": predicted,
        "wrong": actual != predicted,
        "loss": "" if error.loss is None else number(error.loss, 3),
        "probability": "" if error.probability is None else percent(error.probability),
        "cells": cells[:MOST_CELLS],
        "more_cells": cells[MOST_CELLS:],
        "image": image,
    }


def _text(value: Any) -> str:
    if value is None or value == "":  # so an empty cell of a table
        return "(missing)"
    if isinstance(value, (float, np.floating)):
        return number(float(value))
    text = str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


# -- settings ------------------------------------------------------------------------------------------------------------


def settings(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return nested settings as groups of (name, value): the ungrouped first."""
    plain = [(str(name), _setting(value)) for name, value in values.items() if not isinstance(value, Mapping)]
    groups = [{"name": "", "rows": plain}] if plain else []
    for name, value in values.items():
        if isinstance(value, Mapping):
            groups.append({"name": str(name), "rows": list(_flat(value, ""))})
    return groups


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _setting(value)


def _setting(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(_setting(part) for part in value) if value else "none"
    if isinstance(value, Mapping):
        return "none"
    return str(value)
