"""Leaves that are frozen, and modules that are switched, for a while: the gradients and states of PyTorch, eager and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import chainrule as cr
from tests.tensors.toggle_samples import FROZEN, SWITCHED, assert_equal

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle
SAMPLES = FROZEN | SWITCHED


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize("engine", ["eager", "interpreted", "native"])
def test_everything_is_what_pytorch_gives(
    sample: Callable[[Any, Any], Any], engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(engine == "native")))
    wanted = sample(torch, lambda step: step)
    made: list[Any] = []

    def compiled(step: Any) -> Any:
        made.append(step if engine == "eager" else cr.compile(step, keep_gradients=True))
        return made[-1]

    assert_equal(sample(cr, compiled), wanted)
    if engine != "eager":
        assert "uncompiled" not in made[0].report()
        assert (engine == "native") == ("native: " in made[0].report().replace("not native", "")), made[0].report()
