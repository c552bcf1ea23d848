from __future__ import annotations

import numpy as np
import pytest

from chainrule.errors import DataError
from chainrule.tasks.parts import split


def test_the_parts_of_one_seed_are_the_same_and_do_not_overlap() -> None:
    labels = np.arange(100) % 4
    kept, held_out = split(labels, 100, 0.2, 5, "test", source="x.csv")
    again, _ = split(labels, 100, 0.2, 5, "test", source="x.csv")
    assert kept.tolist() == again.tolist()
    assert sorted([*kept, *held_out]) == list(range(100))
    assert np.bincount(labels[held_out]).tolist() == [5, 5, 5, 5]


def test_test_and_validation_rows_are_drawn_apart() -> None:
    held_out = [split(None, 100, 0.2, 0, what, source="x.csv")[1].tolist() for what in ("test", "validation")]
    assert held_out[0] != held_out[1]


def test_no_fraction_holds_nothing_out() -> None:
    kept, held_out = split(None, 10, 0.0, 0, "test", source="x.csv")
    assert len(kept) == 10
    assert len(held_out) == 0


def test_rows_that_cannot_be_split_are_an_error_that_names_source_and_part() -> None:
    with pytest.raises(DataError, match=r"x.csv: the validation part .0.2 of 1 row.: 1 row cannot be split"):
        split(None, 1, 0.2, 0, "validation", source="x.csv")
