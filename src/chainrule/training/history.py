"""What happened in each epoch: a table, a row per epoch."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from chainrule.errors import NameUnknown, nearest
from chainrule.forks import undisturbed


class History:
    """The numbers of each epoch, by name: ``history["val_loss"]`` is a list with one number per epoch.

    ``rows``        a dict per epoch
    ``best_epoch``  the epoch (from 1) that was best by what was monitored; the model ends with its weights (None: Ctrl-C came
                    in the first epoch, before the look at the validation rows; it ends with what was learned until then)
    ``stopped``     why training ended: "epochs", "early stopping", "target", "time", "interrupted", or what a callback said
    ``partial``     how much of the last epoch was done when it was ended early ("3 of 10 batches"); "" for all of it
    ``seconds``     how long training took, all calls of ``fit`` together
    ``notes``       what a reader should know: a slower path taken, weights changed from outside

    >>> history = History()
    >>> history.append({"epoch": 1, "train_loss": 0.5})
    >>> history["train_loss"]
    [0.5]
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.best_epoch: int | None = None
        self.stopped = ""
        self.partial = ""
        self.seconds = 0.0
        self.notes: list[str] = []

    def append(self, row: Mapping[str, float]) -> None:
        """Add the numbers of one epoch."""
        self.rows.append(dict(row))

    def note(self, text: str) -> None:
        """Add a note, unless it is there already."""
        if text not in self.notes:
            self.notes.append(text)

    def cut(self, epochs: int, best_epoch: int | None) -> None:
        """Drop what came after so many epochs."""
        if len(self.rows) > epochs:
            del self.rows[epochs:]
            self.stopped = self.partial = ""
        self.best_epoch = best_epoch

    @property
    def names(self) -> list[str]:
        """The columns, in the order in which they appeared."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.names:
            fix = nearest(str(name), self.names) or f"it has {self.names}; history.rows has the epochs' rows"
            raise NameUnknown(f"the history has no {name!r}", fix=fix)
        return [row.get(name, float("nan")) for row in self.rows]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, float]]:
        return iter(self.rows)

    @property
    def best(self) -> dict[str, float]:
        """The row of the best epoch (the last one, if none was chosen)."""
        if not self.rows:
            return {}
        return self.rows[(self.best_epoch or len(self.rows)) - 1]

    @property
    def ended_at_best(self) -> bool:
        """Whether the last epoch is the best by the validation rows, and training ended for want of epochs or time."""
        watched = any(name.startswith("val_") for name in self.names)
        return watched and self.best_epoch == len(self.rows) and self.stopped in ("epochs", "time")

    def to_csv(self) -> str:
        """Return the table as CSV, numbers in full."""
        text = io.StringIO()
        with undisturbed():
            import csv  # loaded only where a table is written

        writer = csv.DictWriter(text, self.names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {**vars(self), "rows": [dict(row) for row in self.rows], "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> History:
        """Return the history that ``to_dict`` gave."""
        history = cls()
        history.rows = [dict(row) for row in values["rows"]]
        history.best_epoch = values["best_epoch"]
        history.stopped = str(values["stopped"])
        history.partial = str(values.get("partial", ""))
        history.seconds = float(values["seconds"])
        history.notes = list(values["notes"])
        return history

    def __repr__(self) -> str:
        return f"<History: {len(self.rows)} epochs, best {self.best_epoch}>"

    def __str__(self) -> str:
        names = self.names
        widths = [max(12, len(name)) for name in names]
        lines = ["  ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))]
        for number, row in enumerate(self.rows, 1):
            cells = [f"{_cell(row.get(name)):>{width}}" for name, width in zip(names, widths, strict=True)]
            marks = ["best"] if number == self.best_epoch else []
            if self.partial and number == len(self.rows):
                marks.append(f"({self.partial})")
            lines.append("  ".join([*cells, *marks]))
        if self.stopped:
            lines.append(f"stopped: {self.stopped}, after {self.seconds:.1f} s")
        return "\n".join([*lines, *self.notes])


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.5g}"
