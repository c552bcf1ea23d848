"""Shapes by copying: joins, splits, repeats, reversals, triangles, padding. PyTorch's names and arguments.

What only looks at memory in another shape is in ``views``; its names are given on from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, ShapeError
from chainrule.graph import primitive
from chainrule.graph.numeric import as_int, as_ints, as_number
from chainrule.graph.sizes import normalize_axes, normalize_axis, numel, same_shape
from chainrule.tensors import views
from chainrule.tensors.apply import apply, cast, common_dtype
from chainrule.tensors.arithmetic import clone, where
from chainrule.tensors.binary import checked, zero_dimensional
from chainrule.tensors.dtypes import BOOL, I64
from chainrule.tensors.memory import EXPAND, view
from chainrule.tensors.tensor import Tensor, concrete, numpy_dtype
from chainrule.tensors.views import diagonal as diagonal
from chainrule.tensors.views import expand, listed, own_axis, reshaped, sizes_of
from chainrule.tensors.views import movedim as movedim
from chainrule.tensors.views import narrow as narrow
from chainrule.tensors.views import ravel as ravel
from chainrule.tensors.views import reshape as reshape
from chainrule.tensors.views import slice_axis as slice_axis
from chainrule.tensors.views import squeeze as squeeze
from chainrule.tensors.views import unsqueeze as unsqueeze

CONCAT, PAD, FLIP, FULL = primitive("concat"), primitive("pad"), primitive("flip"), primitive("full")
IOTA, TAKE, PUT_DIAGONAL = primitive("iota"), primitive("take"), primitive("put_diagonal")

# -- split ---------------------------------------------------------------------------------------------------------------


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Return views of parts of this size (the last may be smaller), or of these sizes, along an axis."""
    axis = own_axis(tensor, dim, "split")
    size = tensor.shape[axis]
    part = as_int(split_size_or_sections)
    if isinstance(part, int) and (part < 0 or (part == 0 and size != 0)):
        raise ArgumentError(f"split: got a size of {part} for shape {tuple(tensor.shape)}", expected="at least 1")
    if isinstance(part, int):
        count = 1 if part == 0 else max(1, -(-int(size) // part))
        sizes = [part] * (count - 1) + [int(size) - part * (count - 1)]
    else:
        sizes = list(as_ints(part))
        if sum(sizes) != size or any(n < 0 for n in sizes):
            raise ArgumentError(f"split: sections {sizes} for an axis of {size}", expected=f"a sum of {size}")
    parts, start = [], 0
    for n in sizes:
        parts.append(slice_axis(tensor, axis, start, start + n))
        start = start + n
    return tuple(parts)


def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Return views of about equal parts, or of the parts between indices, along an axis."""
    axis = own_axis(input, dim, "tensor_split")
    size = int(input.shape[axis])
    given = indices_or_sections
    given = concrete(given, "tensor_split()").tolist() if isinstance(given, Tensor) else as_int(given)
    if isinstance(given, int):
        if given <= 0:
            raise ArgumentError(f"tensor_split: got {given} sections", expected="at least 1")
        return split(input, [size // given + (k < size % given) for k in range(given)], axis)
    edges = [0, *[min(max(k + size if k < 0 else k, 0), size) for k in as_ints(given)], size]
    return tuple([slice_axis(input, axis, a, max(a, b)) for a, b in pairwise(edges)])


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Return at most ``chunks`` views of equal size (the last may be smaller)."""
    chunks = as_int(chunks)
    if chunks < 1:
        raise ArgumentError(f"chunk: got {chunks}", expected="at least 1")
    axis = own_axis(input, dim, "chunk")
    size = int(input.shape[axis])
    return split(input, -(-size // chunks) if size else [0] * chunks, axis)


# -- join ----------------------------------------------------------------------------------------------------------------


def _parts(tensors: Any, name: str) -> list[Tensor]:
    if isinstance(tensors, Tensor) or not isinstance(tensors, (list, tuple)) or not tensors:
        raise ArgumentTypeError(f"{name}: got {type(tensors).__name__}", expected="a list of at least one tensor")
    return [checked(x, name) for x in tensors]


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return the tensors joined along an axis, in their common dtype."""
    parts = _parts(tensors, "cat")
    dtype = common_dtype(*parts)
    # PyTorch skips 1-d tensors of size 0 among others
    kept = [x for x in parts if not (x.ndim == 1 and same_shape(tuple(x.shape), (0,)))] or parts[:1]
    if any(x.ndim == 0 for x in kept):
        raise ShapeError("cat: got a 0-d tensor", expected="at least one axis", fix="use stack()")
    axis = normalize_axis(dim, kept[0].ndim)
    return apply(CONCAT, tuple([cast(x, dtype) for x in kept]), {"axis": axis})


def concat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return the tensors joined along an axis: another name of cat."""
    return cat(tensors, dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return the tensors joined along a new axis."""
    parts = _parts(tensors, "stack")
    first = tuple(parts[0].shape)
    for k, x in enumerate(parts):
        if not same_shape(tuple(x.shape), first):
            raise ShapeError(f"stack: tensor {k} has shape {tuple(x.shape)}", expected=f"that of tensor 0, {first}")
    axis = normalize_axis(dim, parts[0].ndim + 1)
    return cat([unsqueeze(x, axis) for x in parts], axis)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Return the tensors joined side by side: along axis 1, or 0 if they have one axis."""
    parts = [reshaped(x, (1,)) if x.ndim == 0 else x for x in _parts(tensors, "hstack")]
    return cat(parts, 0 if parts[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Return the tensors, at least 2-d, joined along axis 0."""
    return cat([reshape(x, (1, -1)) if x.ndim < 2 else x for x in _parts(tensors, "vstack")], 0)


# -- repeat, reverse, turn -----------------------------------------------------------------------------------------------


def repeat(input: Tensor, *args: Any, repeats: Any = None) -> Tensor:
    """Return the tensor repeated along each axis, copied."""
    counts = sizes_of(args, repeats)
    shape = tuple(input.shape)
    extra = len(counts) - len(shape)
    if extra < 0:
        raise ShapeError(f"repeat: got {len(counts)} counts for {len(shape)} axes", expected="at least as many")
    old = (1,) * extra + shape
    apart = tuple([size for n in old for size in (1, n)])
    repeated = tuple([size for c, n in zip(counts, old, strict=True) for size in (c, n)])
    y = clone(view(EXPAND, reshaped(input, apart), {"shape": repeated}))
    return reshaped(y, tuple([c * n for c, n in zip(counts, old, strict=True)]))


def tile(input: Tensor, *args: Any, dims: Any = None) -> Tensor:
    """Return the tensor repeated along each axis; missing counts in front are 1."""
    counts = sizes_of(args, dims)
    return repeat(input, (1,) * (input.ndim - len(counts)) + counts)


def repeat_interleave(input: Tensor, repeats: Any, dim: int | None = None, *, output_size: Any = None) -> Tensor:
    """Return each element along an axis repeated in a row: ``repeats`` times, or each its own number of times."""
    x = ravel(input) if dim is None else input
    axis = normalize_axis(-1 if dim is None else dim, x.ndim)
    shape = tuple(x.shape)
    repeats = repeats if isinstance(repeats, Tensor) else as_int(repeats)
    if not isinstance(repeats, int):
        counts = concrete(checked(repeats, "repeat_interleave"), "repeat_interleave()")
        if counts.dtype.kind not in "iu" or counts.ndim > 1 or counts.size not in (1, shape[axis]) or counts.min() < 0:
            raise ArgumentError(
                f"repeat_interleave: got repeats of {counts.dtype} and shape {counts.shape}",
                expected=f"integers that are not negative, one for each of {shape[axis]} elements",
            )
        places = np.repeat(np.arange(shape[axis], dtype=I64), counts)
        return apply(TAKE, (x, Tensor(places)), {"axes": (axis,)})
    if repeats < 0:
        raise ArgumentError(f"repeat_interleave: got {repeats} repeats", expected="a number that is not negative")
    y = clone(expand(unsqueeze(x, axis + 1), (*shape[: axis + 1], repeats, *shape[axis + 1 :])))
    return reshaped(y, (*shape[:axis], shape[axis] * repeats, *shape[axis + 1 :]))


def flip(input: Tensor, *args: Any, dims: Any = None) -> Tensor:
    """Return a copy with axes reversed."""
    return apply(FLIP, (input,), {"axes": normalize_axes(listed(args, dims), input.ndim)})


def fliplr(input: Tensor) -> Tensor:
    """Return a copy with axis 1 reversed."""
    return flip(input, own_axis(input, 1, "fliplr"))


def flipud(input: Tensor) -> Tensor:
    """Return a copy with axis 0 reversed."""
    return flip(input, own_axis(input, 0, "flipud"))


def _one_or_more(given: Any) -> tuple[Any, ...]:
    one = given if isinstance(given, (tuple, list)) else as_int(given)
    return as_ints(one) if isinstance(one, Iterable) else (one,)


def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Return the elements moved along axes, those that fall off coming in again."""
    moves, axes = _one_or_more(shifts), _one_or_more(() if dims is None else dims)
    if not axes:
        if len(moves) != 1:
            raise ArgumentError(f"roll: got {len(moves)} shifts and no dims", expected="one shift")
        return reshaped(roll(ravel(input), moves, 0), tuple(input.shape))
    if len(moves) != len(axes):
        raise ArgumentError(f"roll: got {len(moves)} shifts and {len(axes)} dims", expected="as many of both")
    y = input
    for shift, dim in zip(moves, axes, strict=True):
        axis = own_axis(y, dim, "roll")
        size = y.shape[axis]
        if isinstance(size, int) and size == 0:
            continue
        cut = (size - shift) % size
        y = cat([slice_axis(y, axis, cut, size), slice_axis(y, axis, 0, cut)], axis)
    return clone(y) if y is input else y


# -- diagonals and triangles ---------------------------------------------------------------------------------------------


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the diagonal of a matrix, or the matrix with this diagonal."""
    if input.ndim == 2:
        return clone(views.diagonal(input, diagonal))
    if input.ndim != 1:
        raise ShapeError(f"diag: got {input.ndim} axes", expected="1 or 2")
    return diag_embed(input, diagonal)


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Return matrices that have the last axis as their diagonal."""
    if input.ndim == 0:
        raise ShapeError("diag_embed: got a 0-d tensor", expected="at least one axis")
    axes, offset = normalize_axes((dim1, dim2), input.ndim + 1), as_int(offset)
    n = input.shape[-1] + (offset if offset >= 0 else -offset)
    rest = tuple(input.shape)[:-1]
    zeros = apply(FULL, (), {"shape": (*rest, n, n), "dtype": numpy_dtype(input), "value": 0})
    last = {"offset": offset, "axis1": len(rest), "axis2": len(rest) + 1}
    return movedim(apply(PUT_DIAGONAL, (zeros, input), last), (-2, -1), axes)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the part on and below a diagonal; the rest 0."""
    rows, columns = _places(input, "tril")
    return where(columns <= rows + as_int(diagonal), input, zero_dimensional(0, numpy_dtype(input)))


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the part on and above a diagonal; the rest 0."""
    rows, columns = _places(input, "triu")
    return where(columns >= rows + as_int(diagonal), input, zero_dimensional(0, numpy_dtype(input)))


def _places(x: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Return row and column numbers of the last two axes."""
    if x.ndim < 2:
        raise ShapeError(f"{name}: got {x.ndim} axes", expected="at least 2")
    rows = apply(IOTA, (), {"size": x.shape[-2], "dtype": I64})
    return unsqueeze(rows, 1), apply(IOTA, (), {"size": x.shape[-1], "dtype": I64})


# -- pad, count ----------------------------------------------------------------------------------------------------------


def constant_pad(input: Tensor, pad: Sequence[int], value: float = 0.0) -> Tensor:
    """Return the tensor with elements added (or, for negative numbers, cut) around the last axes, the last first."""
    n, pad = input.ndim, as_ints(pad)
    if len(pad) % 2 or len(pad) // 2 > n:
        raise ArgumentError(f"pad: got {list(pad)} for {n} axes", expected="two numbers for each padded axis")
    low, high = [0] * n, [0] * n
    for k in range(len(pad) // 2):
        low[n - 1 - k], high[n - 1 - k] = pad[2 * k], pad[2 * k + 1]
    y = input
    for axis in range(n):
        if low[axis] < 0 or high[axis] < 0:
            size = y.shape[axis]
            y = slice_axis(y, axis, -min(low[axis], 0), size + min(high[axis], 0))
    around = {"low": tuple([max(k, 0) for k in low]), "high": tuple([max(k, 0) for k in high])}
    number = bool(value) if numpy_dtype(y) == BOOL else as_number(value)
    return apply(PAD, (y,), {**around, "interior": (0,) * n, "value": number})


def numel_of(input: Tensor) -> Any:
    """Return the number of elements."""
    return numel(tuple(input.shape))


numel_of.__name__ = "numel"

FUNCTIONS = (
    split, tensor_split, chunk, cat, concat, stack, hstack, vstack, tile, repeat_interleave, flip, fliplr, flipud, roll,
    diag, diag_embed, tril, triu, numel_of,
)  # fmt: skip
METHODS = (
    split, tensor_split, chunk, repeat, tile, repeat_interleave, flip, fliplr, flipud, roll, diag, diag_embed, tril,
    triu, numel_of,
)  # fmt: skip
ALIASES = {"concatenate": concat, "nelement": numel_of}
IN_PLACE = (tril, triu)
