from __future__ import annotations

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from chainrule.errors import ArgumentError, FileError
from chainrule.insight import Summary, WorstError, sections, write_report
from chainrule.insight.flow_section import flow_section
from chainrule.insight.report import render
from tests.insight.runs import LONG, flow_of, hard_run, layer, numbers_run

VOID = {"meta", "link", "img", "br"}


class Checker(HTMLParser):
    """Every element is closed in order; addresses and visible text are collected."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self._note(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(attrs)

    def _note(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "action", "srcset", "data", "poster"):
                self.addresses.append(value or "")
            assert not name.startswith("on"), "no code in attributes"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


MINIMAL = Summary(
    title="t",
    task="regression",
    metric="rmse",
    score=1.0,
    baseline="the mean",
    baseline_score=2.0,
    higher_is_better=False,
)


@pytest.mark.parametrize("summary", [MINIMAL, hard_run(), numbers_run()], ids=["minimal", "hard", "numbers"])
def test_a_report_is_one_well_formed_file_that_names_no_other(summary: Summary, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, summary)
    text = path.read_text(encoding="utf-8")
    page = Checker(text)
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert len(text.encode()) < 1_000_000
    assert list(tmp_path.iterdir()) == [path]
    for address in re.findall(r'href="#([\w-]+)"', text):
        assert f'id="{address}"' in text


def test_the_same_run_gives_the_same_file() -> None:
    assert render(numbers_run()) == render(numbers_run())


def test_all_text_is_escaped() -> None:
    text = render(hard_run())
    assert text.count("<script") == 1
    assert "<b>x</b>" not in text
    assert "species <b>" not in text
    assert "name <i>" not in text
    page = Checker(text)
    assert LONG in page.text
    assert "<b>x</b>: 3 of 100 cells missing" in page.text


def test_only_the_pages_own_script_may_run() -> None:
    text = render(MINIMAL)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none';")
    assert "script-src 'sha256-" in policy[1].replace("&#39;", "'")


def test_parts_without_content_are_left_out() -> None:
    text = render(MINIMAL)
    for part in ("training", "classes", "numbers", "flow", "worst", "data", "settings", "environment"):
        assert f'id="{part}"' not in text
    assert "None of the rules found anything to remark on" in text


def test_three_million_rows_make_a_small_file_quickly() -> None:
    text = render(numbers_run(3_000_000))
    assert "2,000 of 2,999,995 rows are drawn, chosen at random." in text
    assert len(text) < 200_000


def test_without_jinja_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(FileError, match=re.escape("Run pip install 'chainrule[command]'")):
        write_report(tmp_path / "report.html", MINIMAL)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="nowhere"):
        write_report(tmp_path / "nowhere" / "report.html", MINIMAL)


# -- the summary -----------------------------------------------------------------------------------------------------------


def test_a_summary_checks_what_it_is_given() -> None:
    with pytest.raises(ArgumentError, match="Did you mean regression"):
        replace(MINIMAL, task="regresion")
    with pytest.raises(ArgumentError, match="one for each epoch everywhere"):
        replace(MINIMAL, history={"train_loss": [1.0, 2.0], "val_loss": [1.0]})
    with pytest.raises(ArgumentError, match="best_epoch=3 of 2 epochs"):
        replace(MINIMAL, history={"train_loss": [1.0, 2.0]}, best_epoch=3)
    with pytest.raises(ArgumentError, match="shape \\(2, 2\\) for 3 class names"):
        replace(MINIMAL, confusion=np.eye(2), class_names=["a", "b", "c"])
    with pytest.raises(ArgumentError, match="no actual and 3 predicted"):
        replace(MINIMAL, predicted=np.zeros(3))
    with pytest.raises(ArgumentError, match="4 actual and 3 predicted"):
        replace(MINIMAL, actual=np.zeros(4), predicted=np.zeros(3))


# -- parts -----------------------------------------------------------------------------------------------------------------


def test_the_verdict_says_score_baseline_and_what_is_left() -> None:
    run = replace(MINIMAL, metric="accuracy", score=0.9, baseline="always 1", baseline_score=0.5, num_test=1200)
    run = replace(run, higher_is_better=True)
    assert sections.verdict(run) == [
        "90 % of 1,200 test rows are right. Without learning, always 1 gets 50 %.",
        "Of the baseline's error 20 % is left.",
    ]
    worse = replace(MINIMAL, score=3.0, num_validation=7)
    assert sections.verdict(worse) == [
        "RMSE is 3 on 7 validation rows. Without learning, the mean gets 2.",
        "The network is no better than that.",
    ]
    assert sections.verdict(replace(worse, verdict=["My own words."])) == ["My own words."]


def test_the_verdict_says_that_chance_may_be_the_difference_and_that_the_last_epoch_is_the_best() -> None:
    run = replace(MINIMAL, score=1.9, num_test=30, within_chance=True, ended_at_best=True)
    assert sections.verdict(run)[1:] == [
        "As far as 30 test rows can tell, the network is no better than that: the difference may be chance.",
        "The last epoch is the best: trained longer, the network may do better.",
    ]
    assert 'class="score bad"' in render(run)
    assert 'class="score good"' in render(replace(run, within_chance=False))


def test_the_two_bars_share_a_scale() -> None:
    ours, theirs = sections.score_bars(MINIMAL)
    assert (ours["width"], theirs["width"]) == ("50.00", "100.00")
    ours, theirs = sections.score_bars(replace(MINIMAL, metric="accuracy", score=0.25, baseline_score=float("nan")))
    assert (ours["width"], theirs["width"]) == ("25.00", "0.00")
    assert theirs["value"] == "not a number"
    ours, theirs = sections.score_bars(replace(MINIMAL, metric="r2", score=-0.5, baseline_score=0.0))
    assert (ours["width"], theirs["width"]) == ("0.00", "0.00")


def test_curves_are_grouped_by_what_they_measure() -> None:
    history = {
        "epoch": [1, 2], "train_loss": [1.0, 0.5], "val_loss": [1.0, 0.6], "val_f1": [0.1, 0.2],
        "val_accuracy": [0.5, 0.6], "train_accuracy": [0.6, 0.7], "lr": [0.1, 0.1], "seconds": [1, 2],
    }  # fmt: skip
    run = replace(MINIMAL, metric="accuracy", history=history)
    assert [chart.title for chart in sections.training_curves(run)] == ["Loss", "Accuracy", "F1"]
    assert "training from 0.6 to 0.7; validation from 0.5 to 0.6" in sections.training_curves(run)[1].svg
    faster = replace(run, history={**history, "lr": [0.1, 0.01]})
    assert sections.training_curves(faster)[-1].title == "Learning rate"


def test_the_epoch_table_is_thinned_but_keeps_the_best_and_the_last() -> None:
    run = replace(MINIMAL, history={"train_loss": [1.0] * 1001}, best_epoch=17)
    table = sections.epoch_table(run)
    shown = [row["epoch"] for row in table["rows"]]
    assert len(shown) <= 202
    assert {1, 17, 1001} <= set(shown)
    assert [row["epoch"] for row in table["rows"] if row["best"]] == [17]
    assert table["some"]


def test_recall_and_precision_are_those_of_the_matrix() -> None:
    run = replace(MINIMAL, confusion=np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]]), class_names=["a", "b", "c"])
    part = sections.confusion_section(replace(run, num_test=14))
    assert part is not None
    assert [c["recall"] for c in part["classes"]] == ["80.0 %", "75.0 %", "–"]
    assert [c["precision"] for c in part["classes"]] == ["88.9 %", "60.0 %", "–"]
    assert [(p["actual"], p["predicted"], p["count"]) for p in part["common"]] == [
        ("a", "b", "2 times"),
        ("b", "a", "1 time"),
    ]
    assert part["absent"] == "No test row is of c: no recall."
    assert part["rows"][0]["cells"][1]["hint"] == "actual a, predicted b: 2 rows (20 % of a)"


def test_a_worst_error_shows_its_picture_and_cells() -> None:
    cells = {f"column {k}": k for k in range(20)} | {"none": None, "empty": "", "long": "x" * 1000}
    error = WorstError(place="line 3", actual=1, predicted=2, loss=3.21, image=np.eye(4), cells=cells)
    (part,) = sections.worst_section([error])
    assert part["image"]["address"].startswith("data:image/png")
    assert (part["image"]["width"], part["image"]["height"]) == (4, 4)
    assert len(part["cells"]) == sections.MOST_CELLS
    assert dict(part["more_cells"])["none"] == dict(part["more_cells"])["empty"] == "(missing)"
    assert len(dict(part["more_cells"])["long"]) == 300
    assert part["wrong"]


def test_settings_are_told_by_group_with_dotted_names_inside() -> None:
    groups = sections.settings({"seed": 0, "model": {"hidden": [64, 32], "dropout": {"p": 0.1}}, "fast": True, "x": {}})
    assert groups == [
        {"name": "", "rows": [("seed", "0"), ("fast", "yes")]},
        {"name": "model", "rows": [("hidden", "64, 32"), ("dropout.p", "0.1")]},
        {"name": "x", "rows": []},
    ]


@pytest.mark.parametrize("units", [1, 2, 31, 33, 64, 100, 128, 129, 200, 1000])
def test_units_stand_in_full_lines(units: int) -> None:
    part = flow_section(flow_of(layer("hidden", units, 3), classes=("a", "b", "c")))["layers"][0]
    drawn = len(part["cells"])
    assert drawn == min(units, 400)
    for columns, most in ((part["columns"], 50), (part["narrow_columns"], 20)):
        assert columns <= most
        lines = -(-drawn // columns)
        assert lines * columns - drawn < lines  # no line lacks more than one
    assert bool(part["not_drawn"]) == (units > 400)


def test_the_area_of_a_unit_is_its_share() -> None:
    flow = flow_of(layer("hidden", 24, 0))
    part = flow_section(flow)["layers"][0]
    areas = np.array([float(cell["size"]) for cell in part["cells"]]) ** 2
    shares = flow[0].share
    np.testing.assert_allclose(areas, shares / shares.max(), atol=2e-3)
    signs = [cell["sign"] for cell in part["cells"]]
    assert signs[9] == signs[19] == "dead"
    for unit in set(range(24)) - {9, 19}:
        assert signs[unit] == ("up" if flow[0].contribution[unit] > 0 else "down")
    assert [cell["label"] != "" for cell in part["cells"]].count(True) == 3


def test_a_layer_without_error_says_so() -> None:
    part = flow_section(flow_of(layer("hidden", 5, 0, silent=True)))["layers"][0]
    assert part["silent"]
    assert "Every contribution in this layer is 0" in render(
        replace(MINIMAL, error_flow=flow_of(layer("h", 5, 0, silent=True)))
    )


def test_deltas_by_class_are_coloured_by_sign_and_a_class_without_rows_is_told() -> None:
    flow = flow_of(layer("hidden", 6, 3), classes=("a", "b", "c"))
    heat = flow_section(flow)["layers"][0]["heat"]
    assert [row["unit"] for row in heat["rows"]] == flow[0].order.tolist()
    first = heat["rows"][0]
    value = flow[0].delta_by_class[0, first["unit"]]
    assert first["cells"][0]["sign"] == ("up" if value > 0 else "down")
    assert first["cells"][2] == {"sign": "absent", "strength": "0", "hint": "class c: no rows"}
    strengths = [float(cell["strength"]) for row in heat["rows"] for cell in row["cells"]]
    assert max(strengths) == 1.0
