from __future__ import annotations

import json

import numpy as np
import pytest

from chainrule.data import KINDS, Schema, infer_schema, read_table
from chainrule.data.schema import category_order
from chainrule.errors import ArgumentError, DataError

ROWS = 40


def kind_of(cells: object, name: str = "column", rows: int = ROWS) -> str:
    table = read_table({name: cells, "other": np.linspace(0, 1, rows)})
    return infer_schema(table)[name].kind


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (np.random.default_rng(0).normal(size=ROWS), "numeric"),
        ([1, 2] * 20, "numeric"),
        ([1, 0] * 20, "boolean"),
        ([1, 0, None, 1] * 10, "boolean"),
        (["yes", "no"] * 20, "boolean"),
        (["T", "F"] * 20, "boolean"),
        ([True, False] * 20, "boolean"),
        (["male", "female"] * 20, "categorical"),
        (["a", "b", "c", "?"] * 10, "categorical"),
        ([f"name {i}" for i in range(ROWS)], "identifier"),
        ([f"name {i}" if i % 2 else "" for i in range(ROWS)], "presence"),
        (["x", None] * 20, "presence"),
        ([7, None] * 20, "presence"),
        (list(range(1, ROWS + 1)), "identifier"),
        (np.random.default_rng(0).permutation(ROWS), "identifier"),
        ([3] * ROWS, "constant"),
        (["a"] * ROWS, "constant"),
        ([None] * ROWS, "empty"),
        (["?", "NA"] * 20, "empty"),
    ],
)
def test_the_kind_of_a_column_is_inferred(cells: object, kind: str) -> None:
    assert kind_of(cells) == kind


@pytest.mark.parametrize("name", ["id", "PassengerId", "user_id", "No", "row", "unnamed 0"])
def test_different_whole_numbers_named_like_an_id_are_an_id(name: str) -> None:
    assert kind_of([i * 7 + 3 for i in range(ROWS)], name) == "identifier"


@pytest.mark.parametrize("name", ["num", "paid", "valid", "income", "solid"])
def test_different_whole_numbers_named_otherwise_are_numbers(name: str) -> None:
    assert kind_of([i * 7 + 3 for i in range(ROWS)], name) == "numeric"


def test_in_few_rows_numbers_that_run_are_no_id() -> None:
    assert kind_of([1, 2, 3, 4], rows=4) == "numeric"


def test_numbers_that_run_are_kept_where_nothing_else_is_left() -> None:
    schema = infer_schema(read_table({"x": list(range(100))}))
    assert schema["x"].kind == "numeric"
    assert "kept, as no other column is left" in schema["x"].reason


def test_the_caller_decides() -> None:
    table = read_table({"zip": [1, 2] * 20, "note": ["a"] * 40, "x": [0.5, 1.5] * 20})
    schema = infer_schema(table, kinds={"zip": "categorical"}, drop=["x"])
    assert [column.kind for column in schema.columns] == ["categorical", "constant", "dropped"]
    assert [column.name for column in schema.used] == ["zip"]
    assert [column.name for column in schema.dropped] == ["note", "x"]


def test_the_target_is_left_out() -> None:
    schema = infer_schema(read_table({"x": [0.5, 1.5], "y": [1, 0]}), target="y")
    assert [column.name for column in schema.columns] == ["x"]
    with pytest.raises(DataError, match="has no column 'y'"):
        schema["y"]


def test_an_unknown_kind_or_column_gets_the_nearest_names() -> None:
    table = read_table({"zip": [1, 2]})
    with pytest.raises(ArgumentError, match=r"has kind 'categoric'.*Did you mean categorical\?"):
        infer_schema(table, kinds={"zip": "categoric"})
    with pytest.raises(DataError, match="no column 'zap'"):
        infer_schema(table, kinds={"zap": "numeric"})
    with pytest.raises(DataError, match="no column 'zap'"):
        infer_schema(table, drop=["zap"])


def test_a_kind_that_does_not_fit_is_refused() -> None:
    table = read_table({"size": ["s", "m", "l"]})
    with pytest.raises(DataError, match="column 'size': 's' is not a number"):
        infer_schema(table, kinds={"size": "numeric"})
    with pytest.raises(DataError, match="column 'size' has 3 different cells; expected 2"):
        infer_schema(table, kinds={"size": "boolean"})


def test_a_text_among_numbers_is_a_mistake_that_is_named() -> None:
    table = read_table({"age": [*range(20, 60), "unknown"]})
    with pytest.raises(DataError, match=r"row 40 .*column 'age': 'unknown' is not a number"):
        infer_schema(table)
    assert infer_schema(table, kinds={"age": "categorical"})["age"].kind == "categorical"


def test_codes_with_leading_zeros_are_no_numbers() -> None:
    assert kind_of([f"{i % 15:03}" for i in range(ROWS)]) == "categorical"


def test_many_texts_among_numbers_are_no_mistakes() -> None:
    tickets = [str(100_000 + i) if i % 4 else f"PC {i}" for i in range(200)]
    assert kind_of(tickets, rows=200) == "identifier"


def test_decimal_commas_are_named() -> None:
    cells = [f"{i},5" for i in range(20)]
    with pytest.raises(DataError, match="cells such as '0,5' have a decimal comma"):
        infer_schema(read_table({"x": cells}))
    assert infer_schema(read_table({"x": cells}), drop=["x"])["x"].kind == "dropped"


@pytest.mark.parametrize(
    ("cells", "hint"),
    [
        ([f"2020-01-{i:02}" for i in range(1, 31)], "like dates"),
        ([f"{i}.5 kg" for i in range(30)], "numbers with a unit"),
    ],
)
def test_dropped_texts_that_could_be_made_useful_are_said(cells: list[str], hint: str) -> None:
    assert hint in infer_schema(read_table({"x": cells, "y": list(range(30))}))["x"].reason


def test_a_schema_comes_back_from_json() -> None:
    table = read_table({"x": [0.5, None, 1.5], "y": ["a", "b", "b"], "z": [1, 1, 1]})
    schema = infer_schema(table)
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


def test_a_schema_prints_what_was_dropped_and_why() -> None:
    table = read_table({"x": [0.123456789012, None, 1.5], "where": ["a" * 30, "b", "c"], "z": [1, 1, 1]})
    shown = str(infer_schema(table)).splitlines()
    assert shown[0].split() == ["column", "kind", "different", "missing", "examples", "note"]
    assert shown[1].split() == ["x", "numeric", "2", "1", "0.123457", "·", "1.5"]
    assert shown[2].split()[3] == "a" * 23 + "…"
    assert shown[3].endswith("dropped: every cell is '1'")


def test_every_kind_is_explained() -> None:
    assert all(KINDS.values())


def test_categories_are_sorted_by_value_and_then_by_name() -> None:
    assert category_order(["b", "10", "nan", "9", "a", "-1"]) == ["-1", "9", "10", "a", "b", "nan"]
