"""The threads that run native code together: kept, parked while there is nothing to do, each on a core of its own."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Callable
from typing import Any

from chainrule.errors import ArgumentError, ArgumentTypeError, warn
from chainrule.graph.numeric import as_int

LIMIT = "CHAINRULE_THREADS"  # how many threads, whatever the machine has
MOST = 1024  # that may be named
_chosen: int | None = None


def set_num_threads(count: int | None) -> None:
    """Let native code use this many threads (1024 at most), also more than there are cores; None: let it choose again."""
    global _chosen
    count = as_int(count)
    if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
        raise ArgumentTypeError(f"set_num_threads: got {type(count).__name__}", expected="an int or None")
    if count is not None and not 1 <= count <= MOST:
        expected = "1 or more" if count < 1 else f"{MOST} at most"
        raise ArgumentError(f"set_num_threads: got {count}", expected=expected, fix=_as_many_as_cores(count))
    _chosen = count


def get_num_threads() -> int:
    """Return how many threads native code may use: as chosen, else as many as there are cores for this process."""
    if _chosen is not None:
        return _chosen
    named = _limit()
    if named is not None:
        return named
    count = len(cores())
    for name in ("OMP_NUM_THREADS",):  # what joblib and others set for the processes that they start
        told = os.environ.get(name, "")
        if told.isdigit() and int(told) > 0:
            count = min(count, int(told))
    return max(1, min(count, _quota()))


def is_chosen() -> bool:
    """Say whether somebody named the number of threads."""
    return _chosen is not None or _limit() is not None


def _limit() -> int | None:
    """Return the number of threads that the environment names."""
    named = os.environ.get(LIMIT, "").strip()
    if not named:
        return None
    if not (named.isdecimal() and int(named) > 0):
        raise ArgumentError(f"{LIMIT} is {named!r}", expected="a number of threads, 1 or more", fix=f"unset {LIMIT}")
    if int(named) > MOST:
        raise ArgumentError(
            f"{LIMIT} is {named!r}",
            expected=f"{MOST} threads at most",
            fix=f"{_as_many_as_cores(int(named))}, or unset it",
        )
    return int(named)


def _as_many_as_cores(count: int) -> str:
    return f"name as many as there are cores: {len(cores())}" if count > MOST else ""


def cores() -> list[int]:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _quota() -> int:
    """Return how many cores' worth of time the control group grants; a large number if it does not say."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            granted, period = file.read().split()[:2]
        return max(1, round(int(granted) / int(period)))
    except (OSError, ValueError):
        return 1 << 16


class Worker:
    """A thread that calls what it is given, and waits asleep in between."""

    def __init__(self, core: int | None) -> None:
        self.core = core
        self.work: Callable[[], Any] | None = None
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._run, name="chainrule worker", daemon=True).start()

    def _run(self) -> None:
        _pin(self.core)
        while True:
            self.go.acquire()
            if self.work is not None:
                self.work()
            self.work = None
            self.done.release()


def _pin(core: int | None) -> None:
    if core is not None and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # the core was taken from this process
            os.sched_setaffinity(0, {core})


class Pool:
    """The workers of this process; one call at a time uses them."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self.lock = threading.Lock()
        self.process = os.getpid()

    def run(self, count: int, call: Callable[[int], Any]) -> bool:
        """Call ``call(k)`` for k in 0 … count - 1 at once, 0 in this thread; False if there are not so many workers now."""
        if not self.lock.acquire(blocking=False):
            return False
        try:
            try:
                mine, allowed = self._settle(count)
            except RuntimeError:  # can't start new thread
                self._tell(count)
                return False
            workers = self.workers[: count - 1]
            for k, worker in enumerate(workers, 1):
                worker.work = lambda k=k: call(k)
                worker.go.release()
            try:
                call(0)
            finally:
                for worker in workers:
                    worker.done.acquire()
                if mine is not None:
                    with contextlib.suppress(OSError):
                        os.sched_setaffinity(0, allowed)
        finally:
            self.lock.release()
        return True

    def _tell(self, count: int) -> None:
        most = len(self.workers) + 1
        warn(
            f"the system did not start {count} threads for native code, only {most}: it runs in one. "
            f"Use {most} at most (cr.set_num_threads({most}) or {LIMIT}={most}), or raise the limit (ulimit -u)"
        )

    def _settle(self, count: int) -> tuple[int | None, set[int]]:
        """See to it that there are enough workers, and keep this thread off their cores while they work."""
        allowed = set(cores())
        order = sorted(allowed)
        while len(self.workers) < count - 1:
            k = len(self.workers) + 1
            self.workers.append(Worker(order[k] if k < len(order) else None))
        if count > len(order) or not hasattr(os, "sched_setaffinity"):
            return None, allowed
        _pin(order[0])
        return order[0], allowed


_pool = Pool()


def pool() -> Pool:
    """Return the workers of this process: a fork leaves those of its parent behind."""
    global _pool
    if _pool.process != os.getpid():
        _pool = Pool()
    return _pool


@functools.cache
def yield_address() -> int:
    """Return the address of the C function that offers the core to other threads."""
    return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
