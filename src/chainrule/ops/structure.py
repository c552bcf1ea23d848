"""What a graph is held together by: inputs, constants, sizes, and taking one of several outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import VerifyError
from chainrule.graph import Array, Node, Primitive, Spec, no_gradient
from chainrule.graph.sizes import Dim, Shape
from chainrule.ops.rules import Need


class Input(Primitive):
    """A value given at each run"""

    name = "input"
    vjp = no_gradient("it has no input of its own")

    def shape(self, *, name: str, shape: Shape, dtype: Any) -> Spec:
        return Spec(shape, dtype)

    def evaluate(self, *, name: str, shape: Shape, dtype: Any) -> Array:
        raise VerifyError(f"the input {name!r} was given no value")


class Constant(Primitive):
    """A value that the node itself holds"""

    name = "constant"
    vjp = no_gradient("it has no input")

    def shape(self) -> Spec:
        raise VerifyError("a constant's shape is that of the value its node holds")

    def evaluate(self) -> Array:
        raise VerifyError("a constant's value is held by its node")


class SizeValue(Primitive):
    """y = a size of the graph, as a number"""

    name = "size"
    vjp = no_gradient("a size is an integer")

    def shape(self, *, size: Dim, dtype: Any) -> Spec:
        return Spec((), np.dtype(dtype))

    def evaluate(self, *, size: int, dtype: Any) -> Array:
        return np.asarray(size, dtype=dtype)

    def lower(self, e: Any, *, size: Dim, dtype: Any) -> Any:
        return e.size(size, np.dtype(dtype))


class Get(Primitive):
    """y = one of the values of an operation with several"""

    name = "get"
    reads = ("",)

    def shape(self, x: Any, *, index: int) -> Spec:
        return Spec(x.shape[index], x.dtype[index])

    def evaluate(self, x: tuple[Array, ...], *, index: int) -> Array:
        return x[index]

    def vjp(self, g: Node, y: Node, x: Node, *, need: Need, index: int) -> Node:
        return g  # the sweep collects it in x's place number ``index``
