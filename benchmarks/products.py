"""Matrix products and the update of a layer's weights, in per cent of the processor's peak of multiply-adds.

    python benchmarks/products.py

One thread, pinned to one core where the system allows. Shapes are batch × inputs × outputs of a layer: NN is x W for W
[inputs, outputs], with the gradients NT of x and TN of W; "x Wᵀ" is Linear's, with W[outputs, inputs], and "g W" the gradient
of its x. What must be packed is packed within the measured time; "packed" leaves that out. Then the gradient of Linear(784, 128) with Adam in its epilogue, W, m and v in row-major order. All candidates take turns, timed by
the clock of the thread; the best of the rounds counts, the peak among them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np  # noqa: E402 - after the number of threads is set

from chainrule.compiler.blocking import pays_to_pack_a  # noqa: E402
from chainrule.compiler.emit import Emitter  # noqa: E402
from chainrule.compiler.module import Module  # noqa: E402
from chainrule.compiler.product import PRODUCT_ARGS, Entry, buffer, choose_tile, count_tiles, entry, product  # noqa: E402
from chainrule.compiler.value import F32, I64, Value  # noqa: E402
from tests.compiler.native import (  # noqa: E402
    AVX2,
    HAS_AVX512,
    HOST,
    REGISTERS,
    Call,
    Native,
    Registers,
    Table,
    aligned,
    pack_call,
    planned,
    product_args,
)

try:
    import torch

    torch.set_num_threads(1)
except ImportError:
    torch = None

SMALL = [(128, 784, 128), (32, 784, 128), (128, 128, 64), (64, 576, 64)]
LARGE = [(1024, 1024, 1024), (2048, 2048, 2048), (256, 4096, 4096)]
Run = Callable[[], object]


def peak(turns: int = 100_000) -> tuple[Table, float]:
    """12 independent chains of multiply-adds, and how many operations they are."""
    module = Module()
    e = Emitter(module, "peak", [("ptr", "frame"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")])
    memory = e.raw("load ptr, ptr %frame, align 8")
    x, zero = e.load(memory, F32, 16), e.wide(e.constant(0, F32))
    chains = [zero] * (12 if HAS_AVX512 else 6)
    ends = e.loop(Value(e, "%begin", I64), Value(e, "%end", I64), 1, lambda _, *c: [e.fma(x, x, v) for v in c], chains)
    for k, end in enumerate(ends):
        e.store(end, e.offset(memory, 16 * k, F32))
    e.finish()
    return Table([Call(Native(module), "peak", [aligned(256)], [], turns)]), 2.0 * 16 * len(chains) * turns


def interleave(candidates: dict[str, Run], rounds: int) -> dict[str, float]:
    """The best time of each."""
    best = dict.fromkeys(candidates, float("inf"))
    for number in range(rounds + 1):
        for name, run in candidates.items():
            start = time.thread_time()
            run()
            if number:
                best[name] = min(best[name], time.thread_time() - start)
    return best


def products() -> None:
    random = np.random.default_rng(0)
    for forward in SMALL + LARGE:
        rows, inner, columns = forward
        kinds = {"NN": forward, "NT": (rows, columns, inner), "TN": (inner, rows, columns)}
        kinds |= {"x Wᵀ": forward, "g W": (rows, columns, inner)}
        for kind, (m, k, n) in kinds.items():
            a = aligned(k, m).T if kind == "TN" else aligned(m, k)
            b = aligned(n, k).T if kind in ("NT", "x Wᵀ") else aligned(k, n)
            a[:], b[:], c = random.normal(size=a.shape), random.normal(size=b.shape), aligned(m, n)
            flops = 2.0 * m * k * n
            repeats = max(1, int(3e7 / flops))
            candidates: dict[str, Run] = {"peak": PEAK[0]}
            sets = {"ours": (HOST, REGISTERS)} | ({"AVX2": (AVX2, Registers(256, 16))} if HAS_AVX512 else {})
            for name, (target, registers) in sets.items():
                calls = planned(a, b, c, registers, target)
                candidates[name] = Table(calls, repeats)
                calls = [call for call in calls if call.name == "kernel"]
                if name == "ours" and len(calls) < len(candidates["ours"].calls):  # type: ignore[attr-defined]
                    candidates["packed"] = Table(calls, repeats)
            candidates["numpy"] = lambda a=a, b=b, c=c, r=repeats: [np.matmul(a, b, out=c) for _ in range(r)]
            if torch is not None:
                x, y, z = torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(c)
                candidates["torch"] = lambda x=x, y=y, z=z, r=repeats: [torch.matmul(x, y, out=z) for _ in range(r)]
            times = interleave(candidates, 40 if flops < 1e9 else 5)
            rate = PEAK[1] / times.pop("peak")
            shares = [f"{name} {100 * flops * repeats / t / rate:3.0f}" for name, t in times.items()]
            print(f"{rows}x{inner}x{columns} {kind}  {'  '.join(shares)}", flush=True)


class Adam:
    """The update of a vector; entries: p, m, v, rates, and the stride of the rows."""

    def prepare(self, e: Emitter) -> None:
        rates = buffer(e, PRODUCT_ARGS + 6)
        self.rates = [e.load(e.offset(rates, k, F32), F32) for k in range(6)]
        self.places, self.stride = [buffer(e, PRODUCT_ARGS + 2 * k) for k in range(3)], entry(e, PRODUCT_ARGS + 8)

    def __call__(self, e: Emitter, row: Value, column: Value, value: Value, mask: Value | None, batch: Value) -> None:
        place = row * self.stride + column
        places = [e.offset(p, place, F32) for p in self.places]
        p, m, v = (e.load(x, F32, value.lanes, mask) for x in places)
        beta1, rest1, beta2, rest2, step, epsilon = self.rates
        m = e.fma(value, rest1, m * beta1)
        v = e.fma(value * rest2, value, v * beta2)
        p = e.fma(m / (e.sqrt(v) + epsilon), step, p)
        for x, y in zip((p, m, v), places, strict=True):
            e.store(x, y, mask)

    def prefetch(self, e: Emitter, row: Value, column: Value, batch: Value) -> None:
        for p in self.places:
            e.prefetch(e.offset(p, row * self.stride + column, F32))


def update(batch: int, outputs: int, inputs: int) -> None:
    random = np.random.default_rng(0)
    g, x = aligned(batch, outputs), aligned(batch, inputs)
    g[:], x[:] = 1e-2 * random.normal(size=g.shape), random.normal(size=x.shape)
    state = [aligned(outputs, inputs) for _ in range(3)]
    rates = np.array([0.9, 0.1, 0.999, 0.001, -1e-3, 1e-8], np.float32)
    candidates: dict[str, Run] = {"peak": PEAK[0]}
    large = pays_to_pack_a(outputs, inputs, batch, F32)
    repeats = 1 if large else 5
    sets = {"ours": (HOST, REGISTERS)} | ({"AVX2": (AVX2, Registers(256, 16))} if HAS_AVX512 else {})
    for name, (target, registers) in sets.items():
        tile = choose_tile(outputs, inputs, batch, registers, F32, in_place=True)
        packed = large and tile.rows == 16
        arrays, calls = [g, x, *state, rates], []
        if packed:
            arrays[0], arrays[1] = aligned(16 * (batch + 1), outputs), aligned(16 * (batch + 1), inputs)
            calls.append(pack_call(g, arrays[0], 16, 16 * (batch + 1), target))
            calls.append(pack_call(x, arrays[1], 16, 16 * (batch + 1), target))
        for deferred in {False, tile.deferred}:
            module, adam, part = Module(), Adam(), tile._replace(deferred=deferred, packed_a=packed)
            prefetch = adam.prefetch if packed else None
            product(module, "kernel", part, F32, adam, prepare=adam.prepare, prefetch=prefetch)
            args = [*product_args(part, g.T[None], x[None]), 2, 0, 3, 0, 4, 0, 5, 0, inputs]
            args[Entry.COLUMNS_OUTER] = 1
            if packed:
                args[Entry.A_PANEL], args[Entry.B_K], args[Entry.B_PANEL] = 16 * (batch + 1), 16, 16 * (batch + 1)
            call = Call(Native(module, target), "kernel", arrays, args, count_tiles(part, outputs, inputs).number())
            candidates[name + (" deferred" if deferred else "")] = Table([*calls, call], repeats)
    gradient = np.empty_like(state[0])
    candidates["numpy, gradient alone"] = lambda: [np.matmul(g.T, x, out=gradient) for _ in range(repeats)]
    if torch is not None:
        weight = torch.nn.Parameter(torch.zeros(outputs, inputs))
        optimizer, tg, tx = torch.optim.Adam([weight], fused=True), torch.from_numpy(g), torch.from_numpy(x)
        weight.grad = torch.zeros(outputs, inputs)

        def step() -> None:
            for _ in range(repeats):
                torch.matmul(tg.T, tx, out=weight.grad)
                optimizer.step()

        candidates["torch"] = step
    times = interleave(candidates, 5 if large else 40)
    floor = 2.0 * batch * outputs * inputs / (PEAK[1] / times.pop("peak"))
    report = [f"{name} {1e6 * t / repeats:.0f}" for name, t in times.items()]
    print(
        f"update of {outputs}x{inputs}, batch {batch}, µs: arithmetic {1e6 * floor:.0f}  {'  '.join(report)}",
        flush=True,
    )


if __name__ == "__main__":
    PEAK = peak()
    print(f"per cent of the peak; one thread, vectors of {REGISTERS.bits} bits; NumPy {np.__version__}", end="")
    print(f", PyTorch {torch.__version__}" if torch is not None else "")
    for shape in ((32, 128, 784), (128, 128, 784), (256, 4096, 4096)):
        update(*shape)
    products()
