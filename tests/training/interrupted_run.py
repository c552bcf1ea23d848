"""A process that trains natively and is sent Ctrl-C: it says when it was back, goes on from what was kept, and shows the bits.

    python interrupted_run.py KIND STATE_FILE

It prints a line when training begins ("begin"), when an epoch does ("epoch"), when the validation rows are looked at
("look"), and when an epoch ended ("told"); at last what happened, as JSON. Without STATE_FILE nobody interrupts it.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import time
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn

EPOCHS = {"xor": 120, "deep": 6, "much validation": 6}
Rows = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def rows(count: int, features: int, kinds: int, seed: int) -> Rows:
    random = np.random.default_rng(seed)
    return random.normal(size=(count, features)).astype(np.float32), random.integers(0, kinds, count)


def problem(kind: str) -> tuple[cr.Trainer, Rows, Rows | None]:
    cr.manual_seed(0)
    options: dict[str, Any] = {"epochs": EPOCHS[kind], "progress": False, "seed": 1}
    if kind == "xor":
        X = np.tile(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), (2000, 1))
        y = (X[:, :1] != X[:, 1:]).astype(np.float32)
        model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
        options.update(loss="bce_with_logits", optimizer="sgd", lr=0.05, batch_size=4)
        return cr.Trainer(model, **options), (X, y), None
    if kind == "deep":
        model = nn.Sequential(
            nn.Linear(784, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 64), nn.ReLU(),
            nn.Linear(64, 10),
        )  # fmt: skip
        options.update(optimizer="adam", lr=1e-3, batch_size=128, schedule="one_cycle", metrics=["accuracy"])
        return cr.Trainer(model, **options), rows(6000, 784, 10, 0), rows(3000, 784, 10, 1)
    model = nn.Sequential(nn.Linear(54, 100), nn.ReLU(), nn.Linear(100, 7))
    options.update(optimizer="adam", lr=1e-3, batch_size=200, metrics=["accuracy"], patience=5)
    return cr.Trainer(model, **options), rows(10_000, 54, 7, 0), rows(60_000, 54, 7, 1)


def bits(trainer: cr.Trainer) -> str:
    """A hash of the model, the optimizer and the history but for its times."""
    found = hashlib.sha256()
    for name, tensor in trainer.model.state_dict().items():
        found.update(name.encode() + tensor.numpy().tobytes())
    for state in trainer.standing().optimizer["state"].values():
        for name, value in state.items():
            found.update(name.encode() + np.asarray(getattr(value, "_value", value)).tobytes())
    for row in trainer.history:
        found.update(repr([(name, value) for name, value in row.items() if name != "seconds"]).encode())
    return found.hexdigest()


class Tells(cr.Callback):
    """Prints where training is, and sees what runs it."""

    engine = ""

    def on_epoch_begin(self, trainer: cr.Trainer, epoch: int) -> None:
        say("epoch")

    def on_epoch_end(self, trainer: cr.Trainer, epoch: int, row: dict[str, float]) -> None:
        self.engine = trainer.engine()
        say("told")


def say_looks(trainer: cr.Trainer) -> None:
    """Let the trainer say when it looks at validation rows."""
    look = trainer.look

    def looking(*args: Any) -> Any:
        say("look")
        return look(*args)

    trainer.look = looking  # type: ignore[method-assign]


def own_seconds() -> float:
    """How long this process has had a core."""
    try:
        with open("/proc/self/schedstat", encoding="ascii") as file:
            return int(file.read().split()[0]) / 1e9
    except OSError:  # not Linux
        return time.monotonic()


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have let it be ignored
    kind, *file = sys.argv[1:]
    trainer, data, val = problem(kind)
    say_looks(trainer)
    tells = Tells()
    trainer.callbacks.append(tells)
    raised = False
    began = time.monotonic()
    try:
        say("begin")
        trainer.fit(data, val=val)
    except KeyboardInterrupt:
        raised = True
    back, own = time.monotonic(), own_seconds()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    told = {
        "raised": raised, "stopped": trainer.history.stopped, "partial": trainer.history.partial,
        "epochs": len(trainer.history), "seconds": back - began, "back": back, "own": own, "engine": tells.engine,
    }  # fmt: skip
    if file:
        trainer.save(file[0])
        trainer, data, val = problem(kind)
        trainer.resume(file[0])
        trainer.fit(data, val=val)
        told["engine"] = told["engine"] or trainer.engine()
    say(json.dumps({**told, "bits": bits(trainer), "finally": trainer.history.stopped}))


if __name__ == "__main__":
    main()
