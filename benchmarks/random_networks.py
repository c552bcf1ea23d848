"""Twenty networks drawn by seed: odd widths, mixed parts, every optimizer; chainrule beside PyTorch and JAX.

    python benchmarks/random_networks.py
    python benchmarks/random_networks.py --seeds 3 7 --peers chainrule-compile torch-compile jax-scan --json random.json

What is fast on the well-known networks alone is not fast. Losses are compared without dropout, which draws other numbers
in each library; time is taken with it.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
import steps
from networks import Layer, Network, Rule
from peers import PEERS

SEEDS = range(20)
ACTIVATIONS = ["relu", "tanh", "sigmoid", "gelu", "silu", "elu", "leaky_relu"]
RULES = {"sgd": 1e-2, "momentum": 1e-3, "adam": 1e-3, "adamw": 1e-3, "rmsprop": 3e-4}


def network(seed: int) -> Network:
    """Return the network of a seed."""
    rng = np.random.default_rng((seed, 0))

    def chance(probability: float) -> bool:
        return bool(rng.random() < probability)

    loss = str(rng.choice(["cross_entropy", "mse", "bce"]))
    outputs = int(rng.integers(2, 23)) if loss == "cross_entropy" else int(rng.integers(1, 8))
    norms = ["batch", "layer"]
    layers = [
        Layer(
            width=int(2 ** rng.uniform(2.5, 8)),
            activation=str(rng.choice(ACTIVATIONS)),
            norm=str(rng.choice(norms)) if chance(0.35) else "",
            dropout=float(rng.choice([0.1, 0.25, 0.5])) if chance(0.25) else 0.0,
        )
        for _ in range(int(rng.integers(1, 6)))
    ]
    categories = tuple(
        (int(10 ** rng.uniform(0.7, 3.3)), int(rng.integers(2, 25)))
        for _ in range(int(rng.integers(1, 5)) if chance(0.4) else 0)
    )
    features = 0 if categories and chance(0.3) else int(2 ** rng.uniform(1, 8))
    rule = str(rng.choice(list(RULES)))
    return Network(
        f"random-{seed}",
        (*layers, Layer(outputs)),
        loss,
        Rule(rule, RULES[rule], weight_decay=0.01 if rule == "adamw" else 0.0),
        batch=int(2 ** rng.uniform(3, 8.5)),
        features=features,
        categories=categories,
        clip_norm=1.0 if chance(0.3) else None,
        batches=8,
    )


def title(of: Network) -> str:
    """Write a network in a line."""
    parts = [f"embeddings {' '.join(f'{count}x{width}' for count, width in of.categories)}"] if of.categories else []
    parts += [str(of.features)] if of.features else []
    for layer in of.layers:
        words = [str(layer.width), layer.norm, layer.activation, f"dropout {layer.dropout}" if layer.dropout else ""]
        parts.append(" ".join(word for word in words if word))
    clip = ", clipped" if of.clip_norm else ""
    return f"{of.name}: {' - '.join(parts)}; {of.loss}, {of.rule.name}{clip}, batch {of.batch}"


def main() -> None:
    """Measure, print, and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), metavar="N")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS), metavar="NAME")
    parser.add_argument("--threads", nargs="+", type=int, default=[1], metavar="N")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turn", type=float, default=0.1, help="seconds that a peer works in a turn, about")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    told = parser.parse_args()
    steps.show_at_once()
    machine = steps.about_the_machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    steps.print_missing({name: PEERS[name] for name in told.peers})
    results = [
        steps.measure(network(seed), title(network(seed)), told.peers, threads, told.rounds, told.turn)
        for seed in told.seeds
        for threads in told.threads
    ]
    print(f"\n{len(results)} networks: time of the fastest peer over ours, smallest, median, largest")
    for name in told.peers:
        ratios = [result["ratios"][name] for result in results if name in result["ratios"]]
        if ratios:
            three = min(ratios), statistics.median(ratios), max(ratios)
            print(f"  {name:<20}{''.join(f'{steps.times(value):>10}' for value in three)}")
    if told.json:
        told.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
