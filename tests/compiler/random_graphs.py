"""Random graphs over all primitives, the judgement of a compiled one beside its interpreter, and shrinking what fails.

Every value of a graph is known while the graph is made, at each batch size: as the interpreter computes it, as PyTorch does,
and in float64. Native code and the interpreter are judged alike:

    |ours - float64| <= 4 max|PyTorch float32 - float64| + 1e-6 max|float64|

An operation is drawn again where PyTorch's error is no measure: computed again from operands that are off by a rounding, its
sums in another order, PyTorch itself would not keep to half of that. Nothing here computes better than float64: in float64 (and
without PyTorch, with 1e-6) the error is estimated by throwing in roundings, beside the interpreter's own:

    |ours - exact| <= 4 max|interpreter - exact| + 4 max|disturbed - exact| + 1e-12 max|exact|

Most values are exact: integers, truth values, what is moved or rounded once, and sums of numbers on a coarse grid, which
come out the same in any order. These are compared bit for bit. What jumps (comparisons, places, floor) reads exact values only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.graph import Graph, Node, Recording, constant, graph_input, primitives, recording, show, verify
from chainrule.graph.sizes import Size, UndecidedSize, broadcast_shapes, evaluate, infer_reshape, numel, symbol
from chainrule.ops.body import BodyRecording, scalar_input, vector_input
from chainrule.ops.random import Draw
from chainrule.run.native import NativeProgram
from chainrule.run.program import Program

from .graphs_in_torch import SUMS as IN_ANY_ORDER
from .graphs_in_torch import in_torch, torch

N = symbol("n")
BATCHES = (2, 3, 15, 16, 17, 33, 100)
SMALL = (1, 1, 2, 3, 3, 4, 5, 7, 8, 12, 15, 16, 17, 20, 31, 32, 33, 48, 64, 65)
LARGE = (255, 256, 257, 300, 511, 513, 1000, 1023, 1024, 1025, 1040, 2049, 3077)
MOST_ELEMENTS = 12_000

FLOATS = ("float32", "float64")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8")
ALLOWED = 4.0  # times what PyTorch's float32 is off, and a millionth of the largest
RERUNS = 8  # of PyTorch
ORDERS = 24  # of the terms of a sum
UNIT = {"float32": 2.0**-23, "float64": 2.0**-52}

BITS, EQUAL, CLOSE = 0, 1, 2  # EQUAL: but for the sign of a zero

MOVES = frozenset(
    [
        "reshape",
        "permute",
        "expand",
        "slice",
        "pad",
        "put_slice",
        "diagonal",
        "put_diagonal",
        "flip",
        "concat",
        "take",
        "put",
        "where",
        "stop",
        "set_value",
    ]
)
ROUNDED = frozenset(
    [
        "add",
        "sub",
        "mul",
        "div",
        "neg",
        "sqrt",
        "abs",
        "floor",
        "ceil",
        "round",
        "trunc",
        "sign",
        "cast",
        "relu",
        "maximum",
        "minimum",
        "amax",
        "amin",
        "fmod",
        "remainder",
    ]
)
ZERO_SIGNS = frozenset(
    [
        "relu",
        "maximum",
        "minimum",
        "amax",
        "amin",
        "round",
        "trunc",
        "ceil",
        "sum",
        "sum_to",
        "cumsum",
        "prod",
        "contract",
        "spread",
    ]
)
SUMS = frozenset(["sum", "sum_to", "cumsum", "contract", "spread"])
JUMPS = frozenset(
    [
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "isnan",
        "isinf",
        "isfinite",
        "floor",
        "ceil",
        "round",
        "trunc",
        "sign",
        "argmax",
        "argmin",
        "cumargmax",
        "cumargmin",
        "argsort",
        "any",
        "all",
        "floor_divide",
        "trunc_divide",
        "remainder",
        "fmod",
    ]
)


class Unfit(Exception):  # a turn of the generator that leads nowhere
    pass


class Known(NamedTuple):
    """What is known of a value at each batch size, and how exact it is.

    The value as interpreted, in PyTorch's float64, in float64 with roundings thrown in, in PyTorch, and in PyTorch (several times) from
    operands that are off by a rounding and with sums in another order.
    """

    values: dict[int, Any]
    wide: dict[int, Any]
    disturbed: dict[int, Any]
    torch: dict[int, Any]
    again: dict[int, list[Any]]
    exactness: int
    unit: float


def widened(attributes: dict[str, Any]) -> dict[str, Any]:
    return {k: np.dtype(np.float64) if k == "dtype" and v == np.float32 else v for k, v in attributes.items()}


def on_grid(x: Any) -> bool:
    scaled = np.asarray(x, np.float64) * 64
    return bool(np.isfinite(scaled).all() and (scaled == np.rint(scaled)).all())


def given(values: dict[int, Any]) -> Known:
    wide = {n: x.astype(np.float64) if x.dtype.kind == "f" else x for n, x in values.items()}
    return Known(values, wide, wide, values, {n: [x] * RERUNS for n, x in values.items()}, BITS, 0.0)


def known(node: Node, inputs: Sequence[Known], batches: Iterable[int]) -> Known:
    """Evaluate one operation at each batch size, and say how exact it is."""
    made_by = node.primitive
    assert made_by is not None
    name = made_by.name
    floats = [x for x in inputs if next(iter(x.values.values())).dtype.kind == "f"]
    worst = max([x.exactness for x in floats], default=BITS)
    if name in JUMPS and worst == CLOSE:
        raise Unfit
    values, wide, disturbed, torch, again = {}, {}, {}, {}, {}
    exactness = worst if name in MOVES or name in ROUNDED else CLOSE
    if node.dtype.kind != "f" or not inputs:
        exactness = BITS
    with np.errstate(all="ignore"):
        for n in batches:
            attributes = {k: evaluate(v, {"n": n}) for k, v in node.attributes.items()}
            operands = [x.values[n] for x in inputs]
            values[n] = np.asarray(made_by.evaluate(*operands, **attributes))
            if node.dtype.kind == "f" and (np.abs(values[n][values[n] != 0]) < np.finfo(node.dtype).tiny).any():
                raise Unfit  # native code takes denormals for zeros
            assert values[n].shape == tuple(evaluate(node.shape, {"n": n})), f"{name}: {values[n].shape}, {node.shape}"
        if name in SUMS | {"prod"} and node.dtype.kind == "f":
            exactness = EQUAL if worst < CLOSE and all(is_exact_sum(name, node, inputs, n) for n in batches) else CLOSE
        if exactness == BITS and name in ZERO_SIGNS and node.dtype.kind == "f":
            exactness = EQUAL
        if name in ("div", "atan2") and any(x.exactness > BITS and has_zeros(x) for x in floats):
            raise Unfit  # the sign of a zero decides
        if node.dtype.kind == "f" and name == "cast" and not floats:
            exactness = BITS
        if node.dtype.kind != "f" and name == "cast" and floats:
            check_cast(node.dtype, floats[0])
        if exactness < CLOSE:
            exact = given(values)
            return exact._replace(exactness=exactness)
        unit = max([UNIT[node.dtype.name], *[x.unit for x in floats]])
        random = np.random.default_rng(len(node.attributes))
        if isinstance(made_by, Draw):  # in another dtype it would be another draw
            drawn = given(values)
            return drawn._replace(exactness=exactness, unit=unit)
        for n in batches:
            attributes = {k: evaluate(v, {"n": n}) for k, v in widened(node.attributes).items()}
            wide[n] = in_torch(made_by, [x.wide[n] for x in inputs], attributes)
            noisy = np.asarray(made_by.evaluate(*[x.disturbed[n] for x in inputs], **attributes))
            noise = UNIT[node.dtype.name] * rounding(name, made_by, inputs, attributes, n, noisy)
            disturbed[n] = noisy + noise * random.choice([-1, 1], size=noisy.shape)
            finite = np.isfinite(values[n])
            if not ((finite == np.isfinite(wide[n])) & (finite == np.isfinite(disturbed[n]))).all():
                raise Unfit
            if finite.any() and np.abs(wide[n][finite]).max() > 1e12:
                raise Unfit
            if not is_measured(unit):
                torch[n], again[n] = values[n], [values[n]] * RERUNS
                continue
            own = {k: evaluate(v, {"n": n}) for k, v in node.attributes.items()}
            torch[n] = in_torch(made_by, [x.torch[n] for x in inputs], own)
            again[n] = []
            for k in range(RERUNS):
                operands = [x.again[n][k] for x in inputs]
                y = in_torch(made_by, operands, own, order=random)
                off = UNIT[node.dtype.name] * np.abs(y) * (name not in MOVES)
                again[n].append((y + off * random.choice([-1, 1], size=y.shape)).astype(node.dtype))
            orders = ORDERS if name in IN_ANY_ORDER else 0
            in_orders = [in_torch(made_by, [x.torch[n] for x in inputs], own, order=random) for _ in range(orders)]
            check_measured(torch[n], [*again[n], *in_orders], wide[n], finite)
    return Known(values, wide, disturbed, torch, again, exactness, unit)


def is_measured(unit: float) -> bool:
    """Say whether PyTorch's error is what is allowed."""
    return torch is not None and unit == UNIT["float32"]


def has_zeros(x: Known) -> bool:
    return any((value == 0).any() for value in x.values.values())


def check_measured(torch: Any, again: Sequence[Any], wide: Any, finite: Any) -> None:
    if not finite.any() or (finite != np.isfinite(torch)).any():
        raise Unfit
    for other in again:
        if not (np.abs(other - wide)[finite] <= allowed(torch, wide, finite) / 2).all():
            raise Unfit


def allowed(torch: Any, wide: Any, finite: Any) -> float:
    """Return how far an element may be from its value in float64."""
    error = np.abs(torch[finite].astype(np.float64) - wide[finite]).max()
    return float(ALLOWED * error + 1e-6 * np.abs(wide[finite]).max())


def rounding(name: str, made_by: Any, inputs: Sequence[Known], attributes: dict[str, Any], n: int, y: Any) -> Any:
    """Return by how many units in the last place of 1 each element may be off."""
    if name in MOVES:
        return np.abs(y) if any(x.exactness == CLOSE for x in inputs) else 0 * y
    if name in SUMS:
        places = 2 if name == "contract" else 1
        terms = [np.abs(x.disturbed[n]) for x in inputs[:places]] + [x.disturbed[n] for x in inputs[places:]]
        length = max(1, max(x.disturbed[n].size for x in inputs) // max(y.size, 1))
        return 2 * np.sqrt(length) * made_by.evaluate(*terms, **attributes)
    if name == "prod":
        return np.abs(y) * inputs[0].disturbed[n].size
    if name in ("softmax", "log_softmax"):
        x = inputs[0].disturbed[n]
        largest = np.abs(x[np.isfinite(x)]).max(initial=0.0)
        return (8 + 2 * largest) * (np.abs(y) if name == "softmax" else np.ones_like(y))
    return 4 * np.abs(y)


def is_exact_sum(name: str, node: Node, inputs: Sequence[Known], n: int) -> bool:
    """Say whether the sum comes out the same in every order: all terms on a grid, and none too large for it."""
    room = 2.0**24 if node.dtype == np.float32 else 2.0**53
    terms = [x.values[n] for x in inputs if x.values[n].dtype.kind == "f"]
    if not all(on_grid(x) for x in terms):
        return False
    if name == "prod":
        x = np.abs(terms[0])
        return bool((terms[0] == np.rint(terms[0])).all() and np.prod(np.maximum(x, 1), dtype=np.float64) < room)
    assert node.primitive is not None
    attributes = {k: evaluate(v, {"n": n}) for k, v in node.attributes.items()}
    wide = [np.abs(x.values[n]).astype(np.float64) if x.values[n].dtype.kind == "f" else x.values[n] for x in inputs]
    largest = np.max(node.primitive.evaluate(*wide, **attributes), initial=0.0)
    return bool(largest * 64.0 ** len(terms) < room)


def check_cast(dtype: Any, x: Known) -> None:
    if x.exactness == CLOSE:
        raise Unfit
    if dtype.kind == "b":
        return
    limits = np.iinfo(dtype)
    for value in x.values.values():
        if not (np.isfinite(value) & (value > max(limits.min, -(2.0**62))) & (value < min(limits.max, 2.0**62))).all():
            raise Unfit


# -- making graphs -------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A graph, which outputs are written over which inputs, and what its nodes' values are."""

    graph: Graph
    in_place: dict[int, int]
    known: dict[Node, Known]
    batches: tuple[int, ...]
    redrawn: int = 0  # operations that would have read or made what rounding decides

    def inputs(self, n: int) -> list[Any]:
        return [self.known[x].values[n] for x in self.graph.inputs]


class Maker:
    """Makes one random graph, an operation at a time."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.symbolic = self.chance(0.6)
        self.special = self.chance(0.15)
        self.batches = BATCHES if self.symbolic else (0,)
        self.recorder = Recording()
        self.redrawn = 0
        self.inputs: list[Node] = []
        self.known: dict[Node, Known] = {}
        self.pool: list[Node] = []
        self.favourites = [self.dim() for _ in range(3)]
        self.dtypes = [str(self.random.choice(FLOATS + INTEGERS + ("bool",))) for _ in range(3)] + ["float32"] * 5

    # -- choices -----------------------------------------------------------------------------------------------------------

    def chance(self, p: float) -> bool:
        return bool(self.random.random() < p)

    def one(self, things: Sequence[Any]) -> Any:
        return things[int(self.random.integers(len(things)))]

    def dim(self) -> Any:
        if self.symbolic and self.chance(0.4):
            return N if self.chance(0.85) else self.one([2 * N, N + 1, N + 3, 16 * N])
        if self.chance(0.08):
            return self.one(LARGE)
        if self.chance(0.03):
            return 0
        return self.one(SMALL)

    def shape(self) -> tuple[Any, ...]:
        ndim = int(self.random.choice(5, p=[0.06, 0.27, 0.4, 0.2, 0.07]))
        sizes = [self.one(self.favourites) if self.chance(0.7) else self.dim() for _ in range(ndim)]
        while self.elements(sizes) > MOST_ELEMENTS:
            sizes[int(np.argmax([evaluate(n, {"n": 100}) for n in sizes]))] = self.one(SMALL[:10])
        return tuple(sizes)

    def elements(self, sizes: Sequence[Any]) -> int:
        return int(evaluate(numel(sizes), {"n": 100}))

    def numbers(self, dtype: str, shape: tuple[int, ...], kind: str) -> Any:
        r = self.random
        kind_of = np.dtype(dtype).kind
        if kind_of == "b":
            return np.asarray(r.random(shape) < 0.5)
        if kind_of in "iu":
            limits = np.iinfo(dtype)
            low, high = (0 if kind_of == "u" else -5, 6) if kind != "special" else (limits.min, limits.max)
            return np.asarray(r.integers(low, high, shape, dtype=np.dtype(dtype).type, endpoint=kind == "special"))
        if kind == "grid":
            return np.asarray(r.integers(-16, 17, shape) / 8.0, dtype=dtype)
        x = np.asarray(r.standard_normal(shape), dtype=dtype)
        if kind == "special":
            picked = r.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0], size=shape)
            x = np.where(r.random(shape) < 0.3, picked, x).astype(dtype)
        return x

    def input(self, shape: tuple[Any, ...] | None = None, dtype: str | None = None) -> Node:
        """Add an input."""
        shape = self.shape() if shape is None else shape
        dtype = self.one(self.dtypes) if dtype is None else str(dtype)
        if self.elements(shape) > 2 * MOST_ELEMENTS:
            raise Unfit
        kind = "special" if self.special and self.chance(0.5) else self.one(["grid", "normal"])
        values = {}
        for n in self.batches:
            value = self.numbers(dtype, tuple([int(evaluate(s, {"n": n})) for s in shape]), kind)
            if value.ndim > 1 and self.chance(0.1):
                value = np.asfortranarray(value)
            values[n] = value
        if self.chance(0.12) and all(not isinstance(s, Size) for s in shape):
            node = constant(values[self.batches[0]])
            values = dict.fromkeys(self.batches, node.value)
        else:
            node = self.new_input(shape, dtype)
        return self.keep(node, given(values))

    def new_input(self, shape: tuple[Any, ...], dtype: Any) -> Node:
        node = graph_input(f"x{len(self.inputs)}", shape, np.dtype(dtype))
        self.inputs.append(node)
        return node

    def index(self, size: Any, shape: tuple[Any, ...]) -> Node:
        """Add an input of places along an axis of ``size``."""
        values = {}
        for n in self.batches:
            high = int(evaluate(size, {"n": n}))
            sizes = [int(evaluate(s, {"n": n})) for s in shape]
            if high == 0 and np.prod(sizes):
                raise Unfit
            dtype = np.int64
            values[n] = np.asarray(self.random.integers(-high, max(high, 1), sizes), dtype)
        return self.keep(self.new_input(shape, np.int64), given(values))

    def counter(self, limit: int) -> Node:
        """Add an input of one number, 0 or more."""
        high = self.one([1, 1000, limit])
        values = {n: np.asarray(self.random.integers(0, high), np.int64) for n in self.batches}
        return self.keep(self.new_input((), np.int64), given(values))

    def keep(self, node: Node, value: Known) -> Node:
        self.known[node] = value
        self.pool.append(node)
        return node

    def pick(self, fits: Callable[[Node], bool] = lambda node: True) -> Node:
        """Return a value of the graph, a late one rather than an early one."""
        found = [node for node in self.pool if fits(node)]
        if not found:
            raise Unfit
        weights = np.arange(1, len(found) + 1, dtype=float)
        return found[int(self.random.choice(len(found), p=weights / weights.sum()))]

    def exact(self, node: Node) -> bool:
        return node.dtype.kind != "f" or self.known[node].exactness < CLOSE

    def add(self, name: str, *operands: Any, **attributes: Any) -> Node:
        """Add an operation."""
        try:
            node = self.recorder.apply(primitives()[name], operands, attributes)
        except (ChainruleError, UndecidedSize):
            raise Unfit from None
        if self.elements(node.shape) > 2 * MOST_ELEMENTS:
            raise Unfit
        for x in node.inputs or ():
            if x not in self.known:  # a number
                value = x.value if x.primitive.name == "constant" else None
                if value is None:
                    values = {n: np.asarray(evaluate(x.attributes["size"], {"n": n}), x.dtype) for n in self.batches}
                else:
                    values = dict.fromkeys(self.batches, value)
                self.known[x] = given(values)
        return self.keep(node, known(node, [self.known[x] for x in node.inputs or ()], self.batches))

    # -- operations ----------------------------------------------------------------------------------------------------------

    def floating(self) -> Node:
        try:
            return self.pick(lambda x: x.dtype.kind == "f")
        except Unfit:
            return self.input(dtype="float32")

    def partner(self, a: Node, kinds: str = "biuf") -> Any:
        """Return something that broadcasts with ``a``."""
        if a.dtype.kind in "iuf" and self.chance(0.15):
            return int(self.random.integers(-3, 4)) if a.dtype.kind == "i" else abs(int(self.random.integers(4)))

        def fits(b: Node) -> bool:
            if b.dtype != a.dtype:
                return False
            try:
                return self.elements(broadcast_shapes(a.shape, b.shape)) <= MOST_ELEMENTS
            except (ChainruleError, UndecidedSize):
                return False

        if self.chance(0.7):
            return self.pick(fits)
        shape = list(a.shape[int(self.random.integers(0, a.ndim + 1)) if self.chance(0.3) else 0 :])
        shape = [1 if self.chance(0.25) else n for n in shape]
        return self.input(tuple(shape), a.dtype)

    def axes_of(self, x: Node, least: int = 0) -> tuple[int, ...]:
        axes = tuple([k for k in range(x.ndim) if self.chance(0.5)])
        if len(axes) < least:
            if not x.ndim:
                raise Unfit
            axes = (int(self.random.integers(x.ndim)),)
        return axes

    def axis_of(self, x: Node) -> int:
        if not x.ndim:
            raise Unfit
        return int(self.random.integers(x.ndim))

    def bounded(self, x: Node, limit: float = 0.9) -> Node:
        return self.add("minimum", self.add("maximum", x, -limit), limit)

    def unary(self) -> Node:
        x = self.floating()
        name = self.one(
            [
                "neg",
                "abs",
                "relu",
                "sqrt",
                "floor",
                "ceil",
                "round",
                "trunc",
                "sign",
                "stop",
                "exp",
                "exp2",
                "expm1",
                "log",
                "log2",
                "log10",
                "log1p",
                "sin",
                "cos",
                "tan",
                "asin",
                "acos",
                "atan",
                "sinh",
                "cosh",
                "tanh",
                "asinh",
                "acosh",
                "atanh",
                "sigmoid",
                "erf",
                "erfc",
                "erfinv",
            ]
        )
        if name in ("exp", "exp2", "expm1", "sinh", "cosh"):
            x = self.bounded(x, 8)
        elif name in ("tan", "asin", "acos", "atanh", "erfinv"):
            x = self.bounded(x)
        elif name == "sqrt" and not (self.special and self.exact(x)):
            x = self.add("add", self.add("abs", x), 0 if self.exact(x) else 0.25)
        elif name.startswith("log"):
            x = self.add("add", self.add("abs", x), 0.25)
        elif name == "acosh":
            x = self.add("add", self.add("abs", x), 1.5)
        return self.add(name, x)

    def binary(self) -> Node:
        a = self.pick()
        if a.dtype.kind == "b":
            return self.add(self.one(["bitwise_and", "bitwise_or", "bitwise_xor", "add", "mul"]), a, self.partner(a))
        if a.dtype.kind in "iu":
            b = self.partner(a)
            name = self.one(["add", "sub", "mul", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor", "remainder", "fmod", "floor_divide", "trunc_divide", "pow"])  # fmt: skip
            if name in ("remainder", "fmod", "floor_divide", "trunc_divide"):
                if type(b) is int:
                    b = b or 1
                else:
                    b = self.add("where", self.add("eq", b, 0), self.number(1, b.dtype), b)
            if name == "pow":
                b = self.one([0, 1, 2, 3])
            return self.add(name, a, b)
        b = self.partner(a)
        name = self.one(["add", "sub", "mul", "add", "sub", "mul", "div", "maximum", "minimum", "atan2", "logaddexp", "hypot", "pow", "set_value", "fmod", "remainder", "floor_divide", "trunc_divide"])  # fmt: skip
        if name in ("atan2", "logaddexp", "hypot", "set_value") and type(b) is int:
            raise Unfit
        if name == "set_value" and str(broadcast_shapes(a.shape, b.shape)) != str(a.shape):
            raise Unfit
        if name in ("div", "fmod", "remainder", "floor_divide", "trunc_divide", "pow") and not self.special:
            if type(b) is int:
                b = b or 1
            else:
                b = self.add("add", self.add("abs", b), 0.5)
            if name == "pow":
                a = self.add("add", self.add("abs", a), 0.5)
        if name == "pow" and type(b) is not int and any((x == 0.5).any() for x in self.known[b].values.values()):
            raise Unfit  # where 1/2 stands alone NumPy takes the square root, whose zeros and infinities are others
        if name == "atan2":
            a = self.add("add", self.add("abs", a), 0.5)
        if name == "logaddexp":
            a, b = self.bounded(a, 8), self.bounded(b, 8)
        return self.add(name, a, b)

    def number(self, value: Any, dtype: Any) -> Node:
        node = self.recorder.number(value, np.dtype(dtype))
        if node not in self.known:
            self.known[node] = given(dict.fromkeys(self.batches, node.value))
        return node

    def compare(self) -> Node:
        a = self.pick(self.exact)
        name = self.one(["eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "isfinite", "bitwise_not"])
        if name.startswith("is"):
            return self.add(name, a)
        if name == "bitwise_not":
            return self.add(name, self.pick(lambda x: x.dtype.kind in "biu"))
        return self.add(name, a, self.partner(a))

    def where(self) -> Node:
        a = self.pick()
        b = self.partner(a)
        mask = self.pick(lambda x: x.dtype.kind == "b") if self.chance(0.5) else self.compare()
        return (
            self.add("where", mask, a, b) if self.chance(0.5) and type(b) is not int else self.add("where", mask, b, a)
        )

    def cast(self) -> Node:
        x = self.pick()
        dtype = self.one(FLOATS + INTEGERS + ("bool",))
        if x.dtype.kind == "f" and np.dtype(dtype).kind in "iu":
            if not self.exact(x):
                raise Unfit
            if np.dtype(dtype).kind == "u":
                x = self.add("abs", x)
            x = self.bounded(x, 100)
        return self.add("cast", x, dtype=np.dtype(dtype))

    def reduce(self) -> Node:
        x = self.pick()
        name = self.one(["sum", "sum", "sum", "amax", "amin", "argmax", "argmin", "any", "all", "prod", "sum_to"])
        if name in ("argmax", "argmin", "prod"):
            if name == "prod" and x.dtype.kind == "f":
                x = self.bounded(x, 1.5)
            elif x.dtype.kind == "b":
                raise Unfit
            axis = self.axis_of(x)
            if name != "prod" and self.may_be_empty(x.shape[axis]):
                raise Unfit
            return self.add(name, x, axis=axis)
        if name == "sum_to":
            shape = list(x.shape[int(self.random.integers(x.ndim + 1)) if self.chance(0.5) else 0 :])
            return self.add(name, x, shape=tuple([1 if self.chance(0.5) else n for n in shape]))
        axes = self.axes_of(x)
        if name in ("amax", "amin") and any(self.may_be_empty(x.shape[k]) for k in axes):
            raise Unfit
        return self.add(name, x, axes=axes)

    def may_be_empty(self, size: Any) -> bool:
        return not evaluate(size, {"n": 2})

    def against(self) -> Node:
        """Combine a value with what it is reduced to, as a normalization does."""
        x = self.pick(lambda x: x.dtype.kind != "b" and x.ndim > 0)
        axes = self.axes_of(x, 1)
        name = self.one(["sum", "sum", "amax", "amin"])
        if name != "sum" and any(self.may_be_empty(x.shape[k]) for k in axes):
            raise Unfit
        y = self.add(name, x, axes=axes)
        if self.chance(0.3):
            y = self.add(self.one(["neg", "abs"]), y)
        if self.chance(0.7):
            other = self.pick(lambda z: z.dtype == x.dtype and str(z.shape) == str(x.shape))
        else:
            other = x
        y = self.add("reshape", y, shape=tuple([1 if k in axes else n for k, n in enumerate(x.shape)]))
        z = self.add(self.one(["sub", "mul", "add", "maximum"]), other, y)
        if self.chance(0.5):
            return self.add("sum", z, axes=axes if self.chance(0.6) else self.axes_of(x, 1))
        return z

    def alike(self) -> Node:
        """Combine two values of one shape, one of them perhaps turned round."""
        a = self.pick(lambda x: x.dtype.kind != "b")
        same = [y for y in self.pool if y.dtype == a.dtype and str(y.shape) == str(a.shape)]
        b = self.one(same)
        if self.chance(0.3) and a.ndim > 1:
            axes = self.random.permutation(a.ndim).tolist()
            wanted = str(tuple(a.shape))
            turned = [y for y in self.pool if y.dtype == a.dtype and y.ndim == a.ndim]
            turned = [y for y in turned if str(tuple([y.shape[k] for k in axes])) == wanted]
            if turned:
                b = self.add("permute", self.one(turned), axes=tuple(axes))
        return self.add(self.one(["add", "sub", "mul", "maximum"]), a, b)

    def along(self) -> Node:
        name = self.one(["softmax", "log_softmax", "cumsum", "cumargmax", "cumargmin", "argsort"])
        if name in ("softmax", "log_softmax"):
            x = self.floating()
            return self.add(name, x if self.special else self.bounded(x, 30), axis=self.axis_of(x))
        x = self.pick(self.exact if name != "cumsum" else lambda x: True)
        axis = self.axis_of(x)
        if name == "cumsum":
            return self.add(name, x, axis=axis, reverse=self.chance(0.5))
        if name == "argsort":
            return self.add(name, x, axis=axis, descending=self.chance(0.5))
        if x.dtype.kind == "b":
            raise Unfit
        return self.add(name, x, axis=axis)

    def sort(self) -> Node:
        x = self.pick(self.exact)
        order = self.add("argsort", x, axis=x.ndim - 1 if x.ndim else self.axis_of(x), descending=self.chance(0.5))
        if x.ndim != 1:
            raise Unfit
        return self.add("take", x, order, axes=(0,))

    # -- moving ----------------------------------------------------------------------------------------------------------------

    def reshape(self, x: Node | None = None) -> Node:
        x = self.pick() if x is None else x
        shape = list(x.shape)
        for _ in range(int(self.random.integers(1, 4))):
            kind = self.one(["join", "split", "one", "none", "all"])
            at = int(self.random.integers(max(len(shape), 1)))
            if kind == "join" and at + 1 < len(shape):
                shape[at : at + 2] = [shape[at] * shape[at + 1]]
            elif kind == "split" and shape:
                size = shape[at]
                if isinstance(size, Size):
                    factor = self.one([2, 3, 4, 16])
                    try:
                        rest = infer_reshape((size,), (-1, factor))[0]
                    except (ChainruleError, UndecidedSize):
                        continue
                else:
                    factor = self.one([d for d in range(1, 65) if size % d == 0])
                    rest = size // factor
                shape[at : at + 1] = self.one([[factor, rest], [rest, factor]])
            elif kind == "one":
                shape.insert(at, 1)
            elif kind == "none":
                shape = [n for n in shape if isinstance(n, Size) or n != 1]
            elif kind == "all" and self.chance(0.5):
                shape = [numel(shape)]
        if len(shape) > 6:
            raise Unfit
        return self.add("reshape", x, shape=tuple(shape))

    def permute(self, x: Node | None = None) -> Node:
        x = self.pick(lambda x: x.ndim > 1) if x is None else x
        return self.add("permute", x, axes=tuple(self.random.permutation(x.ndim).tolist()))

    def expand(self, x: Node | None = None) -> Node:
        x = self.pick() if x is None else x
        sizes = [self.dim() if not isinstance(n, Size) and n == 1 and self.chance(0.7) else n for n in x.shape]
        front = [self.dim() for _ in range(int(self.random.integers(3)))]
        return self.add("expand", x, shape=(*front, *sizes))

    def moves(self) -> Node:
        """Move a value several times: what is moved again is not kept in between."""
        x = self.pick()
        for _ in range(int(self.random.integers(2, 5))):
            x = self.one([self.reshape, self.permute, self.expand, self.slice, self.slice, self.flip, self.flip])(x)
        return self.add("neg", x) if x.dtype.kind == "f" and self.chance(0.5) else x

    def window(self, x: Node) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[int, ...]]:
        starts, stops, steps = [], [], []
        for size in x.shape:
            smallest = int(evaluate(size, {"n": 2}))
            start = int(self.random.integers(0, max(smallest, 1))) if self.chance(0.4) else 0
            stop = size
            if self.chance(0.5):
                if isinstance(size, Size):
                    stop = size - int(self.random.integers(0, smallest - start + 1))
                    if start == 0 and self.chance(0.3):
                        stop = size // 2
                else:
                    stop = int(self.random.integers(min(start + self.chance(0.9), size), size + 1))
            starts.append(start)
            stops.append(stop)
            steps.append(1 if self.chance(0.7) else int(self.random.integers(2, 5)))
        return tuple(starts), tuple(stops), tuple(steps)

    def slice(self, x: Node | None = None) -> Node:
        x = self.pick() if x is None else x
        starts, stops, steps = self.window(x)
        return self.add("slice", x, starts=starts, stops=stops, steps=steps)

    def pad(self, x: Node | None = None) -> Node:
        x = self.pick() if x is None else x
        low, high, interior = [], [], []
        for _ in x.shape:
            low.append(int(self.random.integers(0, 4)) if self.chance(0.4) else 0)
            high.append(int(self.random.integers(0, 4)) if self.chance(0.4) else 0)
            interior.append(int(self.random.integers(1, 3)) if self.chance(0.2) else 0)
        value = self.one([0, 1]) if x.dtype.kind != "f" else self.one([0, 1.5, -2])
        return self.add("pad", x, low=tuple(low), high=tuple(high), interior=tuple(interior), value=value)

    def flip(self, x: Node | None = None) -> Node:
        x = self.pick() if x is None else x
        return self.add("flip", x, axes=self.axes_of(x))

    def diagonal(self) -> Node:
        x = self.pick(lambda x: x.ndim > 1)
        axis1, axis2 = self.random.permutation(x.ndim)[:2].tolist()
        offset = int(self.random.integers(-2, 3))
        y = self.add("diagonal", x, offset=offset, axis1=axis1, axis2=axis2)
        if self.chance(0.5):
            return y
        b = self.input(y.shape if self.chance(0.7) else y.shape[-1:], x.dtype)
        return self.add("put_diagonal", x, b, offset=offset, axis1=axis1, axis2=axis2)

    def put_slice(self) -> Node:
        a = self.pick()
        starts, stops, steps = self.window(a)
        part = self.add("slice", a, starts=starts, stops=stops, steps=steps)
        self.pool.remove(part)
        if self.chance(0.5):
            shape = [1 if self.chance(0.2) else n for n in part.shape]
            b = self.input(tuple(shape), a.dtype)
        else:
            b = self.add("neg", part) if a.dtype.kind == "f" else part
        return self.add("put_slice", a, b, starts=starts, stops=stops, steps=steps)

    def concat(self) -> Node:
        x = self.pick(lambda x: x.ndim > 0)
        axis = self.axis_of(x)
        parts = [x]
        for _ in range(int(self.random.integers(1, 4))):
            if self.chance(0.4):
                parts.append(x)
            elif self.chance(0.5):
                parts.append(self.input((*x.shape[:axis], self.dim(), *x.shape[axis + 1 :]), x.dtype))
            else:
                parts.append(self.pick(lambda y: y.dtype == x.dtype and fits_beside(x.shape, y.shape, axis)))
        self.random.shuffle(parts)
        return self.add("concat", *parts, axis=axis)

    # -- places that are data ----------------------------------------------------------------------------------------------------

    def places(self, x: Node) -> tuple[tuple[int, ...], list[Node]]:
        """Return axes and index arrays for them."""
        if not x.ndim:
            raise Unfit
        count = 1 if self.chance(0.6) else int(self.random.integers(1, x.ndim + 1))
        axes = tuple(sorted(self.random.permutation(x.ndim)[:count].tolist()))
        common = tuple([self.one([1, 2, 3, 5, 16, 17, 20]) for _ in range(int(self.random.integers(0, 3)))])
        if self.symbolic and self.chance(0.3):
            common = (N, *common[:1])
        index = []
        for axis in axes:
            own = tuple([1 if self.chance(0.15) else n for n in common])
            index.append(self.index(x.shape[axis], own[int(self.chance(0.1)) :]))
        return axes, index

    def take(self) -> Node:
        x = self.pick()
        if x.ndim == 2 and self.chance(0.4):
            axes, index = self.one_per_row(x)
        else:
            axes, index = self.places(x)
        return self.add("take", x, *index, axes=axes)

    def one_per_row(self, x: Node) -> tuple[tuple[int, ...], list[Node]]:
        rows = self.add("iota", size=x.shape[0], dtype=np.dtype(np.int64))
        return (0, 1), [rows, self.index(x.shape[1], (x.shape[0],))]

    def spread(self) -> Node:
        like = self.pick(lambda x: x.dtype.kind != "b")
        axes, index = self.one_per_row(like) if like.ndim == 2 and self.chance(0.4) else self.places(like)
        part = self.add("take", like, *index, axes=axes)
        if self.chance(0.5):
            self.pool.remove(part)
            part = self.input(part.shape, like.dtype)
        return self.add("spread", part, *index, axes=axes, shape=like.shape)

    def put(self) -> Node:
        a = self.pick()
        axes, index = self.places(a)
        part = self.add("take", a, *index, axes=axes)
        if self.chance(0.6):
            self.pool.remove(part)
            part = self.input(part.shape, a.dtype)
        return self.add("put", a, part, *index, axes=axes)

    def made(self) -> Node:
        kind = self.one(["iota", "full", "size"])
        dtype = np.dtype(self.one(FLOATS + INTEGERS))
        if kind == "iota":
            size = self.dim()
            if dtype.itemsize == 1 and evaluate(size, {"n": 100}) > 100:
                raise Unfit
            return self.add("iota", size=size, dtype=dtype)
        if kind == "full":
            return self.add("full", shape=self.shape(), dtype=dtype, value=self.one([0, 1, 3]))
        if not self.symbolic or dtype.itemsize == 1:
            raise Unfit
        return self.add("size", size=self.one([N, 2 * N, N * N]), dtype=dtype)

    def contract(self) -> Node:
        a = self.pick(lambda x: x.dtype.kind == "f" or (x.dtype.kind == "i" and self.chance(0.3)))
        roles = [self.one(["free", "free", "contracted", "contracted", "batch"]) for _ in a.shape]
        batch = [k for k, role in enumerate(roles) if role == "batch"]
        contracted = [k for k, role in enumerate(roles) if role == "contracted"]
        self.random.shuffle(contracted)

        def plan(b_shape: Sequence[Any]) -> dict[str, Any] | None:
            left = list(range(len(b_shape)))
            of_b: list[list[int]] = [[], []]
            for group, axes in enumerate((batch, contracted)):
                for k in axes:
                    found = next((j for j in left if str(b_shape[j]) == str(a.shape[k])), None)
                    if found is None:
                        return None
                    left.remove(found)
                    of_b[group].append(found)
            return {"batch": (tuple(batch), tuple(of_b[0])), "contracted": (tuple(contracted), tuple(of_b[1]))}

        if plan(a.shape) is not None and self.chance(0.2):
            b = a
        elif self.chance(0.5):
            b = self.pick(lambda x: x.dtype == a.dtype and plan(x.shape) is not None)
        else:
            sizes = [a.shape[k] for k in (*batch, *contracted)] + [
                self.dim() for _ in range(int(self.random.integers(3)))
            ]
            b = self.input(tuple([sizes[k] for k in self.random.permutation(len(sizes))]), a.dtype)
        found = plan(b.shape)
        assert found is not None
        spaces = numel(a.shape) * numel(b.shape)
        if int(evaluate(spaces, {"n": 100})) > 40_000_000:
            raise Unfit
        y = self.add("contract", a, b, **found)
        if y.ndim == 2 and str(y.shape[0]) == str(y.shape[1]) and self.chance(0.5):
            return self.add(self.one(["add", "sub"]), y, self.add("permute", y, axes=(1, 0)))
        return self.add("relu", y) if y.dtype.kind == "f" and self.chance(0.3) else y

    def call(self) -> Node:
        """Add a body of elementwise operations on exact values."""
        x = self.pick(lambda x: x.dtype.kind == "f" and self.known[x].exactness == BITS and x.ndim > 0)
        arrays = [x]
        while self.chance(0.6) and len(arrays) < 4:
            same = self.pick(
                lambda y: y.dtype.kind == "f" and self.known[y].exactness == BITS and str(y.shape) == str(x.shape)
            )
            arrays.append(same if self.chance(0.5) else self.input(x.shape, self.one(FLOATS)))
        rate = self.input((), "float64")
        body_inputs = [vector_input(f"a{k}", y.dtype) for k, y in enumerate(arrays)] + [
            scalar_input("rate", rate.dtype)
        ]
        recorder = BodyRecording()
        values: list[Node] = list(body_inputs)
        with recording(recorder):
            for _ in range(int(self.random.integers(1, 7))):
                a, b = self.one(values), self.one(values)
                name = self.one(["add", "sub", "mul", "add", "sub", "mul", "neg", "abs", "sqrt", "where"])
                of = primitives()[name]
                if name in ("neg", "abs"):
                    values.append(recorder.apply(of, (a,), {}))
                elif name == "sqrt":
                    values.append(recorder.apply(of, (recorder.apply(primitives()["abs"], (a,), {}),), {}))
                elif name == "where":
                    mask = recorder.apply(primitives()["lt"], (a, b), {}) if a.dtype == b.dtype else None
                    if mask is None or bool(mask.shape) != bool(a.shape or b.shape):
                        continue
                    values.append(recorder.apply(of, (mask, a, b), {}))
                elif a.dtype == b.dtype or not (a.shape and b.shape):
                    values.append(recorder.apply(of, (a, b), {}))
        made = [y for y in values[len(body_inputs) :] if y.dtype.kind == "f"]
        if not made:
            raise Unfit
        outputs = [made[-1]] + [y for y in made[:-1] if self.chance(0.4)]
        body = Graph(body_inputs, outputs, "body")
        return self.add_call((*arrays, rate), body)

    def add_call(self, operands: tuple[Node, ...], body: Graph) -> Node:
        node = self.recorder.apply(primitives()["call"], operands, {"body": body})
        made_by = node.primitive
        assert made_by is not None
        with np.errstate(all="ignore"):
            results = {
                n: made_by.evaluate(*[self.known[x].values[n] for x in operands], body=body) for n in self.batches
            }
        for k in range(len(body.outputs)):
            part = self.recorder.apply(primitives()["get"], (node,), {"index": k})
            self.keep(part, given({n: np.asarray(result[k]) for n, result in results.items()}))
        return self.pool[-1]

    def draw(self) -> Node:
        name = self.one(["uniform", "normal", "random_integers", "permutation"])
        seed, draw = (self.counter(limit) for limit in (2**62, 2**31))
        offset = int(self.random.integers(3))
        if name == "permutation":
            return self.add(name, seed, draw, offset=offset, size=self.dim())
        if name == "random_integers":
            return self.add(name, seed, draw, offset=offset, shape=self.shape(), low=-3, high=self.one([4, 300, 2**40]))
        return self.add(name, seed, draw, offset=offset, shape=self.shape(), dtype=np.dtype(self.one(FLOATS)))

    # -- whole graphs --------------------------------------------------------------------------------------------------------------

    def make(self) -> Case:
        kinds = (
            [self.unary] * 4 + [self.binary] * 7 + [self.compare] * 2 + [self.where] * 2 + [self.cast] * 3
            + [self.reduce] * 5 + [self.against] * 4 + [self.moves] * 3 + [self.alike] * 4 + [self.along] * 3 + [self.sort, self.reshape, self.reshape, self.permute, self.expand]
            + [self.slice] * 2 + [self.pad, self.flip, self.diagonal, self.put_slice, self.concat, self.concat]
            + [self.take] * 2 + [self.spread, self.put, self.made, self.contract, self.contract, self.call, self.draw]
        )  # fmt: skip
        for _ in range(int(self.random.integers(1, 4))):
            self.input()
        wanted = int(self.random.integers(3, 26))
        favourites = [self.one(kinds) for _ in range(4)]
        turns = 0
        while len(self.pool) < wanted + 2 and turns < 200:
            turns += 1
            before, inputs = list(self.pool), list(self.inputs)
            try:
                (self.one(favourites) if self.chance(0.4) else self.one(kinds))()
            except Unfit:
                self.redrawn += 1
                self.pool = [x for x in self.pool if x in before]
                self.inputs = inputs
        return self.finish()

    def finish(self) -> Case:
        updates: list[tuple[Node, Node]] = []
        for x in list(self.inputs):
            if len(updates) < 3 and self.chance(0.25):
                updates += self.update(x)
        given_nodes = set(self.inputs)
        made = [x for x in self.pool if x not in given_nodes]
        read = {y for x in made for y in x.inputs or ()}
        leaves = [x for x in made if x not in read]
        outputs = [x for x in made if (x in leaves and self.chance(0.85)) or self.chance(0.1)]
        if self.chance(0.1):
            outputs.append(self.one(self.pool))
        in_place: dict[int, int] = {}
        taken: set[Node] = set()
        for y, x in updates:
            if y not in outputs:
                outputs.append(y)
            k = outputs.index(y)
            if x not in taken and k not in in_place:
                in_place[k] = self.inputs.index(x)
                taken.add(x)
        if not outputs:
            outputs = [self.pool[-1]]
        self.random.shuffle(outputs) if not in_place else None
        return Case(Graph(self.inputs, outputs), in_place, self.known, self.batches, self.redrawn)

    def update(self, x: Node) -> list[tuple[Node, Node]]:
        """Return an output of the shape and dtype of an input that may be written over it."""
        alike = [y for y in self.pool if y.dtype == x.dtype and str(y.shape) == str(x.shape)]
        y = self.one(alike)
        if y is not x and self.chance(0.3):
            return [(y, x)]
        try:
            if x.dtype.kind == "b":
                return [(self.add("bitwise_xor", x, y), x)]
            name = self.one(["add", "sub", "mul"])
            part = self.partner(x)
            z = self.add(name, self.add("add", x, y) if self.chance(0.5) else x, part)
            return [(z, x)] if str(z.shape) == str(x.shape) else []
        except Unfit:
            return []


def fits_beside(a: Sequence[Any], b: Sequence[Any], axis: int) -> bool:
    return len(a) == len(b) and all(str(x) == str(y) for k, (x, y) in enumerate(zip(a, b, strict=True)) if k != axis)


def random_case(seed: int) -> Case:
    return Maker(seed).make()


def together(cases: Sequence[Case]) -> Case:
    """Return several graphs as one."""
    inputs: list[Node] = []
    outputs: list[Node] = []
    in_place: dict[int, int] = {}
    values: dict[Node, Known] = {}
    batches = BATCHES if any(case.batches == BATCHES for case in cases) else (0,)
    for case in cases:
        in_place |= {k + len(outputs): target + len(inputs) for k, target in case.in_place.items()}
        inputs += case.graph.inputs
        outputs += case.graph.outputs
        for node, found in case.known.items():
            if case.batches != batches:
                found = Known(*[dict.fromkeys(batches, part[0]) for part in found[:5]], *found[5:])
            values[node] = found
    return Case(Graph(inputs, outputs), in_place, values, batches)


# -- judging -------------------------------------------------------------------------------------------------------------


def bits(x: Any) -> Any:
    """Return the bits of an array, those of every NaN the same."""
    x = np.array(x, order="C")
    if x.dtype.kind == "f":
        x[np.isnan(x)] = np.nan
    return np.frombuffer(x.tobytes(), f"u{x.dtype.itemsize}")


def compare(ours: Any, interpreted: Any, value: Known, n: int, place: str) -> None:
    """Fail unless a native value, and an interpreted one, is what it has to be."""
    compare_one(ours, interpreted, value, n, place)
    compare_one(interpreted, value.values[n], value, n, f"interpreted, {place}")


def compare_one(ours: Any, interpreted: Any, value: Known, n: int, place: str) -> None:
    assert ours.dtype == interpreted.dtype, f"{place}: {ours.dtype} instead of {interpreted.dtype}"
    assert ours.shape == interpreted.shape, f"{place}: {ours.shape} instead of {interpreted.shape}"
    if value.exactness == BITS:
        far = bits(ours) != bits(interpreted)
        far = far.reshape(ours.shape)
    elif value.exactness == EQUAL:
        far = ~((ours == interpreted) | ((ours != ours) & (interpreted != interpreted)))
    else:
        wide, disturbed = value.wide[n], value.disturbed[n]
        finite = np.isfinite(interpreted) & np.isfinite(wide)
        same = (ours == interpreted) | ((ours != ours) & (interpreted != interpreted))
        if not finite.any():
            far = ~same
        else:
            if is_measured(value.unit):
                bound = allowed(value.torch[n], wide, finite)
            else:
                errors = (
                    np.abs(interpreted[finite] - wide[finite]).max() + np.abs(disturbed[finite] - wide[finite]).max()
                )
                least = 1e-6 if value.unit == UNIT["float32"] else 1e-12
                bound = 4 * errors + least * np.abs(wide[finite]).max()
            with np.errstate(all="ignore"):
                far = np.where(finite, ~(np.abs(ours.astype(np.float64) - wide) <= bound), ~same)
    if far.any():
        at = tuple(int(k) for k in np.argwhere(far)[0])
        kind = ("bits", "value", "close")[value.exactness]
        expected = value.wide[n][at] if value.exactness == CLOSE else interpreted[at]
        raise AssertionError(
            f"{place} ({kind}): {far.sum()} of {far.size} wrong, first at {list(at)}: {ours[at]!r} instead of {expected!r}"
        )


def judge(case: Case) -> None:
    """Run a case natively and interpreted; fail where they differ in what they return or leave behind."""
    verify(case.graph)
    native = NativeProgram(case.graph, case.in_place)
    program = Program(case.graph, case.in_place)
    targets = set(case.in_place.values())
    for n in case.batches:
        sizes = {"n": n} if n else {}
        given_values = case.inputs(n)
        ours = [np.array(x, order="C") if k in targets else x for k, x in enumerate(given_values)]
        theirs = [np.array(x, order="C") if k in targets else x for k, x in enumerate(given_values)]
        before = [np.array(x) for x in given_values]
        native.ready(sizes).arena[:] = 0xA5  # whoever reads what nobody wrote is found out
        found = native.run(ours, sizes)
        assert native._interpreted is None, "a check failed"
        expected = program.run(theirs, sizes)
        for k, (a, b, node) in enumerate(zip(found, expected, case.graph.outputs, strict=True)):
            compare(a, b, case.known[node], n, f"n = {n}, output {k}")
        written = {case.in_place[k] for k in native.over}
        for k, (x, was) in enumerate(zip(ours, before, strict=True)):
            if k not in written:
                assert (bits(x) == bits(was)).all(), f"n = {n}: input {k} was changed"
        for k, target in case.in_place.items():
            if k in native.over:
                assert found[k] is ours[target], f"n = {n}: output {k} is not input {target}"


# -- shrinking -----------------------------------------------------------------------------------------------------------


def with_replaced(case: Case, outputs: Sequence[int], replaced: Node | None, by: Node | None) -> Case:
    """Return the case with these outputs only, and a node replaced by another, or (if that is None) by an input."""
    new: dict[Node, Node] = {x: x for x in case.graph.inputs}
    values: dict[Node, Known] = {x: case.known[x] for x in case.graph.inputs}
    inputs = list(case.graph.inputs)
    for node in case.graph.nodes:
        if node is replaced:
            if by is not None:
                new[node] = new[by]
                continue
            new[node] = graph_input(f"x{len(inputs)}r", node.shape, node.dtype)
            inputs.append(new[node])
            values[new[node]] = given(case.known[node].values)
            continue
        parts = [new[x] for x in node.inputs or ()]
        if parts == list(node.inputs or ()):
            new[node] = node
            if node in case.known:
                values[node] = case.known[node]
            continue
        made = Node(node.primitive, tuple(parts), node.attributes, node.shape, node.dtype, False)
        new[node] = made
        if made.primitive is not None and made.primitive.name == "call":
            continue
        if made.primitive is not None and made.primitive.name == "get":
            values[made] = case.known[node]
            continue
        values[made] = known(made, [values[x] for x in parts], case.batches)
    kept = [new[case.graph.outputs[k]] for k in outputs]
    graph = Graph(inputs, kept)
    places = {k: j for j, k in enumerate(outputs)}
    in_place = {places[k]: target for k, target in case.in_place.items() if k in places}
    needed = {x for node in graph.nodes for x in node.inputs or ()} | set(kept)
    needed |= {inputs[target] for target in in_place.values()}
    left = [x for x in inputs if x in needed]
    in_place = {k: left.index(inputs[target]) for k, target in in_place.items()}
    return Case(Graph(left, kept), in_place, values, case.batches)


def fails(case: Case) -> bool:
    try:
        judge(case)
    except Exception:  # noqa: BLE001  # whatever it is, the smaller graph still shows a fault
        return True
    return False


def smaller(case: Case) -> Iterable[Case]:
    """Yield simpler cases."""
    count = len(case.graph.outputs)
    if count > 1:
        for k in range(count):
            yield with_replaced(case, [k], None, None)
        for k in range(count):
            yield with_replaced(case, [j for j in range(count) if j != k], None, None)
    for k in case.in_place:
        yield case._replace(in_place={j: t for j, t in case.in_place.items() if j != k})
    if len(case.batches) > 1:
        for n in case.batches:
            yield case._replace(batches=(n,))
    every = list(range(count))
    for node in reversed(case.graph.nodes):
        if node.primitive is None or node.primitive.name in ("call", "constant") or node not in case.known:
            continue
        for x in node.inputs or ():
            if x.dtype == node.dtype and str(x.shape) == str(node.shape):
                yield with_replaced(case, every, node, x)
        yield with_replaced(case, every, node, None)


def shrink(case: Case, tries: int = 400, fails: Callable[[Case], bool] = fails) -> Case:
    """Return a small case that fails too."""
    left = tries
    changed = True
    while changed and left > 0:
        changed = False
        candidates = smaller(case)
        while left > 0:
            try:
                trial = next(candidates, None)
            except (Unfit, KeyError):
                break
            if trial is None:
                break
            left -= 1
            if size_of(trial) < size_of(case) and fails(trial):
                case, changed = trial, True
                break
    return case


def size_of(case: Case) -> tuple[int, ...]:
    nodes = [x for x in case.graph.nodes if x.primitive is not None and x.primitive.name != "constant"]
    return (len(nodes), len(case.graph.outputs), len(case.in_place), len(case.batches), len(case.graph.inputs))


def text(case: Case) -> str:
    places = ", ".join(f"output {k} over input {t}" for k, t in case.in_place.items())
    return f"{show(case.graph)}\n  in place: {places or 'nothing'}; n in {case.batches}"


def check_seeds(seeds: Sequence[int], *, group: int = 6) -> int:
    """Judge the graphs of these seeds, several to a compilation; of what fails, show the smallest.

    Return how many operations were drawn again.
    """
    redrawn = 0
    for start in range(0, len(seeds), group):
        some = seeds[start : start + group]
        cases = [random_case(seed) for seed in some]
        redrawn += sum(case.redrawn for case in cases)
        try:
            judge(together(cases))
            continue
        except Exception as error:  # noqa: BLE001  # told below, with what it takes to see it again
            message = f"{type(error).__name__}: {error}"
        alone = next(((seed, case) for seed, case in zip(some, cases, strict=True) if fails(case)), None)
        seed, case = alone if alone is not None else (some, together(cases))
        small = shrink(case)
        try:
            judge(small)
        except Exception as error:  # noqa: BLE001
            message = f"{type(error).__name__}: {error}"
        raise AssertionError(f"seed {seed}: {message}\n{text(small)}")
    return redrawn


def seeds_of(batch: int, count: int) -> list[int]:
    return list(itertools.islice(itertools.count(batch * 100_000), count))
