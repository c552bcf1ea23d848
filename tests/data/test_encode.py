"""The encoders of columns and of tables, worked by hand and against the definitions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from chainrule.data import Table, TableEncoder, infer_schema, read_table
from chainrule.data.numeric import bent, bin_edges, piecewise_linear
from chainrule.errors import ArgumentError, DataError
from tests.tolerances import assert_close

numbers = st.floats(allow_nan=False, allow_infinity=False)


def fit(table: Table, **options: int) -> TableEncoder:
    return TableEncoder.fit(table, **options)  # type: ignore[arg-type]  # the options are integers


# Numbers


def test_piecewise_linear_encoding_worked_by_hand() -> None:
    # bins [0, 10], [10, 20], [20, 40]: 25 has passed two and is a quarter into the third
    edges = np.array([0.0, 10.0, 20.0, 40.0])
    encoded = piecewise_linear(np.array([-5.0, 0.0, 5.0, 10.0, 25.0, 40.0, 99.0]), edges)
    expected = [[0, 0, 0], [0, 0, 0], [0.5, 0, 0], [1, 0, 0], [1, 1, 0.25], [1, 1, 1], [1, 1, 1]]
    assert encoded.tolist() == expected


@given(st.lists(numbers, min_size=2, max_size=30, unique=True), st.lists(numbers, max_size=30))
def test_a_piecewise_linear_encoding_is_ones_then_a_fraction_then_zeros(
    edges: list[float], values: list[float]
) -> None:
    rising = np.unique(np.clip(edges, -1e150, 1e150))
    encoded = piecewise_linear(np.clip(np.array(values, dtype=float), -1e150, 1e150), rising)
    assert ((encoded >= 0) & (encoded <= 1)).all()
    later, earlier = encoded[:, 1:], encoded[:, :-1]
    assert ((later == 0) | (earlier == 1)).all()


@given(
    nps.arrays(float, st.integers(0, 300), elements=st.floats(-1e150, 1e150)), st.integers(0, 20), st.integers(1, 30)
)
def test_bins_cover_the_values_and_are_no_more_than_allowed(
    values: np.ndarray, max_bins: int, rows_per_bin: int
) -> None:
    edges = bin_edges(values, max_bins=max_bins, max_values=25, rows_per_bin=rows_per_bin)
    if len(edges):
        assert len(edges) >= 3
        assert (np.diff(edges) > 0).all()
        assert edges[0] == values.min()
        assert edges[-1] == values.max()
        # two edges more than bins where the frequent values leave the smallest or largest outside
        assert len(edges) - 1 <= max(max_bins + 2, min(25, len(values) // rows_per_bin + 1))


def test_many_different_values_are_cut_at_quantiles() -> None:
    edges = bin_edges(np.arange(1001.0), max_bins=4, max_values=100, rows_per_bin=50)
    assert edges.tolist() == [0, 250, 500, 750, 1000]


def test_few_different_values_become_the_edges() -> None:
    values = np.repeat([3.0, 1.0, 7.0], 100)
    assert bin_edges(values, max_bins=24, max_values=128, rows_per_bin=50).tolist() == [1, 3, 7]


def test_few_rows_get_few_bins_or_none() -> None:
    values = np.arange(200.0)
    assert len(bin_edges(values, max_bins=24, max_values=128, rows_per_bin=50)) == 5
    assert len(bin_edges(values[:99], max_bins=24, max_values=128, rows_per_bin=50)) == 0


def test_a_frequent_value_leaves_the_bins_to_the_others() -> None:
    gains = np.concatenate([np.zeros(9000), np.arange(1.0, 1001.0)])
    edges = bin_edges(gains, max_bins=10, max_values=100, rows_per_bin=50)
    assert edges[:2].tolist() == [0, 1]
    assert len(edges) == 11


@given(nps.arrays(float, st.integers(1, 50), elements=numbers))
def test_an_outlier_stays_within_the_bound(values: np.ndarray) -> None:
    encoder = fit(read_table({"x": np.append(values, [0.0, 1.0])}))
    features = encoder.encode(read_table({"x": np.append(values, [0.0, 1e308])})).features
    assert np.isfinite(features).all()
    assert (np.abs(features) <= 3).all()


def test_the_standardised_value_is_the_formula() -> None:
    x = np.random.default_rng(0).normal(5.0, 2.0, size=999)
    encoder = fit(read_table({"x": x}), max_bins=0)
    u = (x - np.median(x)) / ((np.quantile(x, 0.75) - np.quantile(x, 0.25)) / 1.3489795003921634)
    expected = u / np.sqrt(1 + (u / 3) ** 2)
    assert_close(encoder.encode(read_table({"x": x})).features[:, 0], expected.astype(np.float32))
    assert abs(float(expected.std()) - 0.93) < 0.05  # near 1 for normal numbers


def test_the_bend_is_rising_and_odd() -> None:
    x = np.linspace(-50, 50, 1001)
    y = bent(x, 0.0, 1.0)
    assert (np.diff(y) > 0).all()
    assert_close(y, -y[::-1].copy())


def test_a_column_that_is_mostly_one_value_has_a_scale() -> None:
    encoder = fit(read_table({"gain": [0.0] * 95 + [5.0] * 5}))
    features = encoder.encode(read_table({"gain": [0.0, 5.0]})).features
    assert features[0, 0] == 0
    assert features[1, 0] > 1


def test_a_missing_number_counts_as_the_median_and_is_marked() -> None:
    encoder = fit(read_table({"x": [1.0, 2.0, 6.0, None]}))
    assert encoder.feature_names == ("x", "x is missing")
    encoded = encoder.encode(read_table({"x": [None, 2.0]}))
    assert encoded.features.tolist() == [[0, 1], [0, 0]]
    assert encoded.report() == "x: 1 of 2 cells missing"


def test_a_number_missing_only_later_counts_as_the_median_and_is_said() -> None:
    encoded = fit(read_table({"x": [1.0, 2.0, 6.0]})).encode(read_table({"x": [None, 9.0]}))
    assert encoded.features[0].tolist() == [0]
    assert encoded.report().splitlines() == [
        "x: 1 of 2 cells missing; none was missing in training, so they count as a typical value",
        "x: 1 of 2 cells outside the range of training",
    ]
    assert encoded.num_missing == 1


def test_numbers_that_are_the_same_in_all_training_rows_give_no_value() -> None:
    table = read_table({"x": [2.0, 2.0, None, 3.0], "y": [1.0, 2.0, 3.0, 4.0]})
    encoder = TableEncoder.fit(table.take(slice(0, 3)), infer_schema(table))
    assert encoder.feature_names == ("x is missing", "y")
    assert "the same in every training row" in encoder.report()


def test_a_column_missing_in_all_training_rows_gives_its_mark_alone() -> None:
    table = read_table({"x": [None, None, 3.0, 4.0], "y": [1.0, 2.0, 3.0, 4.0]})
    encoder = TableEncoder.fit(table.take(slice(0, 2)), infer_schema(table))
    assert encoder.encode(table).features[:, 0].tolist() == [1, 1, 0, 0]


# Categories, booleans, presence


def test_categories_get_a_feature_each_and_rare_ones_one_together() -> None:
    table = read_table({"c": ["a"] * 300 + ["b"] * 95 + ["u", "v", "w", "x", None]})
    encoder = fit(table)  # 400 rows: a category needs 3 rows
    assert encoder.feature_names == ("c = a", "c = b", "c = (other)", "c is missing")
    encoded = encoder.encode(read_table({"c": ["a", "b", "u", "new", None]}))
    assert encoded.features.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert encoded.num_unseen == 1
    assert "1 of 5 cells hold a category unseen in training: 'new' (1)" in encoded.report()


def test_without_rare_categories_an_unseen_one_gets_the_means() -> None:
    encoder = fit(read_table({"c": ["a", "a", "a", "b"]}))
    encoded = encoder.encode(read_table({"c": ["z", None, "y", "z"]}))
    assert encoded.features.tolist() == [[0.75, 0.25]] * 4
    assert encoded.notes[0].unseen == {"y": 1, "z": 2}


def test_only_the_most_frequent_categories_get_a_feature() -> None:
    cells = [f"c{i % 7}" for i in range(70)] + ["c3"]
    encoder = fit(read_table({"c": cells}), max_categories=2)
    assert encoder.feature_names == ("c = c0", "c = c3", "c = (other)")


def test_how_often_a_category_must_occur_can_be_said() -> None:
    table = read_table({"c": ["a"] * 5 + ["b"] * 2 + ["c"] * 2})
    assert fit(table, min_count=3).feature_names == ("c = a", "c = (other)")


def test_a_category_is_the_same_as_number_and_as_text() -> None:
    trained = read_table({"c": ["1.0", "2.0", "3.0", "1.0"]})
    encoder = TableEncoder.fit(trained, infer_schema(trained, kinds={"c": "categorical"}))
    assert encoder.feature_names == ("c = 1", "c = 2", "c = 3")
    for same in ([2, 3], [2.0, 3.0], ["2", "3.0"], np.array([2, 3]), ["2.0", "x"]):
        assert encoder.encode(read_table({"c": same})).features[0].tolist() == [0, 1, 0]


@pytest.mark.parametrize(("no", "yes"), [("no", "yes"), ("False", "True"), ("N", "Y"), ("0", "1"), ("off", "on")])
def test_yes_counts_as_1(no: str, yes: str) -> None:
    encoder = fit(read_table({"b": [yes, no, no, yes, yes, None]}))
    assert encoder.feature_names == (f"b = {yes}", "b is missing")
    encoded = encoder.encode(read_table({"b": [yes, no, yes.upper(), None, "perhaps"]}))
    assert encoded.features[:3, 0].tolist() == [1, 0, 1]
    assert_close(encoded.features[3:, 0], np.float32([0.6, 0.6]))
    assert encoded.features[:, 1].tolist() == [0, 0, 0, 1, 0]
    assert encoded.num_unseen == 1


def test_two_categories_can_be_called_boolean() -> None:
    table = read_table({"sex": ["male", "female", "male", "male"]})
    encoder = TableEncoder.fit(table, infer_schema(table, kinds={"sex": "boolean"}))
    assert encoder.feature_names == ("sex = male",)
    assert encoder.encode(table).features[:, 0].tolist() == [1, 0, 1, 1]


def test_a_boolean_column_may_have_one_value_in_the_training_rows() -> None:
    table = read_table({"b": ["yes", "yes", "no", None], "sex": ["m", "m", "w", "w"], "x": [1.0, 2.0, 3.0, 4.0]})
    schema = infer_schema(table, kinds={"sex": "boolean"})
    encoder = TableEncoder.fit(table.take(slice(0, 2)), schema)
    assert encoder.encode(table).features[:, 0].tolist() == [1, 1, 0, 1]
    nothing = TableEncoder.fit(table.take(np.array([3, 3])), schema)
    assert nothing.encode(table).features[:, 0].tolist() == [0, 0, 0, 0]


def test_too_many_values_for_a_boolean_are_refused() -> None:
    table = read_table({"b": ["x", "y", "z", "x"]})
    schema = infer_schema(table.take(slice(0, 2)), kinds={"b": "boolean"})
    with pytest.raises(DataError, match="column 'b' has 3 different cells"):
        TableEncoder.fit(table, schema)


def test_free_text_that_is_often_missing_says_whether_it_is_filled() -> None:
    encoder = fit(read_table({"cabin": [f"C{i}" if i % 3 == 0 else None for i in range(60)]}))
    assert encoder.feature_names == ("cabin is filled",)
    encoded = encoder.encode(read_table({"cabin": ["new", None]}))
    assert encoded.features.tolist() == [[1], [0]]
    assert encoded.num_unseen == 0
    assert "presence: filled in 33.3%" in encoder.report()


# Tables


@pytest.fixture
def people() -> Table:
    random = np.random.default_rng(0)
    rows = 300
    return read_table(
        {
            "age": np.where(random.random(rows) < 0.1, np.nan, random.normal(40, 10, rows).round(1)),
            "work": random.choice(["State", "Private", "Self", "?"], rows),
            "member": random.choice(["yes", "no"], rows),
            "comment": [f"said {i}" if i % 2 else "" for i in range(rows)],
            "id": np.arange(rows),
        }
    )


def test_each_feature_knows_its_column(people: Table) -> None:
    encoder = fit(people)
    features = encoder.encode(people).features
    assert features.dtype == np.float32
    assert features.shape == (300, encoder.num_features)
    assert len(encoder.feature_names) == len(encoder.feature_columns) == encoder.num_features
    assert set(encoder.feature_columns) == {"age", "work", "member", "comment"} == set(encoder.columns)
    assert all(
        name.startswith(column) for name, column in zip(encoder.feature_names, encoder.feature_columns, strict=True)
    )


def test_an_encoder_comes_back_from_json_to_the_bit(people: Table) -> None:
    encoder = fit(people)
    again = TableEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again == encoder
    np.testing.assert_array_equal(again.encode(people).features, encoder.encode(people).features)


@given(nps.arrays(float, st.integers(2, 40), elements=st.floats(allow_nan=True, allow_infinity=False)))
def test_an_encoder_of_any_numbers_comes_back_to_the_bit(values: np.ndarray) -> None:
    table = read_table({"x": values, "y": np.arange(len(values)) % 2})
    encoder = fit(table, rows_per_bin=3)
    assert TableEncoder.from_dict(json.loads(json.dumps(encoder.to_dict()))) == encoder


def test_statistics_come_from_the_rows_given_alone(people: Table) -> None:
    schema = infer_schema(people)
    train = people.take(slice(0, 200))
    changed = {name: [column.cell(row) for row in range(300)] for name, column in people.columns.items()}
    for row in range(200, 300):
        changed["age"][row], changed["work"][row] = "999", "Other"
    other = read_table(changed).take(slice(0, 200))
    assert TableEncoder.fit(train, schema) == TableEncoder.fit(other, schema)


def test_rows_are_encoded_one_by_one_as_together(people: Table) -> None:
    encoder = fit(people)
    together = encoder.encode(people).features
    alone = np.concatenate([encoder.encode(people.take(slice(row, row + 1))).features for row in range(50)])
    np.testing.assert_array_equal(alone, together[:50])


def test_columns_may_come_in_any_order_and_more_of_them_are_ignored(people: Table) -> None:
    encoder = fit(people)
    encoded = encoder.encode(people.select(reversed(people.names)))
    np.testing.assert_array_equal(encoded.features, encoder.encode(people).features)
    assert encoded.ignored == ("id",)


def test_missing_columns_are_named_with_the_nearest_names(people: Table) -> None:
    encoder = fit(people)
    renamed = read_table({"Age": [1.0], "work": ["State"], "member": ["yes"]})
    with pytest.raises(DataError) as caught:
        encoder.encode(renamed)
    said = str(caught.value)
    assert "no columns 'age', 'comment', which the model was trained with" in said
    assert "there are 'Age', 'work', 'member'. If 'Age' is 'age' under another name, rename it." in said


def test_text_where_numbers_were_is_named_at_prediction_too(people: Table) -> None:
    encoder = fit(people)
    later = read_table({"age": ["40", "old"], "work": ["State"] * 2, "member": ["yes"] * 2, "comment": ["", ""]})
    with pytest.raises(DataError, match=r"row 1 .*column 'age': 'old' is not a number"):
        encoder.encode(later)


def test_an_infinity_is_refused(people: Table) -> None:
    with pytest.raises(DataError, match="column 'x': inf"):
        fit(read_table({"x": [1.0, np.inf, 2.0]}))


def test_one_row_is_too_few_to_learn_from() -> None:
    with pytest.raises(DataError, match="dict: 1 row to learn from; expected at least 2"):
        fit(read_table({"x": [1.0]}))


def test_nothing_to_learn_from_is_refused_with_the_reasons() -> None:
    with pytest.raises(
        DataError, match=r"no column is left to learn from .a is not used: every cell is '1'; b is not used: every cell"
    ):
        fit(read_table({"a": [1, 1, 1], "b": [None] * 3}))


@pytest.mark.parametrize("options", [{"max_bins": -1}, {"rows_per_bin": 0}, {"max_categories": 0}])
def test_options_that_make_no_sense_are_refused(people: Table, options: dict[str, int]) -> None:
    with pytest.raises(ArgumentError, match="at least"):
        fit(people, **options)


@pytest.mark.parametrize("damage", [{"format": 99}, {"columns": [{"kind": "numeric"}]}, {"columns": [{"kind": "x"}]}])
def test_a_damaged_encoder_is_refused(people: Table, damage: dict[str, object]) -> None:
    with pytest.raises(DataError, match="the saved table encoder"):
        TableEncoder.from_dict({**fit(people).to_dict(), **damage})


def test_the_report_has_a_line_for_each_column(people: Table) -> None:
    lines = fit(people).report().splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == ["age", "work", "member", "comment"]
    assert lines[-1].endswith("features from 4 columns, by 300 training rows")


def test_many_rows_are_encoded_in_blocks_that_do_not_show() -> None:
    x = np.random.default_rng(0).normal(size=70_000)
    encoder = fit(read_table({"x": x}))
    features = encoder.encode(read_table({"x": x})).features
    np.testing.assert_array_equal(features[-10:], encoder.encode(read_table({"x": x[-10:]})).features)
