"""What the user sees while training: a bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from chainrule.forks import undisturbed

NOT_SHOWN = ("epoch", "seconds")


class Progress:
    """Shows epochs and, on a terminal, batches.

    ``epochs``   how many there will be; ``done``: how many there were before
    ``batches``  per epoch; None if that is not known
    ``wanted``   False shows nothing
    """

    def __init__(self, epochs: int, batches: int | None, *, done: int = 0, wanted: bool | None = None) -> None:
        self.epochs = epochs
        self.batches = batches
        self.shown = wanted is not False
        self.bar: Any = None
        if self.shown and sys.stderr.isatty():
            self.bar = _bar(epochs, batches, done)

    def batch(self, count: int = 1) -> None:
        """Show that batches ended."""
        if self.bar is not None and self.batches is not None:
            self.bar.update(count)

    def tell(self, text: str) -> None:
        """Show a line of its own."""
        if not self.shown or not text:
            return
        if self.bar is not None:
            self.bar.write(text, file=sys.stderr)
        else:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def epoch(self, number: int, row: Mapping[str, float], *, best: bool) -> None:
        """Show that an epoch ended."""
        if not self.shown:
            return
        cells = "  ".join(f"{name} {_shown(value)}" for name, value in row.items() if name not in NOT_SHOWN)
        if self.bar is not None:
            self.bar.set_postfix_str(f"epoch {number}/{self.epochs}  {cells}", refresh=False)
            if self.batches is None:
                self.bar.update(1)
        else:
            width = len(str(self.epochs))
            sys.stdout.write(f"epoch {number:>{width}}/{self.epochs}  {cells}{'  *' if best else ''}\n")
            sys.stdout.flush()

    def close(self) -> None:
        """Leave the line."""
        if self.bar is not None:
            self.bar.close()


def _shown(value: float) -> str:
    """Return a number with four digits, or all before the point: 47,181 and not 4.718e+04."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def _bar(epochs: int, batches: int | None, done: int) -> Any:
    with undisturbed():
        from tqdm import tqdm  # loaded only where a bar is drawn

    size = batches or 1
    unit = "epoch" if batches is None else "batch"
    size_of_terminal: dict[str, Any] = {"dynamic_ncols": True}
    if not _knows_its_size():  # a terminal of no rows and columns would get an empty bar
        size_of_terminal = {"ncols": 80, "nrows": 24}
    return tqdm(total=epochs * size, initial=done * size, unit=unit, **size_of_terminal)


def _knows_its_size() -> bool:
    try:
        return min(os.get_terminal_size(sys.stderr.fileno())) > 0
    except (OSError, ValueError, AttributeError):
        return False
