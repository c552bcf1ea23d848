"""Functions of vectors compiled for arrays, where they are tried, and how far they are from the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import numpy as np

from chainrule.compiler import vector_math
from chainrule.compiler.emit import Emitter
from chainrule.compiler.module import Module
from chainrule.compiler.target import host
from chainrule.compiler.value import I64, LANES, Value
from tests.compiler.native import HOST, Call, Native

PARAMETERS = [("ptr", "frame"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")]
DIVISIONS = ("floor_divide", "trunc_divide", "remainder", "fmod")
TWO = ("atan2", "hypot", "logaddexp", "pow", *DIVISIONS)
ONE = (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sigmoid", "tanh", "sinh", "cosh", "asinh", "acosh", "atanh",
    "sin", "cos", "tan", "asin", "acos", "atan", "erf", "erfc", "erfinv",
)  # fmt: skip
SMOOTH = (*ONE, "logaddexp", "pow", "atan2", "hypot")
Array = np.ndarray[Any, Any]


class Vectors:
    """Compiled functions by name and dtype; of 16 lanes or of single numbers."""

    def __init__(
        self,
        wanted: Sequence[tuple[str, Any]],
        target: tuple[str, str] = HOST,
        lanes: int = LANES,
        lookup: str | None = None,
    ) -> None:
        module = Module(lookup=(host().lookup if target == HOST else "avx2") if lookup is None else lookup)
        self.lanes = lanes
        self.instructions: dict[str, int] = {}
        for name, dtype in wanted:
            self._write(module, name, np.dtype(dtype))
        self.module = module
        self.native = Native(module, target)

    def _write(self, module: Module, name: str, dtype: Any) -> None:
        e = Emitter(module, f"{name}.{dtype.name}", PARAMETERS)
        inputs = 2 if name in TWO else 1
        places = [e.raw(f"getelementptr ptr, ptr %frame, i64 {k}") for k in range(inputs + 1)]
        pointers = [e.raw(f"load ptr, ptr {place}") for place in places]

        def body(i: Value) -> None:
            values = [e.load(e.offset(p, i, dtype), dtype, self.lanes) for p in pointers[:-1]]
            before = len(e.lines)
            y = vector_math.function(name)(e, *values)
            self.instructions[e.name] = len(e.lines) - before
            e.store(y, e.offset(pointers[-1], i, dtype))

        e.loop(Value(e, "%begin", I64), Value(e, "%end", I64), self.lanes, body)
        e.finish()

    def __call__(self, name: str, *operands: Array) -> Array:
        x = operands[0]
        count = -(-x.size // LANES) * LANES
        y = np.empty(count, x.dtype)
        self.call(name, *[np.resize(o, count) for o in operands], y)()
        return y[: x.size]

    def call(self, name: str, *arrays: Array) -> Callable[[], None]:
        """Return a call on arrays of a multiple of 16 elements; the last is the result."""
        return Call(self.native, f"{name}.{arrays[0].dtype.name}", arrays, [], arrays[0].size)


# ------------------------------------------------------------------------------------------------- where they are tried


def special_values(dtype: Any) -> Array:
    info = np.finfo(dtype)
    tiny = [0.0, info.smallest_subnormal, info.tiny, info.eps, 0.5, 1.0, 2.0, 3.0, 9.0, 28.0, 87.4, 88.73, 103.9, 104.5]
    large = [709.78, 710.4, 745.1, 1000.0, 1e5, info.max, np.inf]
    return np.array([*tiny, *large, *[-x for x in [*tiny, *large]], np.nan], dtype)


def bit_patterns(dtype: Any, count: int, random: Any) -> Array:
    """Return floats of all magnitudes, infinities and NaNs."""
    kind = np.dtype(f"u{np.dtype(dtype).itemsize}")
    found: Array = random.integers(0, np.iinfo(kind).max, count, dtype=kind, endpoint=True).view(dtype)
    return found


def points(name: str, dtype: Any, count: int, seed: int = 0) -> list[Array]:
    """Return the operands of ``name``: bit patterns, ranges where functions bend, special values with each other."""
    random = np.random.default_rng(seed)
    parts = [bit_patterns(dtype, count, random)]
    parts += [random.uniform(-r, r, count).astype(dtype) for r in (1.5, 12, 110, 800)]
    near = (1 + random.normal(size=count) * 10.0 ** random.uniform(-8, -1, count)).astype(dtype)
    parts += [near, -near]
    if name in ("sin", "cos", "tan"):
        turns = np.round(random.uniform(-6e4, 6e4, count)) * (np.pi / 2)
        parts += [random.uniform(-1e5, 1e5, count).astype(dtype), turns.astype(dtype)]
    special = special_values(dtype)
    x = np.concatenate([*parts, special])
    if name in ("sin", "cos", "tan"):
        x = x[~(np.abs(x) > 1e5) | np.isinf(x)]
    if name not in TWO:
        return [x]
    y = random.permutation(x)
    if name == "pow":
        x = np.concatenate([x, np.exp(random.uniform(-20, 20, count)).astype(dtype), near])
        y = np.concatenate(
            [y, random.uniform(-30, 30, count).astype(dtype), random.uniform(-7e4, 7e4, count).astype(dtype)]
        )
    if name in DIVISIONS:
        x = np.concatenate([x, random.integers(-99, 99, count).astype(dtype)])
        y = np.concatenate([y, random.integers(-9, 9, count).astype(dtype)])
    a, b = np.meshgrid(special, special)
    return [np.concatenate([x, a.ravel()]), np.concatenate([y, b.ravel()])]


# ------------------------------------------------------------------------------------------------------------ the truth

NUMPY: dict[str, Callable[..., Array]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "atan2": np.arctan2, "pow": np.power,
    "trunc_divide": lambda a, b: np.trunc(a / b),
}  # fmt: skip


def numpy_function(name: str) -> Callable[..., Array]:
    found: Callable[..., Array] = NUMPY[name] if name in NUMPY else getattr(np, name)
    return found


def exact(name: str, *operands: Array) -> Array:
    """Return what the function is, with more digits than float64 has."""
    if name not in ("erf", "erfc", "erfinv"):
        with np.errstate(all="ignore"):
            return numpy_function(name)(*[x.astype(np.longdouble) for x in operands])
    found = np.empty(operands[0].size, np.longdouble)
    with mpmath.workdps(40):
        for k, x in enumerate(operands[0]):
            found[k] = _error_function(name, float(x))
    return found


def _error_function(name: str, x: float) -> np.longdouble:
    if np.isnan(x) or (name == "erfinv" and abs(x) > 1):
        return np.longdouble("nan")
    if name == "erfinv":
        y = mpmath.erfinv(mpmath.mpf(x)) if abs(x) < 1 else mpmath.mpf(x) * mpmath.inf
    else:
        y = getattr(mpmath, name)(mpmath.mpf(min(max(x, -40), 40)))
    near = np.longdouble(float(y))
    if x == 0 and y == 0:
        return np.longdouble(x)  # mpmath has no -0
    return near + np.longdouble(float(y - float(y))) if np.isfinite(near) else near


def units_off(name: str, y: Array, truth: Array, operands: Sequence[Array]) -> Array:
    """Return the distance in units in the last place; infinite where one is NaN, or infinite, and the other is not.

    Of logaddexp in units of its larger operand, of which its result is a small difference.
    """
    with np.errstate(all="ignore"):
        info = np.finfo(y.dtype)
        rounded = truth.astype(y.dtype)
        size = np.abs(rounded)
        if name == "logaddexp":
            for x in operands:
                size = np.maximum(size, np.where(np.isfinite(x), np.abs(x), 0))
        unit = np.spacing(np.minimum(size, info.max)).astype(np.longdouble)
        off = np.abs(y.astype(np.longdouble) - truth) / unit
        same = (np.isnan(y) & np.isnan(rounded)) | ((y == rounded) & ~np.isfinite(y))
        off = np.where(same, 0, off)
        return np.where(np.isnan(off), np.inf, off)
