"""chainrule, three ways: the loop as one writes it, the same step compiled, and many steps in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch_shaped
from networks import Network

import chainrule as cr


def versions() -> str:
    return f"chainrule {cr.__version__}"


def refuses(network: Network) -> str:
    return ""


class Eager:
    """Operation by operation."""

    def __init__(self, network: Network) -> None:
        cr.manual_seed(0)
        self.model = torch_shaped.model(cr, network)
        self.batches = torch_shaped.batches(cr, network.rows())
        optimizer = torch_shaped.optimizer(cr, network, self.model.parameters())
        self.step = torch_shaped.step(cr, network, self.model, optimizer)

    def run(self, passes: int) -> Any:
        losses = []
        for _ in range(passes):
            for inputs, targets in self.batches:
                losses.append(self.step(inputs, targets))
        return [loss.item() for loss in losses]


class Compiled(Eager):
    """The step under ``@cr.compile``."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.step = cr.compile(self.step)


class Steps(Eager):
    """Many steps of the compiled function in one call."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        step = self.step
        self.step = cr.compile(lambda *rows: step(list(rows[:-1]), rows[-1]))
        self.size = network.batch
        rows = network.rows()
        columns = [part.reshape(-1, *part.shape[2:]) for part in (*rows.columns(), rows.targets)]
        self.rows = [part.astype(np.int64) if part.dtype.kind == "i" else part for part in columns]

    def run(self, passes: int) -> Any:
        if len(self.batches) == 1:
            inputs, targets = self.batches[0]
            return self.step.repeat(*inputs, targets, times=passes).numpy()
        return self.step.over(*self.rows, batch_size=self.size, passes=passes).numpy()
