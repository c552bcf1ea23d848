"""Native training that is interrupted, killed or saved anywhere, and gone on with, ends with the bits of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compiler import target
from chainrule.run import threads
from chainrule.run.steps import Steps
from chainrule.training import stretches
from tests.training.problems import Recorder, rows_without_times, state_bits

ROOT = Path(__file__).parent.parent.parent
EPOCHS, BATCHES = 4, 13

pytestmark = pytest.mark.usefixtures("native")


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")


# Sums over features are longer than three chunks; the last batch is smaller; nothing is a multiple of the lanes.
FEATURES, ROWS, BATCH = 777, 29 * (BATCHES - 1) + 7, 29

SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam", "lr": 0.01},
    "momentum, one cycle by batch": {
        "optimizer": lambda parameters: cr.optim.SGD(parameters, lr=0.05, momentum=0.9),
        "schedule": "one_cycle",
        "schedule_by": "batch",
    },
    "adamw, clipped": {"optimizer": "adamw", "weight_decay": 0.1, "clip_norm": 0.5, "class_weight": "balanced"},
}


def data(rows: int, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, FEATURES)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)


def make(name: str, **options: Any) -> cr.Trainer:
    cr.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(FEATURES, 33), nn.BatchNorm1d(33), nn.ReLU(), nn.Dropout(0.3), nn.Linear(33, 3)
    )  # fmt: skip
    given = {"epochs": EPOCHS, "batch_size": BATCH, "progress": False, "metrics": ["accuracy"], **SETTINGS[name]}
    return cr.Trainer(model, **given, **options)


def fit(own: cr.Trainer) -> cr.History:
    done = own.standing().epochs
    history = own.fit(data(ROWS, 0), val=data(95, 1))
    assert done == EPOCHS or own.engine().startswith("native"), own.engine()
    return history


def result(own: cr.Trainer) -> tuple[Any, ...]:
    kept = own.standing()
    weights = {name: array.tobytes() for name, array in kept.weights.items()}
    return state_bits(own.model), weights, rows_without_times(own.history), own.history.best_epoch, kept.generators


def whole(name: str) -> tuple[Any, ...]:
    own = make(name)
    fit(own)
    return result(own)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("call", [1, 8, 17, 38])
def test_ctrl_c_amid_an_epoch(name: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = whole(name)
    calls = 0
    run = Steps.run

    def counted(steps: Steps, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            signal.raise_signal(signal.SIGINT)
        return run(steps, *args)

    with monkeypatch.context() as patch:
        patch.setattr(stretches, "SECONDS", 0.0)  # a native call for each batch
        patch.setattr(Steps, "run", counted)
        interrupted = make(name, checkpoint=tmp_path / "state")
        history = fit(interrupted)
    assert history.stopped == "interrupted"
    assert " of 13 batches" in history.partial
    again = make(name)
    again.resume(tmp_path / "state")
    assert len(again.history) == (call - 1) // 14  # 13 batches and a look
    fit(again)
    assert result(again) == expected


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(("epoch", "batch"), [(1, 1), (2, 7), (3, 12), (4, 13)])
def test_stopped_by_a_callback_that_sees_every_batch(name: str, epoch: int, batch: int, tmp_path: Path) -> None:
    class Stops(Recorder):
        def on_batch_end(self, trainer: cr.Trainer, at: int, number: int, loss: float, outputs: cr.Tensor) -> None:
            if (at, number) == (epoch, batch):
                trainer.stop()

    first = make(name, callbacks=[Stops()])
    fit(first)
    first.save(tmp_path / "state")
    again = make(name)
    again.resume(tmp_path / "state")
    fit(again)
    assert result(again) == whole(name)


@pytest.mark.parametrize("name", SETTINGS)
def test_saved_after_every_epoch(name: str, tmp_path: Path) -> None:
    def save(trainer: cr.Trainer, epoch: int, row: dict[str, float]) -> None:
        trainer.save(tmp_path / f"{epoch}")

    saving = make(name, callbacks=[save])
    fit(saving)
    for epoch in range(1, EPOCHS):
        again = make(name)
        again.resume(tmp_path / f"{epoch}")
        assert len(again.history) == epoch
        fit(again)
        assert result(again) == result(saving)


PROGRAM = """
import os, signal, sys
sys.path.insert(0, {root!r})
from tests.training.test_native_resume import *
own = make({name!r}, checkpoint={path!r})
if {resume}:
    own.resume({path!r})
else:
    run, calls = Steps.run, []
    def killed(steps, *args):
        calls.append(args)
        if len(calls) == {call}:
            os.kill(os.getpid(), signal.SIGKILL)
        return run(steps, *args)
    Steps.run = killed
fit(own)
own.save({path!r})
"""


@pytest.mark.parametrize(("name", "call"), [*zip(SETTINGS, (2, 5, 8), strict=True)])
def test_killed_and_gone_on_with_in_another_process(name: str, call: int, tmp_path: Path) -> None:
    path = str(tmp_path / "state")

    def process(resume: bool) -> int:
        code = PROGRAM.format(root=str(ROOT), name=name, path=path, call=call, resume=resume)
        return subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, env=os.environ).returncode

    assert process(resume=False) == -signal.SIGKILL
    assert process(resume=True) == 0
    ended = make(name)
    ended.resume(path)
    assert len(ended.history) == EPOCHS
    fit(ended)
    assert result(ended) == whole(name)


def test_gone_on_with_by_two_threads_and_narrower_registers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = whole("adam")
    first = make("adam", callbacks=[lambda own, epoch, row: own.stop() if epoch == 2 else None])
    fit(first)
    first.save(tmp_path / "state")
    monkeypatch.setattr(threads, "_chosen", 2)
    if target.host().avx512:
        monkeypatch.setenv(target.VARIABLE, "avx2")
    again = make("adam")
    again.resume(tmp_path / "state")
    fit(again)
    assert result(again) == expected
