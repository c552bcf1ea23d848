"""Views and writes in place: each snippet runs on both libraries; values and gradients agree, or both raise.

What is decided otherwise is in DECIDED, with the reason (docs/decisions/0003-views-and-writes.md).
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ChainruleError
from tests.tolerances import assert_close

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

# Each has a leaf x of six numbers and a leaf m of 2 x 3, both requiring grad, and leaves a result y (or raises).
SNIPPETS: dict[str, str] = {
    "a part of a result is scaled": "y = x * 2; y[:2].mul_(3)",
    "a part is overwritten by a number": "y = x * 2; y[1:3] = 7.0",
    "a part is overwritten by a tensor with gradient": "y = x * 2; y[1:3] = x[4:6]",
    "one element is overwritten": "y = x * 2; y[0] = x[5] * x[4]",
    "every second element is overwritten": "y = x * 2; y[::2] = 0.0",
    "a whole is filled": "y = x * 2; y.fill_(4.0); y = y + x",
    "a whole is zeroed": "y = x * 2; y.zero_(); y = y + x",
    "a whole is copied over": "y = x * 2; y.copy_(x ** 2)",
    "a copy is broadcast": "y = m * 2; y.copy_(m[0] * 3)",
    "a scalar tensor is copied over": "y = m * 2; y.copy_(x[0] * 3)",
    "a row of a matrix is overwritten": "y = m * 2; y[1] = m[0] ** 2",
    "a column of a matrix is overwritten": "y = m * 2; y[:, 1] = m[:, 0] ** 2",
    "a transposed view is written": "y = m * 2; y.t()[0].mul_(5)",
    "a permuted view is written": "y = m * 2; y.permute(1, 0)[2] = 1.0",
    "a reshaped view is written": "y = x * 2; y.view(2, 3)[0].add_(x[:3])",
    "a reshaped view of a slice is written": "y = x * 2; y[2:].reshape(2, 2)[1].mul_(4)",
    "a flattened view is written": "y = m * 2; y.flatten()[1:4].mul_(3)",
    "a diagonal is written": "y = (m @ m.t()); y.diagonal().mul_(3)",
    "an unsqueezed view is written": "y = x * 2; y.unsqueeze(0)[0, 1:3].mul_(2)",
    "a chain of views is written": "y = m * 2; y[:, 1:].t()[0].mul_(x[:2])",
    "a view made before a write to its base sees it": "b = x * 2; y = b[1:4]; b.mul_(3); y = y * 1",
    "a base sees a write through an older view": "b = x * 2; v = b[1:4]; w = b[2:5]; v.mul_(3); w.add_(1.0); y = b * 1",
    "a view sees a write through another": "b = x * 2; v = b[:4]; y = b[2:]; v.mul_(x[:4]); y = y * 1",
    "two writes to one part": "y = x * 2; y[:3].mul_(2); y[1:4].mul_(3)",
    "writes that overwrite each other": "y = x * 2; y[:3] = x[3:]; y[1:4] = x[:3] * 2",
    "a part of itself is copied": "y = x * 2; y[:3] = y[3:]",
    "a write in a loop": "y = x * 2\nfor k in range(6):\n    y[k] = y[k] * (k + 1)",
    "an accumulation in a loop": "y = x * 0\nfor k in range(3):\n    y += x * k",
    "operators in place": "y = x * 2; y += 1; y *= x; y -= 2; y /= 4",
    "a power in place": "y = x * 2; y **= 2",
    "a function in place that reads its input": "y = x * 2; y.sin_()",
    "a function in place that reads its output": "y = x * 2; y.exp_()",
    "a function in place on a part": "y = x * 2; y[:3].sigmoid_()",
    "a clamp in place": "y = x * 2; y.clamp_(-1.0, 1.0)",
    "a product with itself in place": "y = x * 2; y.mul_(y.detach())",
    "a masked fill": "y = x * 2; y.masked_fill_(x.detach() > 0, 3.0)",
    "a mask is written with a number": "y = x * 2; y[x.detach() > 0] = 3.0",
    "a mask is written with a tensor": "y = x * 2; y[x.detach() > 0] = x[x.detach() > 0] ** 2",
    "an index array is written": "y = x * 2; y[L.tensor([4, 0])] = x[:2] * 5",
    "an index array of a matrix is written": "y = m * 2; y[:, L.tensor([2, 0])] = m[:, :2] * 5",
    "an integer and an index array are written": "y = m * 2; y[1, L.tensor([2, 0])] = x[:2]",
    "a scatter in place": "y = x * 2; y.scatter_(0, L.tensor([1, 3]), x[:2])",
    "an added scatter in place": "y = x * 2; y.scatter_add_(0, L.tensor([1, 1, 3]), x[:3])",
    "an added index in place": "y = m * 2; y.index_add_(0, L.tensor([1, 1]), m)",
    "detached memory is shared": "y = x * 2; d = y.detach(); d[:2] = 9.0; y = y * 1",
    "a write through detach is not differentiated": "y = x * 2; y.detach().mul_(5); y = y * x",
    "data of a result is written": "y = x * 2; y.data.add_(1.0); y = y + x",
    "a leaf is written without gradients": "with L.no_grad():\n    x.mul_(2)\ny = x * x",
    "a part of a leaf is written without gradients": "with L.no_grad():\n    x[:2] = 5.0\ny = x * x",
    "the data of a leaf is written": "x.data.mul_(3); y = x * x",
    "a result is written without gradients": "y = x * 2\nwith L.no_grad():\n    y.mul_(10)\ny = y + 0",
    "a leaf without gradient gets one by a write": "y = L.zeros(6); y[:3] = x[:3] * 2",
    "a buffer is filled row by row": "y = L.zeros(2, 3)\nfor k in range(2):\n    y[k] = m[1 - k] * (k + 1)",
    "a clone is written, its source stays": "b = x * 2; c = b.clone(); c.mul_(3); y = b + c",
    "a write to what a product kept": "b = x * 2; y = b * b; b.mul_(3); y = y + b",
    "a write to what exp gave and kept": "y = x.exp(); y.mul_(2)",
    "a write to what a sum did not keep": "b = x * 2; y = b + 1; b.mul_(3); y = y + b",
    "a write to a factor whose partner needs no gradient": "b = x * 2; y = b * 3; b.mul_(2); y = y + b",
    "a write in place to a leaf": "x.mul_(2); y = x",
    "a write in place to a view of a leaf": "x[:2].mul_(2); y = x",
    "a write through expand": "y = (x[:1] * 2).expand(3); y.mul_(2)",
    "a write of a shape that does not fit": "y = x * 2; y[:2] = x[:3]",
    "a result of a larger shape in place": "y = x[:3] * 2; y.add_(m)",
    "a float into integers in place": "y = L.tensor([1, 2]); y.add_(1.5)",
    "a view that would need a copy": "y = m.t().view(6)",
    "an item is written after a view was read": "b = x * 2; v = b[:3]; s = v * 2; b[0] = 1.0; y = s.sum() + b.sum()",
    "unbind gives views": "y = m * 2\nfor row in y.detach().unbind(0):\n    row.mul_(2)\ny = y * 1",
    "the gradient of a scaled part, twice": "y = x * 2; y[:2].mul_(3); y[:2].mul_(3)",
}  # fmt: skip

# Where this library decides otherwise: what it does, and why.
DECIDED = {
    "a write to a leaf's data after it was kept": (
        "b = x * x; x.data.mul_(2); y = b + 0",
        "PyTorch's gradient silently reads the new value; here it raises",
    ),
}


def outcome(library: ModuleType, code: str) -> tuple[Any, ...]:
    """Return the result's array and the gradients of its sum weighted by 1, 2, …; raises as the library does."""
    rows = np.array([[0.5, -1.0, 2.0], [1.5, -0.25, 0.75]])
    x = library.tensor([1.0, -2.0, 0.5, 3.0, -0.75, 1.25], dtype=library.float64, requires_grad=True)
    m = library.tensor(rows.tolist(), dtype=library.float64, requires_grad=True)
    names = {"L": library, "x": x, "m": m}
    exec(code, names)  # noqa: S102 - the snippets of this file
    y = names["y"]
    value = np.array(y.detach().numpy())
    if y.requires_grad:
        weights = np.arange(1.0, value.size + 1).reshape(value.shape)
        (y * library.tensor(weights.tolist(), dtype=library.float64)).sum().backward()
    return value, *[None if leaf.grad is None else np.array(leaf.grad.numpy()) for leaf in (x, m)]


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_snippet_does_what_it_does_in_pytorch(name: str) -> None:
    try:
        expected = outcome(torch, SNIPPETS[name])
    except (RuntimeError, IndexError, TypeError, ValueError):
        with pytest.raises(ChainruleError):
            outcome(cr, SNIPPETS[name])
        return
    for actual, wanted in zip(outcome(cr, SNIPPETS[name]), expected, strict=True):
        if actual is None or wanted is None:
            assert not any(g.any() for g in (actual, wanted) if g is not None)  # none is as good as zeros
        else:
            assert_close(actual, wanted)


@pytest.mark.parametrize("name", DECIDED)
def test_what_is_decided_otherwise_raises(name: str) -> None:
    outcome(torch, DECIDED[name][0])
    with pytest.raises(ChainruleError):
        outcome(cr, DECIDED[name][0])


def test_there_are_at_least_48_snippets() -> None:
    assert len(SNIPPETS) >= 48
