"""``@compile``: trace a function of tensors into one graph, once, and run the graph from then on.

A whole training step may be inside: forward, backward, clipping, optimizer, scheduler. The size of axis 0 of the first
array argument (the batch) is a symbol, and so is that of every argument that shares it: one trace serves all sizes from
2 on. Code that decides on the size is traced again for that size.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import ArgumentTypeError, TraceError
from chainrule.graph import Graph, Node, show
from chainrule.graph.sizes import UndecidedSize, symbol
from chainrule.run import Program
from chainrule.tensors.changes import CHANGES
from chainrule.tensors.memory import refresh
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import NOT_KEPT, Tensor
from chainrule.tensors.trace import Trace, tracing

MOST_TRACES = 8
N = symbol("n")


class Arguments:
    """The arguments of one call: tensors apart, the rest (which the trace holds fixed) as a key."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], names: tuple[str, ...] = ()) -> None:
        self.tensors: list[Tensor] = []
        self.names: list[str] = []
        given = tuple([self._flatten(v, names[k] if k < len(names) else f"argument {k}") for k, v in enumerate(args)])
        named = tuple([(key, self._flatten(value, key)) for key, value in kwargs.items()])
        self.structure: Any = ("tuple", (("tuple", given), ("dict", named)))

    def _flatten(self, value: Any, name: str) -> Any:
        if isinstance(value, np.ndarray):
            value = Tensor(value)
        if isinstance(value, Tensor):
            self.tensors.append(value)
            self.names.append(name)
            return ("tensor", len(self.tensors) - 1)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            parts = tuple([self._flatten(v, f"{name}.{k}") for k, v in zip(value._fields, value, strict=True)])
            return ("named", type(value), parts)
        if isinstance(value, (list, tuple)):
            parts = tuple([self._flatten(v, f"{name}[{k}]") for k, v in enumerate(value)])
            return (type(value).__name__, parts)
        if isinstance(value, dict):
            return ("dict", tuple([(k, self._flatten(v, f"{name}[{k!r}]")) for k, v in value.items()]))
        try:
            hash(value)
        except TypeError:
            raise ArgumentTypeError(
                f"compiled function: {name} is a {type(value).__name__}",
                expected="tensors, arrays, numbers, strings, or lists, tuples and dicts of them",
            ) from None
        return ("value", type(value), value)


def rebuild(structure: Any, tensors: list[Any]) -> Any:
    """Return the value that ``structure`` describes, with these tensors in it."""
    kind = structure[0]
    if kind == "tensor":
        return tensors[structure[1]]
    if kind == "value":
        return structure[2]
    if kind == "named":
        return structure[1](*[rebuild(part, tensors) for part in structure[2]])
    if kind == "dict":
        return {key: rebuild(part, tensors) for key, part in structure[1]}
    parts = [rebuild(part, tensors) for part in structure[1]]
    return parts if kind == "list" else tuple(parts)


class Traced:
    """One trace of a function, ready to run: the program, what it reads from outside, what it writes there."""

    def __init__(self, trace: Trace, stand_ins: list[Tensor], result: Any, *, keep_gradients: bool, name: str) -> None:
        self.trace = trace
        self.bound = list(trace.bound.values())
        flat = Arguments((result,), {})
        self.structure = flat.structure
        outputs: list[Node] = [trace.node_of(t) if t._value is not None else t._node for t in flat.tensors]  # type: ignore[misc]  # traced
        self.returned = len(outputs)
        self.broken_tape = [
            node.requires_grad and not trace.backward_called and trace.recording.keeps_gradients for node in outputs
        ]
        self.arguments = len(stand_ins)
        self.written_arguments = [k for k, t in enumerate(stand_ins) if t._node is not trace.inputs[k]]
        outputs += [stand_ins[k]._node for k in self.written_arguments]  # type: ignore[misc]  # traced
        self.written = [bound for bound in self.bound if bound.node is not bound.input]
        outputs += [bound.node for bound in self.written]
        places = {id(t): k for k, t in enumerate(stand_ins)}
        self.grads: list[tuple[Any, bool]] = []  # (tensor or argument number, kept)
        self.cleared: list[Any] = []
        for grad in trace.grads.values():
            where = places.get(id(grad.tensor), grad.tensor)
            if grad.now is None:
                self.cleared.append(where)
            elif grad.now is not grad.before:
                kept = keep_gradients or not grad.cleared
                self.grads.append((where, kept))
                if kept:
                    outputs.append(grad.now._node if grad.now._value is None else trace.node_of(grad.now))  # type: ignore[arg-type]  # traced
        self.read_grads = [(places.get(id(g.tensor), g.tensor), g.before) for g in trace.grads.values() if not g.cleared]
        self.graph = Graph(trace.inputs, outputs, name)
        self.program = Program(self.graph)
        self.changes = CHANGES.count
        self.signature = self.describe()
        self.runs = 0

    def describe(self) -> tuple[Any, ...]:
        """Return what the trace took for granted: modules' settings, and which tensors want gradients."""
        modules = tuple([module_signature(module) for module in self.trace.modules.values()])
        return modules, tuple([bound.tensor._node is not None for bound in self.bound])

    def holds(self, tensors: list[Tensor]) -> bool:
        """Return whether what the trace took for granted is still so."""
        for where, before in self.read_grads:
            tensor = tensors[where] if isinstance(where, int) else where
            now = None if tensor._grad is NOT_KEPT else tensor._grad
            if (now is None) != (before is None) or (before is not None and now is not before):
                return False
        if self.changes != CHANGES.count:
            if self.describe() != self.signature:
                return False
            self.changes = CHANGES.count
        return True

    def run(self, tensors: list[Tensor], sizes: dict[str, int]) -> Any:
        """Run the graph on these arguments, write what it assigns, and return what it returns."""
        values: dict[Node, Any] = {bound.input: bound.tensor._value for bound in self.bound}
        for node, getter in self.trace.getters:
            values[node] = np.asarray(getter(), node.dtype)
        inputs = [t._value for t in tensors] + [values[node] for node in self.graph.inputs[self.arguments :]]
        outputs = self.program.run(inputs, sizes)
        results = self._results(outputs, inputs)
        at = self.returned
        for k in self.written_arguments:
            _write(tensors[k], outputs[at])
            at += 1
        for bound in self.written:
            _write(bound.tensor, outputs[at])
            at += 1
        for where, kept in self.grads:
            owner = tensors[where] if isinstance(where, int) else where
            if kept:
                owner._grad = Tensor(_owned(outputs[at], inputs))
                at += 1
            else:
                owner._grad = NOT_KEPT
        for where in self.cleared:
            owner = tensors[where] if isinstance(where, int) else where
            owner._grad = None
        for generator, _, _, count in self.trace.generators.values():
            generator.draw += count
        for call in self.trace.calls:
            call()
        self.runs += 1
        return rebuild(self.structure, results)[0][0]

    def _results(self, outputs: list[Any], inputs: list[Any]) -> list[Tensor]:
        results = []
        for k in range(self.returned):
            y = Tensor(_owned(outputs[k], inputs))
            if self.broken_tape[k]:
                y._node = Node(STOPPED, None, {}, y._value.shape, y._value.dtype, True)
            results.append(y)
        return results


class _Stopped:
    """Stands on the tape for a result of a compiled function: a backward pass through it says what to do."""

    name = "compiled"
    outputs = 1


STOPPED: Any = _Stopped()


def _owned(value: Any, inputs: list[Any]) -> Any:
    """Return an array of its own: what the function returns must not change when its inputs are written."""
    if value.base is not None or not value.flags.writeable or any(value is other for other in inputs):
        return np.array(value)
    return value


def _write(tensor: Tensor, value: Any) -> None:
    np.copyto(tensor._value, value)
    if tensor._storage is not None:
        tensor._storage.version += 1
    refresh(tensor)


def module_signature(module: Any) -> tuple[Any, ...]:
    """Return everything of a module that a trace depends on beside the numbers in its tensors."""
    parts: list[Any] = [id(module)]
    for name, value in sorted(vars(module).items()):
        if isinstance(value, (bool, int, float, str, tuple, type(None))):
            parts.append((name, value))
        elif isinstance(value, dict):
            parts.append((name, tuple([(key, id(part)) for key, part in value.items()])))
        else:
            parts.append((name, id(value)))
    return tuple(parts)


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a function's parameters (of a module's ``forward``), for messages."""
    try:
        return tuple(inspect.signature(getattr(function, "forward", function)).parameters)
    except (TypeError, ValueError):
        return ()


class Compiled:
    """A function that runs as a graph. ``graphs`` are its traces, ``report()`` says when and why it was traced."""

    def __init__(self, function: Callable[..., Any], *, batch_axis: int, keep_gradients: bool) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        self.parameters = parameter_names(function)
        self.batch_axis = batch_axis
        self.keep_gradients = keep_gradients
        self.traces: dict[Any, list[Traced]] = {}
        self.fixed: dict[Any, str] = {}
        self.log: list[str] = []
        self.given_up: dict[Any, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["function"], name)

    def __repr__(self) -> str:
        return f"<compiled {self.name}: {sum(map(len, self.traces.values()))} traces>"

    @property
    def graphs(self) -> list[Graph]:
        """The graph of each trace."""
        return [traced.graph for traces in self.traces.values() for traced in traces]

    @property
    def graph(self) -> Graph:
        """The graph of the first trace."""
        if not self.traces:
            raise TraceError(f"{self.name} has not been traced", fix="call it once")
        return self.graphs[0]

    def report(self) -> str:
        """Return when it was traced, and why."""
        return "\n".join(self.log) or f"{self.name}: not yet called"

    def show(self) -> str:
        """Return the graph of the first trace as text."""
        return show(self.graph)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function as a graph; trace it first if these kinds of arguments are new."""
        if STATE.mode == TRACE:
            return self.function(*args, **kwargs)
        given = Arguments(args, kwargs, self.parameters)
        tensors = given.tensors
        shapes, sizes = self._shapes(given)
        kind = (given.structure, STATE.mode, tuple([(t._value.dtype, t.requires_grad, t._value.ndim) for t in tensors]))
        if kind in self.fixed:
            shapes, sizes = [t._value.shape for t in tensors], {}
        key = (kind, tuple(shapes))
        for traced in self.traces.get(key, ()):
            if traced.holds(tensors):
                return traced.run(tensors, sizes)
        if kind in self.given_up:
            return self.function(*args, **kwargs)
        if self._count(kind) >= MOST_TRACES:
            return self._give_up(kind, given, args, kwargs)
        traced_now = self._trace(given, kind, shapes, sizes)
        return traced_now.run(tensors, {} if kind in self.fixed else sizes)

    def _count(self, kind: Any) -> int:
        return sum(len(traces) for (other, _), traces in self.traces.items() if other == kind)

    def _give_up(self, kind: Any, given: Arguments, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        text = (
            f"{self.name}: traced {MOST_TRACES} times for arguments that differ only in sizes or state; it runs "
            f"uncompiled from here on. {self.fixed.get(kind, 'Keep the shapes of its arguments the same')} "
            f"({', '.join(f'{n} {t._value.shape}' for n, t in zip(given.names, given.tensors, strict=True))})"
        )
        self.given_up[kind] = text
        self.log.append(text)
        warnings.warn(text, stacklevel=3)
        return self.function(*args, **kwargs)

    def _shapes(self, given: Arguments) -> tuple[list[Any], dict[str, int]]:
        """Return the shapes, with a symbol for the batch, and its size."""
        axis = self.batch_axis
        batch = next((t._value.shape[axis] for t in given.tensors if t._value.ndim > axis), 0)
        if batch < 2:
            return [t._value.shape for t in given.tensors], {}
        shapes = []
        for t in given.tensors:
            shape = t._value.shape
            if len(shape) > axis and shape[axis] == batch:
                shape = (*shape[:axis], N, *shape[axis + 1 :])
            shapes.append(shape)
        return shapes, {"n": batch}

    def _trace(self, given: Arguments, kind: Any, shapes: list[Any], sizes: dict[str, int]) -> Traced:
        try:
            traced = self._trace_with(given, shapes)
        except UndecidedSize as undecided:
            if not sizes:
                raise
            concrete = [t._value.shape for t in given.tensors]
            traced = self._trace_with(given, concrete)
            reason = f"The code decides on the batch size ({undecided.question}), so each size is traced"
            self.fixed[kind] = reason
            shapes = concrete
            self.log.append(f"{self.name}: {reason}: now {sizes['n']}")
        self.traces.setdefault((kind, tuple(shapes)), []).append(traced)
        text = ", ".join(f"{n} {list(map(str, s))}" for n, s in zip(given.names, shapes, strict=True)).replace("'", "")
        self.log.append(f"{self.name}: traced for {text or 'no arguments'}: {len(traced.graph.nodes)} nodes")
        return traced

    def _trace_with(self, given: Arguments, shapes: list[Any]) -> Traced:
        trace = Trace(self.name)
        with tracing(trace):
            stand_ins = [
                trace.argument(t, shape, name)
                for t, shape, name in zip(given.tensors, shapes, given.names, strict=True)
            ]
            args, kwargs = rebuild(given.structure, stand_ins)
            result = self.function(*args, **kwargs)
            return Traced(trace, stand_ins, result, keep_gradients=self.keep_gradients, name=self.name)


def compile(
    function: Callable[..., Any] | None = None, *, batch_axis: int = 0, keep_gradients: bool = False
) -> Any:
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
