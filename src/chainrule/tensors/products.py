"""Sums of products: matrix products of every kind, outer products. All are one contraction and reshapes."""

from __future__ import annotations

from typing import Any, NoReturn

from chainrule.errors import ArgumentTypeError, DtypeError, ShapeError
from chainrule.graph import primitive
from chainrule.graph.numeric import as_int
from chainrule.graph.sizes import broadcast_shapes, normalize_axes
from chainrule.tensors.apply import apply, record
from chainrule.tensors.arithmetic import add, mul
from chainrule.tensors.binary import conversion_of, kind_of
from chainrule.tensors.dtypes import BOOL, F32, F64
from chainrule.tensors.einstein import einsum
from chainrule.tensors.reductions import sum as sum_over
from chainrule.tensors.state import STATE, TAPE, TRACE
from chainrule.tensors.tensor import Tensor, current_node, numpy_dtype
from chainrule.tensors.views import diagonal, expand, unsqueeze

CONTRACT = primitive("contract")
FLOATS = (F32, F64)
MATRICES = {"batch": ((), ()), "contracted": ((1,), (0,))}


def contract(a: Tensor, b: Tensor, batch: Any, contracted: Any) -> Tensor:
    """Return Σ a b over pairs of contracted axes, batch axes running along."""
    return apply(CONTRACT, (a, b), {"batch": batch, "contracted": contracted})


def _pair(name: str, a: Any, b: Any) -> None:
    """Raise unless both are tensors of one dtype that has products."""
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        raise ArgumentTypeError(
            f"{name}: got {kind_of(a)} and {kind_of(b)}", expected="two tensors", fix=conversion_of(a, b)
        )
    if numpy_dtype(a) != numpy_dtype(b):
        raise DtypeError(
            f"{name}: got {numpy_dtype(a)} and {numpy_dtype(b)}",
            expected="one dtype",
            fix="convert one of them with .to(dtype)",
        )
    if numpy_dtype(a) == BOOL:
        raise DtypeError(f"{name}: got bool tensors", expected="numbers")


def _axes(name: str, a: Any, b: Any, of_a: int, of_b: int) -> None:
    """Raise unless both are tensors of these numbers of axes."""
    _pair(name, a, b)
    if a.ndim != of_a or b.ndim != of_b:
        raise ShapeError(f"{name}: got {a.ndim} and {b.ndim} axes", expected=f"{of_a} and {of_b}")


def matmul(input: Any, other: Any) -> Tensor:
    """Return the matrix product of the last two axes, the others broadcast; 1-d factors as row and column.

    >>> import chainrule as cr
    >>> cr.tensor([[1.0, 2.0]]) @ cr.tensor([[3.0], [4.0]])
    tensor([[11.]])
    """
    a, b = input, other
    if STATE.mode != TRACE and isinstance(a, Tensor) and isinstance(b, Tensor):
        p, q = a._value, b._value
        if p.ndim == 2 == q.ndim and p.dtype is q.dtype and p.dtype in FLOATS and p.shape[1] == q.shape[0]:
            return _product_of_matrices(a, b, p, q)
    _pair("matmul", a, b)
    n, m = a.ndim, b.ndim
    if n == 0 or m == 0:
        raise ShapeError(
            f"matmul: got shapes {tuple(a.shape)} and {tuple(b.shape)}", expected="an axis at least in both"
        )
    rows = b.shape[-1] if m == 1 else b.shape[-2]
    if a.shape[-1] is not rows and a.shape[-1] != rows:
        _mismatch(a, b, rows)
    if m <= 2:
        return contract(a, b, ((), ()), ((n - 1,), (0,)))
    if n == 1:
        return contract(b, a, ((), ()), ((m - 2,), (0,)))
    front = broadcast_shapes(tuple(a.shape)[:-2], tuple(b.shape)[:-2])
    a, b = expand(a, (*front, *tuple(a.shape)[-2:])), expand(b, (*front, *tuple(b.shape)[-2:]))
    k = len(front)
    runs = tuple(range(k))
    return contract(a, b, (runs, runs), ((k + 1,), (k,)))


def _product_of_matrices(a: Tensor, b: Tensor, p: Any, q: Any) -> Tensor:
    """Multiply two eager matrices that fit together: the fast path."""
    y = Tensor(p @ q)
    if STATE.mode == TAPE:
        m = a._node if a._parent is None else current_node(a)
        n = b._node if b._parent is None else current_node(b)
        if (m is not None and m.requires_grad) or (n is not None and n.requires_grad):
            record(CONTRACT, (a, b), [m, n], (p, q), MATRICES, y)
    return y


def _mismatch(a: Tensor, b: Tensor, rows: Any) -> NoReturn:
    raise ShapeError(
        f"matmul: got {a.shape[-1]} features in the last axis of shape {tuple(a.shape)}",
        expected=f"{rows}, the rows of the second factor of shape {tuple(b.shape)}",
    )


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Return the product of two matrices."""
    _axes("mm", input, mat2, 2, 2)
    return matmul(input, mat2)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Return the products of matrices pair by pair: [n, i, k] and [n, k, j] give [n, i, j]."""
    _axes("bmm", input, mat2, 3, 3)
    return contract(input, mat2, ((0,), (0,)), ((2,), (1,)))


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Return a matrix times a vector."""
    _axes("mv", input, vec, 2, 1)
    return matmul(input, vec)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Return the sum of the products of two vectors."""
    _axes("dot", input, tensor, 1, 1)
    return matmul(input, tensor)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Return all products of the elements of two vectors."""
    if input.ndim != 1 or vec2.ndim != 1:
        raise ShapeError(f"outer: got {input.ndim} and {vec2.ndim} axes", expected="two vectors")
    return mul(unsqueeze(input, 1), vec2)


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Return the sums of products over the last axes of both."""
    if input.ndim == 0 or other.ndim == 0:
        return mul(input, other)
    _pair("inner", input, other)
    return contract(input, other, ((), ()), ((input.ndim - 1,), (other.ndim - 1,)))


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Return beta · input + alpha · mat1 mat2."""
    return _plus(input, mm(mat1, mat2), beta, alpha)


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Return beta · input + alpha · mat vec."""
    return _plus(input, mv(mat, vec), beta, alpha)


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Return beta · input + alpha · the products of matrices pair by pair."""
    return _plus(input, bmm(batch1, batch2), beta, alpha)


def _plus(input: Tensor, product: Tensor, beta: float, alpha: float) -> Tensor:
    if numpy_dtype(product).kind != "f":
        beta, alpha = int(beta), int(alpha)  # as PyTorch: integers are not scaled by fractions
    scaled = product if alpha == 1 else mul(product, alpha)
    if beta == 0:  # not even a NaN of the input is looked at
        return expand(scaled, broadcast_shapes(tuple(input.shape), tuple(product.shape)))
    return add(input if beta == 1 else mul(input, beta), scaled)


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Return Σ a b over the last ``dims`` axes of a and the first of b, or over two lists of axes (size 1 broadcasts)."""
    _pair("tensordot", a, b)
    dims = dims if isinstance(dims, (tuple, list)) else as_int(dims)
    if isinstance(dims, int):
        if not 0 <= dims <= min(a.ndim, b.ndim):
            raise ShapeError(f"tensordot: dims={dims} for {a.ndim} and {b.ndim} axes")
        of_a, of_b = tuple(range(a.ndim - dims, a.ndim)), tuple(range(dims))
    else:
        of_a, of_b = normalize_axes(dims[0], a.ndim), normalize_axes(dims[1], b.ndim)
        if len(of_a) != len(of_b):
            raise ShapeError(f"tensordot: got {len(of_a)} and {len(of_b)} axes", expected="as many of both")
    for i, j in zip(of_a, of_b, strict=True):
        if a.shape[i] is not b.shape[j] and a.shape[i] != b.shape[j]:
            a = sum_over(a, i, True) if b.shape[j] == 1 else a
            b = sum_over(b, j, True) if a.shape[i] == 1 else b
    return contract(a, b, ((), ()), (of_a, of_b))


def trace(input: Tensor) -> Tensor:
    """Return the sum of the diagonal of a matrix."""
    if input.ndim != 2:
        raise ShapeError(f"trace: got {input.ndim} axes", expected="a matrix")
    return sum_over(diagonal(input))


FUNCTIONS = (
    matmul, mm, bmm, mv, dot, outer, inner, addmm, addmv, baddbmm, tensordot, trace, einsum,
)  # fmt: skip
METHODS = (matmul, mm, bmm, mv, dot, outer, inner, addmm, addmv, baddbmm, trace)
