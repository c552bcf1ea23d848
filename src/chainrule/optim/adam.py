"""Adam, and Adam with decoupled weight decay."""

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


class Adam(Optimizer):
    """Steps of about the size of the rate, from running means of gradient and squared gradient.

        g ← g + λ p                                     weight decay
        m ← β₁ m + (1 - β₁) g
        v ← β₂ v + (1 - β₂) g²,   AMSGrad: v' ← max(v', v), used for v below
        p ← p - γ m̂ / (√v̂ + ε),   m̂ = m / (1 - β₁ᵗ),  v̂ = v / (1 - β₂ᵗ)

    Kingma and Ba, "Adam: a method for stochastic optimization", 2015; AMSGrad: Reddi, Kale and Kumar, "On the convergence
    of Adam and beyond", 2018.
    """

    numbers = ("lr", "betas", "eps", "weight_decay")
    flags = ("amsgrad", "maximize", "decoupled_weight_decay")
    limits: ClassVar[Limits] = {**Optimizer.limits, "betas": (0.0, 1.0), "eps": (0.0, INFINITE)}

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
                "maximize": maximize, "foreach": foreach, "capturable": capturable, "differentiable": differentiable,
                "fused": fused, "decoupled_weight_decay": decoupled_weight_decay,
            },
        )  # fmt: skip

    def init(self, parameter: Tensor, group: Group) -> State:
        state = {"step": one_number(), "exp_avg": zeros_like(parameter), "exp_avg_sq": zeros_like(parameter)}
        return {**state, "max_exp_avg_sq": zeros_like(parameter)} if group["amsgrad"] else state

    def update(self, p: Node, g: Node, state: Nodes, hyper: Hyper) -> tuple[Node, Nodes]:
        lr, beta1, beta2 = hyper["lr"], hyper["beta1"], hyper["beta2"]
        if hyper["decays"] and hyper["decoupled_weight_decay"]:
            g = -g if hyper["maximize"] else g
            p = p * (1 - lr * hyper["weight_decay"])
        else:
            g = minimized(p, g, hyper)
        new = {
            "step": state["step"] + 1,
            "exp_avg": mean_towards(state["exp_avg"], g, beta1),
            "exp_avg_sq": mean_towards(state["exp_avg_sq"], g * g, beta2),
        }
        v = new["exp_avg_sq"]
        if hyper["amsgrad"]:
            v = new["max_exp_avg_sq"] = op.maximum(state["max_exp_avg_sq"], v)
        # γ m̂ / (√v̂ + ε), numerator and denominator times c = √(1 - β₂ᵗ): c meets numbers only, not every element
        c = op.sqrt(1 - beta2 ** new["step"])
        rate = lr * c / (1 - beta1 ** new["step"])
        return p - rate * (new["exp_avg"] / (op.sqrt(v) + hyper["eps"] * c)), new


class AdamW(Adam):
    """Adam with decoupled weight decay: p ← p (1 - γ λ) first, and the gradient is left alone; the rest is Adam's.

    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip
