"""RAdam."""

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


class RAdam(Optimizer):
    """Adam that follows the mean gradient alone until its mean of squares is worth dividing by.

        g ← g + λ p                            weight decay; decoupled: p ← p (1 - γ λ)
        m ← β₁ m + (1 - β₁) g
        v ← β₂ v + (1 - β₂) g²
        ρ∞ = 2 / (1 - β₂) - 1,  ρ = ρ∞ - 2 t β₂ᵗ / (1 - β₂ᵗ)
        r = √((ρ - 4)(ρ - 2) ρ∞ / ((ρ∞ - 4)(ρ∞ - 2) ρ))
        p ← p - γ m̂ r / (√v̂ + ε) if ρ > 5, else p - γ m̂     m̂, v̂ as in Adam

    Liu et al., "On the variance of the adaptive learning rate and beyond", 2020. As in PyTorch, ε is added to √v.
    """

    numbers = ("lr", "betas", "eps", "weight_decay")
    flags = ("maximize", "decoupled_weight_decay")
    limits: ClassVar[Limits] = {**Optimizer.limits, "betas": (0.0, 1.0), "eps": (0.0, INFINITE)}

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
                "foreach": foreach, "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )  # fmt: skip

    def init(self, parameter: Tensor, group: Group) -> State:
        return {"step": one_number(), "exp_avg": zeros_like(parameter), "exp_avg_sq": zeros_like(parameter)}

    def update(self, p: Node, g: Node, state: Nodes, hyper: Hyper) -> tuple[Node, Nodes]:
        lr, beta1, beta2 = hyper["lr"], hyper["beta1"], hyper["beta2"]
        if hyper["decays"] and hyper["decoupled_weight_decay"]:
            g = -g if hyper["maximize"] else g
            p = p * (1 - lr * hyper["weight_decay"])
        else:
            g = minimized(p, g, hyper)
        step = state["step"] + 1
        m = mean_towards(state["exp_avg"], g, beta1)
        v = mean_towards(state["exp_avg_sq"], g * g, beta2)
        forgotten = beta2**step
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * (forgotten / (1 - forgotten))
        part = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        r = op.sqrt(op.maximum(part, 0))  # below 0 only where it is not used
        scale = r * op.sqrt(1 - forgotten) / (op.sqrt(v) + hyper["eps"])
        d = m * op.where(op.gt(length, 5), scale, 1)
        return p - lr / (1 - beta1**step) * d, {"step": step, "exp_avg": m, "exp_avg_sq": v}
