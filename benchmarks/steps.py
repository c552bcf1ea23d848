"""Whole training steps on data in memory: chainrule three ways, beside other libraries used as their authors advise.

    python benchmarks/steps.py                                   # every network, every peer, one thread
    python benchmarks/steps.py --networks mnist-32 xor --peers chainrule-compile jax-scan --threads 1 2
    python benchmarks/steps.py --rounds 15 --json steps.json

Each peer has a process of its own, pinned to as many CPUs as it may have threads. They take turns, one working at a time;
a figure is the median over the rounds. Before that each trains a few passes from the same weights on the same rows, and
one whose losses are not ours is named and not compared with; one whose pass over the rows takes longer than 5 s has 3 turns.

    ×       time of the peer over ours, the median of the ratios within a round: above 1, ours is faster
    step    the median over the rounds; best: the smallest of them
    floor   multiply-adds of the step at the machine's peak, and parameters with the optimizer's state read and written
            once; "of floor" is how much of the step's time that is
    MB      the process's largest memory beyond imports and rows; total: with them
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from children import Measured, compare, note_differences, ratio
from networks import NETWORKS, TITLES, Network
from peers import PEERS, Entry

TOLERANCE = 2e-3  # of a pass's mean loss, relative: float32, a few dozen steps


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS), metavar="NAME")
    parser.add_argument("--threads", nargs="+", type=int, default=[1], metavar="N")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--turn", type=float, default=0.2, help="seconds that a peer works in a turn, about")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    return parser.parse_args()


def check_passes(network: Network) -> int:
    """Return over how many passes losses are compared: some steps, not so many that rounding parts them."""
    return max(2, 8 // network.batches)


def measure(network: Network, title: str, peers: list[str], threads: int, rounds: int, turn: float) -> dict[str, Any]:
    """Measure one network with one number of threads; print a table and return its figures."""
    entries = {name: PEERS[name] for name in peers}
    measured, rates = compare(
        network.name, entries, batches=network.batches, threads=threads, rounds=rounds, turn=turn,
        check=check_passes(network),
    )  # fmt: skip
    reference = note_differences(measured, TOLERANCE)
    floors = [network.flops() / peak + 2 * network.state_bytes() / rate for peak, rate in rates]
    for one in measured:
        if one.steps:
            one.of_floor = statistics.median(a / b for a, b in zip(floors, one.steps, strict=False))
    peak, rate = (statistics.median(values) for values in zip(*rates, strict=True))
    print(f"\n{title}; {threads} thread{'s' * (threads > 1)}")
    print(
        f"  {network.flops() / 1e6:.3g} MFLOP at {peak / 1e9:.0f} GFLOP/s, {2 * network.state_bytes() / 1e6:.3g} MB"
        f" at {rate / 1e9:.0f} GB/s: floor {micros(statistics.median(floors))}"
    )
    ours = [one for one in measured if PEERS[one.name].is_ours and one.steps]
    peers_of_ours = [one for one in measured if not PEERS[one.name].is_ours and one.steps and not one.differs]
    heads = "".join(f"{'× ' + one.name.removeprefix('chainrule-'):>12}" for one in ours)
    print(f"  {'':<20}{'step':>10}{'best':>10}{heads}{'of floor':>10}{'MB':>8}{'total':>8}{'ready':>9}")
    for one in measured:
        if not one.steps:
            print(f"  {one.name:<20}{one.note or 'no figures'}")
            continue
        ratios = "".join(f"{times(ratio(mine, one)):>12}" for mine in ours)
        line = f"  {one.name:<20}{micros(one.median):>10}{micros(one.best):>10}{ratios}{percent(one.of_floor):>10}"
        print(f"{line}{one.peak:>8.0f}{one.total:>8.0f}{one.ready:>8.1f}s{'  ≠ ' + one.differs if one.differs else ''}")
    # The fastest by the ratios within rounds: medians of times may fall into different phases of the machine.
    fastest = min(peers_of_ours, key=lambda one: ratio(ours[0], one) if ours else one.median, default=None)
    ratios_of_ours = {one.name: ratio(one, fastest) for one in ours} if fastest else {}
    if fastest:
        text = ", ".join(f"{name} {times(value)}" for name, value in ratios_of_ours.items())
        print(f"  fastest peer: {fastest.name}; its time over ours: {text}")
    return {
        "network": network.name,
        "title": title,
        "threads": threads,
        "flops": network.flops(),
        "state_bytes": network.state_bytes(),
        "peak_flops_per_second": peak,
        "copy_bytes_per_second": rate,
        "floor_seconds": statistics.median(floors),
        "losses_compared_with": reference,
        "fastest_peer": fastest.name if fastest else None,
        "ratios": ratios_of_ours,
        "peers": [figures(one) for one in measured],
    }


def micros(seconds: float) -> str:
    """Write a time with three digits.

    >>> micros(4.7e-6), micros(2.5e-4), micros(0.0125), micros(1.33)
    ('4.70 µs', '250 µs', '12.5 ms', '1.33 s')
    """
    units = ((1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))
    size, unit = next((pair for pair in units if seconds < 999.5 * pair[0]), units[-1])
    return f"{seconds / size:#.3g}".rstrip(".") + f" {unit}"


def times(value: float) -> str:
    """Write a ratio.

    >>> times(1.234), times(0.01234), times(123.4)
    ('1.23', '0.0123', '123')
    """
    return f"{value:.3g}" if value < 0.1 or value >= 100 else f"{value:.2f}"


def percent(share: float) -> str:
    """Write a share with two digits.

    >>> percent(0.873), percent(1.02), percent(0.0000123)
    ('87%', '102%', '0.0012%')
    """
    return f"{100 * share:.0f}%" if share >= 0.1 else f"{100 * share:.2g}%"


def figures(one: Measured) -> dict[str, Any]:
    """Return what was measured of a peer as data."""
    if not one.steps:
        return {"name": one.name, "note": one.note}
    return {
        "name": one.name,
        "versions": one.versions,
        "step_seconds": one.median,
        "steps": one.steps,
        "of_floor": one.of_floor,
        "losses": one.losses,
        "differs": one.differs,
        "peak_mb": one.peak,
        "imported_mb": one.imported,
        "total_mb": one.total,
        "ready_seconds": one.ready,
    }


def about_the_machine() -> dict[str, Any]:
    """Return processor, CPUs and load: what one must know to read the figures."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {
        "processor": model, "cpus": allowed, "load": round(load, 2), "system": platform.platform(),
        "python": platform.python_version(), "numpy": np.__version__,
    }  # fmt: skip


def show_at_once() -> None:
    """Write each line when it is printed, also into a file: a run takes minutes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


def print_missing(entries: dict[str, Entry]) -> None:
    """Say which peers are not installed."""
    missing = {name: entry.missing() for name, entry in entries.items() if entry.missing()}
    for name, packages in missing.items():
        print(f"  without {name}: {', '.join(packages)} not installed (pip install 'chainrule[peers]')")


def main() -> None:
    """Measure, print, and write the file."""
    told = arguments()
    show_at_once()
    machine = about_the_machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print_missing({name: PEERS[name] for name in told.peers})
    results = [
        measure(NETWORKS[name], TITLES[name], told.peers, threads, told.rounds, told.turn)
        for name in told.networks
        for threads in told.threads
    ]
    found = {peer["versions"] for result in results for peer in result["peers"] if peer.get("versions")}
    print("\n" + ", ".join(sorted({part for text in found for part in text.split(", ")})))
    if told.json:
        told.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
