from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule.insight import Advice, Summary, advise
from tests.insight.runs import flow_of, layer

FALLING = [1.0, 0.6, 0.4, 0.3, 0.25, 0.22, 0.2, 0.19, 0.185, 0.184]


def run(**changes: Any) -> Summary:
    """A run about which there is nothing to say."""
    values: dict[str, Any] = {
        "title": "run",
        "task": "classification",
        "metric": "accuracy",
        "score": 0.95,
        "baseline": "always 0",
        "baseline_score": 0.4,
        "num_train": 5000,
        "num_validation": 500,
        "num_test": 1000,
        "history": {"train_loss": FALLING, "val_loss": [v + 0.02 for v in FALLING]},
        "best_epoch": 10,
    }
    return Summary(**{**values, **changes})


def found(**changes: Any) -> dict[str, Advice]:
    return {advice.name: advice for advice in advise(run(**changes))}


def test_a_good_run_needs_no_advice() -> None:
    assert advise(run()) == ()


def test_advice_reads_as_seen_means_do() -> None:
    advice = Advice("name", "This was seen.", "It means that.", "Do this.")
    assert str(advice) == "This was seen. It means that. Do this."


def test_a_loss_that_is_not_finite_comes_first_with_its_epoch() -> None:
    history = {"train_loss": [1.0, float("nan"), float("inf")], "val_loss": [1.0, 1.0, 1.0]}
    advice = advise(run(history=history, best_epoch=1, num_test=50))
    assert [a.name for a in advice] == ["not_finite", "few_scored"]
    assert advice[0].urgent
    assert "train_loss is not finite in 2 epochs of 3, first in epoch 2" in advice[0].seen


@pytest.mark.parametrize(
    ("losses", "words"),
    [([1.0, 1.01, 0.99, 1.0, 0.995], "ten times higher and ten times lower"), ([1.0, 2, 3, 4, 5], "tenfold")],
)
def test_a_loss_that_does_not_fall_is_told_with_its_numbers(losses: list[float], words: str) -> None:
    advice = found(history={"train_loss": losses}, best_epoch=1)["not_learning"]
    assert f"from 1 to {losses[-1]:.4g} in 5 epochs" in advice.seen
    assert words in advice.do


def test_a_loss_that_falls_is_not_told() -> None:
    assert "not_learning" not in found(history={"train_loss": [1.0, 0.9, 0.8, 0.7, 0.6]}, best_epoch=3)
    assert "not_learning" not in found(history={"train_loss": [1.0, 1.0]}, best_epoch=1)


@pytest.mark.parametrize(
    ("metric", "higher", "score", "baseline", "words"),
    [
        ("accuracy", True, 0.4, 0.4, "no better than what needs no learning"),
        ("accuracy", True, 0.41, 0.4, "Only 1.7 % of the baseline's error is gone"),
        ("rmse", False, 9.8, 10.0, "Only 2 % of the baseline's error is gone"),
        ("rmse", False, 11.0, 10.0, "no better"),
        ("r2", True, -0.1, 0.0, "no better"),
        ("accuracy", True, float("nan"), 0.4, "no better"),
    ],
)
def test_a_score_near_the_baseline_is_told(
    metric: str, higher: bool, score: float, baseline: float, words: str
) -> None:
    advice = found(metric=metric, higher_is_better=higher, score=score, baseline_score=baseline)["baseline"]
    assert words in advice.means


def test_a_score_that_chance_explains_is_urgent() -> None:
    advice = found(score=0.5, baseline_score=0.4, within_chance=True, num_test=60)["baseline"]
    assert advice.urgent
    assert "no better than what needs no learning, as far as 60 rows can tell" in advice.means


def test_a_score_well_above_the_baseline_is_not_told() -> None:
    assert "baseline" not in found(metric="rmse", higher_is_better=False, score=5.0, baseline_score=10.0)
    assert "baseline" not in found(metric="r2", score=0.02, baseline_score=0.0)


def test_a_validation_loss_that_rises_again_is_overfitting() -> None:
    val = [1.0, 0.7, 0.5, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9]
    advice = found(history={"train_loss": FALLING, "val_loss": val}, best_epoch=4)["overfitting"]
    assert (
        "lowest in epoch 4 (0.45) and rose to 0.9 by epoch 10, while train_loss fell from 0.3 to 0.184" in advice.seen
    )
    assert "The weights of epoch 4 were kept" in advice.means
    assert "were kept" not in found(history={"train_loss": FALLING, "val_loss": val}, best_epoch=5)["overfitting"].means


def test_a_validation_loss_far_above_the_training_loss_is_overfitting() -> None:
    val = [v + 0.4 for v in FALLING]
    advice = found(history={"train_loss": FALLING, "val_loss": val})["overfitting"]
    assert "val_loss is 0.584, 3.2 times train_loss (0.184)" in advice.seen


def test_a_loss_that_still_falls_at_the_end_asks_for_more_epochs() -> None:
    val = [1.0 - 0.05 * k for k in range(20)]
    advice = found(history={"train_loss": val, "val_loss": val}, best_epoch=20)["still_improving"]
    assert "fell from 0.15 to 0.05 in the last 2 epochs of 20" in advice.seen
    assert "try 40 epochs" in advice.do
    assert "still_improving" not in found(history={"train_loss": val, "val_loss": val}, best_epoch=10)


def test_dead_units_are_counted_by_layer() -> None:
    advice = found(error_flow=flow_of(layer("hidden", 40, 0), layer("out", 3, 0, "")))["dead_units"]
    assert "4 of 40 units of layer hidden (Linear → ReLU) gave 0 for each of 1,000 rows" in advice.seen
    assert "dead_units" not in found(error_flow=flow_of(layer("hidden", 9, 0), layer("out", 20, 0, "")))


def test_an_error_that_does_not_reach_the_first_layer_vanishes() -> None:
    first, last = layer("first", 8, 0, "Sigmoid"), layer("last", 3, 0, "")
    first.mean_abs_delta[:] = 1e-7
    last.mean_abs_delta[:] = 0.05
    advice = found(error_flow=flow_of(first, last))["vanishing"]
    assert "Of the error at the last layer (mean |δ| 0.05) mean |δ| 1e-07 arrives" in advice.seen
    first.mean_abs_delta[:] = 0.0
    assert "none arrives" in found(error_flow=flow_of(first, last))["vanishing"].seen
    last.mean_abs_delta[:] = 0.0
    assert "Every δ is 0 at layer last" in found(error_flow=flow_of(first, last))["no_error"].seen


def test_classes_that_are_never_predicted_or_not_there_are_named() -> None:
    confusion = np.array([[50, 0, 0], [9, 0, 0], [0, 0, 0]])
    advice = found(confusion=confusion, class_names=["ant", "bee", "cat"])
    assert "bee is never predicted, though 9 test rows are of this class" in advice["never_predicted"].seen
    assert advice["never_predicted"].urgent
    assert "No test row is of cat" in advice["absent_class"].seen
    two = found(confusion=np.array([[50, 0, 0], [9, 0, 0], [3, 0, 0]]), class_names=["ant", "bee", "cat"])
    assert "bee and cat are never predicted, though 12 test rows are of these classes" in two["never_predicted"].seen


def test_few_rows_are_told_with_what_they_can_tell() -> None:
    advice = found(num_test=100, score=0.9, num_train=80)
    assert "The score rests on 100 test rows" in advice["few_scored"].seen
    assert "differ by 3.0 percentage points" in advice["few_scored"].means  # √(0.9 · 0.1 / 100)
    assert "80 training rows" in advice["few_trained"].seen
    other = found(num_test=0, num_validation=30, metric="rmse", score=1.0, baseline_score=4.0, higher_is_better=False)
    assert "30 validation rows" in other["few_scored"].seen
    assert "noticeably different" in other["few_scored"].means
