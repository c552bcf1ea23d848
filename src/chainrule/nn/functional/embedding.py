"""Numbers for names: rows of a table looked up by index, and indices as rows of zeros with a one."""

from __future__ import annotations

from chainrule.errors import ArgumentError, DtypeError, ShapeError, TraceError
from chainrule.graph import primitive
from chainrule.graph.numeric import as_int
from chainrule.nn.functional.reduction import check_tensors
from chainrule.ops.index import refuse_rows
from chainrule.tensors import reductions
from chainrule.tensors.apply import apply, apply2, cast
from chainrule.tensors.autograd import no_grad
from chainrule.tensors.creation import arange, ones, zeros
from chainrule.tensors.dtypes import BOOL, I64
from chainrule.tensors.logic import eq, lt, where
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor, numpy_dtype

TAKE, SPREAD, PUT, ROW_NUMBERS = primitive("take"), primitive("spread"), primitive("put"), primitive("row_numbers")
ROWS = {"axes": (0,)}


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Return the rows of ``weight`` (rows, features) at the indices ``input`` (…): (…, features).

    ``padding_idx``         this row gets no gradient
    ``max_norm``            rows that are looked up and longer (in the ``norm_type``-norm) are first shortened, in place
    ``scale_grad_by_freq``  divide the gradient of a row by how often it is looked up
    ``sparse``              taken for PyTorch's sake: the gradient has a number for each element of ``weight`` in any case
    Raises IndexingError for an index that is no row, with its place.
    """
    check_tensors("embedding", input=input, weight=weight)
    if weight.ndim != 2:
        raise ShapeError(f"embedding: got a weight of shape {tuple(weight.shape)}", expected="(rows, features)")
    if numpy_dtype(input).kind not in "iu":
        raise DtypeError(
            f"embedding: got indices of {numpy_dtype(input)}", expected="integers", fix="convert them with .long()"
        )
    rows = int(weight.shape[0])
    index = cast(input, I64)
    if STATE.mode != TRACE:
        refuse_rows(index._value, rows)
    else:  # values are unknown here: a negative index must not count from the end when the graph runs
        index = apply(ROW_NUMBERS, (index,), {"rows": rows})
        index = where(lt(index, 0), rows, index)
    if padding_idx is not None:
        padding_idx = as_int(padding_idx)
        if not -rows <= padding_idx < rows:
            raise ArgumentError(f"embedding: got padding_idx={padding_idx} for {rows} rows", expected="one of the rows")
        padding_idx = padding_idx % rows
    if max_norm is not None:
        _shorten(weight, index, max_norm, norm_type)
    y = apply(TAKE, (weight, index), ROWS)
    if scale_grad_by_freq:
        counts = apply(SPREAD, (ones(tuple(index.shape), dtype=numpy_dtype(weight)), index), {**ROWS, "shape": (rows,)})
        of_index = apply(TAKE, (counts, index), ROWS).unsqueeze(-1)
        y = apply2(primitive("set_value"), y / of_index, y.detach())
    if padding_idx is not None:
        y = where(eq(index, padding_idx).unsqueeze(-1), y.detach(), y)
    return y


def _shorten(weight: Tensor, index: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale the rows that are looked up and longer than ``max_norm`` down to it."""
    with no_grad():
        lengths = reductions.norm(weight, norm_type, 1, keepdim=True)
        here = apply(PUT, (zeros(weight.shape[0], dtype=BOOL), ones((), dtype=BOOL), index), ROWS)
        longer = (lengths > max_norm) & here.unsqueeze(-1)
        weight.mul_(where(longer, max_norm / (lengths + 1e-7), 1.0))


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Return (…, num_classes) of int64: 1 at the class, 0 elsewhere; -1 takes the largest class + 1."""
    check_tensors("one_hot", tensor=tensor)
    if numpy_dtype(tensor).kind not in "iu":
        raise DtypeError(f"one_hot: got {numpy_dtype(tensor)}", expected="int64", fix="convert it with .long()")
    num_classes = as_int(num_classes)
    if num_classes == -1:
        if STATE.mode == TRACE:
            raise TraceError(
                "one_hot asks for the largest class inside a compiled function, where no values are known",
                fix="pass num_classes",
            )
        if tensor.numel() == 0:
            raise ArgumentError("one_hot: got no element to take the number of classes from", fix="pass num_classes")
        num_classes = int(tensor._value.max()) + 1
    if STATE.mode != TRACE and tensor.numel():
        low, high = int(tensor._value.min()), int(tensor._value.max())
        if low < 0 or high >= num_classes:
            raise ArgumentError(
                f"one_hot: got the class {low if low < 0 else high} of {num_classes}", expected=f"0 … {num_classes - 1}"
            )
    return cast(eq(tensor.unsqueeze(-1), arange(num_classes)), I64)
