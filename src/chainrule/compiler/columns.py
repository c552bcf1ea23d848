"""Columns: a loop too short for a vector, written out turn by turn, for 16 rows at once.

    for row in range(0, rows, 16):      (the lanes: 16 rows)
        turn 0: column 0 of 16 rows
        turn 1: column 1 of 16 rows
        …

Each turn remembers its values, so that a later phase of the kernel goes on with them. Rows that lie side by side in memory
are loaded and stored whole (``interleave.py``). A function of many instructions is not written out for every turn: its
operands go through memory, and it stands once, in a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chainrule.compiler.fields import Field, Map
from chainrule.compiler.index import STILL, Index, key_of
from chainrule.compiler.interleave import load_columns, store_columns
from chainrule.compiler.scopes import Scope
from chainrule.compiler.value import LANES, Value
from chainrule.compiler.vector_math import LONG
from chainrule.graph.sizes import surely_same

if TYPE_CHECKING:
    from chainrule.compiler.evaluator import Evaluator

FEW = 3  # turns, for all of which a function of many instructions is not written out


class Columns:
    """``width`` turns of the loop ``loop`` for 16 rows, of which ``rows`` exist (None: all)."""

    def __init__(self, ev: Evaluator, loop: int, width: int, rows: Value | None) -> None:
        self.ev = ev
        self.loop = loop
        self.rows = rows
        self.known: list[Scope] = [{} for _ in range(width)]  # of each turn
        self.turn = 0  # the one that is being written
        self._loaded: dict[Any, list[Value]] = {}

    def each(self, write: Callable[[], None]) -> None:
        """Write code for one turn after the other; each knows what it knew before."""
        at = self.ev.open.at
        for turn, known in enumerate(self.known):
            self.turn, at[self.loop] = turn, self.ev.e.index(turn)
            self.ev.scopes.within(known, write)
        del at[self.loop]

    # -- rows in memory ------------------------------------------------------------------------------------------------------

    def lie_in(self, field: Field, index: Index) -> bool:
        """Say whether the turns go along the rows of a field, and the lanes from row to row."""
        lane = self.ev.open.lane
        return (
            len(index) > 1
            and (index[-1].loop, index[-1].step, index[-2].loop, index[-2].step) == (self.loop, 1, lane, 1)
            and surely_same(index[-1].offset, 0)
            and surely_same(field.shape[-1], len(self.known))
            and not {lane, self.loop} & {at.loop for at in index[:-2]}
        )

    def load(self, field: Field, index: Index) -> Value:
        """Return the column of this turn; all columns are loaded together."""
        key = (field, key_of(index))
        if key not in self._loaded:
            start = self._first(field, index)
            self._loaded[key] = load_columns(self.ev.e, start, len(self.known), field.dtype, self.rows)
        return self._loaded[key][self.turn]

    def store(self, field: Field, target: Field, index: Index) -> None:
        """Write the values of all turns to the memory of ``target``."""
        e, together = self.ev.e, self.lie_in(target, index)
        values: list[Value] = []

        def one() -> None:
            value = self.ev.value(field, index)
            values.append(e.wide(value))
            if not together:
                self.ev.memory.store(value, target, index)

        self.each(one)
        if together:
            store_columns(e, values, self._first(target, index), self.rows)

    def _first(self, field: Field, index: Index) -> str:
        """Return the address of the first element of the row of the first lane."""
        return self.ev.memory.address(field, (*index[:-1], STILL))

    # -- functions of many instructions ----------------------------------------------------------------------------------------

    def is_long(self, field: Map, index: Index) -> bool:
        """Say whether a function would be long if it was written out for each turn."""
        ev = self.ev
        return (
            len(self.known) >= FEW
            and field.primitive.name in LONG
            and all(x.dtype.kind == "f" for x in (field, *field.inputs))
            and ev.scopes.innermost is self.known[self.turn]
            and {self.loop, ev.open.lane} <= ev.loops(field, index)
        )

    def compute(self, field: Map, index: Index) -> Value:
        """Compute a function for all turns in a loop over memory; return it for this turn."""
        e = self.ev.e
        rows: list[list[Value]] = self.ev.scopes.outside(lambda: self._operands(field, index))
        memory = []  # of each operand, or the operand if it is the same in all turns
        for first, *others in zip(*rows, strict=True):
            if all(x.name == first.name for x in others):
                memory.append(first)
                continue
            place = e.stack(first.dtype, len(rows) * LANES)
            for k, x in enumerate([first, *others]):
                e.store(e.wide(x, LANES), e.offset(place, LANES * k, x.dtype))
            memory.append(place)
        results = e.stack(field.dtype, len(rows) * LANES)

        def one(i: Value) -> None:
            values = [
                e.load(e.offset(x, i, y.dtype), y.dtype, LANES) if isinstance(x, str) else x
                for x, y in zip(memory, field.inputs, strict=True)
            ]
            e.store(field.primitive.lower(e, *values, **field.attributes), e.offset(results, i, field.dtype))

        e.loop(0, len(rows) * LANES, LANES, one, at_least_once=True)
        key = (field, key_of(index))
        for k, other in enumerate(self.known):
            other[key] = e.load(e.offset(results, LANES * k, field.dtype), field.dtype, LANES)
        found: Value = self.known[self.turn][key]
        return found

    def _operands(self, field: Map, index: Index) -> list[list[Value]]:
        """Return the operands of each turn."""
        ev, this = self.ev, self.turn
        rows: list[list[Value]] = []
        self.each(lambda: rows.append([ev.value(x, inner) for x, inner in ev.parts(field, index)]))
        self.turn, ev.open.at[self.loop] = this, ev.e.index(this)  # of which more is written now
        return rows
