"""Many steps in one native call: rows gathered from the data where they lie, results of every step kept."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.compiler.interface import RUN_TEAM, Team
from chainrule.graph import Array
from chainrule.run.many_call import Feed, ManyCall
from chainrule.run.native import NativeProgram
from chainrule.run.pages import LargePages
from chainrule.run.straight import MANY, SECONDS_OF_KERNEL, Function, Straight
from chainrule.run.terms import Lists
from chainrule.run.threads import get_num_threads, is_chosen, pool, yield_address

WORTH_WAKING = 2e-3  # seconds of work from which on waking other threads may pay
WORTH_A_BARRIER = 4e-7  # seconds of a kernel, on the average, from which on sharing it may pay
TRIAL = 2e-3  # seconds of work
LOOK_AFTER = 0.1  # seconds
FIRST_STEPS = 16  # of a call before it is known how long one takes
FIRST_STRAIGHT_STEPS = 1 << 14  # before it is known how long one takes
ANEW = 64  # calls after which it is measured again how many threads are fastest


class Ran(NamedTuple):
    """What many steps did.

    ``done``     how many were done whole
    ``results``  by output: what is wanted of every step, with one entry per step
    ``left``     by output: what the last step left; nothing if a check of the one after it failed
    ``batches``  by input: the rows of the last step
    """

    done: int
    results: dict[int, Array]
    left: dict[int, Array]
    batches: dict[int, Array]


class Steps:
    """Runs a program many times.

    ``wanted`` says which outputs are kept for every step, ``left`` which of the last one, ``leaves_batches`` whether the rows
    of the last one are.
    """

    def __init__(
        self,
        program: NativeProgram,
        sizes: dict[str, int],
        wanted: Sequence[int],
        left: Sequence[int] = (),
        *,
        leaves_batches: bool = False,
    ) -> None:
        self.program = program
        self.ready = program.ready(sizes)
        self.sizes = sizes
        self.wanted, self.left, self.leaves_batches = list(wanted), list(left), leaves_batches
        self._is_plain = not (self.left or leaves_batches)
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(program.library[RUN_TEAM])
        self._straight = Straight(program, sizes, wanted)
        self._known: tuple[dict[int, float], dict[int, float]] = {}, {}  # without lists of terms, and with them:
        self._seconds = self._known[0]  # per step, by number of threads
        self._calls = 0
        self._lists = Lists(program, self.ready)
        self._in_large_pages = LargePages()

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

    def run(self, inputs: Sequence[Any], feed: Feed, steps: int, stop: Callable[[], bool] = lambda: False) -> Ran:
        """Run ``steps`` steps on these inputs (those that ``feed`` gives are ignored).

        ``stop`` is asked now and then, after about a tenth of a second, whether to come back with fewer.
        """
        with self.ready.lock:
            return self._run(inputs, feed, steps, stop)

    def _run(self, inputs: Sequence[Any], feed: Feed, steps: int, stop: Callable[[], bool]) -> Ran:
        program, ready = self.program, self.ready
        program.last = ready
        others = min(self._seconds.values(), default=SECONDS_OF_KERNEL * ready.count)
        seconds = steps * self._seconds.get(1, others)
        lists = self._lists.of(feed, seconds) if self._straight.is_out or not self._is_plain else []
        if lists:
            program, ready = self._lists.made()
        self._seconds = self._known[bool(lists)]
        call = ManyCall(program, ready, feed, steps)
        for k, x in enumerate(inputs):
            if k in feed.rows:
                if steps >= MANY:
                    self._in_large_pages.ask(feed.rows[k])
                call.gather(k, [one for one in lists if one.listed.input == k])
            elif k in feed.numbers:
                call.give_numbers(k)
            else:
                call.give(k, x)
        results, each_anew = call.make_results(self.wanted)
        straight = None if lists or not self._is_plain else self._straight.function(call.given(), steps, seconds)
        try:
            if straight is not None:
                done = self._run_straight(straight, call.frame, call.moves, steps, stop)
                return Ran(done, results, {}, {})
            done, failed = self._run_team(call.frame, call.table(), np.array(call.moves, np.int64), steps, stop)
        finally:
            call.put_back()
            ready.status[0] = 0
        if failed or self._is_plain:
            return Ran(done, results, {}, {})
        left = {k: np.array(results[k][done - 1]) if k in results else each_anew[k] for k in self.left}
        batches = {k: np.array(batch) for k, batch in call.batches.items()} if self.leaves_batches else {}
        return Ran(done, results, left, batches)

    def _run_straight(
        self, function: Function, frame: Array, moves: Sequence[tuple[int, int]], steps: int, stop: Callable[[], bool]
    ) -> int:
        """Let straight-line code do the steps, with a look at Ctrl-C now and then; return how many were done whole."""
        done, at_once = 0, FIRST_STRAIGHT_STEPS
        while done < steps and not stop():
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

    def _run_team(
        self, frame: Array, table: Array, moves: Array, steps: int, stop: Callable[[], bool]
    ) -> tuple[int, bool]:
        """Let one thread or several run the records; return how many steps were done whole, and whether the next one failed.

        After about a tenth of a second Python has a look: at Ctrl-C.
        """
        done = 0
        for threads, some in self._parts(steps):
            count = threads or min(self._seconds, key=self._seconds.__getitem__)
            left = some
            while left:
                if done and stop():
                    return done, False
                known = self._seconds.get(count)
                at_once = min(left, FIRST_STEPS if known is None else max(int(LOOK_AFTER / known), 1))
                start = time.perf_counter()
                whole = self._some_steps(frame, table, moves, at_once, count)
                done += whole
                if whole < at_once:
                    return done, True
                seconds = (time.perf_counter() - start) / at_once
                self._seconds[count] = min(seconds, 1.1 * self._seconds.get(count, seconds))
                left -= at_once
        return done, False

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
