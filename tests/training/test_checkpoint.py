"""The state of training in a file: gone on with to the same bits, and refused where that is not possible."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ChainruleError, DataError, FileError
from chainrule.training import checkpoint
from chainrule.utils.data import DataLoader, TensorDataset
from tests.training.problems import StopAt, classes, network, rich_network, rows_without_times, state_bits, trainer
from tests.training.test_same_bits import SETTINGS

ROOT = Path(__file__).parent.parent.parent
EPOCHS = 6


def make(model: nn.Module | None = None, **options: Any) -> cr.Trainer:
    return trainer(rich_network() if model is None else model, **{"epochs": EPOCHS, "metrics": ["accuracy"], **options})


def fit(own: cr.Trainer) -> cr.History:
    return own.fit(classes(48), val=classes(20, seed=1))


def result(own: cr.Trainer) -> tuple[Any, ...]:
    kept = own.standing()
    weights = {name: array.tobytes() for name, array in kept.weights.items()}
    return state_bits(own.model), weights, rows_without_times(own.history), own.history.best_epoch, kept.generators


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
import chainrule as cr
from tests.training.test_checkpoint import *
own = make(**SETTINGS[{name!r}])
own.resume({path!r})
fit(own)
own.save({path!r} + ".end")
cr.save(own.model.state_dict(), {path!r} + ".model")
"""


@pytest.mark.parametrize("name", SETTINGS)
def test_a_fresh_process_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    whole = make(**SETTINGS[name])
    fit(whole)

    def save(trainer: cr.Trainer, epoch: int, row: dict[str, float]) -> None:
        if epoch == 3:
            trainer.save(path)

    saving = make(**SETTINGS[name], callbacks=[save])
    fit(saving)
    assert result(saving) == result(whole)  # saving changes nothing
    code = PROGRAM.format(root=str(ROOT), name=name, path=path)
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)
    again = make(**SETTINGS[name])
    again.resume(path + ".end")
    fit(again)
    assert result(again) == result(whole)
    ended = cr.load(path + ".model")
    assert {key: tensor.numpy().tobytes() for key, tensor in ended.items()} == state_bits(whole.model)


@pytest.mark.parametrize("epoch", range(1, EPOCHS))
def test_any_epoch_can_be_gone_on_from(epoch: int, tmp_path: Path) -> None:
    whole = make(schedule="one_cycle")
    fit(whole)
    first = make(schedule="one_cycle", callbacks=[StopAt(epoch, 3)])
    fit(first)
    first.save(tmp_path / "state")
    second = make(schedule="one_cycle")
    second.resume(tmp_path / "state")
    assert len(second.history) == epoch
    fit(second)
    assert result(second) == result(whole)


def test_what_is_saved_amid_an_epoch_is_the_end_of_the_one_before(tmp_path: Path) -> None:
    class Saves(cr.Callback):
        def on_batch_end(self, trainer: cr.Trainer, epoch: int, batch: int, loss: float, outputs: cr.Tensor) -> None:
            if (epoch, batch) == (3, 2):
                trainer.save(tmp_path / "amid")

    whole = make(callbacks=[Saves()])
    fit(whole)
    again = make()
    again.resume(tmp_path / "amid")
    assert len(again.history) == 2
    fit(again)
    assert result(again) == result(whole)


def test_an_interrupted_epoch_is_repeated_when_it_is_gone_on_with(tmp_path: Path) -> None:
    whole = make()
    fit(whole)
    interrupted = make(callbacks=[StopAt(4, 1, "interrupted")], checkpoint=tmp_path / "state")
    assert len(fit(interrupted)) == 4
    again = make()
    again.resume(tmp_path / "state")
    assert (len(again.history), again.history.partial) == (3, "")
    fit(again)
    assert result(again) == result(whole)


def test_a_checkpoint_is_written_at_the_beginning_every_few_epochs_and_at_the_end(tmp_path: Path) -> None:
    written: list[int] = []

    class Sees(cr.Callback):
        def on_epoch_begin(self, trainer: cr.Trainer, epoch: int) -> None:
            other = make()
            other.resume(tmp_path / "state")
            written.append(len(other.history))

    fit(make(checkpoint=tmp_path / "state", checkpoint_every=2, callbacks=[Sees()], epochs=5))
    assert written == [0, 0, 2, 2, 4]
    other = make()
    other.resume(tmp_path / "state")
    assert len(other.history) == 5
    assert [file.name for file in tmp_path.iterdir()] == ["state"]  # nothing temporary is left


def test_the_beginning_can_be_gone_on_from(tmp_path: Path) -> None:
    whole = make()
    fit(whole)
    fresh = make()
    fresh.save(tmp_path / "state")
    again = make(rich_network(seed=5))
    again.resume(tmp_path / "state")
    fit(again)
    assert result(again) == result(whole)


def test_a_resumed_run_that_was_over_stays_over_with_its_best_weights(tmp_path: Path) -> None:
    stopped = make(patience=1, lr=0.5, epochs=50)
    fit(stopped)
    assert stopped.history.stopped == "early stopping"
    stopped.save(tmp_path / "state")
    again = make(patience=1, lr=0.5, epochs=50)
    again.resume(tmp_path / "state")
    again.save(tmp_path / "copy")  # saving before fit writes what was read
    fit(again)
    assert again.history.stopped == "early stopping"
    assert result(again) == result(stopped)


def test_buffers_that_no_state_dict_has_are_kept(tmp_path: Path) -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", cr.zeros(()), persistent=False)

        def forward(self, x: cr.Tensor) -> cr.Tensor:
            if self.training:
                self.count.add_(1)
            return x * (1 + self.count / 100)

    whole = trainer(nn.Sequential(network(), Counts()), epochs=4)
    whole.fit(classes())
    part = trainer(nn.Sequential(network(), Counts()), epochs=2)
    part.fit(classes())
    part.save(tmp_path / "state")
    again = trainer(nn.Sequential(network(), Counts()), epochs=4)
    again.resume(tmp_path / "state")
    again.fit(classes())
    assert state_bits(whole.model) == state_bits(again.model)


def test_a_loader_with_a_generator_of_its_own_goes_on_in_its_order(tmp_path: Path) -> None:
    X, y = classes(48)

    def loader() -> DataLoader:
        dataset = TensorDataset(cr.from_numpy(X), cr.from_numpy(y))
        return DataLoader(dataset, batch_size=16, shuffle=True, generator=cr.Generator().manual_seed(9))

    whole = trainer(network(), epochs=5)
    whole.fit(loader())
    part = trainer(network(), epochs=2)
    part.fit(loader())
    part.save(tmp_path / "state")
    again = trainer(network(), epochs=5)
    again.resume(tmp_path / "state")
    again.fit(loader())
    assert state_bits(whole.model) == state_bits(again.model)


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    own = make(epochs=2)
    fit(own)
    own.save(tmp_path / "state")
    return tmp_path / "state"


def test_a_damaged_file_is_refused_and_changes_nothing(saved: Path) -> None:
    contents = saved.read_bytes()
    own = make()
    before = state_bits(own.model)
    for at in np.linspace(0, len(contents) - 1, 25).astype(int):
        damaged = bytearray(contents)
        damaged[at] ^= 0x40
        saved.write_bytes(damaged)
        with pytest.raises((FileError, DataError)):
            own.resume(saved)
    for length in (0, 7, len(contents) // 2, len(contents) - 1):
        saved.write_bytes(contents[:length])
        with pytest.raises((FileError, DataError)):
            own.resume(saved)
    with pytest.raises(FileError, match="there is no file"):
        own.resume(saved.with_name("other"))
    assert state_bits(own.model) == before
    assert len(own.history) == 0


def test_a_file_of_another_kind_or_version_is_refused(saved: Path, tmp_path: Path) -> None:
    cr.save(network().state_dict(), tmp_path / "model")
    with pytest.raises(DataError, match="holds no training state. Give a file that Trainer.save wrote"):
        make().resume(tmp_path / "model")
    cr.save({**cr.load(saved), "format": 99}, tmp_path / "newer")
    with pytest.raises(DataError, match="is of format 99; expected 1"):
        make().resume(tmp_path / "newer")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: rich_network(outputs=4), r"4\.weight is float32 \(3, 8\) in the file, float32 \(4, 8\) in the model"),
        (lambda: rich_network().double(), r"0\.weight is float32 \(8, 3\) in the file, float64 \(8, 3\) in the model"),
        (lambda: nn.Sequential(*rich_network(), nn.Linear(3, 3)), r"5\.weight of shape \(3, 3\) is not in the file"),
        (lambda: nn.Sequential(*[*rich_network()][:-1]), r"4\.weight of shape \(3, 8\) is not in the model"),
        (
            lambda: nn.Sequential(*[*rich_network()][:2], nn.Tanh(), *[*rich_network()][3:]),
            r"\(2\): ReLU\(\) then, \(2\): Tanh\(\) now",
        ),
        (lambda: nn.Sequential(*rich_network(), nn.Tanh()), "lines when printed"),
    ],
)
def test_another_model_is_refused_with_what_differs(model: Any, message: str, saved: Path) -> None:
    own = make(model())
    before = state_bits(own.model)
    with pytest.raises(ArgumentError, match=message):
        own.resume(saved)
    assert state_bits(own.model) == before


def test_another_optimizer_is_refused(saved: Path) -> None:
    with pytest.raises(ArgumentError, match="the optimizer is SGD; expected Adam, as in the saved run"):
        make(optimizer="sgd").resume(saved)
    model = rich_network()
    with pytest.raises(ChainruleError, match="parameter"):
        make(model, optimizer=cr.optim.Adam(model[0].parameters())).resume(saved)


def test_other_data_are_refused(saved: Path) -> None:
    own = make()
    own.resume(saved)
    X, y = classes(48)
    changed = X.copy()
    changed[0, 0] += 1e-6
    for data in ((changed, y), (X, y[::-1]), (X[:40], y[:40]), (X, y, np.ones(48))):
        with pytest.raises(DataError, match="the training data differ from those of the run that is to go on"):
            own.fit(data, val=classes(20, seed=1))
    assert len(fit(own)) == EPOCHS


def test_another_environment_is_warned_of_with_the_differences(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = checkpoint.environment()
    there = {**here, "numpy": "1.0", "blas_threads": "64", "python": "2.7"}
    monkeypatch.setattr(checkpoint, "environment", lambda: there)
    with pytest.warns(UserWarning, match=r"in another environment \(numpy: .* then, 1.0 now; blas_threads: ") as seen:
        make().resume(saved)
    assert "python" not in str(seen[0].message)


def test_other_settings_are_warned_of_and_other_limits_are_not(saved: Path) -> None:
    with pytest.warns(
        UserWarning, match="with other settings .batch_size: 16 then, 8 now; clip_norm: None then, 1.0 now"
    ):
        make(batch_size=8, clip_norm=1.0).resume(saved)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(epochs=99, patience=3, time_limit=9.0, progress=False).resume(saved)


def test_the_environment_says_what_bits_depend_on() -> None:
    here = checkpoint.environment()
    assert {*checkpoint.BITS_DEPEND_ON, "python"} == here.keys()
    assert here["numpy"] == np.__version__
    assert here["blas_threads"] == "1"
    assert all(here.values())


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_what_was_saved_before_training_began_begins_with_the_rate_of_its_schedule(
    schedule: str, tmp_path: Path
) -> None:
    whole = trainer(network(), schedule=schedule, lr=0.05)
    whole.fit(classes(48))
    trainer(network(), schedule=schedule, lr=0.05).save(tmp_path / "state")
    other = trainer(network(seed=7), schedule=schedule, lr=0.05)
    other.resume(tmp_path / "state")
    other.fit(classes(48))
    assert state_bits(other.model) == state_bits(whole.model)
