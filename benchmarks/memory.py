"""Memory: what a compiled step takes beside its data, that long trainings and many compilations do not add to it, and peers.

    python benchmarks/memory.py
    python benchmarks/memory.py --parts steps networks --steps 100000 --compilations 40
    python benchmarks/memory.py --parts peers --networks mnist-128 --peers chainrule-fit torch-eager --json memory.json

growth   peak memory of a process that trains one pass over its data, less that of one that does the same with a network of
         two numbers, beside what is announced: the step's arena and its data (arrays, parameters, states of the optimizer).
         The native code is on disk. They should differ by no more than 10 % and 1 MiB
steps    what resident memory grows by over a million steps of XOR, after the first 50,000 or, many in one call, 500,000
networks what it grows by over 200 compilations of different networks, each trained and let go, after the first 20
peers    the largest resident memory of a process that trains a network for some tenths of a second, 100,000 steps at most, in
         all: Python, NumPy, the library and the rows, with one thread. × is that of a peer over that of ours, the largest of
         ours. Ours compile: their cache is empty. "disk" is the same again, with the code that was left there. Peers keep what
         caches they have; what they let other processes compile is not counted

Each row is a process of its own, pinned to one CPU. Linux alone says what is asked here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from children import NO_VARIABLES, Child, Failed, cpus
from networks import NETWORKS, TITLES
from peers import PEERS
from steps import about_the_machine, times

MIB = 1 << 20
PARTS = ("growth", "steps", "networks", "peers")
TURN = 0.2  # seconds that a peer trains at a time, at least
MOST = 100_000  # steps at a time, at most: the losses of all steps are kept, and who does more of them would keep more

BEGIN = """
import gc, json, sys
import numpy as np
import chainrule as cr
from chainrule import nn
F = nn.functional

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def peak():
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))

def step_of(model, optimizer, loss):
    @cr.compile
    def step(x, y):
        optimizer.zero_grad()
        error = loss(model(x), y)
        error.backward()
        optimizer.step()
        return error
    return step

def layers(sizes, activation):
    found = []
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        found += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*found[:-1])

def say(**values):
    print(json.dumps(values))

given = json.loads(sys.argv[1])
cr.set_num_threads(1)
cr.manual_seed(0)
"""

GROWTH = """
sizes, rows, batch = given["sizes"], given["rows"], given["batch"]
X = np.random.default_rng(0).random((rows, sizes[0]), np.float32)
y = np.random.default_rng(1).integers(0, sizes[-1], rows)
model = layers(sizes, nn.ReLU)
optimizer = cr.optim.Adam(model.parameters(), lr=1e-4)
step = step_of(model, optimizer, F.cross_entropy)
step.over(X, y, batch_size=batch, passes=2)
program = step._native()
state = sum(p.detach().numpy().nbytes for p in model.parameters())
state += sum(np.asarray(v._value).nbytes for s in optimizer.state.values() for v in s.values())
say(peak=peak(), arena=program.size, data=X.nbytes + y.nbytes + state,
    cached=program.loaded.from_cache)
"""

FIT = """
sizes, rows, batch = given["sizes"], given["rows"], given["batch"]
X = np.random.default_rng(0).random((rows, sizes[0]), np.float32)
y = np.random.default_rng(1).integers(0, sizes[-1], rows)
model = layers(sizes, nn.ReLU)
trainer = cr.Trainer(model, loss="cross_entropy", optimizer="adam", lr=1e-4, batch_size=batch, epochs=2, progress=False)
trainer.fit((X, y))
assert trainer.engine().startswith("native"), trainer.engine()
program = trainer._engine._step.call._native()
weights = sum(p.detach().numpy().nbytes for p in model.parameters())
states = sum(np.asarray(v._value).nbytes for s in trainer.optimizer.state.values() for v in s.values())
# beside the model and the optimizer: where training stood when the epoch began, which was the best until then; and the new best
say(peak=peak(), arena=program.size, data=X.nbytes + y.nbytes + 3 * weights + 2 * states,
    cached=program.loaded.from_cache)
"""

STEPS = """
X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
y = np.array([[0], [1], [1], [0]], np.float32)
model = layers([2, 4, 1], nn.Tanh)
if given["how"] == "call":
    step = step_of(model, cr.optim.SGD(model.parameters(), lr=0.1), F.binary_cross_entropy_with_logits)
    x, t = cr.from_numpy(X), cr.from_numpy(y)
    def run(steps):
        for _ in range(steps):
            step(x, t)
elif given["how"] == "repeat":
    step = step_of(model, cr.optim.SGD(model.parameters(), lr=0.1), F.binary_cross_entropy_with_logits)
    x, t = cr.from_numpy(X), cr.from_numpy(y)
    def run(steps):
        for _ in range(steps // 10_000):
            step.repeat(x, t, times=10_000)
else:
    many, wanted = np.tile(X, (2500, 1)), np.tile(y, (2500, 1))
    trainer = cr.Trainer(model, loss="bce_with_logits", optimizer="sgd", lr=0.1, batch_size=4, epochs=1, progress=False)
    def run(steps):
        trainer.epochs = len(trainer.history) + steps // 2500
        trainer.fit((many, wanted))
run(50_000 if given["how"] == "call" else 500_000)  # also until straight-line code is made
gc.collect()
before = resident()
run(given["steps"])
gc.collect()
say(growth=resident() - before)
"""

NETWORKS_LET_GO = """
x, y = cr.randn(16, 8), cr.randint(0, 3, (16,))
def train(k):
    activation = [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU][k % 4]
    model = layers([8, 5 + k, 4 + k % 7, 3], activation)
    step = step_of(model, cr.optim.Adam(model.parameters()), F.cross_entropy)
    for _ in range(3):
        step(x, y)
    return step.engine()
for k in range(20):
    engine = train(k)
assert engine.startswith("native"), engine
gc.collect()
before = resident()
for k in range(20, 20 + given["count"]):
    train(k)
gc.collect()
say(growth=resident() - before)
"""

SHAPES = {
    "784-128-64-10, batch 128": {"sizes": [784, 128, 64, 10], "rows": 12_800, "batch": 128},
    "784-128-64-10, batch 4096": {"sizes": [784, 128, 64, 10], "rows": 8_192, "batch": 4096},
    "54-100-7, batch 200": {"sizes": [54, 100, 7], "rows": 100_000, "batch": 200},
    "1024-4096-4096-1000, batch 256": {"sizes": [1024, 4096, 4096, 1000], "rows": 512, "batch": 256},
}
BARE = {"sizes": [1, 2, 2], "rows": 8, "batch": 4}


def run(program: str, given: dict[str, Any], cache: str) -> dict[str, Any]:
    """Run a program in a new process and return what it says."""
    environ = {
        **os.environ, "CHAINRULE_COMPILE": "1", "CHAINRULE_CACHE": cache,
        "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    pinned = cpus(1)
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program, json.dumps(given)],
        env=environ, capture_output=True, text=True, check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, pinned),
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def growth(program: str, name: str, folder: str) -> bool:
    """Print announced and measured growth for each shape; return whether all are within the limits."""
    print(f"{name:44} {'arena':>8} {'data':>8} {'measured':>9} {'apart':>7}  limit (MiB)")
    fine = True
    for given in (BARE, *SHAPES.values()):
        run(program, given, folder)  # so that the code is on disk
    bare = run(program, BARE, folder)
    for shape, given in SHAPES.items():
        found = run(program, given, folder)
        told = found["arena"] + found["data"]
        measured = found["peak"] - bare["peak"]
        limit = 0.1 * told + MIB
        fine = fine and abs(measured - told) <= limit and found["cached"]
        print(
            f"{shape:44} {found['arena'] / MIB:8.2f} {found['data'] / MIB:8.2f} {measured / MIB:9.2f} "
            f"{(measured - told) / MIB:+7.2f}  {limit / MIB:.2f}",
            flush=True,
        )
    return fine


def in_all(network: str, name: str, variables: Mapping[str, str] = NO_VARIABLES) -> tuple[float, str]:
    """Let a peer train a network; return its largest memory in MB, or why there is none."""
    if missing := PEERS[name].missing():
        return float("nan"), f"not installed: {', '.join(missing)}"
    try:
        child = Child(name, PEERS[name], network, 1, 0, variables)
        if not child.refused:
            child.choose_passes(TURN, max(1, MOST // NETWORKS[network].batches))
        child.end()
    except Failed as failed:
        return float("nan"), str(failed)
    return child.total, child.refused


def beside_peers(network: str, peers: list[str]) -> dict[str, Any]:
    """Print what each takes in all, training a network; return the figures."""
    found, notes, disk = {}, {}, {}
    for name in peers:
        with tempfile.TemporaryDirectory() as folder:
            found[name], notes[name] = in_all(network, name, {"CHAINRULE_CACHE": folder})
            if PEERS[name].is_ours:
                disk[name], _ = in_all(network, name, {"CHAINRULE_CACHE": folder})
    ours = max((found[name] for name in disk), default=float("nan"))
    print(f"\n{TITLES[network]}\n  {'':<20}{'MB':>8}{'disk':>8}{'×':>8}")
    for name, total in found.items():
        again, share = f"{disk[name]:.0f}" if name in disk else "", "" if name in disk else times(total / ours)
        print(f"  {name:<20}" + (notes[name] or f"{total:>8.0f}{again:>8}{share:>8}"), flush=True)
    return {"network": network, "ours_mb": ours, "mb": found, "from_disk_mb": disk, "notes": notes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=1_000_000, help="of XOR")
    parser.add_argument("--compilations", type=int, default=200)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS), metavar="NAME")
    parser.add_argument("--json", type=Path, help="a file for the figures of the peers")
    options = parser.parse_args()
    if not Path("/proc/self/statm").exists():
        raise SystemExit("memory is measured through /proc, which is not here")
    fine = True
    with tempfile.TemporaryDirectory() as folder:
        if "growth" in options.parts:
            fine = growth(GROWTH, "growth over the bare runtime, step.over", folder)
            fine = growth(FIT, "growth over the bare runtime, Trainer.fit", folder) and fine
        for how in ("call", "repeat", "fit") if "steps" in options.parts else ():
            found = run(STEPS, {"how": how, "steps": options.steps}, folder)["growth"]
            fine = fine and found < MIB
            print(f"{options.steps:,} steps of XOR by {how:6} {found / MIB:+.2f} MiB (limit 1)", flush=True)
        if "networks" in options.parts:
            found = run(NETWORKS_LET_GO, {"count": options.compilations}, "off")["growth"]
            fine = fine and found < 20 * MIB
            print(f"{options.compilations} compilations of different networks {found / MIB:+.2f} MiB (limit 20)")
    if "peers" in options.parts:
        results = [beside_peers(network, options.peers) for network in options.networks]
        if options.json:
            figures = {"machine": about_the_machine(), "results": results}
            options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    if not fine:
        raise SystemExit("some are beyond their limit")


if __name__ == "__main__":
    main()
