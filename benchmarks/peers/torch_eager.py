"""PyTorch, operation by operation, with its fused optimizer (RMSprop has none)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import images
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

    def run(self, passes: int) -> Any:
        losses = []
        for _ in range(passes):
            for inputs, targets in self.batches:
                losses.append(self.step(inputs, targets))
        return torch.stack(losses).numpy()


class Images:
    """An epoch of images with a DataLoader. ``run`` returns the accuracy after each epoch."""

    def __init__(self, found: images.Images) -> None:
        torch.manual_seed(0)
        network = images.NETWORK
        self.model = torch_shaped.model(torch, network)
        self.x, self.val_x = (torch.from_numpy(images.as_floats(x)) for x in (found.x, found.val_x))
        self.y, self.val_y = (torch.from_numpy(y.astype("int64")) for y in (found.y, found.val_y))
        optimizer = torch_shaped.optimizer(torch, network, self.model.parameters(), fused=True)
        self.step = torch_shaped.step(torch, network, self.model, optimizer)
        rows = torch.utils.data.TensorDataset(self.x, self.y)
        self.loader = torch.utils.data.DataLoader(rows, batch_size=images.BATCH, shuffle=True)

    def batches(self) -> Iterable[tuple[Any, Any]]:
        return self.loader

    def run(self, epochs: int) -> list[float]:
        found = []
        for _ in range(epochs):
            self.model.train()
            for x, y in self.batches():
                self.step([x], y)
            self.model.eval()
            with torch.inference_mode():
                found.append((self.model(self.val_x).argmax(1) == self.val_y).float().mean().item())
        return found


class ImagesBySlices(Images):
    """The same with slices of a random order, without a DataLoader."""

    def batches(self) -> Iterable[tuple[Any, Any]]:
        for rows in torch.randperm(len(self.x)).split(images.BATCH):
            yield self.x[rows], self.y[rows]
