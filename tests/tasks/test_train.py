from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, DataError, FileError, NotFiniteError
from chainrule.tasks import DataConfig, Run, keep_state, load_run, train
from chainrule.training import Trainer
from tests.tasks.small_data import Columns, columns, pictures, without, write_csv, write_folder

FILES = [
    "config.toml", "environment.json", "history.csv", "metrics.json", "model.json", "model.safetensors",
    "predictions.csv", "report.html", "schema.json", "training_state.safetensors",
]  # fmt: skip
SHORT = {"epochs": 30, "lr": 0.01}


def fit(table: Columns, out: Path, target: str = "answer", seed: int = 0, **options: object) -> Run:
    data = DataConfig("table", target=target, **options.pop("data", {}))  # type: ignore[arg-type]  # a dict of settings
    training = {**SHORT, **options.pop("training", {})}  # type: ignore[dict-item]  # likewise
    report = options.pop("report", False)
    return train(data, source=table, training=training, seed=seed, out=out, progress=False, report=report, **options)


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> Run:
    """A run on yes and no, with everything written."""
    folder = tmp_path_factory.mktemp("runs") / "answers"
    return fit(columns(200), folder, data={"drop": ("price",)}, report=True)


def test_a_run_folder_has_everything(answers) -> None:
    assert sorted(file.name for file in answers.path.iterdir()) == FILES
    assert not any(file.name.startswith(".") for file in answers.path.parent.iterdir())


def test_a_run_is_better_than_its_baseline(answers) -> None:
    scores = answers.scores["test"]
    assert scores["accuracy"] > 0.9 > scores["baseline_accuracy"]
    assert answers.scores["validation"]["accuracy"] > 0.8


def test_a_loaded_run_is_the_run_that_was_trained(answers) -> None:
    loaded = load_run(answers.path)
    assert loaded.config == answers.config
    assert loaded.scores == answers.scores
    assert loaded.history.to_dict() == answers.history.to_dict()
    assert loaded.schema == json.loads((answers.path / "schema.json").read_text(encoding="utf-8"))
    table = columns(50, seed=9)
    np.testing.assert_array_equal(loaded.predict_proba(table), answers.predict_proba(table))
    assert repr(loaded).startswith("<Run ")


def test_load_run_is_a_name_of_the_package(answers) -> None:
    assert cr.load_run(answers.path).path == answers.path


def test_predictions_are_labels_and_probabilities_add_up_to_one(answers) -> None:
    run = load_run(answers.path)
    table = columns(100, seed=3)
    predicted = run.predict(without(table, "answer"))
    assert np.mean(predicted == np.array(table["answer"])) > 0.85
    probabilities = run.predict_proba(table)
    assert run.classes.tolist() == ["no", "yes"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (run.classes[probabilities.argmax(axis=1)] == predicted).all()


def test_a_frame_a_file_a_dict_and_one_row_give_the_same_predictions(answers, tmp_path) -> None:
    pandas = pytest.importorskip("pandas")
    run = load_run(answers.path)
    table = without(columns(20, seed=3), "answer", "price")
    expected = run.predict(table).tolist()
    assert run.predict(pandas.DataFrame(table)).tolist() == expected
    assert run.predict(write_csv(tmp_path / "new.csv", table)).tolist() == expected
    for row in range(3):
        assert run.predict({name: cells[row] for name, cells in table.items()}).tolist() == [expected[row]]


def test_evaluating_scores_the_rows_beside_the_baseline(answers) -> None:
    table = columns(100, seed=4)
    scores = load_run(answers.path).evaluate(table)
    assert scores["accuracy"] == np.mean(answers.predict(table) == np.array(table["answer"]))
    assert scores["baseline_accuracy"] == pytest.approx(max(np.mean([a == "yes" for a in table["answer"]]), 0), abs=1)
    other = {**table, "answer": [a.upper() for a in table["answer"]]}
    with pytest.raises(DataError, match="did not occur in training"):
        answers.evaluate(other)
    assert answers.evaluate(other, labels="YES=yes,NO=no") == scores


def test_predictions_of_the_held_out_rows_are_written_with_their_places(answers) -> None:
    text = (answers.path / "predictions.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    table = columns(200)
    assert {row["part"] for row in rows} == {"test", "validation"}
    assert len(rows) == 40 + 32
    for row in rows:
        assert row["actual"] == table["answer"][int(row["row"])]
    predicted = answers.predict(table)
    assert all(row["predicted"] == predicted[int(row["row"])] for row in rows)


def test_the_best_epoch_is_the_one_that_is_kept(answers) -> None:
    values = answers.history["val_loss"]
    assert answers.history.best_epoch == 1 + int(np.argmin(values))
    rows = csv.DictReader(io.StringIO((answers.path / "history.csv").read_text(encoding="utf-8")))
    assert [float(row["val_loss"]) for row in rows] == values


def test_the_report_shows_what_matters(answers) -> None:
    page = (answers.path / "report.html").read_text(encoding="utf-8")
    for part in ("accuracy", "baseline", "svg", "width", "val_loss", "weight_decay"):
        assert part in page


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path) -> None:
    table = columns(80)
    runs = [
        fit(table, tmp_path / str(number), seed=seed, training={"epochs": 3}) for number, seed in enumerate((1, 1, 2))
    ]
    weights = [(run.path / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1] != weights[2]


def test_a_number_is_predicted_in_its_own_unit(tmp_path) -> None:
    run = fit(columns(300), tmp_path / "prices", "price", data={"drop": ("answer",)}, training={"epochs": 60})
    scores = run.scores["test"]
    assert scores["rmse"] < 0.3 * scores["baseline_rmse"]
    assert scores["r2"] > 0.9
    table = columns(50, seed=5)
    errors = load_run(run.path).predict(table) - np.array(table["price"])
    assert np.sqrt(np.mean(errors**2)) < 0.4 * scores["baseline_rmse"]
    assert run.classes.size == 0
    with pytest.raises(ArgumentError, match="is a number"):
        run.predict_proba(table)


def test_images_are_learned_and_predicted(tmp_path) -> None:
    folder = write_folder(tmp_path / "small")
    run = train(DataConfig(str(folder)), out=tmp_path / "run", progress=False, training={"epochs": 4})
    assert run.scores["test"]["accuracy"] > 0.9
    images, labels = pictures(30, 1)
    loaded = load_run(run.path)
    assert np.mean(loaded.predict(images) == labels) > 0.9
    assert loaded.evaluate(folder) == run.scores["test"]
    with pytest.raises(DataError, match="images of 3 x 3 pixels; expected 6 x 6"):
        loaded.predict(np.zeros((1, 3, 3)))
    with pytest.raises(DataError, match="without labels"):
        loaded.evaluate(images)


def test_without_a_validation_part_there_is_no_early_stopping(tmp_path) -> None:
    run = fit(columns(40), tmp_path / "run", data={"validation": 0.0, "test": 0.0}, training={"epochs": 3}, report=True)
    assert run.config.training.patience == 0
    assert run.config.training.monitor == "train_loss"
    assert list(run.scores) == ["training"]


def test_no_hidden_layer_is_a_linear_model(tmp_path) -> None:
    run = fit(columns(40), tmp_path / "run", network={"hidden": ()}, training={"epochs": 2})
    assert len(list(run.model.parameters())) == 2
    np.testing.assert_array_equal(load_run(run.path).predict(columns(9)), run.predict(columns(9)))


def test_every_line_that_a_user_should_read_is_said(tmp_path) -> None:
    lines: list[str] = []
    fit(columns(40), tmp_path / "run", training={"epochs": 1}, say=lines.append)
    text = "\n".join(lines)
    for part in ("40 rows, 5 columns", "answer: classification", "training: 26 rows", "test: 8 rows", "parameters"):
        assert part in text


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_taken_is_refused_before_anything_is_read(tmp_path, answers) -> None:
    with pytest.raises(ArgumentError, match="there is a run"):
        train(DataConfig("no such file.csv", target="y"), out=answers.path)


def test_training_that_diverges_is_an_error_and_leaves_nothing(tmp_path) -> None:
    with pytest.raises(NotFiniteError, match="epoch"):
        fit(columns(80), tmp_path / "runs" / "run", "price", training={"lr": 1e9, "optimizer": "sgd"})
    assert list(tmp_path.iterdir()) == []


def test_data_that_cannot_be_used_leave_nothing(tmp_path) -> None:
    with pytest.raises(DataError, match=r"no column 'anser'.*mean answer"):
        fit(columns(80), tmp_path / "runs" / "run", "anser")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "says"), [("model.safetensors", "checksum"), ("model.json", "damaged")])
def test_one_wrong_byte_in_a_model_is_an_error_that_names_the_file(answers, tmp_path, name: str, says: str) -> None:
    for file in answers.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    contents = (answers.path / name).read_bytes()
    for place in (0, len(contents) // 3, len(contents) // 2, len(contents) - 2):
        damaged = bytearray(contents)
        damaged[place] ^= 1
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(FileError, match=f"{name} is damaged.*{says}|{name} is damaged"):
            load_run(tmp_path)
    (tmp_path / name).write_bytes(contents[:-7])
    with pytest.raises(FileError, match=f"{name} is damaged"):
        load_run(tmp_path)


def test_the_weights_of_another_run_are_an_error(answers, tmp_path) -> None:
    other = fit(columns(80), tmp_path / "other", training={"epochs": 1})
    (other.path / "model.safetensors").write_bytes((answers.path / "model.safetensors").read_bytes())
    with pytest.raises(FileError, match=r"checksum .* is not the one that model.json names"):
        load_run(other.path)


def test_a_folder_that_is_no_run_is_an_error_with_what_to_do(tmp_path, answers) -> None:
    with pytest.raises(FileError, match="is no run"):
        load_run(tmp_path)
    with pytest.raises(FileError, match="Did you mean answers"):
        load_run(answers.path.parent / "anwsers")
    with pytest.raises(FileError, match=r"is a file.*name its folder|is a file.*Name its folder"):
        load_run(answers.path / "model.json")


def killed_after(epochs: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave what a process leaves that is killed after an epoch: the state is written and nothing else happens."""
    monkeypatch.setattr(keep_state, "SECONDS_BETWEEN", 0.0)
    kept = keep_state.KeepState.on_epoch_end

    def on_epoch_end(self: keep_state.KeepState, trainer: Trainer, epoch: int, row: dict[str, float]) -> None:
        kept(self, trainer, epoch, row)
        if epoch == epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(keep_state.KeepState, "on_epoch_end", on_epoch_end)
    with pytest.raises(KeyboardInterrupt):
        fit(columns(80), tmp_path / "run", training={"epochs": 6})
    monkeypatch.undo()


def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path, monkeypatch) -> None:
    whole = fit(columns(80), tmp_path / "whole", training={"epochs": 6})
    killed_after(3, monkeypatch, tmp_path)
    assert not (tmp_path / "run").exists()
    with pytest.raises(FileError, match=r"not complete.*resume=True|not complete.*Go on"):
        load_run(tmp_path / "run")
    with pytest.raises(ArgumentError, match="resume=True"):
        fit(columns(80), tmp_path / "run")
    resumed = fit(columns(80), tmp_path / "run", training={"epochs": 6}, resume=True)
    assert (resumed.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()
    assert resumed.history["val_loss"] == whole.history["val_loss"]
    assert "resumed after epoch 3" in resumed.history.notes
    assert not (tmp_path / "run.partial").exists()


def test_a_run_goes_on_only_with_its_own_settings_and_data(tmp_path, monkeypatch) -> None:
    killed_after(2, monkeypatch, tmp_path)
    with pytest.raises(ArgumentError, match=r"other settings .training.lr: 0.01 and 0.5"):
        fit(columns(80), tmp_path / "run", training={"epochs": 6, "lr": 0.5}, resume=True)
    with pytest.raises(DataError, match="training data differ"):
        fit(columns(80, seed=1), tmp_path / "run", training={"epochs": 6}, resume=True)
    assert (tmp_path / "run.partial").is_dir()  # still there for another try


def test_a_complete_run_has_nothing_to_go_on_with(answers) -> None:
    with pytest.raises(ArgumentError, match="is complete: it stopped by"):
        fit(columns(200), answers.path, data={"drop": ("price",)}, report=True, resume=True)


def test_a_time_limit_ends_early_and_the_run_goes_on_from_there(tmp_path) -> None:
    whole = fit(columns(80), tmp_path / "whole", training={"epochs": 4})
    run = fit(columns(80), tmp_path / "run", training={"epochs": 4, "time_limit": 1e-9})
    assert run.history.stopped == "time"
    resumed = fit(columns(80), tmp_path / "run", training={"epochs": 4}, resume=True)
    assert (resumed.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()


def test_a_full_disk_after_training_keeps_the_state_and_says_how_to_go_on(tmp_path, monkeypatch) -> None:
    real = os.write

    def write(file: int, data: memoryview) -> int:
        if b"weights_sha256" in bytes(data):
            raise OSError(28, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(FileError, match=r"model.json.*No space left.*resume=True"):
        fit(columns(80), tmp_path / "run", training={"epochs": 2})
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    fit(columns(80), tmp_path / "run", training={"epochs": 2}, resume=True)
    assert load_run(tmp_path / "run").predict(columns(3)).shape == (3,)


def test_a_full_disk_before_training_leaves_nothing(tmp_path, monkeypatch) -> None:
    def write(file: int, data: memoryview) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(FileError, match=r"config.toml.*No space left.*free some space|Free some space"):
        fit(columns(80), tmp_path / "run", training={"epochs": 2})
    assert list(tmp_path.iterdir()) == []
