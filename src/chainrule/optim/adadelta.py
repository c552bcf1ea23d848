"""Adadelta."""

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


class Adadelta(Optimizer):
    """Steps in the units of the parameter: the gradient times a ratio of two running roots.

        g ← g + λ p                            weight decay
        v ← ρ v + (1 - ρ) g²
        d = g √(u + ε) / √(v + ε)
        u ← ρ u + (1 - ρ) d²
        p ← p - γ d

    Zeiler, "ADADELTA: an adaptive learning rate method", 2012.
    """

    numbers = ("lr", "rho", "eps", "weight_decay")
    flags = ("maximize",)
    limits: ClassVar[Limits] = {**Optimizer.limits, "rho": (0.0, 1.0 + 2**-52), "eps": (0.0, INFINITE)}

    def __init__(
        self,
        params: Any,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
                "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
            },
        )  # fmt: skip

    def init(self, parameter: Tensor, group: Group) -> State:
        return {"step": one_number(), "square_avg": zeros_like(parameter), "acc_delta": zeros_like(parameter)}

    def update(self, p: Node, g: Node, state: Nodes, hyper: Hyper) -> tuple[Node, Nodes]:
        rho, eps = hyper["rho"], hyper["eps"]
        g = minimized(p, g, hyper)
        v = mean_towards(state["square_avg"], g * g, rho)
        d = g * (op.sqrt(state["acc_delta"] + eps) / op.sqrt(v + eps))
        u = mean_towards(state["acc_delta"], d * d, rho)
        return p - hyper["lr"] * d, {"step": state["step"] + 1, "square_avg": v, "acc_delta": u}
