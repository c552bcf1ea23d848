"""The gradient of a softmax divides what its forward pass has raised to powers; what only looks like it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from tests.compiler.native import assert_native

LOGITS = np.array([[100.0, 0.0, -5.0], [1.0, 2.0, 3.0], [-np.inf, 0.0, 1.0], [1e4, -1e4, 0.0]], np.float32)


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")


def both(function: Callable[[Any], Any], x: Any) -> tuple[Any, Any, Any]:
    compiled = cr.compile(function)
    found = compiled(cr.tensor(x))
    assert_native(compiled.report())
    return found.numpy(), function(cr.tensor(x)).numpy(), compiled


def gradient(x: Any) -> Any:
    x = x.detach().requires_grad_()
    x.log_softmax(1)[:, 0].sum().backward()
    return x.grad


def test_the_gradient_of_a_softmax_has_one_exp() -> None:
    ours, theirs, compiled = both(gradient, LOGITS)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)
    assert str(compiled.loops).count("= exp(") == 1
    assert "div(" in str(compiled.loops)


def test_long_rows_are_raised_to_powers_again() -> None:
    x = np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32)
    ours, theirs, compiled = both(gradient, x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    assert str(compiled.loops).count("= exp(") == 2


LOOK_ALIKES: dict[str, Callable[[Any], Any]] = {
    "not shifted": lambda x: (x - x.exp().sum(1).log()[:, None]).exp(),
    "shifted by the smallest": lambda x: _less(x, x.amin(1, keepdim=True)),
    "shifted by another's largest": lambda x: _less(x, (-x).amax(1, keepdim=True)),
    "the largest power": lambda x: _less(x, x.amax(1, keepdim=True), lambda y: y.exp().amax(1)),
    "powers of something else": lambda x: _less(
        x, x.amax(1, keepdim=True), lambda y: (2 * y).exp().sum(1, keepdim=True)
    ),
}


def _less(x: Any, least: Any, total: Callable[[Any], Any] = lambda y: y.exp().sum(1)) -> Any:
    shifted = x - least
    return (shifted - total(shifted).log()[:, None]).exp()


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_what_only_looks_like_it_keeps_its_values(name: str) -> None:
    x = np.array([[100.0, 0.0, -5.0], [1.0, 2.0, 3.0], [60.0, -60.0, 0.0]], np.float32)
    ours, theirs, _ = both(LOOK_ALIKES[name], x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-30)
