"""What makes tensors of the arrays that a run computed: each hangs on a tape as the one did that the function made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import GradientError
from chainrule.graph import Node, Primitive
from chainrule.tensors.ends import Kind
from chainrule.tensors.tensor import Tensor


class CutOff(Primitive, abstract=True):
    """Stands on the tape for what made a result inside a compiled function"""

    name = "compiled"


CUT_OFF = CutOff()


class Result(Node):
    """The node of a result whose tape was left inside: a gradient cannot pass."""

    __slots__ = ()

    def check_not_freed(self) -> None:
        raise GradientError(
            "backward through the result of a compiled function: its tape stayed inside",
            fix="call backward() inside the compiled function",
        )


def makers_of(kinds: Sequence[Kind]) -> list[Callable[[Any], Tensor]]:
    """Return the function for each kind that makes a tensor of an array."""
    makers = {Kind.PLAIN: Tensor, Kind.LEAF: _leaf, Kind.CUT_OFF: _cut_off}
    return [makers[kind] for kind in kinds]


def gradient_of(value: Any) -> Tensor:
    """Return a gradient as eager mode keeps it: its own memory, every element its own."""
    return Tensor(value if value.base is None and value.flags.writeable else np.array(value, order="C"))


def _leaf(value: Any) -> Tensor:
    return Tensor(value).requires_grad_()


def _cut_off(value: Any) -> Tensor:
    return Tensor(value, Result(CUT_OFF, None, {}, value.shape, value.dtype, True))
