"""Many steps in one native call: rows gathered from the data where they lie, results of every step kept."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule import compiler
from chainrule.compiler.cache import load_or_build
from chainrule.compiler.interface import FIRST_INPUT, RUN_TEAM, Given, Rows, Scaling, Team
from chainrule.compiler.target import host
from chainrule.graph import Array
from chainrule.graph.sizes import evaluate
from chainrule.run.native import NativeProgram
from chainrule.run.pages import use_large_pages
from chainrule.run.straight import MANY, SECONDS_OF_KERNEL, Function, Straight, twins
from chainrule.run.terms import Lists
from chainrule.run.threads import get_num_threads, is_chosen, pool, yield_address

NO_SCALINGS: Mapping[int, Scaling] = {}
GATHERED = frozenset((np.uint8, np.int64, np.float32, np.float64))

WORTH_WAKING = 2e-3  # seconds of work from which on waking other threads may pay
WORTH_A_BARRIER = 4e-7  # seconds of a kernel, on the average, from which on sharing it may pay
TRIAL = 2e-3  # seconds of work
LOOK_AFTER = 0.1  # seconds
AHEAD = (
    8  # rows: so many after the one that is gathered are asked for already, those of the next batch at the end of one
)
FIRST_STEPS = 16  # of a call before it is known how long one takes
FIRST_STRAIGHT_STEPS = 1 << 14  # before it is known how long one takes
ANEW = 64  # calls after which it is measured again how many threads are fastest


class Feed(NamedTuple):
    """What differs from step to step.

    ``rows``      by input: the array whose rows, in ``order``, make its batches
    ``numbers``   by input: one number for each step
    ``order``     the rows of all steps, one batch after the other; if there are more, those of the next batch
    ``scalings``  by input: how elements of its rows are scaled as they are gathered
    """

    rows: Mapping[int, Array]
    numbers: Mapping[int, Array]
    order: Array
    scalings: Mapping[int, Scaling] = NO_SCALINGS


def can_gather(array: Array, dtype: Any) -> bool:
    """Say whether rows of ``array`` can be gathered natively into ``dtype``."""
    return array.flags.c_contiguous and array.dtype.type in GATHERED and np.dtype(dtype).type in GATHERED


class Steps:
    """Runs a program many times. ``wanted`` says which outputs are kept for every step; others keep the last."""

    def __init__(self, program: NativeProgram, sizes: dict[str, int], wanted: Sequence[int]) -> None:
        self.program = program
        self.ready = program.ready(sizes)
        self.sizes = sizes
        self.wanted = list(wanted)
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(program.library[RUN_TEAM])
        self._straight = Straight(program, sizes, wanted)
        self._known: tuple[dict[int, float], dict[int, float]] = {}, {}  # without lists of terms, and with them:
        self._seconds = self._known[0]  # per step, by number of threads
        self._calls = 0
        self._lists = Lists(program, self.ready)
        self._in_large_pages: set[int] = set()  # the addresses of arrays for which they were asked

    def _parts(self, steps: int) -> list[tuple[int, int]]:
        """Return with how many threads to do how many steps: what was measured decides, and is measured again now and then.

        The first few steps with another number of threads are a trial; the rest is done with what is fastest (0).
        """
        most = get_num_threads()
        known = self._seconds.get(1)
        if most == 1 or is_chosen():
            return [(most, steps)]
        if known is None:
            return [(1, steps)]
        if known < WORTH_A_BARRIER * self.ready.count or known * steps < WORTH_WAKING:
            return [(1, steps)]
        self._calls += 1
        if most in self._seconds and self._calls % ANEW:
            return [(0, steps)]
        trial = min(max(int(TRIAL / known), 1), steps)
        others = [(count, trial) for count in (1, most) if count not in self._seconds or self._calls % ANEW == 0]
        others = others[: steps // trial]
        rest = steps - trial * len(others)
        return [*others, (0, rest)] if rest else others

    def run(self, inputs: Sequence[Any], feed: Feed, steps: int) -> tuple[int, dict[int, Array]]:
        """Run ``steps`` steps on these inputs (those that ``feed`` gives are ignored).

        Returns how many were done whole, and for each wanted output an array with one entry per step.
        """
        with self.ready.lock:
            return self._run(inputs, feed, steps)

    def _run(self, inputs: Sequence[Any], feed: Feed, steps: int) -> tuple[int, dict[int, Array]]:
        program, ready = self.program, self.ready
        program.last = ready
        seconds = steps * self._seconds.get(1, SECONDS_OF_KERNEL * ready.count)
        lists = self._lists.of(feed, seconds)
        if lists:
            program, ready = self._lists.made()
        self._seconds = self._known[bool(lists)]
        frame, moves = ready.frame, []
        kept: list[Any] = [feed]
        records: list[tuple[int, int, int]] = []
        makers: list[tuple[int, int, int]] = []  # of lists of terms
        extra_args: list[Array] = []
        slots = len(frame)
        given_rows: dict[int, Rows] = {}
        written: dict[int, Array] = {}
        frame = np.concatenate([frame, np.zeros(2 * len(feed.rows) + 1, np.int64)])
        order = np.ascontiguousarray(feed.order, np.int64)
        size = self._rows_of_a_batch(feed)
        if len(order) < steps * size + AHEAD:  # the gathers look ahead
            order = np.concatenate([order, np.zeros(AHEAD, np.int64)])
        order_slot = slots
        replaced = set(program.over.values())
        frame[order_slot] = order.ctypes.data
        moves.append((order_slot, 8 * size))
        for k, x in enumerate(inputs):
            slot = FIRST_INPUT + k
            if k in feed.rows:
                rows = feed.rows[k]
                if steps >= MANY and rows.ctypes.data not in self._in_large_pages:
                    self._in_large_pages.add(rows.ctypes.data)
                    use_large_pages(rows)
                dtype = program.dtypes[k]
                batch = ready.batch(k, (size, *rows.shape[1:]), dtype)
                slots += 1
                frame[slots], frame[slot] = rows.ctypes.data, batch.ctypes.data
                scaling = feed.scalings.get(k)
                own = [one for one in lists if one.listed.input == k]
                args = np.array([slots, order_slot, slot, 0, batch[:1].size, AHEAD, 0, 0, 0], np.int64)
                if scaling is not None:
                    for at, number in enumerate(scaling, 6):
                        args[at : at + 1].view(dtype)[0] = number
                gather = _gather(rows.dtype, dtype, scaled=scaling is not None, marked=bool(own))
                records.append((gather, args.ctypes.data, size))
                if own:
                    marks = np.empty((size, own[0].groups), np.int16)
                    args[8] = marks.ctypes.data
                    kept.append(marks)
                    makers += [one.record(marks) for one in own]
                extra_args.append(args)
                given_rows[k] = Rows(slots, rows.dtype, scaling)
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
                if k in replaced:
                    written[k] = x
        results: dict[int, Array] = {}
        for k, shape in enumerate(ready.shapes):
            if k in program.over:
                continue
            dtype = program.recipe.results[k].dtype
            y = np.empty((steps, *shape) if k in self.wanted else shape, dtype)
            frame[program.slots[k]] = y.ctypes.data
            kept.append(y)
            if k in self.wanted:
                results[k] = y
                moves.append((program.slots[k], y[:1].nbytes))
        given = Given(given_rows, frozenset(feed.numbers), order_slot, twins(written))
        straight = None if lists else self._straight.function(given, steps, seconds)
        if straight is not None:
            return self._run_straight(straight, frame, moves, steps), results
        first = np.array([*records, *makers], np.int64).reshape(-1, 3)
        table = np.concatenate([first, ready.records[: ready.count]])
        done = self._run_team(frame, table, np.array(moves, np.int64), steps)
        ready.status[0] = 0
        return done, results

    def _rows_of_a_batch(self, feed: Feed) -> int:
        """Return how many rows are gathered for a step: a trace made for one size alone has no symbol that tells."""
        inputs = self.program.graph.inputs
        counts = {int(evaluate(inputs[k].shape[0], self.sizes)) for k in feed.rows}
        assert len(counts) <= 1, f"batches of {counts} rows"
        return counts.pop() if counts else 1

    def _run_straight(self, function: Function, frame: Array, moves: Sequence[tuple[int, int]], steps: int) -> int:
        """Let straight-line code do the steps, with a look at Ctrl-C now and then; return how many were done whole."""
        done, at_once = 0, FIRST_STRAIGHT_STEPS
        while done < steps:
            some = min(at_once, steps - done)
            start = time.perf_counter()
            whole = function(frame.ctypes.data, some)
            done += whole
            if whole < some:
                break
            at_once = max(int(some * LOOK_AFTER / (time.perf_counter() - start)), 1)
            for slot, length in moves:
                frame[slot] += whole * length
        return done

    def _run_team(self, frame: Array, table: Array, moves: Array, steps: int) -> int:
        """Let one thread or several run the records; return how many steps were done whole.

        After about a tenth of a second Python has a look: at Ctrl-C.
        """
        done = 0
        for threads, some in self._parts(steps):
            count = threads or min(self._seconds, key=self._seconds.__getitem__)
            left = some
            while left:
                known = self._seconds.get(count)
                at_once = min(left, FIRST_STEPS if known is None else max(int(LOOK_AFTER / known), 1))
                start = time.perf_counter()
                whole = self._some_steps(frame, table, moves, at_once, count)
                done += whole
                if whole < at_once:
                    return done
                seconds = (time.perf_counter() - start) / at_once
                self._seconds[count] = min(seconds, 1.1 * self._seconds.get(count, seconds))
                left -= at_once
        return done

    def _some_steps(self, frame: Array, table: Array, moves: Array, steps: int, threads: int) -> int:
        frames = np.tile(frame, (threads, 1))
        team = np.zeros(Team.FRAMES + threads + 8, np.int64)
        team[Team.SIZE], team[Team.COUNT], team[Team.STEPS] = threads, len(table), steps
        team[Team.RECORDS], team[Team.MOVES] = table.ctypes.data, moves.ctypes.data
        team[Team.NUM_MOVES], team[Team.YIELD] = len(moves), yield_address()
        for k in range(threads):
            team[Team.FRAMES + k] = frames[k].ctypes.data
        address = team.ctypes.data
        if threads == 1:
            self._call(address, 0)
        elif not pool().run(threads, lambda k: self._call(address, k)):
            team[Team.SIZE] = 1
            self._call(address, 0)
        frame[:] = frames[0]
        return int(team[Team.DONE])


_gathers: dict[tuple[Any, Any, bool, bool], Any] = {}


def _gather(source: Any, target: Any, *, scaled: bool, marked: bool) -> int:
    """Return the address of the kernel that gathers rows of one dtype into another."""
    key = (source, target, scaled, marked)
    found = _gathers.get(key)
    if found is None:
        machine = host()

        def write() -> tuple[str, bytes]:
            module = compiler.Module(machine.masks, machine.lookup)
            compiler.write_gather(module, source, target, scaled=scaled, marked=marked)
            return module.text(machine.attributes()), b""

        found = _gathers[key] = load_or_build(
            f"gather {source.str} {target.str} {scaled} {marked}".encode(), write, machine
        )
    (name,) = found.library
    address: int = found.library[name]
    return address
