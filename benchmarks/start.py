"""From the start of a process: until the library is there, the first training step is done, and the network is trained.

    python benchmarks/start.py
    python benchmarks/start.py --processes 10 --programs chainrule-fit sklearn --json start.json

first   what the first call of a compiled training step takes, up to its result: 784-128-64-10 (ReLU, 128 rows) and 20
        hidden layers of 64 (tanh, 64 rows), cross-entropy and Adam; llvmlite's import is in it
xor     2-4-1 until each output is within 0.1 of its target (scikit-learn by L-BFGS, which it advises for few rows)
digits  64-64-10 on scikit-learn's 1,797 handwritten digits until at least 97 % of 360 others are right, looked at after
        each epoch of batches of 32

Figures are medians over processes, which take turns, each pinned to one CPU, counted from before the process is made.
"empty" gives chainrule a new, empty CHAINRULE_CACHE each time; "warm" the one that an earlier process left.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from children import cpus
from peers import environment
from steps import about_the_machine, show_at_once

# What every program begins and ends with. `now` is called when the library is imported, after a step, and when trained.
BEGIN = """
import json, sys, time
times = []
now = lambda: times.append(time.monotonic())
import numpy as np
"""
END = """
now()
print(json.dumps(times))
"""
XOR = """
X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
y = np.array([[0], [1], [1], [0]], np.float32)
"""
DIGITS = """
X, y, X_val, y_val = (np.load(sys.argv[1] + "/" + name + ".npy") for name in ("X", "y", "X_val", "y_val"))
"""

# {compile} is a decorator or nothing, LOSS a function.
STEP = """
{compile}
def step(x, t):
    optimizer.zero_grad()
    loss = nn.functional.LOSS(model(x), t)
    loss.backward()
    optimizer.step()
    return loss
"""


def of_torch(program: str) -> str:
    """Return the same program for PyTorch, with one thread."""
    return program.replace("chainrule", "torch").replace(
        "import torch as cr", "import torch as cr\ncr.set_num_threads(1)"
    )


CHAINRULE_XOR = f"""
import chainrule as cr
from chainrule import nn
cr.manual_seed(0)  # biases, too: some starts end in a local minimum
model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
now()
{XOR}
nn.init.xavier_uniform_(model[0].weight), nn.init.xavier_uniform_(model[2].weight)
"""
LOOP_XOR = (
    """
optimizer = cr.optim.Adam(model.parameters(), lr=0.05{fused})
x, t = cr.from_numpy(X), cr.from_numpy(y)
"""
    + STEP.replace("LOSS", "binary_cross_entropy_with_logits")
    + """
step(x, t)
now()
for k in range(5000):
    step(x, t)
    if k % 20 == 0:
        with cr.no_grad():
            if (model(x).sigmoid() - t).abs().max().item() < 0.1:
                break
else:
    sys.exit("not trained in 5,000 steps")
"""
)
FIT_XOR = """
def look(trainer, epoch, row):
    if epoch == 1:
        now()
    if epoch % 20 == 1:
        with cr.no_grad():
            if (model(x).sigmoid() - t).abs().max().item() < 0.1:
                trainer.stop("trained")
x, t = cr.from_numpy(X), cr.from_numpy(y)
history = cr.fit(model, (X, y), loss="bce_with_logits", optimizer="adam", lr=0.05, batch_size=4, epochs=5000,
                 progress=False, keep_best=False, callbacks=[look])
assert history.stopped == "trained", history.stopped
"""
SKLEARN_XOR = f"""
from sklearn.neural_network import MLPClassifier
now()
{XOR}
for seed in range(20):  # some starts end in a local minimum
    model = MLPClassifier((4,), activation="tanh", solver="lbfgs", alpha=0.0, max_iter=1000, random_state=seed)
    model.fit(X, y[:, 0])
    if len(times) == 1:
        now()
    if abs(model.predict_proba(X)[:, 1] - y[:, 0]).max() < 0.1:
        break
else:
    sys.exit("not trained from 20 starts")
"""
CHAINRULE_DIGITS = f"""
import chainrule as cr
from chainrule import nn
cr.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
now()
{DIGITS}
"""
LOOP_DIGITS = (
    """
optimizer = cr.optim.Adam(model.parameters(), lr=2e-3{fused})
X, y, X_val, y_val = (cr.from_numpy(x) for x in (X, y, X_val, y_val))
"""
    + STEP.replace("LOSS", "cross_entropy")
    + """
for epoch in range(100):
    order = cr.randperm(len(X))
    for k in range(0, len(X), 32):
        rows = order[k:k + 32]
        step(X[rows], y[rows])
        if epoch == k == 0:
            now()
    with cr.no_grad():
        if (model(X_val).argmax(1) == y_val).float().mean().item() >= 0.97:
            break
else:
    sys.exit("not trained in 100 epochs")
"""
)
FIT_DIGITS = """
class First(cr.Callback):
    def on_batch_end(self, trainer, epoch, batch, loss, outputs):
        if epoch == batch == 1:
            now()
history = cr.fit(model, (X, y), val=(X_val, y_val), loss="cross_entropy", optimizer="adam", lr=2e-3, batch_size=32,
                 epochs=100, metrics=["accuracy"], monitor="val_accuracy", target=0.97, progress=False,
                 callbacks=[First()])
assert history.stopped == "target", history.stopped
"""
SKLEARN_DIGITS = f"""
from sklearn.neural_network import MLPClassifier
model = MLPClassifier((64,), alpha=0.0, batch_size=32, learning_rate_init=2e-3, random_state=0)
now()
{DIGITS}
model.partial_fit(X[:32], y[:32], classes=np.arange(10))
now()
for epoch in range(100):
    model.partial_fit(X, y)
    if model.score(X_val, y_val) >= 0.97:
        break
else:
    sys.exit("not trained in 100 epochs")
"""

FIRST = (
    """
import chainrule as cr
from chainrule import nn
cr.manual_seed(0)
sizes, make, rows = {sizes}, nn.{activation}, {rows}
layers = [part for n, m in zip(sizes, sizes[1:]) for part in (nn.Linear(n, m), make())]
model = nn.Sequential(*layers[:-1])
optimizer = cr.optim.Adam(model.parameters(), lr=1e-3)
x = cr.from_numpy(np.random.default_rng(0).standard_normal((rows, sizes[0])).astype(np.float32))
t = cr.from_numpy(np.arange(rows) % 10)
"""
    + STEP.replace("LOSS", "cross_entropy")
    + """
now()
began = time.process_time()
step(x, t)
now()
times.append(times[-2] + time.process_time() - began)
assert "not native" not in step.report(), step.report()
"""
)
EAGER = {"compile": "", "fused": ""}
FUSED = {"compile": "", "fused": ", fused=True"}
COMPILED = {"compile": "@cr.compile", "fused": ""}
FIRSTS = {
    "784-128-64-10": FIRST.format(**COMPILED, sizes=[784, 128, 64, 10], activation="ReLU", rows=128),
    "64-64 x 20-10": FIRST.format(**COMPILED, sizes=[64] * 21 + [10], activation="Tanh", rows=64),
}
PROGRAMS: dict[str, dict[str, str]] = {
    "chainrule-eager": {
        "xor": CHAINRULE_XOR + LOOP_XOR.format(**EAGER),
        "digits": CHAINRULE_DIGITS + LOOP_DIGITS.format(**EAGER),
    },
    "chainrule-compile": {
        "xor": CHAINRULE_XOR + LOOP_XOR.format(**COMPILED),
        "digits": CHAINRULE_DIGITS + LOOP_DIGITS.format(**COMPILED),
    },
    "chainrule-fit": {"xor": CHAINRULE_XOR + FIT_XOR, "digits": CHAINRULE_DIGITS + FIT_DIGITS},
    "sklearn": {"xor": SKLEARN_XOR, "digits": SKLEARN_DIGITS},
    "torch-eager": {
        "xor": of_torch(CHAINRULE_XOR) + LOOP_XOR.format(**FUSED),
        "digits": of_torch(CHAINRULE_DIGITS) + LOOP_DIGITS.format(**FUSED),
    },
}
TASKS = ("first", "xor", "digits")
NEEDS = {"sklearn": "sklearn", "torch-eager": "torch"}


def write_digits(folder: Path) -> None:
    """Write the digits as arrays: no program pays for scikit-learn only to read them."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = (X[order] / 16).astype(np.float32), y[order].astype(np.int64)
    for name, values in {"X": X[:-360], "y": y[:-360], "X_val": X[-360:], "y_val": y[-360:]}.items():
        np.save(folder / f"{name}.npy", values)


def run(program: str, folder: Path, cache: Path) -> list[float]:
    """Run a program; return the seconds until the import, the first step, and the end of training."""
    variables = os.environ | environment(1) | {"CHAINRULE_CACHE": str(cache)}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program + END, str(folder)], env=variables, text=True, capture_output=True
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1])
    return [at - began for at in json.loads(done.stdout)]


def first_calls(processes: int, place: Path) -> list[dict[str, Any]]:
    """Measure the first call of each network with an empty and a warm cache; print a table and return the figures."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in range(processes + 1):  # the first is not counted: it fills the caches
        for name, program in FIRSTS.items():
            for cache in ("empty", "warm"):
                own = place / "first" / (f"empty-{number}" if cache == "empty" else "warm") / name
                own.mkdir(parents=True, exist_ok=True)
                before, after, worked, _ = run(program, place, own)
                if number:
                    found.setdefault((name, cache), []).append((after - before, worked - before))
    print(f"\nthe first call, ms, medians of {processes} processes")
    print(f"  {'':<20}{'cache':>7}{'passed':>10}{'CPU time':>12}")
    results = []
    for (name, cache), values in found.items():
        passed, worked = (1e3 * statistics.median(column) for column in zip(*values, strict=True))
        print(f"  {name:<20}{cache:>7}{passed:>10.0f}{worked:>12.0f}")
        results.append({"task": "first", "network": name, "cache": cache, "ms": passed, "cpu_ms": worked})
    return results


def main() -> None:
    """Measure, print, and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--programs", nargs="+", choices=list(PROGRAMS), default=list(PROGRAMS), metavar="NAME")
    parser.add_argument("--processes", type=int, default=10, help="of each kind")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="NAME")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    told = parser.parse_args()
    show_at_once()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus(1))  # inherited by what is started
    machine = about_the_machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    tasks = list(told.tasks)
    if "digits" in tasks and importlib.util.find_spec("sklearn") is None:
        print("  without digits: sklearn not installed (pip install 'chainrule[peers]')")
        tasks.remove("digits")
    found: dict[tuple[str, str, str], list[list[float]]] = {}
    failed: dict[tuple[str, str, str], str] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if "digits" in tasks:
            write_digits(folder)
        results = first_calls(told.processes, folder) if "first" in tasks else []
        tasks = [task for task in tasks if task != "first"]
        kinds = []
        for name in told.programs:
            if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
                print(f"  without {name}: {NEEDS[name]} not installed (pip install 'chainrule[peers]')")
                continue
            caches = ["empty", "warm"] if name.startswith("chainrule") else ["-"]
            kinds += [(task, name, cache) for task in tasks for cache in caches]
        for number in range(told.processes + 1):  # the first is not counted: it fills the caches
            for kind in kinds:
                task, name, cache = kind
                if kind in failed:
                    continue
                own = folder / (f"empty-{number}" if cache == "empty" else "warm") / f"{task}-{name}"
                own.mkdir(parents=True, exist_ok=True)
                try:
                    times = run(PROGRAMS[name][task], folder, own)
                except RuntimeError as error:
                    failed[kind] = str(error)
                    continue
                if number:
                    found.setdefault(kind, []).append(times)
    for task in tasks:
        print(f"\n{task}, ms from the start of the process, medians of {told.processes}")
        print(f"  {'':<20}{'cache':>7}{'imported':>10}{'first step':>12}{'trained':>10}")
        for kind in kinds:
            if kind[0] != task:
                continue
            head = f"  {kind[1]:<20}{kind[2]:>7}"
            if kind in failed:
                print(f"{head}  {failed[kind]}")
                continue
            imported, first, trained = (1e3 * statistics.median(values) for values in zip(*found[kind], strict=True))
            print(f"{head}{imported:>10.0f}{first:>12.0f}{trained:>10.0f}")
            results.append(
                {
                    "task": task, "program": kind[1], "cache": kind[2], "imported_ms": imported, "first_step_ms": first,
                    "trained_ms": trained, "seconds": found[kind],
                }
            )  # fmt: skip
    if told.json:
        told.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
