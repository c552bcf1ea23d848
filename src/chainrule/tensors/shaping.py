"""Shapes: views, permutations, joins, repeats. PyTorch's names, arguments and memory sharing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, ShapeError
from chainrule.graph import primitive
from chainrule.graph.sizes import (
    Size,
    broadcast_shapes,
    infer_reshape,
    normalize_axes,
    normalize_axis,
    numel,
    same_shape,
)
from chainrule.tensors.apply import apply, cast, common_dtype
from chainrule.tensors.arithmetic import clone, where
from chainrule.tensors.dtypes import I64
from chainrule.tensors.memory import DIAGONAL, EXPAND, PERMUTE, RESHAPE, SLICE, view
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor, numpy_dtype

CONCAT, PAD, FLIP, IOTA = primitive("concat"), primitive("pad"), primitive("flip"), primitive("iota")


def _sizes(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return sizes given one by one or as one sequence; -1 stays."""
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    for n in shape:
        if isinstance(n, (bool, float)) or not isinstance(n, (int, np.integer, Size, Tensor)):
            raise ArgumentTypeError(f"a shape of {shape}", expected="integers")
    return tuple([int(n) if isinstance(n, (np.integer, Tensor)) else n for n in shape])


def _reshape(x: Tensor, shape: tuple[Any, ...]) -> Tensor:
    return view(RESHAPE, x, {"shape": shape})


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """Return the elements in another shape (one size may be -1): a view where the memory allows, else a copy."""
    return _reshape(input, infer_reshape(tuple(input.shape), _sizes(shape)))


def view_(input: Tensor, *shape: Any) -> Tensor:
    """Return a view of the memory in another shape (or dtype, of the same width); raise if it would need a copy."""
    if len(shape) == 1 and not isinstance(shape[0], (int, tuple, list, Size)):
        return cast(input, shape[0].numpy)
    y = _reshape(input, infer_reshape(tuple(input.shape), _sizes(shape)))
    if STATE.mode != TRACE and y._parent is None and y._value.size > 0:
        raise ShapeError(
            f"view: the elements of this tensor of shape {tuple(input.shape)} are not in row-major order in memory",
            fix="use reshape(), which copies, or contiguous() before",
        )
    return y


view_.__name__ = "view"


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """Return a view in the shape of ``other``."""
    return view_(input, tuple(other.shape))


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """Return the elements in the shape of ``other``."""
    return reshape(input, tuple(other.shape))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Return the axes from start_dim to end_dim joined into one."""
    shape = tuple(input.shape)
    if not shape:
        return _reshape(input, (1,))
    start, end = normalize_axis(start_dim, len(shape)), normalize_axis(end_dim, len(shape))
    if start > end:
        raise ArgumentError(f"flatten: start_dim={start_dim} comes after end_dim={end_dim}")
    if start == end:
        return input
    return _reshape(input, (*shape[:start], numel(shape[start : end + 1]), *shape[end + 1 :]))


def ravel(input: Tensor) -> Tensor:
    """Return all elements in one axis."""
    return _reshape(input, (numel(tuple(input.shape)),))


def unflatten(input: Tensor, dim: int, sizes: Sequence[Any]) -> Tensor:
    """Return one axis split into several."""
    shape = tuple(input.shape)
    axis = normalize_axis(dim, len(shape))
    inner = infer_reshape((shape[axis],), tuple(sizes))
    return _reshape(input, (*shape[:axis], *inner, *shape[axis + 1 :]))


def _permute(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return view(PERMUTE, x, {"axes": axes})


def permute(input: Tensor, *dims: Any) -> Tensor:
    """Return a view with the axes in another order."""
    order = tuple(dims[0]) if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    axes = tuple([normalize_axis(d, input.ndim) for d in order])
    if sorted(axes) != list(range(input.ndim)):
        raise ArgumentError(f"permute: got dims={order} for {input.ndim} axes", expected="each axis once")
    return _permute(input, axes)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Return a view with two axes exchanged."""
    n = input.ndim
    if n == 0:
        return _permute(input, ())
    a, b = normalize_axis(dim0, n), normalize_axis(dim1, n)
    order = list(range(n))
    order[a], order[b] = order[b], order[a]
    return _permute(input, tuple(order))


def t(input: Tensor) -> Tensor:
    """Return the transpose of a matrix; tensors of fewer axes as they are."""
    if input.ndim > 2:
        raise ShapeError(f"t: got {input.ndim} axes", expected="at most 2", fix="use transpose(dim0, dim1)")
    return transpose(input, 0, 1) if input.ndim == 2 else input


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Return a view with axes moved to new places."""
    sources = [source] if isinstance(source, int) else list(source)
    places = [destination] if isinstance(destination, int) else list(destination)
    sources = [normalize_axis(a, input.ndim) for a in sources]
    places = [normalize_axis(a, input.ndim) for a in places]
    if len(sources) != len(places) or len(set(sources)) != len(sources) or len(set(places)) != len(places):
        raise ArgumentError(f"movedim: got source={source}, destination={destination}", expected="axes once each")
    order = [a for a in range(input.ndim) if a not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return _permute(input, tuple(order))


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Return a view without the axes of size 1 (all of them, or those named)."""
    shape = tuple(input.shape)
    axes: tuple[int, ...]
    if dim is None:
        axes = tuple(range(len(shape)))
    elif not shape:
        axes = ()
    else:
        axes = normalize_axes(dim, len(shape))
    return _reshape(input, tuple([n for axis, n in enumerate(shape) if not (axis in axes and n == 1)]))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Return a view with a new axis of size 1 at ``dim``."""
    shape = tuple(input.shape)
    axis = normalize_axis(dim, len(shape) + 1)
    return _reshape(input, (*shape[:axis], 1, *shape[axis:]))


def expand(input: Tensor, *size: Any) -> Tensor:
    """Return a view repeated along axes of size 1 and new axes in front; -1 keeps a size."""
    sizes = _sizes(size)
    old = tuple(input.shape)
    extra = len(sizes) - len(old)
    if extra < 0:
        raise ShapeError(f"expand: got {len(sizes)} sizes for {len(old)} axes", expected="at least as many")
    full = []
    for k, n in enumerate(sizes):
        if isinstance(n, int) and n == -1:
            if k < extra:
                raise ShapeError(f"expand: -1 for the new axis {k} of {sizes}", expected="a size")
            n = old[k - extra]
        full.append(n)
    return view(EXPAND, input, {"shape": tuple(full)})


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Return a view repeated to the shape of ``other``."""
    return expand(input, tuple(other.shape))


def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """Return a view repeated to a shape."""
    return expand(input, tuple(size))


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors repeated to their common shape."""
    shape = broadcast_shapes(*[tuple(x.shape) for x in tensors])
    return tuple([expand(x, shape) for x in tensors])


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """Return the tensor repeated along each axis, copied."""
    counts = _sizes(repeats)
    shape = tuple(input.shape)
    extra = len(counts) - len(shape)
    if extra < 0:
        raise ShapeError(f"repeat: got {len(counts)} counts for {len(shape)} axes", expected="at least as many")
    old = (1,) * extra + shape
    apart = [size for n in old for size in (1, n)]
    repeated = [size for c, n in zip(counts, old, strict=True) for size in (c, n)]
    y = view(EXPAND, _reshape(input, tuple(apart)), {"shape": tuple(repeated)})
    return clone(y).reshape(tuple([c * n for c, n in zip(counts, old, strict=True)]))


def tile(input: Tensor, *dims: Any) -> Tensor:
    """Return the tensor repeated along each axis; missing counts in front are 1."""
    counts = _sizes(dims)
    return repeat(input, (1,) * (input.ndim - len(counts)) + counts)


def repeat_interleave(input: Tensor, repeats: int, dim: int | None = None) -> Tensor:
    """Return each element repeated ``repeats`` times in a row."""
    if not isinstance(repeats, int):
        raise ArgumentTypeError("repeat_interleave: got a tensor of repeats", expected="one integer")
    x = ravel(input) if dim is None else input
    axis = normalize_axis(-1 if dim is None else dim, x.ndim)
    shape = tuple(x.shape)
    y = expand(unsqueeze(x, axis + 1), (*shape[: axis + 1], repeats, *shape[axis + 1 :]))
    return clone(y).reshape((*shape[:axis], shape[axis] * repeats, *shape[axis + 1 :]))


def contiguous(input: Tensor) -> Tensor:
    """Return the tensor if its memory is in row-major order, else a copy that is."""
    if STATE.mode == TRACE or input._value.flags.c_contiguous:
        return input
    return clone_contiguous(input)


def clone_contiguous(x: Tensor) -> Tensor:
    """Return a row-major copy."""
    y = clone(x)
    y._value = np.ascontiguousarray(y._value).reshape(y._value.shape)
    return y


def is_contiguous(input: Tensor) -> bool:
    """Return whether the memory is in row-major order."""
    return STATE.mode == TRACE or bool(input._value.flags.c_contiguous)


def slice_axis(x: Tensor, axis: int, start: Any, stop: Any, step: int = 1) -> Tensor:
    """Return a view of start, start + step, … below stop along one axis; bounds lie inside the axis."""
    shape = tuple(x.shape)
    starts = tuple([start if k == axis else 0 for k in range(len(shape))])
    stops = tuple([stop if k == axis else n for k, n in enumerate(shape)])
    return view(SLICE, x, {"starts": starts, "stops": stops, "steps": tuple([step if k == axis else 1 for k in range(len(shape))])})


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Return a view of ``length`` elements from ``start`` along an axis."""
    axis = normalize_axis(dim, input.ndim)
    size = input.shape[axis]
    if start < 0:
        start = start + size
    if start < 0 or length < 0 or start + length > size:
        raise ArgumentError(f"narrow: {length} elements from {start} along an axis of {size}", expected="within it")
    return slice_axis(input, axis, start, start + length)


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """Return a view of one place along an axis, which vanishes."""
    return input[(slice(None),) * normalize_axis(dim, input.ndim) + (index,)]


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Return views of parts of this size (the last may be smaller), or of these sizes, along an axis."""
    axis = normalize_axis(dim, tensor.ndim)
    size = tensor.shape[axis]
    if isinstance(split_size_or_sections, int):
        part = split_size_or_sections
        if part <= 0 and not (part == 0 and size == 0):
            raise ArgumentError(f"split: got a size of {part}", expected="at least 1")
        count = 1 if part == 0 else max(1, -(-int(size) // part))
        sizes = [part] * (count - 1) + [int(size) - part * (count - 1)]
    else:
        sizes = list(split_size_or_sections)
        if sum(sizes) != size:
            raise ArgumentError(f"split: sections {sizes} for an axis of {size}", expected=f"a sum of {size}")
    out, start = [], 0
    for n in sizes:
        out.append(slice_axis(tensor, axis, start, start + n))
        start = start + n
    return tuple(out)


def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Return views of about equal parts, or of the parts between indices, along an axis."""
    axis = normalize_axis(dim, input.ndim)
    size = int(input.shape[axis])
    if isinstance(indices_or_sections, int):
        n = indices_or_sections
        if n <= 0:
            raise ArgumentError(f"tensor_split: got {n} sections", expected="at least 1")
        sizes = [size // n + (k < size % n) for k in range(n)]
        return split(input, sizes, axis)
    edges = [0, *[min(max(i + size if i < 0 else i, 0), size) for i in indices_or_sections], size]
    return tuple([slice_axis(input, axis, a, max(a, b)) for a, b in zip(edges, edges[1:], strict=False)])


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Return at most ``chunks`` views of equal size (the last may be smaller)."""
    if chunks < 1:
        raise ArgumentError(f"chunk: got {chunks}", expected="at least 1")
    axis = normalize_axis(dim, input.ndim)
    size = int(input.shape[axis])
    if size == 0:
        return split(input, [0] * chunks, axis)
    return split(input, -(-size // chunks), axis)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Return a view of each place along an axis."""
    axis = normalize_axis(dim, input.ndim)
    return tuple([select(input, axis, k) for k in range(int(input.shape[axis]))])


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return the tensors joined along an axis, in their common dtype."""
    parts = list(tensors)
    if not parts:
        raise ArgumentError("cat: got no tensor", expected="at least one")
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
    parts = list(tensors)
    if not parts:
        raise ArgumentError("stack: got no tensor", expected="at least one")
    first = tuple(parts[0].shape)
    for k, x in enumerate(parts):
        if not same_shape(tuple(x.shape), first):
            raise ShapeError(f"stack: tensor {k} has shape {tuple(x.shape)}", expected=f"that of tensor 0, {first}")
    axis = normalize_axis(dim, parts[0].ndim + 1)
    return cat([unsqueeze(x, axis) for x in parts], axis)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Return the tensors joined side by side: along axis 1, or 0 if they have one axis."""
    parts = [x.reshape(1) if x.ndim == 0 else x for x in tensors]
    return cat(parts, 0 if parts[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Return the tensors, at least 2-d, joined along axis 0."""
    return cat([x.reshape(1, -1) if x.ndim < 2 else x for x in tensors], 0)


def flip(input: Tensor, *dims: Any) -> Tensor:
    """Return a copy with axes reversed."""
    axes = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    return apply(FLIP, (input,), {"axes": normalize_axes(tuple(axes), input.ndim) if axes else ()})


def fliplr(input: Tensor) -> Tensor:
    """Return a copy with axis 1 reversed."""
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """Return a copy with axis 0 reversed."""
    return flip(input, 0)


def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Return the elements moved along axes, those that fall off coming in again."""
    if dims is None or dims == ():
        if not isinstance(shifts, int):
            shifts = shifts[0]
        return roll(ravel(input), shifts, 0).reshape(tuple(input.shape)) if input.ndim else clone(input)
    moves = [(shifts, dims)] if isinstance(shifts, int) else list(zip(shifts, dims, strict=True))
    y = input
    for shift, dim in moves:
        axis = normalize_axis(dim, y.ndim)
        size = y.shape[axis]
        if isinstance(size, int) and size == 0:
            continue
        cut = (size - shift) % size
        y = cat([slice_axis(y, axis, cut, size), slice_axis(y, axis, 0, cut)], axis)
    return clone(y) if y is input else y


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Return a view of the diagonal of two axes, as the last axis."""
    a, b = normalize_axis(dim1, input.ndim), normalize_axis(dim2, input.ndim)
    if a == b:
        raise ArgumentError(f"diagonal: dim1={dim1} and dim2={dim2} are the same axis")
    return view(DIAGONAL, input, {"offset": offset, "axis1": a, "axis2": b})


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the diagonal of a matrix, or the matrix with this diagonal."""
    if input.ndim == 2:
        return clone(_diagonal(input, diagonal))
    if input.ndim != 1:
        raise ShapeError(f"diag: got {input.ndim} axes", expected="1 or 2")
    return diag_embed(input, diagonal)


_diagonal = diagonal


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Return matrices that have the last axis as their diagonal."""
    n = input.shape[-1] + (offset if offset >= 0 else -offset)
    full = primitive("full")
    rest = tuple(input.shape)[:-1]
    zeros = apply(full, (), {"shape": (*rest, n, n), "dtype": numpy_dtype(input), "value": 0})
    last = {"offset": offset, "axis1": len(rest), "axis2": len(rest) + 1}
    y = apply(primitive("put_diagonal"), (zeros, input), last)
    return movedim(y, (-2, -1), (dim1, dim2)) if (dim1, dim2) != (-2, -1) else y


def _triangle(x: Tensor, diagonal: int, *, lower: bool) -> Tensor:
    if x.ndim < 2:
        raise ShapeError(f"tril/triu: got {x.ndim} axes", expected="at least 2")
    rows = apply(IOTA, (), {"size": x.shape[-2], "dtype": I64}).reshape(-1, 1)
    columns = apply(IOTA, (), {"size": x.shape[-1], "dtype": I64})
    kept = columns <= rows + diagonal if lower else columns >= rows + diagonal
    return where(kept, x, apply(primitive("full"), (), {"shape": (), "dtype": numpy_dtype(x), "value": 0}))


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the part on and below a diagonal; the rest 0."""
    return _triangle(input, diagonal, lower=True)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the part on and above a diagonal; the rest 0."""
    return _triangle(input, diagonal, lower=False)


def constant_pad(input: Tensor, pad: Sequence[int], value: float = 0.0) -> Tensor:
    """Return the tensor with elements added (or, for negative numbers, cut) around the last axes, the last first."""
    if len(pad) % 2 or len(pad) // 2 > input.ndim:
        raise ArgumentError(f"pad: got {list(pad)} for {input.ndim} axes", expected="two numbers for each padded axis")
    n = input.ndim
    low, high = [0] * n, [0] * n
    for k in range(len(pad) // 2):
        low[n - 1 - k], high[n - 1 - k] = pad[2 * k], pad[2 * k + 1]
    y = input
    for axis in range(n):
        if low[axis] < 0 or high[axis] < 0:
            size = y.shape[axis]
            y = slice_axis(y, axis, -min(low[axis], 0), size + min(high[axis], 0))
    around = {"low": tuple([max(k, 0) for k in low]), "high": tuple([max(k, 0) for k in high])}
    return apply(PAD, (y,), {**around, "interior": (0,) * n, "value": value})


def numel_of(input: Tensor) -> Any:
    """Return the number of elements."""
    return numel(tuple(input.shape))


numel_of.__name__ = "numel"

FUNCTIONS = (
    reshape, flatten, ravel, unflatten, permute, transpose, t, movedim, squeeze, unsqueeze, broadcast_to, tile,
    repeat_interleave, narrow, select, split, tensor_split, chunk, unbind, cat, concat, stack, hstack, vstack, flip,
    fliplr, flipud, roll, diagonal, diag, diag_embed, tril, triu, numel_of, broadcast_tensors,
)  # fmt: skip
METHODS = (
    reshape, view_, view_as, reshape_as, flatten, ravel, unflatten, permute, transpose, t, movedim, squeeze, unsqueeze,
    expand, expand_as, broadcast_to, repeat, tile, repeat_interleave, contiguous, is_contiguous, narrow, select, split,
    tensor_split, chunk, unbind, flip, fliplr, flipud, roll, diagonal, diag, diag_embed, tril, triu, numel_of,
)  # fmt: skip
ALIASES = {"swapaxes": transpose, "swapdims": transpose, "moveaxis": movedim, "concatenate": concat, "nelement": numel_of}
