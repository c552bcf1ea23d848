"""Each kind of bad input: the message names place and cause, the code says which kind, and nothing is left behind."""

from __future__ import annotations

import resource
import signal
import time
from pathlib import Path

import pytest

from tests.cli.command import Command, Result, start
from tests.tasks.small_data import Columns, columns, pictures, without, write_csv, write_folder, write_idx

TRAIN = ("train", "table.csv", "--target", "answer", "--epochs", 2, "--out", "runs/run")


def refused(chainrule: Command, here: Path, *words: object, code: int, says: tuple[str, ...]) -> Result:
    """Call the command, and see that it is refused with these words and leaves everything as it was."""
    before = sorted(here.rglob("*"))
    found = chainrule(*words)
    assert found.code == code, found
    for part in says:
        assert part in found.err, found.err
    assert "Traceback" not in found.err
    assert sorted(here.rglob("*")) == before
    return found


def small(**changes: object) -> Columns:
    table = without(columns(60), "price")
    for name, change in changes.items():
        row, cell = change  # type: ignore[misc]  # (row, cell)
        table[name][row] = cell
    return table


def test_no_target(chainrule, here, table) -> None:
    says = (
        "no target is given: which column of table.csv is to be predicted",
        "expected --target one of width, depth, colour, answer",
    )
    refused(chainrule, here, "train", "table.csv", code=2, says=says)


def test_a_target_that_is_no_column_gets_the_nearest(chainrule, here, table) -> None:
    says = ("table.csv: no column 'anser' to be the target", "Did you mean answer?")
    refused(chainrule, here, "train", "table.csv", "--target", "anser", code=3, says=says)


def test_a_column_to_drop_that_is_not_there(chainrule, here, table) -> None:
    says = ("no column 'colur'", "Did you mean colour?")
    refused(chainrule, here, *TRAIN, "--drop", "colur", code=3, says=says)


def test_a_kind_that_is_not_there(chainrule, here, table) -> None:
    says = ("--kind: column 'colour' has kind 'categoric'", "Did you mean categorical?")
    refused(chainrule, here, *TRAIN, "--kind", "colour=categoric", code=2, says=says)


def test_a_file_without_a_header_whose_target_is_counted(chainrule, here) -> None:
    write_csv(here / "table.csv", without(columns(30), "price", "colour"), header=False)
    refused(chainrule, here, "train", "table.csv", "--target", "2", code=3, says=("no column '2'", "(--no-header)"))


@pytest.mark.parametrize("missing", ["", "NA", "?", "NaN"])
def test_a_missing_target_names_the_line(chainrule, here, missing: str) -> None:
    write_csv(here / "table.csv", small(answer=(7, missing)))
    says = ("table.csv line 9: the target 'answer' is missing", "(--skip-missing-target)")
    refused(chainrule, here, *TRAIN, code=3, says=says)
    assert chainrule(*TRAIN, "--skip-missing-target", "--quiet", "--no-report").code == 0


def test_nan_in_a_target_of_numbers(chainrule, here) -> None:
    table = without(columns(60), "answer")
    table["price"][3] = float("nan")
    write_csv(here / "table.csv", table)
    says = ("table.csv line 5: the target 'price' is missing",)
    refused(chainrule, here, "train", "table.csv", "--target", "price", code=3, says=says)


def test_infinity_in_a_target_or_an_input(chainrule, here) -> None:
    table = without(columns(60), "answer")
    table["price"][3] = "inf"
    write_csv(here / "table.csv", table)
    says = ("table.csv line 5, column 'price': inf", "finite")
    refused(chainrule, here, "train", "table.csv", "--target", "price", code=3, says=says)
    write_csv(here / "table.csv", small(width=(4, "-inf")))
    refused(chainrule, here, *TRAIN, code=3, says=("table.csv line 6, column 'width': -inf",))


def test_an_empty_file(chainrule, here) -> None:
    (here / "table.csv").touch()
    refused(chainrule, here, *TRAIN, code=3, says=("table.csv: the file is empty",))


def test_a_header_without_rows(chainrule, here) -> None:
    (here / "table.csv").write_text("width,answer\n", encoding="utf-8")
    refused(chainrule, here, *TRAIN, code=3, says=("at least one row", "(--no-header)"))


def test_one_row(chainrule, here) -> None:
    write_csv(here / "table.csv", {"width": [1.5], "answer": ["yes"]})
    refused(chainrule, here, *TRAIN, code=3, says=("table.csv: the target 'answer' has one class, 'yes', in 1 row",))
    write_csv(here / "table.csv", {"width": [1.5], "answer": [2.5]})
    refused(chainrule, here, *TRAIN, code=3, says=("table.csv: the target 'answer' is 2.5 in the only row",))


def test_two_rows_of_two_classes(chainrule, here) -> None:
    write_csv(here / "table.csv", {"width": [1.5, 2.5], "answer": ["yes", "no"]})
    refused(
        chainrule,
        here,
        *TRAIN,
        code=3,
        says=("table.csv: the test part (0.2 of 2 rows)", "each of the 2 classes has one row"),
    )


def test_a_target_with_one_class(chainrule, here) -> None:
    write_csv(here / "table.csv", {**small(), "answer": ["yes"] * 60})
    says = ("table.csv: the target 'answer' has one class, 'yes', in 60 rows; expected 2 or more",)
    refused(chainrule, here, *TRAIN, code=3, says=says)


def test_ragged_rows(chainrule, here, table) -> None:
    lines = table.read_text(encoding="utf-8").splitlines()
    lines[11] += ",more"
    table.write_text("\n".join(lines), encoding="utf-8")
    refused(chainrule, here, *TRAIN, code=3, says=("table.csv line 12: 5 cells; expected 4", "line 1", "(--delimiter)"))


def test_the_wrong_encoding(chainrule, here, table) -> None:
    table.write_bytes(table.read_bytes().replace(b"green", "grün".encode("cp1252")))
    refused(chainrule, here, *TRAIN, code=3, says=("byte 0xfc is not valid in utf-8", "line", "--encoding cp1252"))
    assert chainrule(*TRAIN, "--encoding", "cp1252", "--quiet", "--no-report").code == 0
    refused(chainrule, here, *TRAIN, "--overwrite", "--encoding", "klingon", code=2, says=("--encoding klingon",))


def test_rows_to_predict_are_in_the_form_of_the_training_data(chainrule, here, run, table) -> None:
    """Neither command has an option for the form, so none is advised."""
    form = "Write it in the form of the training data: utf-8, with a header, any delimiter."
    (here / "new.csv").write_bytes(table.read_bytes().replace(b"green", "grün".encode("cp1252")))
    for words in (("predict", run, "new.csv", "--out", "answers.csv"), ("evaluate", run, "new.csv")):
        found = refused(chainrule, here, *words, code=3, says=("byte 0xfc is not valid in utf-8", form))
        assert "--encoding" not in found.err
    lines = table.read_text(encoding="utf-8").splitlines()
    (here / "new.csv").write_text("\n".join([*lines[:5], lines[5] + ",more"]), encoding="utf-8")
    found = refused(
        chainrule, here, "predict", run, "new.csv", code=3, says=("new.csv line 6: 5 cells; expected 4", form)
    )
    assert "--delimiter" not in found.err


def test_a_column_in_which_all_is_missing_is_told_and_left_out(chainrule, here) -> None:
    write_csv(here / "table.csv", {"note": [""] * 60, **small()})
    found = chainrule(*TRAIN, "--no-report")
    assert found.code == 0
    assert "column note is not used: every cell is missing" in found.out


def test_a_table_in_which_every_input_is_missing(chainrule, here) -> None:
    write_csv(here / "table.csv", {"note": ["NA"] * 60, "answer": small()["answer"]})
    says = ("table.csv: no column is left to learn from (note is not used: every cell is missing)",)
    refused(chainrule, here, *TRAIN, code=3, says=says)


def test_a_table_with_nothing_beside_the_target(chainrule, here) -> None:
    write_csv(here / "table.csv", {"answer": small()["answer"]})
    says = ("table.csv: there is no column beside the target; expected at least one to learn from", "(--delimiter)")
    refused(chainrule, here, *TRAIN, code=3, says=says)


def test_all_columns_dropped(chainrule, here, table) -> None:
    says = ("(width is not used: you asked for it; depth is not used: you asked for it; colour is not used",)
    refused(chainrule, here, *TRAIN, "--drop", "width,depth,colour", code=3, says=says)


def test_text_among_numbers_when_training(chainrule, here) -> None:
    write_csv(here / "table.csv", small(width=(5, "wide")))
    says = ("table.csv line 7, column 'width': 'wide' is not a number", "--missing wide")
    refused(chainrule, here, *TRAIN, code=3, says=says)


def test_text_where_numbers_were_when_predicting(chainrule, here, run) -> None:
    write_csv(here / "new.csv", small(width=(5, "wide")))
    for words in (("predict", run, "new.csv", "--out", "answers.csv"), ("evaluate", run, "new.csv")):
        refused(chainrule, here, *words, code=3, says=("new.csv line 7, column 'width': 'wide' is not a number",))


def test_a_column_that_is_gone_when_predicting(chainrule, here, run) -> None:
    table = small()
    table["widht"] = table.pop("width")
    write_csv(here / "new.csv", table)
    there = "there are 'depth', 'colour', 'answer', 'widht'. If 'widht' is 'width' under another name, rename it."
    says = (f"new.csv: no column 'width', which the model was trained with; {there}",)
    refused(chainrule, here, "predict", run, "new.csv", code=3, says=says)


def test_evaluating_rows_without_targets(chainrule, here, run) -> None:
    write_csv(here / "new.csv", without(small(), "answer"))
    refused(chainrule, here, "evaluate", run, "new.csv", code=3, says=("new.csv: no column 'answer', the target",))


@pytest.mark.parametrize("option", ["--test", "--val"])
def test_a_label_in_a_file_of_its_own_that_training_did_not_have(chainrule, here, table, option: str) -> None:
    write_csv(here / "other.csv", small(answer=(2, "perhaps")))
    says = ("other.csv line 4, column 'answer': label 'perhaps' did not occur in training", "expected no, yes")
    refused(chainrule, here, *TRAIN, option, "other.csv", code=3, says=says)


def test_a_file_that_is_not_there(chainrule, here, table) -> None:
    says = ("no file 'tabel.csv'", "Did you mean table.csv?")
    refused(chainrule, here, "train", "tabel.csv", "--target", "y", code=3, says=says)
    refused(chainrule, here, *TRAIN, "--test", "tests.csv", code=3, says=("no file 'tests.csv'",))
    table.write_text("not a table", encoding="utf-8")
    refused(chainrule, here, *TRAIN, "--val", "held.csv", code=3, says=("no file 'held.csv'",))


def test_a_built_in_name_that_is_not_there(chainrule, here) -> None:
    says = ("no file and no built-in data set 'digit'", "Did you mean digits?")
    refused(chainrule, here, "train", "digit", code=2, says=says)


def test_a_run_that_is_not_there(chainrule, here, run, table) -> None:
    refused(chainrule, here, "predict", "rnu", table, code=1, says=("there is no run 'rnu'", "Did you mean run?"))
    refused(chainrule, here, "predict", table, table, code=1, says=("table.csv is a file; expected the folder",))


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_a_model_file_with_a_flipped_bit(chainrule, here, run, name: str) -> None:
    contents = bytearray((run / name).read_bytes())
    contents[len(contents) // 2] ^= 4
    (run / name).write_bytes(contents)
    for command in ("predict", "evaluate"):
        refused(chainrule, here, command, run, "table.csv", code=1, says=(f"{name} is damaged",))


def test_images_that_are_cut_short(chainrule, here) -> None:
    folder = write_folder(here / "small", test=False)
    images, _ = pictures()
    file = write_idx(folder / "train-images-idx3-ubyte", images)
    (folder / "train-images-idx3-ubyte.gz").unlink()
    file.write_bytes(file.read_bytes()[:-10])
    says = ("train-images-idx3-ubyte: 2,166 bytes, cut short; expected 2,176 bytes",)
    refused(chainrule, here, "train", "small", code=3, says=says)


def test_images_whose_packed_file_is_cut_short(chainrule, here) -> None:
    file = write_folder(here / "small", test=False) / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-10])
    refused(chainrule, here, "train", "small", code=3, says=("train-images-idx3-ubyte.gz", "cut short"))


def test_images_with_a_label_out_of_range(chainrule, here) -> None:
    folder = write_folder(here / "small")
    labels = pictures(30, 1)[1]
    labels[6] = 11
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", labels)
    says = ("t10k-images-idx3-ubyte.gz: image 6 ", "has the label 11", "expected 0, 1, 2")
    refused(chainrule, here, "train", "small", code=3, says=says)


def test_a_folder_without_images(chainrule, here) -> None:
    (here / "small").mkdir()
    refused(chainrule, here, "train", "./small", code=3, says=("no train-images", "found nothing"))


def test_training_that_diverges(chainrule, here) -> None:
    write_csv(here / "table.csv", without(columns(80), "answer"))
    words = ("train", "table.csv", "--target", "price", "--optimizer", "sgd", "--lr", "1e9", "--out", "runs/run")
    refused(chainrule, here, *words, code=1, says=("epoch 1", "learning rate", "--clip-norm 1"))


def test_settings_that_make_no_sense_are_refused_before_a_file_is_looked_for(chainrule, here) -> None:
    for words, says in (
        (("--lr", "-1"), "--lr -1; expected a number above 0"),
        (("--batch-size", 0), "--batch-size 0; expected a whole number of at least 1"),
        (("--dropout", 1), "--dropout 1; expected 0 or more and less than 1"),
        (("--hidden", "5,0"), "--hidden 5,0"),
        (("--optimizer", "adm"), "Did you mean adam"),
        (("--schedule", "cosin"), "Did you mean cosine?"),
        (("--activation", "rleu"), "Did you mean relu"),
        (("--val", "1.5"), "--val 1.5"),
        (("--seed", "-1"), "--seed -1"),
        (("--epochs", 0), "--epochs 0; expected a whole number of at least 1"),
        (("--patience", -1), "--patience -1"),
        (("--weight-decay", -1), "--weight-decay -1"),
        (("--kind", "colour=categoric"), "--kind: column 'colour' has kind 'categoric'"),
        (("--labels", "yes"), "--labels: 'yes' renames nothing; expected old=new"),
    ):
        refused(chainrule, here, *TRAIN, *words, code=2, says=(says,))


def test_a_folder_that_is_no_run_is_not_overwritten(chainrule, here, table) -> None:
    (here / "letters").mkdir()
    (here / "letters" / "dear.txt").touch()
    words = ("train", "table.csv", "--target", "answer", "--out", "letters", "--overwrite")
    refused(chainrule, here, *words, code=2, says=("letters is not empty, and no run",))


def test_a_place_that_cannot_be_written(chainrule, here, table) -> None:
    words = ("train", "table.csv", "--target", "answer", "--out", "table.csv/run")
    refused(chainrule, here, *words, code=1, says=("cannot make the folder", "Not a directory"))


def test_a_folder_without_permission(chainrule, here, table, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    words = ("train", "table.csv", "--target", "answer", "--out", "locked/run")
    refused(chainrule, here, *words, code=1, says=("Permission denied", "Choose a folder that you may write to"))


def test_answers_that_cannot_be_written(chainrule, here, run) -> None:
    words = ("predict", run, "table.csv", "--out", "no/such/answers.csv")
    refused(chainrule, here, *words, code=1, says=("cannot write 'no/such/answers.csv'", "Make the folder"))


def test_a_disk_that_fills_up(here, table) -> None:
    """A limit on the size of a file stands for a full disk: writing the weights fails in a real process."""
    process = start(
        here,
        *TRAIN,
        "--hidden",
        "100,100",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "cannot write" in err
    assert "File too large" in err
    assert "Traceback" not in err
    assert [file.name for file in here.iterdir()] == ["table.csv"]


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------

LONG = ("train", "table.csv", "--target", "answer", "--epochs", 100_000, "--patience", 0, "--out", "runs/run")


def interrupted(here: Path, *words: object, times: int = 1) -> tuple[int, str, str]:
    """Start training, send SIGINT after the third epoch, and return code and output."""
    process = start(here, *words)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("epoch") and int(line.split()[1].split("/")[0]) >= 3:
            break
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    out, err = process.communicate(timeout=120)
    return process.returncode, "".join(lines) + out, err


def test_ctrl_c_stops_cleanly_with_the_best_model_kept(chainrule, here, table) -> None:
    code, out, err = interrupted(here, *LONG)
    assert code == 130, err
    assert "interrupted by Ctrl-C" in out
    assert "is the best and was kept" in out
    assert "--resume" in out
    assert "Traceback" not in err
    run = here / "runs" / "run"
    assert {"model.safetensors", "report.html", "history.csv", "training_state.safetensors"} <= {
        file.name for file in run.iterdir()
    }
    assert [folder.name for folder in (here / "runs").iterdir()] == ["run"]
    assert chainrule("predict", run, "table.csv").code == 0


def test_a_second_ctrl_c_ends_at_once_and_leaves_what_can_be_gone_on_with(here, table) -> None:
    code, _, err = interrupted(here, *LONG, times=40)
    assert code in (130, -signal.SIGINT), err
    left = [folder.name for folder in (here / "runs").iterdir()]
    assert left in (["run"], ["run.partial"])


SLOW = """
import importlib, time
train = importlib.import_module("chainrule.tasks.train")

def slow(*args, **kwargs):
    print("here", flush=True)
    time.sleep(60)

{what} = slow
"""


def interrupted_in(what: str, here: Path, *words: object) -> tuple[int, str]:
    """Start training, send SIGINT where a function of its module is called, and return code and errors."""
    process = start(here, *words, before=SLOW.format(what=what))
    assert process.stdout is not None
    assert any(line == "here\n" for line in process.stdout)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_ctrl_c_while_scoring_says_what_is_kept_and_how_to_go_on(chainrule, here, table) -> None:
    words = ("train", "table.csv", "--target", "answer", "--epochs", "3", "--no-report", "--out")
    assert interrupted_in("train._write", here, *words, "runs/run") == (
        130,
        "chainrule: interrupted: 3 trained epochs and no scores yet: kept in runs/run.partial. Go on with it (--resume)\n",
    )
    assert chainrule(*words, "runs/run", "--resume").code == 0
    assert chainrule(*words, "runs/whole").code == 0
    model = [(here / "runs" / name / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert model[0] == model[1]


IN_FIRST_EPOCH = """
import signal
from chainrule.training import loop
stretches = loop.stretches

def pressed(*args, **kwargs):
    for k, learned in enumerate(stretches(*args, **kwargs)):
        if k == 0:
            signal.raise_signal(signal.SIGINT)
        yield learned

loop.stretches = pressed
"""


def test_ctrl_c_in_the_first_epoch_leaves_a_run_that_can_be_gone_on_with(chainrule, here, table) -> None:
    words = ("train", "table.csv", "--target", "answer", "--epochs", "3", "--out")
    process = start(here, *words, "runs/run", before=IN_FIRST_EPOCH)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert "interrupted by Ctrl-C" in out
    assert "what the first epoch learned (1 of 2 batches) was kept" in out
    assert "--resume" in out
    assert chainrule("evaluate", "runs/run", "table.csv").code == 0
    assert chainrule(*words, "runs/run", "--resume").code == 0
    assert chainrule(*words, "runs/whole").code == 0
    model = [(here / "runs" / name / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert model[0] == model[1]


def test_ctrl_c_before_the_first_epoch_says_that_nothing_is_kept(here, table) -> None:
    words = ("train", "table.csv", "--target", "answer", "--out", "runs/run")
    assert interrupted_in("train.Trainer.fit", here, *words) == (
        130, "chainrule: interrupted: no epoch was done, and nothing is kept\n"
    )  # fmt: skip
    assert [file.name for file in here.iterdir()] == ["table.csv"]


def test_a_killed_run_leaves_no_run_and_goes_on(here, table) -> None:
    process = start(here, *LONG)
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        if line.startswith("epoch") and line.split()[1].startswith("2/"):  # the state of the first is written
            break
    process.kill()
    process.wait(60)
    process.stdout.close()
    process.stderr.close()
    assert [folder.name for folder in (here / "runs").iterdir()] == ["run.partial"]
    process = start(here, *LONG, "--resume", "--time", "1s", "--quiet")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "the time is up" in out
    assert "resumed after epoch" in out
    assert [folder.name for folder in (here / "runs").iterdir()] == ["run"]
