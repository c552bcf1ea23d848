"""Many steps in one native call: rows gathered from the data where they lie, results of every step kept."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.compiler.cache import load_or_make
from chainrule.compiler.driver import AHEAD, RUN_TEAM, Team, write_gather
from chainrule.compiler.emit import Module
from chainrule.compiler.plan import FIRST_INPUT
from chainrule.compiler.target import host
from chainrule.graph import Array
from chainrule.run.native import NativeProgram
from chainrule.run.threads import get_num_threads, is_chosen, pool, yield_address

GATHERED = frozenset((np.uint8, np.int64, np.float32, np.float64))

WORTH_IT = 2e-3  # seconds of work from which on waking other threads may pay
ANEW = 64  # calls after which it is measured again how many threads are fastest


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
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(program.library[RUN_TEAM])
        self._seconds: dict[int, float] = {}  # per step, by number of threads
        self._calls = 0

    def _threads(self, steps: int) -> int:
        """Return how many threads to use: what was measured decides, and is measured again now and then."""
        most = get_num_threads()
        if most == 1 or is_chosen():
            return most
        known = self._seconds.get(1)
        if known is None or known * steps < WORTH_IT:
            return 1
        self._calls += 1
        if most not in self._seconds or self._calls % ANEW == 0:
            return most
        if self._calls % ANEW == 1:
            return 1
        return min(self._seconds, key=self._seconds.__getitem__)

    def run(self, inputs: Sequence[Any], feed: Feed, steps: int) -> tuple[int, dict[int, Array]]:
        """Run ``steps`` steps on these inputs (those that ``feed`` gives are ignored).

        Returns how many were done whole, and for each wanted output an array with one entry per step.
        """
        with self.ready.lock:
            return self._run(inputs, feed, steps)

    def _run(self, inputs: Sequence[Any], feed: Feed, steps: int) -> tuple[int, dict[int, Array]]:
        program, ready = self.program, self.ready
        frame, moves = ready.frame, []
        kept: list[Any] = [feed]
        records: list[tuple[int, int, int]] = []
        extra_args: list[Array] = []
        slots = len(frame)
        frame = np.concatenate([frame, np.zeros(2 * len(feed.rows) + 1, np.int64)])
        order = np.concatenate([feed.order, np.zeros(AHEAD, np.int64)])
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
        done = self._run_team(frame, table, np.array(moves, np.int64), steps)
        ready.status[0] = 0
        return done, results

    def _run_team(self, frame: Array, table: Array, moves: Array, steps: int) -> int:
        """Let one thread or several run the records; return how many steps were done whole."""
        threads = self._threads(steps)
        frames = np.tile(frame, (threads, 1))
        team = np.zeros(Team.FRAMES + threads + 8, np.int64)
        team[Team.SIZE], team[Team.COUNT], team[Team.STEPS] = threads, len(table), steps
        team[Team.RECORDS], team[Team.MOVES] = table.ctypes.data, moves.ctypes.data
        team[Team.NUM_MOVES], team[Team.YIELD] = len(moves), yield_address()
        for k in range(threads):
            team[Team.FRAMES + k] = frames[k].ctypes.data
        address = team.ctypes.data
        start = time.perf_counter()
        if threads == 1:
            self._call(address, 0)
        elif not pool().run(threads, lambda k: self._call(address, k)):
            team[Team.SIZE] = threads = 1
            self._call(address, 0)
        done = int(team[Team.DONE])
        if done:
            seconds = (time.perf_counter() - start) / done
            if steps > 1:
                self._seconds[threads] = min(seconds, 1.1 * self._seconds.get(threads, seconds))
        return done


_gathers: dict[tuple[Any, Any], Any] = {}


def _gather(source: Any, target: Any) -> int:
    """Return the address of the kernel that gathers rows of one dtype into another."""
    key = (source, target)
    found = _gathers.get(key)
    if found is None:
        module, machine = Module(), host()
        name = write_gather(module, source, target)
        ir = module.text(machine.attributes())
        found = _gathers[key] = (load_or_make(ir, machine), name)
    loaded, name = found
    address: int = loaded.library[name]
    return address
