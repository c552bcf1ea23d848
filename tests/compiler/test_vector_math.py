"""Native code's functions: right to a few units in the last place, the same bits everywhere, and no calls."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.compiler import vector_math
from chainrule.compiler.emit import Emitter
from chainrule.compiler.interface import Unlowered
from chainrule.compiler.module import Module
from chainrule.compiler.value import F32, F64, Value
from chainrule.graph import primitives
from chainrule.ops.rules import Elementwise
from tests.compiler.native import AVX2, HOST
from tests.compiler.vector_functions import (
    DIVISIONS,
    PARAMETERS,
    SMOOTH,
    TWO,
    Vectors,
    bit_patterns,
    exact,
    numpy_function,
    points,
    units_off,
)

ROOT = Path(__file__).parents[2]
UNITS = {np.float32: 3.0, np.float64: 4.0}
FLOATS = (np.float32, np.float64)
INTEGERS = (np.int64, np.int32, np.uint8)
SLOW = ("erf", "erfc", "erfinv")  # with mpmath, element by element

each_float = pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.__name__)
each_integer = pytest.mark.parametrize("dtype", INTEGERS, ids=lambda dtype: dtype.__name__)


@functools.cache
def functions(lanes: int = 16, target: tuple[str, str] = HOST) -> Vectors:
    wanted = [(name, dtype) for name in (*SMOOTH, *DIVISIONS) for dtype in FLOATS]
    wanted += [(name, dtype) for name in ("pow", *DIVISIONS, "sign") for dtype in INTEGERS]
    wanted += [(name, dtype) for name in ("floor", "ceil", "trunc", "round", "sign") for dtype in FLOATS]
    return Vectors(wanted, target, lanes)


def assert_same(actual: Any, expected: Any) -> None:
    """Equal numbers, NaN where NaN, the same sign of zero."""
    np.testing.assert_array_equal(actual, expected)
    if expected.dtype.kind == "f":
        zero = expected == 0
        np.testing.assert_array_equal(np.signbit(actual[zero]), np.signbit(expected[zero]))


@each_float
@pytest.mark.parametrize("name", SMOOTH)
def test_a_function_is_right_to_a_few_units_in_the_last_place(name: str, dtype: Any) -> None:
    operands = points(name, dtype, 150 if name in SLOW else 4000)
    y = functions()(name, *operands)
    truth = exact(name, *operands)
    off = units_off(name, y, truth, operands)
    worst = int(np.argmax(off))
    assert off[worst] <= UNITS[dtype], f"{[x[worst] for x in operands]}: {y[worst]}, not {truth[worst]}"
    zero = (y == 0) & (truth == 0)
    if name != "logaddexp":
        np.testing.assert_array_equal(np.signbit(y[zero]), np.signbit(truth[zero]))


@each_float
def test_exponentials_do_not_wrap_far_from_0(dtype: Any) -> None:
    x = np.array(
        [-87.4, -104, -104.5, -105.1, -200, -745, -746.5, -1000, -1e30, -np.inf, 88.72, 89, 710, 1e30, np.inf], dtype
    )
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(
            functions()("exp", x), np.exp(x), rtol=1e-6, atol=2 * np.finfo(dtype).smallest_subnormal
        )
    logits = np.array([0, 88, 104, 110, 300, 2000], dtype)
    shares = functions()("exp", logits - logits.max())
    assert np.isfinite(shares).all()
    assert shares.sum() == 1


@each_float
def test_powers_of_two_have_whole_logarithms(dtype: Any) -> None:
    n = np.arange(np.finfo(dtype).minexp - 5, np.finfo(dtype).maxexp)
    assert_same(functions()("log2", np.ldexp(np.ones(n.size, dtype), n)), n.astype(dtype))


def test_an_angle_that_no_float_tells_is_nan() -> None:
    for dtype in FLOATS:
        x = np.array([1e16, -1e30, np.inf], dtype)
        assert np.isnan(functions()("sin", x)).all()


@each_float
@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "round"])
def test_rounding_is_numpys(name: str, dtype: Any) -> None:
    x = np.concatenate([*points(name, dtype, 2000), np.arange(-9, 9, dtype=dtype) / 2])
    with np.errstate(all="ignore"):  # a signalling NaN is invalid
        expected = np.rint(x) if name == "round" else numpy_function(name)(x)
    assert_same(functions()(name, x), expected)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS], ids=lambda dtype: dtype.__name__)
def test_the_sign_is_minus_one_zero_or_one(dtype: Any) -> None:
    x = np.array([-3, -0.0, 0.0, 1, 100], np.float64)
    x = x.astype(dtype) if dtype != np.uint8 else np.array([0, 1, 255], dtype)
    assert_same(functions()("sign", x), primitives()["sign"].evaluate(x))
    if dtype in FLOATS:
        assert_same(functions()("sign", np.array([np.nan, np.inf, -np.inf], dtype)), np.array([0, 1, -1], dtype))


# ----------------------------------------------------------------------------------------------------------- divisions


@each_float
@pytest.mark.parametrize("name", DIVISIONS)
def test_quotients_and_remainders_of_floats_are_numpys(name: str, dtype: Any) -> None:
    random = np.random.default_rng(1)
    operands = [
        np.concatenate([x, bit_patterns(dtype, 5000, random)])  # quotients of all magnitudes
        for x in points(name, dtype, 3000)
    ]
    with np.errstate(all="ignore"):
        expected = numpy_function(name)(*operands)
    assert_same(functions()(name, *operands), expected)


def pairs(dtype: Any, *, zeros: bool) -> tuple[Any, Any]:
    random, info = np.random.default_rng(2), np.iinfo(dtype)
    low = max(-9, info.min)
    ends = np.array([info.min, info.max, 1], dtype)
    edge = np.array([info.max if info.min == 0 else -1], dtype)
    a = [random.integers(info.min, info.max, 3000, dtype=dtype, endpoint=True) for _ in range(2)]
    a += [random.integers(low, 9, 3000, dtype=dtype), ends]
    b = [a[0][::-1], *[random.integers(low, 9, 3000, dtype=dtype) for _ in range(2)], np.resize(edge, 3)]
    x, y = np.concatenate(a), np.concatenate(b)
    if not zeros:
        y[y == 0] = 1
    return x, y


@each_integer
@pytest.mark.parametrize("name", DIVISIONS)
def test_quotients_and_remainders_of_integers_are_those_of_the_primitive(name: str, dtype: Any) -> None:
    a, b = pairs(dtype, zeros=False)
    with np.errstate(all="ignore"):
        expected = primitives()[name].evaluate(a, b)
    assert_same(functions()(name, a, b), expected)
    assert_same(functions(1)(name, a, b), expected)


@each_integer
@pytest.mark.parametrize("name", DIVISIONS)
def test_an_integer_divided_by_0_is_noted_and_traps_nowhere(name: str, dtype: Any) -> None:
    a, b = pairs(dtype, zeros=True)
    assert (b == 0).any()
    functions()(name, a, b)
    functions(1)(name, a, b)
    noted: list[Value] = []

    class Checking(Emitter):
        def require(self, condition: Value) -> None:
            noted.append(condition)

    e = Checking(Module(), "f", PARAMETERS)
    vector_math.function(name)(e, e.constant(1, np.dtype(dtype)), e.load("%args", np.dtype(dtype)))
    assert len(noted) == 1


@each_integer
def test_powers_of_integers_are_those_of_the_primitive(dtype: Any) -> None:
    a, b = pairs(dtype, zeros=True)
    with np.errstate(all="ignore"):
        # NumPy takes no negative powers: they are 0, except of 1 and -1, where only whether b is odd counts
        expected = np.power(a, np.where(b < 0, b & 1, b).astype(dtype))
        expected = np.where((b < 0) & (a != 1) & (a != np.array(-1).astype(dtype)), 0, expected).astype(dtype)
    assert_same(functions()("pow", a, b), expected)
    assert_same(functions(1)("pow", a, b), expected)


def test_constant_powers_are_products() -> None:
    e = Emitter(Module(), "f", PARAMETERS)
    x = e.load("%args", F32, 16)
    for exponent, instructions in ((1, 0), (2, 1), (3, 2), (-1, 1), (-2, 2)):
        before = len(e.lines)
        vector_math.function("pow")(e, x, e.wide(e.constant(exponent, F32)))
        assert len(e.lines) - before == instructions


# ----------------------------------------------------------------------------------------------------- everywhere alike


@pytest.mark.parametrize("other", [(1, HOST), (16, AVX2)], ids=["one number", "narrower registers"])
def test_the_bits_do_not_depend_on_lanes_and_registers(other: tuple[int, tuple[str, str]]) -> None:
    there, here = functions(*other), functions()
    for name in (*SMOOTH, *DIVISIONS):
        for dtype in FLOATS:
            operands = points(name, dtype, 1000)
            a, b = here(name, *operands), there(name, *operands)
            bits = f"i{np.dtype(dtype).itemsize}"
            same = (a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))
            assert same.all(), (name, dtype, [x[~same][:3] for x in operands], a[~same][:3], b[~same][:3])


@pytest.mark.parametrize("target", [HOST, AVX2], ids=["this processor", "narrower registers"])
def test_no_function_calls_another(target: tuple[str, str]) -> None:
    assembly = functions(16, target).native.assembly()
    assert not re.findall(r"^\s+(?:call|bl)\w*\s.*", assembly, re.MULTILINE)


def test_every_function_that_primitives_ask_for_is_there() -> None:
    asked = [
        p.name for p in primitives().values() if isinstance(p, Elementwise) and type(p).lower is Elementwise.lower
    ]  # fmt: skip
    assert asked
    for name in asked:
        e = Emitter(Module(), "f", PARAMETERS)
        vector_math.function(name)(e, *[e.load("%args", F64, 16) for _ in range(2 if name in TWO else 1)])


def test_a_function_that_nobody_wrote_says_so() -> None:
    with pytest.raises(Unlowered, match="zeta"):
        vector_math.function("zeta")


def test_the_polynomials_are_what_the_script_fits() -> None:
    found = importlib.util.spec_from_file_location("generate_vector_math", ROOT / "docs" / "generate_vector_math.py")
    assert found is not None
    assert found.loader is not None
    script = importlib.util.module_from_spec(found)
    found.loader.exec_module(script)
    assert script.text() == script.FILE.read_text(), "python docs/generate_vector_math.py"
