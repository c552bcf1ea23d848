"""What each kernel of a native program costs: counted, measured, and beside the least that it could take on this machine.

The records run one after the other, as in a run, each many times in a row through the driver, on memory of their own: copies
of what the last run read, an arena, results. So a kernel's memory is in the nearest cache that holds it: the sum of all may be
less than what a run takes, which is measured too, and a kernel may be faster than its floor, for which 1 MB was copied.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule import compiler
from chainrule.compiler.interface import FIRST_INPUT, as_number
from chainrule.graph import Array
from chainrule.ops.lines import in_lines
from chainrule.run.native import NativeProgram, Ready
from chainrule.run.peak import Peak, peak

if TYPE_CHECKING:
    from chainrule.compiler.fields import Source

BATCH = 3e-4  # seconds in one call of the driver
WARM = 3  # calls of one record each
MOST = 2000  # records in one call
TRIES = 7  # calls, of which the fastest counts
ENOUGH = 0.05  # seconds after which no further call is made
HEAD = ("", "kernel", "items", "flops", "bytes", "us", "% of floor")
GAP = "  "
LETTERS = ("", "k", "M", "G", "T")


class Kernel(NamedTuple):
    """One record: the number of its kernel (as ``loops`` counts), what it does, and what it costs in one run.

    ``floor``   the seconds that its operations, or its bytes, take at least on this machine
    """

    number: int
    what: str
    items: int
    flops: int
    bytes: int
    seconds: float
    floor: float


class Profile(NamedTuple):
    """All records of a program, measured.

    ``sizes``    for which
    ``seconds``  of one whole run, by one thread; None if a check failed: the records from there on are left out
    ``peak``     what the machine can do
    """

    kernels: tuple[Kernel, ...]
    sizes: dict[str, int]
    seconds: float | None
    peak: Peak

    def lines(self) -> list[str]:
        """Return a table: a line for each record, their sum, and what a whole run takes."""
        kernels = self.kernels
        flops, size = sum(k.flops for k in kernels), sum(k.bytes for k in kernels)
        seconds, floor = sum(k.seconds for k in kernels), sum(k.floor for k in kernels)
        rows = [list(HEAD)]
        rows += [
            [str(k.number), k.what, str(k.items), *_costs(k.flops, k.bytes), *_times(k.seconds, k.floor)]
            for k in kernels
        ]
        rows.append(["", "sum", "", *_costs(flops, size), *_times(seconds, floor)])
        if self.seconds is not None:
            rows.append(["", "a whole run", "", "", "", *_times(self.seconds, floor)])
        else:
            rows.append(["", "what follows is not measured: a check failed", *[""] * (len(HEAD) - 2)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            GAP.join(
                [
                    cell.ljust(n) if at == 1 else cell.rjust(n)
                    for at, (cell, n) in enumerate(zip(row, widths, strict=True))
                ]
            )
            for row in rows
        ]
        of = "".join([f"{name} = {number}, " for name, number in self.sizes.items()])
        here = f"{_short(self.peak.flops)}flop/s of multiply-adds, {_short(self.peak.bytes)}B/s of copying"
        return [*lines, f"{of}one thread; the floor: {here}"]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def measure(program: NativeProgram) -> Profile:
    """Measure each kernel by itself, for the sizes of the last run, on copies of what that run had in memory.

    What was not run yet is measured for the sizes that its kernels were shaped for. Nothing of the user's is written.
    """
    last = program.last
    ready = Ready(program, program.hints if last is None else last.sizes)
    compilation, sizes = program.compilation, ready.sizes
    targets = compilation.targets
    kept: list[Array] = []  # alive until all is measured
    for slot, over, shape, dtype in ready.outputs:
        if over < 0:
            kept.append(np.empty(shape, dtype))
            ready.frame[slot] = kept[-1].ctypes.data
    inputs = _Inputs(program, ready, last)
    for fill in (0, 1):  # a run that ended in an error had indices out of range, or divided by what is gone
        if program.run_records(ready, ready.records[: ready.count]):
            break
        inputs.fill(fill)
    inputs.put_back()
    most = peak()
    kernels: list[Kernel] = []
    words = compiler.show_records(targets, compilation.records)
    for k, (record, what) in enumerate(zip(compilation.records, words, strict=True)):
        seconds, is_whole = _time(program, ready, inputs, ready.records[k : k + 1])
        if not is_whole:  # what it wrote may be an index out of range, which its readers take for granted
            return Profile(tuple(kernels), sizes, None, most)
        flops, size = compiler.cost_of(targets, record, sizes)
        items = int(ready.records[k, 2])
        kernels.append(Kernel(record.region, what, items, flops, size, seconds, most.seconds(flops, size)))
    inputs.put_back()
    seconds, is_whole = _time(program, ready, inputs, ready.records[: ready.count])
    return Profile(tuple(kernels), sizes, seconds if is_whole else None, most)


class _Inputs:
    """Copies of what the last run read; zeros, which are places in every array too, for what is gone."""

    def __init__(self, program: NativeProgram, ready: Ready, last: Ready | None) -> None:
        with nullcontext() if last is None else last.lock:  # nobody writes them meanwhile
            self.arrays = [
                _copy(source, k, ready.sizes, last) for k, source in enumerate(program.compilation.lowered.sources)
            ]
        for k, x in enumerate(self.arrays):
            ready.frame[FIRST_INPUT + k] = x.ctypes.data
        written = [self.arrays[k] for k in set(program.over.values())]
        self._before = [(x, x.copy()) for x in written if x.dtype.kind in "iu"]  # what may be an index once more

    def fill(self, number: int) -> None:
        """Let all integers be the same."""
        for x in (*self.arrays, *[before for _, before in self._before]):
            if x.dtype.kind in "iu":
                x[...] = number

    def put_back(self) -> None:
        """Let the integers that are written over be what they were. Who writes over an input is the last to read it."""
        for x, before in self._before:
            x[...] = before


def _copy(source: Source, k: int, sizes: dict[str, int], last: Ready | None) -> Array:
    """Return a copy of what input number ``k`` was in the last run."""
    shape = tuple([as_number(n, sizes) for n in source.shape])
    if last is None:
        return np.zeros(shape, source.dtype)
    seen = last.seen[k]
    x = None if seen is None else seen()
    if x is not None and x.shape == shape:
        return in_lines(x) if x.dtype == source.dtype else np.array(x, dtype=source.dtype, order="C")
    if last.frame[FIRST_INPUT + k] == last.numbers_at + 8 * k:
        return np.frombuffer(bytes(last.numbers), source.dtype, 1, 8 * k).copy()
    return np.zeros(shape, source.dtype)


def _time(program: NativeProgram, ready: Ready, inputs: _Inputs, records: Array) -> tuple[float, bool]:
    """Return the seconds that these records take, one after the other, and whether no check failed."""
    count = len(records)
    if count == 0:
        return 0.0, True

    def run(table: Array) -> tuple[float, bool]:
        start = time.perf_counter()
        is_whole = program.run_records(ready, table)
        return time.perf_counter() - start, is_whole

    once = float("inf")
    for _ in range(WARM):
        seconds, is_whole = run(records)
        if not is_whole:  # it may have read what it wrote over
            inputs.put_back()
            return run(records)
        once = min(once, seconds)
    repeats = max(min(int(BATCH / max(once, 1e-9)), MOST // count), 1)
    table = np.tile(records, (repeats, 1))
    best, spent = once, 0.0
    for _ in range(TRIES):
        seconds, is_whole = run(table)
        if not is_whole:
            inputs.put_back()
            seconds, is_whole = run(records)
            return min(best, seconds), is_whole
        best = min(best, seconds / repeats)
        spent += seconds
        if spent > ENOUGH:
            break
    return best, True


def _costs(flops: int, size: int) -> list[str]:
    return [_short(flops), _short(size) + "B"]


def _times(seconds: float, floor: float) -> list[str]:
    return [f"{1e6 * seconds:.2f}", f"{100 * floor / seconds:.0f}" if seconds > 0 else ""]


def _short(number: float) -> str:
    """Return a number in three digits and a letter.

    >>> _short(0), _short(999), _short(12_340), _short(1.5e9)
    ('0 ', '999 ', '12.3 k', '1.5 G')
    """
    step = 0
    while number >= 999.5 and step < len(LETTERS) - 1:
        number, step = number / 1000, step + 1
    return f"{number:.3g} {LETTERS[step]}"
