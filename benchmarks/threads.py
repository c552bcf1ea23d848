"""What a second thread gains: compiled steps with one thread, with two, and with as many as chainrule chooses itself.

    python benchmarks/threads.py                                 # every network
    python benchmarks/threads.py --networks mnist-128 covertype --rounds 30 --limit 120 --json threads.json

All in one process, pinned to two CPUs. A round lets each of the three ways, each with a model of its own, work for a short
turn, in another order each time; first with fewer steps, which are not timed. In those of "chosen" chainrule tries anew
which number is faster.

A host may run two virtual CPUs on one core for seconds at a time; a second thread gains nothing then, whatever the code.
So the machine is probed before and after each round: how much more a loop of multiply-adds does on both CPUs at once than
on one. A round counts if both say 1.9 times or more, and if no other process had the CPUs: a short probe does not see one,
but Linux says how long threads that could run have waited. Rounds go on until enough counted, or the time is up; figures
are medians over those that counted.

    gain      time of a step with one thread over that with two, within a round
    barrier   what it costs that two threads wait for each other, as they do after each kernel of a step
    away      how much longer a step takes with the number chosen than with the better one, within a round
    took 2    how often two threads were chosen
    rounds    how many counted, of how many

Small networks are straight-line code, which one thread runs whatever is asked for: their gain is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from children import cpus
from networks import NETWORKS, Network
from peers import ours
from peers.machine import Probe
from steps import about_the_machine, micros, percent, show_at_once

import chainrule as cr
from chainrule.run import steps as native
from chainrule.run.steps import Steps

WAYS: dict[str, int | None] = {"one": 1, "two": 2, "chosen": None}
FREE = 1.9  # times as much on two CPUs as on one: two free cores
MOST_WAITED = 0.02  # of a round's time, by all threads
PROBE = 2e-3  # seconds
WARM_UP = 0.2  # of a turn
BARRIERS = 20_000


@dataclass
class Round:
    """What one round found: the probes before and after it, seconds per step by way, and the rest."""

    probes: tuple[float, float] = (0.0, 0.0)
    waited: float = 0.0  # for a CPU that others had, of the round's time
    seconds: dict[str, float] = field(default_factory=dict)
    barrier: float = 0.0
    chosen: int = 1

    @property
    def counts(self) -> bool:
        return min(self.probes) >= FREE and self.waited <= MOST_WAITED


def waited() -> float:
    """Return for how many seconds the threads of this process could have run but had no CPU; 0 if nobody knows."""
    total = 0
    for file in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # the thread has ended
            total += int(file.read_text(encoding="ascii").split()[1])
    return 1e-9 * total


class Barriers:
    """Records without items: all that is left of each is that the threads wait for each other."""

    def __init__(self) -> None:
        double = cr.compile(lambda x: x + x)
        double(cr.ones(1))
        self.steps = Steps(double._native(), {}, [])
        self.table, self.moves = np.zeros((BARRIERS, 3), np.int64), np.zeros((0, 2), np.int64)
        self.seconds()

    def seconds(self) -> float:
        """Return what one costs."""
        frame = self.steps.ready.frame.copy()
        began = time.perf_counter()
        self.steps._some_steps(frame, self.table, self.moves, 1, 2)
        return (time.perf_counter() - began) / BARRIERS


class Way:
    """Compiled steps with a number of threads, None for what chainrule chooses."""

    def __init__(self, network: Network, threads: int | None) -> None:
        self.threads, self.peer, self.passes = threads, ours.Steps(network), 1
        self.batches = 1 if network.source in ("xor", "matrix_exponential") else network.batches

    def run(self, passes: int) -> float:
        """Train; return the seconds."""
        cr.set_num_threads(self.threads)
        began = time.perf_counter()
        self.peer.run(passes)
        return time.perf_counter() - began

    def runners(self) -> list[Steps]:
        return [steps for entry in self.peer.step._traces.entries for steps in entry.traced._steps.values()]

    def turn(self) -> float:
        """Return the seconds of a step."""
        if self.threads is None:
            for steps in self.runners():
                steps._calls = native.ANEW - 1  # the next call tries both
        if self.passes > 1 or self.threads is None:  # one pass that is longer than a turn warms nothing up
            self.run(max(int(WARM_UP * self.passes), 1))
        return self.run(self.passes) / (self.passes * self.batches)

    def chosen(self) -> int:
        """Return how many threads were fastest when it was tried."""
        return max([min(steps._seconds, key=steps._seconds.__getitem__, default=1) for steps in self.runners()])


def get_ready(network: Network, turn: float) -> dict[str, Way]:
    """Return the ways, compiled, with as many passes as take a turn with one thread."""
    ways = {name: Way(network, threads) for name, threads in WAYS.items()}
    one = ways["one"]
    one.run(1)
    for _ in range(10):
        took = one.run(one.passes)
        if took > 0.6 * turn:
            break
        one.passes = max(one.passes + 1, int(one.passes * min(turn / took, 50)))
    for way in ways.values():
        way.passes = one.passes
        for _ in range(3):
            way.run(way.passes)
    return ways


def measure(network: Network, rounds: int, turn: float, limit: float, probe: Probe, barriers: Barriers) -> list[Round]:
    """Let the ways take turns until so many rounds counted, or the seconds are over."""
    ways = get_ready(network, turn)
    order = random.Random(0)
    found: list[Round] = []
    counted, end = 0, time.monotonic() + limit
    while counted < rounds and time.monotonic() < end:
        one = Round()
        before, began, waited_before = probe.gain(), time.perf_counter(), waited()
        for name in order.sample(list(ways), len(ways)):
            one.seconds[name] = ways[name].turn()
        one.barrier = barriers.seconds()
        one.waited = (waited() - waited_before) / (time.perf_counter() - began)
        one.probes, one.chosen = (before, probe.gain()), ways["chosen"].chosen()
        found.append(one)
        counted += one.counts
    return found


def summary(found: list[Round]) -> dict[str, Any]:
    """Return the medians over the rounds that counted."""
    counted = [one for one in found if one.counts]
    told: dict[str, Any] = {"rounds": len(found), "counted": len(counted)}
    if not counted:
        return told
    told |= {f"{name}_seconds": statistics.median(one.seconds[name] for one in counted) for name in WAYS}
    told["gain"] = statistics.median(one.seconds["one"] / one.seconds["two"] for one in counted)
    # The better one by all rounds: the smaller of two times of the same round is often so by chance.
    better = "two" if told["gain"] > 1 else "one"
    told["away"] = statistics.median(one.seconds["chosen"] / one.seconds[better] for one in counted) - 1
    told["barrier_seconds"] = statistics.median(one.barrier for one in counted)
    told["chose_two"] = statistics.fmean(one.chosen == 2 for one in counted)
    return told


def show(name: str, told: dict[str, Any], wanted: int) -> None:
    """Print a line of the table."""
    rounds = f"{told['counted']} of {told['rounds']}"
    if not told["counted"]:
        print(f"  {name:<12}no round with two free cores, of {told['rounds']}")
        return
    steps = "".join(f"{micros(told[f'{way}_seconds']):>10}" for way in WAYS)
    note = "" if told["counted"] >= wanted else f"  fewer than {wanted} counted: the time was up"
    print(
        f"  {name:<12}{steps}{told['gain']:>8.2f}{1e9 * told['barrier_seconds']:>8.0f} ns{100 * told['away']:>+8.1f}%"
        f"{percent(told['chose_two']):>8}{rounds:>12}{note}"
    )


def main() -> None:
    """Measure, print, and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=40, help="that count, for each network")
    parser.add_argument("--turn", type=float, default=0.05, help="seconds that a way works in a turn, about")
    parser.add_argument("--limit", type=float, default=90, help="seconds for each network, about")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    told = parser.parse_args()
    show_at_once()
    pinned = cpus(2)
    if len(pinned) < 2 or not hasattr(os, "sched_setaffinity"):
        print("two CPUs to which a process can be pinned are needed: nothing measured")
        return
    os.sched_setaffinity(0, pinned)
    for name in ("CHAINRULE_THREADS", "OMP_NUM_THREADS"):
        os.environ.pop(name, None)  # they name the number, or bound it
    machine = about_the_machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    try:
        probe = Probe(PROBE)
    except RuntimeError as error:
        print(f"{error}: nothing measured")
        return
    barriers = Barriers()
    print(
        f"\n  {'step':<12}{'1 thread':>10}{'2 threads':>10}{'chosen':>10}{'gain':>8}{'barrier':>11}{'away':>9}", end=""
    )
    print(f"{'took 2':>8}{'rounds':>12}")
    results = []
    for name in told.networks:
        found = measure(NETWORKS[name], told.rounds, told.turn, told.limit, probe, barriers)
        results.append({"network": name, **summary(found), "all": [asdict(one) for one in found]})
        show(name, results[-1], told.rounds)
    print(f"\n{ours.versions()}")
    if told.json:
        told.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
