"""The text of tensors, beside PyTorch's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.tensors.printing import set_printoptions, tensor_repr

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

DTYPES = (np.float32, np.float64, np.int64, np.int32, np.int16, np.uint8, np.int8, np.bool_)


@pytest.fixture(autouse=True)
def default_options() -> Iterator[None]:
    yield
    set_printoptions(profile="default")
    torch.set_printoptions(profile="default")


def values(random: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Numbers whose text is of one of the kinds that printing tells apart."""
    x = random.normal(size=shape)
    match random.integers(0, 8):
        case 0:
            x = np.round(x * 10)
        case 1:
            x = x * 10.0 ** random.integers(-9, 12)
        case 2:
            x = np.exp(x * random.integers(1, 6))
        case 3:
            x = np.where(random.random(shape) < 0.2, np.nan, x)
        case 4:
            x = np.where(random.random(shape) < 0.3, random.choice([np.inf, -np.inf, 0, -0.0], size=shape), np.round(x))
        case 5:
            x = np.round(x * 10.0 ** random.integers(0, 11))
        case 6:
            x = x * 0
    return np.asarray(x)


def converted(x: Any, dtype: Any) -> Any:
    with np.errstate(all="ignore"):
        if dtype in (np.float32, np.float64):
            return x.astype(dtype)
        return np.asarray(np.nan_to_num(x, posinf=1e5, neginf=-1e5)).astype(np.int64).astype(dtype)


def theirs(x: Any, *, requires_grad: bool = False) -> str:
    text = repr(torch.from_numpy(np.array(x)).requires_grad_(requires_grad))
    return text.replace("torch.", "chainrule.")


def same(ours: str, expected: str) -> bool:
    """Equal; where a dtype is named, ours is longer, and the line may break before it."""
    if "dtype=" in expected:
        ours, expected = (re.sub(r",\s+(dtype|size|requires_grad)=", r", \1=", text) for text in (ours, expected))
    return ours == expected


@pytest.mark.parametrize("seed", range(8))
def test_hundreds_of_random_tensors_read_as_pytorchs(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(60):
        shape = tuple(int(n) for n in random.integers(0 if random.random() < 0.1 else 1, 9, random.integers(0, 5)))
        if random.random() < 0.1:
            shape = (int(random.integers(900, 1100)), *shape[:1])
        options: dict[str, Any] = {"profile": str(random.choice(["default", "short", "full"]))}
        if random.random() < 0.4:
            options = {
                "precision": int(random.integers(0, 8)),
                "threshold": int(random.integers(0, 200)),
                "edgeitems": int(random.integers(0, 5)),
                "linewidth": int(random.integers(20, 150)),
                "sci_mode": [None, True, False][random.integers(0, 3)],
            }
        set_printoptions(**options)
        torch.set_printoptions(**options)
        x = converted(values(random, shape), DTYPES[random.integers(0, len(DTYPES))])
        wants = bool(random.random() < 0.3) and x.dtype.kind == "f"
        ours = tensor_repr(cr.tensor(x, requires_grad=wants))
        expected = theirs(x, requires_grad=wants)
        assert same(ours, expected), f"{options}\n{ours}\n{expected}"


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0), (1, 0, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
def test_empty_tensors_show_their_shape_and_dtype(shape: tuple[int, ...], dtype: Any) -> None:
    x = np.zeros(shape, dtype)
    assert tensor_repr(cr.tensor(x)) == theirs(x)


def test_views_print_their_own_elements() -> None:
    x = np.arange(24.0, dtype=np.float32).reshape(4, 6)
    ours, expected = cr.tensor(x).t()[::2], torch.tensor(x).t()[::2]
    assert tensor_repr(ours) == repr(expected)
