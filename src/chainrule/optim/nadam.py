"""NAdam."""

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


class NAdam(Optimizer):
    """Adam with Nesterov's momentum.

        g ← g + λ p                            weight decay; decoupled: p ← p (1 - γ λ)
        μₜ = β₁ (1 - ½ 0.96^(t ψ)),  Π ← Π μₜ    ψ: decay of the momentum
        m ← β₁ m + (1 - β₁) g
        v ← β₂ v + (1 - β₂) g²
        m̂ = μₜ₊₁ m / (1 - Π μₜ₊₁) + (1 - μₜ) g / (1 - Π),  v̂ = v / (1 - β₂ᵗ)
        p ← p - γ m̂ / (√v̂ + ε)

    Dozat, "Incorporating Nesterov momentum into Adam", 2016.
    """

    numbers = ("lr", "betas", "eps", "weight_decay", "momentum_decay")
    flags = ("maximize", "decoupled_weight_decay")
    scalars = frozenset({"step", "mu_product"})
    limits: ClassVar[Limits] = {
        **Optimizer.limits,
        "betas": (0.0, 1.0),
        "eps": (0.0, INFINITE),
        "momentum_decay": (0.0, INFINITE),
    }

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach,
                "capturable": capturable, "differentiable": differentiable,
            },
        )  # fmt: skip

    def init(self, parameter: Tensor, group: Group) -> State:
        return {
            "step": one_number(),
            "mu_product": one_number(1.0),
            "exp_avg": zeros_like(parameter),
            "exp_avg_sq": zeros_like(parameter),
        }

    def update(self, p: Node, g: Node, state: Nodes, hyper: Hyper) -> tuple[Node, Nodes]:
        lr, beta1, beta2 = hyper["lr"], hyper["beta1"], hyper["beta2"]
        if hyper["decays"] and hyper["decoupled_weight_decay"]:
            g = -g if hyper["maximize"] else g
            p = p * (1 - lr * hyper["weight_decay"])
        else:
            g = minimized(p, g, hyper)
        step = state["step"] + 1
        mu = beta1 * (1 - 0.5 * op.pow(0.96, step * hyper["momentum_decay"]))
        mu_next = beta1 * (1 - 0.5 * op.pow(0.96, (step + 1) * hyper["momentum_decay"]))
        product = state["mu_product"] * op.cast(mu, dtype=state["mu_product"].dtype)
        m = mean_towards(state["exp_avg"], g, beta1)
        v = mean_towards(state["exp_avg_sq"], g * g, beta2)
        c = op.sqrt(1 - beta2**step)  # meets numerator and denominator, as in Adam
        of_mean = lr * c * mu_next / (1 - mu_next * product)
        of_gradient = lr * c * (1 - mu) / (1 - op.cast(product, dtype=lr.dtype))
        d = (of_mean * m + of_gradient * g) / (op.sqrt(v) + hyper["eps"] * c)
        return p - d, {"step": step, "mu_product": product, "exp_avg": m, "exp_avg_sq": v}
