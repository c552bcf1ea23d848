"""Where a NaN or an infinity came from: the first layer whose outputs are not finite though its inputs are."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.nn import Module
from chainrule.tensors.autograd import enable_grad
from chainrule.tensors.tensor import Tensor


def find_nonfinite(model: Module, objective: Any, X: Tensor, y: Tensor, weight: Tensor | None) -> str:  # noqa: N803
    """Return in words where the first value appears that is not finite, in one forward and backward pass."""
    for name, parameter in model.named_parameters():
        if not np.isfinite(parameter._value).all():
            return f"the parameter {name} is not finite before the batch"
    found: list[str] = []

    def look(name: str, module: Module) -> Any:
        def hook(_: Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not found and isinstance(output, Tensor) and not _finite(output):
                before = [t for t in inputs if isinstance(t, Tensor)]
                if all(_finite(t) for t in before):
                    largest = max([float(np.abs(t._value).max()) for t in before if t._value.size] or [0.0])
                    found.append(f"layer {name} ({type(module).__name__}), whose inputs go up to {largest:.3g}")

        return hook

    handles = [
        module.register_forward_hook(look(name or "model", module))
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    try:
        with enable_grad():
            output = model(X)
            if found:
                return f"the output of {found[0]}"
            error = objective(output, y, weight)
            if not _finite(error):
                return "the loss, of outputs that are finite: see the targets, or use a loss on logits"
            for parameter in model.parameters():
                parameter.grad = None
            error.backward()
    finally:
        for handle in handles:
            handle.remove()
    for name, parameter in reversed(list(model.named_parameters())):
        if parameter.grad is not None and not _finite(parameter.grad):
            return f"the gradient of {name}"
    return "the update: the step is too large"


def _finite(x: Tensor) -> bool:
    return x._value.dtype.kind != "f" or bool(np.isfinite(x._value).all())
