"""Adagrad."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from chainrule.graph import Node, op
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.rule import INFINITE, Group, Hyper, Limits, Nodes, State, concrete_value, minimized, one_number
from chainrule.tensors.tensor import Tensor


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients so far.

        g ← g + λ p                            weight decay
        s ← s + g²
        p ← p - γ g / ((1 + (t - 1) η) (√s + ε))     η: decay of the rate

    Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization", 2011.
    """

    numbers = ("lr", "lr_decay", "eps", "weight_decay")
    flags = ("maximize",)
    limits: ClassVar[Limits] = {
        **Optimizer.limits,
        "lr_decay": (0.0, INFINITE),
        "initial_accumulator_value": (0.0, INFINITE),
        "eps": (0.0, INFINITE),
    }

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
                "differentiable": differentiable, "fused": fused,
            },
        )  # fmt: skip
        for group in self.param_groups:  # as PyTorch: the sums exist before the first step
            for p in group["params"]:
                self.state[p] = self.init(p, group)

    def init(self, parameter: Tensor, group: Group) -> State:
        start = np.full_like(concrete_value(parameter), group["initial_accumulator_value"])
        return {"step": one_number(), "sum": Tensor(start)}

    def update(self, p: Node, g: Node, state: Nodes, hyper: Hyper) -> tuple[Node, Nodes]:
        g = minimized(p, g, hyper)
        s = state["sum"] + g * g
        rate = hyper["lr"] / (1 + hyper["lr_decay"] * state["step"])
        return p - rate * (g / (op.sqrt(s) + hyper["eps"])), {"step": state["step"] + 1, "sum": s}
