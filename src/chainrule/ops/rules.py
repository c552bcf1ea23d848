"""What several rules share: names of types, same-dtype checks, broadcasting shapes, and its adjoint."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import DtypeError, ShapeError
from chainrule.graph import Dtype, Node, Primitive, Spec, op
from chainrule.graph.sizes import Shape, broadcast_shapes, same_shape

Need = tuple[bool, ...]  # of each input, whether its gradient is wanted
Axes = tuple[int, ...]
BOOL = np.dtype(np.bool_)
INT64 = np.dtype(np.int64)


def one_dtype(name: str, *operands: Any) -> Dtype:
    """Return the dtype that all operands have; the tensor layer casts before."""
    dtype: Dtype = operands[0].dtype
    for other in operands:
        if other.dtype != dtype:
            got = " and ".join(str(o.dtype) for o in operands)
            raise DtypeError(f"{name}: got {got}", expected="one dtype", fix="convert one of them with .to(dtype)")
    return dtype


def broadcast(name: str, *operands: Any) -> Shape:
    """Return the shape that the operands broadcast to; the error names the operation and the shapes."""
    try:
        return broadcast_shapes(*[o.shape for o in operands])
    except ShapeError:
        got = " and ".join(str(tuple(o.shape)) for o in operands)
        raise ShapeError(
            f"{name}: the shapes {got} do not fit together",
            expected="sizes that are equal, or 1, from the last axis on",
        ) from None


def to_shape_of(x: Node, g: Node) -> Node:
    """Sum ``g`` over the axes along which ``x`` was broadcast: the adjoint of broadcasting."""
    return g if same_shape(g.shape, x.shape) else op.sum_to(g, shape=x.shape)


def zeros_like(x: Node) -> Node:
    """Return zeros in the shape and dtype of ``x``."""
    return op.full(shape=x.shape, dtype=x.dtype, value=0)


def is_plain_zero(value: float) -> bool:
    """Return whether a number is 0 with all bits 0, which -0.0 is not."""
    return value == 0 and math.copysign(1.0, value) > 0


class Elementwise(Primitive, abstract=True):
    """One output element per input element, with broadcasting, the dtype kept. ``evaluate`` may be a NumPy ufunc."""

    elementwise: ClassVar[bool] = True

    def shape(self, *operands: Any) -> Spec:
        """Broadcast; the dtype that all operands have."""
        return Spec(broadcast(self.name, *operands), one_dtype(self.name, *operands))

    def lower(self, e: Any, *operands: Any) -> Any:
        """Write the function of this name."""
        return e.math(self.name, *operands)
