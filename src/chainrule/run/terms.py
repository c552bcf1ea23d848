"""Which terms of products with data are added: all, or where much of the data is 0, those alone where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import compiler
from chainrule.compiler.interface import CHUNK, LIST_HEAD, Kind, Scaling, TermList
from chainrule.compiler.value import LANES
from chainrule.errors import ChainruleError
from chainrule.graph import Array
from chainrule.ops.lines import empty_in_lines
from chainrule.run.gather import gather_kernel
from chainrule.run.kernel import kernel

if TYPE_CHECKING:
    from chainrule.run.many_call import Feed
    from chainrule.run.native import NativeProgram, Ready

WORTH_A_LIST = 0.9  # of the terms, on the average of tiles: where more are added, leaving the others out gains nothing
TO_LIST = 3  # cycles that a term takes to list, about as many vectors are multiplied in them
SAMPLE = 128  # rows
MOST_KNOWN = 64  # data of which it is known whether lists pay
WORTH_COMPILING = 0.5  # seconds of steps, after which a program with lists is made


class Lists:
    """The lists of a program's products with data: which of them pay for which data, and the program that reads them.

    That is another one, which is compiled once steps on such data have taken a while.
    """

    def __init__(self, program: NativeProgram, ready: Ready) -> None:
        self.program, self.beside, self.sizes = program, ready, ready.sizes
        self._seconds = 0.0  # of steps on data for which they pay
        # By input and data: numbers of lists, and which part of the terms is added.
        self._paying: dict[tuple[int, int, tuple[int, ...]], dict[int, float]] = {}
        self._cannot = not program.recipe.lists

    def of(self, feed: Feed, seconds: float) -> list[ListMemory]:
        """Return the lists to make for these rows, if any: for steps that take about so many ``seconds`` without."""
        if self._cannot:
            return []
        paying: dict[int, float] = {}
        for k in feed.rows:
            paying.update(self._paying_for(k, feed))
        if not paying:
            self.program.notes.pop(self._what, None)
            return []
        self._seconds += seconds
        if self._seconds < WORTH_COMPILING:
            return []
        try:
            program, ready = self.made()
            for number in paying:
                _maker(ready.lists[number].listed)
            for k in feed.rows:
                gather_kernel(feed.rows[k].dtype, self.program.dtypes[k], scaled=k in feed.scalings, marked=True)
        except (ChainruleError, MemoryError) as error:  # all else goes on without
            self._cannot = True
            self.program.notes[self._what] = f"not left out: {str(error) or type(error).__name__}"
            return []
        for one in ready.lists:
            one.use_all()
        what = "product adds" if len(paying) == 1 else f"{len(paying)} products add"
        part = sum(paying.values()) / len(paying)
        self.program.notes[self._what] = (
            f"left out, the {what} about {100 * part:.0f} % of the terms, {program.origin()}"
        )
        return [ready.lists[number] for number in paying]

    def made(self) -> tuple[NativeProgram, Ready]:
        """Return the program with lists, and its layout."""
        program, ready = self.program.with_lists(), self.beside.listed
        if ready is None:
            ready = self.beside.listed = self.program.layout_with_lists(self.beside)
        return program, ready

    @property
    def _what(self) -> str:
        """What the report says something of."""
        sizes = ", ".join([f"{name} = {size}" for name, size in self.sizes.items()])
        return f"what is 0 in the data, many steps of {sizes}: "

    def _paying_for(self, k: int, feed: Feed) -> dict[int, float]:
        """Return the numbers of the lists of the products with input ``k`` that leave enough out, and what part stays."""
        rows = feed.rows[k]
        key = (k, rows.ctypes.data, rows.shape)
        found = self._paying.get(key)
        if found is None:
            lists = {number: one for number, one in enumerate(self.program.recipe.lists) if one.input == k}
            found = {}
            if lists and len(feed.order):
                batch = max([self.program.rows_of(one, self.sizes) for one in lists.values()])
                sample = looked_at(rows, feed.order[: min(batch, SAMPLE)], feed.scalings.get(k), self.program.dtypes[k])
                shares = {number: share(one, sample) for number, one in lists.items()}
                found = {k: part for k, part in shares.items() if part + TO_LIST / lists[k].work < WORTH_A_LIST}
            if len(self._paying) >= MOST_KNOWN:
                self._paying.clear()
            self._paying[key] = found
        return found


class ListMemory:
    """The memory of one list (``compiler/terms.py`` says what stands in it), for batches of ``rows`` rows."""

    def __init__(self, listed: TermList, rows: int) -> None:
        self.listed, self.rows = listed, rows
        self.groups = -(-listed.length // LANES)
        kind, block = listed.kind, listed.block
        if kind is Kind.ROWS:
            self.terms, self.blocks = rows, -(-listed.length // block)
        else:
            self.terms = listed.length if kind is Kind.COLUMNS else listed.length // LANES
            self.blocks = rows if kind is Kind.COLUMNS and rows < block else -(-rows // block)
        chunks = -(-self.terms // CHUNK)
        words = chunks * (1 + CHUNK) if chunks > 1 else 2 + self.terms  # one more: a term is written before it counts
        self.apart = -(-words // LANES) * LANES
        self.memory = self._with_all_terms()
        self.args = np.zeros(6, np.int64)

    def _with_all_terms(self) -> Array:
        """Return memory whose first block has all terms."""
        memory = empty_in_lines((LIST_HEAD + self.apart * (1 + self.blocks),), np.int32)
        memory[:LIST_HEAD] = 0
        for chunk, first in enumerate(range(0, self.terms, CHUNK)):
            at = LIST_HEAD + chunk * (1 + CHUNK)
            count = min(CHUNK, self.terms - first)
            memory[at] = count
            memory[at + 1 : at + 1 + count] = np.arange(first, first + count)
        return memory

    def use_all(self) -> None:
        """Let all terms be added."""
        self.memory[0] = 0

    def record(self, marks: Array) -> tuple[int, int, int]:
        """Return the record that makes the lists of a batch from its marks."""
        whole = self.listed.length // LANES
        self.args[:] = marks.ctypes.data, self.memory.ctypes.data, self.apart, self.rows, self.groups, whole
        return _maker(self.listed), self.args.ctypes.data, self.blocks

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return self.memory.nbytes


def looked_at(rows: Array, order: Array, scaling: Scaling | None, dtype: Any) -> Array:
    """Return which elements of some rows are not 0 when they are gathered."""
    some = rows[order].reshape(len(order), -1)
    if scaling is not None:
        number = np.dtype(dtype).type
        some = (some.astype(dtype) - number(scaling.shift)) * number(scaling.factor)
    found: Array = some != 0
    return found


def share(listed: TermList, sample: Array) -> float:
    """Return which part of the terms is added for rows like these: truth values, of elements that are not 0."""
    size, groups = min(listed.block, len(sample)), -(-listed.length // LANES)
    marked = np.zeros((len(sample), groups * LANES), np.bool_)
    marked[:, : sample.shape[1]] = sample
    if listed.kind is Kind.ROWS:
        return float(np.logical_or.reduceat(marked, np.arange(0, groups * LANES, listed.block), axis=1).mean())
    tiles: Array = np.logical_or.reduceat(marked, np.arange(0, len(sample) // size * size, size), axis=0)
    if listed.kind is Kind.GROUPS:
        return float(np.any(tiles.reshape(len(tiles), -1, LANES), axis=2).mean())
    return float(tiles[:, : listed.length].mean())


def _maker(listed: TermList) -> int:
    """Return the address of the kernel that makes a list."""
    kind, block = listed.kind, listed.block
    return kernel(f"lists {kind} {block}", lambda module: compiler.write_lists(module, kind, block))
