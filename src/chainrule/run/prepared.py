"""A native run with everything in place but the arrays that differ from call to call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from chainrule.compiler.array_call import WORD, Block, run_on_arrays
from chainrule.compiler.interface import FIRST_INPUT
from chainrule.graph import Array
from chainrule.run.native import NativeProgram


class Prepared:
    """Runs a program on new arrays for some inputs, and writes its outputs into arrays that it is given.

    ``run(address, *arrays)`` does it, with the arrays of the inputs ``given``, then those of the outputs; it says whether a
    check failed. Nobody asks whether they are arrays of the right dtypes and shapes, in row-major order: the caller has to
    know. Who runs it holds ``lock``, and keeps the arrays of the other inputs.
    """

    def __init__(
        self,
        program: NativeProgram,
        sizes: dict[str, int],
        kept: Mapping[int, Array],
        given: Sequence[int],
        run: Callable[..., bool],
    ) -> None:
        ready = program.ready(sizes)
        frame = ready.frame.copy()
        for k, x in kept.items():
            frame[FIRST_INPUT + k] = x.ctypes.data
        slots = [*(FIRST_INPUT + k for k in given), *(slot for slot, _, _, _ in ready.outputs)]
        words = np.zeros(Block.OFFSETS + len(slots), np.int64)
        words[Block.RUN] = program.run_address
        words[Block.FRAME] = frame.ctypes.data
        words[Block.RECORDS] = ready.records.ctypes.data
        words[Block.COUNT] = ready.count
        words[Block.OFFSETS :] = [WORD * slot for slot in slots]
        self._memory = (program, ready, frame, words)
        self.run = run
        self.address: int = words.ctypes.data
        self.lock = ready.lock
        self.outputs = [(shape, np.dtype(dtype)) for _, _, shape, dtype in ready.outputs]


def prepare(
    program: NativeProgram, sizes: dict[str, int], values: Sequence[Array], given: Sequence[int]
) -> Prepared | None:
    """Return the program prepared for these arrays but for the inputs ``given``; None where it needs more for each run."""
    run = run_on_arrays()
    if run is None or program.over:
        return None
    kept = {k: x for k, x in enumerate(values) if k not in given}
    for k, x in kept.items():
        if type(x) is not np.ndarray or x.dtype != program.dtypes[k] or not x.flags.c_contiguous:
            return None
    return Prepared(program, sizes, kept, given, run)
