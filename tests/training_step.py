"""The training step that most tests compile."""

from __future__ import annotations

from typing import Any

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn


def training_step(model: nn.Module, optimizer: Any, clip: float | None = None) -> Any:
    """Return the compiled function of a batch and its labels that improves the model by their cross-entropy."""

    @cr.compile
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return loss

    return step
