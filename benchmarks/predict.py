"""One row's prediction by 784-128-64-10: what Python adds to the native code that does it, beside PyTorch and NumPy.

    python benchmarks/predict.py
    python benchmarks/predict.py --rounds 15 --json predict.json

    native     the compiled model's native function on the same memory, called in a native loop: no Python between two calls
    tensor     f(x) of a tensor under no_grad; array: of a NumPy array
    eager      model(x), nothing compiled
    torch      PyTorch, eager, under inference_mode, one thread
    numpy      by hand: three products, each with a result of its own

The process is pinned to one CPU. All take turns; a figure is the best of all turns. Turns are short, so that some are left
alone by whatever else runs.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402 - NumPy reads these settings when it is loaded

import chainrule as cr  # noqa: E402 - NumPy reads these settings when it is loaded
from chainrule.compiler.cache import load_or_build  # noqa: E402 - NumPy reads these settings when it is loaded
from chainrule.compiler.target import host  # noqa: E402 - NumPy reads these settings when it is loaded

SIZES = (784, 128, 64, 10)
LOOP = """
define void @loop(ptr %run, ptr %frame, ptr %records, i64 %count, i64 %times) nounwind {
entry:
  br label %next
next:
  %k = phi i64 [ 0, %entry ], [ %after, %next ]
  %done = call i64 %run(ptr %frame, ptr %records, i64 %count)
  %after = add i64 %k, 1
  %more = icmp slt i64 %after, %times
  br i1 %more, label %next, label %end
end:
  ret void
}
"""

Run = Callable[[int], Any]
"""Does something so many times."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--turns", type=int, default=20, help="of each in a round")
    parser.add_argument("--calls", type=int, default=100, help="in a turn")
    parser.add_argument("--cpu", type=int, help="the CPU to be pinned to (the first that may be used)")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    return parser.parse_args()


def native_loop(compiled: Any, x: Any) -> Run:
    """Return what calls the native function of the compiled model in a native loop, on the memory of a call with ``x``."""
    served = compiled.traced_for(x)
    assert served is not None
    traced, tensors, sizes = served
    program = traced.program
    values = traced.inputs(tensors)
    program.run(values, sizes)  # the addresses of the inputs stand in the frame
    ready = program.ready(sizes)
    outputs = [np.empty(shape, dtype) for _, _, shape, dtype in ready.outputs]
    for (slot, _, _, _), y in zip(ready.outputs, outputs, strict=True):
        ready.frame[slot] = y.ctypes.data
    loaded = load_or_build(LOOP.encode(), lambda: (LOOP, b""), host())
    types = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    loop = ctypes.CFUNCTYPE(None, *types)(loaded.library["loop"])
    kept = (compiled, loaded, ready, values, outputs)

    def run(times: int) -> Any:
        loop(program.run_address, ready.frame.ctypes.data, ready.records.ctypes.data, ready.count, times)
        return kept

    return run


def calls(function: Callable[[Any], Any], x: Any) -> Run:
    """Return what calls ``function(x)``."""

    def run(times: int) -> None:
        for _ in range(times):
            function(x)

    return run


def torch_runs(weights: list[Any], row: Any) -> dict[str, Run]:
    """Return PyTorch's eager prediction; nothing where PyTorch is not installed."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(1)
    layers: list[Any] = []
    for weight, bias in weights:
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": torch.from_numpy(weight.copy()), "bias": torch.from_numpy(bias.copy())})
        layers += [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1]).eval()
    x = torch.from_numpy(row.copy())

    def run(times: int) -> None:
        with torch.inference_mode():
            for _ in range(times):
                model(x)

    return {"torch": run}


def by_hand(weights: list[Any]) -> Callable[[Any], Any]:
    """Return the prediction with NumPy."""
    (w1, b1), (w2, b2), (w3, b3) = [(np.ascontiguousarray(w.T), b) for w, b in weights]

    def predict(x: Any) -> Any:
        x = np.maximum(x @ w1 + b1, 0)
        x = np.maximum(x @ w2 + b2, 0)
        return x @ w3 + b3

    return predict


def main() -> None:
    told = arguments()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0)) if told.cpu is None else told.cpu})
    cr.manual_seed(0)
    layers: list[Any] = []
    for before, after in pairwise(SIZES):
        layers += [cr.nn.Linear(before, after), cr.nn.ReLU()]
    model = cr.nn.Sequential(*layers[:-1]).eval()
    weights = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in layers[:-1:2]]
    row = np.random.default_rng(0).random((1, SIZES[0]), np.float32)
    x = cr.tensor(row)
    predict = by_hand(weights)
    with cr.no_grad():
        compiled = cr.compile(model)
        for _ in range(10):
            np.testing.assert_allclose(compiled(x).numpy(), predict(row), rtol=1e-4, atol=1e-5)
        print(compiled.report())
        runs: dict[str, Run] = {
            "native": native_loop(compiled, x),
            "tensor": calls(compiled, x),
            "array": calls(compiled, row),
            "eager": calls(model, x),
            **torch_runs(weights, row),
            "numpy": calls(predict, row),
        }
        best = dict.fromkeys(runs, float("inf"))
        for _ in range(told.rounds * told.turns):
            for what, run in runs.items():
                run(10)
                start = time.perf_counter()
                run(told.calls)
                best[what] = min(best[what], (time.perf_counter() - start) / told.calls)
    print(f"\n{'':<10}{'a row':>10}{'above native':>14}")
    for what, seconds in best.items():
        print(f"{what:<10}{1e6 * seconds:>7.2f} µs{1e6 * (seconds - best['native']):>11.2f} µs")
    if told.json:
        told.json.write_text(json.dumps(best, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
