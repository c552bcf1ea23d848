"""Many steps in one native call: rows gathered from the data where they lie, results of every step kept."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.compiler.cache import load_or_build
from chainrule.compiler.driver import RUN_STEPS, write_gather
from chainrule.compiler.emit import Module
from chainrule.compiler.plan import FIRST_INPUT
from chainrule.compiler.target import host
from chainrule.graph import Array
from chainrule.run.native import NativeProgram

GATHERED = frozenset((np.uint8, np.int64, np.float32, np.float64))


class Feed(NamedTuple):
    """What differs from step to step.

    ``rows``     by input: the array whose rows, in ``order``, make its batches
    ``numbers``  by input: one number for each step
    ``order``    the rows of all steps, one batch after the other
    """

    rows: Mapping[int, Array]
    numbers: Mapping[int, Array]
    order: Array


def can_gather(array: Array, dtype: Any) -> bool:
    """Say whether rows of ``array`` can be gathered natively into ``dtype``."""
    return array.flags.c_contiguous and array.dtype.type in GATHERED and np.dtype(dtype).type in GATHERED


class Steps:
    """Runs a program many times. ``wanted`` says which outputs are kept for every step; others keep the last."""

    def __init__(self, program: NativeProgram, sizes: dict[str, int], wanted: Sequence[int]) -> None:
        self.program = program
        self.ready = program.ready(sizes)
        self.size = next(iter(sizes.values()), 1)
        self.wanted = list(wanted)
        kinds = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64]
        self._call = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(program.library[RUN_STEPS])

    def run(self, inputs: Sequence[Any], feed: Feed, steps: int) -> tuple[int, dict[int, Array]]:
        """Run ``steps`` steps on these inputs (those that ``feed`` gives are ignored).

        Returns how many were done whole, and for each wanted output an array with one entry per step.
        """
        program, ready = self.program, self.ready
        frame, moves = ready.frame, []
        kept: list[Any] = [feed]
        records: list[tuple[int, int, int]] = []
        extra_args: list[Array] = []
        slots = len(frame)
        frame = np.concatenate([frame, np.zeros(2 * len(feed.rows) + 1, np.int64)])
        order = np.ascontiguousarray(feed.order, dtype=np.int64)
        order_slot = slots
        frame[order_slot] = order.ctypes.data
        moves.append((order_slot, 8 * self.size))
        for k, x in enumerate(inputs):
            slot = FIRST_INPUT + k
            if k in feed.rows:
                rows = feed.rows[k]
                dtype = program.dtypes[k]
                batch = np.empty((self.size, *rows.shape[1:]), dtype)
                slots += 1
                frame[slots], frame[slot] = rows.ctypes.data, batch.ctypes.data
                args = np.array([slots, order_slot, slot, 0, batch[:1].size], np.int64)
                records.append((_gather(rows.dtype, dtype), args.ctypes.data, self.size))
                extra_args.append(args)
                kept += [rows, batch]
            elif k in feed.numbers:
                numbers = np.ascontiguousarray(feed.numbers[k], dtype=program.dtypes[k])
                frame[slot] = numbers.ctypes.data
                moves.append((slot, numbers.itemsize))
                kept.append(numbers)
            else:
                if type(x) is not np.ndarray or x.dtype != program.dtypes[k] or not x.flags.c_contiguous:
                    x = np.ascontiguousarray(x, dtype=program.dtypes[k])
                frame[slot] = x.ctypes.data
                kept.append(x)
        results: dict[int, Array] = {}
        for k, shape in enumerate(ready.shapes):
            if k in program.over:
                continue
            dtype = program.compilation.regions.outputs[k].dtype
            y = np.empty((steps, *shape) if k in self.wanted else shape, dtype)
            frame[program.slots[k]] = y.ctypes.data
            kept.append(y)
            if k in self.wanted:
                results[k] = y
                moves.append((program.slots[k], y[:1].nbytes))
        table = np.concatenate([np.array(records, np.int64).reshape(-1, 3), ready.records[: ready.count]])
        moved = np.array(moves, np.int64)
        done = self._call(frame.ctypes.data, table.ctypes.data, len(table), steps, moved.ctypes.data, len(moved))
        ready.status[0] = 0
        return done, results


_gathers: dict[tuple[Any, Any], Any] = {}


def _gather(source: Any, target: Any) -> int:
    """Return the address of the kernel that gathers rows of one dtype into another."""
    key = (source, target)
    found = _gathers.get(key)
    if found is None:
        module, machine = Module(), host()
        name = write_gather(module, source, target)
        ir = module.text(machine.attributes())
        found = _gathers[key] = (load_or_build(ir.encode(), lambda: (ir, b""), machine), name)
    loaded, name = found
    address: int = loaded.library[name]
    return address
