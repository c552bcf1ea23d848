"""Random numbers by counter: a draw is a pure function of seed, draw number and place, so a trace can hold it.

``draw`` (an input) is the generator's count when the function begins; ``offset`` is how many draws the function made
before this one. Both are given when the draw is recorded: neither batch size nor dead code shifts a later draw.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from chainrule.graph import Array, Primitive, Spec, no_gradient
from chainrule.graph.sizes import Shape
from chainrule.ops import philox
from chainrule.ops.rules import INT64


class Draw(Primitive, abstract=True):
    """Numbers of a given shape; the inputs are 0-d integers."""

    vjp = no_gradient("random numbers do not depend on the inputs of a network")
    double: ClassVar[Any]
    single: ClassVar[Any]

    def shape(self, seed: Any, draw: Any, *, offset: int, shape: Shape, dtype: Any) -> Spec:
        return Spec(shape, np.dtype(dtype))

    def evaluate(self, seed: Any, draw: Any, *, offset: int, shape: tuple[int, ...], dtype: Any) -> Array:
        numbers = self.double if np.dtype(dtype) == np.float64 else self.single
        count = int(np.prod(shape, dtype=np.int64))
        y: Array = numbers(int(seed), int(draw) + offset, count).reshape(shape)
        return y.astype(dtype, copy=False)

    def lower(self, e: Any, seed: Any, draw: Any, *, offset: int, shape: Shape, dtype: Any) -> Any:
        return e.random(self.name, seed, draw, offset, shape, dtype)


class Uniform(Draw):
    """y ~ uniform on [0, 1)"""

    name = "uniform"
    single = staticmethod(philox.uniform_float32)
    double = staticmethod(philox.uniform_float64)


class Normal(Draw):
    """y ~ normal, mean 0, variance 1 (Box and Muller 1958)"""

    name = "normal"
    single = staticmethod(philox.normal_float32)
    double = staticmethod(philox.normal_float64)


class RandomIntegers(Primitive):
    """y ~ uniform on the integers low … high - 1"""

    name = "random_integers"
    vjp = no_gradient("random integers do not depend on the inputs of a network")

    def shape(self, seed: Any, draw: Any, *, offset: int, shape: Shape, low: int, high: int) -> Spec:
        return Spec(shape, INT64)

    def evaluate(self, seed: Any, draw: Any, *, offset: int, shape: tuple[int, ...], low: int, high: int) -> Array:
        count = int(np.prod(shape, dtype=np.int64))
        return philox.bounded_integers(int(seed), int(draw) + offset, count, low, high).reshape(shape)

    def lower(self, e: Any, seed: Any, draw: Any, *, offset: int, shape: Shape, low: int, high: int) -> Any:
        return e.random("integers", seed, draw, offset, shape, INT64, low=low, high=high)


class Permutation(Primitive):
    """y = a random order of 0, 1, …, size - 1: the stable argsort of 32-bit words"""

    name = "permutation"
    vjp = no_gradient("an order is integers")

    def shape(self, seed: Any, draw: Any, *, offset: int, size: Any) -> Spec:
        return Spec((size,), INT64)

    def evaluate(self, seed: Any, draw: Any, *, offset: int, size: int) -> Array:
        return philox.permutation(int(seed), int(draw) + offset, size)

    def lower(self, e: Any, seed: Any, draw: Any, *, offset: int, size: Any) -> Any:
        return e.order(e.random("words", seed, draw, offset, (size,), INT64), 0, descending=False)
