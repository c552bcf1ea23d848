from __future__ import annotations

import numpy as np
import pytest

from chainrule.data import TargetEncoder
from chainrule.errors import NameUnknown
from chainrule.tasks.scores import Scores, row_losses, scores_of

CLASSES = TargetEncoder("y", "classification", classes=("a", "b", "c"), counts=(6, 3, 1))
NUMBER = TargetEncoder("y", "regression", mean=10.0, scale=2.0)


def test_the_baseline_of_classes_is_the_most_frequent_one_of_training() -> None:
    y = np.array([0, 0, 1, 2])
    outputs = np.eye(3)[[0, 0, 1, 1]] * 5
    scores = scores_of(CLASSES, outputs, y, CLASSES.decode(y))
    assert scores["accuracy"] == 0.75
    assert scores["error_rate"] == 0.25
    assert scores["baseline_accuracy"] == 0.5
    assert scores["baseline_log_loss"] == pytest.approx(-np.mean(np.log([0.6, 0.6, 0.3, 0.1])))
    assert str(scores) == "accuracy 75.00 % (error 25.00 %), baseline 50.00 % (always 'a'), 4 rows"


def test_the_baseline_of_numbers_is_the_mean_of_training_in_their_own_unit() -> None:
    actual = np.array([8.0, 12.0, 14.0])
    scores = scores_of(NUMBER, np.array([[-1.0], [1.0], [1.0]]), (actual - 10) / 2, actual)
    assert scores["rmse"] == pytest.approx(np.sqrt(4 / 3))
    assert scores["mae"] == pytest.approx(2 / 3)
    assert scores["baseline_rmse"] == pytest.approx(np.sqrt((4 + 4 + 16) / 3))
    assert scores["r2"] == pytest.approx(1 - 4 / np.sum((actual - actual.mean()) ** 2))
    assert str(scores).startswith("RMSE 1.155 (R² 0.786), baseline 2.828 (the mean 10 for every row)")


def test_two_classes_have_an_area_under_the_curve_where_both_occur() -> None:
    two = TargetEncoder("y", "classification", classes=("no", "yes"), counts=(1, 1))
    outputs = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert scores_of(two, outputs, np.array([0, 1]), np.array(["no", "yes"]))["roc_auc"] == 1.0
    assert "roc_auc" not in scores_of(two, outputs, np.array([1, 1]), np.array(["yes", "yes"])).values


def test_a_constant_number_has_no_r2_and_is_scored_still() -> None:
    scores = scores_of(NUMBER, np.zeros((2, 1)), np.zeros(2), np.array([10.0, 10.0]))
    assert "r2" not in scores.values
    assert scores["rmse"] == 0.0


def test_an_unknown_measure_gets_the_nearest_names() -> None:
    with pytest.raises(NameUnknown, match="Did you mean accuracy"):
        Scores("accuracy", 1, {"accuracy": 1.0}, {"accuracy": 1.0}, "")["acuracy"]


def test_the_loss_of_a_row_is_that_of_its_class_or_its_number() -> None:
    outputs = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    np.testing.assert_allclose(row_losses(CLASSES, outputs, np.array([0, 1])), -np.log([0.5, 0.1]))
    np.testing.assert_allclose(row_losses(NUMBER, np.array([[1.0], [0.0]]), np.array([0.0, 0.0])), [1.0, 0.0])
