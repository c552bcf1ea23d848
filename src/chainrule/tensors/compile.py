"""``@compile``: trace a function of tensors into one graph, once, and run the graph from then on.

A whole training step may be inside: forward, backward, clipping, optimizer, scheduler. The size of axis 0 of the first
array argument (the batch) is a symbol, and so is that of every argument that shares it: one trace serves all sizes from
2 on. Code that decides on the size, or needs it as a number, is traced again for that size.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from chainrule import run as engines
from chainrule.errors import ArgumentError, ArgumentTypeError, TraceError, nearest, warn
from chainrule.forks import rlock_of_process
from chainrule.graph import Graph, show
from chainrule.tensors.again import DIFFERS, Again
from chainrule.tensors.arguments import Arguments, check_array, rebuild
from chainrule.tensors.call import BatchAxis, Call
from chainrule.tensors.facts import is_module
from chainrule.tensors.many_runs import run_again, run_over
from chainrule.tensors.methods import MethodsApart, method_of
from chainrule.tensors.opened import Closed, Opened, opened_in
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor
from chainrule.tensors.traced import Traced
from chainrule.tensors.tracer import OF_USERS, NotAhead, Tracer
from chainrule.tensors.traces import Traces

if TYPE_CHECKING:
    from chainrule.run import NativeProgram, Origin

ALIKE = (Tensor, np.ndarray)
TOLD: set[str] = set()  # why nothing is native here
ENOUGH = 2  # runs of a trace, after which more of them are prepared for


OWN = (
    "function", "name", "batch_axis", "keep_gradients", "_names", "_traces", "_reasons_told", "_again", "_tracing", "_apart", "_opened",
    "_tracer",
)  # fmt: skip
NO_NAMES: dict[str, Any] = {}


class Compiled:
    """A function that runs as a graph. ``graphs`` are its traces, ``report()`` says when and why it was traced, ``profile()`` what it costs."""

    def __init__(self, function: Callable[..., Any], *, batch_axis: BatchAxis, keep_gradients: bool) -> None:
        self.__dict__["function"] = function
        functools.update_wrapper(self, function, updated=())
        self.name = getattr(function, "__name__", type(function).__name__)
        self._names = parameter_names(function)
        self.batch_axis = batch_axis
        self.keep_gradients = keep_gradients
        self._traces = Traces(self.name, self._names)
        self._reasons_told: set[str] = set()  # why it is not native
        self._again: Again | None = None  # what serves calls like one of the last
        self._apart = MethodsApart()
        self._opened = Opened()
        self._tracer = Tracer(function, self.name, self._names, self._traces.moving, keep_gradients=keep_gradients)
        self._tracing = rlock_of_process()  # one thread traces; those that ask meanwhile may be served by what it made

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["function"], name)

    def __get__(self, instance: Any, owner: Any) -> Any:
        """Return the method of ``instance``, compiled by itself."""
        if instance is None:
            return self
        return method_of(self, instance, lambda: self._bound(instance, owner)) or self._apart.get(
            instance, lambda: self._bound(instance, owner)
        )

    def _bound(self, instance: Any, owner: Any) -> Compiled:
        method = self.function.__get__(instance, owner)
        return Compiled(method, batch_axis=self.batch_axis, keep_gradients=self.keep_gradients)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; of a compiled module, that of the module."""
        if name in OWN or name[:2] == "__" or not is_module(self.function):
            object.__setattr__(self, name, value)
        else:
            setattr(self.function, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__ or not is_module(self.function):
            object.__delattr__(self, name)
        else:
            delattr(self.function, name)

    def __copy__(self) -> Compiled:
        return type(self)(copy.copy(self.function), batch_axis=self.batch_axis, keep_gradients=self.keep_gradients)

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        function = copy.deepcopy(self.function, memo)
        return type(self)(function, batch_axis=self.batch_axis, keep_gradients=self.keep_gradients)

    def __repr__(self) -> str:
        return f"<compiled {self.name}: {len(self._traces.entries)} traces>"

    @property
    def graphs(self) -> list[Graph]:
        """The graph of each trace."""
        return [entry.traced.graph for entry in self._traces.entries]

    @property
    def graph(self) -> Graph:
        """The graph of the first trace."""
        if not self._traces.entries:
            raise TraceError(f"{self.name} has not been traced", fix="call it once")
        return self._traces.entries[0].traced.graph

    def show(self) -> str:
        """Return the graph of the first trace as text."""
        return show(self.graph)

    def _native(self) -> NativeProgram:
        """Return the native program of the first trace; raise, with the reason, if it runs on the interpreter."""
        if not self._traces.entries:
            raise TraceError(f"{self.name} has not been traced", fix="call it once")
        traced = self._traces.entries[0].traced
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
        if not self._traces.entries:
            return "not called yet"
        traced = self._traces.entries[-1].traced
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
        count = len(self._traces.entries)
        lines = [f"{self.name}: {count} trace{'s' * (count != 1)}"]
        for k, entry in enumerate(self._traces.entries, 1):
            lines.append(
                f"  {k}. {entry.text}: {len(entry.traced.graph.nodes)} operations, ran {entry.traced.runs} times"
            )
            told = entry.traced.profile() if profile else entry.traced.engine()
            lines += [f"     {line}" for line in told]
            if entry.reason:
                lines.append(f"     traced since {entry.reason}")
        lines += [f"  uncompiled: {reason}" for reason in self._traces.given_up.values()]
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
        call = self._call(args, kwargs)
        key = call.key
        traces = self._traces
        if traces.decided:
            decided = traces.decided.get(key)
            if decided is not None:
                call.fix_sizes(decided)
                key = call.key
        tensors = call.given.tensors
        for entry in traces.by_key.get(key, ()):
            traced = entry.traced
            if traced.holds(tensors):
                values = traced.inputs(tensors)
                if values is not None:
                    if len(args) == 1 and not kwargs and traced.runs >= ENOUGH and isinstance(args[0], ALIKE):
                        self._again = traced.again(tensors, call.sizes)
                    return traced.run(tensors, values, call.sizes)
        return self._first_call(call)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any] = NO_NAMES) -> Call:
        return Call(Arguments(args, kwargs, self._names, self._opened.kinds), self.batch_axis)

    def traced_for(self, *args: Any) -> tuple[Traced, list[Any], dict[str, int]] | None:
        """Return the trace that serves a call with these arguments, its tensors and sizes; None if there is none yet."""
        call = self._call(args)
        found = self._found(call)
        return None if found is None else (found, call.given.tensors, call.sizes)

    def served(self, *args: Any) -> tuple[Traced, list[Any], dict[str, int]] | None:
        """Return what ``traced_for`` does, traced now if need be but not run; None if it runs uncompiled."""
        found = self.traced_for(*args)
        if found is not None:
            return found
        with self._tracing:
            self._serving(self._call(args), is_run=False)
            return self.traced_for(*args)

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
        ``order``   the numbers of the rows, integers, in the order in which they are taken (None: as they stand)
        ``passes``  how often all of them are gone through
        ``check_finite``  raise NotFiniteError where a result, or what the function writes, becomes NaN or infinite: with
                    the first such batch (counted from 1), operation and layer. All is then as it was before that batch.

        Returns what the function returns, its tensors with a new first axis: one entry for each batch. What is no tensor (a
        number, ``x.shape``) is that of the last batch. A last batch that is smaller is run as it is. The bits are those of
        calling on each batch in turn.
        """
        for k, x in enumerate(rows):
            if isinstance(x, np.ndarray):
                check_array(x, self._names[k] if k < len(self._names) else f"argument {k}")
        return run_over(self, rows, batch_size, order, passes, check_finite=check_finite)

    def repeat(self, *args: Any, times: int) -> Any:
        """Run ``times`` times on the same arguments. Natively, that is one call.

        Returns what the function returns, its tensors with a new first axis: one entry for each run. What is no tensor is that
        of the last run.
        """
        return run_again(self, args, times)

    # -- tracing ---------------------------------------------------------------------------------------------------------

    def _first_call(self, call: Call) -> Any:
        """Trace the function for a call that no trace serves, and run it; or run it uncompiled if there are too many."""
        with self._tracing:
            traced, call = self._serving(call)
            tensors = call.given.tensors
            values = None if traced is None else traced.inputs(tensors)
        if traced is None:
            args, kwargs = rebuild(call.given.form, tensors, {})
            return self.function(*args, **kwargs)
        if values is None:
            raise TraceError(f"{self.name}: a tensor from outside went away while the function was traced")
        return traced.run(tensors, values, call.sizes)

    def _serving(self, call: Call, *, is_run: bool = True) -> tuple[Traced | None, Call]:
        """Return the trace that serves a call, a new one if need be, and the call as that takes it; None if there are too many."""
        found = self._found(call)
        if found is None and self._opened.look(call, self._traces):
            call = self._call(call.given.args, call.given.kwargs)
            found = self._found(call)
        if found is not None:
            return found, call
        try:
            made = self._made(call, is_run=is_run)
            taken_apart = opened_in(call.given.form) if made is None else set()
        except NotAhead:
            return None, call
        except Closed as closed:
            taken_apart = closed.kinds
        if not taken_apart:
            return made, call
        self._opened.close(taken_apart)
        return self._serving(self._call(call.given.args, call.given.kwargs), is_run=is_run)

    def _found(self, call: Call) -> Traced | None:
        """Return the trace that serves a call; None if there is none yet."""
        decided = self._traces.decided.get(call.key)
        if decided is not None:
            call.fix_sizes(decided)
        tensors = call.given.tensors
        for entry in self._traces.by_key.get(call.key, ()):
            if entry.traced.holds(tensors) and entry.traced.finds_all(tensors):
                return entry.traced
        return None

    def _made(self, call: Call, *, is_run: bool) -> Traced | None:
        """Return a new trace for a call; None if there are too many."""
        if call.family in self._traces.given_up:
            return None
        reason = self._traces.why(call)
        if is_run:
            self._traces.forget_gone(reason)
        if self._traces.are_many(call):
            if is_run and not opened_in(call.given.form):
                self._traces.give_up(call, reason)
            return None
        return self._trace(call, reason, is_run=is_run)

    def _trace(self, call: Call, reason: str, *, is_run: bool = True) -> Traced:
        call.check_batch_axis()
        key = call.key
        traced, decided = self._tracer.trace(call, is_run=is_run)
        if decided:
            self._traces.decided[key], reason = decided, call.decided
        self._traces.add(traced, call, reason)
        self._tell_why_not_native(traced.reason)
        return traced

    def _tell_why_not_native(self, reason: str) -> None:
        if not reason or engines.is_off() or hasattr(self.function, OF_USERS):  # fit says it in a line of its own
            return
        told = TOLD if reason == engines.unsupported() else self._reasons_told
        if reason not in told:
            told.add(reason)
            warn(f"{self.name} runs on the interpreter, not natively: {reason}")


class CompiledModule(Compiled):
    """A module that runs as a graph. Its parts and parameters are the module's; of another module it can be no part."""

    def __len__(self) -> int:
        return len(self.function)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, key: Any) -> Any:
        return self.function[key]

    def __setitem__(self, key: Any, part: Any) -> None:
        self.function[key] = part

    def __delitem__(self, key: Any) -> None:
        del self.function[key]

    def __iter__(self) -> Any:
        return iter(self.function)

    def __contains__(self, part: Any) -> bool:
        return part in self.function


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a function's parameters (of a module's ``forward``), for messages."""
    try:
        return tuple(inspect.signature(getattr(function, "forward", function)).parameters)
    except (TypeError, ValueError):
        return ()


def checked_batch_axis(axes: Any, function: Callable[..., Any] | None) -> BatchAxis:
    """Return ``batch_axis`` with plain numbers; raise if it is no axis, or names no argument of the function."""
    named = axes if isinstance(axes, Mapping) else {None: axes}
    checked: dict[Any, int] = {}
    for name, axis in named.items():
        if isinstance(axis, (bool, np.bool_)) or not isinstance(axis, (int, np.integer)):
            raise ArgumentTypeError(
                f"compile: got batch_axis={axes!r}", expected='an integer, or one for each name: {"x": 1}'
            )
        if axis < 0:
            raise ArgumentError(f"compile: got batch_axis={axes!r}", expected="axes counted from the front, from 0")
        checked[name] = int(axis)
    if not isinstance(axes, Mapping):
        return checked[None]
    names = argument_names(function)
    for name in checked:
        if names is not None and name not in names:
            raise ArgumentError(
                f"compile: got batch_axis={axes!r}, and no argument is named {name!r}",
                expected=" or ".join(names) or "a function with arguments",
                fix=nearest(str(name), names),
            )
    return checked


def argument_names(function: Callable[..., Any] | None) -> tuple[str, ...] | None:
    """Return the names that arguments of a function (of a module's ``forward``) can have; None if that is not known."""
    try:
        found = inspect.signature(getattr(function, "forward", function)).parameters  # type: ignore[arg-type]  # None: TypeError
    except (TypeError, ValueError):
        return None
    is_open = any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in found.values())
    return None if is_open else tuple(found)


def compile(
    function: Callable[..., Any] | None = None, *, batch_axis: BatchAxis = 0, keep_gradients: bool = False
) -> Any:
    """Compile a function of tensors (or a module): trace it once, then run it as one graph. Usable as a decorator.

    ``batch_axis``      the axis whose size may differ from call to call, in every argument that shares the first's size;
                        or by name: ``{"sequences": 1, "labels": 0}``
    ``keep_gradients``  keep ``p.grad`` after each run also where the function clears gradients itself

    Inside, tensors have no values: ``item()``, ``numpy()``, ``float()`` and ``if`` on a tensor raise TraceError at
    their line. Python runs once, while tracing: what it prints is not repeated. What it reads outside by name (numbers, entries
    of lists and dicts, attributes of objects and classes, also in hooks) is compared at each call (of arrays above 64 kB which
    ones they are and some of their elements, of containers above some size only which: docs/decisions/0004-traces.md). A tensor that it puts into an
    attribute (``self.last = y.detach()``) is put there by each run; a list that is changed, also one that is an argument, raises
    TraceError. So do numbers of modules, modes (``eval()``), flags (``requires_grad_``), hooks, layers and settings that it changes and
    leaves so (for a while is fine), and random numbers that are not chainrule's (``random.random()``, ``np.random.randn()``, a
    generator from outside), which would be the same in every call: draw with ``cr.rand``, or pass them as arguments. (What cannot be
    seen: ``np.random.default_rng()`` in the code itself, the time, ``os.urandom``; they are asked once.)
    And ``next(it)`` on an iterator from outside: pass the item.

    What it returns are tensors of its own, copies of arguments and parameters too. Their tape stays inside: ``backward()`` belongs
    there; outside it raises GradientError. An error that the code raises ends the call: what it computed before is not kept.
    A tensor's text is no number (``f"{loss}"`` is ``<traced float32[]>``, for messages while tracing); ``f"{loss:.3f}"`` raises.

    The size of the batch may be any number: what decides on it (``n == 8``, ``range(n)``, ``table[n]``, ``f"{n}"``) is traced
    again for each. Only ``n is 8`` and ``type(n) is int`` cannot be seen, and are False.
    """
    if function is None:
        batch_axis = checked_batch_axis(batch_axis, None)
        return functools.partial(compile, batch_axis=batch_axis, keep_gradients=keep_gradients)
    if not callable(function):
        raise ArgumentTypeError(f"compile: got {type(function).__name__}", expected="a function or a module")
    batch_axis = checked_batch_axis(batch_axis, function)
    kind = CompiledModule if is_module(function) else Compiled
    return kind(function, batch_axis=batch_axis, keep_gradients=keep_gradients)
