"""Sample inputs and attributes for every primitive: ranges away from kinks and jumps, and every kind of array.

A sample's floating inputs are float64; those that are compared with differences lie where the function is smooth to
third order. What happens at kinks is PyTorch's convention, and has tests of its own (tests/tensors/test_conventions.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

F64, I64, BOOL = np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.bool_)
FLOATS = ("float32", "float64")
INTEGERS = ("int64", "int32", "int8", "uint8")
NUMBERS = FLOATS + INTEGERS
ANY = (*NUMBERS, "bool")
TRUTHS = (*INTEGERS, "bool")


class Sample(NamedTuple):
    """The inputs and attributes of one call of a primitive.

    ``smooth``   whether gradients are those of differences here (not where random numbers or whole inputs decide)
    """

    inputs: tuple[Any, ...]
    attributes: dict[str, Any]
    smooth: bool = True


class Samples(NamedTuple):
    """The samples of one primitive, and the dtypes that its floating inputs may have instead of float64."""

    samples: list[Sample]
    dtypes: tuple[str, ...]


Draw = Callable[..., Any]


def source(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def between(low: float, high: float, seed: int = 0) -> Draw:
    """Return a function of a shape that draws from the interval, never nearer than a hundredth of it to its ends."""
    random = source(seed)
    gap = (high - low) / 100

    def draw(*shape: int) -> Any:
        return np.asarray(random.uniform(low + gap, high - gap, shape))

    return draw


def apart(seed: int = 0, gap: float = 0.25) -> Draw:
    """Return a function of a shape that draws numbers of both signs, no two (and none and 0) nearer than ``gap``."""
    random = source(seed)

    def draw(*shape: int) -> Any:
        count = int(np.prod(shape))
        steps = random.permutation(np.arange(count) - count // 2 + 0.5) * 2 * gap
        return np.asarray((steps + random.uniform(-gap / 4, gap / 4, count)).reshape(shape))

    return draw


def kinds(draw: Draw) -> Iterator[Any]:
    """Return an array of each kind: plain, 0-d, without elements, transposed, strided, backward, repeated."""
    yield draw(3, 4)
    yield draw()
    yield draw(0)
    yield draw(2, 0, 3)
    yield draw(4, 3).T
    yield draw(6, 4)[::2, 1:3]
    yield draw(5)[::-1]
    yield np.broadcast_to(draw(1, 3), (2, 3))


def pairs(a: Draw, b: Draw) -> Iterator[tuple[Any, Any]]:
    """Return two arrays of each kind that broadcast."""
    yield a(3, 4), b(3, 4)
    yield a(3, 4), b(4)
    yield a(3, 1), b(1, 4)
    yield a(), b(2, 3)
    yield a(2, 3), b()
    yield a(), b()
    yield a(2, 1, 3), b(4, 1)
    yield a(0, 3), b(1, 3)
    yield a(2, 0), b(1, 1)
    yield a(4, 3).T, b(6, 4)[::2]
    yield a(4)[::-1], np.broadcast_to(b(2, 1), (2, 4))


def unary(draw: Draw) -> list[Sample]:
    return [Sample((x,), {}) for x in kinds(draw)]


def binary(a: Draw, b: Draw | None = None) -> list[Sample]:
    return [Sample(pair, {}) for pair in pairs(a, b or between(-2, 2, 1))]


NORMAL = between(-2, 2)
POSITIVE = between(0.2, 3)
UNIT = between(-0.9, 0.9)


def each(values: Iterator[Any], *attributes: dict[str, Any]) -> list[Sample]:
    return [Sample((x,), dict(a)) for x in values for a in attributes]


def over_axes(draw: Draw, *, empty: bool = True) -> list[Sample]:
    """Return samples of a reduction over several axes."""
    samples = [
        Sample((draw(3, 4),), {"axes": axes}) for axes in ((), (0,), (1,), (0, 1))
    ] + [
        Sample((draw(),), {"axes": ()}),
        Sample((draw(2, 3, 2),), {"axes": (0, 2)}),
        Sample((draw(4, 3).T,), {"axes": (1,)}),
        Sample((draw(6)[::2],), {"axes": (0,)}),
        Sample((draw(3, 0),), {"axes": (0,)}),
        Sample((np.broadcast_to(draw(2, 1), (2, 3)),), {"axes": (0,)}),
    ]  # fmt: skip
    return samples + ([Sample((draw(3, 0),), {"axes": (1,)})] if empty else [])


def over_axis(draw: Draw, *, empty: bool = True, **more: Any) -> list[Sample]:
    """Return samples of an operation along one axis."""
    samples = [
        Sample((draw(5),), {"axis": 0, **more}),
        Sample((draw(3, 4),), {"axis": 0, **more}),
        Sample((draw(3, 4),), {"axis": 1, **more}),
        Sample((draw(2, 3, 2),), {"axis": 1, **more}),
        Sample((draw(4, 3).T,), {"axis": 1, **more}),
        Sample((draw(4, 6)[:, ::2],), {"axis": 1, **more}),
        Sample((draw(3, 1),), {"axis": 1, **more}),
        Sample((draw(0, 3),), {"axis": 1, **more}),
    ]
    return samples + ([Sample((draw(0, 3),), {"axis": 0, **more})] if empty else [])


def whole(low: int = -3, high: int = 4, *, without_zero: bool = False) -> Draw:
    random = source(3)

    def draw(*shape: int) -> Any:
        values = random.integers(low, high, shape)
        return np.asarray(np.where(values == 0, 1, values) if without_zero else values, dtype=I64)

    return draw


def truths(seed: int = 4) -> Draw:
    random = source(seed)
    return lambda *shape: np.asarray(random.integers(0, 2, shape), dtype=BOOL)


def logic() -> list[Sample]:
    return [Sample(pair, {}) for pair in [*pairs(truths(), truths(5)), *pairs(whole(), whole())]]


def shaped() -> dict[str, Samples]:
    """Return the samples of the primitives that move elements."""
    x = NORMAL
    whole_of = {"starts": (0, 0), "stops": (3, 4), "steps": (1, 1)}
    part = {"starts": (1, 0), "stops": (3, 4), "steps": (1, 2)}
    nothing = {"starts": (1, 4), "stops": (1, 4), "steps": (1, 1)}
    around = {"low": (1, 0), "high": (0, 2), "interior": (0, 0), "value": 0}
    spread = {"low": (0, 1), "high": (1, 0), "interior": (2, 1), "value": 1.5}
    main, above = {"offset": 0, "axis1": 0, "axis2": 1}, {"offset": 1, "axis1": 1, "axis2": 0}
    below = {"offset": -2, "axis1": 0, "axis2": 2}
    return {
        "reshape": Samples(
            [
                Sample((x(3, 4),), {"shape": (2, 6)}),
                Sample((x(4, 3).T,), {"shape": (12,)}),
                Sample((x(),), {"shape": (1, 1)}),
                Sample((x(1),), {"shape": ()}),
                Sample((x(0, 3),), {"shape": (3, 0, 2)}),
                Sample((x(6, 4)[::2],), {"shape": (3, 2, 2)}),
            ],
            ANY,
        ),
        "permute": Samples(
            [
                Sample((x(2, 3, 4),), {"axes": (2, 0, 1)}),
                Sample((x(2, 3),), {"axes": (0, 1)}),
                Sample((x(),), {"axes": ()}),
                Sample((x(2, 0, 3),), {"axes": (1, 2, 0)}),
                Sample((x(4, 6)[:, ::3],), {"axes": (1, 0)}),
            ],
            ANY,
        ),
        "expand": Samples(
            [
                Sample((x(3, 1),), {"shape": (2, 3, 4)}),
                Sample((x(),), {"shape": (2, 2)}),
                Sample((x(3),), {"shape": (3,)}),
                Sample((x(1, 3),), {"shape": (0, 3)}),
                Sample((x(3, 2).T,), {"shape": (2, 2, 3)}),
            ],
            ANY,
        ),
        "sum_to": Samples(
            [
                Sample((x(2, 3, 4),), {"shape": (3, 1)}),
                Sample((x(2, 3),), {"shape": ()}),
                Sample((x(2, 3),), {"shape": (2, 3)}),
                Sample((x(4, 3).T,), {"shape": (1, 4)}),
                Sample((x(0, 3),), {"shape": (1, 3)}),
            ],
            ANY,
        ),
        "slice": Samples(
            [Sample((x(3, 4),), a) for a in (whole_of, part, nothing)]
            + [
                Sample((x(4, 3).T,), part),
                Sample((x(),), {"starts": (), "stops": (), "steps": ()}),
                Sample((x(0),), {"starts": (0,), "stops": (0,), "steps": (1,)}),
                Sample((x(7),), {"starts": (1,), "stops": (7,), "steps": (3,)}),
            ],
            ANY,
        ),
        "pad": Samples(
            [Sample((x(3, 4),), around), Sample((x(4, 3).T,), spread), Sample((x(2, 0),), spread)]
            + [Sample((x(),), {"low": (), "high": (), "interior": (), "value": 0})],
            ANY,
        ),
        "put_slice": Samples(
            [
                Sample((x(3, 4), x(3, 4)), whole_of),
                Sample((x(3, 4), x(2, 2)), part),
                Sample((x(3, 4), x(0, 0)), nothing),
                Sample((x(4, 3).T, x(2, 2).T), part),
                Sample((x(), x()), {"starts": (), "stops": (), "steps": ()}),
            ],
            ANY,
        ),
        "diagonal": Samples(
            [
                Sample((x(3, 4),), main),
                Sample((x(3, 4),), above),
                Sample((x(3, 2, 4),), below),
                Sample((x(2, 0),), main),
                Sample((x(4, 6)[:, ::2],), above),
                Sample((x(2, 2),), {"offset": 5, "axis1": 0, "axis2": 1}),
            ],
            ANY,
        ),
        "put_diagonal": Samples(
            [
                Sample((x(3, 4), x(3)), main),
                Sample((x(3, 4), x(2)), above),
                Sample((x(3, 2, 4), x(2, 1)), below),
                Sample((x(4, 3).T, x(6)[::2]), main),
                Sample((x(2, 0), x(0)), main),
            ],
            ANY,
        ),
        "flip": Samples(each(kinds(x), {"axes": ()}) + [Sample((x(3, 4),), {"axes": (1,)})]
                        + [Sample((x(4, 3).T,), {"axes": (0, 1)}), Sample((x(0, 2),), {"axes": (0,)})], ANY),
        "concat": Samples(
            [
                Sample((x(2, 3), x(1, 3), x(4, 3)), {"axis": 0}),
                Sample((x(3, 2).T, x(2, 1)), {"axis": 1}),
                Sample((x(2, 3),), {"axis": 1}),
                Sample((x(2, 0), x(2, 3)), {"axis": 1}),
                Sample((x(6)[::2], x(2)), {"axis": 0}),
            ],
            ANY,
        ),
    }  # fmt: skip


def contracted() -> list[Sample]:
    x = NORMAL
    cases: list[tuple[Any, Any, tuple[Any, Any], tuple[Any, Any]]] = [
        (x(3, 4), x(4, 2), ((), ()), ((1,), (0,))),
        (x(4, 3), x(4, 2), ((), ()), ((0,), (0,))),
        (x(3, 4), x(2, 4), ((), ()), ((1,), (1,))),
        (x(4, 3), x(2, 4), ((), ()), ((0,), (1,))),
        (x(4, 3).T, x(2, 4).T, ((), ()), ((1,), (0,))),
        (x(4), x(4), ((), ()), ((0,), (0,))),
        (x(3, 4), x(4), ((), ()), ((1,), (0,))),
        (x(3), x(2), ((), ()), ((), ())),
        (x(), x(2, 2), ((), ()), ((), ())),
        (x(2, 3, 4), x(4, 2), ((), ()), ((2,), (0,))),
        (x(2, 3, 4), x(5, 4), ((), ()), ((2,), (1,))),
        (x(2, 3, 4), x(2, 4, 2), ((0,), (0,)), ((2,), (1,))),
        (x(2, 3, 4), x(2, 5, 4), ((0,), (0,)), ((2,), (2,))),
        (x(2, 4, 3), x(2, 4, 2), ((0,), (0,)), ((1,), (1,))),
        (x(2, 3, 4), x(4, 3, 2), ((), ()), ((2, 1), (0, 1))),
        (x(2, 3, 2, 2), x(3, 2, 2), ((0, 2), (1, 2)), ((1,), (0,))),
        (x(3, 2, 4), x(4, 2), ((1,), (1,)), ((2,), (0,))),
        (x(2, 3), x(2, 3), ((0, 1), (0, 1)), ((), ())),
        (x(0, 4), x(4, 2), ((), ()), ((1,), (0,))),
        (x(3, 0), x(0, 2), ((), ()), ((1,), (0,))),
        (x(2, 3, 0), x(5, 0), ((), ()), ((2,), (1,))),
    ]
    return [Sample((a, b), {"batch": batch, "contracted": axes}) for a, b, batch, axes in cases]


def indexed() -> dict[str, Samples]:
    """Return the samples of gather and scatter; the places of one write are distinct."""
    x = NORMAL

    def places(*values: Any) -> Any:
        return np.asarray(values, dtype=I64)

    row, grid, back = places(2, 0), places([0, 1], [2, 1]), places(-1, 1)
    nowhere, column = np.zeros((0,), I64), places([0], [2])
    return {
        "take": Samples(
            [
                Sample((x(3, 4), row), {"axes": (0,)}),
                Sample((x(3, 4), grid), {"axes": (1,)}),
                Sample((x(3, 4), places(1, 1, 1)), {"axes": (0,)}),
                Sample((x(3, 2, 4), row, back), {"axes": (0, 2)}),
                Sample((x(3, 4), column, row), {"axes": (0, 1)}),
                Sample((x(2, 3, 4), row, places(1, 0)), {"axes": (2, 1)}),
                Sample((x(3, 2, 4, 3), row, grid, places(0, 1)), {"axes": (2, 3, 1)}),
                Sample((x(4, 3).T, row), {"axes": (1,)}),
                Sample((x(3, 4), nowhere), {"axes": (0,)}),
                Sample((x(3), np.asarray(1)), {"axes": (0,)}),
            ],
            ANY,
        ),
        "spread": Samples(
            [
                Sample((x(2, 4), row), {"axes": (0,), "shape": (3, 4)}),
                Sample((x(3, 2, 2), grid), {"axes": (1,), "shape": (3, 4)}),
                Sample((x(3, 4), places(1, 1, 1)), {"axes": (0,), "shape": (3, 4)}),
                Sample((x(2, 2), column, row), {"axes": (0, 1), "shape": (3, 4)}),
                Sample((x(0, 4), nowhere), {"axes": (0,), "shape": (3, 4)}),
                Sample((x(4, 2).T, row), {"axes": (0,), "shape": (3, 4)}),
                Sample((x(2, 2), row, places(1, 0)), {"axes": (2, 1), "shape": (2, 3, 4)}),
            ],
            NUMBERS,
        ),
        "put": Samples(
            [
                Sample((x(3, 4), x(2, 4), row), {"axes": (0,)}),
                Sample((x(3, 4), x(3, 2), back), {"axes": (1,)}),
                Sample((x(3, 4), x(2, 2), column, row), {"axes": (0, 1)}),
                Sample((x(4, 3).T, x(4, 2).T, row), {"axes": (0,)}),
                Sample((x(3, 4), x(0, 4), nowhere), {"axes": (0,)}),
            ],
            ANY,
        ),
    }


def drawn() -> dict[str, Samples]:
    """Return the samples of the random primitives: a seed, a draw number."""
    seed, draw = np.asarray(7, I64), np.asarray(3, I64)
    shapes: tuple[tuple[int, ...], ...] = ((3, 4), (), (0, 2), (33,))
    numbers = [
        Sample((seed, draw), {"offset": 1, "shape": shape, "dtype": np.dtype(dtype)})
        for shape in shapes
        for dtype in FLOATS
    ]
    integers = [Sample((seed, draw), {"offset": 0, "shape": shape, "low": -2, "high": 5}) for shape in shapes]
    orders = [Sample((seed, draw), {"offset": 0, "size": size}) for size in (0, 1, 9)]
    return {
        "uniform": Samples(numbers, ()),
        "normal": Samples(numbers, ()),
        "random_integers": Samples(integers, ()),
        "permutation": Samples(orders, ()),
    }


def without_inputs() -> dict[str, Samples]:
    dtypes = [np.dtype(name) for name in ANY]
    return {
        "full": Samples(
            [
                Sample((), {"shape": shape, "dtype": dtype, "value": value})
                for shape in ((2, 3), (), (0,))
                for dtype in dtypes
                for value in (0, 1, -0.0)
            ],
            (),
        ),
        "class_numbers": Samples(
            [
                Sample((np.asarray(labels, I64),), {"classes": 3, "ignored": -100, "of": "nll_loss"})
                for labels in ([0, 2, -100, 1], 2, [[-100], [1]], np.zeros(0))
            ],
            (),
        ),
        "row_numbers": Samples(
            [Sample((np.asarray(i, I64),), {"rows": 4}) for i in ([0, 3, 1], 2, [[0], [1]], np.zeros(0))], ()
        ),
        "index_within": Samples(
            [Sample((np.asarray(i), np.asarray(4)), {}) for i in ([0, 3, -1, -4], 2, [[-2], [1]], np.zeros(0, int))], ()
        ),
        "iota": Samples([Sample((), {"size": n, "dtype": d}) for n in (0, 1, 5) for d in dtypes[:3]], ()),
        "size": Samples([Sample((), {"size": 5, "dtype": d}) for d in dtypes[:3]], ()),
    }


def chosen() -> list[Sample]:
    """Return samples of ``where``: conditions, and what is chosen from."""
    condition = truths()
    return [
        Sample((condition(*shape), a, b), {})
        for shape, (a, b) in zip(
            ((3, 4), (3, 1), (4,), (), (3,), (2, 2), (1,), (3,), (2, 0), (3, 4), (4,)),
            pairs(NORMAL, between(-2, 2, 1)),
            strict=True,
        )
    ]


SAMPLES: dict[str, Samples] = {
    "add": Samples(binary(NORMAL), ANY),
    "sub": Samples(binary(NORMAL), NUMBERS),
    "mul": Samples(binary(NORMAL), ANY),
    "div": Samples(binary(NORMAL, POSITIVE), FLOATS),
    "neg": Samples(unary(NORMAL), NUMBERS),
    "pow": Samples(binary(POSITIVE), FLOATS),
    "exp": Samples(unary(NORMAL), FLOATS),
    "exp2": Samples(unary(NORMAL), FLOATS),
    "expm1": Samples(unary(NORMAL), FLOATS),
    "log": Samples(unary(POSITIVE), FLOATS),
    "log2": Samples(unary(POSITIVE), FLOATS),
    "log10": Samples(unary(POSITIVE), FLOATS),
    "log1p": Samples(unary(UNIT), FLOATS),
    "sqrt": Samples(unary(POSITIVE), FLOATS),
    "sin": Samples(unary(NORMAL), FLOATS),
    "cos": Samples(unary(NORMAL), FLOATS),
    "tan": Samples(unary(UNIT), FLOATS),
    "asin": Samples(unary(UNIT), FLOATS),
    "acos": Samples(unary(UNIT), FLOATS),
    "atan": Samples(unary(NORMAL), FLOATS),
    "atan2": Samples(binary(NORMAL, POSITIVE), FLOATS),
    "hypot": Samples(binary(NORMAL, POSITIVE), FLOATS),
    "sinh": Samples(unary(NORMAL), FLOATS),
    "cosh": Samples(unary(NORMAL), FLOATS),
    "tanh": Samples(unary(NORMAL), FLOATS),
    "asinh": Samples(unary(NORMAL), FLOATS),
    "acosh": Samples(unary(between(1.2, 3)), FLOATS),
    "atanh": Samples(unary(UNIT), FLOATS),
    "abs": Samples(unary(apart()), NUMBERS),
    "sigmoid": Samples(unary(NORMAL), FLOATS),
    "logaddexp": Samples(binary(NORMAL), FLOATS),
    "erf": Samples(unary(NORMAL), FLOATS),
    "erfc": Samples(unary(NORMAL), FLOATS),
    "erfinv": Samples(unary(UNIT), FLOATS),
    "relu": Samples(unary(apart()), NUMBERS),
    "maximum": Samples(binary(apart(), between(-0.06, 0.06)), ANY),
    "minimum": Samples(binary(apart(), between(-0.06, 0.06)), ANY),
    "sign": Samples(unary(apart()), NUMBERS),
    "floor": Samples(unary(apart(gap=0.2)), FLOATS),
    "ceil": Samples(unary(apart(gap=0.2)), FLOATS),
    "round": Samples(unary(between(-0.4, 0.4)), FLOATS),
    "trunc": Samples(unary(apart(gap=0.2)), FLOATS),
    "floor_divide": Samples(binary(between(3.1, 3.4), between(1.1, 1.5)), NUMBERS),
    "trunc_divide": Samples(binary(between(-3.4, -3.1), between(1.1, 1.5)), NUMBERS),
    "remainder": Samples(binary(between(3.1, 3.4), between(-1.5, -1.1)), NUMBERS),
    "fmod": Samples(binary(between(-3.4, -3.1), between(1.1, 1.5)), NUMBERS),
    **{name: Samples(binary(NORMAL), ANY) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{name: Samples(unary(NORMAL), ANY) for name in ("isnan", "isinf", "isfinite")},
    **{name: Samples(logic(), ()) for name in ("bitwise_and", "bitwise_or", "bitwise_xor")},
    "bitwise_not": Samples([Sample((x,), {}) for x in [*kinds(truths()), *kinds(whole())]], ()),
    "where": Samples(chosen(), ANY),
    "cast": Samples(each(kinds(NORMAL), *[{"dtype": np.dtype(name)} for name in FLOATS]), FLOATS),
    "stop": Samples(unary(NORMAL), ANY),
    "set_value": Samples([Sample((a, b), {}, smooth=False) for a, b in zip(kinds(NORMAL), kinds(UNIT), strict=True)], ANY),
    "sum": Samples(over_axes(NORMAL), NUMBERS),
    "prod": Samples(over_axis(NORMAL), NUMBERS),
    "amax": Samples(over_axes(apart(), empty=False), ANY),
    "amin": Samples(over_axes(apart(), empty=False), ANY),
    "argmax": Samples(over_axis(apart(), empty=False), ANY),
    "argmin": Samples(over_axis(apart(), empty=False), ANY),
    "cumargmax": Samples(over_axis(apart()), ANY),
    "cumargmin": Samples(over_axis(apart()), ANY),
    "argsort": Samples(over_axis(apart(), descending=False) + over_axis(apart(), descending=True), ANY),
    "any": Samples(over_axes(whole(0, 2)), ()),
    "all": Samples(over_axes(whole(0, 2)), ()),
    "cumsum": Samples(over_axis(NORMAL, reverse=False) + over_axis(NORMAL, reverse=True), NUMBERS),
    "softmax": Samples(over_axis(NORMAL), FLOATS),
    "log_softmax": Samples(over_axis(NORMAL), FLOATS),
    "contract": Samples(contracted(), NUMBERS),
    **shaped(),
    **indexed(),
    **drawn(),
    **without_inputs(),
}  # fmt: skip

# Primitives that hold a graph together rather than compute; where each is tested.
STRUCTURE = {
    "input": "tests/ops/test_structure.py",
    "constant": "tests/ops/test_structure.py",
    "get": "tests/ops/test_structure.py",
    "call": "tests/ops/test_body.py",
}


def with_dtype(sample: Sample, dtype: str) -> Sample:
    """Return the sample with its floating inputs in another dtype, in the same memory order."""

    def converted(x: Any) -> Any:
        return np.asarray(abs(x) if dtype == "uint8" else x).astype(dtype) if x.dtype == F64 else x

    return sample._replace(inputs=tuple([converted(x) for x in sample.inputs]))
