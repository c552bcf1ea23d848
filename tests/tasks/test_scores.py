from __future__ import annotations

import numpy as np
import pytest

from chainrule.data import TargetEncoder
from chainrule.errors import NameUnknown
from chainrule.tasks.scores import Scores, is_chance, row_losses, scores_of

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


def test_a_difference_that_chance_explains_is_told_by_mcnemars_test() -> None:
    y = np.zeros(40, np.int64)
    y[:20] = 1  # the baseline, always class 0, is right in the last 20

    def found(right_of_ones: int, wrong_of_zeros: int) -> Scores:
        said = np.zeros(40, np.int64)
        said[:right_of_ones], said[20 : 20 + wrong_of_zeros] = 1, 1
        return scores_of(CLASSES, np.eye(3)[said], y, CLASSES.decode(y))

    for gained, lost in ((3, 0), (4, 0), (9, 2), (10, 2), (20, 10), (14, 5)):
        chi_squared = (gained - lost) ** 2 / (gained + lost)  # 3.84 is exceeded in 5 % of cases by chance
        assert found(gained, lost).within_chance == (chi_squared < 3.84), (gained, lost)
        assert ("may be chance" in found(gained, lost).doubt) == (chi_squared < 3.84)
    assert found(20, 0).doubt == ""
    assert found(0, 0).doubt == found(2, 5).doubt == "the network is no better than the baseline"
    assert found(4, 1).doubt == (
        "the network is no better than the baseline as far as 40 rows can tell: the difference may be chance"
    )


def test_numbers_at_random_are_within_chance_in_nineteen_of_twenty_cases() -> None:
    random = np.random.default_rng(0)
    actual = random.normal(size=(2000, 100))
    # two answers, equally good: 0.3 above and 0.3 below the mean
    often = np.mean([is_chance((row - 0.3) ** 2 - (row + 0.3) ** 2) for row in actual])
    assert 0.93 < often < 0.97


def test_scores_saved_before_chance_was_told_are_read() -> None:
    saved = Scores("accuracy", 5, {"accuracy": 0.8}, {"accuracy": 0.6}, "always 'no'").to_dict()
    del saved["within_chance"]
    assert Scores.from_dict(saved).doubt == ""


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
