"""Writing a loop whose body is one straight line: an instruction stands once, and before the loop if it can.

Code generation runs without LLVM's passes, so what they would do for straight-line code is done as it is written: the same
text gives the same value, and what depends on nothing that changes from turn to turn is computed before the first one.
"""

from __future__ import annotations

import re
from typing import Any

from chainrule.compiler import vector_math
from chainrule.compiler.cells import first_lanes
from chainrule.compiler.emit import Emitter
from chainrule.compiler.interface import Unsuitable
from chainrule.compiler.module import Module
from chainrule.compiler.value import Dtype, Value
from chainrule.compiler.vector_tools import any_lane

MOST_INSTRUCTIONS = 3000  # of the body: beyond, code for whole loops is as fast and takes less time to make
NAMES = re.compile(r"%[\w.]+")


class StraightEmitter(Emitter):
    """The emitter of ``i64 name(ptr frame, i64 steps)``. What is written before ``begin`` runs once, before the loop."""

    def __init__(self, module: Module, name: str) -> None:
        super().__init__(module, name, [("ptr", "frame"), ("i64", "steps")], result="i64")
        self.before = self.lines
        self.live = 1  # lanes that count of what is computed now
        self.failed: Value | None = None  # whether a check failed, if there are checks
        self._known: dict[str, str] = {}
        self._changing: set[str] = set()

    def begin(self) -> None:
        """Go on with the body of the loop."""
        self.lines = []

    def changing(self, dtype: Dtype, lanes: int = 1) -> Value:
        """Return a new value that differs from turn to turn: a phi that is written later."""
        name = self.fresh("p")
        self._changing.add(name)
        return Value(self, name, dtype, lanes)

    def raw(self, text: str) -> str:
        """Write one instruction, unless it stands already, and return the name of what it gives."""
        name = self._known.get(text)
        if name is None:
            name = self._known[text] = self.fresh()
            if self._changing.isdisjoint(NAMES.findall(text)):
                self.before.append(f"  {name} = {text}")
            else:
                self._changing.add(name)
                self.lines.append(f"  {name} = {text}")
                if len(self.lines) > MOST_INSTRUCTIONS:
                    raise Unsuitable(f"a step takes more than {MOST_INSTRUCTIONS} instructions")
        return name

    def op(self, text: str, dtype: Dtype, lanes: int = 1) -> Value:
        """Write one instruction, unless it stands already, and return what it gives."""
        return Value(self, self.raw(text), dtype, lanes)

    def label(self, name: str) -> None:
        """Refuse: there are no branches in the body."""
        raise Unsuitable("a function that it needs is a loop")

    def math(self, name: str, *operands: Any) -> Value:
        """Return a function of vector_math."""
        result: Value = vector_math.function(name)(self, *self.together(*operands))
        return result

    def require(self, condition: Value) -> None:
        """End the loop after this turn unless ``condition`` holds in all lanes that count."""
        failed = ~condition
        if failed.lanes > 1:
            if self.live < failed.lanes:
                failed = failed & first_lanes(self, self.live, failed.lanes)
            failed = any_lane(self, failed)
        self.failed = failed if self.failed is None else self.failed | failed
