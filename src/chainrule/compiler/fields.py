"""The loops of a graph: what each value is, element by element, before anybody decides where it is computed.

A ``Field`` gives a number for every index of its shape. The ``lower`` rules of the primitives build them (``lowering.py``):

    Source, Fixed     an input of the graph; an array constant
    Number, SizeOf    one number; a size of the graph as a number
    Iota, Random      the index along the only axis; a draw, by counter
    Map               y[i] = rule(a[i], b[i], …), with broadcasting
    Move              y[i] = x[places of i]: permute, expand, slice, flip, diagonal, axes of size 1 added or removed
    Reshape           the same elements in row-major order
    Fold              y = x combined along axes: sums, products, extremes, any, all
    Place             y = where the extreme along one axis is
    Product           y = Σ a b over contracted axes
    Gather, Scatter   reading and writing at places that are data
    Assemble          a field with others written into strided windows of it: pad, concat, put_slice, put_diagonal
    Sweep, Order      running sums and places along an axis; sorting
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.compiler.value import I64, Dtype
from chainrule.graph import Primitive
from chainrule.graph.sizes import Dim, Shape, Size, surely_same


def is_one(size: Dim) -> bool:
    """Say whether a size is the number 1."""
    return not isinstance(size, Size) and size == 1


class Field:
    """A number for every index of ``shape``."""

    __slots__ = ("dtype", "label", "shape")
    inputs: Sequence[Field] = ()

    def __init__(self, shape: Shape, dtype: Dtype) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.label = ""

    def __repr__(self) -> str:
        sizes = ", ".join(str(size) for size in self.shape)
        return f"{type(self).__name__.lower()} {self.dtype}[{sizes}]"

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)


class Source(Field):
    """Input number ``index`` of the graph."""

    __slots__ = ("index", "name")

    def __init__(self, index: int, name: str, shape: Shape, dtype: Dtype) -> None:
        super().__init__(shape, dtype)
        self.index = index
        self.name = name


class Fixed(Field):
    """A constant array."""

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        super().__init__(array.shape, array.dtype)
        self.array = np.ascontiguousarray(array)


class Number(Field):
    """A constant number."""

    __slots__ = ("value",)

    def __init__(self, value: Any, dtype: Dtype) -> None:
        super().__init__((), dtype)
        self.value = value


class SizeOf(Field):
    """A size of the graph as a number."""

    __slots__ = ("size",)

    def __init__(self, size: Dim, dtype: Dtype) -> None:
        super().__init__((), dtype)
        self.size = size


class Iota(Field):
    """0, 1, 2, …"""

    __slots__ = ()

    def __init__(self, size: Dim, dtype: Dtype) -> None:
        super().__init__((size,), dtype)


class Random(Field):
    """Draw number ``draw + offset`` of ``seed``: ``kind`` is uniform, normal or integers."""

    __slots__ = ("attributes", "inputs", "kind", "offset")

    def __init__(
        self, kind: str, seed: Field, draw: Field, offset: int, shape: Shape, dtype: Dtype, **attributes: Any
    ) -> None:
        super().__init__(shape, dtype)
        self.kind = kind
        self.inputs = (seed, draw)
        self.offset = offset
        self.attributes = attributes


class Map(Field):
    """One element from one element of each input."""

    __slots__ = ("attributes", "inputs", "primitive")

    def __init__(
        self, rule: Primitive, inputs: Sequence[Field], attributes: dict[str, Any], shape: Shape, dtype: Dtype
    ) -> None:
        super().__init__(shape, dtype)
        self.primitive = rule
        self.inputs = tuple(inputs)
        self.attributes = attributes

    def __repr__(self) -> str:
        return f"{self.primitive.name} {self.dtype}{list(self.shape)}"


class Where(NamedTuple):
    """The index along one axis of what is moved: ``offset + step · (index along ``axis`` of the result, or 0)``."""

    axis: int | None
    offset: Dim = 0
    step: int = 1


class Move(Field):
    """y[i] = x at places that follow from i: for each axis of x, its ``Where``."""

    __slots__ = ("inputs", "places")

    def __init__(self, x: Field, places: Sequence[Where], shape: Shape) -> None:
        super().__init__(shape, x.dtype)
        self.inputs = (x,)
        self.places = tuple(places)

    @property
    def renames(self) -> bool:
        """Whether it only permutes, repeats, adds or drops axes: no element is shifted."""
        axes = [place.axis for place in self.places if place.axis is not None]
        return len(set(axes)) == len(axes) and all(
            place.step == 1
            and surely_same(place.offset, 0)
            and (is_one(n) if place.axis is None else surely_same(n, self.shape[place.axis]))
            for place, n in zip(self.places, self.inputs[0].shape, strict=True)
        )


class Reshape(Field):
    """The elements of x, in row-major order, in another shape."""

    __slots__ = ("inputs",)

    def __init__(self, x: Field, shape: Shape) -> None:
        super().__init__(shape, x.dtype)
        self.inputs = (x,)


class Fold(Field):
    """x combined along ``axes``: ``kind`` is add, mul, max, min, or, and; pick: a sum of zeros (-0.0) and one element."""

    __slots__ = ("axes", "inputs", "kind")

    def __init__(self, kind: str, x: Field, axes: Sequence[int]) -> None:
        super().__init__(tuple([n for axis, n in enumerate(x.shape) if axis not in axes]), x.dtype)
        self.kind = kind
        self.inputs = (x,)
        self.axes = tuple(sorted(axes))


class Place(Field):
    """Where along ``axis`` the extreme is, the first if there are several; NaN counts as the extreme."""

    __slots__ = ("axis", "inputs", "kind")

    def __init__(self, kind: str, x: Field, axis: int) -> None:
        super().__init__(tuple([n for k, n in enumerate(x.shape) if k != axis]), I64)
        self.kind = kind
        self.inputs = (x,)
        self.axis = axis


class Product(Field):
    """y = Σ a b over the contracted axes; its axes: batch, those of a, those of b."""

    __slots__ = ("batch", "contracted", "inputs")

    def __init__(self, a: Field, b: Field, batch: Any, contracted: Any, shape: Shape) -> None:
        super().__init__(shape, a.dtype)
        self.inputs = (a, b)
        self.batch = batch
        self.contracted = contracted


class Gather(Field):
    """y = x at the places that index fields give for ``axes``: they stand in y at axis ``place``."""

    __slots__ = ("axes", "inputs", "place")

    def __init__(self, x: Field, index: Sequence[Field], axes: Sequence[int], place: int, shape: Shape) -> None:
        super().__init__(shape, x.dtype)
        self.inputs = (x, *index)
        self.axes = tuple(axes)
        self.place = place


class Scatter(Field):
    """``base`` (zeros, if None) with x added (or written, the last one wins) at places as of a Gather."""

    __slots__ = ("adds", "axes", "base", "index", "inputs", "place", "x")

    def __init__(
        self, base: Field | None, x: Field, index: Sequence[Field], axes: Sequence[int], place: int, shape: Shape
    ) -> None:
        super().__init__(shape, x.dtype)
        self.base = base
        self.adds = base is None
        self.x = x
        self.index = tuple(index)
        self.inputs = (*(() if base is None else (base,)), x, *index)
        self.axes = tuple(axes)
        self.place = place


class Piece(NamedTuple):
    """A field, and where it is written: for each axis of the whole, which axis of the piece moves along it."""

    x: Field
    places: tuple[Where, ...]


class Assemble(Field):
    """``base`` (a field that broadcasts to the whole; None if the pieces cover it) with pieces written over it."""

    __slots__ = ("base", "inputs", "pieces")

    def __init__(self, base: Field | None, pieces: Sequence[Piece], shape: Shape, dtype: Dtype) -> None:
        super().__init__(shape, dtype)
        self.base = base
        self.pieces = tuple(pieces)
        self.inputs = (*(() if base is None else (base,)), *[piece.x for piece in pieces])


class Sweep(Field):
    """Running combinations along ``axis``: ``kind`` is sum, argmax or argmin."""

    __slots__ = ("axis", "inputs", "kind", "reverse")

    def __init__(self, kind: str, x: Field, axis: int, *, reverse: bool = False) -> None:
        super().__init__(x.shape, x.dtype if kind == "sum" else I64)
        self.kind = kind
        self.inputs = (x,)
        self.axis = axis
        self.reverse = reverse


class Order(Field):
    """The stable order of x along ``axis``, NaN last (first if ``descending``)."""

    __slots__ = ("axis", "descending", "inputs")

    def __init__(self, x: Field, axis: int, *, descending: bool) -> None:
        super().__init__(x.shape, I64)
        self.inputs = (x,)
        self.axis = axis
        self.descending = descending


def in_order(outputs: Sequence[Field]) -> list[Field]:
    """Return every field below ``outputs``, each after what it reads. Iterative: depth is no limit."""
    done: set[Field] = set()
    order: list[Field] = []
    stack: list[tuple[Field, bool]] = [(field, False) for field in reversed(outputs)]
    while stack:
        field, ready = stack.pop()
        if ready:
            order.append(field)
        elif field not in done:
            done.add(field)
            stack.append((field, True))
            stack.extend((x, False) for x in reversed(field.inputs) if x not in done)
    return order
