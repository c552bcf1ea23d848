"""Ctrl-C while training: the first asks for a stop after the batch at hand, the second interrupts at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Heard:
    """What was heard of Ctrl-C: how often, when first (seconds of ``time.monotonic``), and from which one on it raises."""

    def __init__(self) -> None:
        self.count = 0
        self.at = 0.0
        self.raises_from: float = 2

    @contextmanager
    def at_once(self, *, wanted: bool = True) -> Iterator[None]:
        """Let also the first Ctrl-C raise inside, where nothing has changed yet: while compiling."""
        before, self.raises_from = self.raises_from, 1 if wanted else self.raises_from
        try:
            yield
        finally:
            self.raises_from = before

    def seconds_ago(self) -> float:
        """Return how long ago the first one was; 0 if there was none."""
        return time.monotonic() - self.at if self.count else 0.0


@contextmanager
def told_of_interrupt(stop: Callable[[], None]) -> Iterator[Heard]:
    """Call ``stop`` at the first Ctrl-C inside, and raise KeyboardInterrupt at the second.

    Only the main thread hears signals: elsewhere nothing changes; nor does it where Ctrl-C is ignored.
    """
    found = Heard()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (None, signal.SIG_IGN):
        yield found
        return

    def heard(number: int, frame: FrameType | None) -> None:
        found.count += 1
        if found.count == 1:
            found.at = time.monotonic()
            stop()
        if found.count >= found.raises_from:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, heard)
    try:
        yield found
    finally:
        signal.signal(signal.SIGINT, before)
