"""What this machine can do, measured by kernels that do nothing else: multiply-adds in registers, and copying memory.

The figures are those of one thread, and of what was running beside it: the best of several tries, once per process.
"""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from chainrule.compiler.cache import load_or_build
from chainrule.compiler.emit import Emitter
from chainrule.compiler.module import Module
from chainrule.compiler.target import Target, host
from chainrule.compiler.value import F32, I64, LANES, Dtype, Value

MULTIPLY_ADDS, COPY = "multiply_adds", "copy"
CHAINS = 12  # registers with sums that do not wait for each other: more than a multiply-add takes cycles
TURNS = 20_000  # of the loop that adds
COPIED = 1 << 20  # bytes
AT_ONCE = 4  # vectors in one turn of the loop that copies
TRIES = 25


class Peak(NamedTuple):
    """The most of one thread here: operations in float32 per second (a multiply-add is two), and bytes read or written."""

    flops: float
    bytes: float

    def seconds(self, flops: int, size: int) -> float:
        """Return how long so many operations and bytes take at least."""
        return max(flops / self.flops, size / self.bytes)


@functools.cache
def peak() -> Peak:
    """Return what this machine can do."""
    module, machine = Module(), host()
    chains = _write_multiply_adds(module, F32, machine)
    _write_copy(module, F32)
    ir = module.text(machine.attributes())
    library = load_or_build(ir.encode(), lambda: (ir, b""), machine).library
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    add, copy = function(library[MULTIPLY_ADDS]), function(library[COPY])
    numbers, sums = np.array([0.999, 0.001], F32), np.zeros(LANES, F32)
    seconds = _best(lambda: add(numbers.ctypes.data, sums.ctypes.data, TURNS))
    source, target = np.ones(COPIED, np.uint8), np.zeros(COPIED, np.uint8)
    copying = _best(lambda: copy(source.ctypes.data, target.ctypes.data, COPIED // F32.itemsize))
    return Peak(2 * LANES * chains * TURNS / seconds, 2 * COPIED / copying)


def _best(call: Callable[[], None]) -> float:
    seconds = []
    for _ in range(TRIES):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _write_multiply_adds(module: Module, dtype: Dtype, machine: Target) -> int:
    """Write ``void multiply_adds(ptr numbers, ptr sums, i64 turns)``; return how many vectors each turn adds to."""
    registers = max(LANES * dtype.itemsize * 8 // machine.vector_bits, 1)  # of one vector
    chains = max(CHAINS // registers, 1)
    e = Emitter(module, MULTIPLY_ADDS, [("ptr", "numbers"), ("ptr", "sums"), ("i64", "turns")])
    a, b = [e.wide(e.load(e.offset("%numbers", k, dtype), dtype)) for k in range(2)]
    start = e.load("%sums", dtype, LANES)
    starts = [start + k for k in range(chains)]
    ends = e.loop(0, Value(e, "%turns", I64), 1, lambda _, *sums: [e.fma(x, a, b) for x in sums], starts)
    total = ends[0]
    for x in ends[1:]:
        total = total + x
    e.store(total, "%sums")
    e.finish()
    return chains


def _write_copy(module: Module, dtype: Dtype) -> None:
    """Write ``void copy(ptr source, ptr target, i64 count)``, of a whole number of turns."""
    e = Emitter(module, COPY, [("ptr", "source"), ("ptr", "target"), ("i64", "count")])

    def turn(i: Value) -> None:
        places = [i + k * LANES for k in range(AT_ONCE)]
        vectors = [e.load(e.offset("%source", at, dtype), dtype, LANES) for at in places]
        for at, x in zip(places, vectors, strict=True):
            e.store(x, e.offset("%target", at, dtype))

    e.loop(0, Value(e, "%count", I64), AT_ONCE * LANES, turn)
    e.finish()
