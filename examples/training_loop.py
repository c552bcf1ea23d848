"""A training loop as in PyTorch: a module, a loss and a callback of one's own, in the same few lines.

    python examples/training_loop.py

With `import torch as cr` instead (and without the decorator) the same code runs on PyTorch.
"""

from __future__ import annotations

import math

import chainrule as cr
from chainrule import nn


class Residual(nn.Module):
    """x + a small network of x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        """Return x with what the inner network adds."""
        return x + self.inner(x)


def log_cosh(prediction: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
    """Return the mean of log cosh(error): squared near 0, absolute far away."""
    error = prediction - target
    return (error + nn.functional.softplus(-2 * error) - math.log(2)).mean()


def main() -> list[float]:
    """Fit a sine, print the loss now and then, and return all losses."""
    cr.manual_seed(0)
    x = cr.linspace(-3, 3, 256).unsqueeze(1)
    y = cr.sin(2 * x)
    model = nn.Sequential(nn.Linear(1, 32), Residual(32), nn.Linear(32, 1))
    optimizer = cr.optim.Adam(model.parameters(), lr=1e-2)
    scheduler = cr.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=300)

    @cr.compile  # the same code, eager without this line
    def step(x: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
        optimizer.zero_grad()
        loss = log_cosh(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    losses = []
    for epoch in range(300):
        losses.append(step(x, y).item())
        scheduler.step()
        if epoch % 50 == 0 or epoch == 299:
            print(f"epoch {epoch:>3}  loss {losses[-1]:.5f}  rate {scheduler.get_last_lr()[0]:.4f}")
    return losses


if __name__ == "__main__":
    main()
