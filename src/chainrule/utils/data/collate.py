"""From a list of rows to a batch: what is a number or an array in a row is a tensor with one axis more in the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.errors import ArgumentTypeError, ShapeError
from chainrule.tensors.creation import as_tensor, tensor
from chainrule.tensors.dtypes import float64
from chainrule.tensors.shaping import stack
from chainrule.tensors.tensor import Tensor


def default_collate(batch: Sequence[Any]) -> Any:
    """Return a list of rows as a batch: tensors, arrays and numbers are stacked, dicts and tuples part by part.

    Python floats become float64, as in PyTorch; strings stay a list.

    >>> default_collate([{"x": 1.0, "name": "a"}, {"x": 2.0, "name": "b"}])
    {'x': tensor([1., 2.], dtype=chainrule.float64), 'name': ['a', 'b']}
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(batch)
    if isinstance(first, (np.ndarray, np.generic)):
        if first.dtype.kind not in "biuf":
            raise ArgumentTypeError(f"default_collate: got an array of {first.dtype}", expected="numbers")
        return stack([as_tensor(x) for x in batch])
    if isinstance(first, float):
        return tensor(list(batch), dtype=float64)
    if isinstance(first, int):
        return tensor(list(batch))
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _like(first, {name: default_collate([row[name] for row in batch]) for name in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*[default_collate(part) for part in zip(*batch, strict=True)])
    if isinstance(first, Sequence):
        for k, row in enumerate(batch):
            if len(row) != len(first):
                raise ShapeError(f"default_collate: row {k} has {len(row)} parts", expected=f"{len(first)}, as row 0")
        parts = [default_collate(part) for part in zip(*batch, strict=True)]
        return parts if isinstance(first, tuple) else _like(first, parts)
    raise ArgumentTypeError(
        f"default_collate: got rows of {type(first).__name__}",
        expected="tensors, arrays, numbers, strings, or dicts, tuples and lists of them",
        fix="pass a collate_fn of your own to the DataLoader",
    )


def default_convert(data: Any) -> Any:
    """Return one row with its arrays as tensors: what a DataLoader without batches gives."""
    if isinstance(data, (np.ndarray, np.generic)):
        return as_tensor(data) if data.dtype.kind in "biuf" else data
    if isinstance(data, Mapping):
        return _like(data, {name: default_convert(part) for name, part in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*[default_convert(part) for part in data])
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        parts = [default_convert(part) for part in data]
        return parts if isinstance(data, tuple) else _like(data, parts)
    return data


def _like(kind: Any, parts: Any) -> Any:
    """Return ``parts`` in a container of the type of ``kind``, if that can be made of them."""
    if type(kind) is type(parts):
        return parts
    try:
        return type(kind)(parts)
    except TypeError:  # a type with arguments of its own, or range
        return parts
