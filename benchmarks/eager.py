"""What eager mode costs: operations on 4×4 tensors, a training step of 784-128-64-10, and the import.

    python benchmarks/eager.py

One thread, pinned to one core where the system allows; chainrule and PyTorch interleaved in one run, the best of 7 rounds
each; PyTorch with its default Adam, and with its fused one beside. The import's cost is the median of 15 fresh processes
beyond NumPy's own, which find the modules compiled. Without PyTorch installed only our own figures are printed.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import numpy as np  # noqa: E402 - after the number of threads is set

import chainrule as cr  # noqa: E402

Call = Callable[[], object]
ROUNDS = 7


def best_of(calls: dict[str, Call], repeats: int) -> dict[str, float]:
    """Return the best time in µs of each call over interleaved rounds."""
    best = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        for _ in range(20):
            call()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            began = time.perf_counter()
            for _ in range(repeats):
                call()
            best[name] = min(best[name], (time.perf_counter() - began) / repeats * 1e6)
    return best


def operations(library: Any, label: str) -> dict[str, Call]:
    """Return recorded operations on 4×4 tensors."""
    a, b = library.randn(4, 4).requires_grad_(), library.randn(4, 4).requires_grad_()
    return {
        f"add      {label}": lambda: a + b,
        f"mul      {label}": lambda: a * b,
        f"matmul   {label}": lambda: a @ b,
        f"tanh     {label}": lambda: a.tanh(),
    }


def training_step(library: Any, **options: Any) -> Call:
    """Return a step of 784-128-64-10 with cross-entropy and Adam on a batch of 32."""
    nn = library.nn
    rng = np.random.default_rng(0)
    x = library.from_numpy(rng.normal(size=(32, 784)).astype(np.float32))
    y = library.from_numpy(rng.integers(0, 10, 32))
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = library.optim.Adam(model.parameters(), **options)
    loss_of = nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss_of(model(x), y).backward()
        optimizer.step()

    return step


def import_cost(rounds: int = 15) -> float:
    """Return what `import chainrule` costs beyond `import numpy`, in ms."""
    code = "import time, numpy; t = time.perf_counter(); import chainrule; print(time.perf_counter() - t)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times = [float(subprocess.check_output([sys.executable, "-c", code], env=environment)) for _ in range(rounds)]
    return statistics.median(times) * 1e3


def main() -> None:
    """Print the figures."""
    torch: Any = None
    if importlib.util.find_spec("torch"):
        import torch as installed

        torch = installed
        torch.set_num_threads(1)
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, chainrule {cr.__version__}"
    print(versions + (f", PyTorch {torch.__version__}" if torch else ", PyTorch not installed"))
    calls = operations(cr, "chainrule") | (operations(torch, "PyTorch") if torch else {})
    print("\noperations on 4×4 tensors, recorded for the gradient (µs)")
    for name, micros in best_of(calls, 5000).items():
        print(f"  {name:<20} {micros:6.2f}")
    steps: dict[str, Call] = {"chainrule eager": training_step(cr)}
    if torch:
        steps["PyTorch, default Adam"] = training_step(torch)
        steps["PyTorch, fused Adam"] = training_step(torch, fused=True)
    best = best_of(steps, 200)
    print("\na training step of 784-128-64-10, batch 32, Adam (µs, and ratio to PyTorch's default)")
    reference = best.get("PyTorch, default Adam", float("nan"))
    for name, micros in best.items():
        print(f"  {name:<24} {micros:6.0f}  {micros / reference:5.2f}")
    print(f"\nimport chainrule, beyond NumPy's own import: {import_cost():.1f} ms")


if __name__ == "__main__":
    main()
