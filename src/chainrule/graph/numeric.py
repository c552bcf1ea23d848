"""Numbers of other kinds than Python's own (NumPy's, tensors of one integer), made plain before they get into a graph."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from chainrule.graph.polynomial import Size


def as_int(value: Any) -> Any:
    """Return an integer of any kind as an int. Truth values, sizes not known yet and what is no integer stay as they are.

    >>> as_int(np.uint8(3)), as_int(np.array(3)), as_int(True), as_int(2.0)
    (3, 3, True, 2.0)
    """
    if type(value) is int or isinstance(value, (bool, Size)):
        return value
    try:
        return operator.index(value)
    except TypeError:
        return value


def as_ints(values: Any) -> tuple[Any, ...]:
    """Return a sequence as a tuple, its integers plain.

    >>> as_ints([np.int64(2), 3])
    (2, 3)
    """
    return tuple([as_int(value) for value in values])


def as_number(value: Any) -> Any:
    """Return a number of NumPy's as Python's; anything else as it is.

    >>> as_number(np.float32(0.5)), as_number(np.int64(2)), as_number(np.True_), as_number("none")
    (0.5, 2, True, 'none')
    """
    if isinstance(value, (np.integer, np.floating, np.bool_)):
        return value.item()
    return value
