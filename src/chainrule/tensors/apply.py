"""One operation on tensors: computed at once, with a tape if a gradient is wanted, or written into a trace.

This is the path that every eager operation takes, so it is written for speed: no shape rule (NumPy's result has the
shape; the rule speaks when NumPy raises), no node unless a gradient is wanted, no value kept unless a gradient reads it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, DtypeError, ShapeError
from chainrule.graph import Array, Dtype, Node, Primitive, Spec, Storages, primitive
from chainrule.graph.sizes import Size as Dim
from chainrule.run import evaluate, number
from chainrule.tensors.dtypes import default_float, number_dtype, result_dtype
from chainrule.tensors.state import STATE, TAPE, TRACE
from chainrule.tensors.tensor import NO_ATTRIBUTES, Tensor, current_node, is_array, numpy_dtype, shared_storage

CAST, GET = primitive("cast"), primitive("get")

Operand = Any  # a Tensor or a Python number


def apply(primitive: Primitive, operands: tuple[Operand, ...], attributes: dict[str, Any] = NO_ATTRIBUTES) -> Tensor:
    """Return the tensor that the operation gives. Operands are tensors of fitting dtypes, or Python numbers."""
    if primitive.outputs > 1:
        raise ArgumentError(f"apply: {primitive.name} gives several values", fix="use apply_several")
    mode = STATE.mode
    if mode == TRACE:
        return traced(primitive, operands, attributes)
    values = tuple([o._value if isinstance(o, Tensor) else o for o in operands])
    out = evaluate(primitive, values, attributes)
    if not primitive.ours:
        check_rules_agree(primitive, values, attributes, out)
    y = Tensor(out)
    if mode == TAPE:
        nodes = _nodes_of(operands)
        if _wants_gradient(nodes):
            record(primitive, operands, nodes, values, attributes, y)
    return y


def check_rules_agree(primitive: Primitive, values: tuple[Any, ...], attributes: dict[str, Any], out: Any) -> None:
    """Raise if what a user's primitive computed is not what its shape rule says."""
    specs = [Spec(v.shape, v.dtype) if isinstance(v, np.ndarray) else Spec((), out.dtype) for v in values]
    said = primitive.shape(*specs, **attributes)
    if tuple(said.shape) != out.shape or said.dtype != out.dtype:
        raise ShapeError(
            f"primitive {primitive.name!r}: evaluate gave {out.dtype}{list(out.shape)}",
            expected=f"{said.dtype}{list(said.shape)}, as its shape rule says",
        )


def _nodes_of(operands: tuple[Operand, ...]) -> list[Node | None]:
    """Return the nodes of eager operands; None for a number and for what needs no gradient."""
    return [None if not isinstance(o, Tensor) else o._node if o._parent is None else current_node(o) for o in operands]


def _wants_gradient(nodes: list[Node | None]) -> bool:
    for node in nodes:  # noqa: SIM110 - a generator costs more than the operations on small tensors
        if node is not None and node.requires_grad:
            return True
    return False


def record(
    primitive: Primitive,
    operands: tuple[Operand, ...],
    nodes: list[Node | None],
    values: tuple[Any, ...],
    attributes: dict[str, Any],
    y: Tensor,
) -> None:
    """Put the operation on the tape, and keep the values that its gradient will read."""
    out = y._value
    if not primitive.differentiable or out.dtype.kind != "f":
        return
    inputs, keeps_output = _keep_inputs(primitive, operands, nodes, values, out.dtype)
    node = y._node = Node(primitive, inputs, attributes, out.shape, out.dtype, True)
    if keeps_output:
        node.keep(out, shared_storage(y))


def _keep_inputs(
    primitive: Primitive,
    operands: tuple[Operand, ...],
    nodes: list[Node | None],
    values: tuple[Any, ...],
    dtype: Dtype,
) -> tuple[tuple[Node, ...], bool]:
    """Return the nodes of the inputs, with the values that the gradient will read, and whether it reads the output."""
    need = tuple([node is not None and node.requires_grad for node in nodes])
    inputs: Any = nodes
    if None in nodes:
        inputs = [_leaf(v, dtype) if node is None else node for node, v in zip(nodes, values, strict=True)]
    kept, keeps_output = primitive.kept(need)
    for index in kept:
        operand = operands[index]
        if isinstance(operand, Tensor):
            inputs[index].keep(operand._value, operand._storage or shared_storage(operand))
    return tuple(inputs), keeps_output


def _leaf(value: Any, dtype: Dtype) -> Node:
    """Return the node of an operand that needs no gradient: of an array, or of a number with its value."""
    if type(value) is not np.ndarray:
        return number(value, dtype)
    return Node(None, (), NO_ATTRIBUTES, value.shape, value.dtype, False)


def apply_several(
    primitive: Primitive, operands: tuple[Operand, ...], attributes: dict[str, Any] = NO_ATTRIBUTES
) -> tuple[Tensor, ...]:
    """Return the tensors that an operation with several outputs gives. Operands as in ``apply``."""
    if STATE.mode == TRACE:
        whole = current_node(traced(primitive, operands, attributes))
        trace: Any = STATE.trace
        get = [trace.recording.apply(GET, (whole,), {"index": k}) for k in range(primitive.outputs)]
        return tuple([trace.tensor(node) for node in get])
    values = tuple([o._value if isinstance(o, Tensor) else o for o in operands])
    outs = tuple([np.asarray(out) for out in evaluate(primitive, values, attributes)])
    if len(outs) != primitive.outputs:
        raise ShapeError(f"{primitive.name}: evaluate gave {len(outs)} values", expected=f"{primitive.outputs}")
    ys = tuple([Tensor(out) for out in outs])
    nodes = _nodes_of(operands)
    if STATE.mode == TAPE and primitive.differentiable and _wants_gradient(nodes):
        shapes, dtypes = tuple([out.shape for out in outs]), tuple([out.dtype for out in outs])
        inputs, keeps_outputs = _keep_inputs(primitive, operands, nodes, values, dtypes[0])
        node = Node(primitive, inputs, attributes, shapes, dtypes, True)
        if keeps_outputs:
            node.keep(outs, Storages([shared_storage(y) for y in ys]))
        for k, (y, out) in enumerate(zip(ys, outs, strict=True)):
            if out.dtype.kind == "f":
                y._node = Node(GET, (node,), {"index": k}, out.shape, out.dtype, True)
    return ys


def traced(primitive: Primitive, operands: tuple[Operand, ...], attributes: dict[str, Any]) -> Tensor:
    """Write the operation into the open trace."""
    trace: Any = STATE.trace
    y: Tensor = trace.apply(primitive, operands, attributes)
    return y


def apply1(primitive: Primitive, x: Tensor) -> Tensor:
    """Apply an operation without attributes to one tensor (the fast path)."""
    mode = STATE.mode
    if mode == TRACE:
        return traced(primitive, (x,), NO_ATTRIBUTES)
    value = x._value
    try:
        out = primitive.evaluate(value)
    except (RuntimeWarning, ValueError, TypeError):
        out = evaluate(primitive, (value,), NO_ATTRIBUTES)
    if type(out) is not np.ndarray:
        out = np.asarray(out)
    y = Tensor(out)
    if mode == TAPE:
        node = x._node if x._parent is None else current_node(x)
        if node is not None and node.requires_grad:
            record(primitive, (x,), [node], (value,), NO_ATTRIBUTES, y)
    return y


def apply2(primitive: Primitive, a: Tensor, b: Operand) -> Tensor:
    """Apply an operation without attributes to a tensor and a tensor or number of a fitting dtype (the fast path)."""
    mode = STATE.mode
    if mode == TRACE:
        return traced(primitive, (a, b), NO_ATTRIBUTES)
    p = a._value
    is_tensor = isinstance(b, Tensor)
    q = b._value if is_tensor else b
    try:
        out = primitive.evaluate(p, q)
    except (RuntimeWarning, ValueError, TypeError):
        out = evaluate(primitive, (p, q), NO_ATTRIBUTES)
    if type(out) is not np.ndarray:
        out = np.asarray(out)
    y = Tensor(out)
    if mode == TAPE:
        m = a._node if a._parent is None else current_node(a)
        n = None if not is_tensor else b._node if b._parent is None else current_node(b)
        if (m is not None and m.requires_grad) or (n is not None and n.requires_grad):
            record(primitive, (a, b), [m, n], (p, q), NO_ATTRIBUTES, y)
    return y


def cast(x: Tensor, dtype: Dtype) -> Tensor:
    """Return ``x`` in another dtype; ``x`` itself if it has it."""
    return x if numpy_dtype(x) == dtype else apply(CAST, (x,), {"dtype": dtype})


def rank(x: Operand) -> int:
    """Return 2 for a tensor with axes, 1 for a 0-d tensor, 0 for a number: what counts in promotion."""
    if not isinstance(x, Tensor):
        return 0
    return 2 if (x._value.ndim if x._value is not None else len(x.shape)) else 1


def common_dtype(*operands: Operand) -> Dtype:
    """Return the dtype that the operands are computed in."""
    return result_dtype(
        tuple([(numpy_dtype(o) if isinstance(o, Tensor) else number_dtype(o), rank(o)) for o in operands])
    )


def converted(dtype: Dtype, *operands: Operand) -> tuple[Operand, ...]:
    """Return tensors cast to ``dtype`` and numbers as numbers of its category; one tensor at least comes out."""
    out: list[Operand] = []
    for o in operands:
        if isinstance(o, Tensor):
            out.append(cast(o, dtype))
        elif dtype.kind == "f":
            out.append(o if isinstance(o, Dim) else float(o))
        elif isinstance(o, Dim) or STATE.mode == TRACE:
            out.append(o)
        else:
            out.append(Tensor(np.asarray(o).astype(dtype)))  # wraps around, as PyTorch
    return tuple(out)


def promoted(*operands: Operand, floating: bool = False) -> tuple[Operand, ...]:
    """Return the operands in their common dtype (with ``floating``: a floating-point one)."""
    dtype = common_dtype(*operands)
    if floating and dtype.kind != "f":
        dtype = default_float()
    return converted(dtype, *operands)


def as_float(x: Tensor, name: str) -> Tensor:
    """Return ``x``, integers and truth values as the default float: what exp, sqrt, … do."""
    return x if numpy_dtype(x).kind == "f" else cast(x, default_float())


def only_numeric(name: str, x: Tensor) -> Tensor:
    """Return ``x``; raise if it holds truth values."""
    if numpy_dtype(x).kind == "b":
        raise DtypeError(f"{name}: got a bool tensor", expected="numbers", fix="convert it with .to(chainrule.int64)")
    return x


def operand(value: Any) -> Operand:
    """Return what an operation can take: a tensor or a Python number; raise TypeError-like for anything else."""
    if isinstance(value, (Tensor, bool, int, float, Dim)):
        return value
    if is_array(value):
        array: Array = np.asarray(value)
        return array.item() if array.ndim == 0 and not isinstance(value, np.ndarray) else Tensor(array)
    return NotImplemented
