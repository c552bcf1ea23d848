from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chainrule.insight import charts
from chainrule.insight.axis import Axis, epoch_ticks
from chainrule.insight.charts import Chart

SVG = "{http://www.w3.org/2000/svg}"


def parse(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(chart.svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def texts(chart: Chart, kind: str) -> list[str]:
    return [t.text or "" for t in parse(chart).iter(f"{SVG}text") if t.get("class") == kind]


def numbers_in(chart: Chart) -> list[float]:
    svg = re.sub(r'aria-label="[^"]*"|<title>.*?</title>|<text[^>]*>.*?</text>', "", chart.svg)
    return [float(n) for n in re.findall(r"-?\d+\.?\d*", re.sub(r'class="[^"]*"', "", svg))]


# -- axes ----------------------------------------------------------------------------------------------------------------


@given(
    st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 8), st.booleans()
)  # what a loss, a price or a residual may span
def test_an_axis_has_a_few_round_ticks_inside_its_ends(low: float, span: float, count: int, nice: bool) -> None:
    high = low + span
    if not high > low or span < 1e-9 * abs(low):
        return
    axis = Axis(low, high, nice=nice, count=count)
    assert 1 <= len(axis.ticks) <= 2 * count + 2
    small = 1e-6 * axis.step
    assert all(axis.low - small <= tick <= axis.high + small for tick in axis.ticks)
    for tick in axis.ticks:
        assert abs(tick / axis.step - round(tick / axis.step)) < 1e-3
    if nice:
        assert axis.low <= low + small
        assert axis.high >= high - small
    assert axis.position(axis.low) == 0.0
    assert axis.position(axis.high) == 1.0


@given(st.floats(-8, 8), st.floats(0.01, 12))
def test_a_logarithmic_axis_covers_its_range(exponent: float, decades: float) -> None:
    low = 10.0**exponent
    high = low * 10.0**decades
    axis = Axis(low, high, log=True)
    assert axis.low <= low * (1 + 1e-6)
    assert axis.high >= high * (1 - 1e-6)
    assert 1 <= len(axis.ticks) <= 8
    assert -1e-6 <= axis.position(low) < axis.position(high) <= 1 + 1e-6


def test_an_axis_of_one_value_has_room_around_it() -> None:
    axis = Axis(5.0, 5.0)
    assert axis.low < 5.0 < axis.high
    assert Axis(0.0, 0.0).low < 0 < Axis(0.0, 0.0).high
    logarithmic = Axis(5.0, 5.0, log=True)
    assert logarithmic.low < 5.0 < logarithmic.high


def test_labels_have_the_decimals_that_their_step_needs() -> None:
    axis = Axis(0.0, 0.3)
    assert [axis.label(t) for t in axis.ticks] == ["0", "0.1", "0.2", "0.3"]
    axis = Axis(0.93, 0.99, percent=True)
    assert [axis.label(t) for t in axis.ticks] == ["92 %", "94 %", "96 %", "98 %", "100 %"]
    axis = Axis(0.0, 3.1e6)
    assert [axis.label(t) for t in axis.ticks] == ["0", "1 M", "2 M", "3 M", "4 M"]


@given(st.integers(1, 100_000))
def test_epochs_are_whole_numbers_from_the_first_to_the_last(epochs: int) -> None:
    ticks = epoch_ticks(epochs)
    assert ticks[0] == 1
    assert ticks[-1] == epochs
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= 14


# -- curves ----------------------------------------------------------------------------------------------------------------


def test_curves_have_axes_a_legend_the_best_epoch_and_a_description() -> None:
    series = {"training": [1.0, 0.5, 0.3], "validation": [1.1, 0.6, 0.5]}
    chart = charts.curves("Loss", series, y_name="loss", best_epoch=3)
    assert texts(chart, "tick") == ["0", "0.5", "1.0", "1.5", "1", "2", "3"]
    assert texts(chart, "name") == ["epoch", "loss", "training", "validation"]
    assert texts(chart, "mark") == ["best: epoch 3"]
    root = parse(chart)
    assert root.get("role") == "img"
    assert root.get("aria-label") == "Loss over 3 epochs: training from 1 to 0.3; validation from 1.1 to 0.5"
    assert [t.text for t in root.iter(f"{SVG}title")][1] == "epoch 2: training 0.5, validation 0.6"
    assert chart.notes == ()


def test_a_point_lies_where_its_value_is() -> None:
    chart = charts.curves("Loss", {"training": [0.0, 1.0]}, y_name="loss")
    line = next(parse(chart).iter(f"{SVG}polyline"))
    (x1, y1), (x2, y2) = ([float(v) for v in point.split(",")] for point in str(line.get("points")).split())
    assert (x1, y1) == (charts.LEFT, charts.HEIGHT - charts.BOTTOM)
    assert (x2, y2) == (charts.WIDTH - charts.RIGHT, charts.TOP)


def test_one_epoch_is_a_dot() -> None:
    chart = charts.curves("Loss", {"training": [0.5], "validation": [0.6]}, y_name="loss", best_epoch=1)
    assert not list(parse(chart).iter(f"{SVG}polyline"))
    assert len(list(parse(chart).iter(f"{SVG}circle"))) == 4  # a point, and the mark of the best epoch, for each


def test_values_that_are_not_finite_are_gaps_that_are_told() -> None:
    values = [1.0, 0.9, float("nan"), 0.7, float("inf"), 0.5, 0.4]
    chart = charts.curves("Loss", {"training": values}, y_name="loss", best_epoch=3)
    root = parse(chart)
    assert len(list(root.iter(f"{SVG}polyline"))) == 2
    assert len(list(root.iter(f"{SVG}circle"))) == 1  # between the gaps
    assert chart.notes == ("training is not finite in epochs 3, 5: not drawn.",)
    nothing = charts.curves("Loss", {"training": [float("nan")] * 5}, y_name="loss")
    assert nothing.svg == ""
    assert nothing.notes == (
        "training is not finite in epochs 1, 2, 3 and 2 more: not drawn.",
        "There is nothing to draw.",
    )


def test_a_loss_that_falls_far_is_drawn_on_a_logarithmic_axis() -> None:
    chart = charts.curves("Loss", {"training": [10.0, 1.0, 0.01]}, y_name="loss")
    assert "loss (logarithmic)" in texts(chart, "name")
    ys = [float(p.split(",")[1]) for p in str(next(parse(chart).iter(f"{SVG}polyline")).get("points")).split()]
    assert (ys[2] - ys[1]) == pytest.approx(2 * (ys[1] - ys[0]), abs=0.3)


def test_a_long_history_keeps_its_extremes_and_a_small_drawing() -> None:
    values = np.random.default_rng(0).random(100_000)
    values[77_777] = 5.0
    chart = charts.curves("Loss", {"training": values.tolist()}, y_name="loss")
    assert len(chart.svg) < 20_000
    top = min(float(p.split(",")[1]) for p in str(next(parse(chart).iter(f"{SVG}polyline")).get("points")).split())
    assert top == charts.TOP  # the axis ends at 5


def test_shares_are_drawn_in_percent_and_never_above_100() -> None:
    chart = charts.curves("Accuracy", {"validation": [0.5, 0.9, 1.0]}, y_name="", percent=True)
    assert texts(chart, "tick")[:6] == ["50 %", "60 %", "70 %", "80 %", "90 %", "100 %"]


def test_names_are_escaped_and_cut_to_fit() -> None:
    long = "<b>" + "x" * 80
    chart = charts.curves("Loss", {long: [1.0, 2.0], "other": [1.0, 3.0], "third": [2.0, 2.0]}, y_name="<i>")
    parse(chart)  # is well-formed
    assert all(len(name) < 20 for name in texts(chart, "name"))


@given(st.lists(st.floats(width=32), min_size=1, max_size=40), st.integers(1, 40))
def test_every_history_gives_a_drawing_inside_its_frame(values: list[float], best: int) -> None:
    chart = charts.curves("Loss", {"training": values}, y_name="loss", best_epoch=min(best, len(values)))
    if chart.svg:
        parse(chart)
        assert all(-1 <= n <= charts.WIDTH + 1 for n in numbers_in(chart))


# -- numbers ---------------------------------------------------------------------------------------------------------------


def test_a_point_for_each_row_and_the_diagonal() -> None:
    actual = np.arange(10.0)
    chart = charts.predicted_against_actual(actual, actual + 1, "price")
    assert chart.svg.count("h0") == 10
    assert texts(chart, "name") == ["actual price", "predicted"]
    assert "correlation 1" in chart.svg
    assert chart.notes == ("On the dashed line predicted equals actual.",)


def test_of_very_many_rows_some_are_drawn_and_that_is_told() -> None:
    rng = np.random.default_rng(0)
    actual = rng.normal(size=300_000)
    predicted = actual + rng.normal(size=300_000)
    predicted[:3] = np.nan
    for chart in (charts.predicted_against_actual(actual, predicted, ""), charts.residuals(actual, predicted, "")):
        assert chart.svg.count("h0") == charts.MOST_POINTS
        assert chart.notes[:2] == (
            "3 rows with a NaN or an infinity left out.",
            "2,000 of 299,997 rows are drawn, chosen at random.",
        )
        assert len(chart.svg) < 60_000
    assert charts.residuals(actual, predicted, "").svg == charts.residuals(actual, predicted, "").svg


def test_the_histogram_counts_every_row() -> None:
    rng = np.random.default_rng(1)
    actual = np.zeros(5000)
    predicted = rng.standard_t(2, size=5000)  # with far outliers
    chart = charts.residual_histogram(actual, predicted)
    counts = [int(t.split(": ")[1].split()[0].replace(",", "")) for t in re.findall(r"<title>(.*?)</title>", chart.svg)]
    assert sum(counts) == 5000
    assert "beyond the ends" in chart.notes[0]
    assert 20 < len(counts) <= 45


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_hardly_any_rows_are_drawn_too(rows: int) -> None:
    actual, predicted = np.full(rows, 2.0), np.full(rows, 2.0)
    for chart in (
        charts.predicted_against_actual(actual, predicted, ""),
        charts.residuals(actual, predicted, ""),
        charts.residual_histogram(actual, predicted),
    ):
        if rows:
            parse(chart)
        else:
            assert chart.notes == ("There is nothing to draw.",)


@given(st.lists(st.tuples(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12)), min_size=1, max_size=30))
@example([(0.0, 5e-324)])
@example([(1e-300, 2e-300), (-1e-320, 1e-310)])
def test_any_numbers_give_drawings_inside_their_frames(pairs: list[tuple[float, float]]) -> None:
    actual, predicted = np.array(pairs).T
    for chart in (
        charts.predicted_against_actual(actual, predicted, "x"),
        charts.residuals(actual, predicted, "x"),
        charts.residual_histogram(actual, predicted),
    ):
        parse(chart)
        assert all(-1 <= n <= charts.WIDTH + 1 for n in numbers_in(chart))
