"""What was met while a table was encoded: missing cells, categories unseen in training, values outside its range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


def named(column: str) -> str:
    """Return a column's name as it may begin a line: "column 3" for one that has but a number.

    >>> named("age"), named("3")
    ('age', 'column 3')
    """
    return f"column {column}" if column.isdigit() else column


@dataclass(frozen=True, slots=True)
class ColumnNote:
    """What was met in one column."""

    column: str
    num_missing: int = 0
    new_missing: bool = False  # no cell was missing in training
    num_outside: int = 0  # numbers below the smallest or above the largest of training
    unseen: Mapping[str, int] = field(default_factory=dict)  # category → how often

    @property
    def num_unseen(self) -> int:
        """How many cells hold a category that training did not have."""
        return sum(self.unseen.values())

    def lines(self, num_rows: int) -> list[str]:
        """Say it, a line for each thing met."""

        def part(count: int) -> str:
            return f"{count:,} of {num_rows:,} cells"

        said = []
        if self.num_missing:
            new = "; none was missing in training, so they count as a typical value" if self.new_missing else ""
            said.append(f"{named(self.column)}: {part(self.num_missing)} missing{new}")
        if self.unseen:
            first = sorted(self.unseen.items(), key=lambda item: (-item[1], item[0]))[:3]
            shown = ", ".join(f"{name!r} ({count:,})" for name, count in first)
            more = f" and {len(self.unseen) - len(first)} other" if len(self.unseen) > len(first) else ""
            said.append(
                f"{named(self.column)}: {part(self.num_unseen)} hold a category unseen in training: {shown}{more}"
            )
        if self.num_outside:
            said.append(f"{named(self.column)}: {part(self.num_outside)} outside the range of training")
        return said
