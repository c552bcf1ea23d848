"""Straight-line code for many steps of a small network: when it is made, and what for."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chainrule.compiler.cache import load_or_build
from chainrule.compiler.straight import STRAIGHT, Given, write_straight
from chainrule.compiler.straight_emitter import Unsuitable
from chainrule.compiler.target import host
from chainrule.graph import Array
from chainrule.run.native import NativeProgram

MANY = 64  # steps of one call, fewer of which are not worth code of their own
WORTH_MAKING = 0.05  # seconds in kernels, spent or about to be, from which on it is: about what making it takes
SECONDS_OF_KERNEL = 1.5e-7  # of a small network, where none was measured

Function = Callable[[int, int], int]  # of the address of a frame and a number of steps: how many were done whole


class Straight:
    """The functions that do whole steps of a program for given sizes. ``wanted`` are the outputs kept for every step."""

    def __init__(self, program: NativeProgram, sizes: Mapping[str, int], wanted: Sequence[int]) -> None:
        self.program = program
        self.sizes = sizes
        self.wanted = [k for k in wanted if k not in program.over]
        self._made: dict[Any, Function | None] = {}
        self._seconds = 0.0  # in kernels

    def function(self, given: Given, steps: int, seconds: float) -> Function | None:
        """Return the function for what is given, or None: the kernels do it, in about so many ``seconds``."""
        key = (tuple(given.rows.items()), given.numbers, given.twins)
        if key not in self._made:
            self._seconds += seconds
            if steps < MANY or self._seconds < WORTH_MAKING:
                return None
            self._made[key] = self._make(given)
        return self._made[key]

    def _make(self, given: Given) -> Function | None:
        program, machine = self.program, host()
        of = ", ".join([f"{name} = {size}" for name, size in self.sizes.items()])
        note = f"many steps{' of ' if of else ''}{of}: "
        start = time.perf_counter()
        try:
            ir = write_straight(program.compilation.targets, self.sizes, given, self.wanted, machine)
        except Unsuitable as unsuitable:
            program.notes[note] = f"kernels, for {unsuitable}"
            return None
        loaded = load_or_build(ir.encode(), lambda: (ir, b""), machine)
        origin = "from the cache" if loaded.from_cache else "compiled"
        took = time.perf_counter() - start
        program.notes[note] = f"straight-line code, {origin} in {1e3 * took:.0f} ms"
        call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(loaded.library[STRAIGHT])
        call.library = loaded.library  # type: ignore[attr-defined] # ctypes' functions take attributes; this one keeps the code
        return call


def twins(arrays: Mapping[int, Array]) -> tuple[tuple[int, ...], ...]:
    """Return the groups of arrays of one element that have the same bits: the counters of an optimizer, say."""
    groups: dict[tuple[str, bytes], list[int]] = {}
    for k, x in arrays.items():
        if x.size == 1:
            groups.setdefault((x.dtype.str, x.tobytes()), []).append(k)
    return tuple([tuple(group) for group in groups.values() if len(group) > 1])
