"""Many steps of a small network as one function without inner loops: whole steps in registers.

    i64 straight(ptr frame, i64 steps)

The body of its only loop is one step, all sizes numbers. What is written in place (parameters, the state of an optimizer) is
carried from step to step as phi values, and comes to memory when the last step is done. Inputs are loaded once, before the
loop; rows of batches, and numbers that differ from step to step, in it. Results that are wanted of every step are stored, each
after that of the step before. A failed check ends the loop with the values that this step began with: the function returns
how many steps were done whole.

``frame`` is that of the general kernels (see plan.py), and so are the bits of the results.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.compiler import cells
from chainrule.compiler.cells import Cell, Cells, spread
from chainrule.compiler.driver import flush_denormals, restore_denormals
from chainrule.compiler.fields import Field, Fixed, Source
from chainrule.compiler.interface import STRAIGHT, Given, Twins
from chainrule.compiler.module import Module
from chainrule.compiler.plan import Targets
from chainrule.compiler.register_evaluator import RegisterEvaluator, Sizes, shape_of
from chainrule.compiler.straight_emitter import StraightEmitter
from chainrule.compiler.target import Target
from chainrule.compiler.value import I64, Value


def write_straight(
    targets: Targets, sizes: Sizes, given: Given, wanted: Sequence[int], machine: Target
) -> tuple[str, Twins]:
    """Return the function as text, and which twins it takes for equal; ``wanted`` are the outputs to store.

    Ask ``register_evaluator.estimate`` before: it says at once what straight-line code is unsuitable for.

    Raises:
        Unsuitable: the program is no small one.
    """
    while True:
        module = Module(machine.masks, machine.lookup)
        twins = _Straight(module, targets, sizes, given, machine).write(wanted)
        if twins == given.twins:
            return module.text(machine.attributes()), twins
        given = given._replace(twins=twins)


@dataclass
class _Carried:
    """An input that is written in place: the field that is written, and its vectors before the loop, in it and after."""

    field: Field
    source: Source
    size: int
    before: list[Value]
    now: list[Value]
    after: list[Value] = dataclasses.field(default_factory=list)


class _Straight:
    def __init__(self, module: Module, targets: Targets, sizes: Sizes, given: Given, machine: Target) -> None:
        self.e = StraightEmitter(module, STRAIGHT)
        self.targets = targets
        self.sizes = sizes
        self.given = given
        self.machine = machine
        self.ev = RegisterEvaluator(self.e, targets.regions, sizes)

    def write(self, wanted: Sequence[int]) -> Twins:
        """Write the function, unless inputs that are twins before a step are not after it; return those that are."""
        e, ev = self.e, self.ev
        state = flush_denormals(e, self.machine)
        step = e.changing(I64)
        carried = self._load()
        e.begin()
        self._load_of_step(step)
        ev.run()
        self._store_results(wanted, step)
        for x in carried:
            x.after = spread(e, ev.chosen(x.field, ev.numbers(x.field))).vectors
        twins = self._still_equal(carried)
        if twins != self.given.twins:
            return twins
        following = step + 1
        again = following < Value(e, "%steps", I64)
        if e.failed is not None:
            again = again & ~e.failed

        body, e.lines = e.lines, e.before
        e.line("br label %body")
        e.lines.append("body:")
        e.line(f"{step.name} = phi i64 [ 0, %entry ], [ {following.name}, %body ]")
        phis = {now.name: (now, *ends) for x in carried for now, *ends in zip(x.now, x.before, x.after, strict=True)}
        for now, before, after in phis.values():
            e.line(f"{now.name} = phi {now.type} [ {before.name}, %entry ], [ {after.name}, %body ]")
        e.lines += body
        e.line(f"br {again!r}, label %body, label %end")

        e.lines.append("end:")
        for x in carried:
            last = [self._unless_failed(now, after) for now, after in zip(x.now, x.after, strict=True)]
            cells.store(e, Cells(x.size, last), self._pointer(self.targets.slot[x.source]))
        restore_denormals(e, self.machine, state)
        e.finish(self._unless_failed(step, following))
        return twins

    def _still_equal(self, carried: Sequence[_Carried]) -> Twins:
        """Return the groups of those that are equal after a step if all twins were before it: if all still are, always."""
        after = {x.source.index: x.after[0].name for x in carried}
        groups: dict[tuple[int, str], list[int]] = {}
        for number, group in enumerate(self.given.twins):
            for k in group:
                groups.setdefault((number, after[k]), []).append(k)
        return tuple([tuple(group) for group in groups.values() if len(group) > 1])

    def _unless_failed(self, now: Value, after: Value) -> Value:
        """Return what a step made, or what it began with if one of its checks failed."""
        e = self.e
        return after if e.failed is None else e.op(f"select {e.failed!r}, {now!r}, {after!r}", now.dtype, now.lanes)

    def _pointer(self, slot: int) -> str:
        e = self.e
        return e.raw(f"load ptr, ptr {e.offset('%frame', slot, I64)}, align 8")

    # -- before the loop -----------------------------------------------------------------------------------------------------

    def _load(self) -> list[_Carried]:
        """Load what does not change; return what is carried."""
        e, targets, values = self.e, self.targets, self.ev.values
        written = {source: field for field, source in [*targets.over.items(), *targets.copied]}
        sources = targets.sources
        first = {k: sources[group[0]] for group in self.given.twins for k in group}
        loaded: dict[Field, tuple[list[Value], list[Value]]] = {}
        carried = []
        for field in dict.fromkeys([*targets.regions.order, *written]):
            if isinstance(field, Fixed) or (isinstance(field, Source) and not self._differs(field)):
                count = math.prod(shape_of(field, self.sizes))
                x = values[field] = cells.load(e, self._pointer(targets.slot[field]), count, field.dtype)
                if isinstance(field, Source) and field in written:
                    twin = first.get(field.index, field)
                    if twin not in loaded:
                        loaded[twin] = x.vectors, [e.changing(v.dtype, v.lanes) for v in x.vectors]
                    before, now = loaded[twin]
                    values[field] = Cells(count, now)
                    carried.append(_Carried(written[field], field, count, before, now))
        return carried

    def _differs(self, source: Source) -> bool:
        """Say whether an input is given for each step."""
        return source.index in self.given.rows or source.index in self.given.numbers

    # -- in each step --------------------------------------------------------------------------------------------------------

    def _load_of_step(self, step: Value) -> None:
        """Load rows and numbers."""
        e, values = self.e, self.ev.values
        for source in self.targets.sources:
            if source in values or not self._differs(source):
                continue
            if source.index in self.given.rows:
                values[source] = self._rows(source, step)
            else:
                pointer = e.offset(self._pointer(self.targets.slot[source]), step, source.dtype)
                values[source] = Cells(1, [e.load(pointer, source.dtype)])

    def _rows(self, source: Source, step: Value) -> Cells:
        """Load the rows of a batch."""
        e, given = self.e, self.given
        rows = given.rows[source.index]
        batch, *row = shape_of(source, self.sizes)
        length = math.prod(row)
        order, memory = self._pointer(given.order_slot), self._pointer(rows.slot)
        first = step * batch
        found: list[Cell] = []
        for k in range(batch):
            number = e.load(e.offset(order, first + k if k else first, I64), I64)
            x = cells.load(
                e, e.offset(memory, number * length if length > 1 else number, rows.dtype), length, rows.dtype
            )
            found += [cells.cell(x, j) for j in range(length)]
        whole = cells.gather(e, found)
        vectors = [e.cast(v, source.dtype) for v in whole.vectors]
        if rows.scaling is not None:
            shift, factor = [e.constant(number, source.dtype) for number in rows.scaling]
            vectors = [(v - shift) * factor for v in vectors]
        return Cells(whole.size, vectors)

    def _store_results(self, wanted: Sequence[int], step: Value) -> None:
        """Write the results that are wanted of every step."""
        e, ev, targets = self.e, self.ev, self.targets
        for k in wanted:
            field = targets.regions.outputs[k]
            x = ev.chosen(field, ev.numbers(field))
            place = step * x.size if x.size > 1 else step
            cells.store(e, x, e.offset(self._pointer(targets.slot[field]), place, field.dtype))
