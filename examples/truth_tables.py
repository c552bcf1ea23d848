"""Small truth tables: what one layer of weights cannot learn, and what a hidden layer changes.

    python examples/truth_tables.py

1. 001→0, 011→1, 101→1, 111→0 with sigmoid units. A single layer of weights stays near 0.5: the four rows would need
   w₃ < 0, w₂+w₃ > 0, w₁+w₃ > 0 and w₁+w₂+w₃ < 0, and the middle two added give w₁+w₂+2w₃ > 0, so w₃ > 0 by the last:
   a contradiction with the first. No line separates the ones from the zeros. A 3-4-1 network learns it.
2. The parity of 4 bits by a 4-4-4-1 network.
3. XOR by a 2-4-1 network, from 20 seeds with one setting and no restarts.
"""

from __future__ import annotations

import itertools

import chainrule as cr
from chainrule import nn

TABLE = ([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]], [0, 1, 1, 0])
XOR = ([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
PARITY = (list(itertools.product([0, 1], repeat=4)), [sum(bits) % 2 for bits in itertools.product([0, 1], repeat=4)])


def train(sizes: list[int], rows: tuple[list, list], *, seed: int, epochs: int, lr: float) -> list[float]:
    """Train a network of these layer sizes on a table, all rows each step; return its outputs."""
    cr.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.Tanh()]
    layers[-1] = nn.Sigmoid()
    model = nn.Sequential(*layers)
    X, y = cr.tensor(rows[0], dtype=cr.float32), cr.tensor(rows[1], dtype=cr.float32).unsqueeze(1)
    optimizer = cr.optim.Adam(model.parameters(), lr=lr)
    loss_of = nn.BCELoss()

    @cr.compile
    def step(X: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model(X), y)
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(epochs):
        step(X, y)
    with cr.no_grad():
        return model(X).flatten().tolist()


def single_layer(seed: int = 0) -> list[float]:
    """The table by one layer of weights."""
    return train([3, 1], TABLE, seed=seed, epochs=1000, lr=0.02)


def hidden_layer(seed: int = 0) -> list[float]:
    """The table by a 3-4-1 network."""
    return train([3, 4, 1], TABLE, seed=seed, epochs=1000, lr=0.02)


def parity(seed: int = 1) -> list[float]:
    """The parity of 4 bits by a 4-4-4-1 network."""
    return train([4, 4, 4, 1], PARITY, seed=seed, epochs=2000, lr=0.02)


def xor(seed: int) -> list[float]:
    """XOR by a 2-4-1 network."""
    return train([2, 4, 1], XOR, seed=seed, epochs=1000, lr=0.02)


def show(title: str, rows: tuple[list, list], outputs: list[float]) -> None:
    """Print a table with what the network says."""
    print(title)
    for bits, target, output in zip(*rows, outputs, strict=True):
        print(f"  {''.join(map(str, bits))} → {target}   {output:.3f}")


def main() -> None:
    """Print all tables."""
    show("One layer of weights, 3-1: it stays near 0.5", TABLE, single_layer())
    show("A hidden layer, 3-4-1", TABLE, hidden_layer())
    show("Parity of 4 bits, 4-4-4-1", PARITY, parity())
    print("XOR, 2-4-1: the largest distance from a target")
    for seed in range(20):
        outputs = xor(seed)
        worst = max(abs(o - t) for o, t in zip(outputs, XOR[1], strict=True))
        print(f"  seed {seed:>2}   {worst:.3f}")


if __name__ == "__main__":
    main()
