"""Straight-line code for many steps of a small network: when it is made, and what for."""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from chainrule import compiler
from chainrule.compiler.cache import load_or_build
from chainrule.compiler.interface import STRAIGHT, Given, Twins, Unsuitable
from chainrule.compiler.target import host
from chainrule.graph import Array
from chainrule.run.native import NativeProgram

MANY = 64  # steps of one call, fewer of which are not worth code of their own
WORTH_MAKING = 1.0  # how long kernels have taken, or are about to, when it is made: as long as making it
SECONDS_TO_MAKE, SECONDS_OF_INSTRUCTION = 0.02, 1e-4
SECONDS_OF_KERNEL = 1e-7  # of a small network, where none was measured

Function = Callable[[int, int], int]  # of the address of a frame and a number of steps: how many were done whole


class _Made(NamedTuple):
    """A function, and the inputs that it takes for equal."""

    twins: Twins
    function: Function


class Straight:
    """The functions that do whole steps of a program for given sizes. ``wanted`` are the outputs kept for every step."""

    def __init__(self, program: NativeProgram, sizes: Mapping[str, int], wanted: Sequence[int]) -> None:
        self.program = program
        self.sizes = sizes
        self.wanted = [k for k in wanted if k not in program.over]
        self._made: dict[Any, list[_Made]] = {}
        self._refused = False
        self._seconds = 0.0  # in kernels
        self._needed: float | None = None  # seconds that making a function takes, about

    @property
    def is_out(self) -> bool:
        """Whether straight-line code suits the program not at all."""
        return self._refused or isinstance(self.program.recipe.straight, str)

    def function(self, given: Given, steps: int, seconds: float) -> Function | None:
        """Return the function for what is given, or None: the kernels do it, in about so many ``seconds``."""
        made = self._made.setdefault((tuple(given.rows.items()), given.numbers), [])
        for one in made:
            if all(any(set(group) <= set(equal) for equal in given.twins) for group in one.twins):
                return one.function
        self._seconds += seconds
        if steps < MANY or self._refused:
            return None
        try:
            if self._seconds < WORTH_MAKING * self._time_to_make():
                return None
            made.append(self._make(given))
        except Unsuitable as unsuitable:
            self.program.notes[self._what()] = f"kernels, for {unsuitable}"
            self._refused = True
            return None
        return made[-1].function

    def _time_to_make(self) -> float:
        if self._needed is None:
            instructions = self._estimate()
            self._needed = SECONDS_TO_MAKE + SECONDS_OF_INSTRUCTION * instructions
        return self._needed

    def _estimate(self) -> int:
        """Return about how many instructions there are; raise Unsuitable."""
        known = self.program.recipe.straight
        if known is None or self.sizes != self.program.hints:
            return compiler.estimate(self.program.compilation.regions, self.sizes)
        if isinstance(known, str):
            raise Unsuitable(known)
        return known

    def _what(self) -> str:
        """Return what the report says of: the steps of these sizes."""
        sizes = ", ".join([f"{name} = {size}" for name, size in self.sizes.items()])
        return f"many steps of {sizes}: " if sizes else "many steps: "

    def _make(self, given: Given) -> _Made:
        program, machine = self.program, host()
        start = time.perf_counter()

        def write() -> tuple[str, bytes]:
            ir, equal = compiler.write_straight(program.compilation.targets, self.sizes, given, self.wanted, machine)
            return ir, json.dumps(equal).encode()

        if program.key is None:
            written = write()
            loaded = load_or_build(written[0].encode(), lambda: written, machine)
        else:
            rows = sorted([(k, one.slot, one.dtype.str, one.scaling) for k, one in given.rows.items()])
            asked = (
                sorted(self.sizes.items()),
                rows,
                sorted(given.numbers),
                given.order_slot,
                given.twins,
                self.wanted,
            )
            loaded = load_or_build(b"straight" + program.key + repr(asked).encode(), write, machine)
        equal: Twins = tuple([tuple(group) for group in json.loads(loaded.metadata)])
        origin = "from the cache" if loaded.from_cache else "compiled"
        took = time.perf_counter() - start
        program.notes[self._what()] = f"straight-line code, {origin} in {1e3 * took:.0f} ms"
        call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(loaded.library[STRAIGHT])
        call.library = loaded.library  # type: ignore[attr-defined] # ctypes' functions take attributes; this one keeps the code
        return _Made(equal, call)


def twins(arrays: Mapping[int, Array]) -> Twins:
    """Return the groups of arrays of one element that have the same bits: the counters of an optimizer, say."""
    groups: dict[tuple[str, bytes], list[int]] = {}
    for k, x in arrays.items():
        if x.size == 1:
            groups.setdefault((x.dtype.str, x.tobytes()), []).append(k)
    return tuple([tuple(group) for group in groups.values() if len(group) > 1])
