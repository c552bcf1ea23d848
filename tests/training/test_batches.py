"""Batches and epochs: which rows are learned from, how many at a time, and in which order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ArgumentTypeError, DataError, InPlaceError
from chainrule.training.batches import ArrayBatches, GivenBatches, batch_starts, batches_of, hash_of, rows_of
from chainrule.training.form import Form
from chainrule.training.rows import Rows
from chainrule.utils.data import DataLoader, TensorDataset
from tests.tolerances import assert_close, tolerance_for
from tests.training.problems import Recorder, classes, network, numbers, rows_without_times, state_bits, trainer

FORM = Form(np.dtype(np.float32), integers=False)


def sizes(rows: int, batch_size: int | None) -> list[int]:
    recorder = Recorder()
    X, y = numbers(rows)
    trainer(network(outputs=1), batch_size=batch_size, epochs=1, callbacks=[recorder]).fit((X, y))
    return [len(outputs) for outputs in recorder.outputs]


def ready(rows: int, batch_size: int | None, **options: Any) -> ArrayBatches:
    batches = ArrayBatches(Rows(np.arange(rows, dtype=np.float32)[:, None], np.arange(rows)), batch_size, **options)
    batches.prepare(FORM, lambda y, name: None)
    return batches


def order(batches: ArrayBatches, generator: cr.Generator | None) -> list[list[int]]:
    return [batch.y.numpy().astype(int).tolist() for batch in batches.epoch(generator)]


@pytest.mark.parametrize(
    ("rows", "batch_size", "expected"),
    [
        (10, 4, [4, 4, 2]),
        (9, 4, [4, 5]),
        (8, 4, [4, 4]),
        (5, 1, [1, 1, 1, 1, 1]),
        (5, None, [5]),
        (5, 5, [5]),
        (5, 100, [5]),
        (1, 32, [1]),
        (1, None, [1]),
        (3, 2, [3]),
    ],
)
def test_every_row_is_learned_from_once_and_a_single_row_left_over_joins_the_batch_before(
    rows: int, batch_size: int | None, expected: list[int]
) -> None:
    assert sizes(rows, batch_size) == expected


def test_an_epoch_visits_every_row_once_in_an_order_drawn_for_it() -> None:
    generator = cr.Generator().manual_seed(3)
    batches = ready(10, 4)
    first, second = order(batches, generator), order(batches, generator)
    for batches_of_epoch in (first, second):
        assert sorted(row for batch in batches_of_epoch for row in batch) == list(range(10))
    assert first != second
    assert generator.draw == 2
    assert order(batches, cr.Generator().manual_seed(3)) == first


def test_all_rows_at_once_keep_their_order_and_draw_nothing() -> None:
    generator = cr.Generator().manual_seed(3)
    assert order(ready(6, None), generator) == [[0, 1, 2, 3, 4, 5]]
    assert generator.draw == 0


def test_rows_that_are_only_looked_at_keep_their_order() -> None:
    assert order(ready(5, 2), None) == [[0, 1], [2, 3, 4]]


def test_all_rows_at_once_are_not_copied() -> None:
    X, y = numbers(50)
    batches = ArrayBatches(Rows(X, y), None)
    batches.prepare(FORM, lambda y, name: None)
    (batch,) = batches.epoch(cr.Generator())
    assert np.shares_memory(batch.X.numpy(), X)
    assert np.shares_memory(batch.y.numpy(), y)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_model_that_writes_into_its_input_does_not_change_the_users_rows(compiled: bool) -> None:
    X, y = numbers(20)
    before = X.copy()
    cr.manual_seed(0)
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 1))
    trainer(model, batch_size=8, compile=compiled).fit((X, y))
    with pytest.raises(InPlaceError, match=r"^layer 0 \(ReLU\): a write in place to memory that is read-only"):
        trainer(model, batch_size=None, compile=compiled).fit((X, y))
    assert np.array_equal(X, before)


def test_a_batch_counts_as_its_rows_or_as_the_sum_of_their_weights() -> None:
    batches = ArrayBatches(Rows(np.ones((4, 1)), np.ones(4), [1.0, 2.0, 3.0, 4.0]), 2)
    batches.prepare(FORM, lambda y, name: None)
    assert [batch.size for batch in batches.epoch(None)] == [3.0, 7.0]
    assert [batch.size for batch in ready(5, 2).epoch(None)] == [2.0, 3.0]


def test_batches_whose_weights_are_all_zero_are_left_out() -> None:
    X, y = classes(20, kinds=2)
    order = np.argsort(y, kind="stable")
    history = trainer(network(outputs=2), batch_size=4, class_weight={0: 0.0}).fit((X[order], y[order]))
    assert np.isfinite(history["train_loss"]).all()
    X, y = numbers(1500)
    weights = np.where(np.arange(1500) < 100, 1.0, 0.0)
    own = trainer(network(outputs=1), metrics=["mae"])
    first = own.fit((X, y, weights), val=(X, y, weights))  # 1024 rows are looked at together: the rest weighs nothing
    assert np.isfinite(first["val_loss"]).all()
    assert_close(first["val_loss"][-1], own.evaluate((X[:100], y[:100]))["loss"], tolerance=tolerance_for(np.float32))


def test_starts_are_counted_like_batches() -> None:
    for rows in range(1, 30):
        for batch_size in (None, *range(1, 12)):
            starts = batch_starts(rows, batch_size)
            assert ready(rows, batch_size).count == len(starts) == len(list(ready(rows, batch_size).epoch(None)))


# -- data that come in batches -------------------------------------------------------------------------------------


def test_a_tensor_dataset_gives_the_bits_of_its_arrays() -> None:
    X, y = classes()
    first, second = network(), network()
    trainer(first).fit((X, y))
    trainer(second).fit(TensorDataset(cr.from_numpy(X), cr.from_numpy(y)))
    assert state_bits(first) == state_bits(second)


def test_a_data_loader_in_order_gives_the_bits_of_a_list_of_batches() -> None:
    X, y = classes(40)
    models = [network(), network()]
    trainer(models[0]).fit(DataLoader(TensorDataset(cr.from_numpy(X), cr.from_numpy(y)), batch_size=16))
    trainer(models[1]).fit([(X[:16], y[:16]), (X[16:32], y[16:32]), (X[32:], y[32:])])
    assert state_bits(models[0]) == state_bits(models[1])


def test_a_shuffling_loader_draws_from_the_trainer_or_from_its_own_generator() -> None:
    X, y = classes(40)
    dataset = TensorDataset(cr.from_numpy(X), cr.from_numpy(y))
    cr.manual_seed(7)
    before = cr.get_rng_state()
    bits = []
    for _ in range(2):
        model = network()
        cr.set_rng_state(before)
        trainer(model).fit(DataLoader(dataset, batch_size=16, shuffle=True))
        bits.append(state_bits(model))
    assert bits[0] == bits[1]
    assert cr.get_rng_state() == before
    own = cr.Generator().manual_seed(11)
    trainer(network(), epochs=4).fit(DataLoader(dataset, batch_size=16, shuffle=True, generator=own))
    assert own.draw == 4  # the look at the first batch left no trace


def test_lists_arrays_and_weights_can_be_in_a_batch() -> None:
    batches = [([[0.0], [1.0]], [0.0, 1.0], [1.0, 2.0]), (np.ones((3, 1)), np.zeros(3), np.ones(3))]
    history = trainer(nn.Linear(1, 1)).fit(batches)
    assert len(history) == 3


def test_a_dict_of_class_weights_works_for_batches_and_balanced_does_not() -> None:
    X, y = classes(32)
    whole, parts = network(), network()
    batches = [(X[:16], y[:16]), (X[16:], y[16:])]
    trainer(parts, class_weight={0: 3.0}).fit(batches)
    weight = np.where(y == 0, 3.0, 1.0)
    trainer(whole).fit([(X[:16], y[:16], weight[:16]), (X[16:], y[16:], weight[16:])])
    assert state_bits(whole) == state_bits(parts)
    with pytest.raises(ArgumentError, match="class_weight='balanced' with data that come in batches"):
        trainer(network(), class_weight="balanced").fit(batches)


def test_validation_batches_are_read_once_and_give_what_their_arrays_give() -> None:
    X, y = classes()
    val = classes(30, seed=1)
    loader = DataLoader(TensorDataset(cr.from_numpy(val[0]), cr.from_numpy(val[1])), batch_size=7)
    first = trainer(network(), metrics=["accuracy"]).fit((X, y), val=val)
    second = trainer(network(), metrics=["accuracy"]).fit((X, y), val=loader)
    assert rows_without_times(first) == rows_without_times(second)


class Endless:
    """Batches of which nobody knows the number."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)


def test_the_number_of_batches_need_not_be_known() -> None:
    X, y = classes(32)
    history = trainer(network()).fit(Endless([(X[:16], y[:16]), (X[16:], y[16:])]))
    assert len(history) == 3
    with pytest.raises(ArgumentError, match="one_cycle"):
        trainer(network(), schedule="one_cycle").fit(Endless([(X, y)]))


def test_an_iterator_is_refused_because_it_can_be_read_only_once() -> None:
    X, y = classes()
    with pytest.raises(ArgumentTypeError, match="can be read only once"):
        trainer(network()).fit(iter([(X, y)]))


def test_no_batch_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="gave no batch"):
        trainer(network()).fit(Endless([]))
    with pytest.raises(DataError, match="gave no batch"):
        trainer(network()).fit(classes(), val=Endless([]))


def test_faults_in_a_batch_are_named_with_the_batch() -> None:
    X, y = classes(32)
    bad = X[16:].copy()
    bad[3, 1] = np.nan
    with pytest.raises(DataError, match=r"the training data, batch 2: X holds nan in row 3, column 1"):
        trainer(network()).fit([(X[:16], y[:16]), (bad, y[16:])])
    with pytest.raises(DataError, match=r"the training data, batch 2: row 0 has label 7"):
        trainer(network()).fit([(X[:16], y[:16]), (X[16:], np.full(16, 7))])
    with pytest.raises(DataError, match="batch 1: got 1 parts"):
        trainer(network()).fit([(X,), (X,)])


@pytest.mark.parametrize("data", [3, "text", None, {"X": 1}, np.ones((3, 2))])
def test_what_is_no_data_is_refused_by_its_type(data: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=f"the training data: got {type(data).__name__}"):
        trainer(network()).fit(data)


def test_hashes_tell_values_dtypes_and_shapes_apart() -> None:
    a = np.arange(6.0)
    hashes = {hash_of([x]) for x in (a, a + 1, a.astype(np.float32), a.reshape(2, 3), a.reshape(3, 2))}
    assert len(hashes) == 5
    assert hash_of([a]) == hash_of([a.copy()[::1]])


def test_loaders_of_tensors_have_a_hash_and_others_none() -> None:
    X, y = classes(20)
    dataset = TensorDataset(cr.from_numpy(X), cr.from_numpy(y))
    batches = batches_of(DataLoader(dataset, batch_size=5), 32, None, "data")
    assert isinstance(batches, GivenBatches)
    assert len(batches.fingerprint()) == 64
    assert batches_of([(X, y)], 32, None, "data").fingerprint() == ""
    assert len(rows_of(DataLoader(dataset, batch_size=7), "data")) == 20
