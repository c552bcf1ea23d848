"""A call like one before: of one tensor or array, alike in all but its numbers, while everything outside stands still.

What a call looks like, which trace serves it, where its memory is: all of that was found out before, and is compared here
with as few questions as will do. Whatever differs is left to the general way, which also says what is wrong.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from chainrule import run as engines
from chainrule.tensors.arguments import rebuild
from chainrule.tensors.changes import CHANGES
from chainrule.tensors.dtypes import default_float
from chainrule.tensors.state import STATE
from chainrule.tensors.tensor import Tensor

if TYPE_CHECKING:
    from chainrule.tensors.traced import Traced

DIFFERS = object()
"""What ``Again.run`` returns for a call that is not like the one before."""


class Again:
    """One trace, ready for calls with one tensor of one shape. Of what is outside it keeps nothing alive."""

    def __init__(
        self, traced: Traced, x: Tensor, sizes: dict[str, int], outside: list[Tensor], prepared: engines.Prepared
    ) -> None:
        self._traced = traced
        self._guards = traced.guards
        self._names = [name.holds for name in traced.guards.names]
        self._memories = traced.memories
        self._sizes = sizes
        self._shape, self._dtype = x._value.shape, x._value.dtype
        self._has_node = x._node is not None
        self._mode, self._default = STATE.mode, default_float()
        self._outside = [(weakref.ref(y), weakref.ref(y._value)) for y in outside]
        self._prepared = prepared
        self._run, self._address, self._lock = prepared.run, prepared.address, prepared.lock
        self._outputs = prepared.outputs
        self._makers = traced.result_makers()
        self._form = traced.form

    def is_stale(self) -> bool:
        """Return whether something outside has other memory than it had, or is gone."""
        return any((y := find()) is None or y._value is not known() for find, known in self._outside)

    def run(self, x: Any) -> Any:
        """Return what the function returns for ``x``, or ``DIFFERS``."""
        kind = type(x)
        if kind is Tensor:
            value = x._value
            has_node = x._node is not None
            storage = x._storage
            if storage is not None and storage in self._memories:
                return DIFFERS
        else:
            value, has_node = x, False
        if (
            type(value) is not np.ndarray
            or value.shape != self._shape
            or value.dtype is not self._dtype
            or has_node is not self._has_node
            or STATE.mode != self._mode
            or CHANGES.count != self._guards.held_at
            or default_float() is not self._default
            or not value.flags.c_contiguous
        ):
            return DIFFERS
        for holds in self._names:
            if not holds():
                return DIFFERS
        kept = []  # another thread may replace a parameter while this one runs
        for find, known in self._outside:
            y = find()
            if y is None:
                return DIFFERS
            array = y._value
            if array is not known():
                return DIFFERS
            kept.append(array)
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
    values = traced.inputs(tensors)
    if values is None:
        return None
    found = [find(tensors) for find in traced.read]
    x = tensors[0]
    given = [k for k, y in enumerate(found) if y is x]
    outside = [y for y in found if y is not x]
    if len(given) != 1 or any(type(y._value) is not np.ndarray for y in found):
        return None
    program = cast("engines.NativeProgram", traced.program)
    prepared = engines.prepare(program, sizes, values, given)
    return None if prepared is None else Again(traced, x, sizes, outside, prepared)
