"""Native code's random numbers are the interpreter's, to the bit: sixteen neighbours, any sixteen, and one."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from chainrule.compiler import vector_random
from chainrule.compiler.emit import Emitter
from chainrule.compiler.module import Module
from chainrule.compiler.value import I64, LANES, Value
from chainrule.ops import philox
from tests.compiler.native import AVX2, HOST, Call, Native
from tests.compiler.vector_functions import PARAMETERS

COUNT = 1024
KINDS: dict[str, tuple[str, str, dict[str, int]]] = {
    "uniform float32": ("uniform", "float32", {}),
    "uniform float64": ("uniform", "float64", {}),
    "normal float32": ("normal", "float32", {}),
    "normal float64": ("normal", "float64", {}),
    "words": ("words", "int64", {}),
    "a few integers": ("integers", "int64", {"low": -5, "high": 7}),
    "many integers": ("integers", "int64", {"low": 3, "high": 3 + 2**24}),
    "one integer more": ("integers", "int64", {"low": 3, "high": 4 + 2**24}),
    "all integers": ("integers", "int64", {"low": -(2**63), "high": 2**63 - 1}),
}
STARTS = [(0, 0, 0), (12345678901234, 7, 4), (-3, 2**32 - 1, 2**34 - 512), (2**63 - 1, 99, 4 * 2**40)]


@functools.cache
def drawing(target: tuple[str, str] = HOST) -> Native:
    """Return kernels that draw COUNT elements from args[2] on, for the seed args[0] and the draw args[1]."""
    module = Module()
    for name in KINDS:
        for way in ("neighbours", "sixteen", "one"):
            write(module, name, way)
    return Native(module, target)


def symbol(name: str, way: str) -> str:
    return f"{name}.{way}".replace(" ", ".")


def write(module: Module, name: str, way: str) -> None:
    kind, dtype_name, attributes = KINDS[name]
    dtype = np.dtype(dtype_name)
    e = Emitter(module, symbol(name, way), PARAMETERS)
    out = e.raw("load ptr, ptr %frame")
    seed, draw, first = [e.load(e.offset("%args", k, I64), I64) for k in range(3)]

    def body(i: Value) -> None:
        place = first + i
        if way == "neighbours":
            y = vector_random.consecutive(e, kind, seed, draw, place, dtype, **attributes)
        else:
            flat = place if way == "one" else e.wide(place) + e.lane_numbers()
            y = vector_random.at(e, kind, seed, draw, flat, dtype, **attributes)
        assert y.dtype == dtype
        e.store(y, e.offset(out, i, dtype))

    e.loop(Value(e, "%begin", I64), Value(e, "%end", I64), 1 if way == "one" else LANES, body)
    e.finish()


def of_the_interpreter(name: str, seed: int, draw: int, start: int) -> Any:
    kind, dtype, attributes = KINDS[name]
    if kind == "words":
        return philox.random_words(seed, draw, COUNT, start=start).astype(np.int64)
    if kind == "integers":
        return philox.bounded_integers(seed, draw, COUNT, start=start, **attributes)
    return getattr(philox, f"{kind}_{dtype}")(seed, draw, COUNT, start=start)


@pytest.mark.parametrize("target", [HOST, AVX2], ids=["this processor", "narrower registers"])
@pytest.mark.parametrize("way", ["neighbours", "sixteen", "one"])
@pytest.mark.parametrize("name", KINDS)
def test_the_numbers_are_the_interpreters(name: str, way: str, target: tuple[str, str]) -> None:
    for start in STARTS:
        expected = of_the_interpreter(name, *start)
        y = np.empty(COUNT, expected.dtype)
        Call(drawing(target), symbol(name, way), [y], start, COUNT)()
        np.testing.assert_array_equal(y.view(np.uint8), expected.view(np.uint8))


def test_the_polynomials_of_normal_numbers_are_the_interpreters() -> None:
    for here, there in ((vector_random.SINGLE, philox._FLOAT32), (vector_random.DOUBLE, philox._FLOAT64)):
        for part in ("log", "sine", "cosine", "log_two", "sqrt_half_bits"):
            assert getattr(here, part) == getattr(there, part)
