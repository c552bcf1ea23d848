"""Layers that only change the shape."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.errors import ArgumentTypeError
from chainrule.graph.numeric import as_int, as_ints
from chainrule.nn.module import Module
from chainrule.tensors import views
from chainrule.tensors.tensor import Tensor


class Flatten(Module):
    """Join the axes from ``start_dim`` to ``end_dim`` into one: images (N, 28, 28) become rows (N, 784)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = as_int(start_dim)
        self.end_dim = as_int(end_dim)

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with the axes joined."""
        return views.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Return the axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split the axis ``dim`` into axes of these sizes, one of which may be -1."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        sizes = as_ints(unflattened_size) if isinstance(unflattened_size, (tuple, list)) else None
        if sizes is None or not all(isinstance(n, int) for n in sizes) or not isinstance(as_int(dim), int):
            raise ArgumentTypeError(
                f"Unflatten: got dim={dim!r} and unflattened_size={unflattened_size!r}",
                expected="an axis and a tuple of sizes",
            )
        self.dim = as_int(dim)
        self.unflattened_size = sizes

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with the axis split."""
        return views.unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        """Return axis and sizes."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
