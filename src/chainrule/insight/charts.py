"""Drawings as SVG text: curves, points, bars. Colours are classes that the page gives their values, light or dark.

Each drawing is laid out for a width of 420 and scales with the page; numbers stand at round places; what cannot be drawn
(NaN, or more points than a page bears) is said under it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from chainrule.graph import Array
from chainrule.insight.axis import Axis, epoch_ticks
from chainrule.insight.figures import counted, minus, number

WIDTH, HEIGHT = 420, 276
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 42, 44
MOST_VERTICES = 400  # of a curve
MOST_HINTS = 250  # epochs with a text of their own
MOST_POINTS, LAYERS = 2000, 8  # of a cloud
LOG_FROM = 20.0  # a curve that spans this factor is drawn on a logarithmic axis


KINDS = {"training": 0, "validation": 1, "test": 2}  # the same colour and dash for the same rows, in every drawing


class Chart(NamedTuple):
    """A drawing, its heading, and what a reader should know of it."""

    title: str
    svg: str
    notes: tuple[str, ...] = ()


class Area:
    """The rectangle between two axes; collects marks."""

    def __init__(self, x: Axis, y: Axis, x_name: str, y_name: str) -> None:
        self.x, self.y = x, y
        self.marks: list[str] = []
        self.axes: list[str] = []
        self.x_name, self.y_name = x_name, y_name

    def across(self, value: float) -> float:
        return LEFT + self.x.position(value) * (WIDTH - LEFT - RIGHT)

    def down(self, value: float) -> float:
        return HEIGHT - BOTTOM - self.y.position(value) * (HEIGHT - TOP - BOTTOM)

    def draw_axes(self, x_ticks: Sequence[float] | None = None, *, x_grid: bool = False) -> None:
        """Draw grid lines, ticks and names."""
        foot, end = HEIGHT - BOTTOM, WIDTH - RIGHT
        for tick in self.y.ticks:
            y = _at(self.down(tick))
            self.axes.append(f'<line class="grid" x1="{LEFT}" x2="{end}" y1="{y}" y2="{y}"/>')
            self.axes.append(_text(LEFT - 7, float(y) + 4, self.y.label(tick), "tick", anchor="end"))
        for tick in self.x.ticks if x_ticks is None else x_ticks:
            x = _at(self.across(tick))
            if x_grid:
                self.axes.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{foot}"/>')
            self.axes.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{foot}" y2="{foot + 4}"/>')
            text = self.x.label(tick) if x_ticks is None else f"{tick:,}"
            self.axes.append(_text(float(x), foot + 18, text, "tick", anchor="middle"))
        self.axes.append(f'<line class="axis" x1="{LEFT}" x2="{end}" y1="{foot}" y2="{foot}"/>')
        self.axes.append(_text((LEFT + end) / 2, HEIGHT - 8, self.x_name, "name", anchor="middle"))
        self.axes.append(_text(4, 15, self.y_name, "name"))

    def svg(self, description: str) -> str:
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}">'
            + "".join([*self.axes, *self.marks])
            + "</svg>"
        )


def _at(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(x: float, y: float, text: str, kind: str, *, anchor: str = "start") -> str:
    where = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text class="{kind}" x="{_at(x)}" y="{_at(y)}"{where}>{escape(minus(text))}</text>'


# -- curves ------------------------------------------------------------------------------------------------------------


def curves(
    title: str,
    series: Mapping[str, Sequence[float]],
    *,
    y_name: str,
    best_epoch: int | None = None,
    percent: bool = False,
) -> Chart:
    """Draw one line for each name, a value for each epoch; the best epoch is marked."""
    epochs = max(len(values) for values in series.values())
    finite = [value for values in series.values() for value in values if math.isfinite(value)]
    notes = _not_finite(series)
    if not finite:
        return Chart(title, "", (*notes, "There is nothing to draw."))
    low, high = min(finite), max(finite)
    log = not percent and low > 0 and high > LOG_FROM * low
    if not log and not percent and 0 < low < 0.35 * high:
        low = 0.0  # close enough to show all of it
    y = Axis(low, high, log=log, percent=percent)
    if percent and y.high > 1.0 >= high:
        y = Axis(low, 1.0, percent=True)
    x = Axis(1, epochs, nice=False) if epochs > 1 else Axis(0, 2)
    area = Area(x, y, "epoch", y_name + (" (logarithmic)" if log else ""))
    area.draw_axes(epoch_ticks(epochs))
    kinds = {name: KINDS.get(name, (k + 2) % 4) for k, name in enumerate(series)}
    _legend(area, kinds)
    if best_epoch is not None and epochs > 1:
        at = area.across(best_epoch)
        area.marks.append(f'<line class="best" x1="{_at(at)}" x2="{_at(at)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        middle = min(max(at, LEFT + 40), WIDTH - RIGHT - 40)
        area.marks.append(_text(middle, TOP - 6, f"best: epoch {best_epoch}", "mark", anchor="middle"))
    for name, values in series.items():
        area.marks += _line(area, values, kinds[name])
        if best_epoch is not None and best_epoch <= len(values) and math.isfinite(values[best_epoch - 1]):
            area.marks.append(_dot(area.across(best_epoch), area.down(values[best_epoch - 1]), kinds[name]))
    area.marks += _hints(area, series, epochs)
    parts = [
        f"{name} from {number(values[0])} to {number(values[-1])}" for name, values in series.items() if len(values)
    ]
    return Chart(title, area.svg(f"{title} over {counted(epochs, 'epoch')}: {'; '.join(parts)}"), notes)


def _not_finite(series: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    notes = []
    for name, values in series.items():
        bad = [epoch for epoch, value in enumerate(values, 1) if not math.isfinite(value)]
        if bad:
            more = f" and {len(bad) - 3:,} more" if len(bad) > 3 else ""
            where = ", ".join(map(str, bad[:3])) + more
            notes.append(f"{name} is not finite in {'epoch' if len(bad) == 1 else 'epochs'} {where}: not drawn.")
    return tuple(notes)


def _legend(area: Area, kinds: Mapping[str, int]) -> None:
    """Draw which line is which, from the right; a name that finds no room is cut."""
    if len(kinds) < 2:
        return
    room = (WIDTH - RIGHT - LEFT - 40) // len(kinds) - 34
    texts = [name if 6.8 * len(name) <= room else name[: max(int(room / 6.8) - 1, 1)] + "…" for name in kinds]
    x = WIDTH - RIGHT - sum(6.8 * len(text) + 34 for text in texts) + 10
    for kind, text in zip(kinds.values(), texts, strict=True):
        area.axes.append(f'<line class="line s{kind}" x1="{_at(x)}" x2="{_at(x + 18)}" y1="11" y2="11"/>')
        area.axes.append(_text(x + 23, 15, text, "name"))
        x += 6.8 * len(text) + 34


def _line(area: Area, values: Sequence[float], kind: int) -> list[str]:
    """Draw a curve; where a value is not finite it has a gap, and a value between two gaps is a dot."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for epoch, value in _thinned(values):
        if math.isfinite(value):
            pieces[-1].append((area.across(epoch), area.down(value)))
        elif pieces[-1]:
            pieces.append([])
    marks = []
    for piece in pieces:
        if len(piece) == 1:
            marks.append(_dot(*piece[0], kind))
        elif piece:
            path = " ".join(f"{_at(x)},{_at(y)}" for x, y in piece)
            marks.append(f'<polyline class="line s{kind}" points="{path}"/>')
    return marks


def _dot(x: float, y: float, kind: int) -> str:
    return f'<circle class="dot s{kind}" cx="{_at(x)}" cy="{_at(y)}" r="3.5"/>'


def _thinned(values: Sequence[float]) -> list[tuple[int, float]]:
    """Return (epoch, value) pairs; of very many the lowest and the highest in each of equal stretches."""
    pairs = list(enumerate(values, 1))
    if len(pairs) <= MOST_VERTICES:
        return pairs
    found = []
    for stretch in np.array_split(np.arange(len(pairs)), MOST_VERTICES // 2):
        part = [pairs[k] for k in stretch]
        ends = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
        ends.update(p for p in part if not math.isfinite(p[1]))
        found += sorted(ends)
    return found


def _hints(area: Area, series: Mapping[str, Sequence[float]], epochs: int) -> list[str]:
    """Return invisible stripes that tell the numbers of an epoch to whoever points at it."""
    if epochs > MOST_HINTS:
        return []
    half = (WIDTH - LEFT - RIGHT) / max(epochs - 1, 1) / 2
    found = []
    for epoch in range(1, epochs + 1):
        told = [f"{name} {number(values[epoch - 1])}" for name, values in series.items() if epoch <= len(values)]
        x = area.across(epoch)
        left, right = max(x - half, LEFT), min(x + half, WIDTH - RIGHT)
        if epochs == 1:
            left, right = LEFT, WIDTH - RIGHT
        found.append(
            f'<rect class="hint" x="{_at(left)}" y="{TOP}" width="{_at(right - left)}" height="{HEIGHT - TOP - BOTTOM}">'
            f"<title>{escape(f'epoch {epoch}: ' + ', '.join(told))}</title></rect>"
        )
    return found


# -- numbers against numbers ----------------------------------------------------------------------------------------------


def finite_pairs(actual: Array, predicted: Array) -> tuple[Array, Array, tuple[str, ...]]:
    """Return the pairs in which both are finite, in float64, and a note about those left out."""
    a, p = np.asarray(actual, np.float64).reshape(-1), np.asarray(predicted, np.float64).reshape(-1)
    good = np.isfinite(a) & np.isfinite(p)
    left_out = int(len(good) - good.sum())
    notes = (f"{counted(left_out, 'row')} with a NaN or an infinity left out.",) if left_out else ()
    return a[good], p[good], notes


def _sample(count: int) -> tuple[Array, tuple[str, ...]]:
    """Return which of ``count`` points to draw: all, or a reproducible choice of them, and a note that says so."""
    if count <= MOST_POINTS:
        return np.arange(count), ()
    chosen = np.sort(np.random.default_rng(0).choice(count, MOST_POINTS, replace=False))
    return chosen, (f"{MOST_POINTS:,} of {count:,} rows are drawn, chosen at random.",)


def _cloud(area: Area, x: Array, y: Array) -> list[str]:
    """Draw points in a few layers, each half transparent: where points are dense the colour is strong."""
    steps = [f"M{_at(area.across(a))} {_at(area.down(b))}h0" for a, b in zip(x, y, strict=True)]
    return [f'<path class="cloud" d="{"".join(steps[k::LAYERS])}"/>' for k in range(min(LAYERS, len(steps)))]


def _around(*values: Array) -> Axis:
    """Return an axis a little wider than all values, with ticks inside."""
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    margin = 0.04 * (high - low)
    return Axis(low - margin, high + margin, nice=False)


def predicted_against_actual(actual: Array, predicted: Array, target: str) -> Chart:
    """Draw a point for each row; a perfect network's lie on the diagonal."""
    title = "Predicted beside actual"
    a, p, notes = finite_pairs(actual, predicted)
    if not len(a):
        return Chart(title, "", (*notes, "There is nothing to draw."))
    chosen, sampled = _sample(len(a))
    axis = _around(a[chosen], p[chosen])
    area = Area(axis, axis, f"actual {target}".strip(), "predicted")
    area.draw_axes(x_grid=True)
    ends = [(_at(area.across(v)), _at(area.down(v))) for v in (axis.low, axis.high)]
    area.marks.append(f'<line class="ideal" x1="{ends[0][0]}" y1="{ends[0][1]}" x2="{ends[1][0]}" y2="{ends[1][1]}"/>')
    area.marks += _cloud(area, a[chosen], p[chosen])
    correlation = _correlation(a, p)
    told = f"{title}: {counted(len(a), 'row')}, correlation {number(correlation, 3)}"
    return Chart(title, area.svg(told), (*notes, *sampled, "On the dashed line predicted equals actual."))


def _correlation(a: Array, p: Array) -> float:
    spread = a.std() * p.std()
    return float(((a - a.mean()) * (p - p.mean())).mean() / spread) if spread > 0 else math.nan


def residuals(actual: Array, predicted: Array, target: str) -> Chart:
    """Draw predicted minus actual over predicted: no pattern should be left."""
    title = "Errors over predictions"
    a, p, notes = finite_pairs(actual, predicted)
    if not len(a):
        return Chart(title, "", (*notes, "There is nothing to draw."))
    error = p - a
    chosen, sampled = _sample(len(a))
    largest = np.abs(error[chosen]).max(keepdims=True)
    area = Area(_around(p[chosen]), _around(-largest, largest), f"predicted {target}".strip(), "predicted − actual")
    area.draw_axes()
    zero = _at(area.down(0.0))
    area.marks.append(f'<line class="ideal" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{zero}" y2="{zero}"/>')
    area.marks += _cloud(area, p[chosen], error[chosen])
    told = f"{title}: mean {number(error.mean(), 3)}, root mean square {number(math.sqrt((error**2).mean()), 3)}"
    return Chart(title, area.svg(told), (*notes, *sampled))


def residual_histogram(actual: Array, predicted: Array) -> Chart:
    """Draw how often each size of error is: bars of equal width, rows beyond the last percent in the end bars."""
    title = "How large the errors are"
    a, p, notes = finite_pairs(actual, predicted)
    if not len(a):
        return Chart(title, "", (*notes, "There is nothing to draw."))
    error = p - a
    low, high = np.percentile(error, [0.5, 99.5]) if len(a) >= 200 else (error.min(), error.max())
    axis = Axis(float(low), float(high), count=6)
    step = (axis.high - axis.low) / max(min(round(math.sqrt(len(a))), 40), 5)
    bins = max(round((axis.high - axis.low) / step), 1)
    counts, edges = np.histogram(np.clip(error, axis.low, axis.high), bins, (axis.low, axis.high))
    outside = int(((error < axis.low) | (error > axis.high)).sum())
    if outside:
        notes = (
            *notes,
            f"{counted(outside, 'row')} beyond the ends {'is' if outside == 1 else 'are'} in the end bars.",
        )
    area = Area(axis, Axis(0, float(counts.max()), count=4), "predicted − actual", "rows")
    area.draw_axes()
    foot = HEIGHT - BOTTOM
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        if count:
            x, width, top = area.across(left), area.across(right) - area.across(left), area.down(float(count))
            hint = escape(f"{number(left, 3)} to {number(right, 3)}: {counted(int(count), 'row')}")
            area.marks.append(
                f'<rect class="bar" x="{_at(x + 0.5)}" y="{_at(top)}" width="{_at(max(width - 1, 0.6))}" '
                f'height="{_at(foot - top)}"><title>{hint}</title></rect>'
            )
    if axis.low < 0 < axis.high:
        x0 = _at(area.across(0.0))
        area.marks.append(f'<line class="ideal" x1="{x0}" x2="{x0}" y1="{TOP}" y2="{foot}"/>')
    median = float(np.median(np.abs(error)))
    return Chart(title, area.svg(f"{title}: half of the errors are within {number(median, 3)}"), notes)
