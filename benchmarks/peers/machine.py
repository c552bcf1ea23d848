"""The machine itself, as a candidate like any other: multiply-adds per second, and bytes copied per second.

A loop in C, compiled for this processor; without a C compiler NumPy's products and copies, which fall somewhat short.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable

import numpy as np
from c_code import compiled
from networks import Network

SOURCE = """
#include <string.h>
#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
typedef float V __attribute__((vector_size(4 * LANES), aligned(4)));

void peak(long turns, float *out) { /* twelve independent chains of multiply-adds */
    V a, b, c[12];
    memcpy(&a, out, sizeof a); memcpy(&b, out + LANES, sizeof b);
    for (int k = 0; k < 12; k++) c[k] = a;
    for (long t = 0; t < turns; t++) {
#pragma GCC unroll 12
        for (int k = 0; k < 12; k++) c[k] = c[k] * a + b;
    }
    for (int k = 1; k < 12; k++) c[0] += c[k];
    memcpy(out, c, sizeof a);
}

long lanes(void) { return LANES; }

void copy(long turns, long count, float *restrict to, float *restrict from) {
    for (long t = 0; t < turns; t++) {
        for (long k = 0; k < count; k++) to[k] = from[k];
        __asm__ volatile("" : : "r"(to), "r"(from) : "memory");
    }
}
"""


def versions() -> str:
    return "peak by gcc" if compiled(SOURCE) else "peak by NumPy"


def refuses(network: Network) -> str:
    return ""


def _spans(work: list[Callable[[], object]]) -> list[tuple[float, float]]:
    """Run the pieces at the same time, each pinned to a CPU of its own; return when each began and ended."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    barrier = threading.Barrier(len(work))
    spans = [(0.0, 0.0)] * len(work)

    def run(k: int) -> None:
        if allowed:
            os.sched_setaffinity(0, {allowed[k % len(allowed)]})
        barrier.wait()
        began = time.perf_counter()
        work[k]()
        spans[k] = began, time.perf_counter()

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return spans


def _seconds(work: list[Callable[[], object]]) -> float:
    """Return how long the pieces take together."""
    began, ended = zip(*_spans(work), strict=True)
    return max(ended) - min(began)


class Probe:
    """How much more two CPUs do than one, right now: twice as much where each has a core of its own, else hardly more."""

    def __init__(self, seconds: float) -> None:
        library = compiled(SOURCE)
        if library is None:
            raise RuntimeError("no C compiler for the loop of multiply-adds")
        self.turns, self.seeds = 10_000, [np.full(64, 1e-3, np.float32) for _ in range(2)]
        self.work = [
            lambda x=x: library.peak(ctypes.c_long(self.turns), ctypes.c_void_p(x.ctypes.data)) for x in self.seeds
        ]
        self.turns = int(self.turns * seconds / min(_seconds(self.work[:1]) for _ in range(20)))

    def gain(self) -> float:
        """Return the rate of both at once over that of the first alone, before or after, where that is greater."""
        spans = [*_spans(self.work[:1]), *_spans(self.work), *_spans(self.work[:1])]
        before, *both, after = [ended - began for began, ended in spans]
        return sum(min(before, after) / seconds for seconds in both)


class Peer:
    """``run`` returns [multiplications and additions per second, bytes read and written per second]."""

    def __init__(self, network: Network) -> None:
        self.threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        self.count = max(network.state_bytes() // (8 * self.threads), 4096)  # half of the state is copied to the other
        self.library = compiled(SOURCE)
        self.arrays = [(np.ones(self.count, np.float32), np.ones(self.count, np.float32)) for _ in range(self.threads)]
        self.squares = [np.ones((1024, 1024), np.float32) for _ in range(3)]
        self.seed = [np.full(64, 1e-3, np.float32) for _ in range(self.threads)]

    def run(self, passes: int) -> list[list[float]]:
        return [[self._flops(), self._bytes()]]

    def _flops(self) -> float:
        if self.library is None:
            a, b, out = self.squares
            return 2 * 1024**3 / _seconds([lambda: np.matmul(a, b, out=out)])
        turns, peak = 2_000_000, self.library.peak
        work = [
            lambda x=x: peak(ctypes.c_long(turns), ctypes.c_void_p(x.ctypes.data)) for x in self.seed
        ]  # fmt: skip
        return self.threads * 2 * 12 * self.library.lanes() * turns / _seconds(work)

    def _bytes(self) -> float:
        turns = max(int(2e9 / (8 * self.count)), 1)
        if self.library is None:
            return 8 * self.count * turns / _seconds([lambda: [np.copyto(*self.arrays[0]) for _ in range(turns)]])
        copy = self.library.copy
        work = [
            lambda a=a, b=b: copy(
                ctypes.c_long(turns),
                ctypes.c_long(self.count),
                ctypes.c_void_p(a.ctypes.data),
                ctypes.c_void_p(b.ctypes.data),
            )
            for a, b in self.arrays
        ]
        return self.threads * 8 * self.count * turns / _seconds(work)
