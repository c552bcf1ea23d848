"""Random index expressions, read and written, beside PyTorch: values, gradients, and that both raise or neither does."""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule.errors import ChainruleError, IndexingError
from tests.tolerances import assert_close

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

EXPRESSIONS = 40  # per example of hypothesis


def random_shape(choose: random.Random) -> tuple[int, ...]:
    return tuple(choose.choice((0, 1, 2, 3, 4)) for _ in range(choose.choice((0, 1, 2, 2, 3, 3, 4))))


def random_index(choose: random.Random, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return an index, mostly a sound one, of numbers, slices, None, ..., ("places", list) and ("mask", list)."""
    items: list[Any] = []
    axis, dots = 0, False
    common = choose.choice(((), (2,), (3, 1), (1, 3), (2, 2)))
    while axis < len(shape) and choose.random() < 0.85:
        size = shape[axis]
        kind = choose.choice(("integer", "slice", "slice", "none", "dots", "places", "mask", "flag"))
        if kind == "integer":
            items.append(choose.randint(-size - (choose.random() < 0.03), max(size - 1, 0)))
            axis += 1
        elif kind == "slice":
            ends = [None if choose.random() < 0.4 else choose.randint(-size - 1, size + 1) for _ in range(2)]
            items.append(slice(*ends, choose.choice((None, 1, 2, 3))))
            axis += 1
        elif kind == "none":
            items.append(None)
        elif kind == "dots" and not dots:
            items.append(Ellipsis)
            dots = True
            axis += choose.randint(0, len(shape) - axis)
        elif kind == "places" and size:
            places = [choose.randint(-size, size - 1) for _ in range(int(np.prod(common)))]
            items.append(("places", np.reshape(places, common).tolist()))
            axis += 1
        elif kind == "mask" and choose.random() < 0.5:
            covered = shape[axis : axis + choose.choice((1, 1, 2))]
            flags = [choose.random() < 0.5 for _ in range(int(np.prod(covered)))]
            items.append(("mask", np.reshape(flags, covered).astype(bool)))
            axis += len(covered)
        elif kind == "flag" and choose.random() < 0.1:
            items.append(choose.random() < 0.5)
    return tuple(items)


def index_of(library: ModuleType, items: tuple[Any, ...]) -> Any:
    """Return the index with its arrays as tensors of the library."""
    made = []
    for item in items:
        if isinstance(item, tuple) and item[0] == "places":
            made.append(library.tensor(item[1], dtype=library.int64))
        elif isinstance(item, tuple):
            made.append(library.from_numpy(item[1].copy()))
        else:
            made.append(item)
    return tuple(made) if len(made) != 1 else made[0]


def leaf(library: ModuleType, values: Any, order: list[int]) -> tuple[Any, Any]:
    """Return a leaf, and the tensor to be indexed: the leaf's axes in another order, not row-major."""
    x = library.from_numpy(values.copy()).requires_grad_()
    return x, (x * 1.0).permute(*order) if order else x * 1.0


def gradient(x: Any) -> Any:
    """Return the gradient that was collected; none is as good as zeros."""
    return np.zeros(tuple(x.shape)) if x.grad is None else x.grad.numpy()


def read(library: ModuleType, values: Any, order: list[int], items: tuple[Any, ...]) -> tuple[Any, Any]:
    x, y = leaf(library, values, order)
    part = y[index_of(library, items)]
    weights = np.arange(1.0, np.prod(part.shape) + 1).reshape(tuple(part.shape))
    (part * library.from_numpy(weights)).sum().backward()
    return part.detach().numpy(), gradient(x)


def written(
    library: ModuleType, values: Any, order: list[int], items: tuple[Any, ...], value: Any
) -> tuple[Any, Any, Any]:
    x, y = leaf(library, values, order)
    new = library.from_numpy(value.copy()).requires_grad_()
    y[index_of(library, items)] = new * 1.0
    weights = np.arange(1.0, values.size + 1).reshape(tuple(y.shape))
    (y * library.from_numpy(weights)).sum().backward()
    return y.detach().numpy(), gradient(x), gradient(new)


def same_places_twice(items: tuple[Any, ...]) -> bool:
    """Say whether a write may meet one place twice: which value stays is then PyTorch's secret."""
    return any(isinstance(item, tuple) and item[0] == "places" for item in items)


@given(seed=st.integers(0, 2**32 - 1))
def test_reading_gives_pytorchs_values_and_gradients(seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(EXPRESSIONS):
        shape = random_shape(choose)
        values = np.arange(1.0, np.prod(shape) + 1).reshape(shape)
        order = choose.sample(range(len(shape)), len(shape))
        items = random_index(choose, tuple(shape[k] for k in order))
        try:
            expected = read(torch, values, order, items)
        except (IndexError, RuntimeError):
            with pytest.raises(ChainruleError):
                read(cr, values, order, items)
            continue
        try:
            found = read(cr, values, order, items)
        except IndexingError:  # decided: a place outside its axis raises also where nothing is read
            assert expected[0].size == 0, items
            continue
        for actual, wanted in zip(found, expected, strict=True):
            assert_close(actual, wanted)


@given(seed=st.integers(0, 2**32 - 1))
def test_writing_gives_pytorchs_values_and_gradients(seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(EXPRESSIONS):
        shape = random_shape(choose)
        values = np.arange(1.0, np.prod(shape) + 1).reshape(shape)
        order = choose.sample(range(len(shape)), len(shape))
        items = random_index(choose, tuple(shape[k] for k in order))
        if same_places_twice(items):
            items = tuple(("places", [0]) if isinstance(i, tuple) and i[0] == "places" else i for i in items)
        try:
            part = torch.zeros([shape[k] for k in order])[index_of(torch, items)]
            kept = tuple(n if choose.random() < 0.7 else 1 for n in part.shape)[choose.choice((0, 0, 0, 1)) :]
            value = np.arange(1.0, np.prod(kept) + 1).reshape(choose.choice((kept, kept, (1, *kept))))
            expected = written(torch, values, order, items, value)
        except (IndexError, RuntimeError):
            continue
        try:
            found = written(cr, values, order, items, value)
        except IndexingError:
            assert np.size(value) == 0, items
            continue
        for actual, wanted in zip(found, expected, strict=True):
            assert_close(actual, wanted)


@pytest.mark.parametrize("index", [slice(None, None, -1), slice(None, None, 0), 1.5, "a", (..., ...), (0, 0, 0)])
def test_what_cannot_index_raises(index: Any) -> None:
    with pytest.raises(ChainruleError):
        cr.zeros(2, 3)[index]
