"""NumPy's functions of tensors, as ``np.sum(x)``: computed on their arrays; inside a compiled function refused by name."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np

from chainrule.errors import ArgumentTypeError
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import WRITES, Size, Tensor, concrete

WRITERS = frozenset(
    ("copyto", "fill_diagonal", "place", "put", "put_along_axis", "putmask")
)  # into their first argument
OTHER_NAMES = {
    "append": "cr.cat", "block": "cr.cat", "concat": "cr.cat", "concatenate": "cr.cat", "copy": "x.clone",
    "einsum": "cr.einsum", "empty_like": "cr.empty_like", "expand_dims": "x.unsqueeze", "full_like": "cr.full_like",
    "hstack": "cr.hstack", "ones_like": "cr.ones_like", "stack": "cr.stack", "tensordot": "cr.tensordot",
    "vstack": "cr.vstack", "where": "cr.where", "zeros_like": "cr.zeros_like",
}  # fmt: skip
"""What to write instead of a function of NumPy's, if that is no method of its name."""


def array_function(self: Tensor, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Answer a function of NumPy's that was given tensors: with what it returns for their arrays."""
    if not all(issubclass(kind, (Tensor, np.ndarray)) for kind in types):
        return NotImplemented
    if func in SHAPES:
        return SHAPES[func](*args, **kwargs)
    name = f"{func.__module__}.{func.__name__}".replace("numpy", "np", 1)
    if STATE.mode == TRACE:
        concrete(self, f"{name}()", instead=_instead(func.__name__))
    out = kwargs.get("out", _given_at(args, place_of_out(func)))
    written = [*(out if isinstance(out, tuple) else (out,))]
    if func.__name__ in WRITERS:
        written += [*args[:1], *[kwargs.get(key) for key in ("dst", "arr", "a")]]
    if any(isinstance(x, Tensor) for x in written):
        raise ArgumentTypeError(f"{name}: got a tensor to write into", expected="an array", fix=WRITES)
    # its own implementation: func itself would ask here again where tensors are in a sequence of another type
    return np.ndarray.__array_function__(NOTHING, func, (np.ndarray,), arrays_in(args), arrays_in(kwargs))


@functools.cache
def place_of_out(func: Any) -> int:
    """Return which of its arguments by position a function of NumPy's writes into; -1 if none.

    >>> place_of_out(np.sum), place_of_out(np.concatenate), place_of_out(np.flip)
    (3, 2, -1)
    """
    try:
        names = [*inspect.signature(func).parameters.values()]
    except (TypeError, ValueError):  # one written in C, without a signature
        return -1
    found = [k for k, p in enumerate(names) if p.name == "out" and p.kind is not p.KEYWORD_ONLY]
    return found[0] if found else -1


def _given_at(args: tuple[Any, ...], place: int) -> Any:
    return args[place] if 0 <= place < len(args) else None


def arrays_in(value: Any) -> Any:
    """Return ``value`` with arrays for the tensors in its lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return np.asarray(value)
    if type(value) in (list, tuple):
        return type(value)([arrays_in(part) for part in value])
    if type(value) is dict:
        return {key: arrays_in(part) for key, part in value.items()}
    return value


def _instead(name: str) -> str:
    found = OTHER_NAMES.get(name) or (f"x.{name}" if hasattr(Tensor, name) else "")
    return f"{found}(…)" if found else ""


def _shape(a: Tensor) -> Any:
    return a.shape


def _ndim(a: Tensor) -> int:
    return a.ndim


def _size(a: Tensor, axis: int | tuple[int, ...] | None = None) -> Any:
    if axis is None:
        return a.shape.numel()
    return Size([a.shape[k] for k in (axis if isinstance(axis, tuple) else (axis,))]).numel()


NOTHING = np.zeros(0)
SHAPES = {
    np.shape: _shape,
    np.ndim: _ndim,
    np.size: _size,
}  # what a tensor without a value, or with a gradient, has too
