"""Arrays that begin where a cache line does: each vector of theirs then lies in one line, and is read at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.graph import Array

CACHE_LINE = 64  # bytes


def empty_in_lines(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array of no particular numbers."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    found: Array = memory[start : start + size].view(dtype).reshape(shape)
    return found


def in_lines(array: Array) -> Array:
    """Return a copy in row-major order."""
    copy = empty_in_lines(array.shape, array.dtype)
    copy[...] = array
    return copy
