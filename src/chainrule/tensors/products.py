"""Sums of products: matrix products of every kind, outer products, einsum. All are one contraction and reshapes."""

from __future__ import annotations

import string
from typing import Any

from chainrule.errors import ArgumentError, DtypeError, ShapeError
from chainrule.graph import primitive
from chainrule.graph.sizes import broadcast_shapes
from chainrule.tensors.apply import apply, common_dtype, converted, record
from chainrule.tensors.dtypes import BOOL, F32, F64
from chainrule.tensors.reductions import sum as sum_over
from chainrule.tensors.shaping import _permute, diagonal, expand
from chainrule.tensors.state import STATE, TAPE, TRACE
from chainrule.tensors.tensor import Tensor, current_node, numpy_dtype

CONTRACT = primitive("contract")
MATRICES = {"batch": ((), ()), "contracted": ((1,), (0,))}


def contract(a: Tensor, b: Tensor, batch: Any, contracted: Any) -> Tensor:
    """Return Σ a b over pairs of contracted axes, batch axes running along."""
    return apply(CONTRACT, (a, b), {"batch": batch, "contracted": contracted})


def _matrices(a: Tensor, b: Tensor) -> Tensor:
    """Multiply two matrices of one floating-point dtype: the fast path."""
    if STATE.mode == TRACE:
        return contract(a, b, ((), ()), ((1,), (0,)))
    p, q = a._value, b._value
    if p.shape[1] != q.shape[0]:
        _mismatch("matmul", a, b)
    y = Tensor(p @ q)
    if STATE.mode == TAPE:
        m, n = current_node(a), current_node(b)
        if (m is not None and m.requires_grad) or (n is not None and n.requires_grad):
            record(CONTRACT, (a, b), [m, n], (p, q), MATRICES, y)
    return y


def _mismatch(name: str, a: Tensor, b: Tensor) -> None:
    k = b.shape[0] if b.ndim == 1 else b.shape[-2]
    raise ShapeError(f"{name}: got {a.shape[-1]} features in the last axis of shape {tuple(a.shape)}", expected=f"{k}, the rows of the second factor of shape {tuple(b.shape)}")


def _pair(name: str, a: Any, b: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        raise ArgumentError(f"{name}: got {type(a).__name__} and {type(b).__name__}", expected="two tensors")
    if numpy_dtype(a) != numpy_dtype(b):
        raise DtypeError(f"{name}: got {numpy_dtype(a)} and {numpy_dtype(b)}", expected="one dtype", fix="convert one of them with .to(dtype)")
    return a, b


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Return the matrix product of the last two axes, the others broadcast; 1-d factors as row and column.

    >>> import chainrule as cr
    >>> cr.tensor([[1.0, 2.0]]) @ cr.tensor([[3.0], [4.0]])
    tensor([[11.]])
    """
    a, b = input, other
    p, q = getattr(a, "_value", None), getattr(b, "_value", None)
    if p is not None and q is not None and p.ndim == 2 and q.ndim == 2 and p.dtype is q.dtype and p.dtype in (F32, F64):
        return _matrices(a, b)
    a, b = _pair("matmul", a, b)
    if numpy_dtype(a) == BOOL:
        raise DtypeError("matmul: got bool tensors", expected="numbers")
    n, m = a.ndim, b.ndim
    if n == 0 or m == 0:
        raise ShapeError(f"matmul: got shapes {tuple(a.shape)} and {tuple(b.shape)}", expected="at least one axis in both")
    rows = b.shape[0] if m == 1 else b.shape[-2]
    if not (a.shape[-1] is rows or a.shape[-1] == rows):
        _mismatch("matmul", a, b)
    if m <= 2:
        return contract(a, b, ((), ()), ((n - 1,), (0 if m == 1 else m - 2,)))
    if n == 1:
        return contract(b, a, ((), ()), ((m - 2,), (0,)))
    front = broadcast_shapes(tuple(a.shape)[:-2], tuple(b.shape)[:-2])
    a = expand(a, (*front, *tuple(a.shape)[-2:]))
    b = expand(b, (*front, *tuple(b.shape)[-2:]))
    k = len(front)
    axes = tuple(range(k))
    return contract(a, b, (axes, axes), ((k + 1,), (k,)))


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Return the product of two matrices."""
    if input.ndim != 2 or mat2.ndim != 2:
        raise ShapeError(f"mm: got {input.ndim} and {mat2.ndim} axes", expected="two matrices", fix="use matmul()")
    return matmul(input, mat2)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Return the products of matrices pair by pair: [n, i, k] and [n, k, j] give [n, i, j]."""
    if input.ndim != 3 or mat2.ndim != 3 or not (input.shape[0] is mat2.shape[0] or input.shape[0] == mat2.shape[0]):
        raise ShapeError(f"bmm: got shapes {tuple(input.shape)} and {tuple(mat2.shape)}", expected="[n, i, k] and [n, k, j]")
    return matmul(input, mat2)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Return a matrix times a vector."""
    if input.ndim != 2 or vec.ndim != 1:
        raise ShapeError(f"mv: got {input.ndim} and {vec.ndim} axes", expected="2 and 1")
    return matmul(input, vec)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Return the sum of the products of two vectors."""
    if input.ndim != 1 or tensor.ndim != 1:
        raise ShapeError(f"dot: got {input.ndim} and {tensor.ndim} axes", expected="two vectors")
    return matmul(input, tensor)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Return all products of the elements of two vectors."""
    if input.ndim != 1 or vec2.ndim != 1:
        raise ShapeError(f"outer: got {input.ndim} and {vec2.ndim} axes", expected="two vectors")
    return input.reshape(-1, 1) * vec2


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Return the sums of products over the last axes of both."""
    if input.ndim == 0 or other.ndim == 0:
        return input * other
    a, b = _pair("inner", input, other)
    return contract(a, b, ((), ()), ((a.ndim - 1,), (b.ndim - 1,)))


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
    scaled = product if alpha == 1 else product * alpha
    if beta == 0:  # not even a NaN of the input is looked at
        return expand(scaled, broadcast_shapes(tuple(input.shape), tuple(product.shape)))
    return (input if beta == 1 else input * beta) + scaled


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Return Σ a b over the last ``dims`` axes of a and the first of b, or over two lists of axes."""
    a, b = _pair("tensordot", a, b)
    if isinstance(dims, int):
        of_a, of_b = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        of_a = [d % a.ndim for d in ([dims[0]] if isinstance(dims[0], int) else dims[0])]
        of_b = [d % b.ndim for d in ([dims[1]] if isinstance(dims[1], int) else dims[1])]
    return contract(a, b, ((), ()), (tuple(of_a), tuple(of_b)))


def trace(input: Tensor) -> Tensor:
    """Return the sum of the diagonal of a matrix."""
    if input.ndim != 2:
        raise ShapeError(f"trace: got {input.ndim} axes", expected="a matrix")
    return sum_over(diagonal(input))


def einsum(equation: str, *operands: Any) -> Tensor:
    """Return the sum of products that the equation says: einsum("bij,bjk->bik", a, b).

    Letters are axes; those missing after ``->`` are summed; ``...`` are axes that broadcast.
    """
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    terms, output = _parse(equation, tensors)
    current, letters = _own(tensors[0], terms[0])
    for k in range(1, len(tensors)):
        other, others = _own(tensors[k], terms[k])
        later = set(output).union(*terms[k + 1 :]) if k + 1 < len(terms) else set(output)
        current, letters = _join(current, letters, other, others, later)
    summed = tuple([axis for axis, letter in enumerate(letters) if letter not in output])
    if summed:
        current = sum_over(current, summed)
        letters = [letter for letter in letters if letter in output]
    order = tuple([letters.index(letter) for letter in output])
    return current if order == tuple(range(len(order))) else _permute(current, order)


def _parse(equation: str, tensors: list[Tensor]) -> tuple[list[str], str]:
    """Return the letters of each operand and of the output; the axes of ``...`` get letters of their own."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        raise ArgumentError(f"einsum: {equation!r} names {len(terms)} operands, got {len(tensors)}")
    spare = [c for c in string.ascii_letters if c not in text]
    widest = max([x.ndim - len(term.replace("...", "")) for x, term in zip(tensors, terms, strict=True) if "..." in term] or [0])
    dots = "".join(spare[: max(widest, 0)])
    full = []
    for x, term in zip(tensors, terms, strict=True):
        count = x.ndim - len(term.replace("...", ""))
        if (count != 0 and "..." not in term) or count < 0:
            raise ArgumentError(f"einsum: {term!r} for an operand of shape {tuple(x.shape)}", expected="a letter per axis")
        full.append(term.replace("...", dots[len(dots) - count :] if count else ""))
    if arrow:
        output = right.replace("...", dots)
    else:
        joined = "".join(full)
        output = dots + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c not in dots))
    unknown = [c for c in output if not any(c in term for term in full)]
    if unknown or len(set(output)) != len(output):
        raise ArgumentError(f"einsum: the output {output!r} of {equation!r}", expected="letters of the operands, once each")
    return full, output


def _own(x: Tensor, term: str) -> tuple[Tensor, list[str]]:
    """Return the operand with repeated letters replaced by their diagonal."""
    letters = list(term)
    for letter in dict.fromkeys(term):
        while letters.count(letter) > 1:
            a = letters.index(letter)
            b = letters.index(letter, a + 1)
            x = diagonal(x, 0, a, b)
            letters = [c for k, c in enumerate(letters) if k not in (a, b)] + [letter]
    return x, letters


def _join(a: Tensor, of_a: list[str], b: Tensor, of_b: list[str], later: set[str]) -> tuple[Tensor, list[str]]:
    """Contract two operands over the letters that nobody needs later."""
    for letters, which in ((of_a, "a"), (of_b, "b")):
        others = of_b if which == "a" else of_a
        alone = tuple([k for k, c in enumerate(letters) if c not in others and c not in later])
        if alone:
            kept = [c for k, c in enumerate(letters) if k not in alone]
            if which == "a":
                a, of_a = sum_over(a, alone), kept
            else:
                b, of_b = sum_over(b, alone), kept
    shared = [c for c in of_a if c in of_b]
    ones = [c for c in shared if _one(a, of_a, c) != _one(b, of_b, c)]  # size 1 broadcasts
    for c in ones:
        if _one(a, of_a, c):
            a = a.squeeze(of_a.index(c))
            of_a = [k for k in of_a if k != c]
        else:
            b = b.squeeze(of_b.index(c))
            of_b = [k for k in of_b if k != c]
    shared = [c for c in of_a if c in of_b]
    batch = [c for c in shared if c in later]
    contracted = [c for c in shared if c not in later]
    dtype = common_dtype(a, b)
    a, b = converted(dtype, a, b)
    y = contract(
        a,
        b,
        (tuple([of_a.index(c) for c in batch]), tuple([of_b.index(c) for c in batch])),
        (tuple([of_a.index(c) for c in contracted]), tuple([of_b.index(c) for c in contracted])),
    )
    free_a = [c for c in of_a if c not in shared]
    free_b = [c for c in of_b if c not in shared]
    letters = [*batch, *free_a, *free_b]
    gone = tuple([k for k, c in enumerate(letters) if c not in later])
    return (sum_over(y, gone), [c for c in letters if c in later]) if gone else (y, letters)


def _one(x: Tensor, letters: list[str], letter: str) -> bool:
    size = x.shape[letters.index(letter)]
    return isinstance(size, int) and size == 1


FUNCTIONS = (
    matmul, mm, bmm, mv, dot, outer, inner, addmm, addmv, baddbmm, tensordot, trace, einsum,
)  # fmt: skip
METHODS = (matmul, mm, bmm, mv, dot, outer, inner, addmm, addmv, baddbmm, trace)
