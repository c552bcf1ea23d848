"""The loops of a graph: what each value is, element by element, before anybody decides where it is computed.

A ``Field`` gives a number for every index of its shape. The ``lower`` rules of the primitives build them:

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

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.compiler.emit import I64, LANES, Dtype
from chainrule.graph import Primitive, primitive
from chainrule.graph.sizes import Dim, Shape, Size, broadcast_shapes, numel

LARGE_TABLE = 1 << 17  # bytes of zeros from which on they are not written if few rows are met


def same(a: Dim, b: Dim) -> bool:
    """Say whether two sizes are certainly equal."""
    if a is b:
        return True
    if isinstance(a, Size) or isinstance(b, Size):
        return str(a) == str(b)
    return a == b


def same_sizes(a: Shape, b: Shape) -> bool:
    """Say whether two shapes are certainly equal."""
    return len(a) == len(b) and all(map(same, a, b))


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
            and same(place.offset, 0)
            and (is_one(n) if place.axis is None else same(n, self.shape[place.axis]))
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


class Lowering:
    """What the ``lower`` rules of primitives that are not elementwise are given: it builds fields."""

    def number(self, value: Any, dtype: Dtype) -> Field:
        """Return a constant number."""
        return Number(value, np.dtype(dtype))

    def full(self, shape: Shape, value: Any, dtype: Dtype) -> Field:
        """Return one number everywhere."""
        return self.expand(Number(value, np.dtype(dtype)), shape)

    def size(self, size: Dim, dtype: Dtype) -> Field:
        """Return a size as a number."""
        return SizeOf(size, np.dtype(dtype)) if isinstance(size, Size) else Number(size, np.dtype(dtype))

    def iota(self, size: Dim, dtype: Dtype = I64) -> Field:
        """Return 0, 1, 2, …"""
        return Iota(size, dtype)

    def map(self, name: str, *inputs: Field, dtype: Dtype | None = None, **attributes: Any) -> Field:
        """Return an elementwise primitive of fields."""
        shape = broadcast_shapes(*[x.shape for x in inputs])
        rule = primitive(name)
        found = np.dtype(dtype) if dtype is not None else rule.shape(*inputs, **attributes).dtype
        return Map(rule, inputs, attributes, shape, found)

    # -- places --------------------------------------------------------------------------------------------------------

    def move(self, x: Field, places: Sequence[Where], shape: Shape) -> Field:
        """Return x at other places; a move of a move is one move."""
        if isinstance(x, Number) or (isinstance(x, Move) and isinstance(x.inputs[0], Number)):
            root = x if isinstance(x, Number) else x.inputs[0]
            return Move(root, (), shape) if shape else root
        if isinstance(x, Move):
            inner = []
            for where in x.places:
                if where.axis is None:
                    inner.append(where)
                else:
                    outer = places[where.axis]
                    inner.append(Where(outer.axis, where.offset + where.step * outer.offset, where.step * outer.step))
            return Move(x.inputs[0], inner, shape)
        return Move(x, places, shape)

    def permute(self, x: Field, axes: Sequence[int]) -> Field:
        """Return x with axis k being its axis axes[k]."""
        order = [axes.index(axis) for axis in range(x.ndim)]
        return self.move(x, [Where(axis) for axis in order], tuple([x.shape[axis] for axis in axes]))

    def expand(self, x: Field, shape: Shape) -> Field:
        """Return x repeated to ``shape``."""
        extra = len(shape) - x.ndim
        places = [
            Where(None) if is_one(n) and not is_one(shape[axis + extra]) else Where(axis + extra)
            for axis, n in enumerate(x.shape)
        ]
        return self.move(x, places, shape)

    def slice(self, x: Field, starts: Sequence[Dim], steps: Sequence[int], shape: Shape) -> Field:
        """Return every step-th element from start on, along every axis."""
        places = [Where(axis, start, step) for axis, (start, step) in enumerate(zip(starts, steps, strict=True))]
        return self.move(x, places, shape)

    def flip(self, x: Field, axes: Sequence[int]) -> Field:
        """Return x with axes reversed."""
        places = [Where(k, n - 1, -1) if k in axes else Where(k) for k, n in enumerate(x.shape)]
        return self.move(x, places, x.shape)

    def diagonal(self, x: Field, offset: int, axis1: int, axis2: int, shape: Shape) -> Field:
        """Return a diagonal of two axes as the last axis."""
        last, places, k = len(shape) - 1, [], 0
        for axis in range(x.ndim):
            if axis in (axis1, axis2):
                shift = max(-offset, 0) if axis == axis1 else max(offset, 0)
                places.append(Where(last, shift))
            else:
                places.append(Where(k))
                k += 1
        return self.move(x, places, shape)

    def reshape(self, x: Field, shape: Shape) -> Field:
        """Return the elements in another shape; axes of size 1 come and go freely."""
        if same_sizes(x.shape, shape):
            return x
        kept = [axis for axis, n in enumerate(x.shape) if not is_one(n)]
        new = [axis for axis, n in enumerate(shape) if not is_one(n)]
        if same_sizes(tuple([x.shape[a] for a in kept]), tuple([shape[a] for a in new])):
            to = dict(zip(kept, new, strict=True))
            return self.move(x, [Where(to.get(axis)) for axis in range(x.ndim)], shape)
        if isinstance(x, Reshape):
            return self.reshape(x.inputs[0], shape)
        return Reshape(x, shape)

    # -- many to one ---------------------------------------------------------------------------------------------------

    def fold(self, kind: str, x: Field, axes: Sequence[int]) -> Field:
        """Return x combined along axes; along none, or those of size 1 alone, the elements of x."""
        single = [axis for axis in axes if is_one(x.shape[axis])]
        if single:
            kept = [axis for axis in range(x.ndim) if axis not in single]
            axes = [kept.index(axis) for axis in axes if axis not in single]
            x = self.reshape(x, tuple([x.shape[axis] for axis in kept]))
        return Fold(kind, x, axes) if axes else x

    def place(self, kind: str, x: Field, axis: int) -> Field:
        """Return where the extreme ("max" or "min") along axis is."""
        if is_one(x.shape[axis]):
            return self.full(tuple([n for k, n in enumerate(x.shape) if k != axis]), 0, I64)
        return Place(kind, x, axis)

    def product(self, a: Field, b: Field, batch: Any, contracted: Any, shape: Shape) -> Field:
        """Return Σ a b over the contracted axes."""
        return Product(a, b, batch, contracted, shape)

    def sweep(self, kind: str, x: Field, axis: int, *, reverse: bool = False) -> Field:
        """Return running sums ("sum") or places of extremes ("argmax", "argmin") along axis."""
        return Sweep(kind, x, axis, reverse=reverse)

    def order(self, x: Field, axis: int, *, descending: bool) -> Field:
        """Return the stable order along axis."""
        return Order(x, axis, descending=descending)

    # -- places that are data --------------------------------------------------------------------------------------------

    def index(self, index: Field, size: Dim) -> Field:
        """Return a checked index: counted from the end if negative; one outside of ``size`` stops the run."""
        if isinstance(index, Iota) and same(index.shape[0], size):
            return index
        bound = self.size(size, I64)
        return Map(
            primitive("index_within"),
            (self.map("cast", index, dtype=I64) if index.dtype != I64 else index, bound),
            {},
            index.shape,
            I64,
        )

    def take(self, x: Field, index: Sequence[Field], axes: Sequence[int], shape: Shape) -> Field:
        """Return the elements at the places that ``index`` gives for ``axes``."""
        checked = [self.index(i, x.shape[axis]) for i, axis in zip(index, axes, strict=True)]
        if self._one_per_row(x.shape, index, axes):  # y[i] = Σⱼ [j = index[i]] x[i, j]
            place = self.map("eq", self.iota(x.shape[1]), self.reshape(checked[1], (x.shape[0], 1)))
            nothing = self.number(-0.0 if x.dtype.kind == "f" else 0, x.dtype)
            picked = self.map("where", place, x, nothing, dtype=x.dtype)
            return self.fold("pick" if x.dtype.kind != "b" else "or", picked, (1,))
        return Gather(x, checked, axes, _place(axes), shape)

    def spread(self, x: Field, index: Sequence[Field], axes: Sequence[int], shape: Shape) -> Field:
        """Return zeros of ``shape`` with x added at places: the adjoint of take."""
        checked = [self.index(i, shape[axis]) for i, axis in zip(index, axes, strict=True)]
        if self._one_per_row(shape, index, axes) and same_sizes(x.shape, (shape[0],)):  # y[i, j] = [j = index[i]] x[i]
            place = self.map("eq", self.iota(shape[1]), self.reshape(checked[1], (shape[0], 1)))
            return self.map("where", place, self.reshape(x, (shape[0], 1)), self.number(0, x.dtype), dtype=x.dtype)
        if len(index) == 1 and tuple(axes) == (0,) and _is_mostly_zeros(x, index[0], shape):
            return self._few_rows(x, checked[0], shape)
        return Scatter(None, x, checked, axes, _place(axes), shape)

    def _few_rows(self, x: Field, index: Field, shape: Shape) -> Field:
        """Return the same where most rows stay zero: rows for those that are met and one of zeros, read by a table.

        The table says for each row of the result where it stands among the few. So a table of embeddings has no gradient in
        its size: whoever reads it reads the few rows.
        """
        count = numel(index.shape)
        rest = tuple(shape[1:])
        table = self.expand(self.size(count, I64), (shape[0],))
        numbers = self.reshape(self.iota(count), index.shape)
        table = Scatter(table, numbers, [index], (0,), 0, (shape[0],))
        place = Gather(table, [index], (0,), 0, index.shape)
        few = Scatter(None, x, [place], (0,), 0, (count + 1, *rest))
        return Gather(few, [table], (0,), 0, shape)

    def put(self, base: Field, x: Field, index: Sequence[Field], axes: Sequence[int]) -> Field:
        """Return ``base`` with x written at places; the last write wins."""
        checked = [self.index(i, base.shape[axis]) for i, axis in zip(index, axes, strict=True)]
        return Scatter(base, x, checked, axes, _place(axes), base.shape)

    def _one_per_row(self, shape: Shape, index: Sequence[Field], axes: Sequence[int]) -> bool:
        """Say whether of a matrix one element per row is meant: the rows are 0, 1, 2, …"""
        return (
            len(shape) == 2
            and tuple(axes) == (0, 1)
            and isinstance(index[0], Iota)
            and same(index[0].shape[0], shape[0])
            and same_sizes(index[1].shape, (shape[0],))
        )

    def pad(self, x: Field, low: Any, interior: Any, value: Any, shape: Shape) -> Field:
        """Return x with padding around each axis and between neighbours."""
        places = tuple([Where(axis, a, int(c) + 1) for axis, (a, c) in enumerate(zip(low, interior, strict=True))])
        return Assemble(Number(value, x.dtype), [Piece(x, places)], shape, x.dtype)

    def concat(self, xs: Sequence[Field], axis: int, shape: Shape) -> Field:
        """Return the fields joined along axis."""
        pieces, start = [], 0
        for x in xs:
            pieces.append(Piece(x, tuple([Where(k, start if k == axis else 0) for k in range(x.ndim)])))
            start = start + x.shape[axis]
        return Assemble(None, pieces, shape, xs[0].dtype)

    def put_slice(self, a: Field, b: Field, starts: Any, steps: Any, window: Shape) -> Field:
        """Return ``a`` with a slice replaced by ``b``."""
        places = tuple([Where(axis, start, step) for axis, (start, step) in enumerate(zip(starts, steps, strict=True))])
        return Assemble(a, [Piece(self.expand(b, window), places)], a.shape, a.dtype)

    def put_diagonal(self, a: Field, b: Field, offset: int, axis1: int, axis2: int, window: Shape) -> Field:
        """Return ``a`` with a diagonal replaced by ``b``."""
        last, places, k = len(window) - 1, [], 0
        for axis in range(a.ndim):
            if axis in (axis1, axis2):
                places.append(Where(last, max(-offset, 0) if axis == axis1 else max(offset, 0)))
            else:
                places.append(Where(k))
                k += 1
        return Assemble(a, [Piece(self.expand(b, window), tuple(places))], a.shape, a.dtype)

    def random(
        self, kind: str, seed: Field, draw: Field, offset: int, shape: Shape, dtype: Dtype, **attributes: Any
    ) -> Field:
        """Return numbers drawn by counter."""
        return Random(kind, seed, draw, offset, shape, np.dtype(dtype), **attributes)


def _is_mostly_zeros(x: Field, index: Field, shape: Shape) -> bool:
    """Say whether zeros of ``shape`` are too many to write them, and rows at ``index`` are few beside them, for all we know."""
    sizes = [n for n in shape if not isinstance(n, Size)]
    if len(sizes) < len(shape) or len(shape) < 2 or sizes[-1] < LANES or x.dtype.kind != "f":
        return False
    count = numel(index.shape)
    few = isinstance(count, Size) or 2 * count <= sizes[0]
    return few and math.prod(sizes) * x.dtype.itemsize >= LARGE_TABLE


def _place(axes: Sequence[int]) -> int:
    """Return the axis of the result where the index arrays stand: in place if the axes are neighbours, else in front."""
    first = min(axes)
    return first if max(axes) - first < len(axes) else 0
