"""Tracing a function for one call: again where it decides on the size of the batch, or where other threads were in the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from chainrule.compiler.garbage import garbage_put_off
from chainrule.errors import TraceError
from chainrule.graph.size_in_code import SizeInCode
from chainrule.graph.sizes import UndecidedSize
from chainrule.interrupts import held
from chainrule.tensors.arguments import by_name, rebuild, values_in
from chainrule.tensors.caches import check_caches
from chainrule.tensors.call import Call
from chainrule.tensors.opened import Closed, Copies
from chainrule.tensors.other_threads import ChangedMeanwhile, code_that_runs, others_wait
from chainrule.tensors.overlaps import check_overlaps
from chainrule.tensors.trace import Trace, tracing
from chainrule.tensors.traced import Traced
from chainrule.tensors.user_line import user_line

OF_USERS = "_of_users"  # an attribute of a function: others that it calls, which its own code does not name, and what these are given
TRIES = 4  # to trace a function, where other threads change what is outside
LONGER = 4  # times as long as the first try


class NotAhead(Exception):
    """Code asks for state of an optimizer that its first run makes: it cannot be traced before that."""


class Tracer:
    """Traces one function. ``moving`` are attributes in which a tensor was replaced before: see ``Traces``."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        parameters: tuple[str, ...],
        moving: set[tuple[int, str]],
        *,
        keep_gradients: bool,
    ) -> None:
        self._function, self._name, self._parameters = function, name, parameters
        self._moving, self._keep_gradients = moving, keep_gradients

    def trace(self, call: Call, *, is_run: bool) -> tuple[Traced, str]:
        """Return a trace for a call, and how the code decides on the size of the batch, which is then a number in ``call``.

        ``is_run``: the function is called now; if not, it is traced ahead of its first run.

        Raises:
            Closed: the code put something into an argument that was taken apart.
            NotAhead: it has to be called, to be traced.
        """
        before: dict[int, Any] = {}  # what was changed outside while it was traced, maybe by other threads: see Reached
        try:
            return self._tries(call, before, is_run=is_run), ""
        except UndecidedSize as undecided:
            if not call.sizes:
                raise
            line = undecided.line or user_line(undecided.__traceback__)
            decided = f"the code decides on the size of {call.batch()} ({undecided.question}?{line})"
        except TypeError as refused:  # perhaps by code that takes ints alone, as json does
            if not call.sizes:
                raise
            line = user_line(refused.__traceback__)
            why = (
                "a function that takes numbers alone is given it"
                if SizeInCode.__name__ in str(refused)
                else str(refused)
            )
            decided = f"the code decides on the size of {call.batch()} ({why}: which number is it?{line})"
        call.fix_sizes(decided)
        return self._tries(call, before, is_run=is_run), decided

    def _tries(self, call: Call, before: dict[int, Any], *, is_run: bool) -> Traced:
        """Return a new trace: of another try where other threads may have changed something in the one before."""
        start, took = time.perf_counter(), 0.0
        for left in reversed(range(TRIES)):
            try:
                return self._try(call, before, took * LONGER, is_run=is_run, is_last=not left)
            except ChangedMeanwhile:
                took = took or time.perf_counter() - start
        raise AssertionError("the last try says who did it")

    def _try(self, call: Call, before: dict[int, Any], wait: float, *, is_run: bool, is_last: bool) -> Traced:
        """Trace the function, while other threads wait for so long."""
        with held() as ctrl_c, garbage_put_off(), others_wait(wait) as quiet:
            trace = Trace(self._name, call.sizes, self._moving)
            trace.is_run, trace.reached.is_last, trace.reached.before = is_run, is_last, before
            (_, (args, kwargs)) = call.given.form
            forms = by_name(self._parameters, args[1], kwargs[1])
            trace.reached.note(self._function, [found for name, form in forms for found in values_in(form, name)])
            for function, given in getattr(self._function, OF_USERS, ()):
                trace.reached.note(function, given)
            traced, states = None, []
            try:
                with tracing(trace):
                    traced = self._run_in(trace, call, ctrl_c)
            except (UndecidedSize, Closed):  # it is traced again
                trace.reached.undo_all_but_doubtful()
                trace.reached.check_iterators(self._name)
                raise
            except (TraceError, TypeError) as error:
                if call.sizes or isinstance(error, TraceError):
                    trace.reached.put_back()
                if call.sizes and not isinstance(error, TraceError):
                    trace.reached.check_iterators(self._name)
                raise
            finally:
                if traced is None:
                    trace.reached.put_back_states()
                elif not is_run:
                    states = [state for state in trace.reached.states.values() if state.has_more()]
                trace.reached.states = {}
                trace.close()
            quiet.end()
            with ctrl_c.let_through():
                traced.settle(call.sizes)
        if states and not traced.guards.hold():
            for state in states:
                state.put_back()
            raise NotAhead
        return traced

    def _run_in(self, trace: Trace, call: Call, ctrl_c: held) -> Traced:
        given = call.given
        stand_ins = [
            trace.argument(x, shape, name)
            for x, shape, name in zip(given.tensors, call.symbolic_shapes(), given.names, strict=True)
        ]
        made = rebuild(given.form, stand_ins, {})
        copies, (args, kwargs) = Copies(given.form, made), made
        trace.reached.note_arguments(by_name(self._parameters, args, kwargs.items()))
        try:
            with ctrl_c.let_through():
                try:
                    if trace.reached.is_last:
                        with code_that_runs() as trace.reached.ran:
                            result = self._function(*args, **kwargs)
                    else:
                        result = self._function(*args, **kwargs)
                except Exception as error:
                    if not isinstance(error, TraceError):
                        trace.check_caught()
                    raise
            trace.check_caught()
            trace.reached.reads.close()
            copies.check()
            trace.check_sizes()
            trace.check_toggles()
            check_overlaps(trace, stand_ins)
            check_caches(trace)
        finally:
            trace.asked.close()
        trace.reached.check(self._name)
        return Traced(trace, stand_ins, result, keep_gradients=self._keep_gradients)
