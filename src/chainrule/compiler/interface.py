"""What the compiler and those who run its code agree on. Whoever runs code that is on disk needs no more of the compiler."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

from chainrule.errors import NativeError
from chainrule.graph.sizes import Dim, Size, evaluate

STATUS, ARENA, FIRST_INPUT = (
    0,
    1,
    2,
)  # slots of the frame: what a failed check sets, the arena, the inputs from there on
RUN, RUN_TEAM = "run", "run_team"  # the functions of the driver
STRAIGHT = "straight"  # the function of straight-line code
CHUNK = 256  # terms of a product summed one after the other, before they are added to the sum of those before them
LIST_HEAD = 16  # words of a list of terms before its first block: a line of the cache
NO_SIZES: Mapping[str, int] = {}
TOO_MANY = 1 << 32  # of what kernels divide in 32 bits


class Items(NamedTuple):
    """How much work a record has: ``each`` for every group of ``tile`` rows, or (``few``) for every row if they are fewer.

    ``divided``  the largest number, beside those of the items, that the kernel divides or divides by in 32 bits
                 (``Emitter.quotient``); None: it divides none, not even the items' own
    """

    each: Dim
    rows: Dim = 1
    tile: int = 1
    few: bool = False
    divided: Dim | None = None

    def number(self, sizes: Mapping[str, int] = NO_SIZES) -> int:
        """Return it as a number.

        Raises:
            NativeError: the kernel would divide larger numbers than it can.
        """
        rows = as_number(self.rows, sizes)
        groups = rows if self.few and rows < self.tile else -(-rows // self.tile)
        number = as_number(self.each, sizes) * groups
        if self.divided is not None:
            most = max(number, as_number(self.divided, sizes))
            if most >= TOO_MANY:
                raise _too_large(most, sizes)
        return number


def _too_large(number: int, sizes: Mapping[str, int]) -> NativeError:
    shown = f" for {', '.join([f'{name} = {size:,}' for name, size in sizes.items()])}" if sizes else ""
    return NativeError(
        f"a product is too large for native code{shown}: it is cut into {number:,} pieces",
        expected=f"fewer than {TOO_MANY:,}",
        fix="use a smaller batch (batch_size=), or the interpreter (CHAINRULE_COMPILE=0)",
    )


def as_number(size: Dim, sizes: Mapping[str, int]) -> int:
    """Return a size where each symbol is a number."""
    return int(evaluate(size, sizes)) if isinstance(size, Size) else int(size)


class Team(IntEnum):
    """What stands where in the memory that the threads of a team share; what they write has lines of its own."""

    SIZE = 0
    RECORDS = 1
    COUNT = 2
    STEPS = 3
    MOVES = 4
    NUM_MOVES = 5
    YIELD = 6  # the address of the function that offers the core to others
    DONE = 8  # steps
    ARRIVED = 16  # how often a member came to the end of a record
    RELEASED = 24  # how many records all have come to the end of
    DECISION = 32  # whether a check had failed by then
    FRAMES = 40  # the address of each member's frame


Twins = tuple[tuple[int, ...], ...]


class Scaling(NamedTuple):
    """What is done to the elements of rows where they are gathered: x → (x - ``shift``) · ``factor``, in the input's dtype."""

    shift: float
    factor: float


class Rows(NamedTuple):
    """An input whose batches are rows of an array: the slot of its address, its dtype, and how its elements are scaled."""

    slot: int
    dtype: Any
    scaling: Scaling | None = None


class Given(NamedTuple):
    """What a function is written for.

    ``rows``        by input: where the rows of its batches are
    ``numbers``     inputs that are a number for each step
    ``order_slot``  the slot of the order of the rows
    ``twins``       inputs of one element that are written in place, by groups: those of a group are equal at the first step
    """

    rows: Mapping[int, Rows]
    numbers: frozenset[int]
    order_slot: int
    twins: Twins = ()


class Kind(StrEnum):
    """Which terms of a product with data a list names, and for which part of the result there is one of its own.

    ``GROUPS``   16 columns of the data each, for some of its rows: the sums of ``dot.py``
    ``COLUMNS``  columns of the data, for some of its rows: a tile of the product of data and weights
    ``ROWS``     rows of the data, for some of its columns: a tile of the product of errors and data
    """

    GROUPS = "groups"
    COLUMNS = "columns"
    ROWS = "rows"


class TermList(NamedTuple):
    """A list that a kernel reads: its slot of the frame, the input whose elements decide, and for how many of its rows or columns.

    ``length``  the elements of a row of the input
    ``work``    how many vectors are multiplied for a term of a block
    """

    slot: int
    input: int
    kind: Kind
    block: int
    length: int
    work: int


class Unlowered(Exception):  # a reason, caught by the pipeline
    """A primitive that has no native code: the reason is told to the user."""


class Unsuitable(Exception):  # a reason, caught where another way is at hand
    """A program that straight-line code does not suit: why."""
