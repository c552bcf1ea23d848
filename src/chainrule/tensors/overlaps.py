"""Tensors that look at the same memory without knowing of each other: several of one NumPy array, an argument and a parameter.

What is written through one of them eager code sees through the others. A trace would not: it takes them for different
tensors. So it is refused where it is traced, and looked for at each run among the arguments.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from chainrule.compiler.array_call import address
from chainrule.errors import TraceError
from chainrule.graph import Array, Storage
from chainrule.tensors.tensor import Tensor, current_node, shared_storage

if TYPE_CHECKING:
    from chainrule.tensors.trace import Trace

MOST_WORK = 1000  # steps of the exact question whether two arrays share an element; after that they are said to

Span = tuple[int, int]


def span(value: Array) -> Span:
    """Return the first address of an array's elements, and the one behind the last."""
    if value.flags.c_contiguous:
        first = address(value)
        return first, first + value.nbytes
    return np.lib.array_utils.byte_bounds(value)


def share(x: Array, y: Array) -> bool:
    """Say whether two arrays share an element, as far as that can be told soon."""
    try:
        return np.shares_memory(x, y, max_work=MOST_WORK)  # type: ignore[arg-type]  # NumPy's stubs know two numbers
    except np.exceptions.TooHardError:
        return True


class Spans:
    """The memory of several arrays: whether others may look at it."""

    def __init__(self, arrays: Iterable[Array]) -> None:
        self._arrays = sorted([(*span(x), x) for x in arrays if x.size], key=lambda one: one[:2])
        self._ends = [end for _, end, _ in self._arrays]
        self._first = self._arrays[0][0] if self._arrays else 0
        self._last = self._ends[-1] if self._ends else 0

    def are_seen_by(self, value: Array) -> bool:
        """Say whether an array shares an element with one of these, none of which shares any with another."""
        first = address(value)
        end = first + value.nbytes
        if not value.flags.c_contiguous:
            first, end = span(value)
        if first >= self._last or end <= self._first:
            return False
        for start, _, x in self._arrays[bisect_left(self._ends, first + 1) :]:
            if start >= end:
                return False
            if share(x, value):
                return True
        return False


def shared(trace: Trace, x: Tensor, other: str, why: str = "") -> TraceError:
    """Return the error for a tensor from outside that shares memory with another tensor."""
    return TraceError(
        f"the compiled function '{trace.name}' uses a tensor of shape {x._value.shape} from outside that shares memory "
        f"with {other}{why}",
        expected="tensors with memory of their own",
        fix="use one of the two, or clone() one outside of the function",
    )


def kept_apart(trace: Trace, stand_ins: Sequence[Tensor]) -> list[int]:
    """Return the arguments with which nothing from outside may share memory: written ones, and those of whose gradients the code makes use."""
    return [
        k
        for k, x in enumerate(stand_ins)
        if current_node(x) is not trace.inputs[k]
        or (trace.takes_gradients and trace.inputs[k].requires_grad)
        or id(x) in trace.grads
    ]


def check_arguments(trace: Trace, stand_ins: Sequence[Tensor]) -> None:
    """Raise TraceError if an argument is also used as a tensor from outside, and more is done than to read both."""
    apart = kept_apart(trace, stand_ins)
    places: dict[Storage, list[int]] = {}
    for k, (x, _) in enumerate(trace.given):
        places.setdefault(shared_storage(x), []).append(k)
    for bound in trace.bound.values():
        is_written = bound.node is not bound.input
        for k in places.get(shared_storage(bound.tensor), ()):
            if is_written or k in apart:
                raise shared(trace, bound.tensor, trace.given[k][1], ", and does more than to read both")


def check_overlaps(trace: Trace, stand_ins: Sequence[Tensor]) -> None:
    """Raise TraceError if the code wrote into memory at which another tensor looks, or an array that code knows."""
    check_arguments(trace, stand_ins)
    written = [bound.tensor for bound in trace.bound.values() if bound.node is not bound.input]
    for x in written:
        if trace.is_lent(x):
            raise TraceError(
                f"the compiled function '{trace.name}' writes into a tensor of shape {x._value.shape} that it makes of a "
                "NumPy array: what is written does not get there",
                expected="writes into tensors that were there before",
                fix="make the tensor outside of the function (from_numpy), or a copy inside (chainrule.tensor)",
            )
    if not written:
        return
    others = [(bound.tensor, "another one from outside") for bound in trace.bound.values()]
    others += [(x, name) for x, name in trace.given]
    found = sorted([(*span(x._value), k) for k, (x, _) in enumerate(others) if x._value.size])
    are_written = {shared_storage(x) for x in written}
    ended: list[tuple[int, int]] = []  # those before: where they end, and which they are
    for start, end, k in found:
        ended = [one for one in ended if one[0] > start]
        x, name = others[k]
        for _, j in ended:
            y, other = others[j]
            storages = {shared_storage(x), shared_storage(y)}
            if len(storages) == 2 and storages & are_written and share(x._value, y._value):
                told = name if name != "another one from outside" else other
                raise TraceError(
                    f"the compiled function '{trace.name}' writes into a tensor of shape {y._value.shape} from outside that "
                    f"shares memory with {told}, as tensors of one NumPy array do",
                    expected="tensors with memory of their own",
                    fix="use one of the two (a view of it shares memory that is known), or clone() one outside of the function",
                )
        ended.append((end, k))
