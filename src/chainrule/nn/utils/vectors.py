"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.errors import ArgumentError, ShapeError
from chainrule.tensors.autograd import no_grad
from chainrule.tensors.shaping import cat
from chainrule.tensors.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Return the elements of all parameters, one after the other."""
    parts = [p.reshape(-1) for p in parameters]
    if not parts:
        raise ArgumentError("parameters_to_vector: got no parameter", expected="at least one")
    return cat(parts)


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write the elements of a vector into the parameters, one after the other, in place."""
    held = list(parameters)
    wanted = sum(int(p.numel()) for p in held)
    if vec.ndim != 1 or vec.shape[0] != wanted:
        raise ShapeError(f"vector_to_parameters: got shape {tuple(vec.shape)}", expected=f"({wanted},)")
    start = 0
    with no_grad():
        for p in held:
            stop = start + int(p.numel())
            p.copy_(vec[start:stop].reshape(tuple(p.shape)))
            start = stop
