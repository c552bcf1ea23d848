"""RMSprop."""

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
    as_number,
    mean_towards,
    minimized,
    one_number,
    zeros_like,
)
from chainrule.tensors.tensor import Tensor


class RMSprop(Optimizer):
    """Steps divided by the root of the running mean of squared gradients.

        g ← g + λ p                                     weight decay
        v ← α v + (1 - α) g²,   centered: a ← α a + (1 - α) g, and v - a² is used for v below
        d = g / (√v + ε),       with momentum: b ← μ b + d, used for d
        p ← p - γ d

    Tieleman and Hinton, "Lecture 6.5: RMSProp", 2012; centered: Graves, "Generating sequences with recurrent neural
    networks", 2013. Where rounding makes v - a² negative, it is taken as 0.
    """

    numbers = ("lr", "momentum", "alpha", "eps", "weight_decay")
    flags = ("centered", "maximize")
    limits: ClassVar[Limits] = {
        **Optimizer.limits,
        "eps": (0.0, INFINITE),
        "momentum": (0.0, INFINITE),
        "alpha": (0.0, INFINITE),
    }

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
                "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach, "maximize": maximize,
                "differentiable": differentiable,
            },
        )  # fmt: skip

    def structure(self, group: Group) -> dict[str, Any]:
        return {**super().structure(group), "has_momentum": as_number(group["momentum"]) > 0}

    def init(self, parameter: Tensor, group: Group) -> State:
        state = {"step": one_number(), "square_avg": zeros_like(parameter)}
        if as_number(group["momentum"]) > 0:
            state["momentum_buffer"] = zeros_like(parameter)
        if group["centered"]:
            state["grad_avg"] = zeros_like(parameter)
        return state

    def update(self, p: Node, g: Node, state: Nodes, hyper: Hyper) -> tuple[Node, Nodes]:
        g = minimized(p, g, hyper)
        new = {"step": state["step"] + 1, "square_avg": mean_towards(state["square_avg"], g * g, hyper["alpha"])}
        v = new["square_avg"]
        if hyper["centered"]:
            a = new["grad_avg"] = mean_towards(state["grad_avg"], g, hyper["alpha"])
            v = op.maximum(v - a * a, 0)
        d = g / (op.sqrt(v) + hyper["eps"])
        if hyper["has_momentum"]:
            d = new["momentum_buffer"] = hyper["momentum"] * state["momentum_buffer"] + d
        return p - hyper["lr"] * d, new
