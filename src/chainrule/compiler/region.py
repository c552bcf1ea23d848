"""A region: fields that one kernel computes, the loops that it computes them in, and which of these run along the lanes."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.compiler.fields import Field, Fold, Place, Product
from chainrule.compiler.value import LANES
from chainrule.graph.sizes import Dim, Size

Axes = tuple[int | None, ...]


class Region:
    """Fields computed by one kernel. ``axes`` says for each member which loop each of its axes runs along."""

    __slots__ = ("axes", "dims", "folds_columns", "index", "inner", "members", "product", "special", "stored")

    def __init__(self, index: int, dims: Sequence[Dim]) -> None:
        self.index = index
        self.dims: list[Dim] = list(dims)
        self.inner: frozenset[int] = frozenset()
        self.folds_columns = False  # the last loop, which is folded, goes from row to row of what is read
        self.members: list[Field] = []
        self.axes: dict[Field, Axes] = {}
        self.product: Product | None = None
        self.special: Field | None = None
        self.stored: list[Field] = []

    def add(self, field: Field, axes: Axes) -> None:
        """Let this region compute ``field``."""
        self.members.append(field)
        self.axes[field] = axes

    @property
    def outer(self) -> list[int]:
        """The loops that are not folded."""
        return [d for d in range(len(self.dims)) if d not in self.inner]


def folded_axes(field: Field) -> tuple[int, ...]:
    """Return the axes that a fold combines along."""
    if isinstance(field, Fold):
        return field.axes
    return (field.axis,) if isinstance(field, Place) else ()


def runs_inside(region: Region, field: Field) -> bool:
    """Say whether a member is computed for every index of the folded loops."""
    return not isinstance(field, (Fold, Place)) and any(d in region.inner for d in region.axes[field])


def lane_of(region: Region) -> int | None:
    """Return the loop along the lanes: the last one if it is folded or none is, else the last that is not folded.

    A last loop too short for a vector is folded along the one before it, 16 rows side by side; so is one along which nothing
    lies side by side in memory, as in a sum of the columns of a matrix.
    """
    if not region.dims:
        return None
    last = len(region.dims) - 1
    if folds_short_rows(region) or region.folds_columns:
        return region.outer[-1]
    if last in region.inner or not region.inner:
        return last
    return region.outer[-1] if region.outer else max(region.inner)


def folds_short_rows(region: Region) -> bool:
    """Say whether the last loop alone is folded, and has at most as many turns as a vector has lanes."""
    last = len(region.dims) - 1
    size = region.dims[last] if region.dims else 0
    return region.inner == {last} and bool(region.outer) and not isinstance(size, Size) and 0 < size <= LANES
