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
from operator import itemgetter
from struct import Struct
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import DtypeError, ShapeError, VerifyError
from chainrule.graph import Array, Dtype, Graph, Node, Primitive, Recording, Spec, graph_input, no_gradient, primitive
from chainrule.graph.sizes import same_shape, symbol

BLOCK_BYTES = 1 << 17  # of one operand: half a dozen of them fit the second-level cache
CAST = primitive("cast")
_LENGTH = (symbol("n"),)


class Call(Primitive):
    """y, … = the outputs of a graph of elementwise operations, its body"""

    name = "call"
    outputs: ClassVar[int] = 2  # several; how many, the body says
    variadic = True
    vjp = no_gradient("it is an optimizer's update, which is not differentiated; write the update in tensor operations")

    def shape(self, *operands: Any, body: Graph) -> tuple[Spec, ...]:
        if len(operands) != len(body.inputs):
            raise ShapeError(f"call: got {len(operands)} operands", expected=f"{len(body.inputs)}, as {body.name} takes")
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
    where = {id(x): k for k, x in enumerate(inputs)}
    if len(where) < len(inputs):  # one array given twice: a write must not be seen through the other
        inputs = [x if where[id(x)] == k else np.array(x) for k, x in enumerate(inputs)]
    pattern = tuple([where.get(id(y), -1) for y in outputs])
    programs: dict[tuple[int, ...], Program] = body.__dict__.setdefault("programs", {})
    program = programs.get(pattern)
    if program is None:
        program = programs[pattern] = Program(body, pattern)
    program.run(inputs, outputs)


Step = tuple[Callable[..., Any], Callable[[Any], tuple[Any, ...]]]


class Program:
    """A body in an order to run it: the operations on numbers once, then those on arrays, block by block.

    ``pattern`` says for each output which input it is, or -1. A block's values stand in one list, and an operation is a
    function and the places it reads and (last) writes: inputs, outputs, numbers, scratch.
    """

    def __init__(self, body: Graph, pattern: tuple[int, ...]) -> None:
        _check(body)
        self.taken = [k for k, node in enumerate(body.inputs) if node.shape]
        self.given = [k for k, node in enumerate(body.outputs) if node.shape]
        self._plan_numbers(body)
        self._plan_arrays(body, pattern)
        self._free: list[list[Array]] = []  # scratch that no thread is using

    def _plan_numbers(self, body: Graph) -> None:
        numbers = [node for node in body.inputs if not node.shape]
        self.number_inputs = [(k, node.dtype) for k, node in enumerate(body.inputs) if not node.shape]
        constants = [node for node in body.nodes if not node.shape and _is_constant(node)]
        computed = [node for node in body.nodes if not node.shape and not _is_constant(node)]
        self.numbers = {node: k for k, node in enumerate((*numbers, *constants, *computed))}
        self._constants = [node.value for node in constants]
        self._number_steps = [
            (node.primitive, [self.numbers[x] for x in node.inputs or ()], node.attributes) for node in computed
        ]
        self._number_outputs = [(k, self.numbers[node]) for k, node in enumerate(body.outputs) if not node.shape]
        # The numbers of the call before: the parameters of one group share theirs. Compared by their bits.
        in_float64 = all(np.can_cast(node.dtype, np.float64) for node in numbers)
        self._bits = Struct(f"{len(numbers)}d").pack if in_float64 else None
        self._before: tuple[bytes, list[Array]] = (b"", [])

    def _plan_arrays(self, body: Graph, pattern: tuple[int, ...]) -> None:
        """Give every operation on arrays the place it writes: an output's where that is safe, else a scratch block."""
        nodes = [node for node in body.nodes if node.shape]
        when = {node: k for k, node in enumerate(nodes)}
        last_read: dict[Node, int] = {}
        for k, node in enumerate(nodes):
            last_read.update((x, k) for x in node.inputs or ())
        place = {body.inputs[k]: at for at, k in enumerate(self.taken)}
        first_number = len(self.taken) + len(self.given)
        place.update((node, first_number + k) for node, k in self.numbers.items())

        copies: list[tuple[Node, int]] = []  # made at the end of a block: outputs that could not be written earlier
        for at, k in enumerate(self.given, len(self.taken)):
            node = body.outputs[k]
            old = body.inputs[pattern[k]] if pattern[k] >= 0 else None
            is_read_later = old is not None and last_read.get(old, -1) > when.get(node, -1)
            if node in place or is_read_later or (old is not None and old in body.outputs):
                if node is not old:
                    copies.append((node, at))
            else:
                place[node] = at
        for node, _ in copies:
            last_read[node] = len(nodes)

        first_scratch = first_number + len(self.numbers)
        self._scratch: list[Dtype] = []
        free: dict[Dtype, list[int]] = {}
        in_use: dict[Node, int] = {}
        self._steps: list[Step] = []
        for k, node in enumerate(nodes):
            reads = [place[x] if x in place else in_use[x] for x in node.inputs or ()]
            for x in [x for x in in_use if last_read[x] <= k]:  # an operation may write where it reads
                free.setdefault(x.dtype, []).append(in_use.pop(x))
            if node in place:
                writes = place[node]
            elif free.get(node.dtype):
                writes = in_use[node] = free[node.dtype].pop()
            else:
                writes = in_use[node] = first_scratch + len(self._scratch)
                self._scratch.append(node.dtype)
            self._steps.append((_writing(node), itemgetter(*reads, writes)))
        self._steps += [(_copy, itemgetter(place[x] if x in place else in_use[x], at)) for x, at in copies]
        widest = max([node.dtype.itemsize for node in (*body.inputs, *nodes) if node.shape], default=1)
        self._block = BLOCK_BYTES // widest

    def run(self, inputs: Sequence[Any], outputs: Sequence[Array]) -> None:
        """Run once; see ``run_body``."""
        numbers = self._compute_numbers(inputs)
        if self.given:
            arrays = [inputs[k] for k in self.taken] + [outputs[k] for k in self.given]
            for x in arrays:
                if not x.flags.c_contiguous:
                    self._run_strided(arrays, numbers)
                    break
            else:
                self._run_blocks([x.ravel() for x in arrays], numbers)
        for k, at in self._number_outputs:
            outputs[k][...] = numbers[at]

    def _compute_numbers(self, inputs: Sequence[Any]) -> list[Array]:
        values = [inputs[k] for k, _ in self.number_inputs]
        bits = self._bits(*values) if self._bits is not None else b""
        known, numbers = self._before
        if bits and bits == known:
            return numbers
        numbers = [np.array(x, dtype=dtype) for x, (_, dtype) in zip(values, self.number_inputs, strict=True)]
        numbers += self._constants
        for made_by, reads, attributes in self._number_steps:
            numbers.append(np.asarray(made_by.evaluate(*[numbers[k] for k in reads], **attributes)))
        self._before = (bits, numbers)
        return numbers

    def _run_blocks(self, arrays: list[Array], numbers: list[Array]) -> None:
        scratch = self._free.pop() if self._free else [np.empty(self._block, dtype) for dtype in self._scratch]
        length, block = len(arrays[0]), self._block
        for start in range(0, length, block):
            stop = min(start + block, length)
            values = arrays if length <= block else [x[start:stop] for x in arrays]
            blocks = scratch if stop - start == block else [x[: stop - start] for x in scratch]
            values = [*values, *numbers, *blocks]
            for operation, places in self._steps:
                operation(*places(values))
        self._free.append(scratch)

    def _run_strided(self, arrays: list[Array], numbers: list[Array]) -> None:
        """Flatten along the strides of the first output: a view of each array that has the same order, else a copy."""
        strides = arrays[len(self.taken)].strides
        order = sorted(range(len(strides)), key=lambda axis: -abs(strides[axis]))
        dense: dict[int, Array] = {}
        flat = []
        for x in arrays:
            if id(x) not in dense:
                dense[id(x)] = np.ascontiguousarray(x.transpose(order))
            flat.append(dense[id(x)].ravel())
        self._run_blocks(flat, numbers)
        for y in arrays[len(self.taken) :]:
            if not np.may_share_memory(dense[id(y)], y):
                np.copyto(y.transpose(order), dense[id(y)].reshape(y.transpose(order).shape))


def _is_constant(node: Node) -> bool:
    return node.primitive is not None and node.primitive.name == "constant"


def _check(body: Graph) -> None:
    """Raise unless every operation is elementwise and all arrays have one shape."""
    common = next((node.shape for node in (*body.inputs, *body.nodes) if node.shape), ())
    for node in (*body.inputs, *body.nodes):
        if node.shape and not same_shape(node.shape, common):
            raise VerifyError(f"body {body.name}: {node!r} beside arrays of shape {tuple(common)}", expected="one shape")
    for node in body.nodes:
        if node.primitive is None or not (node.primitive.elementwise or (_is_constant(node) and not node.shape)):
            raise VerifyError(f"body {body.name}: {node!r}", expected="elementwise operations and numbers")


def _writing(node: Node) -> Callable[..., Any]:
    """Return the function of a node that takes its inputs and the array to write."""
    evaluate, attributes = node.primitive.evaluate, node.attributes  # type: ignore[union-attr]  # checked before
    if isinstance(evaluate, np.ufunc):
        return evaluate

    def write(*operands: Array) -> None:
        np.copyto(operands[-1], evaluate(*operands[:-1], **attributes))

    return write


def _copy(x: Array, y: Array) -> None:
    np.copyto(y, x)
