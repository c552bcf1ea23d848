"""A finished trace: the program, what it reads from outside, what it writes there, and what has to be so for it to hold."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from chainrule import run as engines
from chainrule.errors import InPlaceError
from chainrule.graph import Graph, primitive
from chainrule.interrupts import held
from chainrule.tensors.again import Again, again
from chainrule.tensors.arguments import rebuild
from chainrule.tensors.attributes import Place
from chainrule.tensors.bindings import current_generator
from chainrule.tensors.changes import CHANGES
from chainrule.tensors.ends import Ends, is_apart, kind_of_gradient
from chainrule.tensors.generator import Generator
from chainrule.tensors.guards import Guards, label_of
from chainrule.tensors.kept import Kept
from chainrule.tensors.makers import gradient_of, makers_of
from chainrule.tensors.memory import move_apart, refresh, settle
from chainrule.tensors.overlaps import Spans, kept_apart
from chainrule.tensors.tensor import NOT_KEPT, Tensor, shared_storage
from chainrule.tensors.trace import Trace

CONSTANT = primitive("constant")
MOST_AGAIN = 16  # sizes that more calls are prepared for
OF_ARGUMENT = "of_argument"  # what marks an error about an argument that cannot be written


class Traced:
    """One trace of a function, ready to run once ``settle`` was called.

    The outputs of its graph, in this order: what is returned; what is written in place; new gradients that are kept;
    gradients of what is returned; what is put into attributes, and gradients of that.
    """

    def __init__(self, trace: Trace, stand_ins: list[Tensor], result: Any, *, keep_gradients: bool) -> None:
        self.name = trace.name
        self.runs = 0
        self._ends = Ends(trace, stand_ins, result, keep_gradients=keep_gradients)
        self._numbers = trace.numbers
        self._draws = [(draws.generator, draws.count) for draws in trace.draws.values()]
        self._drawn = {draws.draw: draws.count for draws in trace.draws.values()}
        self._steps: dict[Any, engines.Steps] = {}
        self._again: dict[tuple[int, ...], Again | None] = {}  # by sizes
        self._before, self._after = trace.calls_before, trace.calls_after
        self.apart = kept_apart(trace, stand_ins)
        name_inputs(trace)
        self._kept = Kept(self._ends, trace.reached.reads)
        reached = trace.reached
        self.guards = Guards(
            reached.names, trace.modules, trace.answers, reached.modules, reached.reads, reached.left()
        )
        if not trace.is_run:  # Python has done nothing yet
            reached.put_back()
        trace.close()

    def settle(self, sizes: dict[str, int]) -> None:
        """Build the program for a first run with ``sizes``, now that the trace and its tensors are gone.

        A tensor from outside that went with them was made by the function, with a value, and each call makes it anew: it
        becomes a constant, and what was written to it is forgotten.
        """
        ends = self._ends
        found = [*ends.arguments]
        for read in ends.outside:
            x = read.find([])
            if x is None:
                read.before.primitive, read.before.attributes = CONSTANT, {}
                read.before.value = read.value
            else:
                found.append(read._replace(value=None))
                self.guards.watch(x, read.before.attributes["name"])
        self.guards.forget_gone()
        found += [read._replace(value=None) for read in ends.placed]
        self._placed = [read.find for read in ends.placed]
        self._placed_written = [read.after is not read.before for read in ends.placed]
        self._held = [
            (held_in, weakref.ref(x))
            for read in ends.outside
            if (x := read.find([])) is not None and (held_in := ends.places.get(id(x)))
        ]
        found += ends.gradients
        written = [read for read in found if read.after is not read.before]
        new = [a for a in ends.assigned if a.node is not None]
        outputs = [*ends.results, *[read.after for read in written], *[a.node for a in new if a.node is not None]]
        outputs += [node for _, node in ends.of_results]
        first_in_attributes = len(outputs)
        outputs += [*ends.in_attributes, *[node for _, node in ends.of_attributes]]
        numbers = [node for nodes, _ in self._numbers for node in nodes]
        # What is written stays an input where nothing reads it: many runs in one call leave it there.
        whole = Graph([*[read.before for read in found], *numbers], outputs, self.name)
        self.graph = whole.without_unused_inputs([read.before for read in written])

        place = {node: k for k, node in enumerate(self.graph.inputs)}
        self.read = [read.find for read in found if read.before in place]
        self._argument_inputs = {k: place[read.before] for k, read in enumerate(ends.arguments) if read.before in place}
        self._numbers = [(nodes, ask) for nodes, ask in self._numbers if nodes[0] in place]
        self._form, self._kinds = ends.form, ends.kinds
        self._makers = self.result_makers()
        self._written = [read.find for read in written]
        self._written_outside = [read.find for read in ends.outside if read.after is not read.before]
        self._spans: Spans | None = None  # their memory
        self._spans_at = 0
        self._written_arguments = [k for k, read in enumerate(ends.arguments) if read.after is not read.before]
        self._new = [a.find for a in new]
        self._assigned = [(a.find, a.now) for a in ends.assigned if a.node is None and a.find_now is None]
        self._moved_gradients = [(a.find, a.find_now) for a in ends.assigned if a.find_now is not None]
        self._of_results = [k for k, _ in ends.of_results]
        self._is_whole = not (self._draws or self._before or self._after or self._kept or self._new or self._of_results)
        self._expected = ends.expected
        self._known_gradients = ends.known_gradients
        self._outside, self._viewed = [read.find for read in ends.outside], ends.viewed
        self._moved = ends.moved
        self.memories, self._moves = self._memories(), CHANGES.moves
        first = len(ends.results)
        targets = {first + k: place[read.before] for k, read in enumerate(written) if read.before in place}
        self._kept.settle(ends, first_in_attributes, place)
        targets |= self._kept.targets()
        self.program, self.reason = engines.choose(self.graph, targets, sizes)
        del self._ends

    def holds(self, tensors: list[Tensor]) -> bool:
        """Return whether what the trace took for granted is so for these arguments."""
        if self._moves != CHANGES.moves:
            if any(is_apart(x, base) for x, base in self._viewed):
                return False
            self.memories, self._moves = self._memories(), CHANGES.moves
        for k in self.apart:
            storage = tensors[k]._storage
            if storage is not None and storage in self.memories:
                return False  # an argument is also used as a tensor from outside
        if self._placed and self._share_memory(tensors):
            return False
        if self._written_outside and self._sees_written(tensors):
            return False
        for find, kind in self._expected:
            x = find(tensors)
            if x is None or kind_of_gradient(x._grad) is not kind:
                return False
        for find, find_known in self._known_gradients:
            if find(tensors) is not find_known(tensors):
                return False
        return self.guards.hold()

    def _memories(self) -> frozenset[Any]:
        """Return the records of the memory of all tensors from outside."""
        return frozenset([shared_storage(x) for find in self._outside if (x := find([])) is not None])

    def _sees_written(self, tensors: list[Tensor]) -> bool:
        """Say whether an argument, or what is found by its place, looks at the memory of a tensor from outside that a run writes into."""
        if self._spans is None or self._spans_at != CHANGES.moves:
            outside = [x for find in self._written_outside if (x := find([])) is not None]
            self._spans, self._spans_at = Spans([x._value for x in outside]), CHANGES.moves
        are_seen_by = self._spans.are_seen_by
        if self._placed:
            tensors = [*tensors, *[x for find in self._placed if (x := find(tensors)) is not None]]
        return True in [are_seen_by(x._value) for x in tensors]

    def finds_all(self, tensors: list[Tensor]) -> bool:
        """Return whether all that a run reads from outside is still there."""
        return all(find(tensors) is not None for find in self.read)

    def _share_memory(self, tensors: list[Tensor]) -> bool:
        """Say whether tensors that are found by their places have the memory of others."""
        given, apart = {x._storage for x in tensors}, {tensors[k]._storage for k in self.apart}
        seen: set[Any] = set()
        for find, is_written in zip(self._placed, self._placed_written, strict=True):
            x = find(tensors)
            storage = None if x is None else shared_storage(x)
            if (
                storage is None
                or storage in self.memories
                or storage in seen
                or storage in (given if is_written else apart)
            ):
                return True
            seen.add(storage)
        return False

    def moved(self) -> set[tuple[int, str]]:
        """Return whose attributes, by id and name, hold another tensor than when it was traced."""
        return {
            (id(place.find()), place.name)
            for place, find in self._held
            if (now := place.tensor()) is not None and now is not find()
        }

    def inputs(self, tensors: list[Tensor]) -> list[Any] | None:
        """Return the arrays to run with on these arguments; None if a tensor from outside is gone."""
        for find in self._moved:
            x = find(tensors)
            if x is not None:
                move_apart(x)
        values = []
        for find in self.read:
            x = find(tensors)
            if x is None:
                return None
            values.append(x._value)
        for k in self._kept.carried.values():
            values[k] = np.array(values[k], order="C")
        return values

    def run(self, tensors: list[Tensor], values: list[Any], sizes: dict[str, int]) -> Any:
        """Run the graph on what ``inputs`` returned, write what it assigns, and return what the function returns.

        If an operation raises, nothing has changed.
        """
        if not self._is_whole:
            with held():  # what the program wrote, and what follows it here, is one thing
                return self._run(tensors, values, sizes)
        return self._run(tensors, values, sizes)

    def _run(self, tensors: list[Tensor], values: list[Any], sizes: dict[str, int]) -> Any:
        if self._written_arguments:
            self._check_arguments(tensors)
        for call in self._before:
            call()
        for _, ask in self._numbers:
            values += ask()
        early = self._kept.look(tensors) if self._kept else {}
        moved = [(find, find_now(tensors)) for find, find_now in self._moved_gradients]
        outputs = self.program.run(values, sizes)
        at = len(self._kinds)
        results = [make(y) for make, y in zip(self._makers, outputs, strict=False)]
        for find in self._written:
            x = find(tensors)
            if x is not None:
                _write(x, outputs[at])
            at += 1
        for find in self._new:
            find(tensors)._grad = gradient_of(outputs[at])
            at += 1
        for find, now in [*self._assigned, *moved] if moved else self._assigned:
            x = find(tensors)
            if x is not None:
                x._grad = now
        for k in self._of_results:
            results[k]._grad = gradient_of(outputs[at])
            at += 1
        if self._kept:
            made = dict(enumerate(outputs))
            self._kept.put(made, dict(enumerate(results)), dict(enumerate(tensors)), early, sizes, self.guards)
        for generator, count in self._draws:
            current_generator(generator).draw += count
        for call in self._after:
            call()
        self.runs += 1
        return rebuild(self._form, results, sizes)

    def only_computes(self) -> bool:
        """Say whether a run does nothing but compute results from arguments and what is outside, and asks nobody anything."""
        return not (
            self._placed or self._before or self._after or self._numbers or self._draws or self._written or self._new
            or self._assigned or self._moved_gradients or self._of_results or self._kept or self._expected or self._known_gradients or self.guards.answers
        )  # fmt: skip

    def again(self, tensors: list[Tensor], sizes: dict[str, int]) -> Again | None:
        """Return what serves more calls like the one with these arguments; None where each of them needs more."""
        key = tuple(sizes.values())
        found = self._again.get(key)
        if key not in self._again or (found is not None and found.is_stale()):
            while len(self._again) >= MOST_AGAIN:
                self._again.pop(next(iter(self._again)))
            found = self._again[key] = again(self, tensors, sizes)
        return found

    def result_makers(self) -> list[Callable[[Any], Tensor]]:
        """Return the functions that make the results of arrays."""
        return makers_of(self._kinds)

    def engine(self) -> list[str]:
        """Say in lines what runs it, or why that is not native code."""
        if self.reason:
            return [f"not native: {self.reason}"]
        return cast("engines.NativeProgram", self.program).report()

    def prepare(self, tensors: list[Tensor], sizes: dict[str, int]) -> None:
        """Lay out the memory of runs with arguments like these, so that ``memory`` says how much they take.

        Raises OutOfMemoryError if there is not so much.
        """
        if self.reason:
            return
        ready = cast("engines.NativeProgram", self.program).ready(sizes)
        if self.can_run_steps():
            for k, place in self._argument_inputs.items():
                ready.batch_bytes[place] = tensors[k]._value.nbytes

    def memory(self) -> str:
        """Say how much memory native runs take beside inputs and results; "" if that is not known."""
        return "" if self.reason else cast("engines.NativeProgram", self.program).memory()

    def profile(self) -> list[str]:
        """Return lines like ``engine``, and, if that is native code, a table of what each of its kernels costs."""
        if self.reason:
            return self.engine()
        program = cast("engines.NativeProgram", self.program)
        return [*program.report(), *engines.measure(program).lines()]

    def attributes(self) -> list[tuple[Place, Any]]:
        """Return the attributes that a run sets, and what they hold now."""
        return self._kept.values()

    def written(self, tensors: list[Tensor]) -> list[Tensor]:
        """Return the tensors that a run with these arguments writes into."""
        return [x for find in self._written if (x := find(tensors)) is not None]

    def generators(self) -> list[Generator]:
        """Return the generators that a run draws from."""
        return [current_generator(generator) for generator, _ in self._draws]

    def origin(
        self, tensors: list[Tensor], sizes: dict[str, int], judged: Sequence[int] | None = None, layer: str = ""
    ) -> engines.Origin | None:
        """Return where the first NaN or infinity in a run with these arguments comes from; None if there is none.

        ``judged`` are the results that have to be finite (None: all), beside what is written; where the output of ``layer``
        is not, the search begins there. Nothing is written.
        """
        values = self.inputs(tensors)
        assert values is not None  # holds() said so
        for _, ask in self._numbers:
            values += ask()
        outputs = [*(range(self.num_results) if judged is None else judged)]
        outputs += range(self.num_results, len(self.graph.outputs))
        return engines.find_origin(self.graph, values, sizes, outputs, layer, native=not self.reason)

    def can_run_steps(self) -> bool:
        """Say whether many runs can be one native call: nothing in Python has to happen between them."""
        calls = (
            self._before
            or self._after
            or self._new
            or self._of_results
            or self._written_arguments
            or self._moved_gradients
        )
        kept = any(now is not None and now is not NOT_KEPT for _, now in self._assigned)
        moves = self._moved and self._viewed
        return not (self.reason or calls or kept or moves) and self._kept.is_lasting

    def run_steps(
        self,
        tensors: list[Tensor],
        rows: Mapping[int, Any],
        order: Any,
        sizes: dict[str, int],
        steps: int,
        wanted: Sequence[int],
        between: Callable[[int], Any] | None = None,
        scalings: Mapping[int, engines.Scaling] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> tuple[int, dict[int, Any]]:
        """Run ``steps`` times on batches of rows (by argument), and write what each run assigns.

        ``tensors`` are arguments of the right shapes, ``order`` the rows of all batches, ``wanted`` the results to keep of
        every run; ``between`` is called once per run, and may change rates; ``scalings`` says how rows (by argument) are scaled;
        ``stop`` is asked now and then whether to come back with fewer.
        Returns how many runs were done, and the arrays of these results.
        """
        key = (tuple(sizes.items()), tuple(wanted))
        if key not in self._steps:
            for find in self._written:
                x = find(tensors)
                if x is not None:
                    settle(x)
                    del x
        values = self.inputs(tensors)
        assert values is not None  # holds() said so
        nodes = [node for several, _ in self._numbers for node in several]
        told = []
        for step in range(steps):
            told.append([value for _, ask in self._numbers for value in ask()])
            if between is None:
                break
            between(step)
            if self.guards.names and not self.guards.hold():
                steps = step + 1  # a rate that the code reads is another one now: what follows is another trace's
                break
        first = len(values)
        values += told[0]
        numbers: dict[int, Any] = {}
        for k, node in enumerate(nodes):
            if node in self._drawn:
                numbers[first + k] = told[0][k] + self._drawn[node] * np.arange(steps)
            elif between is not None:
                numbers[first + k] = np.array([row[k] for row in told])
        gathered = {self._argument_inputs[k]: array for k, array in rows.items() if k in self._argument_inputs}
        places = self._argument_inputs
        scaled = {places[k]: scaling for k, scaling in (scalings or {}).items() if k in places}
        runner = self._steps.get(key)
        if runner is None:
            program = cast("engines.NativeProgram", self.program)
            runner = self._steps[key] = engines.Steps(
                program, sizes, wanted, self._kept.left(), leaves_batches=self._kept.holds_rows
            )
        feed = engines.Feed(gathered, numbers, order, scaled)
        done, results, left, batches = runner.run(values, feed, steps, stop)
        for find in self._written:
            x = find(tensors)
            if x is not None:
                _write(x, x._value)
        for find, now in self._assigned:
            x = find(tensors)
            if x is not None:
                x._grad = now
        if self._kept:
            left |= {number: values[k] for number, k in self._kept.targets().items()}
            found = {k: make(left[k]) for k, make in enumerate(self._makers) if k in left}
            given = {k: x for k, x in enumerate(tensors) if places.get(k) not in gathered}
            given |= {k: Tensor(batches[place]) for k, place in places.items() if place in batches}
            self._kept.put(left, found, given, {}, sizes, self.guards)
        for generator, count in self._draws:
            current_generator(generator).draw += count * done
        self.runs += done
        return done, results

    @property
    def form(self) -> Any:
        """The form of what the function returns."""
        return self._form

    @property
    def num_results(self) -> int:
        """How many tensors the function returns."""
        return len(self._kinds)

    def _check_arguments(self, tensors: list[Tensor]) -> None:
        """Raise if an argument that the function writes to cannot be written, or shares memory with another one."""
        for k in self._written_arguments:
            value = tensors[k]._value
            if not engines.can_be_written(value):
                raise _refused(
                    f"the compiled function '{self.name}' writes to its argument {k}, whose memory is read-only or shared "
                    "by several of its elements",
                    fix="pass a clone() of it",
                )
            if any(np.shares_memory(value, x._value) for j, x in enumerate(tensors) if j != k):
                raise _refused(
                    f"the compiled function '{self.name}' writes to its argument {k}, which shares memory with another one",
                    fix="pass a clone() of one of them",
                )


def _refused(what: str, fix: str) -> InPlaceError:
    error = InPlaceError(what, fix=fix)
    vars(error)[OF_ARGUMENT] = True
    return error


def is_of_argument(error: InPlaceError) -> bool:
    """Say whether it is about an argument that a compiled function writes to, before it does."""
    return OF_ARGUMENT in vars(error)


def _write(x: Tensor, value: Any) -> None:
    if value is not x._value:
        np.copyto(x._value, value)
    if x._storage is not None:
        x._storage.version += 1
    refresh(x)


def name_inputs(trace: Trace) -> None:
    """Give the inputs that are parameters, buffers, states and gradients the names that the text of the graph shows."""
    known = {}
    for module in trace.modules.values():
        place = label_of(module)
        for name, x in (*module._parameters.items(), *module._buffers.items()):
            known[id(x)] = f"{place}.{name}"
    for bound in trace.bound.values():
        name = known.get(id(bound.tensor))
        if name is None and id(bound.tensor) in trace.names:
            what, of = trace.names[id(bound.tensor)]
            name = f"{what} of {known.get(id(of), 'a tensor')}"
        elif bound.gradient_of is not None:
            name = f"gradient of {known.get(id(bound.gradient_of), 'a tensor')}"
        if name is not None:
            bound.input.attributes["name"] = name
