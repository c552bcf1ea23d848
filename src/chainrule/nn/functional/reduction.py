"""What all losses share: the reduction at the end, and the checks at the beginning."""

from __future__ import annotations

import warnings
from typing import Any

from chainrule.errors import ArgumentError, DtypeError, ShapeError, nearest
from chainrule.graph.size_in_code import plain
from chainrule.graph.sizes import broadcast_shapes, same_shape
from chainrule.tensors import reductions
from chainrule.tensors.binary import no_tensor
from chainrule.tensors.tensor import Tensor, numpy_dtype

REDUCTIONS = ("none", "mean", "sum")


def reduction_of(reduction: str, size_average: bool | None = None, reduce: bool | None = None) -> str:
    """Return the reduction, also for PyTorch's two old arguments."""
    if size_average is not None or reduce is not None:
        if reduce is False:
            return "none"
        return "sum" if size_average is False else "mean"
    if reduction not in REDUCTIONS:
        raise ArgumentError(
            f"got reduction={reduction!r}",
            expected="'none', 'mean' or 'sum'",
            fix=nearest(str(reduction), REDUCTIONS),
        )
    return reduction


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """Return the losses themselves, their mean or their sum."""
    if reduction == "mean":
        return reductions.mean(losses)
    return losses if reduction == "none" else reductions.sum(losses)


def check_tensors(name: str, **operands: Any) -> None:
    """Raise unless all are tensors."""
    for role, x in operands.items():
        if not isinstance(x, Tensor):
            raise no_tensor(name, x, role)


def check_floating(name: str, **operands: Tensor) -> None:
    """Raise unless all hold floating-point numbers."""
    check_tensors(name, **operands)
    for role, x in operands.items():
        if numpy_dtype(x).kind != "f":
            raise DtypeError(f"{name}: got {role} of {numpy_dtype(x)}", expected="floats", fix=f"use {role}.float()")


def check_same_shape(name: str, input: Tensor, target: Tensor) -> None:
    """Raise unless input and target have one shape."""
    p, q = tuple(input.shape), tuple(target.shape)
    if not same_shape(p, q):
        raise ShapeError(
            f"{name}: got an input of shape {p} and a target of shape {q}", expected="one shape", fix=_advice(p, q)
        )


def warn_if_broadcast(name: str, input: Tensor, target: Tensor) -> None:
    """Warn where input and target differ in shape: (n, 1) against (n,) gives n × n losses, which nobody wants.

    Raise ShapeError if they do not even broadcast.
    """
    p, q = plain(tuple(input.shape)), plain(tuple(target.shape))  # a warning is no reason to trace again for each size
    if same_shape(p, q):
        return
    try:
        common = broadcast_shapes(p, q)
    except ShapeError:
        raise ShapeError(
            f"{name}: got an input of shape {p} and a target of shape {q}", expected="one shape", fix=_advice(p, q)
        ) from None
    warnings.warn(
        f"{name}: an input of shape {p} meets a target of shape {q}; they are broadcast to {common}, which is seldom "
        f"meant. {_advice(p, q) or 'Give both one shape'}.",
        UserWarning,
        stacklevel=3,
    )


def _advice(p: tuple[Any, ...], q: tuple[Any, ...]) -> str:
    """Say what to do about the commonest misfit: a last axis of size 1 on one side only."""
    for longer, shorter, name in ((p, q, "input"), (q, p, "target")):
        if len(longer) == len(shorter) + 1 and longer[-1] is not None and _is_one(longer[-1]):
            return f"use {name}.squeeze(-1), or unsqueeze(-1) on the other"
    return ""


def _is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1
