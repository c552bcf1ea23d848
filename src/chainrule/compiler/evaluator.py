"""Writing the value of a field at an index: the instructions of everything that readers compute themselves.

What depends on outer loops alone is computed before the loops inside begin. Where something is in memory it is loaded
(``memory.py``); a short loop that is written out (``columns.py``) and random numbers (``neighbours.py``) have files of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.compiler.columns import Columns
from chainrule.compiler.fields import Field, Gather, Iota, Map, Move, Number, Random, Reshape, SizeOf
from chainrule.compiler.index import Index, OpenLoops, key_of, moved, operand
from chainrule.compiler.kernel_emitter import KernelEmitter
from chainrule.compiler.memory import Memory
from chainrule.compiler.neighbours import Neighbours, draw
from chainrule.compiler.readings import Readings
from chainrule.compiler.scopes import Scopes
from chainrule.compiler.value import Value
from chainrule.errors import VerifyError


class Evaluator:
    """Writes values of fields into a kernel that computes ``members``, each at an index; ``lane`` is the loop along the lanes."""

    def __init__(self, e: KernelEmitter, reads: Readings, members: dict[Field, Index], lane: int | None) -> None:
        self.e = e
        self.members = members
        self.open = OpenLoops(e, lane)
        self.scopes = Scopes()
        self.memory = Memory(e, reads, members, self.open, self.scopes)
        self.neighbours: Neighbours | None = None
        self.columns: Columns | None = None  # where a short loop is written out, turn by turn
        self._loops: dict[Any, frozenset[int]] = {}

    def turn(self, loop: int, i: Value, write: Callable[[], Any]) -> Any:
        """Write a turn of a loop, ``i`` being its index: what is computed in it is gone after it."""
        self.open.at[loop] = i
        found = self.scopes.inside(write)
        del self.open.at[loop]
        return found

    def know(self, field: Field, index: Index, value: Value) -> None:
        """Remember a value in the innermost scope."""
        self.scopes.innermost[(field, key_of(index))] = value

    # -- what depends on which loops ----------------------------------------------------------------------------------------

    def loops(self, field: Field, index: Index) -> frozenset[int]:
        """Return the loops that a value depends on."""
        key = (field, key_of(index))
        found = self._loops.get(key)
        if found is None:
            found = frozenset([at.loop for at in index if at.loop is not None])
            for x, inner in self.parts(field, index):
                found |= self.loops(x, inner)
            self._loops[key] = found
        return found

    def parts(self, field: Field, index: Index) -> list[tuple[Field, Index]]:
        """Return what the value of a field at an index is computed from here."""
        if self.memory.holds(field):
            return []
        if isinstance(field, Map):
            return [(x, operand(x, index)) for x in field.inputs]
        if isinstance(field, Move):
            return [(field.inputs[0], moved(field, index))]
        if isinstance(field, Random):
            return [(x, ()) for x in field.inputs]
        if isinstance(field, Gather):
            width = max(x.ndim for x in field.inputs[1:])
            inner = index[field.place : field.place + width]
            return [(x, operand(x, inner)) for x in field.inputs[1:]]
        return []

    def hoist(self, field: Field, index: Index, open_loops: frozenset[int]) -> None:
        """Compute now what depends on open loops only, so that the loops inside do not compute it again."""
        if self.scopes.find((field, key_of(index))) is not None:
            return
        if self.loops(field, index) <= open_loops:
            self.value(field, index)
            return
        if self.memory.holds(field):
            if field not in self.members:
                self.memory.hoist(field, index, open_loops)
            return
        for x, inner in self.parts(field, index):
            self.hoist(x, inner, open_loops)

    def reads_member(self, x: Field) -> bool:
        """Say whether ``x`` is a member, or is computed from one here."""
        if x in self.members:
            return True
        return not self.memory.holds(x) and any(self.reads_member(y) for y in x.inputs)

    # -- values --------------------------------------------------------------------------------------------------------------

    def value(self, field: Field, index: Index) -> Value:
        """Return the value of ``field`` at ``index``: a vector if it depends on the loop along the lanes."""
        key = (field, key_of(index))
        found = self.scopes.find(key)
        if found is None:
            found = self.scopes.innermost[key] = self._value(field, index)
        result: Value = found
        return result

    def _value(self, field: Field, index: Index) -> Value:
        e = self.e
        if self.memory.holds(field):
            if self.columns is not None and self.columns.lie_in(field, index):
                return self.columns.load(field, index)
            return self.memory.load(field, index)
        if isinstance(field, Map):
            if self.columns is not None and self.columns.is_long(field, index):
                return self.columns.compute(field, index)
            values = [self.value(x, inner) for x, inner in self.parts(field, index)]
            result: Value = field.primitive.lower(e, *values, **field.attributes)
            return result
        if isinstance(field, Move):
            return self.value(field.inputs[0], moved(field, index))
        if isinstance(field, Number):
            return e.constant(field.value, field.dtype)
        if isinstance(field, SizeOf):
            return e.cast(e.size(field.size), field.dtype)
        if isinstance(field, Iota):
            return e.cast(self.open.position(index[0]), field.dtype)
        if isinstance(field, Random):
            return draw(self, field, index)
        if isinstance(field, Reshape):
            return self.memory.load_reshaped(field, index)
        if isinstance(field, Gather):
            parts = self.parts(field, index)
            return self.memory.load_gathered(field, index, lambda k: self.value(*parts[k]))
        raise VerifyError(f"compiler: {field!r} is read before it is computed")
