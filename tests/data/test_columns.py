from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.data.columns import (
    MISSING,
    Column,
    NumberColumn,
    TextColumn,
    category_name,
    column_from_array,
    column_from_cells,
    number_text,
    parse_number,
)
from chainrule.errors import DataError

TOKENS = frozenset(MISSING)


def column(cells: list[object]) -> Column:
    return column_from_cells(cells, missing=TOKENS, as_text=False)


@given(st.lists(st.floats(allow_nan=False)))
def test_numbers_written_as_text_are_read_back_to_the_bit(values: list[float]) -> None:
    read = column([number_text(value) for value in values])
    assert isinstance(read, NumberColumn)
    assert read.values.tolist() == values


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\0")), min_size=1))
def test_texts_come_back_as_they_were_but_for_spaces_around_them(texts: list[str]) -> None:
    read = column_from_cells(texts, missing=TOKENS, as_text=True)
    expected = [text.strip() for text in texts]
    assert [read.cell(row) for row in range(len(texts))] == [text if text not in TOKENS else "" for text in expected]


@pytest.mark.parametrize("token", MISSING)
def test_each_sign_for_missing_is_missing_among_numbers_and_among_texts(token: str) -> None:
    numbers, texts = column(["1", token, "3"]), column(["a", token, "b"])
    assert isinstance(numbers, NumberColumn)
    assert isinstance(texts, TextColumn)
    assert numbers.missing.tolist() == texts.missing.tolist() == [False, True, False]
    assert numbers.cell(1) == texts.cell(1) == ""


@pytest.mark.parametrize(
    "cells",
    [
        ["01234", "94110"],  # a code: the zero belongs to it
        ["12345678901234567890", "1"],  # more digits than float64 holds
        ["1_000", "2"],  # Python would read 1000
        ["1", "2", "x"],
    ],
)
def test_cells_that_would_lose_something_as_numbers_stay_text(cells: list[object]) -> None:
    read = column(cells)
    assert isinstance(read, TextColumn)
    assert [read.cell(row) for row in range(len(cells))] == cells


def test_long_integers_that_float64_holds_are_numbers() -> None:
    assert isinstance(column(["1000000000000000", str(2**60)]), NumberColumn)


def test_large_numbers_in_scientific_notation_are_numbers() -> None:
    assert isinstance(column(["1e20", "3E+21"]), NumberColumn)


def test_python_objects_become_the_column_that_a_file_would_give() -> None:
    numbers = column([1, 2.5, None, np.float32(0.5), float("nan"), "7"])
    assert isinstance(numbers, NumberColumn)
    np.testing.assert_array_equal(numbers.values, [1, 2.5, np.nan, 0.5, np.nan, 7])
    mixed = column([1, "a", 2.0, True, b"bytes"])
    assert [mixed.cell(row) for row in range(5)] == ["1", "a", "2", "True", "bytes"]


def test_integers_too_long_for_float64_keep_their_digits() -> None:
    read = column_from_array(np.array([2**60 + 1, 5]), missing=TOKENS, as_text=False)
    assert read.cell(0) == str(2**60 + 1)


def test_dates_become_text_without_an_empty_time() -> None:
    dates = np.array(["2020-01-02", "NaT", "2020-01-03T04:05:06"], dtype="datetime64[s]")
    read = column_from_array(dates, missing=TOKENS, as_text=False)
    assert [read.cell(row) for row in range(3)] == ["2020-01-02", "", "2020-01-03 04:05:06"]


def test_a_list_in_a_cell_is_refused() -> None:
    with pytest.raises(DataError, match="a cell is a list"):
        column([[1, 2]])


def test_a_cell_may_hold_any_character_when_it_comes_from_memory() -> None:
    assert column(["a\0b", "c"]).cell(0) == "a\0b"


def test_a_category_has_one_name_whether_it_was_a_number_or_text() -> None:
    numbers, texts = column([1.0, 2.0, 1.0, None]), column(["1.0", "2.0", "1", None, "x"])
    assert numbers.categories()[1] == ("1", "2")
    assert texts.categories()[1] == ("1", "2", "x")
    assert numbers.categories()[0].tolist() == [0, 1, 0, -1]
    assert texts.categories()[0].tolist() == [0, 1, 0, -1, 2]


def test_categories_are_those_that_occur_in_the_rows_taken() -> None:
    taken = column(["b", "a", "c", ""]).take(np.array([3, 0]))
    codes, names = taken.categories()
    assert (codes.tolist(), names) == ([-1, 0], ("b",))


@pytest.mark.parametrize("text", ["3.10", "1e5", "-0.0", "007", "", "inf", "x"])
def test_naming_a_category_twice_changes_nothing(text: str) -> None:
    assert category_name(category_name(text)) == category_name(text)


@pytest.mark.parametrize(
    ("text", "decimal", "number"), [("1,5", ",", 1.5), ("1,5", ".", None), ("1_0", ".", None), ("-2e3", ".", -2000.0)]
)
def test_a_number_is_read_by_its_decimal_sign(text: str, decimal: str, number: float | None) -> None:
    assert parse_number(text, decimal) == number


def test_nan_and_infinity_are_named() -> None:
    assert [number_text(value) for value in (math.inf, -math.inf, 1e300)] == ["inf", "-inf", "1e+300"]
