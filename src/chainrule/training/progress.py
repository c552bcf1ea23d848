"""What the user sees while training: a bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import sys
from typing import Any


class Progress:
    """Shows epochs. ``wanted`` None: yes."""

    def __init__(self, epochs: int, *, wanted: bool | None) -> None:
        self.epochs = epochs
        self.shown = wanted is not False
        self.bar: Any = None
        if self.shown and sys.stderr.isatty():
            from tqdm import tqdm  # loaded only where a bar is drawn

            self.bar = tqdm(total=epochs, unit="epoch", leave=True, dynamic_ncols=True)

    def epoch(self, number: int, row: dict[str, float], *, best: bool) -> None:
        """Show that an epoch ended."""
        if not self.shown:
            return
        cells = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in ("epoch", "seconds"))
        if self.bar is not None:
            self.bar.set_postfix_str(cells, refresh=False)
            self.bar.update(1)
        else:
            print(f"epoch {number:>{len(str(self.epochs))}}/{self.epochs}  {cells}{'  *' if best else ''}", flush=True)

    def close(self) -> None:
        """Leave the line."""
        if self.bar is not None:
            self.bar.close()
