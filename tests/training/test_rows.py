"""Bad rows are refused with their place; good ones come in many forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import DataError
from chainrule.training.form import Form
from chainrule.training.rows import Rows, as_array, as_floats, check_finite, is_finite
from tests.training.problems import classes, network, numbers, state_bits, trainer

FLOAT32 = np.dtype(np.float32)


# -- forms that rows come in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        lambda X, y: (X.tolist(), y.tolist()),
        lambda X, y: (X.astype(np.float64), y.astype(np.int32)),
        lambda X, y: (np.asfortranarray(X), y[::-1][::-1]),
        lambda X, y: (cr.from_numpy(X), cr.from_numpy(y)),
        lambda X, y: (pd.DataFrame(X, columns=list("abc")), pd.Series(y)),
        lambda X, y: (pd.DataFrame(X).astype(object), pd.Series(y).astype(object)),
        lambda X, y: (pd.DataFrame(X), pd.DataFrame({"y": y})),
        lambda X, y: (X, y[:, None]),
        lambda X, y: (X, y.astype(np.uint8)),
        lambda X, y: [X, y],
        lambda X, y: Rows(X, y),
        lambda X, y: (np.ma.MaskedArray(X), y),
    ],
    ids=["lists", "float64", "Fortran", "tensors", "frame", "objects", "frame of y", "column", "uint8 labels", "list of two", "Rows", "masked"],
)  # fmt: skip
def test_rows_in_other_forms_give_the_same_bits(form: Any) -> None:
    X, y = classes()
    plain, other = network(), network()
    trainer(plain).fit((X, y))
    trainer(other).fit(form(X, y))
    assert state_bits(plain) == state_bits(other)


def test_whole_numbers_as_inputs_become_the_models_dtype() -> None:
    X = np.random.default_rng(0).integers(0, 256, (40, 3), dtype=np.uint8)
    y = (X.sum(1) > 380).astype(int)
    whole, floats = network(outputs=2), network(outputs=2)
    trainer(whole).fit((X, y))
    trainer(floats).fit((X.astype(np.float32), y))
    assert state_bits(whole) == state_bits(floats)
    boolean = network(outputs=2)
    trainer(boolean).fit((X > 128, y))
    assert np.isfinite(trainer(boolean).predict(X > 128)).all()


def test_a_float64_model_learns_in_float64() -> None:
    X, y = numbers()
    model = network(outputs=1).double()
    own = trainer(model)
    own.fit((X, y), val=(X, y))
    assert own.predict(X).dtype == np.float64
    assert model[0].weight.dtype == cr.float64


def test_inputs_too_large_to_convert_at_once_are_converted_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).integers(0, 256, (40, 3), dtype=np.uint8)
    y = (X.sum(1) > 380).astype(int)
    once, parts = network(outputs=2), network(outputs=2)
    trainer(once).fit((X, y), val=(X, y))
    monkeypatch.setattr("chainrule.training.batches.MOST_CONVERTED", 100)
    trainer(parts).fit((X, y), val=(X, y))
    assert state_bits(once) == state_bits(parts)


class Lookup(nn.Module):
    """Words as integers."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 4)
        self.out = nn.Linear(8, 2)

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        return self.out(self.words(x).flatten(1))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_integers_stay_integers_where_an_embedding_reads_them(dtype: Any) -> None:
    X = np.random.default_rng(0).integers(0, 10, (64, 2)).astype(dtype)
    y = (X[:, 0] > X[:, 1]).astype(int)
    cr.manual_seed(0)
    own = trainer(Lookup(), epochs=40, lr=0.05, metrics=["accuracy"])
    history = own.fit((X, y), val=(X, y))
    assert history.best["val_accuracy"] > 0.95
    assert own.predict(X.tolist()).shape == (64, 2)


# -- bad rows --------------------------------------------------------------------------------------------------------


def bad(kind: str, value: Any, place: Any) -> tuple[Any, ...]:
    X, y = numbers(12)
    parts = {"X": X, "y": y, "weight": np.ones(12)}
    parts[kind][place] = value
    return X, y, parts["weight"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_nan_or_an_infinity_is_named_with_its_row_and_column(value: float) -> None:
    with pytest.raises(DataError, match=rf"the training data: X holds {value} in row 7, column 2 \(1 of 12 rows"):
        trainer(network(outputs=1)).fit(bad("X", value, (7, 2)))
    with pytest.raises(DataError, match=rf"the training data: y holds {value} in row 3 "):
        trainer(network(outputs=1)).fit(bad("y", value, 3))
    with pytest.raises(DataError, match=rf"the training data: weight holds {value} in row 5"):
        trainer(network(outputs=1)).fit(bad("weight", value, 5))
    with pytest.raises(DataError, match="the validation data: X holds"):
        trainer(network(outputs=1)).fit(numbers(), val=bad("X", value, (7, 2)))
    with pytest.raises(DataError, match="X holds"):
        trainer(network(outputs=1)).predict(bad("X", value, (7, 2))[0])
    with pytest.raises(DataError, match="the evaluation data: y holds"):
        trainer(network(outputs=1)).evaluate(bad("y", value, 3))


def test_a_column_of_a_frame_is_named() -> None:
    frame = pd.DataFrame({"age": [1.0, 2.0, np.nan], "pay": [1.0, 2.0, 3.0], "x": [0.0, 0.0, 0.0]})
    with pytest.raises(DataError, match="X holds nan in row 2, column 'age'"):
        trainer(network(outputs=1)).fit((frame, [1.0, 2.0, 3.0]))
    missing = pd.DataFrame({"age": pd.array([1, None, 3], dtype="Int64"), "b": [1, 2, 3], "c": [1, 2, 3]})
    with pytest.raises(DataError, match=r"X holds <NA> \(NAType\) in row 1, column 'age'"):
        trainer(network(outputs=1)).fit((missing, [1.0, 2.0, 3.0]))
    text = pd.DataFrame({"age": [1, 2], "town": ["Bonn", "Ulm"]})
    with pytest.raises(DataError, match="X holds 'Bonn' .str. in row 0, column 'town'; expected numbers"):
        trainer(network(outputs=1)).fit((text, [1.0, 2.0]))


def test_an_element_of_a_higher_array_is_named() -> None:
    X = np.zeros((4, 2, 2), np.float32)
    X[3, 1, 0] = np.nan
    with pytest.raises(DataError, match=r"nan in row 3, element \[1, 0\]"):
        check_finite(X, "X")


def test_a_number_beyond_the_models_dtype_is_named() -> None:
    X, y = numbers()
    wide = X.astype(np.float64)
    wide[4, 1] = 1e300
    with pytest.raises(DataError, match=r"X holds 1e\+300 in row 4, column 1, beyond the range of float32"):
        trainer(network(outputs=1)).fit((wide, y))
    trainer(network(outputs=1).double(), l2=1e-6, clip_norm=1.0, lr=1e-9).fit((np.where(wide > 1e200, 1e3, wide), y))


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.ones((3, 3)), np.ones(2), "X has 3 rows, y 2 rows"),
        (np.ones((3, 3)), 1.0, "X has 3 rows, y no axis"),
        (np.ones((0, 3)), np.ones(0), "at least one row"),
        ([], [], "at least one row"),
        (5.0, 5.0, "at least one row"),
        ([[1, 2, 3], [1, 2]], [0, 1], "X is ragged: row 0 has 3 values, row 1 has 2"),
        (np.ones((2, 3)), [[1], [1, 2]], "y is ragged: row 0 has 1 values, row 1 has 2"),
        ([["a", "b", "c"]], [0], "X holds text: a; expected numbers"),
        (np.ones((1, 3)), ["yes"], "y holds text: yes"),
        (np.array([[None, 1, 2]]), [0], r"X holds None \(NoneType\) in row 0, column 0"),
        (np.array(["2020-01-01"], dtype="M8[D]"), [0], "X holds datetime64"),
        (np.ones((1, 3), complex), [0], "X holds complex128"),
        ({"a": [1]}, [0], "X is of type dict; expected an array"),
        (None, [0], "X is of type NoneType"),
    ],
)
def test_what_cannot_be_rows_is_refused_with_the_reason(X: Any, y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        trainer(network(outputs=1)).fit((X, y))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, -2.0, 1.0], "weight holds -2.0 in row 1"),
        ([0.0, 0.0, 0.0], "weight is 0 in every row"),
        ([1.0, 1.0], "X has 3 rows, weight 2 rows"),
        (np.ones((3, 2)), r"weight has shape \(3, 2\)"),
    ],
)
def test_row_weights_that_make_no_sense_are_refused(weight: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        trainer(network(outputs=1)).fit((np.ones((3, 3)), np.ones(3), weight))


def test_a_masked_value_is_missing_and_no_number() -> None:
    X = np.ma.MaskedArray(np.ones((3, 3)), mask=np.eye(3, dtype=bool))
    with pytest.raises(DataError, match="nan in row 0, column 0"):
        trainer(network(outputs=1)).fit((X, np.ones(3)))


def test_objects_that_are_numbers_become_numbers() -> None:
    mixed = pd.DataFrame({"a": [1.5, 2.5], "b": [True, False]}).astype(object)
    assert as_array(mixed, "X").dtype == np.float64
    assert as_array(np.array([1, 2], dtype=object), "y").dtype == np.int64
    assert as_array(np.array([10**30, 1], dtype=object), "y").dtype == np.float64


def test_large_finite_numbers_are_finite() -> None:
    assert is_finite(np.full(100, 3e38, np.float32))
    assert not is_finite(np.array([3e38, np.inf], np.float32))
    assert is_finite(np.array([], np.float32))
    assert as_floats(np.array([1, 2]), FLOAT32, "X").dtype == np.float32


def test_a_validation_set_of_another_width_is_refused() -> None:
    X, y = numbers()
    with pytest.raises(ValueError, match=r"the validation data: X has rows of shape \(2,\); expected .* \(3,\)"):
        trainer(network(outputs=1)).fit((X, y), val=(X[:, :2], y))


def test_shapes_that_do_not_fit_name_the_layer_and_both_sizes() -> None:
    X, y = numbers(features=5)
    with pytest.raises(ValueError, match=r"layer 0 \(Linear\): expected 3 features in the last axis, got 5"):
        trainer(network(outputs=1)).fit((X, y))


def test_the_form_of_a_model_follows_its_parameters() -> None:
    assert Form.of(nn.Linear(1, 1).double()).dtype == np.float64
    assert Form.of(nn.ReLU()).dtype == np.float32
    assert Form.of(Lookup()).integers
    assert repr(Rows([[1.0]], [1])) == "<Rows: X (1, 1) float64, y (1,) int64>"
