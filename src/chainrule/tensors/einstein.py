"""einsum: a sum of products said by letters, as a chain of contractions of two operands."""

from __future__ import annotations

from typing import Any

from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.graph import primitive
from chainrule.tensors.apply import apply, common_dtype, converted
from chainrule.tensors.reductions import sum as sum_over
from chainrule.tensors.tensor import Tensor
from chainrule.tensors.views import diagonal, permuted, squeeze

CONTRACT = primitive("contract")
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def einsum(equation: Any, *operands: Any) -> Tensor:
    """Return the sum of products that the equation says: einsum("bij,bjk->bik", a, b).

    Letters are axes; those missing after ``->`` are summed; ``...`` are axes that broadcast.
    """
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    if not isinstance(equation, str) or not all(isinstance(x, Tensor) for x in given):
        raise ArgumentTypeError(f"einsum: got {equation!r} and {len(given)} operands", expected="letters, and tensors")
    tensors = list(given)
    terms, output = _parse(equation, tensors)
    y, letters = _diagonals(tensors[0], terms[0])
    for k in range(1, len(tensors)):
        y, letters = _product(y, letters, *_diagonals(tensors[k], terms[k]), set(output).union(*terms[k + 1 :]))
    y, letters = _summed(y, letters, set(output))
    order = tuple([letters.index(letter) for letter in output])
    return permuted(y, order)


def _parse(equation: str, tensors: list[Tensor]) -> tuple[list[str], str]:
    """Return the letters of each operand and of the output; the axes of ``...`` get letters of their own."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        raise ArgumentError(f"einsum: {equation!r} names {len(terms)} operands, got {len(tensors)}")
    counts = [x.ndim - len(term.replace("...", "")) for x, term in zip(tensors, terms, strict=True)]
    for x, term, count in zip(tensors, terms, counts, strict=True):
        if count < 0 or (count > 0 and "..." not in term):
            raise ArgumentError(
                f"einsum: {term!r} for an operand of shape {tuple(x.shape)}", expected="a letter per axis"
            )
    unused = [c for c in LETTERS if c not in text]
    dots = "".join(unused[: max([0, *counts])])
    full = [term.replace("...", dots[len(dots) - count :]) for term, count in zip(terms, counts, strict=True)]
    joined = "".join(full)
    if arrow:
        output = right.replace("...", dots)
    else:
        output = dots + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c not in dots))
    if not set(output) <= set(joined) or len(set(output)) != len(output):
        raise ArgumentError(
            f"einsum: the output {right!r} of {equation!r}", expected="letters of the operands, once each"
        )
    if not set(joined) <= set(LETTERS):
        raise ArgumentError(f"einsum: got {equation!r}", expected="letters, ',', '...' and '->'")
    return full, output


def _diagonals(x: Tensor, term: str) -> tuple[Tensor, str]:
    """Return the operand with repeated letters replaced by their diagonal."""
    letters = term
    for letter in dict.fromkeys(term):
        while letters.count(letter) > 1:
            a = letters.index(letter)
            b = letters.index(letter, a + 1)
            if x.shape[a] is not x.shape[b] and x.shape[a] != x.shape[b]:
                raise ArgumentError(f"einsum: {letter!r} stands for {x.shape[a]} and {x.shape[b]} elements")
            x = diagonal(x, 0, a, b)
            letters = letters[:a] + letters[a + 1 : b] + letters[b + 1 :] + letter
    return x, letters


def _summed(x: Tensor, letters: str, needed: set[str]) -> tuple[Tensor, str]:
    """Sum over the letters that nobody needs."""
    axes = tuple([k for k, c in enumerate(letters) if c not in needed])
    return (sum_over(x, axes), "".join(c for c in letters if c in needed)) if axes else (x, letters)


def _product(a: Tensor, of_a: str, b: Tensor, of_b: str, later: set[str]) -> tuple[Tensor, str]:
    """Contract two operands over the letters that nobody needs later."""
    a, of_a = _summed(a, of_a, later | set(of_b))
    b, of_b = _summed(b, of_b, later | set(of_a))
    for c in [c for c in of_a if c in of_b]:  # a shared axis of size 1 broadcasts: it is dropped
        i, j = of_a.index(c), of_b.index(c)
        if _is_one(a.shape[i]) and not _is_one(b.shape[j]):
            a, of_a = squeeze(a, i), of_a.replace(c, "")
        elif _is_one(b.shape[j]) and not _is_one(a.shape[i]):
            b, of_b = squeeze(b, j), of_b.replace(c, "")
    shared = [c for c in of_a if c in of_b]
    runs, gone = [c for c in shared if c in later], [c for c in shared if c not in later]
    attributes = {
        "batch": (tuple([of_a.index(c) for c in runs]), tuple([of_b.index(c) for c in runs])),
        "contracted": (tuple([of_a.index(c) for c in gone]), tuple([of_b.index(c) for c in gone])),
    }
    y = apply(CONTRACT, converted(common_dtype(a, b), a, b), attributes)
    letters = "".join([*runs, *[c for c in of_a if c not in shared], *[c for c in of_b if c not in shared]])
    return _summed(y, letters, later)


def _is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1
