"""Which input of any number of rows decides where a field is 0: wherever its element is 0, that of the field is."""

from __future__ import annotations

import math

from chainrule.compiler.fields import Field, Map, Number, Source
from chainrule.graph.sizes import Size, surely_same_shape

LARGEST = 1e30  # that a factor may be: 0 times it is 0


def zeros_from(x: Field) -> Source | None:
    """Return the input: the field itself, or what the field is made of by factors of finite size, as dropout is.

    None: there is none, or it has a fixed number of rows, as parameters have.
    """
    if isinstance(x, Source):
        return x if any(isinstance(n, Size) for n in x.shape[:1]) else None
    if isinstance(x, Map) and x.primitive.name == "mul":
        for one, other in (x.inputs, x.inputs[::-1]):
            found = zeros_from(one)
            if found is not None and surely_same_shape(found.shape, x.shape) and _largest(other) < LARGEST:
                return found
    return None


def _largest(x: Field) -> float:
    """Return a bound of the elements of a field; infinity if none is known."""
    if isinstance(x, Number) and x.dtype.kind == "f" and math.isfinite(x.value):
        return abs(float(x.value))
    if isinstance(x, Map) and x.primitive.name == "cast" and x.inputs[0].dtype.kind == "b":
        return 1.0
    if isinstance(x, Map) and x.primitive.name == "mul":
        return math.prod([_largest(y) for y in x.inputs])
    return math.inf
