"""Shapes by sharing memory: reshape, permute, squeeze, expand, parts along an axis. PyTorch's names and arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.errors import ArgumentError, ArgumentTypeError, IndexingError, ShapeError
from chainrule.graph.numeric import as_int, as_ints
from chainrule.graph.sizes import Size, broadcast_shapes, infer_reshape, normalize_axes, normalize_axis, numel
from chainrule.tensors.arithmetic import clone
from chainrule.tensors.memory import DIAGONAL, EXPAND, PERMUTE, RESHAPE, SLICE, perhaps_copied, view
from chainrule.tensors.options import check_options, contiguous_format, has_memory_format, in_memory_format
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor, numpy_dtype


def listed(args: tuple[Any, ...], named: Any = None) -> tuple[Any, ...]:
    """Return sizes or axes given one by one, as one sequence, or by name."""
    if named is not None:
        args = (named,)
    return tuple(args[0]) if len(args) == 1 and isinstance(args[0], (tuple, list)) else args


def sizes_of(args: tuple[Any, ...], named: Any = None) -> tuple[Any, ...]:
    """Return a shape given one by one, as one sequence, or by name; -1 stays."""
    given = listed(args, named)
    shape = as_ints(given)
    for n in shape:
        if isinstance(n, bool) or not isinstance(n, (int, Size)):
            raise ArgumentTypeError(f"a shape of {given}", expected="integers")
    return shape


# -- reshape -------------------------------------------------------------------------------------------------------------


def reshaped(x: Tensor, shape: tuple[Any, ...], *, never_copies: bool = False) -> Tensor:
    """Return the elements in another shape, which is known to fit."""
    return view(RESHAPE, x, {"shape": shape}, never_copies=never_copies)


def reshape(input: Tensor, *args: Any, shape: Any = None) -> Tensor:
    """Return the elements in another shape (one size may be -1): a view where the memory allows, else a copy."""
    return reshaped(input, infer_reshape(tuple(input.shape), sizes_of(args, shape)))


def view_(input: Tensor, *args: Any, size: Any = None) -> Tensor:
    """Return a view of the memory in another shape; raise if it would need a copy."""
    sizes = listed(args, size)
    if len(sizes) == 1 and not isinstance(as_int(sizes[0]), (int, Size)):
        raise ArgumentTypeError(f"view: got {sizes[0]!r}", expected="sizes", fix="use to(dtype), which converts")
    y = reshaped(input, infer_reshape(tuple(input.shape), sizes_of(sizes)), never_copies=True)
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
        return reshaped(input, (1,))
    start, end = normalize_axis(start_dim, len(shape)), normalize_axis(end_dim, len(shape))
    if start > end:
        raise ArgumentError(f"flatten: start_dim={start_dim} comes after end_dim={end_dim}")
    if start == end:
        return input
    return reshaped(input, (*shape[:start], numel(shape[start : end + 1]), *shape[end + 1 :]))


def ravel(input: Tensor) -> Tensor:
    """Return all elements in one axis: a view of row-major memory, else a copy."""
    return reshaped(contiguous(input), (numel(tuple(input.shape)),))


def unflatten(input: Tensor, dim: int, sizes: Sequence[Any]) -> Tensor:
    """Return one axis split into several."""
    shape = tuple(input.shape)
    axis = normalize_axis(dim, len(shape))
    if not shape or not sizes:
        raise ArgumentError(f"unflatten: got sizes {tuple(sizes)} for axis {dim} of shape {shape}", expected="sizes")
    inner = infer_reshape((shape[axis],), sizes_of(tuple(sizes)))
    return reshaped(input, (*shape[:axis], *inner, *shape[axis + 1 :]))


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Return a view without the axes of size 1 (all of them, or those named)."""
    shape = tuple(input.shape)
    axes = normalize_axes(dim, len(shape))
    return reshaped(input, tuple([n for axis, n in enumerate(shape) if axis not in axes or n != 1]))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Return a view with a new axis of size 1 at ``dim``."""
    shape = tuple(input.shape)
    axis = normalize_axis(dim, len(shape) + 1)
    return reshaped(input, (*shape[:axis], 1, *shape[axis:]))


# -- permute -------------------------------------------------------------------------------------------------------------


def permuted(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return a view with the axes in another order, which is known to name each once."""
    return view(PERMUTE, x, {"axes": axes})


def permute(input: Tensor, *args: Any, dims: Any = None) -> Tensor:
    """Return a view with the axes in another order."""
    order = listed(args, dims)
    axes = normalize_axes(order, input.ndim)
    if len(axes) != input.ndim:
        raise ArgumentError(f"permute: got dims={order} for {input.ndim} axes", expected="each axis once")
    return permuted(input, axes)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Return a view with two axes exchanged."""
    order = list(range(input.ndim))
    a, b = normalize_axis(dim0, len(order)), normalize_axis(dim1, len(order))
    if order:
        order[a], order[b] = b, a
    return permuted(input, tuple(order))


def t(input: Tensor) -> Tensor:
    """Return the transpose of a matrix; a tensor of fewer axes as it is."""
    if input.ndim > 2:
        raise ShapeError(f"t: got {input.ndim} axes", expected="at most 2", fix="use transpose(dim0, dim1)")
    return permuted(input, tuple(range(input.ndim - 1, -1, -1)))


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Return a view with axes moved to new places."""
    sources, places = normalize_axes(source, input.ndim), normalize_axes(destination, input.ndim)
    if len(sources) != len(places):
        raise ArgumentError(f"movedim: got source={source}, destination={destination}", expected="as many of both")
    order = [a for a in range(input.ndim) if a not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return permuted(input, tuple(order))


# -- expand --------------------------------------------------------------------------------------------------------------


def expand(input: Tensor, *args: Any, size: Any = None) -> Tensor:
    """Return a view repeated along axes of size 1 and new axes in front; -1 keeps a size."""
    sizes = sizes_of(args, size)
    old = tuple(input.shape)
    extra = len(sizes) - len(old)
    if extra < 0:
        raise ShapeError(f"expand: got {len(sizes)} sizes for {len(old)} axes", expected="at least as many")
    full = []
    for k, n in enumerate(sizes):
        if isinstance(n, int) and n < 0:
            if n != -1 or k < extra:
                raise ShapeError(f"expand: got {n} for axis {k} of {sizes}", expected="a size, or -1 for an old axis")
            n = old[k - extra]
        full.append(n)
    return view(EXPAND, input, {"shape": tuple(full)})


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Return a view repeated to the shape of ``other``."""
    return expand(input, tuple(other.shape))


def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """Return a view repeated to a shape."""
    return expand(input, tuple(size))


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Return views of the tensors, repeated to their common shape."""
    parts = listed(tensors)
    shape = broadcast_shapes(*[tuple(x.shape) for x in parts])
    return tuple([expand(x, shape) for x in parts])


# -- parts ---------------------------------------------------------------------------------------------------------------


def slice_axis(x: Tensor, axis: int, start: Any, stop: Any, step: int = 1) -> Tensor:
    """Return a view of start, start + step, … below stop along one axis; bounds lie inside the axis."""
    shape = tuple(x.shape)
    around, behind = (0,) * axis, len(shape) - axis - 1
    attributes = {
        "starts": (*around, start, *(0,) * behind),
        "stops": (*shape[:axis], stop, *shape[axis + 1 :]),
        "steps": (*(1,) * axis, step, *(1,) * behind),
    }
    return view(SLICE, x, attributes)


def narrow(input: Tensor, dim: int, start: Any, length: Any) -> Tensor:
    """Return a view of ``length`` elements from ``start`` along an axis."""
    axis = own_axis(input, dim, "narrow")
    size = input.shape[axis]
    if isinstance(start, Tensor) and (start.ndim > 0 or numpy_dtype(start).kind not in "iu"):
        raise ArgumentError(
            f"narrow: got a start of shape {tuple(start.shape)}", expected="an integer, or one in a 0-d tensor"
        )
    first, length = as_int(start), as_int(length)
    if first < 0:
        first = first + size
    if first < 0 or length < 0 or first + length > size:
        raise ArgumentError(f"narrow: {length} elements from {first} along an axis of {size}", expected="within it")
    return slice_axis(input, axis, first, first + length)


def select(input: Tensor, dim: int, index: Any) -> Tensor:
    """Return a view of one place along an axis, which vanishes."""
    axis = own_axis(input, dim, "select")
    shape = tuple(input.shape)
    place = as_int(index)
    if place < -shape[axis] or place >= shape[axis]:
        raise IndexingError(f"index {place} for axis {axis} of {shape[axis]} elements")
    if place < 0:
        place = place + shape[axis]
    return reshaped(slice_axis(input, axis, place, place + 1), shape[:axis] + shape[axis + 1 :])


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Return a view of each place along an axis."""
    axis = own_axis(input, dim, "unbind")
    return tuple([select(input, axis, k) for k in range(int(input.shape[axis]))])


def own_axis(x: Tensor, dim: int, name: str) -> int:
    """Return the axis counted from the front; a 0-d tensor has none."""
    if x.ndim == 0:
        raise IndexingError(f"{name}: got a 0-d tensor", expected="at least one axis")
    return normalize_axis(dim, x.ndim)


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Return a view of the diagonal of two axes, as the last axis."""
    a, b = normalize_axis(dim1, input.ndim), normalize_axis(dim2, input.ndim)
    if a == b:
        raise ArgumentError(f"diagonal: dim1={dim1} and dim2={dim2} are the same axis of {input.ndim}")
    return view(DIAGONAL, input, {"offset": as_int(offset), "axis1": a, "axis2": b})


# -- memory --------------------------------------------------------------------------------------------------------------


def contiguous(input: Tensor, **options: Any) -> Tensor:
    """Return the tensor if its memory is in row-major order (or in ``memory_format``), else a copy that is."""
    wanted = check_options("contiguous", options) or contiguous_format
    if STATE.mode == TRACE and wanted is contiguous_format:
        return perhaps_copied(input)
    return input if has_memory_format(input, wanted) else in_memory_format(clone(input), wanted)


def is_contiguous(input: Tensor, **options: Any) -> bool:
    """Return whether the memory is in row-major order (or in ``memory_format``)."""
    return has_memory_format(input, check_options("is_contiguous", options) or contiguous_format)


FUNCTIONS = (
    reshape, flatten, ravel, unflatten, squeeze, unsqueeze, permute, transpose, t, movedim, broadcast_to,
    broadcast_tensors, narrow, select, unbind, diagonal,
)  # fmt: skip
METHODS = (
    reshape, view_, view_as, reshape_as, flatten, ravel, unflatten, squeeze, unsqueeze, permute, transpose, t, movedim,
    expand, expand_as, broadcast_to, narrow, select, unbind, diagonal, contiguous, is_contiguous,
)  # fmt: skip
ALIASES = {"swapaxes": transpose, "swapdims": transpose, "moveaxis": movedim}
