"""A call like one before: of one tensor or array, alike in all but its numbers, while everything outside stands still.

What a call looks like, which trace serves it, where its memory is: all of that was found out before, and is compared here
with as few questions as will do. Whatever differs is left to the general way, which also says what is wrong.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from chainrule import run as engines
from chainrule.graph import Array
from chainrule.tensors.arguments import rebuild
from chainrule.tensors.changes import CHANGES
from chainrule.tensors.dtypes import default_float
from chainrule.tensors.state import STATE
from chainrule.tensors.tensor import Tensor

if TYPE_CHECKING:
    from chainrule.tensors.traced import Traced

DIFFERS = object()
"""What ``Again.run`` returns for a call that is not like the one before."""
ONE_TENSOR = ("tensor", 0)  # the form of a result that is a tensor


class Outside:
    """The tensors from outside, and their arrays: these are kept as long as all of the tensors exist, and no longer."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.arrays: list[Array] | None = [y._value for y in tensors]
        self._tensors = [weakref.ref(y, self._forget) for y in tensors]

    def _forget(self, gone: weakref.ref[Tensor]) -> None:
        self.arrays = None

    def stand_still(self) -> bool:
        """Return whether all exist, and have the memory that they had; forget it if not."""
        arrays = self.arrays
        if arrays is None:
            return False
        for find, array in zip(self._tensors, arrays, strict=True):
            y = find()
            if y is None or y._value is not array:
                self.arrays = None
                return False
        return True


class Again:
    """One trace, ready for calls with one tensor of one shape. Of what is outside it keeps no tensor alive."""

    def __init__(
        self, traced: Traced, x: Tensor, sizes: dict[str, int], outside: list[Tensor], prepared: engines.Prepared
    ) -> None:
        self._traced = traced
        self._guards = traced.guards
        self._memories = traced.memories if traced.apart else frozenset()
        self._names = [name.holds for name in traced.guards.names]
        self._sizes = sizes
        self._shape, self._dtype = x._value.shape, x._value.dtype
        self._has_node = x._node is not None
        self._mode, self._default = STATE.mode, default_float()
        self._outside = Outside(outside)
        self._count = -1  # of changes, when it was last asked whether the rest still is as it was
        self._run, self._address, self._lock = prepared.run, prepared.address, prepared.lock
        self._prepared = prepared
        self._outputs = prepared.outputs
        self._form, self._makers = traced.form, traced.result_makers()
        self._is_one = self._form == ONE_TENSOR and len(self._outputs) == 1
        if self._is_one:
            self._out_shape, self._out_dtype = self._outputs[0]
            self._make = self._makers[0]

    def is_stale(self) -> bool:
        """Return whether something outside has other memory than it had, or is gone."""
        return not self._outside.stand_still()

    def _still(self) -> bool:
        """Return whether all is as it was, except what ``run`` asks each time; remember if it is."""
        count = CHANGES.count
        if count != self._guards.held_at or default_float() is not self._default or self.is_stale():
            return False
        self._count = count
        return True

    def run(self, x: Any) -> Any:
        """Return what the function returns for ``x``, or ``DIFFERS``."""
        if type(x) is Tensor:
            value = x._value
            if (x._node is not None) is not self._has_node:
                return DIFFERS
            storage = x._storage
            if storage is not None and storage in self._memories:
                return DIFFERS  # it is also used as a tensor from outside
        elif self._has_node:
            return DIFFERS
        else:
            value = x
        if (
            type(value) is not np.ndarray
            or value.shape != self._shape
            or value.dtype is not self._dtype
            or not value.flags.c_contiguous
            or STATE.mode != self._mode
            or (CHANGES.count != self._count and not self._still())
        ):
            return DIFFERS
        for holds in self._names:
            if not holds():
                return DIFFERS
        kept = self._outside.arrays  # held here: another thread may let go of them meanwhile
        if kept is None:
            return DIFFERS
        if self._is_one:
            y = np.empty(self._out_shape, self._out_dtype)
            with self._lock:
                failed = self._run(self._address, value, y)
            if failed:
                return DIFFERS
            self._traced.runs += 1
            return self._make(y)
        outputs = [np.empty(shape, dtype) for shape, dtype in self._outputs]
        with self._lock:
            failed = self._run(self._address, value, *outputs)
        if failed:
            return DIFFERS
        self._traced.runs += 1
        results = [make(y) for make, y in zip(self._makers, outputs, strict=True)]
        return rebuild(self._form, results, self._sizes)


def again(traced: Traced, tensors: list[Tensor], sizes: dict[str, int]) -> Again | None:
    """Return what serves more calls like the one with these tensors; None where each of them needs more."""
    if len(tensors) != 1 or traced.reason or not traced.only_computes() or type(tensors[0]) is not Tensor:
        return None
    x = tensors[0]
    found = [find(tensors) for find in traced.read]
    given = [k for k, y in enumerate(found) if y is x]
    if len(given) != 1 or any(y is None or type(y._value) is not np.ndarray for y in found):
        return None
    program = cast("engines.NativeProgram", traced.program)
    prepared = engines.prepare(program, sizes, [y._value for y in found], given)
    return None if prepared is None else Again(traced, x, sizes, [y for y in found if y is not x], prepared)
