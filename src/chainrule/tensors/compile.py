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
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from chainrule import run as engines
from chainrule.errors import ArgumentError, ArgumentTypeError, TraceError
from chainrule.graph import Graph, show
from chainrule.graph.sizes import Shape, UndecidedSize, symbol
from chainrule.tensors.again import DIFFERS, Again
from chainrule.tensors.arguments import Arguments, Results, rebuild, values_in, with_types_only
from chainrule.tensors.dtypes import default_float
from chainrule.tensors.guards import Name, names_read
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor
from chainrule.tensors.trace import Trace, tracing
from chainrule.tensors.traced import Traced
from chainrule.tensors.watch import Watch, run_watched

if TYPE_CHECKING:
    from chainrule.run import NativeProgram, Origin

MOST_TRACES = 8
MOST_ROWS = 1 << 20  # of one native call, in as many passes through the data
ENOUGH_ROWS = 1 << 16  # of one pass, which is then a call of its own: their order takes memory
ALIKE = (Tensor, np.ndarray)
ENOUGH = 2  # runs of a trace, after which more of them are prepared for
N = symbol("n")
NAME = re.compile(r"[.\[]")  # what ends the name of an argument in that of a tensor in it
BatchAxis = int | Mapping[str, int]
NOT_THE_USERS = (
    os.path.dirname(os.path.dirname(__file__)) + os.sep,
    os.path.dirname(os.__file__) + os.sep,  # Python's own library
    os.path.dirname(os.path.dirname(np.__file__)) + os.sep,  # where packages are installed
)


class Call:
    """One call: its arguments, and what the choice of a trace depends on.

    ``kind``    form and kinds of the arguments, and the state of the thread
    ``shapes``  of the tensors, with "n" for the batch, whose size is in ``sizes``
    """

    def __init__(self, given: Arguments, batch_axis: BatchAxis) -> None:
        self.given = given
        tensors = given.tensors
        kinds = tuple([(x._value.dtype, x._node is not None, x._value.ndim) for x in tensors])
        self.kind = (given.form, kinds, STATE.mode, default_float())
        self.concrete: tuple[Any, ...] = tuple([x._value.shape for x in tensors])
        self.shapes = self.concrete
        self.sizes: dict[str, int] = {}
        self.decided = ""
        if isinstance(batch_axis, int):
            axes: list[int | None] = [batch_axis] * len(tensors)
        else:
            axes = [batch_axis.get(NAME.split(name, maxsplit=1)[0]) for name in given.names]
        batch = 0  # the first size of such an axis
        for shape, axis in zip(self.concrete, axes, strict=True):
            if axis is not None and len(shape) > axis:
                batch = shape[axis]
                break
        if batch >= 2:
            self.sizes = {"n": batch}
            self.shapes = tuple(
                [
                    (*shape[:axis], "n", *shape[axis + 1 :])
                    if axis is not None and len(shape) > axis and shape[axis] == batch
                    else shape
                    for shape, axis in zip(self.concrete, axes, strict=True)
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

    def fix_sizes(self, decided: str) -> None:
        """Let the batch be a number like all other sizes, because of what the code decides."""
        self.shapes, self.decided = self.concrete, f"{decided}: now {self.sizes.get('n')}"
        self.sizes = {}

    def symbolic_shapes(self) -> list[Shape]:
        """Return the shapes with a symbol for the batch."""
        return [tuple([N if size == "n" else size for size in shape]) for shape in self.shapes]

    def batch(self) -> str:
        """Say which axis of which argument the batch is."""
        name, shape = next((n, s) for n, s in zip(self.given.names, self.shapes, strict=True) if "n" in s)
        return f"axis {shape.index('n')} of {name}"

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
    """A function that runs as a graph. ``graphs`` are its traces, ``report()`` says when and why it was traced, ``profile()`` what it costs."""

    def __init__(self, function: Callable[..., Any], *, batch_axis: BatchAxis, keep_gradients: bool) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        self.parameters = parameter_names(function)
        self.batch_axis = batch_axis
        self.keep_gradients = keep_gradients
        self._entries: list[Entry] = []
        self._by_key: dict[Any, list[Entry]] = {}
        self._decided: dict[Any, str] = {}  # keys for which the code decides on the symbol: how
        self._again: Again | None = None  # what serves calls like one of the last
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

    def _native(self) -> NativeProgram:
        """Return the native program of the first trace; raise, with the reason, if it runs on the interpreter."""
        if not self._entries:
            raise TraceError(f"{self.name} has not been traced", fix="call it once")
        traced = self._entries[0].traced
        if traced.reason:
            raise TraceError(f"{self.name} has no native code: {traced.reason}")
        return cast("NativeProgram", traced.program)

    @property
    def loops(self) -> str:
        """The kernels of the first trace as text: their loops, what each computes, and where it goes."""
        return self._native().loops()

    @property
    def llvm(self) -> str:
        """The first trace in LLVM's language."""
        return self._native().llvm()

    @property
    def assembly(self) -> str:
        """The first trace as assembly of this machine."""
        return self._native().assembly()

    def engine(self) -> str:
        """Say in a line what runs the trace that was made last: native code and its memory, or why it is not that."""
        if not self._entries:
            return "not called yet"
        traced = self._entries[-1].traced
        return "; ".join(filter(None, (traced.engine()[0], traced.memory())))

    def report(self) -> str:
        """Return when it was traced, and why, and how often each trace ran."""
        return self._told(profile=False)

    def profile(self) -> str:
        """Return ``report()`` with a table of each trace's kernels: work, memory, time, and how near to the machine's limits.

        Each kernel runs by itself, many times, on copies of what the last run had in memory: nothing of the user's is written.
        It takes some milliseconds for each kernel.
        """
        return self._told(profile=True)

    def _told(self, *, profile: bool) -> str:
        count = len(self._entries)
        lines = [f"{self.name}: {count} trace{'s' * (count != 1)}"]
        for k, entry in enumerate(self._entries, 1):
            lines.append(
                f"  {k}. {entry.text}: {len(entry.traced.graph.nodes)} operations, ran {entry.traced.runs} times"
            )
            told = entry.traced.profile() if profile else entry.traced.engine()
            lines += [f"     {line}" for line in told]
            if entry.reason:
                lines.append(f"     traced since {entry.reason}")
        lines += [f"  uncompiled: {reason}" for reason in self._given_up.values()]
        return "\n".join(lines)

    # -- calling -------------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function as a graph; trace it first if these kinds of arguments are new."""
        if self._again is not None and len(args) == 1 and not kwargs:
            result = self._again.run(args[0])
            if result is not DIFFERS:
                return result
        if STATE.mode == TRACE:
            return self.function(*args, **kwargs)
        call = Call(Arguments(args, kwargs, self.parameters), self.batch_axis)
        key = call.key
        if self._decided:
            decided = self._decided.get(key)
            if decided is not None:
                call.fix_sizes(decided)
                key = call.key
        tensors = call.given.tensors
        for entry in self._by_key.get(key, ()):
            traced = entry.traced
            if traced.holds(tensors):
                values = traced.inputs(tensors)
                if values is not None:
                    if len(args) == 1 and not kwargs and traced.runs >= ENOUGH and isinstance(args[0], ALIKE):
                        self._again = traced.again(tensors, call.sizes)
                    return traced.run(tensors, values, call.sizes)
        return self._first_call(call)

    def traced_for(self, *args: Any) -> tuple[Traced, list[Any], dict[str, int]] | None:
        """Return the trace that serves a call with these arguments, its tensors and sizes; None if there is none yet."""
        call = Call(Arguments(args, {}, self.parameters), self.batch_axis)
        decided = self._decided.get(call.key)
        if decided is not None:
            call.fix_sizes(decided)
        tensors = call.given.tensors
        for entry in self._by_key.get(call.key, ()):
            if entry.traced.holds(tensors):
                return entry.traced, tensors, call.sizes
        return None

    def served(self, *args: Any) -> tuple[Traced, list[Any], dict[str, int]] | None:
        """Return what ``traced_for`` does, traced now if need be but not run; None if it runs uncompiled."""
        found = self.traced_for(*args)
        if found is None:
            call = Call(Arguments(args, {}, self.parameters), self.batch_axis)
            if call.family in self._given_up or self._are_many(call):
                return None
            self._trace(call, self._why(call))
            found = self.traced_for(*args)
        return found

    def origin(self, *args: Any, judged: Sequence[int] | None = None, layer: str = "") -> Origin | None:
        """Return the operation with the first NaN or infinity in a run on these arguments; None if none is found.

        ``judged``  which results have to be finite, beside what the function writes (None: all)
        ``layer``   the path of a layer whose output is not finite: where in it that began

        Nothing is written: parameters, optimizer and random numbers stay as they are.
        """
        found = self.served(*args)
        return None if found is None else found[0].origin(found[1], found[2], judged, layer)

    def over(self, *rows: Any, batch_size: int, order: Any = None, passes: int = 1, check_finite: bool = False) -> Any:
        """Run on one batch of rows after the other. Natively, that is one call.

        ``rows``    arrays or tensors of the same number of rows: the arguments
        ``order``   the numbers of the rows, in the order in which they are taken (None: as they stand)
        ``passes``  how often all of them are gone through
        ``check_finite``  raise NotFiniteError where a result, or what the function writes, becomes NaN or infinite: with
                    the first such batch (counted from 1), operation and layer. All is then as it was before that batch.

        Returns what the function returns, its tensors with a new first axis: one entry for each batch. A last batch that is
        smaller is run as it is. The bits are those of calling on each batch in turn.
        """
        arrays = [np.asarray(x.detach()._value if isinstance(x, Tensor) else x) for x in rows]
        if not arrays or any(x.ndim == 0 or len(x) != len(arrays[0]) for x in arrays):
            got = ", ".join(str(x.shape) for x in arrays)
            raise ArgumentError(f"{self.name}.over: got arrays of shapes ({got})", expected="the same number of rows")
        if batch_size < 1 or passes < 1:
            raise ArgumentError(
                f"{self.name}.over: got batch_size={batch_size}, passes={passes}", expected="1 or more of each"
            )
        count = len(arrays[0])
        once = np.arange(count) if order is None else np.asarray(order, dtype=np.int64)
        if count == 0:
            raise ArgumentError(f"{self.name}.over: got arrays without rows", expected="at least one row")
        if once.size == 0:
            raise ArgumentError(f"{self.name}.over: got an empty order", expected="the number of at least one row")
        if once.min() < 0 or once.max() >= count:
            bad = int(once.min() if once.min() < 0 else once.max())
            raise ArgumentError(
                f"{self.name}.over: got row {bad} in the order of {count} rows",
                expected=f"numbers from 0 to {count - 1}",
            )
        found = Stacked(self.name)
        # where no batch is smaller, a pass goes on where the one before it ends
        goes_on = len(once) % batch_size == 0 and len(once) < ENOUGH_ROWS
        together = max(min(passes, MOST_ROWS // len(once)), 1) if goes_on else 1
        for first in range(0, passes, together):
            whole = len(once) * min(together, passes - first)
            taken = np.zeros(whole + batch_size, np.int64)  # with one batch more: rows are asked for ahead of their use
            taken[:whole].reshape(-1, len(once))[:] = once
            start = 0
            while start < whole:
                some, steps = taken[start : min(start + batch_size, whole)], (whole - start) // batch_size
                is_like = steps > 1 and count >= batch_size  # then the first rows tell as much, and are not copied
                batch = [Tensor(x[:batch_size] if is_like else x.take(some, axis=0)) for x in arrays]
                watch = self._watch(batch) if check_finite else None
                done = self._at_once(batch, arrays, taken[start:], steps, found)
                if not done:
                    if is_like:
                        batch = [Tensor(x.take(some, axis=0)) for x in arrays]
                    done = found.one(self(*batch))
                if watch is not None and not watch.is_fine(found.parts[-1]):
                    watch.put_back()
                    before = sum(len(part[0]) for part in found.parts[:-1])
                    self._find_first(arrays, taken[start:whole], batch_size, done, before)
                start += batch_size * done
        return found.result()

    def _watch(self, batch: list[Any]) -> Watch | None:
        served = self.served(*batch)
        return None if served is None else Watch(served[0], served[1])

    def _find_first(self, arrays: list[Any], order: Any, batch_size: int, steps: int, before: int) -> None:
        """Repeat steps one by one up to the first whose numbers are not finite, and raise with what it was."""
        for k in range(steps):
            rows = order[k * batch_size : (k + 1) * batch_size]
            batch = [Tensor(x.take(rows, axis=0)) for x in arrays]
            served = self.served(*batch)
            assert served is not None  # it ran before
            run_watched(served, functools.partial(self, *batch), f"{self.name}.over: batch {before + k + 1}")

    def repeat(self, *args: Any, times: int) -> Any:
        """Run ``times`` times on the same arguments. Natively, that is one call.

        Returns what the function returns, its tensors with a new first axis: one entry for each run.
        """
        if times < 1:
            raise ArgumentError(f"{self.name}.repeat: got times={times}", expected="1 or more")
        found = Stacked(self.name)
        done = found.one(self(*args))
        while done < times:
            done += self._at_once(list(args), [], np.zeros(0, np.int64), times - done, found) or found.one(self(*args))
        return found.result()

    def _at_once(self, args: list[Any], arrays: list[Any], order: Any, steps: int, found: Stacked) -> int:
        """Run ``steps`` times in one native call, on batches of ``arrays`` if there are any; return how often: 0 if it cannot be."""
        served = self.traced_for(*args) if steps > 1 else None
        if served is None or not served[0].can_run_steps():
            return 0
        traced, tensors, sizes = served
        fits = zip(arrays, tensors, strict=False)
        if arrays and not (len(arrays) == len(tensors) and all(engines.can_gather(x, t._value.dtype) for x, t in fits)):
            return 0
        wanted = range(traced.num_results)
        done, results = traced.run_steps(tensors, dict(enumerate(arrays)), order, sizes, steps, wanted)
        if done:
            found.form = traced.form
            found.several([results[k][:done] for k in wanted])
        return done

    def _first_call(self, call: Call) -> Any:
        """Trace the function for a call that no trace serves, and run it; or run it uncompiled if there are too many."""
        family, tensors = call.family, call.given.tensors
        if family not in self._given_up:
            reason = self._why(call)
            self._forget_gone()
            if self._are_many(call):
                self._give_up(call, reason)
            else:
                traced = self._trace(call, reason)
                values = traced.inputs(tensors)
                if values is None:
                    raise TraceError(f"{self.name}: a tensor from outside went away while the function was traced")
                return traced.run(tensors, values, call.sizes)
        args, kwargs = rebuild(call.given.form, tensors, {})
        return self.function(*args, **kwargs)

    def _are_many(self, call: Call) -> bool:
        family: Any = call.family
        return [entry.family for entry in self._entries].count(family) >= MOST_TRACES

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
            line = user_line(undecided.__traceback__)
            decided = f"the code decides on the size of {call.batch()} ({undecided.question}?{line})"
        if traced is None:
            self._decided[call.key] = decided
            call.fix_sizes(decided)
            reason = call.decided
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
        traced.settle(call.sizes)
        return traced

    def _run_in(self, trace: Trace, call: Call, names: list[Name]) -> Traced:
        given = call.given
        stand_ins = [
            trace.argument(x, shape, name)
            for x, shape, name in zip(given.tensors, call.symbolic_shapes(), given.names, strict=True)
        ]
        args, kwargs = rebuild(given.form, stand_ins, {})
        return Traced(trace, stand_ins, self.function(*args, **kwargs), names, keep_gradients=self.keep_gradients)

    # -- why -----------------------------------------------------------------------------------------------------------

    def _why(self, call: Call) -> str:
        """Say in what this call differs from one that was traced before; nothing for the first of its family."""
        family = [entry for entry in reversed(self._entries) if entry.family == call.family]
        same = [entry for entry in family if entry.key == call.key]
        if same:
            found = next((text for entry in same if (text := entry.traced.guards.difference())), "")
            return found or "a gradient is there that was not, or the reverse"
        if call.decided:
            return call.decided
        for entry in family:
            if entry.key[0] == call.kind:
                return self._other_size(call, entry)
        return next((text for entry in family if (text := self._other_value(call, entry))), "")

    def _other_size(self, call: Call, entry: Entry) -> str:
        for name, now, before in zip(call.given.names, call.shapes, entry.key[1], strict=True):
            for axis, (n, m) in enumerate(zip(now, before, strict=True)):
                if n == m:
                    continue
                if "n" in (n, m) and m in ("n", 0, 1) and n in ("n", 0, 1):
                    own = m if n == "n" else n
                    return f"{name} has the size {n} in axis {axis}, and {own} has a graph of its own"
                return f"{name} has the size {n} in axis {axis} (it was {m})"
        return ""

    def _other_value(self, call: Call, entry: Entry) -> str:
        now = values_in(call.given.form, self.parameters)
        before = values_in(entry.key[0][0], self.parameters)
        for name, value in now.items():
            if name in before and repr(before[name]) != repr(value):
                return f"{name} is {value!r} (it was {before[name]!r})"
        return ""

    def _give_up(self, call: Call, reason: str) -> None:
        text = f"{self.name} was traced {MOST_TRACES} times, and would be again, since {reason}"
        self._given_up[call.family] = text
        warnings.warn(f"{text}. It runs uncompiled from here on, where no trace fits", stacklevel=4)


class Stacked:
    """What several runs return, as one: each tensor with a new first axis."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: list[list[Any]] = []
        self.form: Any = None

    def one(self, value: Any) -> int:
        """Add what one run returned; return 1."""
        results = Results(value)
        self.form = results.form
        self.several([x._value[None] for x in results.tensors])
        return 1

    def several(self, arrays: list[Any]) -> None:
        """Add what several runs returned, one array for each result."""
        if self.parts and any(x.shape[1:] != y.shape[1:] for x, y in zip(self.parts[0], arrays, strict=True)):
            raise ArgumentError(
                f"{self.name}: a smaller last batch returns tensors of another shape",
                expected="results that do not depend on the size of the batch, or rows that make whole batches",
            )
        self.parts.append(arrays)

    def result(self) -> Any:
        """Return the form of one run with the tensors of all."""
        return rebuild(self.form, [Tensor(np.concatenate(parts)) for parts in zip(*self.parts, strict=True)], {})


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a function's parameters (of a module's ``forward``), for messages."""
    try:
        return tuple(inspect.signature(getattr(function, "forward", function)).parameters)
    except (TypeError, ValueError):
        return ()


def user_line(trace: TracebackType | None) -> str:
    """Return file and line of the innermost frame of the user's own code, as text that may follow a question."""
    found = ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(NOT_THE_USERS):
            found = f" {os.path.basename(file)}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return found


def compile(
    function: Callable[..., Any] | None = None, *, batch_axis: BatchAxis = 0, keep_gradients: bool = False
) -> Any:
    """Compile a function of tensors (or a module): trace it once, then run it as one graph. Usable as a decorator.

    ``batch_axis``      the axis whose size may differ from call to call, in every argument that shares the first's size;
                        or by name: ``{"sequences": 1, "labels": 0}``
    ``keep_gradients``  keep ``p.grad`` after each run also where the function clears gradients itself

    Inside, tensors have no values: ``item()``, ``numpy()``, ``float()`` and ``if`` on a tensor raise TraceError at
    their line. Python runs once, while tracing: what it prints or counts is not repeated.
    """
    if function is None:
        return functools.partial(compile, batch_axis=batch_axis, keep_gradients=keep_gradients)
    axes = [batch_axis] if isinstance(batch_axis, int) else [*batch_axis.values()]
    if any(axis < 0 for axis in axes):
        raise ArgumentError(f"compile: got batch_axis={batch_axis!r}", expected="axes counted from the front, from 0")
    if not callable(function):
        raise ArgumentTypeError(f"compile: got {type(function).__name__}", expected="a function or a module")
    return Compiled(function, batch_axis=batch_axis, keep_gradients=keep_gradients)
