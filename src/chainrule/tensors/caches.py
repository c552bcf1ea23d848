"""What ``functools.cache`` and ``functools.lru_cache`` keep of what they compute while a function is traced.

A tensor that is made in a trace has no value that later code could use. So it is taken out of the cache when the trace ends:
each trace computes it anew, as part of its graph. Where that would be other numbers in each run, it is refused.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from chainrule.errors import TraceError
from chainrule.graph import Node
from chainrule.tensors.arguments import Results, may_hold_tensors
from chainrule.tensors.attributes import is_valueless
from chainrule.tensors.tensor import Tensor

if TYPE_CHECKING:
    from chainrule.tensors.trace import Trace

Entries = dict[Any, Any]


def _kinds_of_links() -> set[type]:
    """Return the class of what a cache with an end has in its entries."""
    cached = functools.lru_cache(1)(len)
    cached("")
    return {
        type(x) for found in gc.get_referents(cached) if type(found) is dict and "" in found for x in found.values()
    }


LINKS = _kinds_of_links()


class Caches:
    """The functions with a cache that code names, and how often each had to compute before the code ran."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Any, int]] = {}

    def note(self, function: Any) -> None:
        """Note a function with a cache; once is enough."""
        self._found.setdefault(id(function), (function, function.cache_info().misses))

    def filled(self) -> Iterator[tuple[Any, Entries, list[Any]]]:
        """Yield those that computed something since: function, entries of the cache, and results in it."""
        for function, misses in self._found.values():
            if function.cache_info().misses == misses:
                continue
            held = [x for x in gc.get_referents(function) if x is not vars(function)]
            dicts: list[Entries] = [x for x in held if type(x) is dict]
            if not _keeps_all(function):  # then results may be dicts too
                dicts = [x for x in dicts if x and {*map(type, x.values())} <= LINKS]
            entries = dicts[0] if dicts else {}
            if _keeps_all(function):
                kept = list(entries.values())
            else:
                keys = set(map(id, entries))
                kept = [x for x in held if x is not entries and id(x) not in keys]
            yield function, entries, list(filter(is_valueless, kept))

    def forget(self) -> None:
        """Let the caches forget what has no value: one with an end all, as it may at any time."""
        for function, entries, kept in self.filled():
            if not _keeps_all(function):
                if kept or any(map(is_valueless, entries)):
                    function.cache_clear()
                continue
            for key, result in list(entries.items()):
                if is_valueless(key) or is_valueless(result):
                    entries.pop(key, None)
        self._found = {}


def check_caches(trace: Trace) -> None:
    """Raise if a cache keeps a tensor that is another one in each run."""
    for function, entries, kept in trace.reached.caches.filled():
        tensors = [x for value in kept for x in (Results(value).tensors if may_hold_tensors(value) else [value])]
        is_by_tensor = any(map(is_valueless, entries))
        what = _differs(trace, tensors, with_arguments=not is_by_tensor)
        if what:
            raise TraceError(
                f"'{function.__name__}' keeps in its cache what it computed of {what} while '{trace.name}' was traced: Python "
                "would compute it once, and the compiled function in every run",
                expected="a cache of what is the same in every run",
                fix="call it before the compiled function, or compute it without a cache",
            )


def _differs(trace: Trace, tensors: list[Tensor], *, with_arguments: bool) -> str:
    """Say what tensors were computed of that is not the same in every run; "" if nothing is."""
    drawn = {node for draws in trace.draws.values() for node in (draws.seed, draws.draw)}
    inputs = set(trace.inputs)
    given = set(trace.inputs[: len(trace.given)]) if with_arguments else set()
    seen: set[Node] = set()
    pending: list[Node | None] = [x._node for x in tensors]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in drawn:
            return "random numbers"
        if node in given:
            return "an argument"
        if node.requires_grad and node in inputs:
            return "a parameter"
        pending += node.inputs or ()
    return ""


def _keeps_all(function: Any) -> bool:
    return function.cache_parameters()["maxsize"] is None
