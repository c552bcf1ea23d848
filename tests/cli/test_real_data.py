"""One command each on the real data sets, with the default settings: far better than the baseline."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr

HEART = "age,sex,cp,trestbps,chol,fbs,restecg,thalach,exang,oldpeak,slope,ca,thal,num"
ENOUGH = 0.8  # of the baseline's error


def test_adult_is_learned_by_default_settings(chainrule, data_folder) -> None:
    words = ("--no-header", "--target", 14, "--labels", "<=50K.-><=50K,>50K.->>50K", "--out", "run", "--quiet")
    adult = data_folder / "adult"
    assert chainrule("train", adult / "adult-train.csv", "--test", adult / "adult-test.csv", *words).code == 0
    scores = cr.load_run("run").scores["test"]
    assert scores.num_rows == 16_281
    assert scores["error_rate"] <= 0.147


def test_the_full_stop_behind_adults_test_labels_is_explained(chainrule, data_folder) -> None:
    adult = data_folder / "adult"
    words = ("--no-header", "--target", 14, "--test", adult / "adult-test.csv")
    found = chainrule("train", adult / "adult-train.csv", *words)
    assert found.code == 3
    assert "--labels '<=50K.-><=50K,>50K.->>50K'" in found.err


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("heart_cleveland/processed.cleveland.data", ("--names", HEART, "--target", "num > 0")),
        ("penguins/penguins.csv", ("--target", "species")),
        ("titanic/train.csv", ("--target", "Survived")),
    ],
)
def test_a_small_table_is_learned_with_one_command(chainrule, data_folder, file: str, words: tuple[str, ...]) -> None:
    errors = []
    for seed in range(5):
        options = ("--seed", seed, "--out", f"run-{seed}", "--quiet", "--no-report")
        assert chainrule("train", data_folder / file, *words, *options).code == 0
        scores = cr.load_run(f"run-{seed}").scores["test"]
        errors.append((scores["error_rate"], scores["baseline_error_rate"]))
    error, baseline = np.mean(errors, axis=0)
    assert error <= ENOUGH * baseline


def test_housing_is_learned_with_one_command(chainrule, data_folder) -> None:
    file = data_folder / "california_housing" / "housing.csv"
    assert chainrule("train", file, "--target", "median_house_value", "--out", "run", "--quiet").code == 0
    scores = cr.load_run("run").scores["test"]
    assert scores["rmse"] <= ENOUGH * scores["baseline_rmse"]
