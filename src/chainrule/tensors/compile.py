"""``@compile``: trace a function of tensors into one graph, once, and run the graph from then on.

A whole training step may be inside: forward, backward, clipping, optimizer, scheduler. The size of axis 0 of the first
array argument (the batch) is a symbol, and so is that of every argument that shares it: one trace serves all sizes from
2 on. Code that decides on the size is traced again for that size.
"""

from __future__ import annotations

import copy
import functools
import inspect
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from chainrule.errors import ArgumentTypeError, TraceError
from chainrule.graph import Graph, show
from chainrule.graph.sizes import UndecidedSize, symbol
from chainrule.tensors.arguments import Arguments, rebuild, values_in, with_types_only
from chainrule.tensors.dtypes import default_float
from chainrule.tensors.guards import Name, names_read
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.trace import Trace, tracing
from chainrule.tensors.traced import Traced

MOST_TRACES = 8
N = symbol("n")
PACKAGE = str(Path(__file__).parent.parent) + os.sep


class Call:
    """One call: its arguments, and what the choice of a trace depends on.

    ``kind``      form and kinds of the arguments, and the state of the thread
    ``shapes``    of the tensors, with a symbol for the batch, whose size is in ``sizes``
    """

    def __init__(self, given: Arguments, batch_axis: int) -> None:
        self.given = given
        tensors = given.tensors
        kinds = tuple([(x._value.dtype, x._node is not None, x._value.ndim) for x in tensors])
        self.kind = (given.form, kinds, STATE.mode, default_float())
        self.concrete: tuple[Any, ...] = tuple([x._value.shape for x in tensors])
        self.shapes = self.concrete
        self.sizes: dict[str, int] = {}
        batch = next((shape[batch_axis] for shape in self.concrete if len(shape) > batch_axis), 0)
        if batch >= 2:
            self.sizes = {"n": batch}
            before, after = batch_axis, batch_axis + 1
            self.shapes = tuple(
                [
                    (*shape[:before], N, *shape[after:])
                    if len(shape) > batch_axis and shape[batch_axis] == batch
                    else shape
                    for shape in self.concrete
                ]
            )

    @property
    def key(self) -> Any:
        """What a trace must have been made for to serve this call."""
        return self.kind, self.shapes

    @property
    def family(self) -> Any:
        """What it has in common with calls that differ in values and sizes alone: the traces of a family are counted."""
        return (with_types_only(self.given.form), *self.kind[1:])

    def fix_sizes(self) -> None:
        """Let the batch be a number like all other sizes."""
        self.shapes, self.sizes = self.concrete, {}

    def text(self) -> str:
        """Return names, dtypes and shapes of the arguments."""
        parts = [
            f"{name} {x._value.dtype}[{', '.join(map(str, shape))}]"
            for name, x, shape in zip(self.given.names, self.given.tensors, self.shapes, strict=True)
        ]
        return ", ".join(parts) or "no tensors"


class Entry:
    """A trace of a function, for which call it was made, and why."""

    def __init__(self, traced: Traced, call: Call, reason: str) -> None:
        self.traced = traced
        self.key = call.key
        self.family = call.family
        self.names = call.given.names
        self.text = call.text()
        self.reason = reason


class Compiled:
    """A function that runs as a graph. ``graphs`` are its traces, ``report()`` says when and why it was traced."""

    def __init__(self, function: Callable[..., Any], *, batch_axis: int, keep_gradients: bool) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        self.parameters = parameter_names(function)
        self.batch_axis = batch_axis
        self.keep_gradients = keep_gradients
        self._entries: list[Entry] = []
        self._by_key: dict[Any, list[Entry]] = {}
        self._decided: dict[Any, str] = {}  # keys for which the code decides on the symbol: how
        self._given_up: dict[Any, str] = {}  # families: why

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["function"], name)

    def __get__(self, instance: Any, owner: Any) -> Any:
        """Return the method of ``instance``, compiled by itself."""
        if instance is None:
            return self
        method = self.function.__get__(instance, owner)
        bound = Compiled(method, batch_axis=self.batch_axis, keep_gradients=self.keep_gradients)
        instance.__dict__[self.name] = bound
        return bound

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        function = copy.deepcopy(self.function, memo)
        return Compiled(function, batch_axis=self.batch_axis, keep_gradients=self.keep_gradients)

    def __repr__(self) -> str:
        return f"<compiled {self.name}: {len(self._entries)} traces>"

    @property
    def graphs(self) -> list[Graph]:
        """The graph of each trace."""
        return [entry.traced.graph for entry in self._entries]

    @property
    def graph(self) -> Graph:
        """The graph of the first trace."""
        if not self._entries:
            raise TraceError(f"{self.name} has not been traced", fix="call it once")
        return self._entries[0].traced.graph

    def show(self) -> str:
        """Return the graph of the first trace as text."""
        return show(self.graph)

    def report(self) -> str:
        """Return when it was traced, and why, and how often each trace ran."""
        count = len(self._entries)
        lines = [f"{self.name}: {count} trace{'s' * (count != 1)}"]
        for k, entry in enumerate(self._entries, 1):
            lines.append(
                f"  {k}. {entry.text}: {len(entry.traced.graph.nodes)} operations, ran {entry.traced.runs} times"
            )
            if entry.reason:
                lines.append(f"     traced since {entry.reason}")
        lines += [f"  uncompiled: {reason}" for reason in self._given_up.values()]
        return "\n".join(lines)

    # -- calling -------------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function as a graph; trace it first if these kinds of arguments are new."""
        if STATE.mode == TRACE:
            return self.function(*args, **kwargs)
        call = Call(Arguments(args, kwargs, self.parameters), self.batch_axis)
        key = call.key
        if key in self._decided:
            call.fix_sizes()
            key = call.key
        tensors = call.given.tensors
        for entry in self._by_key.get(key, ()):
            traced = entry.traced
            if traced.holds(tensors):
                values = traced.inputs(tensors)
                if values is not None:
                    return traced.run(tensors, values, call.sizes)
        return self._first_call(call)

    def _first_call(self, call: Call) -> Any:
        """Trace the function for a call that no trace serves, and run it; or run it uncompiled if there are too many."""
        family, tensors = call.family, call.given.tensors
        if family not in self._given_up:
            self._forget_gone()
            reason = self._why(call)
            if sum(entry.family == family for entry in self._entries) >= MOST_TRACES:
                self._give_up(call, reason)
            else:
                traced = self._trace(call, reason)
                values = traced.inputs(tensors)
                if values is None:
                    raise TraceError(f"{self.name}: a tensor from outside went away while the function was traced")
                return traced.run(tensors, values, call.sizes)
        args, kwargs = rebuild(call.given.form, tensors, {})
        return self.function(*args, **kwargs)

    def _forget_gone(self) -> None:
        """Forget traces of models that do not exist any more."""
        self._entries = [entry for entry in self._entries if entry.traced.guards.can_hold_again()]
        self._index()

    def _index(self) -> None:
        by_key: dict[Any, list[Entry]] = {}
        for entry in self._entries:
            by_key.setdefault(entry.key, []).append(entry)
        self._by_key = by_key

    def _trace(self, call: Call, reason: str) -> Traced:
        traced: Traced | None = None
        try:
            traced = self._traced(call)
        except UndecidedSize as undecided:
            if not call.sizes:
                raise
            name = next(n for n, s in zip(call.given.names, call.shapes, strict=True) if N in s)
            decided = (
                f"the code decides on the size of axis {self.batch_axis} of {name} ({undecided.question}?"
                f"{user_line(undecided.__traceback__)})"
            )
        if traced is None:
            self._decided[call.key] = decided
            size = call.sizes["n"]
            call.fix_sizes()
            reason = f"{decided}: now {size}"
            traced = self._traced(call)
        self._entries.append(Entry(traced, call, reason))
        self._index()
        return traced

    def _traced(self, call: Call) -> Traced:
        names = names_read(self.function)
        trace = Trace(self.name)
        try:
            with tracing(trace):
                traced = self._run_in(trace, call, names)
        finally:
            trace.close()
        traced.settle()
        return traced

    def _run_in(self, trace: Trace, call: Call, names: list[Name]) -> Traced:
        given = call.given
        stand_ins = [
            trace.argument(x, shape, name)
            for x, shape, name in zip(given.tensors, call.shapes, given.names, strict=True)
        ]
        args, kwargs = rebuild(given.form, stand_ins, {})
        return Traced(trace, stand_ins, self.function(*args, **kwargs), names, keep_gradients=self.keep_gradients)

    # -- why -----------------------------------------------------------------------------------------------------------

    def _why(self, call: Call) -> str:
        """Say in what this call differs from one that was traced before; nothing for the first of its family."""
        family = [entry for entry in self._entries if entry.family == call.family]
        same = [entry for entry in family if entry.key == call.key]
        if same:
            return next((text for entry in reversed(same) if (text := entry.traced.guards.difference())), "") or (
                "a gradient is there that was not, or the reverse"
            )
        for entry in reversed(family):
            if entry.key[0] == call.kind:
                return self._other_shape(call, entry)
        for entry in reversed(family):
            return self._other_value(call, entry)
        return ""

    def _other_shape(self, call: Call, entry: Entry) -> str:
        decided = self._decided.get((call.kind, entry.key[1]))
        for name, now, before in zip(call.given.names, call.shapes, entry.key[1], strict=True):
            for axis, (n, m) in enumerate(zip(now, before, strict=True)):
                if n is not m and str(n) != str(m):
                    if decided is not None or "n" in (str(n), str(m)):
                        own = [size for size in (n, m) if size is not N]
                        return f"{name} has the size {n} in axis {axis}, and {own[0]} has a graph of its own"
                    return f"{name} has the size {n} in axis {axis} (it was {m})"
        return ""

    def _other_value(self, call: Call, entry: Entry) -> str:
        now = values_in(call.given.form, self.parameters)
        before = values_in(entry.key[0][0], self.parameters)
        for name, value in now.items():
            if name in before and before[name] is not value and before[name] != value:
                return f"{name} is {value!r} (it was {before[name]!r})"
        return ""

    def _give_up(self, call: Call, reason: str) -> None:
        decided = next((text for (kind, _), text in self._decided.items() if kind == call.kind), "")
        text = f"{self.name} was traced {MOST_TRACES} times, and would be again, since {decided or reason}"
        self._given_up[call.family] = text
        warnings.warn(f"{text}. It runs uncompiled from here on, where no trace fits", stacklevel=4)


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a function's parameters (of a module's ``forward``), for messages."""
    try:
        return tuple(inspect.signature(getattr(function, "forward", function)).parameters)
    except (TypeError, ValueError):
        return ()


def user_line(trace: TracebackType | None) -> str:
    """Return file and line of the innermost frame that is not in this package, as text that may follow a question."""
    found = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            found = f" {Path(code.co_filename).name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return found


def compile(function: Callable[..., Any] | None = None, *, batch_axis: int = 0, keep_gradients: bool = False) -> Any:
    """Compile a function of tensors (or a module): trace it once, then run it as one graph. Usable as a decorator.

    ``batch_axis``      the axis whose size may differ from call to call, in every argument that shares the first's size
    ``keep_gradients``  keep ``p.grad`` after each run also where the function clears gradients itself

    Inside, tensors have no values: ``item()``, ``numpy()``, ``float()`` and ``if`` on a tensor raise TraceError at
    their line. Python runs once, while tracing: what it prints or counts is not repeated.
    """
    if function is None:
        return functools.partial(compile, batch_axis=batch_axis, keep_gradients=keep_gradients)
    if not callable(function):
        raise ArgumentTypeError(f"compile: got {type(function).__name__}", expected="a function or a module")
    return Compiled(function, batch_axis=batch_axis, keep_gradients=keep_gradients)
