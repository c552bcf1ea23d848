"""Processes that take turns: one for each peer, pinned alike, of which only one works at a time.

The machine's slow phases then slow all of them; what is compared is the ratio within a round.
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers import Entry, environment

HERE = Path(__file__).resolve().parent
LIMIT = 180  # seconds that a peer may take to get ready, or for a turn
NO_VARIABLES: Mapping[str, str] = {}
PAUSE = 0.02  # seconds before a turn, in which the threads of the one before go to sleep


def cpus(threads: int) -> list[int]:
    """Return as many CPUs as threads, the last ones that the process may use: others like the first."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(threads))
    return sorted(os.sched_getaffinity(0))[-threads:]


class Failed(Exception):
    """A peer could not do what it was told."""


class Child:
    """A worker: a peer with a subject. ``losses`` of the first passes, ``versions``, and what getting ready took.

    ``variables`` go into its environment.
    """

    def __init__(
        self,
        name: str,
        entry: Entry,
        subject: str,
        threads: int,
        check: int,
        variables: Mapping[str, str] = NO_VARIABLES,
    ) -> None:
        self.name, self.entry, self.passes = name, entry, 1
        self.found: list[Any] = []
        self.peak = self.imported = self.total = float("nan")
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
        told = {
            "module": entry.module, "of": entry.of, "subject": subject, "threads": threads, "check": check,
            "cpus": cpus(threads),
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), json.dumps(told)],
            env=os.environ | environment(threads) | dict(variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        first = self._read()
        self.refused: str = first.get("refused", "")
        self.losses: list[float] = first.get("losses", [])
        self.versions: str = first.get("versions", "")
        self.ready: float = first.get("seconds", float("nan"))

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        timer = threading.Timer(LIMIT, self.process.kill)
        began = time.monotonic()
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        if not line:
            self.process.wait()
            if time.monotonic() - began >= LIMIT:
                raise Failed(f"{self.name}: no answer within {LIMIT} s")
            self.errors.seek(0)
            said = self.errors.read().strip().splitlines()
            raise Failed(f"{self.name}: {said[-1] if said else f'ended with {self.process.returncode}'}")
        return json.loads(line)

    def turn(self, passes: int) -> float:
        """Let it train; return the seconds."""
        assert self.process.stdin is not None
        time.sleep(PAUSE)
        print(passes, file=self.process.stdin, flush=True)
        found = self._read()
        self.peak, self.imported, self.total = found["peak"], found["imported"], found["total"]
        self.found = found["found"]
        return found["seconds"]

    def choose_passes(self, seconds: float, most: float = math.inf) -> None:
        """Choose how many passes a turn has, so that it takes about that long; the last run warms that many up."""
        self.turn(self.passes)
        for _ in range(8):
            took = self.turn(self.passes)
            if took > 0.6 * seconds or self.passes >= most:
                break
            self.passes = int(min(max(self.passes + 1, self.passes * min(seconds / took, 50)), most))
            self.turn(self.passes)

    def end(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()


@dataclass
class Measured:
    """What was found for one peer: seconds per step round by round, and the rest."""

    name: str
    steps: list[float] = field(default_factory=list)
    versions: str = ""
    note: str = ""  # why it has no figures
    differs: str = ""  # why its losses are not those of the others
    losses: list[float] = field(default_factory=list)
    peak: float = float("nan")  # MB beyond imports and rows
    imported: float = float("nan")  # MB after the imports
    total: float = float("nan")  # MB at the most, with imports and rows
    ready: float = float("nan")  # seconds to build, compile and check
    of_floor: float = float("nan")  # how much of a step's time the floor is

    @property
    def median(self) -> float:
        return statistics.median(self.steps) if self.steps else float("nan")

    @property
    def best(self) -> float:
        return min(self.steps, default=float("nan"))


def by_pass(losses: Sequence[float], passes: int) -> list[float]:
    """Return the mean loss of each pass."""
    size = len(losses) // passes
    return [statistics.fmean(losses[k * size : (k + 1) * size]) for k in range(passes)]


SLOW = 5.0  # seconds of one turn: whoever takes longer works in the first few rounds only
FEW_ROUNDS = 3

Rates = tuple[float, float]  # of the machine in a round: multiplications and additions, and bytes, per second


def compare(
    subject: str, entries: dict[str, Entry], *, batches: int, threads: int, rounds: int, turn: float, check: int
) -> tuple[list[Measured], list[Rates]]:
    """Let the peers and the machine take turns with a subject; return what was found, in the peers' order."""
    found = {name: Measured(name) for name in entries}
    children: list[Child] = []
    rates: list[Rates] = []
    order = random.Random(0)  # another one in each round: what else the machine does may have a rhythm of its own
    machine = Child("machine", Entry("machine"), subject, threads, 0)
    try:
        for name, entry in entries.items():
            if missing := entry.missing():
                found[name].note = f"not installed: {', '.join(missing)}"
                continue
            try:
                child = Child(name, entry, subject, threads, check)
                found[name].note = child.refused
                found[name].versions, found[name].ready = child.versions, child.ready
                if child.refused:
                    child.end()
                    continue
                if check:
                    found[name].losses = by_pass(child.losses, check)
                child.choose_passes(turn)
                children.append(child)
            except Failed as failed:
                found[name].note = str(failed)
        for _ in range(rounds):
            machine.turn(1)
            rates.append(tuple(machine.found[0]))
            for child in order.sample(children, len(children)):
                steps = found[child.name].steps
                if len(steps) >= FEW_ROUNDS and child.passes * batches * min(steps) > SLOW:
                    continue
                try:
                    steps.append(child.turn(child.passes) / (child.passes * batches))
                except Failed as failed:
                    found[child.name].note = str(failed)
                    children.remove(child)
        for child in children:
            one = found[child.name]
            one.peak, one.imported, one.total = child.peak, child.imported, child.total
    finally:
        for child in [*children, machine]:
            child.end()
    return list(found.values()), rates


def note_differences(measured: Sequence[Measured], tolerance: float) -> str:
    """Mark the peers whose losses are not those of the first that has some; return its name."""
    with_losses = [one for one in measured if one.losses]
    if not with_losses:
        return ""
    reference = with_losses[0]
    for one in with_losses[1:]:
        pairs = list(zip(one.losses, reference.losses, strict=True))
        away = max(abs(a - b) / max(abs(b), 1e-6) for a, b in pairs)
        if not away <= tolerance:
            k = max(range(len(pairs)), key=lambda k: abs(pairs[k][0] - pairs[k][1]))
            one.differs = f"loss {pairs[k][0]:.6g} in pass {k + 1}, {reference.name} has {pairs[k][1]:.6g}"
    return reference.name


def ratio(ours: Measured, peer: Measured) -> float:
    """Return how many times as fast as the peer ours is: the median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(peer.steps, ours.steps, strict=False))
