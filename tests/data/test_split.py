from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.data import generator, num_held_out, random_split_indices, stratified_split_indices
from chainrule.errors import ArgumentError, DataError

fractions = st.floats(0.01, 0.99)
seeds = st.integers(0, 2**32)


@given(st.integers(2, 500), fractions, seeds)
def test_a_split_is_a_partition_of_the_exact_size(num_rows: int, fraction: float, seed: int) -> None:
    train, held_out = random_split_indices(num_rows, fraction, generator(seed))
    assert (
        len(held_out) == num_held_out(num_rows, fraction) == min(max(1, int(num_rows * fraction + 0.5)), num_rows - 1)
    )
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held_out])), np.arange(num_rows))
    assert (np.diff(train) > 0).all()
    assert (np.diff(held_out) > 0).all()


@given(st.lists(st.sampled_from("aaaaabbbccd"), min_size=2, max_size=300), fractions, seeds)
def test_a_stratified_split_keeps_every_class_in_training_and_the_proportions(
    labels: list[str], fraction: float, seed: int
) -> None:
    array = np.array(labels)
    classes, counts = np.unique(array, return_counts=True)
    if (counts == 1).all():
        with pytest.raises(DataError, match="each of the"):
            stratified_split_indices(array, fraction, generator(seed))
        return
    train, held_out = stratified_split_indices(array, fraction, generator(seed))
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held_out])), np.arange(len(array)))
    wanted = num_held_out(len(array), fraction)
    assert len(held_out) == min(wanted, len(array) - len(classes))
    for label, count in zip(classes, counts, strict=True):
        taken = int(np.count_nonzero(array[held_out] == label))
        assert taken < count
        # a class gives at most a row more than its share; where others could not give theirs, it may give those too
        share = count * wanted / len(array)
        assert min(int(share), count - 1) <= taken <= share + len(classes)


def test_a_split_of_classes_worked_by_hand() -> None:
    labels = np.repeat([0, 1, 2], [70, 25, 5])
    train, held_out = stratified_split_indices(labels, 0.2, generator(0))
    assert np.bincount(labels[held_out]).tolist() == [14, 5, 1]
    assert np.bincount(labels[train]).tolist() == [56, 20, 4]


def test_a_class_with_one_row_stays_in_training() -> None:
    labels = np.array([0] * 50 + [1] * 50 + [2])
    for seed in range(20):
        train, _ = stratified_split_indices(labels, 0.5, generator(seed))
        assert 100 in train


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    labels = np.arange(100) % 3
    first, same, other = (stratified_split_indices(labels, 0.3, generator(seed))[1] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, same)
    assert first.tolist() != other.tolist()
    first, same, other = (random_split_indices(100, 0.3, generator(seed))[1] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, same)
    assert first.tolist() != other.tolist()


def test_each_row_is_held_out_about_as_often_as_any_other() -> None:
    labels = np.repeat([0, 1], [30, 10])
    counts = np.zeros(40)
    for seed in range(400):
        counts[stratified_split_indices(labels, 0.25, generator(seed))[1]] += 1
    assert counts.min() > 60  # 100 expected, standard deviation 9
    assert counts.max() < 140


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 2.0, float("nan")])
def test_a_fraction_outside_0_and_1_is_refused(fraction: float) -> None:
    with pytest.raises(ArgumentError, match="more than 0 and less than 1"):
        random_split_indices(10, fraction, generator(0))


@pytest.mark.parametrize(("rows", "said"), [(1, "1 row cannot be split"), (0, "0 rows cannot be split")])
def test_one_row_cannot_be_split(rows: int, said: str) -> None:
    with pytest.raises(DataError, match=said):
        random_split_indices(rows, 0.5, generator(0))
    with pytest.raises(DataError, match=said):
        stratified_split_indices(np.zeros(rows), 0.5, generator(0))


def test_labels_have_one_dimension_and_a_seed_is_not_negative() -> None:
    with pytest.raises(ArgumentError, match=r"shape \(2, 2\)"):
        stratified_split_indices(np.zeros((2, 2)), 0.5, generator(0))
    with pytest.raises(ArgumentError, match="seed=-1"):
        generator(-1)
