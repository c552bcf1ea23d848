from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pandas as pd
import pytest

from chainrule.data import NumberColumn, Table, TextColumn, aligned, read_table
from chainrule.errors import ArgumentError, ArgumentTypeError, DataError


@pytest.fixture
def table() -> Table:
    return read_table({"age": [39, 50, 38], "work": ["State", None, "Private"]})


def test_a_frame_is_read_with_every_kind_of_column() -> None:
    frame = pd.DataFrame(
        {
            "float": [1.5, np.nan, 3.0],
            "int": [1, 2, 3],
            "bool": [True, False, True],
            "text": ["a", None, "b"],
            "category": pd.Categorical(["x", "y", None]),
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "maybe": pd.array([True, None, False], dtype="boolean"),
            "date": pd.to_datetime(["2020-01-01", None, "2020-01-03"]),
            "string": pd.array(["u", None, "v"], dtype="string"),
        },
        index=[7, 8, 9],
    )
    table = read_table(frame)
    read = {name: [column.cell(row) for row in range(3)] for name, column in table.columns.items()}
    assert read == {
        "float": ["1.5", "", "3"],
        "int": ["1", "2", "3"],
        "bool": ["True", "False", "True"],
        "text": ["a", "", "b"],
        "category": ["x", "y", ""],
        "nullable": ["1", "", "3"],
        "maybe": ["True", "", "False"],
        "date": ["2020-01-01", "", "2020-01-03"],
        "string": ["u", "", "v"],
    }
    assert isinstance(table["nullable"], NumberColumn)
    assert table.place(1) == "frame row 1 (counted from 0)"


def test_a_frame_with_two_columns_of_one_name_is_refused() -> None:
    with pytest.raises(DataError, match="frame: more than one column is named 'a'"):
        read_table(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_a_dict_of_lists_arrays_and_series_is_read() -> None:
    table = read_table(
        OrderedDict(
            a=[1, 2], b=np.array([0.5, np.nan]), c=("x", "?"), d=pd.Series(["u", "v"]), e=np.array([True, False])
        )
    )
    assert table.names == ("a", "b", "c", "d", "e")
    assert table.num_missing("b") == table.num_missing("c") == 1
    assert isinstance(table["e"], TextColumn)


def test_a_two_dimensional_array_has_numbered_columns() -> None:
    table = read_table(np.arange(6.0).reshape(3, 2))
    assert table.names == ("0", "1")
    assert table.numbers("1").tolist() == [1, 3, 5]


def test_a_structured_array_has_its_fields_as_columns() -> None:
    table = read_table(np.array([(1, "a"), (2, "b")], dtype=[("n", "i4"), ("s", "U1")]))
    assert table.names == ("n", "s")
    assert table["s"].cell(1) == "b"


def test_a_table_is_returned_as_it_is(table: Table) -> None:
    assert read_table(table) is table


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "dict: no columns"),
        ({"a": []}, "dict: no rows"),
        ({"a": [1, 2], "b": [1]}, r"different numbers of rows \('a' 2, 'b' 1\)"),
        ({"a": 5}, r"column 'a': got a int \(5\); expected a list or an array"),
        ({"a": "text"}, "column 'a': got a str"),
        ({"a": np.zeros((2, 2))}, r"column 'a': got an array of shape \(2, 2\)"),
        ({"a": np.zeros(2, dtype=complex)}, "dtype complex128"),
        ({"a": [{"x": 1}]}, "column 'a': a cell is a dict"),
        ({1: [1], "1": [2]}, "more than one column is named '1'"),
        (np.zeros(3), r"got 1 dimensions \(shape \(3,\)\); expected 2"),
        (np.zeros((0, 3)), "array: no rows"),
        (pd.DataFrame(), "frame: no columns"),
    ],
)
def test_what_is_no_table_is_refused(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(source)


def test_a_source_of_another_type_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="read_table: got a int"):
        read_table(5)


def test_a_mistyped_column_gets_the_nearest_names(table: Table) -> None:
    with pytest.raises(DataError, match=r"no column 'wrok'.* Did you mean work\?"):
        table["wrok"]
    with pytest.raises(DataError, match="no column 'ages'"):
        table.without(["ages"])


def test_a_header_that_looks_like_data_is_said() -> None:
    table = Table({name: NumberColumn(np.zeros(2)) for name in ("5.1", "3.5", "setosa")}, source="iris.csv")
    with pytest.raises(DataError, match=r"The first line looks like data.*header=False"):
        table["2"]


def test_parts_of_a_table_keep_the_places_of_their_rows(table: Table) -> None:
    part = table.take(np.array([2, 0])).take(slice(0, 1))
    assert part.place(0) == "dict row 2 (counted from 0)"
    assert part["work"].cell(0) == "Private"
    assert table.take(np.array([False, True, False])).numbers("age").tolist() == [50]


def test_columns_are_chosen_and_left_out(table: Table) -> None:
    assert table.select(["work", "age"]).names == ("work", "age")
    assert table.without(["age"]).names == ("work",)
    assert len(table.without(["age", "work"])) == 3
    assert "age" in table
    assert "wage" not in table


def test_text_where_a_number_was_expected_names_line_column_and_cell() -> None:
    table = read_table({"age": [*range(40), "abc", "abc", "old"]})
    with pytest.raises(DataError) as caught:
        table.numbers("age")
    said = str(caught.value)
    assert (
        "dict row 40 (counted from 0), column 'age': 'abc' is not a number, and 2 more such cells (such as 'old')"
        in said
    )
    assert "missing='abc'" in said


def test_a_column_of_text_is_no_column_of_numbers(table: Table) -> None:
    with pytest.raises(DataError, match="'State' is not a number, nor is any other cell"):
        table.numbers("work")


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinity_names_line_and_column(value: float) -> None:
    with pytest.raises(DataError, match=r"row 1 .*column 'x': -?inf \(in 1 cells\)"):
        read_table({"x": [1.0, value]}).numbers("x")


def test_codes_with_leading_zeros_can_still_be_read_as_numbers() -> None:
    assert read_table({"x": ["007", "12", ""]}).numbers("x").tolist()[:2] == [7, 12]


def test_a_table_prints_its_first_rows() -> None:
    shown = str(read_table({"n": list(range(20)), "word": ["a" * 50] * 20}))
    assert shown.splitlines()[1].startswith("0  aaaa")
    assert shown.endswith("… 20 rows")
    assert "…\n" in shown  # long cells are cut
    assert repr(read_table({"n": [1]})) == "Table('dict', 1 rows, columns n)"


def test_aligned_text_needs_room() -> None:
    with pytest.raises(ArgumentError, match="longest=1"):
        aligned([["a"]], longest=1)
