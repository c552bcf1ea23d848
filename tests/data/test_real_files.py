"""The real data sets: read, understood, encoded. They need CHAINRULE_DATA."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from chainrule.data import (
    TableEncoder,
    TargetEncoder,
    generator,
    infer_schema,
    num_held_out,
    read_idx_folder,
    read_table,
    stratified_split_indices,
)
from chainrule.errors import DataError


def test_adult_is_read_with_its_missing_cells_and_its_empty_last_line(data_folder: Path) -> None:
    start = time.perf_counter()
    train = read_table(data_folder / "adult" / "adult-train.csv", header=False)
    seconds = time.perf_counter() - start
    assert (len(train), len(train.names)) == (32_561, 15)
    assert seconds < 3  # about 0.25 on an idle machine
    missing = {name: train.num_missing(name) for name in train.names if train.num_missing(name)}
    assert missing == {"1": 1836, "6": 1843, "13": 583}  # adult.names
    assert train.place(32_560) == "adult-train.csv line 32561"


def test_adult_is_encoded_and_its_test_file_too(data_folder: Path) -> None:
    train = read_table(data_folder / "adult" / "adult-train.csv", header=False)
    test = read_table(data_folder / "adult" / "adult-test.csv", header=False)
    target = TargetEncoder.fit(train, "14")
    assert target.classes == ("<=50K", ">50K")
    assert target.counts == (24_720, 7_841)
    with pytest.raises(DataError, match=r"adult-test\.csv line 1, column '14': label '<=50K\.' did not occur"):
        target.encode(test)
    classes = target.encode(test, labels="<=50K.=<=50K,>50K.=>50K")
    assert np.bincount(classes).tolist() == [12_435, 3_846]

    schema = infer_schema(train, target="14")
    assert [column.kind for column in schema.columns] == [
        "numeric", "categorical", "numeric", "categorical", "numeric", "categorical", "categorical",
        "categorical", "categorical", "categorical", "numeric", "numeric", "numeric", "categorical",
    ]  # fmt: skip
    encoder = TableEncoder.fit(train, schema)
    again = TableEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    encoded = again.encode(test)
    np.testing.assert_array_equal(encoded.features, encoder.encode(test).features)
    assert np.isfinite(encoded.features).all()
    assert encoded.num_unseen == 0
    assert encoded.num_missing == 963 + 966 + 274
    assert encoded.ignored == ("14",)


def test_adult_without_a_header_gets_the_hint(data_folder: Path) -> None:
    with pytest.raises(DataError, match=r"header=False"):
        TargetEncoder.fit(read_table(data_folder / "adult" / "adult-train.csv"), "14")


def test_heart_disease_has_its_comparison_as_target(data_folder: Path) -> None:
    with pytest.raises(DataError, match=r"both named .*header=False"):
        read_table(data_folder / "heart_cleveland" / "processed.cleveland.data")
    table = read_table(data_folder / "heart_cleveland" / "processed.cleveland.data", header=False)
    assert len(table) == 303
    assert table.num_missing("11") + table.num_missing("12") == 6
    target = TargetEncoder.fit(table, "13 > 0")
    assert target.counts == (164, 139)  # heart-disease.names
    assert target.column == "13"
    assert TargetEncoder.fit(table, "13").num_classes == 5
    schema = infer_schema(table, target=target.column)
    assert {column.name for column in schema.columns if column.kind == "boolean"} == {"1", "5", "8"}
    assert not schema.dropped


def test_penguins_are_read_with_na_for_missing(data_folder: Path) -> None:
    table = read_table(data_folder / "penguins" / "penguins.csv")
    assert len(table) == 344
    assert sum(map(table.num_missing, table.names)) == 19
    target = TargetEncoder.fit(table, "species")
    assert target.classes == ("Adelie", "Chinstrap", "Gentoo")
    train, held_out = stratified_split_indices(target.encode(table), 0.2, generator(0))
    assert len(held_out) == num_held_out(344, 0.2) == 69
    encoder = TableEncoder.fit(table.take(train), infer_schema(table, target="species"))
    assert encoder.encode(table.take(held_out)).num_unseen == 0


def test_raw_penguins_lose_what_is_constant_and_what_is_an_id(data_folder: Path) -> None:
    schema = infer_schema(read_table(data_folder / "penguins" / "penguins_raw.csv"), target="Species")
    assert {column.name: column.kind for column in schema.dropped} == {
        "Region": "constant",
        "Stage": "constant",
        "Individual ID": "identifier",
    }


def test_titanic_drops_names_and_tickets_and_keeps_whether_a_cabin_is_known(data_folder: Path) -> None:
    table = read_table(data_folder / "titanic" / "train.csv")
    schema = infer_schema(table, target="Survived")
    assert {column.name for column in schema.dropped} == {"PassengerId", "Name", "Ticket"}
    assert schema["Cabin"].kind == "presence"
    assert sum(map(table.num_missing, table.names)) == 866
    target = TargetEncoder.fit(table, "Survived")
    assert target.decode(np.array([0, 1])).dtype == np.int64


def test_california_housing_is_a_regression(data_folder: Path) -> None:
    table = read_table(data_folder / "california_housing" / "housing.csv")
    assert table.num_missing("total_bedrooms") == 207
    target = TargetEncoder.fit(table, "median_house_value")
    assert target.task == "regression"
    schema = infer_schema(table, target="median_house_value")
    assert schema["ocean_proximity"].kind == "categorical"
    features = TableEncoder.fit(table, schema).encode(table).features
    assert np.isfinite(features).all()
    assert np.abs(features).max() <= 3


def test_text_that_begins_with_a_quote_gets_the_hint(data_folder: Path) -> None:
    path = data_folder / "sentiment_sentences" / "imdb_labelled.txt"
    with pytest.raises(DataError, match=r"imdb_labelled\.txt line 213: .*quote=None"):
        read_table(path, header=False)
    assert len(read_table(path, header=False, quote=None)) == 1000


def test_mnist_is_read_from_its_folder(data_folder: Path) -> None:
    train, test = read_idx_folder(data_folder / "mnist")
    assert test is not None
    assert train.images.shape == (60_000, 28, 28)
    assert test.images.shape == (10_000, 28, 28)
    assert np.bincount(train.labels)[:3].tolist() == [5923, 6742, 5958]
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
