"""The text of a traced training step."""

from __future__ import annotations

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.graph import Graph, graph_input, show


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


def test_a_graph_that_is_printed_is_its_text() -> None:
    x = graph_input("x", (2, 3), np.dtype(np.float32))
    graph = Graph([x], [x], "own")
    assert str(graph) == show(graph)
    assert "\n" not in repr(graph)
