"""What was seen → what it means → what to do: a few rules, each computed from the numbers of a run.

A rule returns its advice, or nothing where it does not apply. The thresholds stand at the top; none of them is a law.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from chainrule.insight.figures import counted, listed, metric_name, number, percent, score
from chainrule.insight.summary import Advice, Summary

FEWEST_EPOCHS = 5  # before a curve says anything
NOT_FALLING = 0.98  # the best training loss is at least this part of the first
RISEN = 1.1  # the last validation loss is this many times the best
GAP = 2.0  # the validation loss of the best epoch is this many times the training loss
STILL_IMPROVING = 0.99  # the last tenth of the epochs brought the monitored loss below this part of the best before
SMALL_GAIN = 0.05  # of the baseline's error that the network takes away
DEAD = 0.1  # part of a layer's units
VANISHED = 1e-3  # mean |δ| of the first layer, in parts of the last one's
FEW_SCORED, FEW_TRAINED = 200, 200  # rows


def advise(summary: Summary) -> tuple[Advice, ...]:
    """Return the advice of every rule that applies, the urgent first."""
    found = [advice for rule in RULES for advice in rule(summary)]
    return tuple(sorted(found, key=lambda advice: not advice.urgent))


def not_finite(summary: Summary) -> Iterator[Advice]:
    """A loss that is NaN or infinite: training diverged."""
    for name in ("train_loss", "val_loss"):
        values = summary.history.get(name, ())
        bad = [epoch for epoch, value in enumerate(values, 1) if not math.isfinite(value)]
        if bad:
            yield Advice(
                "not_finite",
                f"{name} is not finite in {counted(len(bad), 'epoch')} of {len(values)}, first in epoch {bad[0]}.",
                "Training diverged there: the steps were too large, or the inputs have no common scale.",
                "Lower the learning rate tenfold, limit the gradient (clip_norm=1), and scale the inputs.",
                urgent=True,
            )
            return


def not_learning(summary: Summary) -> Iterator[Advice]:
    """A training loss that does not fall."""
    values = _finite(summary.history.get("train_loss", ()))
    if len(values) < FEWEST_EPOCHS or values[0] <= 0 or min(values) < NOT_FALLING * values[0]:
        return
    rising = values[-1] > 1.05 * values[0]
    yield Advice(
        "not_learning",
        f"train_loss went from {number(values[0])} to {number(values[-1])} in {len(values)} epochs.",
        "The network does not learn: its steps are too large." if rising else "The network does not learn.",
        "Lower the learning rate tenfold."
        if rising
        else "Try a learning rate ten times higher and ten times lower, and check that inputs and targets belong together.",
        urgent=True,
    )


def not_better_than_baseline(summary: Summary) -> Iterator[Advice]:
    """A score no better, or hardly better, than what needs no learning."""
    told = (
        f"{metric_name(summary.metric)} is {score(summary.metric, summary.score)} on {summary.scored_part} rows; "
        f"{summary.baseline} gets "
        f"{score(summary.metric, summary.baseline_score)}."
    )
    if not summary.is_shown_better:
        rows = f", as far as {counted(summary.num_scored, 'row')} can tell" if summary.is_better else ""
        yield Advice(
            "baseline",
            told,
            f"The network is no better than what needs no learning{rows}.",
            "Check that the inputs say something about the target; then look at the curves: train longer, or larger.",
            urgent=True,
        )
        return
    best = 1.0 if summary.higher_is_better and summary.metric != "r2" else 0.0
    error, error_before = abs(best - summary.score), abs(best - summary.baseline_score)
    if summary.metric != "r2" and error > (1 - SMALL_GAIN) * error_before:
        yield Advice(
            "baseline",
            told,
            f"Only {percent(1 - error / error_before)} of the baseline's error is gone.",
            "More informative inputs usually help more than a larger network.",
        )


def overfitting(summary: Summary) -> Iterator[Advice]:
    """A validation loss that rises while the training loss falls, or lies far above it."""
    train, val = summary.history.get("train_loss", ()), summary.history.get("val_loss", ())
    if len(val) < FEWEST_EPOCHS or len(train) != len(val) or not np.isfinite([*train, *val]).all():
        return
    best = int(np.argmin(val))
    remedy = "More training rows help most; otherwise dropout, weight decay or a smaller network."
    if best < len(val) - 1 and val[-1] > RISEN * val[best] and train[-1] < train[best]:
        kept = summary.best_epoch == best + 1
        yield Advice(
            "overfitting",
            f"val_loss was lowest in epoch {best + 1} ({number(val[best])}) and rose to {number(val[-1])} by epoch "
            f"{len(val)}, while train_loss fell from {number(train[best])} to {number(train[-1])}.",
            "From there on the network learned its training rows by heart."
            + (f" The weights of epoch {best + 1} were kept." if kept else ""),
            remedy,
        )
    elif train[best] > 0 and val[best] > GAP * train[best]:
        yield Advice(
            "overfitting",
            f"In epoch {best + 1} val_loss is {number(val[best])}, {val[best] / train[best]:.1f} times train_loss "
            f"({number(train[best])}).",
            "The network knows its training rows much better than others.",
            remedy,
        )


def still_improving(summary: Summary) -> Iterator[Advice]:
    """A loss that was still falling when training ended."""
    name = "val_loss" if "val_loss" in summary.history else "train_loss"
    values = summary.history.get(name, ())
    if len(values) < FEWEST_EPOCHS or not np.isfinite(values).all():
        return
    last = max(len(values) // 10, 1)
    before, now = min(values[:-last]), min(values[-last:])
    at_end = summary.best_epoch is None or summary.best_epoch > len(values) - last
    if before > 0 and now < STILL_IMPROVING * before and at_end:
        epochs = "the last epoch" if last == 1 else f"the last {last} epochs"
        yield Advice(
            "still_improving",
            f"{name} fell from {number(before)} to {number(now)} in {epochs} of {len(values)}.",
            "Training ended before the network had learned what it can.",
            f"Train longer: try {max(2 * len(values), 20)} epochs.",
        )


def dead_units(summary: Summary) -> Iterator[Advice]:
    """Units that give 0 for every row."""
    if summary.error_flow is None:
        return
    rows = counted(summary.error_flow.rows, "row")
    for layer in summary.error_flow:
        count = int(layer.dead.sum())
        if layer.activation and count and layer.dead_share >= DEAD:
            yield Advice(
                "dead_units",
                f"{count} of {counted(layer.units, 'unit')} of layer {layer.title} gave 0 for each of {rows}.",
                "Such units learn nothing any more: no error reaches their weights.",
                "Lower the learning rate, use LeakyReLU or GELU, or make the layer smaller.",
            )


def vanishing(summary: Summary) -> Iterator[Advice]:
    """Layers that hardly any error reaches."""
    flow = summary.error_flow
    if flow is None:
        return
    sizes = [float(layer.mean_abs_delta.mean()) if layer.units else 0.0 for layer in flow]
    if len(sizes) > 1 and sizes[-1] > 0 and sizes[0] < VANISHED * sizes[-1]:
        how = "none" if sizes[0] == 0 else f"mean |δ| {number(sizes[0], 3)}"
        yield Advice(
            "vanishing",
            f"Of the error at the last layer (mean |δ| {number(sizes[-1], 3)}) {how} arrives at layer {flow[0].title}.",
            "The first layers hardly learn: the error vanishes on its way back.",
            "Use ReLU instead of sigmoid or tanh, fewer layers, or BatchNorm1d between them.",
        )
    elif sizes and sizes[-1] == 0:
        yield Advice(
            "no_error",
            f"Every δ is 0 at layer {flow[-1].title} over {counted(flow.rows, 'row')}.",
            "There is no error left to learn from in these rows.",
            "Measure the error flow on rows that were not trained on.",
        )


def never_predicted(summary: Summary) -> Iterator[Advice]:
    """Classes that the network never says, and classes that were not there to be recognized."""
    if summary.confusion is None:
        return
    confusion = np.asarray(summary.confusion)
    actual, predicted = confusion.sum(1), confusion.sum(0)
    names = list(summary.class_names)
    unsaid = [names[k] for k in np.flatnonzero((predicted == 0) & (actual > 0))]
    absent = [names[k] for k in np.flatnonzero(actual == 0)]
    part = summary.scored_part
    if unsaid:
        rows = int(actual[(predicted == 0) & (actual > 0)].sum())
        one = len(unsaid) == 1
        yield Advice(
            "never_predicted",
            f"{listed(unsaid)} {'is' if one else 'are'} never predicted, though {counted(rows, f'{part} row')} "
            f"{'is' if rows == 1 else 'are'} of {'this class' if one else 'these classes'}.",
            "The network has given such a class up: often it is rare, and weighs little in the loss.",
            'Use class_weight="balanced", or collect more rows of '
            f"{'this class' if one else 'these classes'}; judge by balanced_accuracy.",
            urgent=True,
        )
    if absent:
        yield Advice(
            "absent_class",
            f"No {part} row is of {listed(absent)}.",
            f"The score says nothing about {'this class' if len(absent) == 1 else 'these classes'}.",
            "Use a stratified split, or more rows.",
        )


def few_rows(summary: Summary) -> Iterator[Advice]:
    """So few rows that the score, or what was learned, is uncertain."""
    n, part = summary.num_scored, summary.scored_part
    if 0 < n < FEW_SCORED:
        share = summary.score if summary.metric in ("accuracy", "error_rate") else math.nan
        if 0 <= share <= 1:
            points = 100 * math.sqrt(max(share * (1 - share), 1 / (4 * n)) / n)  # standard error of a share
            means = f"Another sample of as many rows would easily differ by {points:.1f} percentage points."
        else:
            means = "Another sample of as many rows would give a noticeably different score."
        yield Advice(
            "few_scored",
            f"The score rests on {counted(n, f'{part} row')}.",
            means,
            "Compare settings over several seeds or by cross-validation, never by one such score.",
        )
    if 0 < summary.num_train < FEW_TRAINED:
        yield Advice(
            "few_trained",
            f"There are {counted(summary.num_train, 'training row')}.",
            "A network learns little from so few; a linear model is often as good.",
            "Keep the network small, use weight decay, and compare with logistic or linear regression.",
        )


RULES: Sequence[Callable[[Summary], Iterable[Advice]]] = (
    not_finite,
    not_learning,
    not_better_than_baseline,
    never_predicted,
    overfitting,
    still_improving,
    vanishing,
    dead_units,
    few_rows,
)


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
