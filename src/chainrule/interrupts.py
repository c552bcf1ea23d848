"""Ctrl-C held back while something is half done that an exception would leave so."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]


class held:  # noqa: N801 - a context, like no_grad
    """Hold Ctrl-C back inside: what is to happen then happens when the block ends.

    Only the main thread hears signals: elsewhere nothing changes; nor does it where Ctrl-C is ignored or kills the process.
    """

    __slots__ = ("_before", "is_heard")

    def __init__(self) -> None:
        self.is_heard = False
        self._before: Handler | None = None

    def __enter__(self) -> held:
        before = signal.getsignal(signal.SIGINT)
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._hear)
            self._before = before
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self.let_out()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.is_heard = True

    def let_out(self) -> None:
        """Let what was heard so far happen now."""
        if self.is_heard and self._before is not None:
            self.is_heard = False
            self._before(signal.SIGINT, None)

    def let_through(self) -> let_through:
        """Return a context in which Ctrl-C is not held back: for code that is not ours, and may take its time."""
        return let_through(self)

    def change(self, *, is_open: bool) -> None:
        """Hear Ctrl-C as it was heard before the block, or hold it back again."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before if is_open else self._hear)


class let_through:  # noqa: N801 - a context
    """Within ``held``: Ctrl-C happens at once."""

    __slots__ = ("_held",)

    def __init__(self, around: held) -> None:
        self._held = around

    def __enter__(self) -> None:
        self._held.let_out()
        self._held.change(is_open=True)

    def __exit__(self, *_: object) -> None:
        self._held.change(is_open=False)
