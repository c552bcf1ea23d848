from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.data import Comparison, Table, TargetEncoder, parse_label_map, parse_target, read_table
from chainrule.errors import ArgumentError, DataError, DtypeError
from tests.tolerances import assert_close


@pytest.fixture
def table() -> Table:
    return read_table(
        {
            "num": [0, 2, 0, 1, 0, 3],
            "price": [1.5, 2.5, 3.0, 9.0, 0.5, 2.0],
            "label": ["<=50K", ">50K", "<=50K", ">50K", "<=50K", "<=50K"],
            "gap": [1.0, None, 2.0, 3.0, 4.0, 5.5],
            "same": ["a"] * 6,
            "empty": [None] * 6,
            "done": [True, False, True, True, False, True],
        }
    )


def refused(table: Table, target: str, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        TargetEncoder.fit(table, target, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        (["a", "b", "a"], "classification"),
        ([f"{i % 15:03}" for i in range(60)], "classification"),  # codes, kept as text
        ([True, False, True], "classification"),
        ([0, 1, 1, 0], "classification"),
        ([3, 7], "classification"),
        ([1, 2, 3] * 5, "classification"),
        ([1, 2, 3] * 4, "regression"),  # too few rows for each
        (list(range(21)) * 10, "regression"),
        ([0.5, 1.5] * 20, "regression"),
        (np.linspace(0, 1, 30), "regression"),
    ],
)
def test_the_task_is_found_from_the_cells(cells: Any, task: str) -> None:
    assert TargetEncoder.fit(read_table({"y": cells}), "y").task == task


def test_the_task_can_be_said() -> None:
    table = read_table({"y": [1, 2, 3] * 5})
    assert TargetEncoder.fit(table, "y", task="regression").task == "regression"
    assert TargetEncoder.fit(read_table({"y": [0.5, 1.5, 0.5]}), "y", task="classification").classes == ("0.5", "1.5")
    with pytest.raises(ArgumentError, match=r"task='regresion'.*Did you mean regression\?"):
        TargetEncoder.fit(table, "y", task="regresion")


def test_classes_are_numbered_in_order_and_come_back(table: Table) -> None:
    encoder = TargetEncoder.fit(table, "label")
    assert encoder.classes == ("<=50K", ">50K")
    assert encoder.counts == (4, 2)
    assert encoder.num_classes == 2
    assert encoder.baseline == "<=50K"
    encoded = encoder.encode(table)
    assert encoded.dtype == np.int64
    assert encoded.tolist() == [0, 1, 0, 1, 0, 0]
    assert encoder.decode(encoded).tolist() == ["<=50K", ">50K", "<=50K", ">50K", "<=50K", "<=50K"]


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        ([2, 10, 2], np.int64),
        ([True, False, True], np.bool_),
        (["x", "10", "x"], "<U2"),
        (["1.5", "2", "2"], np.float64),
    ],
)
def test_labels_come_back_as_the_simplest_type_that_holds_them(cells: list[Any], dtype: Any) -> None:
    table = read_table({"y": cells})
    encoder = TargetEncoder.fit(table, "y", task="classification")
    decoded = encoder.decode(encoder.encode(table))
    assert decoded.dtype == dtype
    assert [str(label) for label in decoded.tolist()] == [
        str(cell) if dtype != np.float64 else str(float(cell)) for cell in cells
    ]


def test_numeric_classes_are_in_order_of_their_value() -> None:
    assert TargetEncoder.fit(read_table({"y": [10, 9, 10, 9, 2] * 5}), "y").classes == ("2", "9", "10")


def test_numbers_are_standardised_and_come_back(table: Table) -> None:
    encoder = TargetEncoder.fit(table, "price")
    encoded = encoder.encode(table)
    assert encoded.dtype == np.float32
    assert abs(float(encoded.mean())) < 1e-6
    assert abs(float(encoded.std()) - 1) < 1e-6
    assert_close(encoder.decode(encoded).astype(np.float32), table.numbers("price").astype(np.float32))
    assert encoder.baseline == pytest.approx(table.numbers("price").mean())
    assert "regression, mean 3.08333" in encoder.report()


def test_large_numbers_and_columns_without_a_name_read_well_in_the_report() -> None:
    encoder = TargetEncoder.fit(read_table(np.array([[1.0, 207032.5], [2.0, 307032.5]])), "1", task="regression")
    assert encoder.report() == "column 1: regression, mean 257,032, standard deviation 50,000"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("num > 0", [0, 1, 0, 1, 0, 1]),
        ("num >= 2", [0, 1, 0, 0, 0, 1]),
        ("num<1", [1, 0, 1, 0, 1, 0]),
        ("num <= 1", [1, 0, 1, 1, 1, 0]),
        ("num == 1", [0, 0, 0, 1, 0, 0]),
        ("num == 1.0", [0, 0, 0, 1, 0, 0]),
        ("num != 0", [0, 1, 0, 1, 0, 1]),
        ("price > 2", [0, 1, 1, 1, 0, 0]),
        ("label == >50K", [0, 1, 0, 1, 0, 0]),
        ("label != '<=50K'", [0, 1, 0, 1, 0, 0]),
        ('label == ">50K"', [0, 1, 0, 1, 0, 0]),
        ("done == True", [1, 0, 1, 1, 0, 1]),
    ],
)
def test_a_comparison_is_a_target(table: Table, target: str, expected: list[int]) -> None:
    encoder = TargetEncoder.fit(table, target)
    assert encoder.classes == ("False", "True")
    assert encoder.encode(table).tolist() == expected
    assert encoder.decode(np.array([0, 1])).tolist() == [False, True]
    assert target.startswith(encoder.column)


def test_a_column_named_like_a_comparison_is_that_column() -> None:
    assert parse_target("a > 0", ["a", "a > 0"]) == "a > 0"


def test_a_comparison_prints_as_it_is_written() -> None:
    assert str(parse_target("num>0", ["num"])) == "num > 0"
    assert str(Comparison("num", ">", "0")) == "num > 0"


def test_comparisons_that_make_no_sense_are_refused(table: Table) -> None:
    with pytest.raises(ArgumentError, match=r"has '='.*Write num == 1"):
        TargetEncoder.fit(table, "num = 1")
    with pytest.raises(ArgumentError, match="compares with nothing"):
        TargetEncoder.fit(table, "num >")
    with pytest.raises(ArgumentError, match="'many' is not a number"):
        TargetEncoder.fit(table, "num > many")
    with pytest.raises(ArgumentError, match="is a comparison, task='regression'"):
        TargetEncoder.fit(table, "num > 0", task="regression")
    assert "'<=50K' is not a number" in refused(table, "label > 3")
    assert "has one class, 'False'" in refused(table, "num > 100")


def test_labels_can_be_renamed(table: Table) -> None:
    later = read_table({"label": ["<=50K.", ">50K.", ">50K."]})
    encoder = TargetEncoder.fit(table, "label")
    with pytest.raises(DataError) as caught:
        encoder.encode(later)
    said = str(caught.value)
    assert (
        "dict row 0 (counted from 0), column 'label': label '<=50K.' did not occur in training (3 rows with 2" in said
    )
    suggested = said.partition("labels='")[2].partition("'")[0]
    for labels in (suggested, {"<=50K.": "<=50K", ">50K.": ">50K"}, "<=50K.=<=50K,>50K.=>50K"):
        assert encoder.encode(later, labels=labels).tolist() == [0, 1, 1]
        assert TargetEncoder.fit(table, "label", labels=labels).encode(later).tolist() == [0, 1, 1]


def test_renaming_can_join_classes(table: Table) -> None:
    encoder = TargetEncoder.fit(table, "num", labels="1=ill,2=ill,3=ill,0=well")
    assert encoder.classes == ("ill", "well")
    assert encoder.encode(table).tolist() == [1, 0, 1, 0, 1, 0]


def test_a_label_unseen_in_training_gets_the_nearest_ones() -> None:
    encoder = TargetEncoder.fit(read_table({"y": ["setosa", "virginica"] * 3}), "y")
    with pytest.raises(DataError, match=r"label 'setsoa'.*expected setosa, virginica\. Did you mean setosa\?"):
        encoder.encode(read_table({"y": ["setosa", "setsoa"]}))


def test_a_rename_that_can_be_read_in_two_ways_is_refused() -> None:
    assert parse_label_map("a=b, c=d") == {"a": "b", "c": "d"}
    assert parse_label_map("x=1->y=1") == {"x=1": "y=1"}
    assert parse_label_map("") == {}
    with pytest.raises(ArgumentError, match=r"can be read in 3 ways.*Write old->new"):
        parse_label_map("<=50K.=<=50K")
    with pytest.raises(ArgumentError, match="renames nothing"):
        parse_label_map("abc")
    with pytest.raises(ArgumentError, match="'a' is renamed twice"):
        parse_label_map("a=b,a=c")


def test_a_missing_column_gets_the_nearest_names(table: Table) -> None:
    assert "no column 'lable' to be the target" in refused(table, "lable")
    assert "Did you mean label?" in refused(table, "lable")
    assert "no column 'nums' to be the target" in refused(table, "nums > 0").replace('"', "'")
    encoder = TargetEncoder.fit(table, "label")
    with pytest.raises(DataError, match="no column 'label', the target"):
        encoder.encode(table.without(["label"]))


def test_a_missing_target_is_named_or_its_row_dropped(table: Table) -> None:
    said = refused(table, "gap")
    assert "dict row 1 (counted from 0): the target 'gap' is missing (in 1 of 6 rows)" in said
    assert "missing='drop'" in said
    encoder = TargetEncoder.fit(table, "gap", missing="drop")
    rows = encoder.filled_rows(table)
    assert rows.tolist() == [0, 2, 3, 4, 5]
    assert len(encoder.encode(table.take(rows))) == 5
    with pytest.raises(DataError, match="the target 'gap' is missing"):
        encoder.encode(table)
    assert "missing" in refused(table, "gap > 2")
    with pytest.raises(ArgumentError, match="missing='dorp'"):
        TargetEncoder.fit(table, "gap", missing="dorp")


def test_a_target_that_says_nothing_is_refused(table: Table) -> None:
    assert "has one class, 'a', in 6 rows; expected 2 or more" in refused(table, "same")
    assert "is missing in every row" in refused(table, "empty")
    assert "is 7 in each of 3 rows" in refused(read_table({"y": [7, 7, 7]}), "y", task="regression")
    assert "in 1 row;" in refused(read_table({"y": ["a"]}), "y")
    assert "30 classes in 30 rows" in refused(read_table({"y": [f"n{i}" for i in range(30)]}), "y")


def test_text_where_numbers_were_expected_is_named(table: Table) -> None:
    prices = read_table({"y": [*np.linspace(0, 9, 50), "cheap"]})
    assert "row 50 (counted from 0), column 'y': 'cheap' is not a number" in refused(prices, "y")
    assert "column 'label': '<=50K' is not a number" in refused(table, "label", task="regression")
    encoder = TargetEncoder.fit(table, "price")
    with pytest.raises(DataError, match="'dear' is not a number"):
        encoder.encode(read_table({"price": [1.0, "dear"]}))


def test_numbers_that_cannot_be_standardised_are_refused() -> None:
    assert "column 'y': inf" in refused(read_table({"y": [1.0, np.inf, 2.5]}), "y")
    assert "numbers up to 1e+200" in refused(read_table({"y": [1e200, -1e200, 0.5]}), "y")


def test_what_is_no_class_cannot_be_decoded(table: Table) -> None:
    encoder = TargetEncoder.fit(table, "label")
    with pytest.raises(DtypeError, match="dtype float64"):
        encoder.decode(np.array([0.5]))
    with pytest.raises(DataError, match="class 0 to 2; expected 0 to 1"):
        encoder.decode(np.array([0, 2]))
    assert encoder.decode(np.array([], dtype=int)).shape == (0,)


@pytest.mark.parametrize("target", ["label", "num > 0", "price", "done"])
def test_an_encoder_comes_back_from_json(table: Table, target: str) -> None:
    encoder = TargetEncoder.fit(table, target, labels={"a": "b"} if target == "label" else None)
    again = TargetEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again == encoder
    assert again.target == target
    with pytest.raises(DataError, match="format 7"):
        TargetEncoder.from_dict({**encoder.to_dict(), "format": 7})
    with pytest.raises(DataError, match="damaged"):
        TargetEncoder.from_dict({"format": 1, "column": "y"})


@given(st.lists(st.floats(-1e100, 1e100), min_size=2, max_size=50))
def test_a_regression_encoder_comes_back_to_the_bit(values: list[float]) -> None:
    table = read_table({"y": values})
    try:
        encoder = TargetEncoder.fit(table, "y", task="regression")
    except DataError:
        assert np.std(values) == 0 or len(set(values)) == 1
        return
    assert TargetEncoder.from_dict(json.loads(json.dumps(encoder.to_dict()))) == encoder


@given(st.lists(st.text(alphabet="abcdefg 0123.>=<", min_size=1, max_size=5), min_size=2, max_size=40))
def test_classes_come_back_as_they_were(labels: list[str]) -> None:
    table = read_table({"y": [f"x{label}" for label in labels]})
    expected = [f"x{label}".strip() for label in labels]
    if len(set(expected)) < 2 or (len(set(expected)) > 20 and 2 * len(set(expected)) > len(expected)):
        assert "class" in refused(table, "y")
        return
    encoder = TargetEncoder.fit(table, "y")
    assert encoder.decode(encoder.encode(table)).tolist() == expected
