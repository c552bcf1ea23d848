"""The commands as they are meant: train, predict, evaluate."""

from __future__ import annotations

import csv
import io
import subprocess
import sys

import pytest

import chainrule as cr
from tests.cli.command import START
from tests.tasks.small_data import columns, without, write_csv, write_folder

FAST = ("--epochs", 4, "--lr", 0.01)


def test_training_shows_progress_the_score_beside_the_baseline_and_where_everything_is(chainrule, table, here) -> None:
    found = chainrule("train", "table.csv", "--target", "answer", *FAST)
    assert found.code == 0
    for part in ("80 rows, 4 columns", "epoch 1/4", "epoch 4/4", "test ", "accuracy", "baseline", "validation "):
        assert part in found.out
    for file in ("model.safetensors", "report.html"):
        assert f"runs/table/{file}" in found.out
        assert (here / "runs" / "table" / file).is_file()
    assert found.err == ""


def test_a_network_no_better_than_the_baseline_is_told(chainrule, table, here) -> None:
    words = ("train", table, "--target", "answer", "--out", "run", "--drop", "width,colour", "--quiet")
    found = chainrule(*words, "--epochs", 1, "--lr", 1e-9)
    assert "\nthe network is no better than the baseline" in found.out
    assert "the network is no better than" in (here / "run" / "report.html").read_text(encoding="utf-8").lower()
    assert "\nthe network is no better than the baseline" in chainrule("evaluate", "run", table).out


def test_a_last_epoch_that_is_the_best_asks_for_more(chainrule, table, here) -> None:
    found = chainrule("train", table, "--target", "answer", "--out", "run", "--quiet", *FAST)
    assert "epoch 4 of 4 is the best" in found.out
    assert "\nthe last epoch is the best: with more epochs (--epochs 8) it may do better\n" in found.out
    assert "trained longer, the network may do better" in (here / "run" / "report.html").read_text(encoding="utf-8")


def test_quiet_shows_the_result_alone(chainrule, table) -> None:
    found = chainrule("train", table, "--target", "answer", "--quiet", "--no-report", *FAST)
    assert "epoch 1/4" not in found.out
    assert "report" not in found.out
    assert "baseline" in found.out


def test_a_second_run_gets_a_folder_of_its_own(chainrule, table, here) -> None:
    for _ in range(2):
        assert chainrule("train", table, "--target", "answer", "--quiet", "--no-report", *FAST).code == 0
    assert sorted(folder.name for folder in (here / "runs").iterdir()) == ["table", "table-2"]


def test_a_run_is_replaced_only_with_overwrite(chainrule, run, table) -> None:
    words = ("train", table, "--target", "answer", "--out", run, "--quiet", "--no-report", *FAST)
    found = chainrule(*words)
    assert found.code == 2
    assert "there is a run in" in found.err
    assert "(--overwrite)" in found.err
    assert chainrule(*words, "--overwrite", "--seed", 5).code == 0
    assert cr.load_run(run).config.seed == 5


@pytest.mark.parametrize(("part", "watched"), [("0", "training"), ("0.3", "validation")])
def test_what_improved_no_more_is_what_was_looked_at(chainrule, table, here, part: str, watched: str) -> None:
    words = ("train", table, "--target", "answer", "--out", "run", "--no-report", "--val", part)
    found = chainrule(*words, "--epochs", 60, "--lr", 30, "--optimizer", "sgd", "--patience", 1)
    assert f"the {watched} loss improved no more after" in found.out


def test_options_reach_the_configuration(chainrule, table, here) -> None:
    words = (
        "train", table, "--target", "answer", "--out", "run", "--quiet", "--no-report", "--hidden", "7,5",
        "--activation", "tanh", "--dropout", 0.25, "--input-dropout", 0.125, "--epochs", 2, "--lr", 0.5,
        "--batch-size", 16, "--optimizer", "sgd", "--weight-decay", 0.5, "--schedule", "constant", "--patience", 9,
        "--clip-norm", 2, "--class-weight", "balanced", "--time", "10m", "--seed", 3, "--drop", "depth",
        "--kind", "colour=categorical", "--val", "0.3", "--test", "0.1", "--missing", "unknown",
    )  # fmt: skip
    assert chainrule(*words).code == 0
    config = cr.load_run("run").config
    assert config.network.hidden == (7, 5)
    assert (config.network.activation, config.network.dropout, config.network.input_dropout) == ("tanh", 0.25, 0.125)
    learning = config.training
    assert (learning.epochs, learning.lr, learning.batch_size, learning.optimizer) == (2, 0.5, 16, "sgd")
    assert (learning.weight_decay, learning.schedule, learning.patience) == (0.5, "constant", 9)
    assert (learning.clip_norm, learning.class_weight, learning.time_limit) == (2.0, "balanced", 600.0)
    assert (config.seed, config.data.drop, config.data.kinds) == (3, ("depth",), {"colour": "categorical"})
    assert (config.data.validation, config.data.test) == (0.3, 0.1)
    assert "unknown" in config.data.missing


def test_a_table_without_a_header_in_another_dialect(chainrule, here) -> None:
    table = without(columns(60), "price")
    lines = [";".join(map(str, cells)).replace(".", ",") for cells in zip(*table.values(), strict=True)]
    (here / "rows.txt").write_text("\n".join(lines), encoding="cp1252")
    words = ("train", "rows.txt", "--no-header", "--decimal", ",", "--delimiter", "semicolon", "--encoding", "cp1252")
    assert chainrule(*words, "--target", 3, "--out", "run", "--quiet", "--no-report", *FAST).code == 0
    assert chainrule("predict", "run", "rows.txt").code == 0
    named = ("train", "rows.txt", "--names", "a,b,c,d", "--decimal", ",", "--target", "d", "--out", "named")
    assert chainrule(*named, "--quiet", "--no-report", *FAST).code == 0


def test_a_comparison_is_a_target(chainrule, here) -> None:
    write_csv(here / "table.csv", without(columns(80), "answer"))
    assert chainrule("train", "table.csv", "--target", "price > 5000", "--out", "run", "--quiet", *FAST).code == 0
    assert cr.load_run("run").classes.tolist() == [False, True]


def test_predicting_writes_a_line_for_each_row(chainrule, run, here) -> None:
    write_csv(here / "new.csv", without(columns(7, seed=4), "answer", "price"))
    found = chainrule("predict", run, "new.csv")
    assert found.code == 0
    rows = list(csv.DictReader(io.StringIO(found.out)))
    assert [row["line"] for row in rows] == [str(line) for line in range(2, 9)]
    assert [row["predicted"] for row in rows] == cr.load_run(run).predict("new.csv").tolist()
    assert all(0.5 <= float(row["probability"]) <= 1 for row in rows)


def test_predicting_to_a_file_with_all_probabilities(chainrule, run, here) -> None:
    found = chainrule("predict", run, "table.csv", "--proba", "--out", "answers.csv")
    assert found.out == "80 answers in answers.csv\n"
    rows = list(csv.DictReader(io.StringIO((here / "answers.csv").read_text(encoding="utf-8"))))
    assert list(rows[0]) == ["line", "predicted", "probability", "p(no)", "p(yes)"]
    assert all(abs(float(row["p(no)"]) + float(row["p(yes)"]) - 1) < 1e-5 for row in rows)


def test_what_was_met_in_the_data_is_told_beside_the_answers(chainrule, run, here) -> None:
    table = without(columns(5), "answer", "price")
    table["colour"][2] = "violet"
    write_csv(here / "new.csv", table)
    found = chainrule("predict", run, "new.csv")
    assert "note: colour: 1 of 5 cells hold a category unseen in training: 'violet' (1)" in found.err
    assert "violet" not in found.out


def test_evaluating_shows_measures_beside_the_baselines(chainrule, run, table) -> None:
    found = chainrule("evaluate", run, table)
    assert found.code == 0
    for part in ("accuracy", "baseline", "log loss", "balanced accuracy", "80 rows"):
        assert part in found.out


def test_labels_are_renamed_when_evaluating(chainrule, run, here) -> None:
    other = without(columns(30, seed=2), "price")
    write_csv(here / "other.csv", {**other, "answer": [f"{a}." for a in other["answer"]]})
    found = chainrule("evaluate", run, "other.csv")
    assert found.code == 3
    assert "Rename them: --labels 'no.->no,yes.->yes'" in found.err
    assert chainrule("evaluate", run, "other.csv", "--labels", "no.->no,yes.->yes").code == 0


@pytest.mark.filterwarnings("default")
def test_a_label_to_rename_that_never_occurs_is_told(chainrule, run, table, here) -> None:
    words = ("train", table, "--target", "answer", "--out", "other", "--quiet", "--no-report", *FAST)
    found = chainrule(*words, "--labels", "noo=never,yes=sure")
    says = "note: --labels: 'noo' is to be renamed and occurs in no row; the labels are no, yes. Did you mean no?\n"
    assert says in found.err
    assert "'yes'" not in found.err
    assert cr.load_run("other").classes.tolist() == ["no", "sure"]
    found = chainrule("evaluate", run, table, "--labels", "perhaps=no")
    assert "note: --labels: 'perhaps' is to be renamed and occurs in no row; the labels are no, yes\n" in found.err
    assert found.code == 0


def test_labels_may_occur_in_the_file_of_another_part_alone(chainrule, table, here) -> None:
    other = without(columns(30, seed=2), "price")
    write_csv(here / "other.csv", {**other, "answer": [f"{a}." for a in other["answer"]]})
    words = ("train", table, "--target", "answer", "--test", "other.csv", "--labels", "no.=no,yes.=yes", *FAST)
    found = chainrule(*words, "--no-report")
    assert (found.code, found.err) == (0, "")


def test_a_number_is_predicted_and_scored(chainrule, here) -> None:
    write_csv(here / "prices.csv", without(columns(80), "answer"))
    found = chainrule("train", "prices.csv", "--target", "price", "--out", "run", *FAST)
    assert found.code == 0
    assert "RMSE" in found.out
    assert "R²" in found.out
    rows = list(csv.DictReader(io.StringIO(chainrule("predict", "run", "prices.csv").out)))
    assert list(rows[0]) == ["line", "predicted"]
    found = chainrule("predict", "run", "prices.csv", "--proba")
    assert found.code == 2
    assert "--proba: the target 'price' is a number" in found.err


def test_a_folder_of_images_is_trained_on_and_predicted(chainrule, here) -> None:
    write_folder(here / "small")
    assert chainrule("train", "./small", "--epochs", 3, "--out", "run", "--quiet").code == 0
    rows = list(csv.DictReader(io.StringIO(chainrule("predict", "run", "small/t10k-images-idx3-ubyte.gz").out)))
    assert len(rows) == 30
    assert rows[0].keys() == {"row", "predicted", "probability"}
    assert chainrule("evaluate", "run", "small").code == 0


def test_digits_is_a_built_in_name_and_with_a_dot_it_is_a_path(chainrule, here) -> None:
    pytest.importorskip("sklearn")
    found = chainrule("train", "digits", "--epochs", 1, "--augment", "none", "--quiet", "--no-report")
    assert found.code == 0
    assert (here / "runs" / "digits" / "model.safetensors").is_file()
    found = chainrule("train", "./digits", "--target", "y")
    assert found.code == 3
    assert "no file" in found.err


WITHOUT = "import sys; sys.modules.update({name: None for name in ('jinja2', 'tomli_w', 'sklearn', 'tqdm')})"


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["doctor"], ["--version"]])
def test_help_and_doctor_need_no_extras(here, words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", f"{WITHOUT}\n{START}", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("package", "words", "says"),
    [
        ("tomli_w", ["table.csv", "--target", "answer"], "tomli-w"),
        ("jinja2", ["table.csv", "--target", "answer"], "--no-report"),
        ("sklearn", ["digits"], "scikit-learn"),
    ],
)
def test_an_extra_that_is_missing_is_named_with_how_to_get_it(
    chainrule, table, here, monkeypatch, package: str, words: list[str], says: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    if package == "sklearn":
        monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    found = chainrule("train", *words)
    assert found.code in (1, 3)
    assert says in found.err
    assert 'pip install "chainrule[command]"' in found.err
    assert [file.name for file in here.iterdir()] == ["table.csv"]
