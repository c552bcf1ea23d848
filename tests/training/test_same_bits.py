"""Same seed, same bits: run after run, compiled and eager, alone and in threads."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from tests.training.problems import classes, network, rich_network, rows_without_times, state_bits, trainer

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum": {"optimizer": lambda parameters: cr.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True)},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1, "clip_norm": 0.5},
    "one_cycle": {"schedule": "one_cycle", "lr": 0.05},
    "plateau": {"schedule": "plateau", "l1": 0.001, "l2": 0.001},
    "weights": {"class_weight": "balanced", "loss": "cross_entropy"},
    "one row": {"batch_size": 7},
    "all rows": {"batch_size": None},
}


def run(seed: int = 0, **options: Any) -> tuple[dict[str, bytes], list[dict[str, float]], bytes]:
    model = rich_network()
    own = trainer(model, epochs=4, seed=seed, metrics=["accuracy"], **options)
    history = own.fit(classes(48), val=classes(20, seed=1))
    return state_bits(model), rows_without_times(history), own.predict(classes(20, seed=1)[0]).tobytes()


@pytest.mark.parametrize("name", SETTINGS)
def test_two_runs_and_the_eager_run_are_equal_bit_for_bit(name: str) -> None:
    first = run(**SETTINGS[name])
    assert run(**SETTINGS[name]) == first
    assert run(**SETTINGS[name], compile=False) == first


def test_another_seed_gives_another_order_and_other_dropout() -> None:
    assert run(seed=0) != run(seed=1)
    assert run(seed=0, batch_size=None) != run(seed=1, batch_size=None)


def test_the_default_generator_is_neither_read_nor_changed() -> None:
    cr.manual_seed(5)
    model = rich_network()
    results = []
    for seed in (1, 2):
        cr.manual_seed(seed)
        before = cr.get_rng_state()
        own = trainer(rich_network(), epochs=2)
        cr.set_rng_state(before)
        own.fit(classes(48), val=classes(20, seed=1))
        own.predict(classes(20)[0])
        own.evaluate(classes(20))
        assert cr.get_rng_state() == before
        results.append(state_bits(own.model))
    assert results[0] == results[1]
    assert state_bits(model) != results[0]


def test_trainers_in_threads_give_the_bits_of_trainers_alone() -> None:
    alone = {seed: run(seed) for seed in range(4)}
    models = {seed: rich_network() for seed in range(4)}
    found: dict[int, Any] = {}

    def learn(seed: int) -> None:
        own = trainer(models[seed], epochs=4, seed=seed, metrics=["accuracy"])
        history = own.fit(classes(48), val=classes(20, seed=1))
        found[seed] = (
            state_bits(own.model),
            rows_without_times(history),
            own.predict(classes(20, seed=1)[0]).tobytes(),
        )

    threads = [threading.Thread(target=learn, args=(seed,)) for seed in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone


def test_whether_there_are_validation_rows_does_not_change_what_is_learned() -> None:
    with_val, without = rich_network(), rich_network()
    trainer(with_val, keep_best=False).fit(classes(48), val=classes(20, seed=1))
    trainer(without, keep_best=False).fit(classes(48))
    assert state_bits(with_val) == state_bits(without)


def test_predictions_are_in_eval_mode_and_the_same_each_time() -> None:
    own = trainer(rich_network())
    X, y = classes(48)
    own.fit((X, y))
    assert (own.predict(X) == own.predict(X)).all()
    assert np.allclose(own.predict(X, batch_size=7), own.predict(X), atol=1e-6)
    assert own.predict(X[:0]).shape == (0, 3)
    assert own.evaluate((X, y)) == own.evaluate((X, y))


def test_training_learns() -> None:
    own = trainer(network(), epochs=40, lr=0.02, metrics=["accuracy"])
    assert own.fit(classes(), val=classes(60, seed=1)).best["val_accuracy"] > 0.85
