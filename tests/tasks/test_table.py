from __future__ import annotations

import numpy as np
import pytest

from chainrule.errors import ArgumentError, DataError
from chainrule.tasks.config import DataConfig
from chainrule.tasks.parts import Prepared
from chainrule.tasks.table import TableInputs, prepare_table, table_defaults
from tests.tasks.small_data import columns, without, write_csv


def prepare(table: object, seed: int = 0, **settings: object) -> Prepared:
    return prepare_table(DataConfig("table", **{"target": "answer", **settings}), seed, table)


def test_rows_are_cut_into_three_parts_with_the_classes_in_proportion() -> None:
    table = columns(100)
    prepared = prepare(table)
    parts = [prepared.test, prepared.validation, prepared.train]
    assert [len(part) for part in parts if part] == [20, 16, 64]
    rows = [set(part.places.tolist()) for part in parts if part]
    assert set.union(*rows) == set(range(100))
    assert sum(map(len, rows)) == 100
    share = table["answer"].count("yes") / 100
    for part in parts:
        assert part is not None
        assert abs(np.mean(part.actual == "yes") - share) < 0.06


def test_the_encoders_know_the_training_rows_alone() -> None:
    table = columns(100)
    first = prepare(table)
    assert first.test is not None
    table["width"] = [1e9 if row in first.test.places else width for row, width in enumerate(table["width"])]
    second = prepare(table)
    assert isinstance(first.inputs, TableInputs)
    assert isinstance(second.inputs, TableInputs)
    assert second.inputs.encoder == first.inputs.encoder
    np.testing.assert_array_equal(second.train.X, first.train.X)


def test_a_number_is_standardised_by_the_training_rows_and_scored_in_its_own_unit() -> None:
    prepared = prepare(columns(100), target="price", drop=("answer",))
    assert prepared.target.task == "regression"
    assert prepared.train.y.dtype == np.float32
    assert abs(float(prepared.train.y.mean())) < 1e-6
    assert prepared.test is not None
    np.testing.assert_allclose(prepared.target.decode(prepared.test.y), prepared.test.actual, rtol=1e-5)


def test_files_of_their_own_take_the_place_of_fractions(tmp_path) -> None:
    main = write_csv(tmp_path / "main.csv", columns(60))
    test = write_csv(tmp_path / "test.csv", columns(30, seed=1))
    val = write_csv(tmp_path / "val.csv", columns(20, seed=2))
    prepared = prepare(str(main), test=str(test), validation=str(val))
    assert [len(part) for part in (prepared.train, prepared.validation, prepared.test) if part] == [60, 20, 30]
    assert prepared.test is not None
    assert prepared.test.source == "test.csv"
    assert prepared.test.place_name == "line"
    assert prepared.test.places.tolist() == list(range(2, 32))
    assert set(prepared.fingerprints) == {"training", "validation", "test"}


def test_no_rows_need_be_held_out() -> None:
    prepared = prepare(columns(30), test=0.0, validation=0.0)
    assert prepared.test is None
    assert prepared.validation is None
    assert len(prepared.train) == 30


def test_columns_without_a_header_get_names(tmp_path) -> None:
    file = write_csv(tmp_path / "rows.csv", without(columns(40), "price"), header=False)
    numbered = prepare(str(file), header=False, target="3")
    named = prepare(str(file), header=False, names=("width", "depth", "colour", "answer"))
    np.testing.assert_array_equal(numbered.train.X, named.train.X)
    assert named.config.names == ("width", "depth", "colour", "answer")


def test_too_few_names_are_an_error_with_both_numbers(tmp_path) -> None:
    file = write_csv(tmp_path / "rows.csv", columns(10), header=False)
    with pytest.raises(DataError, match=r"rows.csv: 5 columns, without a header; expected 2: a, b"):
        prepare(str(file), header=False, names=("a", "b"), target="b")


def test_a_table_without_a_header_may_lack_its_target_anywhere_when_predicting(tmp_path) -> None:
    table = columns(40)
    table = {"answer": table["answer"], **without(table, "answer", "price")}
    file = write_csv(tmp_path / "rows.csv", table, header=False)
    prepared = prepare(str(file), header=False, target="0")
    later = write_csv(tmp_path / "later.csv", without(table, "answer"), header=False)
    loaded = prepared.inputs.load(str(later))
    assert loaded.names == ("1", "2", "3")
    whole, _ = prepared.inputs.encode(prepared.inputs.load(str(file)))
    np.testing.assert_array_equal(prepared.inputs.encode(loaded)[0], whole)


def test_rows_without_a_target_are_an_error_or_left_out() -> None:
    table = columns(40)
    table["answer"][3] = None
    with pytest.raises(DataError, match=r"row 3 .*the target 'answer' is missing"):
        prepare(table)
    prepared = prepare(table, skip_missing_target=True)
    assert "1 rows without a target are left out" in prepared.notes
    parts = [prepared.train, prepared.validation, prepared.test]
    assert sum(len(part) for part in parts if part) == 39


def test_a_target_must_be_named() -> None:
    with pytest.raises(ArgumentError, match=r"no target is given.*width, depth, colour, answer, price"):
        prepare(columns(10), target="")


def test_columns_that_are_not_used_are_told_with_the_reason() -> None:
    table = {**columns(40), "site": ["A"] * 40, "note": [None] * 40}
    notes = prepare(table, drop=("price",)).notes
    assert any(note.startswith("column site is not used") and "'A'" in note for note in notes)
    assert any(note.startswith("column note is not used") and "missing" in note for note in notes)
    assert "column price is not used: you asked for it" in notes
    notes = prepare(table, drop=("price", "depth", "colour")).notes
    assert any(note.startswith("1 column gives ") and note.endswith("width (numeric)") for note in notes)


def test_missing_cells_and_unseen_categories_are_counted() -> None:
    table = columns(60)
    train = prepare(table, test=0.0).train
    row = next(row for row in range(60) if row not in train.places)
    table["colour"][row] = "violet"
    table["depth"][int(train.places[0])] = None
    prepared = prepare(table, test=0.0)
    assert prepared.validation is not None
    assert any("'violet' (1)" in note for note in prepared.validation.notes)
    assert prepared.train.notes == ("depth: 1 of 48 cells missing",)


def test_the_inputs_come_back_from_what_is_saved() -> None:
    prepared = prepare(columns(60), kinds={"colour": "categorical"}, drop=("price",))
    assert isinstance(prepared.inputs, TableInputs)
    again = TableInputs.from_dict(prepared.inputs.to_dict())
    assert again == prepared.inputs


@pytest.mark.parametrize("num_rows", [1, 300, 2_000, 30_000, 10**7])
def test_every_number_of_rows_has_defaults(num_rows: int) -> None:
    network, training = table_defaults(num_rows, "regression")
    assert network.hidden
    assert training.loss == "mse"
    assert table_defaults(num_rows, "classification")[1].loss == "cross_entropy"
