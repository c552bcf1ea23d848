"""One native call of many steps: what differs from step to step, the addresses that kernels need, and what is done before a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.compiler.interface import FIRST_INPUT, Given, Rows, Scaling
from chainrule.graph import Array
from chainrule.graph.sizes import evaluate
from chainrule.run.gather import gather_kernel
from chainrule.run.native import NativeProgram, Ready
from chainrule.run.straight import twins
from chainrule.run.terms import ListMemory
from chainrule.run.written import check_written

NO_SCALINGS: Mapping[int, Scaling] = {}
GATHERED = frozenset((np.uint8, np.int64, np.float32, np.float64))

AHEAD = (
    8  # rows: so many after the one that is gathered are asked for already, those of the next batch at the end of one
)


class Feed(NamedTuple):
    """What differs from step to step.

    ``rows``      by input: the array whose rows, in ``order``, make its batches
    ``numbers``   by input: one number for each step
    ``order``     the rows of all steps, one batch after the other; if there are more, those of the next batch
    ``scalings``  by input: how elements of its rows are scaled as they are gathered
    """

    rows: Mapping[int, Array]
    numbers: Mapping[int, Array]
    order: Array
    scalings: Mapping[int, Scaling] = NO_SCALINGS


def can_gather(array: Array, dtype: Any) -> bool:
    """Say whether rows of ``array`` can be gathered natively into ``dtype``."""
    return array.flags.c_contiguous and array.dtype.type in GATHERED and np.dtype(dtype).type in GATHERED


class ManyCall:
    """The frame of a call of ``steps`` steps, filled input by input, and the records of a step.

    ``moves``    slots of the frame, and by how many bytes their addresses go on after each step
    ``batches``  by input: where its rows are gathered
    ``kept``     what the frame has addresses of: to be alive as long as the call takes
    """

    def __init__(self, program: NativeProgram, ready: Ready, feed: Feed, steps: int) -> None:
        self.program, self.ready, self.feed, self.steps = program, ready, feed, steps
        self.size = self._rows_of_a_batch()
        self.order_slot = len(ready.frame)
        self.frame = np.concatenate([ready.frame, np.zeros(2 * len(feed.rows) + 1, np.int64)])
        order = np.ascontiguousarray(feed.order, np.int64)
        if len(order) < steps * self.size + AHEAD:  # the gathers look ahead
            order = np.concatenate([order, np.zeros(AHEAD, np.int64)])
        self.frame[self.order_slot] = order.ctypes.data
        self.moves = [(self.order_slot, 8 * self.size)]
        self.batches: dict[int, Array] = {}
        self.kept: list[Any] = [feed, order]
        self._gathers: list[tuple[int, int, int]] = []  # records
        self._makers: list[tuple[int, int, int]] = []  # those that make lists of terms
        self._rows: dict[int, Rows] = {}
        self._replaced = program.written
        self._written: dict[int, Array] = {}
        self._copied: list[tuple[Array, Array]] = []  # what is written over, and does not lie in one piece

    def _rows_of_a_batch(self) -> int:
        """Return how many rows are gathered for a step: a trace made for one size alone has no symbol that tells."""
        inputs = self.program.graph.inputs
        counts = {int(evaluate(inputs[k].shape[0], self.ready.sizes)) for k in self.feed.rows}
        assert len(counts) <= 1, f"batches of {counts} rows"
        return counts.pop() if counts else 1

    def gather(self, k: int, lists: Sequence[ListMemory]) -> None:
        """Let each step begin with gathering its batch of input ``k``, and with lists of the terms that are not 0 in it."""
        feed, rows, dtype = self.feed, self.feed.rows[k], self.program.dtypes[k]
        slot, scaling = self.order_slot + 1 + len(self._rows), feed.scalings.get(k)
        batch = self.ready.batch(k, (self.size, *rows.shape[1:]), dtype)
        self.frame[slot], self.frame[FIRST_INPUT + k] = rows.ctypes.data, batch.ctypes.data
        args = np.array([slot, self.order_slot, FIRST_INPUT + k, 0, batch[:1].size, AHEAD, 0, 0, 0], np.int64)
        if scaling is not None:
            for at, number in enumerate(scaling, 6):
                args[at : at + 1].view(dtype)[0] = number
        if lists:
            marks = np.empty((self.size, lists[0].groups), np.int16)
            args[8] = marks.ctypes.data
            self._makers += [one.record(marks) for one in lists]
            self.kept.append(marks)
        kernel = gather_kernel(rows.dtype, dtype, scaled=scaling is not None, marked=bool(lists))
        self._gathers.append((kernel, args.ctypes.data, self.size))
        self._rows[k] = Rows(slot, rows.dtype, scaling)
        self.batches[k] = batch
        self.kept += [rows, batch, args]

    def give_numbers(self, k: int) -> None:
        """Let input ``k`` be another number at each step."""
        numbers = np.ascontiguousarray(self.feed.numbers[k], dtype=self.program.dtypes[k])
        self.frame[FIRST_INPUT + k] = numbers.ctypes.data
        self.moves.append((FIRST_INPUT + k, numbers.itemsize))
        self.kept.append(numbers)

    def give(self, k: int, x: Any) -> None:
        """Let input ``k`` be the same at each step, but for what a step writes over it."""
        dtype = self.program.dtypes[k]
        if k in self._replaced:
            check_written(self.program.graph, k, x)
        if type(x) is not np.ndarray or x.dtype != dtype or not x.flags.c_contiguous:
            was, x = x, np.ascontiguousarray(x, dtype=dtype)
            if k in self._replaced:
                self._copied.append((was, x))
        self.frame[FIRST_INPUT + k] = x.ctypes.data
        self.kept.append(x)
        if k in self._replaced:
            self._written[k] = x

    def put_back(self) -> None:
        """Bring what was written to where it belongs, when the steps are done."""
        for x, copy in self._copied:
            np.copyto(x, copy)

    def make_results(self, wanted: Sequence[int]) -> tuple[dict[int, Array], dict[int, Array]]:
        """Return arrays for the outputs that are wanted of every step, and those that each step writes anew."""
        program = self.program
        results: dict[int, Array] = {}
        others: dict[int, Array] = {}
        for k, shape in enumerate(self.ready.shapes):
            if k in program.over:
                continue
            y = np.empty((self.steps, *shape) if k in wanted else shape, program.recipe.results[k].dtype)
            self.frame[program.slots[k]] = y.ctypes.data
            self.kept.append(y)
            if k in wanted:
                results[k] = y
                self.moves.append((program.slots[k], y[:1].nbytes))
            else:
                others[k] = y
        return results, others

    def given(self) -> Given:
        """Return what straight-line code is written for."""
        return Given(self._rows, frozenset(self.feed.numbers), self.order_slot, twins(self._written))

    def table(self) -> Array:
        """Return the records of a step."""
        first = np.array([*self._gathers, *self._makers], np.int64).reshape(-1, 3)
        return np.concatenate([first, self.ready.records[: self.ready.count]])
