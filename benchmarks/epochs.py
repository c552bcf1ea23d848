"""Whole epochs of MNIST: uint8 images in memory, shuffled, 469 batches of 128, and 10,000 images looked at afterwards.

    CHAINRULE_DATA=/path/to/data python benchmarks/epochs.py --threads 1 2
    python benchmarks/epochs.py --peers chainrule-fit jax-scan --rounds 5 --json epochs.json

    chainrule-fit          cr.fit on the bytes, scaled where a batch is gathered (normalize)
    torch-dataset          a Dataset over the bytes, each row converted when it is asked for, in a DataLoader: as is taught
    torch-dataset-batched  the same with __getitems__: the rows of a batch taken and converted at once
    torch-floats-loader    a DataLoader on rows that were converted before the first epoch: not from bytes
    torch-floats-slices    slices of such rows by a random order, without a DataLoader: not from bytes
    keras-fit              fit on the bytes, a Rescaling layer first, all else at its defaults (but silent)
    keras-fit-32           the same with steps_per_execution=32
    jax-scan               the bytes on the device; one scan gathers, converts and trains
    sklearn                partial_fit on rows that were converted before the first epoch: not from bytes

784-128-64-10, ReLU, cross-entropy, Adam. "first" is all from the arrays to the end of the first epoch: conversion to
numbers from 0 to 1 (where a peer does that once), tracing and compiling included; "epoch" is the median of later ones.
Each draws its own order, so accuracies differ a little.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import images
import steps
from children import Child, Failed, Measured, ratio
from peers import Entry

PEERS = {
    "chainrule-fit": Entry("ours_fit", "Images"),
    "torch-dataset": Entry("torch_eager", "Images", ("torch",)),
    "torch-dataset-batched": Entry("torch_eager", "ImagesAtOnce", ("torch",)),
    "torch-floats-loader": Entry("torch_eager", "FloatImages", ("torch",)),
    "torch-floats-slices": Entry("torch_eager", "FloatImagesBySlices", ("torch",)),
    "keras-fit": Entry("keras_fit", "Images", ("keras", "jax")),
    "keras-fit-32": Entry("keras_fit", "Images32", ("keras", "jax")),
    "jax-scan": Entry("jax_scan", "Images", ("jax",)),
    "sklearn": Entry("sklearn_mlp", "Images", ("sklearn",)),
}


def measure(peers: list[str], threads: int, rounds: int) -> dict[str, Any]:
    """Measure all peers with one number of threads; print a table and return the figures."""
    found = {name: Measured(name) for name in peers}
    first: dict[str, float] = {}
    accuracy: dict[str, float] = {}
    children: list[Child] = []
    try:
        for name in peers:
            if missing := PEERS[name].missing():
                found[name].note = f"not installed: {', '.join(missing)}"
                continue
            try:
                child = Child(name, PEERS[name], "images", threads, 0)
                first[name] = child.ready + child.turn(1)
                accuracy[name] = child.found[0]
                found[name].versions = child.versions
                children.append(child)
            except Failed as failed:
                found[name].note = str(failed)
        for _ in range(rounds):
            for child in children:
                found[child.name].steps.append(child.turn(1))
                found[child.name].peak = child.peak
    finally:
        for child in children:
            child.end()
    ours = found.get("chainrule-fit")
    print(f"\nan epoch, {threads} thread{'s' * (threads > 1)}")
    print(f"  {'':<22}{'first':>10}{'epoch':>10}{'× ours':>8}{'accuracy':>11}{'MB':>7}")
    for name, one in found.items():
        if not one.steps:
            print(f"  {name:<22}{one.note}")
            continue
        share = steps.times(ratio(ours, one)) if ours and ours.steps else ""
        print(f"  {name:<22}{first[name]:>8.2f} s{one.median:>8.3f} s{share:>8}{accuracy[name]:>11.2%}{one.peak:>7.0f}")
    return {
        "threads": threads,
        "peers": [
            {
                "name": name, "note": one.note, "versions": one.versions, "first_seconds": first.get(name),
                "epoch_seconds": one.median if one.steps else None, "epochs": one.steps,
                "first_accuracy": accuracy.get(name), "peak_mb": one.peak if one.steps else None,
                "time_over_ours": ratio(ours, one) if one.steps and ours and ours.steps else None,
            }
            for name, one in found.items()
        ],
    }  # fmt: skip


def main() -> None:
    """Measure, print, and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS), metavar="NAME")
    parser.add_argument("--threads", nargs="+", type=int, default=[1], metavar="N")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="a file for all figures")
    told = parser.parse_args()
    steps.show_at_once()
    machine = steps.about_the_machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"rows: {'MNIST' if images.folder() else 'random images (CHAINRULE_DATA has no mnist)'}")
    steps.print_missing({name: PEERS[name] for name in told.peers})
    results = [measure(told.peers, threads, told.rounds) for threads in told.threads]
    versions = {peer["versions"] for result in results for peer in result["peers"] if peer["versions"]}
    print("\n" + ", ".join(sorted({part for text in versions for part in text.split(", ")})))
    if told.json:
        told.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
