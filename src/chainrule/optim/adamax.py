"""Adamax."""

from __future__ import annotations

from typing import Any, ClassVar

from chainrule.graph import Node, op
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.rule import (
    INFINITE,
    Group,
    Hyper,
    Limits,
    Nodes,
    State,
    mean_towards,
    minimized,
    one_number,
    zeros_like,
)
from chainrule.tensors.tensor import Tensor


class Adamax(Optimizer):
    """Adam with the largest recent gradient in place of the mean of squares.

        g ← g + λ p                            weight decay
        m ← β₁ m + (1 - β₁) g
        u ← max(β₂ u, |g| + ε)
        p ← p - γ m / ((1 - β₁ᵗ) u)

    Kingma and Ba, "Adam: a method for stochastic optimization", 2015, section 7.1.
    """

    numbers = ("lr", "betas", "eps", "weight_decay")
    flags = ("maximize",)
    limits: ClassVar[Limits] = {**Optimizer.limits, "betas": (0.0, 1.0), "eps": (0.0, INFINITE)}

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
                "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
            },
        )  # fmt: skip

    def init(self, parameter: Tensor, group: Group) -> State:
        return {"step": one_number(), "exp_avg": zeros_like(parameter), "exp_inf": zeros_like(parameter)}

    def update(self, p: Node, g: Node, state: Nodes, hyper: Hyper) -> tuple[Node, Nodes]:
        step = state["step"] + 1
        g = minimized(p, g, hyper)
        m = mean_towards(state["exp_avg"], g, hyper["beta1"])
        u = op.maximum(hyper["beta2"] * state["exp_inf"], op.abs(g) + hyper["eps"])
        rate = hyper["lr"] / (1 - hyper["beta1"] ** step)
        return p - rate * (m / u), {"step": step, "exp_avg": m, "exp_inf": u}
