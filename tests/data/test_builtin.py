from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from chainrule.data import BUILTINS, load_builtin
from chainrule.errors import DataError


def test_the_digits_are_those_of_scikit_learn() -> None:
    digits = load_builtin("digits")
    assert digits.images.shape == (1797, 8, 8)
    assert digits.images.dtype == np.uint8
    np.testing.assert_array_equal(digits.images, load_digits().images)
    np.testing.assert_array_equal(digits.labels, load_digits().target)
    assert digits.rows().max() == 1.0


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(DataError, match=r"no built-in data set 'digit'.*Did you mean digits\?"):
        load_builtin("digit")
    with pytest.raises(DataError, match=r"write \./cats"):
        load_builtin("cats")


def test_every_name_is_loaded() -> None:
    assert all(len(load_builtin(name)) > 0 for name in BUILTINS)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match=r'Install it: pip install "chainrule\[command\]"'):
        load_builtin("digits")
