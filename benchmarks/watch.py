"""What the watch for NaN and infinities costs while training natively: its share of an epoch's time.

    python benchmarks/watch.py
    python benchmarks/watch.py --epochs 20

The watch is three things: a copy of the state of training when an epoch begins (from which it is repeated where something
goes wrong), a look at every loss, and a look at all parameters, buffers and states of the optimizer when it ends. Each is
timed where it is done, inside `cr.Trainer`; shares are medians over epochs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.training import loop

WATCH = ("standing", "first_bad", "first_nonfinite")


class Network(NamedTuple):
    """A network, and how many rows it learns from in an epoch."""

    sizes: tuple[int, ...]
    activation: Callable[[], nn.Module]
    rows: int
    batch_size: int
    optimizer: str = "adam"


NETWORKS = {
    "784-128-64-10": Network((784, 128, 64, 10), nn.ReLU, 12_000, 32),
    "784-128-64-10, batch 128": Network((784, 128, 64, 10), nn.ReLU, 12_000, 128),
    "54-100-7": Network((54, 100, 7), nn.ReLU, 20_000, 200),
    "XOR 2-4-2, 10,000 batches": Network((2, 4, 2), nn.Tanh, 40_000, 4, "sgd"),
}


def share(network: Network, epochs: int) -> tuple[float, dict[str, float]]:
    """Return milliseconds of an epoch, and what part of it each part of the watch takes."""
    random = np.random.default_rng(0)
    X = random.normal(size=(network.rows, network.sizes[0])).astype(np.float32)
    y = random.integers(0, network.sizes[-1], network.rows)
    cr.manual_seed(0)
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(network.sizes, network.sizes[1:], strict=False):
        layers += [nn.Linear(fan_in, fan_out), network.activation()]
    spent = dict.fromkeys(WATCH, 0.0)
    found: list[tuple[float, dict[str, float]]] = []
    began = [0.0]

    class Clock(cr.Callback):
        def on_epoch_begin(self, trainer: cr.Trainer, epoch: int) -> None:
            spent.update(dict.fromkeys(WATCH, 0.0))
            began[0] = time.perf_counter()

        def on_epoch_end(self, trainer: cr.Trainer, epoch: int, row: dict[str, float]) -> None:
            found.append((time.perf_counter() - began[0], dict(spent)))

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args)
            finally:
                spent[name] += time.perf_counter() - start

        return run

    originals = {name: getattr(loop, name) for name in WATCH}
    for name, function in originals.items():
        setattr(loop, name, timed(name, function))
    try:
        trainer = cr.Trainer(
            nn.Sequential(*layers[:-1]), loss="cross_entropy", optimizer=network.optimizer, lr=1e-3,
            batch_size=network.batch_size, epochs=epochs + 2, progress=False, keep_best=False, callbacks=[Clock()],
        )  # fmt: skip
        trainer.fit((X, y))
    finally:
        for name, function in originals.items():
            setattr(loop, name, function)
    if not trainer.engine().startswith("native"):
        raise SystemExit(f"not native: {trainer.engine()}")
    counted = found[2:]  # after compiling
    shares = {name: statistics.median(parts[name] / seconds for seconds, parts in counted) for name in WATCH}
    return 1e3 * statistics.median(seconds for seconds, _ in counted), shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12, help="measured, of each network")
    options = parser.parse_args()
    cr.set_num_threads(1)
    print(f"{'network':28} {'epoch ms':>9} {'copy %':>8} {'losses %':>9} {'numbers %':>10} {'watch %':>8}")
    for name, network in NETWORKS.items():
        milliseconds, parts = share(network, options.epochs)
        shown = [100 * parts[part] for part in WATCH]
        print(
            f"{name:28} {milliseconds:9.2f} {shown[0]:8.2f} {shown[1]:9.2f} {shown[2]:10.2f} {sum(shown):8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
