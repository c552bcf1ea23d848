"""Write docs/vector-math.md: how exact and how fast native code's functions are here. Needs mpmath and a quiet machine."""

from __future__ import annotations

import importlib.util
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.compiler.native import HOST, aligned  # noqa: E402 - the folder of the tests is on no path
from tests.compiler.vector_functions import (  # noqa: E402
    DIVISIONS,
    SMOOTH,
    TWO,
    Vectors,
    exact,
    numpy_function,
    points,
    units_off,
)

PAGE = Path(__file__).parent / "vector-math.md"
TIMED = 2048  # elements: operands and result stay in the first cache
ERROR_FUNCTIONS = ("erf", "erfc", "erfinv")

HEAD = """# Functions of native code

<!-- Written by docs/generate_vector_page.py on {machine}. Do not edit. -->

`exp`, `log`, `tanh` and their like are written by `src/chainrule/compiler/vector_*.py`, instruction by instruction: a step of
training calls no library, and its bits depend neither on the registers of the processor nor on where an element stands. The
polynomials are fitted by `docs/generate_vector_math.py`.

**How exact.** The distance from the truth (64 bits of fraction, for the error functions 40 digits) in units in the last place,
largest and mean, over bit patterns of all magnitudes, the ranges where the function bends, and special values; `sin`, `cos` and
`tan` up to 1e5. Allowed are 3 units in float32 and 4 in float64; a test holds both.

**How fast.** Nanoseconds per element of 2048, the best of many rounds; normal numbers (positive ones where the function asks for
them). NumPy and PyTorch run one operation on the same arrays, on one thread. *instr.*: LLVM instructions.

| function | dtype | largest | mean | NumPy largest | PyTorch largest | ns | NumPy ns | PyTorch ns | instr. |
|---|---|---|---|---|---|---|---|---|---|
"""

TAIL = """
- `logaddexp` is measured in units of its largest operand: near 0 its result is a small difference of large numbers.
- `sin`, `cos`, `tan` of more than 2**50 are NaN: a float64 no longer tells the angle of its neighbour. NumPy reduces these too.
- `sigmoid` of NumPy and PyTorch is 0 where e^-x is infinite, ours is the denormal number; their `sinh` and `cosh` differ likewise
  near the largest numbers.
- `a ** b` of a constant `b` of 1, 2, 3, -1 or -2 is written as products.
- Quotients and remainders are exactly NumPy's, for floats of any magnitudes and for integers, where what traps in C does not.

## Random numbers

The bits are those of the interpreter (`src/chainrule/ops/philox.py`): 16 neighbours cost four counters of Philox, eight for
float64.
"""


def torch_function(name: str) -> Callable[..., Any] | None:
    """Return PyTorch's function, if PyTorch is installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    torch.set_num_threads(1)
    special = {"erf": torch.special.erf, "erfc": torch.special.erfc, "erfinv": torch.special.erfinv}
    found: Callable[..., Any] = special[name] if name in special else getattr(torch, name)
    return found


def units(name: str, y: Any, truth: Any, operands: list[Any]) -> tuple[str, str]:
    """Return the largest and the mean distance."""
    off = units_off(name, np.asarray(y), truth, operands)
    finite = off[np.isfinite(off)]
    return (f"{off.max():.2f}" if off.max() < 1e4 else ">10⁴"), f"{finite.mean():.2f}"


def nanoseconds(call: Callable[[], Any], elements: int) -> str:
    """Return the time of one element."""
    best = float("inf")
    for _ in range(40):
        start = time.perf_counter()
        for _ in range(20):
            call()
        best = min(best, time.perf_counter() - start)
    return f"{best / 20 / elements * 1e9:.2f}"


def timed_operands(name: str, dtype: Any) -> list[Any]:
    """Return arrays to time a function on."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(2 if name in TWO else 1):
        x = aligned(TIMED, dtype=dtype)
        x[:] = random.normal(size=TIMED) * (0.3 if name in ("asin", "acos", "atanh", "erfinv") else 2)
        if name in ("asin", "acos", "atanh", "erfinv"):
            x[:] = np.clip(x, -0.99, 0.99)
        if name.startswith("log") or name in ("pow", "acosh"):
            x[:] = np.abs(x) + (1.01 if name == "acosh" else 0.01)
        found.append(x)
    return found


def row(vectors: Vectors, name: str, dtype: Any) -> str:
    """Return the line of one function."""
    kind = np.dtype(dtype).name
    torch = torch_function(name)
    operands = points(name, dtype, 400 if name in ERROR_FUNCTIONS else 50_000, seed=1)
    truth = exact(name, *operands)
    worst, mean = units(name, vectors(name, *operands), truth, operands)
    x = timed_operands(name, dtype)
    own = nanoseconds(vectors.call(name, *x, aligned(TIMED, dtype=dtype)), TIMED)
    of_numpy = of_torch = time_numpy = time_torch = "–"
    with np.errstate(all="ignore"):
        if name not in ERROR_FUNCTIONS:
            function = numpy_function(name)
            of_numpy = units(name, function(*operands), truth, operands)[0]
            time_numpy = nanoseconds(lambda: function(*x), TIMED)
        if torch is not None:
            import torch as library

            of_torch = units(name, torch(*map(library.from_numpy, operands)).numpy(), truth, operands)[0]
            tensors = [library.from_numpy(a) for a in x]
            time_torch = nanoseconds(lambda: torch(*tensors), TIMED)
    parts = [f"`{name}`", kind, worst, mean, of_numpy, of_torch, own, time_numpy, time_torch]
    return f"| {' | '.join(parts)} | {vectors.instructions[f'{name}.{kind}']} |"


def page() -> str:
    """Return the page."""
    kinds = (np.float32, np.float64)
    vectors = Vectors([(name, dtype) for name in (*SMOOTH, *DIVISIONS) for dtype in kinds])
    lines = [row(vectors, name, dtype) for name in SMOOTH for dtype in kinds]
    return HEAD.format(machine=f"{platform.machine()} ({HOST[0]})") + "\n".join(lines) + "\n" + TAIL


if __name__ == "__main__":
    PAGE.write_text(page())
