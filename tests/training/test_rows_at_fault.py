"""An index that is no row of an embedding is named with its batch and its row of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, IndexingError

X = np.random.default_rng(0).integers(0, 20, (150, 3))
y = X.sum(1) % 3
BAD = X.copy()
BAD[120, 1] = 20

both_engines = pytest.mark.parametrize("native", ["0", "1"], ids=["interpreted", "native"])


class Table(nn.Module):
    def __init__(self, *, turned: bool = False) -> None:
        super().__init__()
        self.rows, self.last, self.turned = nn.Embedding(20, 5), nn.Linear(15, 3), turned

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        found = self.rows(x.t()).transpose(0, 1) if self.turned else self.rows(x)
        return self.last(found.flatten(1))


def message(call: Any, kind: type[Exception] = IndexingError) -> str:
    with pytest.raises(kind) as told:
        call()
    return str(told.value)


@both_engines
@pytest.mark.parametrize("compile", [True, False], ids=["compiled", "uncompiled"])
@pytest.mark.parametrize("batch_size", [32, 7, None])
def test_a_fit_names_the_batch_and_the_row(
    native: str, compile: bool, batch_size: int | None, monkeypatch: Any
) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", native)
    seen: list[int] = []

    class Counting(cr.Callback):
        def on_batch_end(self, trainer: cr.Trainer, epoch: int, batch: int, loss: float, outputs: cr.Tensor) -> None:
            seen.append(batch)

    for callbacks in ([Counting()], []):
        found = message(
            lambda callbacks=callbacks: cr.fit(
                Table(), (BAD, y), progress=False, compile=compile, batch_size=batch_size, callbacks=callbacks
            )
        )
        assert f", in batch {len(seen) + 1}, row 120 of the training data; expected 0 … 19." in found
        assert found.startswith("layer rows (Embedding): embedding: got the index 20")


@both_engines
def test_a_later_epoch_and_weights_of_0_do_not_mislead(native: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", native)
    data = X.copy()
    model = Table()
    trainer = cr.Trainer(model, epochs=3, progress=False, batch_size=16)
    trainer.fit((data, y))
    trainer.epochs = 5
    trainer.expected_data = ""
    assert ", row 120 of the training data" in message(lambda: trainer.fit((BAD, y)))
    weights = (np.arange(150) >= 100).astype(np.float32)
    found = message(lambda: cr.fit(Table(), (BAD, y, weights), progress=False, batch_size=2))
    assert ", row 120 of the training data" in found


@both_engines
def test_rows_that_are_looked_at_are_named_too(native: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", native)
    many, of_many = np.concatenate([X] * 4 + [BAD]), np.concatenate([y] * 5)
    found = message(lambda: cr.fit(Table(), (X, y), val=(many, of_many), epochs=1, progress=False))
    assert ", row 720 of the validation data" in found
    assert found.startswith("layer rows (Embedding): embedding: got the index 20")


def test_batches_that_are_given_are_named_by_number() -> None:
    batches = [(BAD[k : k + 30], y[k : k + 30]) for k in range(0, 150, 30)]
    found = message(lambda: cr.fit(Table(), batches, progress=False))
    assert "at [0, 1] for a table of 20 rows, in batch 5; expected" in found


def test_a_place_that_is_not_that_of_a_row_names_none() -> None:
    found = message(lambda: cr.fit(Table(turned=True), (BAD, y), progress=False))
    assert ", in batch " in found
    assert " of the training data" not in found


@both_engines
def test_a_compiled_function_over_many_batches_names_them_too(native: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", native)
    model = Table()
    total = cr.compile(lambda x: model(x).sum())
    assert ", in batch 5, row 120 of the data" in message(lambda: total.over(BAD, batch_size=30))
    backwards = np.arange(150)[::-1]
    assert ", in batch 1, row 120 of the data" in message(lambda: total.over(BAD, batch_size=30, order=backwards))
    assert ", in batch 8, row 120 of the data" in message(
        lambda: total.over(BAD, batch_size=30, order=np.concatenate([np.arange(120), np.arange(90), [120, *range(29)]]))
    )
    wrong = y.copy()
    wrong[120] = 7
    loss = cr.compile(lambda x, t: nn.functional.cross_entropy(model(x), t))
    assert "in batch 5, row 120 of the data" in message(lambda: loss.over(X, wrong, batch_size=30), ArgumentError)
    nothing = cr.compile(lambda x: model(x).sum().backward())
    assert ", in batch 5, row 120" in message(lambda: nothing.over(BAD, batch_size=30))
