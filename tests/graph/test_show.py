"""The text of a traced training step."""

from __future__ import annotations

import chainrule as cr
from chainrule import nn, optim


def test_a_training_step_names_parameters_states_rates_and_bodies() -> None:
    model = nn.Sequential(nn.Linear(2, 1))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @cr.compile
    def step(x: cr.Tensor) -> cr.Tensor:
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        return loss

    step(cr.ones(3, 2))
    text = step.show()
    for part in (
        "float32[n, 2] = input x",
        "float32[1, 2] = input 0 (Linear).weight",
        "input momentum_buffer of 0 (Linear).bias",
        "float64[] = input lr",
        "body=<SGD: ",
    ):
        assert part in text, text
