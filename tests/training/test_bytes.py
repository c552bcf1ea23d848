"""Images in bytes: they stay bytes in memory, and are scaled where a batch is gathered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, DataError
from chainrule.training.trainer import ArrayBatches, Trainer

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (203, 5, 7), np.uint8)
LABELS = (PIXELS.astype(np.int64).sum(axis=(1, 2)) % 3).astype(np.uint8)
MEAN, STD = 33.0, 78.5


@pytest.fixture(params=["0", "1"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CHAINRULE_COMPILE", request.param)
    return str(request.param)


def scaled(x: Any, dtype: Any = np.float32) -> Any:
    return (x.astype(dtype) - dtype(MEAN)) * dtype(1 / STD)


def trainer(hidden: int = 9, dtype: Any = None, **options: Any) -> Trainer:
    cr.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(35, hidden), nn.ReLU(), nn.Linear(hidden, 3))
    if dtype is not None:
        model = model.to(dtype)
    given = {"loss": "cross_entropy", "lr": 0.01, "batch_size": 20, "epochs": 4, "progress": False, **options}
    return Trainer(model, metrics=["accuracy"], **given)


def bits(trainer: Trainer) -> list[bytes]:
    return [x.detach().numpy().tobytes() for x in trainer.model.state_dict().values()]


def rows(trainer: Trainer) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in trainer.history.rows]


@pytest.mark.parametrize("dtype", [None, cr.float64])
@pytest.mark.parametrize("batch_size", [20, 101, 7, None])
def test_bytes_train_to_the_bits_of_numbers_that_were_scaled_before(
    engine: str, batch_size: int | None, dtype: Any
) -> None:
    bytes_, numbers = [trainer(batch_size=batch_size, dtype=dtype, normalize=n) for n in ((MEAN, STD), None)]
    floats = scaled(PIXELS, np.float64 if dtype else np.float32)
    bytes_.fit((PIXELS[:150], LABELS[:150]), val=(PIXELS[150:], LABELS[150:]))
    numbers.fit((floats[:150], LABELS[:150]), val=(floats[150:], LABELS[150:]))
    assert rows(bytes_) == rows(numbers)
    assert bits(bytes_) == bits(numbers)
    np.testing.assert_array_equal(bytes_.predict(PIXELS), numbers.predict(floats))
    assert bytes_.evaluate((PIXELS, LABELS)) == numbers.evaluate((floats, LABELS))


def test_a_small_network_does_so_in_registers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    monkeypatch.setattr("chainrule.run.straight.WORTH_MAKING", 0.0)
    monkeypatch.setattr("chainrule.run.straight.MANY", 1)
    x = PIXELS[:, 0, :3]
    found = []
    for normalize, values in (((MEAN, STD), x), (None, scaled(x))):
        cr.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
        one = Trainer(model, loss="cross_entropy", batch_size=4, epochs=3, progress=False, normalize=normalize)
        one.fit((values, LABELS))
        assert "straight-line code" in str(one._engine._step.call.report())  # type: ignore[union-attr]
        found.append((rows(one), bits(one)))
    assert found[0] == found[1]


def test_without_normalize_bytes_are_numbers_from_0_to_255(engine: str) -> None:
    bytes_, numbers = trainer(lr=1e-4), trainer(lr=1e-4)
    bytes_.fit((PIXELS, LABELS))
    numbers.fit((PIXELS.astype(np.float32), LABELS))
    assert rows(bytes_) == rows(numbers)
    assert bits(bytes_) == bits(numbers)


def test_numbers_are_normalized_like_bytes(engine: str) -> None:
    ours, theirs = trainer(normalize=(MEAN, STD)), trainer()
    ours.fit((PIXELS.astype(np.float64), LABELS))
    theirs.fit((scaled(PIXELS), LABELS))
    assert bits(ours) == bits(theirs)


def test_bytes_stay_bytes_in_memory(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    prepare = ArrayBatches.prepare

    def noting(self: ArrayBatches, *args: Any) -> None:
        prepare(self, *args)
        kept.append((self.X.dtype, np.shares_memory(self.X, self.rows.X)))

    monkeypatch.setattr(ArrayBatches, "prepare", noting)
    many = np.concatenate([PIXELS, PIXELS])
    labels = np.concatenate([LABELS, LABELS])
    trainer(normalize=(0, 255)).fit((many, labels), val=(many, labels))
    assert set(kept) == {(np.dtype(np.uint8), True)}


def test_a_run_goes_on_to_the_same_bits(engine: str, tmp_path: Any) -> None:
    whole, first, second = [trainer(normalize=(MEAN, STD), epochs=epochs) for epochs in (4, 2, 4)]
    whole.fit((PIXELS, LABELS))
    first.fit((PIXELS, LABELS))
    first.save(tmp_path / "state")
    second.resume(tmp_path / "state")
    second.fit((PIXELS, LABELS))
    assert bits(second) == bits(whole)
    with pytest.warns(UserWarning, match=r"normalize: \(33.0, 78.5\) then, None now"):
        trainer().resume(tmp_path / "state")


@pytest.mark.parametrize(
    ("normalize", "said"),
    [
        (255, r"normalize=255; expected \(mean, std\), two numbers, or None"),
        ((0, 1, 2), r"normalize=\(0, 1, 2\)"),
        ((0, 0), "normalize: std=0; expected a number above 0"),
        ((0, -1.0), "normalize: std=-1.0"),
        ((float("nan"), 1), "normalize: mean=nan"),
        (("0", 1), "normalize: mean='0'"),
        ((None, 1), "the mean is None"),
    ],
)
def test_what_cannot_be_normalized_by_is_refused(normalize: Any, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        trainer(normalize=normalize)


def test_places_in_a_table_are_not_normalized() -> None:
    model = nn.Sequential(nn.Embedding(256, 4), nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(DataError, match="for a model with an Embedding, and normalize is given"):
        cr.fit(model, (PIXELS[:, 0, :3], LABELS), loss="cross_entropy", normalize=(0, 255), progress=False)
