"""A chain of elementwise operations as one: the primitive ``call``, and the loop that runs its body block by block.

An optimizer's update is about a dozen elementwise operations on arrays of one shape. Computed one after the other, each
writes an array of that size into fresh memory, and most of the time goes into getting the pages. Here a block of every
operand passes through all operations while it is in the cache, and the values in between live in a few scratch blocks:

    for each block of the flattened operands:
        for each operation:  operation(blocks of its inputs → scratch block, or the output's own block)

The bits are those of the operations one by one: each is elementwise and exactly rounded wherever its block starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from operator import itemgetter
from struct import Struct
from typing import Any, ClassVar, NamedTuple

import numpy as np

from chainrule.errors import DtypeError, ShapeError, VerifyError
from chainrule.graph import Array, Dtype, Graph, Node, Primitive, Recording, Spec, graph_input, no_gradient, primitive
from chainrule.graph.sizes import same_shape, symbol
from chainrule.ops.compare import Cast

BLOCK_BYTES = 1 << 18  # of one operand: a handful of them is about a second-level cache; smaller ones cost more calls
CAST = primitive(Cast.name)
_LENGTH = (symbol("n"),)


class Call(Primitive):
    """y, … = the outputs of a graph of elementwise operations, its body"""

    name = "call"
    outputs: ClassVar[int] = 2  # several; how many, the body says
    variadic = True
    vjp = no_gradient("it is an optimizer's update, which is not differentiated; write the update in tensor operations")

    def shape(self, *operands: Any, body: Graph) -> tuple[Spec, ...]:
        if len(operands) != len(body.inputs):
            raise ShapeError(
                f"call: got {len(operands)} operands", expected=f"{len(body.inputs)}, as {body.name} takes"
            )
        common: Any = ()
        first = True
        for operand, taken in zip(operands, body.inputs, strict=True):
            if operand.dtype != taken.dtype:
                raise DtypeError(f"call: {_name(taken)} of {body.name} is {operand.dtype}", expected=str(taken.dtype))
            if not taken.shape:
                wanted: Any = ()
            elif first:
                common, wanted, first = operand.shape, operand.shape, False
            else:
                wanted = common
            if not same_shape(operand.shape, wanted):
                raise ShapeError(
                    f"call: {_name(taken)} of {body.name} has shape {tuple(operand.shape)}", expected=f"{tuple(wanted)}"
                )
        return tuple([Spec(common if node.shape else (), node.dtype) for node in body.outputs])

    def evaluate(self, *operands: Array, body: Graph) -> tuple[Array, ...]:
        like = next((x for x, taken in zip(operands, body.inputs, strict=True) if taken.shape), None)
        outputs = [
            np.empty((), node.dtype) if like is None or not node.shape else np.empty_like(like, dtype=node.dtype)
            for node in body.outputs
        ]
        run_body(body, operands, outputs)
        return tuple(outputs)


def _name(node: Node) -> str:
    return repr(node.attributes.get("name", "an input"))


def vector_input(name: str, dtype: Dtype) -> Node:
    """Return an input of a body that stands for an array of any shape, the same for all of these."""
    return graph_input(name, _LENGTH, dtype)


def scalar_input(name: str, dtype: Dtype) -> Node:
    """Return an input of a body that stands for one number: what is computed of such numbers alone is computed once."""
    return graph_input(name, (), dtype)


class BodyRecording(Recording):
    """The recorder of a body: numbers of no dimensions take the dtype of the array they meet, or the wider of two.

    So that a rate in float64 and a parameter in float32 may be written ``p - lr * g``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.keeps_gradients = False
        self._casts: dict[tuple[Node, Dtype], Node] = {}

    def apply(self, primitive: Primitive, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Node:
        """Return the new node of one operation."""
        if primitive is CAST:
            return super().apply(primitive, operands, attributes)
        start = 1 if primitive.name == "where" else 0  # its condition stays a truth value
        nodes = [o for o in operands[start:] if type(o) is Node]
        arrays = [node for node in nodes if node.shape]
        dtypes = [node.dtype for node in arrays or nodes] or [np.dtype(np.float64)]
        dtype = max(dtypes, key=_width)
        fitted = [self.fitted(o, dtype) for o in operands[start:]]
        return super().apply(primitive, (*operands[:start], *fitted), attributes)

    def fitted(self, operand: Any, dtype: Dtype) -> Node:
        """Return a number, or a node of no dimensions, in ``dtype``; an array as it is."""
        if type(operand) is not Node:
            return self.number(operand, dtype)
        if operand.dtype == dtype or operand.shape:
            return operand
        key = (operand, dtype)
        if key not in self._casts:
            self._casts[key] = super().apply(CAST, (operand,), {"dtype": dtype})
        return self._casts[key]


def _width(dtype: Dtype) -> int:
    return dtype.itemsize


def run_body(body: Graph, inputs: Sequence[Any], outputs: Sequence[Array]) -> None:
    """Run ``body`` on ``inputs`` (arrays, or Python numbers where it takes one number) and write into ``outputs``.

    An output may be one of the inputs: it is then written in place. Otherwise it must share no memory with them. Strides
    may be any. NumPy's floating-point warnings are the caller's to silence.
    """
    programs = _programs(body)
    numbers = programs.numbers.compute(inputs)
    if programs.given:
        arrays = [inputs[k] for k in programs.taken]
        places = {id(x): k for k, x in enumerate(arrays)}
        if len(places) < len(arrays):  # one array given twice: a write must not be seen through the other
            arrays = [x if places[id(x)] == k else np.array(x) for k, x in enumerate(arrays)]
        targets = [outputs[k] for k in programs.given]
        pattern = tuple([places.get(id(y), -1) for y in targets])
        if -1 in pattern:
            arrays += [y for y, k in zip(targets, pattern, strict=True) if k == -1]
        programs.of(pattern).run(arrays, numbers)
    for k, at in programs.numbers.given:
        outputs[k][...] = numbers[at]


class Programs:
    """What is worked out once for a body: its numbers, and one program for each pattern of outputs that are inputs."""

    def __init__(self, body: Graph) -> None:
        _check(body)
        self.body = body
        self.taken = [k for k, node in enumerate(body.inputs) if node.shape]
        self.given = [k for k, node in enumerate(body.outputs) if node.shape]
        self.numbers = Numbers(body)
        self._known: dict[tuple[int, ...], Program] = {}

    def of(self, pattern: tuple[int, ...]) -> Program:
        """Return the program where output k is written over the array input ``pattern[k]``, or over none (-1)."""
        program = self._known.get(pattern)
        if program is None:
            inputs = [self.body.inputs[k] for k in self.taken]
            outputs = [self.body.outputs[k] for k in self.given]
            over = [inputs[k] if k >= 0 else None for k in pattern]
            nodes = [node for node in self.body.nodes if node.shape]
            program = self._known[pattern] = Program(inputs, outputs, over, nodes, self.numbers.place)
        return program


def _programs(body: Graph) -> Programs:
    found = body.__dict__.get("programs")
    if found is None:
        found = body.__dict__["programs"] = Programs(body)
    programs: Programs = found
    return programs


class Numbers:
    """The operations of a body on numbers alone: done once per call, and only those below a number that has changed.

    The parameters of a group are called with the same numbers, and from step to step few of them change.
    """

    def __init__(self, body: Graph) -> None:
        inputs = [(k, node) for k, node in enumerate(body.inputs) if not node.shape]
        constants = [node for node in body.nodes if _is_constant(node)]
        computed = [node for node in body.nodes if not node.shape and not _is_constant(node)]
        self.place = {node: k for k, node in enumerate((*[node for _, node in inputs], *constants, *computed))}
        self.taken = [(k, node.dtype) for k, node in inputs]
        self.given = [(k, self.place[node]) for k, node in enumerate(body.outputs) if not node.shape]
        self._steps = [
            (self.place[node], _computing(node), [self.place[x] for x in node.inputs or ()]) for node in computed
        ]
        self._steps_after: dict[tuple[int, ...], list[NumberStep]] = {}
        # Compared by their bits: -0.0 is not 0.0, and a NaN is what it was. Integers may be too large for that.
        are_floats = all(node.dtype.kind == "f" for _, node in inputs)
        self._bits = Struct(f"{len(inputs)}d").pack if are_floats else None
        given: list[Any] = [None] * len(inputs)
        self._before = b"", [*given, *[node.value for node in constants], *[None for _ in computed]]

    def compute(self, inputs: Sequence[Any]) -> list[Array]:
        """Return the inputs, constants and results, each as an array of no dimensions."""
        values = [inputs[k] for k, _ in self.taken]
        bits = b"" if self._bits is None else self._bits(*values)
        known, numbers = self._before
        if known and bits == known:
            return numbers
        changed = list(range(len(values)))
        if known:
            changed = [k for k in changed if bits[8 * k : 8 * k + 8] != known[8 * k : 8 * k + 8]]
        numbers = numbers.copy()  # another thread may be reading them
        for k in changed:
            numbers[k] = np.array(values[k], dtype=self.taken[k][1])
        for at, compute, reads in self._after(tuple(changed)):
            numbers[at] = np.asarray(compute(*[numbers[k] for k in reads]))
        self._before = bits, numbers
        return numbers

    def _after(self, changed: tuple[int, ...]) -> list[NumberStep]:
        """Return the operations whose results change with these inputs; all of them if all inputs have changed."""
        steps = self._steps_after.get(changed)
        if steps is None:
            stale = set(changed)
            steps = []
            for step in self._steps:
                at, _, reads = step
                if len(changed) == len(self.taken) or not stale.isdisjoint(reads):
                    stale.add(at)
                    steps.append(step)
            self._steps_after[changed] = steps
        return steps


NumberStep = tuple[int, Callable[..., Any], list[int]]  # the place of the result, the function, the places it reads
Step = tuple[Callable[..., Any], Callable[[Any], tuple[Any, ...]]]


class Slot(NamedTuple):
    """A place that may be written up to an operation, and what it holds."""

    at: int
    until: int
    dtype: Dtype


class Program:
    """The operations of a body on arrays, in order, block by block.

    A block's values stand in one list: those of inputs, of outputs that are written over no input, numbers, scratch. An
    operation is a function and the places that it reads and, last, writes.
    """

    def __init__(
        self,
        inputs: list[Node],
        outputs: list[Node],
        over: list[Node | None],
        nodes: list[Node],
        numbers: dict[Node, int],
    ) -> None:
        place = {node: at for at, node in enumerate(inputs)}
        own = count(len(inputs))
        self._written = [next(own) if old is None else place[old] for old in over]
        first_number = next(own)
        place.update((node, first_number + k) for node, k in numbers.items())
        self._end = first_number + len(numbers)
        self._scratch: list[Dtype] = []
        self._steps: list[Step] = []
        self._plan(nodes, outputs, over, place)
        self._block = BLOCK_BYTES // max(node.dtype.itemsize for node in (*inputs, *nodes))
        self._free: list[list[Array]] = []  # scratch that no thread is using

    def _plan(self, nodes: list[Node], outputs: list[Node], over: list[Node | None], place: dict[Node, int]) -> None:
        """Give each value a place while it is needed: an output's own memory where that is safe, else scratch."""
        when = {node: k for k, node in enumerate(nodes)}
        last_read = {x: k for k, node in enumerate(nodes) for x in node.inputs or ()}
        own: dict[int, list[Slot]] = {}  # memory of outputs, by the operation that reads its old contents last
        copies: list[tuple[int | Node, int]] = []  # at the end of a block
        for at, node, old in zip(self._written, outputs, over, strict=True):
            free_from = -1 if old is None else last_read.get(old, -1)
            if node not in when:  # an input handed on: set aside, as it may be overwritten before the end
                if node is not old:
                    aside = self._new_scratch(node.dtype)
                    self._steps.append((_copy, itemgetter(place[node], aside)))
                    copies.append((aside, at))
            elif node in place or free_from > when[node]:
                copies.append((node, at))
                last_read[node] = len(nodes)
            else:
                place[node] = at
                own.setdefault(free_from, []).append(Slot(at, when[node], node.dtype))

        free = own.get(-1, [])
        in_use: list[tuple[Slot, int]] = []  # and the operation that reads it last
        for k, node in enumerate(nodes):
            reads = [place[x] for x in node.inputs or ()]
            free += own.get(k, [])  # from this operation on: it may write where it reads
            free += [slot for slot, last in in_use if last <= k]
            in_use = [(slot, last) for slot, last in in_use if last > k]
            if node not in place:
                needed = last_read[node]
                slot = next((slot for slot in free if slot.until >= needed and slot.dtype == node.dtype), None)
                if slot is None:
                    slot = Slot(self._new_scratch(node.dtype), len(nodes), node.dtype)
                else:
                    free.remove(slot)
                place[node] = slot.at
                in_use.append((slot, needed))
            self._steps.append((_writing(node), itemgetter(*reads, place[node])))
        for source, at in copies:
            self._steps.append((_copy, itemgetter(source if isinstance(source, int) else place[source], at)))

    def _new_scratch(self, dtype: Dtype) -> int:
        self._scratch.append(dtype)
        return self._end + len(self._scratch) - 1

    def run(self, arrays: list[Array], numbers: list[Array]) -> None:
        """Run on ``arrays``: the inputs, and the outputs that are written over none."""
        for x in arrays:
            if not x.flags.c_contiguous:
                self._run_strided(arrays, numbers)
                return
        self._run_blocks([x if x.ndim == 1 else x.ravel() for x in arrays], numbers)

    def _run_blocks(self, arrays: list[Array], numbers: list[Array]) -> None:
        length = len(arrays[0])
        block = -(-length // max(1, round(length / self._block)))  # of equal size: no small one at the end
        try:
            scratch = self._free.pop()
        except IndexError:
            scratch = [np.empty(3 * self._block // 2, dtype) for dtype in self._scratch]
        for start in range(0, length, block or 1):
            stop = min(start + block, length)
            values = arrays if length == block else [x[start:stop] for x in arrays]
            values = [*values, *numbers, *[x[: stop - start] for x in scratch]]
            for operation, places in self._steps:
                operation(*places(values))
        self._free.append(scratch)

    def _run_strided(self, arrays: list[Array], numbers: list[Array]) -> None:
        """Flatten along the strides of the first output: a view of each array that has the same order, else a copy."""
        strides = arrays[self._written[0]].strides
        order = sorted(range(len(strides)), key=lambda axis: -abs(strides[axis]))
        dense = [np.ascontiguousarray(x.transpose(order)) for x in arrays]
        self._run_blocks([x.ravel() for x in dense], numbers)
        for at in self._written:
            if not np.may_share_memory(dense[at], arrays[at]):
                y = arrays[at].transpose(order)
                np.copyto(y, dense[at].reshape(y.shape))


def _is_constant(node: Node) -> bool:
    return node.primitive is not None and node.primitive.name == "constant"


def _check(body: Graph) -> None:
    """Raise unless every operation is elementwise and all arrays have one shape."""
    common = next((node.shape for node in (*body.inputs, *body.nodes) if node.shape), ())
    for node in (*body.inputs, *body.nodes):
        if node.shape and not same_shape(node.shape, common):
            raise VerifyError(
                f"body {body.name}: {node!r} beside arrays of shape {tuple(common)}", expected="one shape"
            )
    for node in body.nodes:
        if node.primitive is None or not (node.primitive.elementwise or (_is_constant(node) and not node.shape)):
            raise VerifyError(f"body {body.name}: {node!r}", expected="elementwise operations and numbers")


def _computing(node: Node) -> Callable[..., Any]:
    """Return the function of a node that takes its inputs."""
    evaluate: Callable[..., Any] = node.primitive.evaluate  # type: ignore[union-attr]  # checked before: no leaf
    return partial(evaluate, **node.attributes) if node.attributes else evaluate


def _writing(node: Node) -> Callable[..., Any]:
    """Return the function of a node that takes its inputs and the array to write."""
    evaluate, attributes = node.primitive.evaluate, node.attributes  # type: ignore[union-attr]  # checked before
    if isinstance(evaluate, np.ufunc) and evaluate not in (np.maximum, np.minimum):
        return evaluate
    if isinstance(evaluate, np.ufunc):  # these two take the array to write by name only
        return lambda a, b, y: evaluate(a, b, out=y)

    def write(*operands: Array) -> None:
        np.copyto(operands[-1], evaluate(*operands[:-1], **attributes))

    return write


def _copy(x: Array, y: Array) -> None:
    np.copyto(y, x)
