"""Random numbers drawn for several vectors at once are those drawn one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn
from tests.compiler.native import assert_native
from tests.training_step import training_step

Step = Callable[[Any, Any], Any]


def bits(step: Callable[..., Any], compiled: str, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray[Any, Any]]:
    monkeypatch.setenv("CHAINRULE_COMPILE", compiled)
    cr.manual_seed(3)
    traced = cr.compile(step)
    random = np.random.default_rng(0)
    results = []
    for rows in (5, 5, 37):
        results.append(traced(cr.tensor(random.normal(size=(rows, 6)).astype(np.float32))).numpy())
    if compiled == "1":
        assert_native(traced.report())
    return results


@pytest.mark.parametrize("width", [3, 16, 48, 61, 64, 120, 185, 200])
@pytest.mark.parametrize("kind", ["loop", "rows", "columns", "product"])
def test_a_mask_has_the_interpreters_bits(width: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ones(x: Any) -> Any:
        return x[:, :1] * 0 + cr.ones(width)

    def step(x: Any) -> Any:
        if kind == "product":  # 1 wherever it is kept
            return F.dropout(x.abs() @ cr.ones(6, width), 0.25).sign()
        mask = F.dropout(ones(x), 0.25)
        return mask.sign() if kind == "loop" else mask.sign().sum(1 if kind == "rows" else 0)

    native, interpreted = (bits(step, compiled, monkeypatch) for compiled in "10")
    for ours, theirs in zip(native, interpreted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_batch_norm_and_dropout_train_natively(monkeypatch: pytest.MonkeyPatch) -> None:
    def losses(compiled: str) -> np.ndarray[Any, Any]:
        monkeypatch.setenv("CHAINRULE_COMPILE", compiled)
        cr.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 100), nn.BatchNorm1d(100), nn.ReLU(), nn.Dropout(0.2), nn.Linear(100, 3))
        optimizer = cr.optim.SGD(model.parameters(), lr=0.1)

        step = training_step(model, optimizer)
        random = np.random.default_rng(0)
        X, y = random.normal(size=(64, 6)).astype(np.float32), random.integers(0, 3, 64)
        found = [step(cr.tensor(X), cr.tensor(y)).item() for _ in range(5)]
        if compiled == "1":
            assert_native(step.report())
        return np.array(found)

    np.testing.assert_allclose(losses("1"), losses("0"), rtol=2e-5)
