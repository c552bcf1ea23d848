"""PyTorch with model and loss under ``torch.compile``, and the fused optimizer.

``CppWrapper`` also lets PyTorch write the code between its kernels in C++.
"""

from __future__ import annotations

from typing import Any

import torch
import torch_shaped
from networks import Network

from peers.torch_eager import Peer as Eager
from peers.torch_eager import refuses, versions

__all__ = ["CppWrapper", "Peer", "refuses", "versions"]


class Peer(Eager):
    options: dict[str, Any] | None = None

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        loss_of = torch_shaped.loss(torch, network)
        model, optimizer, clip_norm = self.model, self.optimizer, network.clip_norm

        @torch.compile(options=self.options)
        def error_of(inputs: list[Any], targets: Any) -> Any:
            return loss_of(model(*inputs), targets)

        def step(inputs: list[Any], targets: Any) -> Any:
            optimizer.zero_grad()
            error = error_of(inputs, targets)
            error.backward()
            if clip_norm:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
            optimizer.step()
            return error.detach()

        self.step = step


class CppWrapper(Peer):
    options = {"cpp_wrapper": True}  # noqa: RUF012 - set once, for the class
