"""PyTorch, operation by operation, with its fused optimizer (RMSprop has none)."""

from __future__ import annotations

import os

import torch
import torch_shaped
from networks import Network

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def versions() -> str:
    return f"PyTorch {torch.__version__}"


def refuses(network: Network) -> str:
    return ""


class Peer:
    def __init__(self, network: Network) -> None:
        torch.manual_seed(0)
        self.model = torch_shaped.model(torch, network)
        self.batches = torch_shaped.batches(torch, network.rows())
        self.optimizer = torch_shaped.optimizer(torch, network, self.model.parameters(), fused=True)
        self.step = torch_shaped.step(torch, network, self.model, self.optimizer)

    def run(self, passes: int) -> list[float]:
        losses = []
        for _ in range(passes):
            for inputs, targets in self.batches:
                losses.append(self.step(inputs, targets))
        return torch.stack(losses).tolist()
