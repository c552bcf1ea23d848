"""PyTorch, operation by operation, with its fused optimizer (RMSprop has none)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import images
import torch
import torch_shaped
from networks import Network
from torch.utils.data import DataLoader, Dataset, TensorDataset

VAL_BATCH = 1000  # as in PyTorch's example for MNIST

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
        optimizer = torch_shaped.optimizer(torch, network, self.model.parameters(), fused=True)
        self.step = torch_shaped.step(torch, network, self.model, optimizer)
        self.prepare(found)

    def prepare(self, found: images.Images) -> None:
        """Take the arrays: rows are converted one by one, when they are asked for."""
        self.loader = DataLoader(Rows(found.x, found.y), batch_size=images.BATCH, shuffle=True)
        self.val_loader = DataLoader(Rows(found.val_x, found.val_y), batch_size=VAL_BATCH)

    def batches(self) -> Iterable[tuple[Any, Any]]:
        return self.loader

    def val_batches(self) -> Iterable[tuple[Any, Any]]:
        return self.val_loader

    def run(self, epochs: int) -> list[float]:
        found = []
        for _ in range(epochs):
            self.model.train()
            for x, y in self.batches():
                self.step([x], y)
            self.model.eval()
            right = count = 0
            with torch.inference_mode():
                for x, y in self.val_batches():
                    right += (self.model(x).argmax(1) == y).sum()
                    count += len(y)
            found.append(float(right) / count)
        return found


class Rows(Dataset):
    """Rows of bytes, each converted as torchvision's ToTensor does, and their labels."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return self.x[row].to(torch.float32).div(255), int(self.y[row])


class RowsAtOnce(Rows):
    """The same; the rows of a batch are taken and converted together."""

    def __getitems__(self, rows: list[int]) -> tuple[Any, Any]:
        return self.x[rows].to(torch.float32).div_(255), self.y[rows].to(torch.int64)


class ImagesAtOnce(Images):
    """The same with whole batches from the Dataset, which are passed on as they are."""

    def prepare(self, found: images.Images) -> None:
        whole = {"collate_fn": lambda batch: batch}
        self.loader = DataLoader(RowsAtOnce(found.x, found.y), batch_size=images.BATCH, shuffle=True, **whole)
        self.val_loader = DataLoader(RowsAtOnce(found.val_x, found.val_y), batch_size=VAL_BATCH, **whole)


class FloatImages(Images):
    """The same from rows converted beforehand, once for all epochs; validated in one piece."""

    def prepare(self, found: images.Images) -> None:
        self.x, self.val_x = (torch.from_numpy(images.as_floats(x)) for x in (found.x, found.val_x))
        self.y, self.val_y = (torch.from_numpy(y.astype("int64")) for y in (found.y, found.val_y))
        rows = TensorDataset(self.x, self.y)
        self.loader = DataLoader(rows, batch_size=images.BATCH, shuffle=True)

    def val_batches(self) -> Iterable[tuple[Any, Any]]:
        return [(self.val_x, self.val_y)]


class FloatImagesBySlices(FloatImages):
    """The same with slices of a random order, without a DataLoader."""

    def batches(self) -> Iterable[tuple[Any, Any]]:
        for rows in torch.randperm(len(self.x)).split(images.BATCH):
            yield self.x[rows], self.y[rows]
