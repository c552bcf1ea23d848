"""What a run was, as its report shows it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data import TargetEncoder
from chainrule.data.notes import named
from chainrule.insight.error_flow import error_flow
from chainrule.insight.summary import Summary, WorstError
from chainrule.nn import Module
from chainrule.tasks.config import Config
from chainrule.tasks.network import softmax
from chainrule.tasks.parts import Part, Prepared
from chainrule.tasks.scores import Scores, row_losses
from chainrule.training import History, confusion_matrix

ROWS_OF_FLOW = 2_000  # for the error flow, the first of the scored rows
MOST_WORST = 12
MOST_POINTS = 2_000  # of a chart of actual and predicted numbers


def summarize(
    config: Config,
    prepared: Prepared,
    model: Module,
    history: History,
    scores: Mapping[str, Scores],
    outputs: Mapping[str, npt.NDArray[Any]],
    environment: Mapping[str, Any],
) -> Summary:
    """Gather what the report shows; the verdict is on the test rows, or on the validation rows where there are none."""
    name = next(iter(scores))
    part = {"test": prepared.test, "validation": prepared.validation, "training": prepared.train}[name]
    assert part is not None
    target, score, found = prepared.target, scores[name], outputs[name]
    classes = target.task == "classification"
    predicted = found.argmax(axis=1) if classes else target.decode(found[:, 0])
    few = slice(0, ROWS_OF_FLOW)
    points = slice(0, MOST_POINTS)
    return Summary(
        title=os.path.basename(os.path.normpath(config.data.source)),
        task=target.task,
        target=named(target.target),
        metric=score.metric,
        score=score.values[score.metric],
        higher_is_better=score.higher_is_better,
        baseline=score.baseline_name,
        baseline_score=score.baseline[score.metric],
        within_chance=score.within_chance,
        metrics=score.values,
        num_train=len(prepared.train),
        num_validation=0 if prepared.validation is None else len(prepared.validation),
        num_test=0 if prepared.test is None else len(prepared.test),
        class_names=target.classes,
        history={column: history[column] for column in history.names if column not in ("epoch", "seconds")},
        best_epoch=history.best_epoch,
        ended_at_best=history.ended_at_best,
        seconds=history.seconds,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        confusion=confusion_matrix(part.y, predicted, len(target.classes)) if classes else None,
        actual=None if classes else part.actual[points],
        predicted=None if classes else predicted[points],
        error_flow=error_flow(
            model, part.X[few], part.y[few], loss=config.training.loss, class_names=_names(target), per_row=False
        ),
        worst=_worst(target, part, found, predicted),
        data_notes=[*prepared.notes, *parts_lines(prepared), *history.notes],
        config=config.to_dict(),
        environment=environment,
    )


def parts_lines(prepared: Prepared) -> list[str]:
    """Say how many rows each part has, and what was met in it."""
    lines = []
    parts = {"training": prepared.train, "validation": prepared.validation, "test": prepared.test}
    for name, part in parts.items():
        if part is None:
            lines.append(f"{name}: no rows")
            continue
        lines.append(f"{name}: {len(part):,} rows of {part.source}")
        lines += [f"{name}: {note}" for note in part.notes]
    return lines


def _names(target: TargetEncoder) -> Sequence[str] | None:
    return target.classes if target.task == "classification" else None


def _worst(
    target: TargetEncoder, part: Part, outputs: npt.NDArray[Any], predicted: npt.NDArray[Any]
) -> list[WorstError]:
    """Return the rows with the largest loss, of classes those that were taken for another."""
    losses = row_losses(target, outputs, part.y)
    order = np.argsort(-losses, kind="stable")
    classes = target.task == "classification"
    if classes:
        order = order[predicted[order] != part.y[order]]
    probabilities = softmax(outputs) if classes else None
    many_sources = part.place_name == "line"
    return [
        WorstError(
            place=f"{part.place_name} {int(part.places[row])}" + (f" of {part.source}" if many_sources else ""),
            actual=part.actual[row],
            predicted=target.decode(predicted[row : row + 1])[0] if classes else predicted[row],
            loss=float(losses[row]),
            probability=None if probabilities is None else float(probabilities[row].max()),
            cells=part.cells(row),
            image=None if part.image is None else part.image(row),
        )
        for row in order[:MOST_WORST].tolist()
    ]
