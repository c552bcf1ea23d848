"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any, ClassVar

from chainrule.errors import ArgumentError
from chainrule.graph import Node
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.rule import INFINITE, Group, Hyper, Limits, Nodes, State, as_number, minimized, zeros_like
from chainrule.tensors.tensor import Tensor


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if wanted.

        g ← g + λ p                          weight decay
        b ← μ b + (1 - τ) g                  momentum μ, dampening τ; b = g at the first step
        p ← p - γ b,  Nesterov: p - γ (g + μ b),  without momentum: p - γ g

    Robbins and Monro, "A stochastic approximation method", 1951; Polyak, "Some methods of speeding up the convergence of
    iteration methods", 1964; Nesterov's in the form of Sutskever et al., "On the importance of initialization and momentum
    in deep learning", 2013.

    >>> import chainrule as cr
    >>> w = cr.tensor([1.0], requires_grad=True)
    >>> optimizer = cr.optim.SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.5000], requires_grad=True)
    """

    numbers = ("lr", "momentum", "dampening", "weight_decay")
    flags = ("nesterov", "maximize")
    limits: ClassVar[Limits] = {**Optimizer.limits, "momentum": (0.0, INFINITE), "dampening": (-INFINITE, INFINITE)}

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: Any = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                "nesterov": nesterov, "maximize": maximize, "foreach": foreach, "differentiable": differentiable,
                "fused": fused,
            },
        )  # fmt: skip

    def check(self, options: Group, place: str) -> None:
        super().check(options, place)
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            raise ArgumentError(
                f"{place}: got nesterov=True with momentum={options['momentum']} and dampening={options['dampening']}",
                expected="a momentum above 0 and no dampening",
            )

    def structure(self, group: Group) -> dict[str, Any]:
        has_momentum, is_dampened = as_number(group["momentum"]) != 0, as_number(group["dampening"]) != 0
        return {**super().structure(group), "has_momentum": has_momentum, "is_dampened": is_dampened}

    def values(self, group: Group, fresh: bool) -> dict[str, float]:
        found = super().values(group, fresh)
        if fresh:
            found["dampening"] = 0.0
        return found

    def init(self, parameter: Tensor, group: Group) -> State:
        return {"momentum_buffer": zeros_like(parameter)} if as_number(group["momentum"]) != 0 else {}

    def update(self, p: Node, g: Node, state: Nodes, hyper: Hyper) -> tuple[Node, Nodes]:
        lr, momentum = hyper["lr"], hyper["momentum"]
        g = minimized(p, g, hyper)
        if not hyper["has_momentum"]:
            return p - lr * g, {}
        b = momentum * state["momentum_buffer"] + ((1 - hyper["dampening"]) * g if hyper["is_dampened"] else g)
        return p - lr * (g + momentum * b if hyper["nesterov"] else b), {"momentum_buffer": b}
