"""Tensors that ``functools.cached_property`` keeps, and buffers that code registers when it first runs: as in eager mode."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


class Masked(nn.Module):
    """Draws a mask once."""

    @functools.cached_property
    def mask(self) -> Any:
        return (cr.rand(3) > 0.5).float()

    def forward(self, x: Any) -> Any:
        return x * self.mask


class Chain(nn.Module):
    """Cached properties that use each other, one with tensors in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    @functools.cached_property
    def first(self) -> Any:
        return self.layer.weight.detach().clone()

    @functools.cached_property
    def second(self) -> Any:
        return self.first * 2

    @functools.cached_property
    def third(self) -> Any:
        return {"parts": [self.first + self.second, cr.rand(3)], "scale": 3}

    def forward(self, x: Any) -> Any:
        return self.layer(x) @ self.third["parts"][0] * self.third["scale"] + self.third["parts"][1]


class Plain:
    """The same of an object that is no module."""

    base = cr.ones(3)

    @functools.cached_property
    def first(self) -> Any:
        return self.base * 2

    @functools.cached_property
    def second(self) -> Any:
        return self.first + cr.rand(3)

    def forward(self, x: Any) -> Any:
        return x * self.second

    __call__ = forward


class Lazy(nn.Module):
    """Registers buffers when it first runs."""

    def forward(self, x: Any) -> Any:
        if not hasattr(self, "mean"):
            self.register_buffer("mean", x.mean(0).detach() + cr.rand(3))
            self.register_buffer("apart", self.mean * 2, persistent=False)
        return x - self.mean * self.apart


class Again(nn.Module):
    """Registers a buffer each time it runs."""

    def forward(self, x: Any) -> Any:
        self.register_buffer("last", x.mean(0).detach())
        return x - self.last


def kept(it: Any) -> dict[str, Any]:
    """Return all tensors that an object keeps."""
    held = {**vars(it), **vars(it).get("_buffers", {})}
    found = {name: value.tolist() for name, value in held.items() if isinstance(value, cr.Tensor)}
    if "third" in held:
        found["third"] = [part.tolist() for part in held["third"]["parts"]]
    return found | {"state": sorted(it.state_dict()) if isinstance(it, nn.Module) else []}


def same(ours: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert ours.keys() == expected.keys()
        for name in expected:
            same(ours[name], expected[name])
    elif isinstance(expected, list):
        assert len(ours) == len(expected)
        for x, y in zip(ours, expected, strict=True):
            same(x, y)
    elif isinstance(expected, float):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    else:
        assert ours == expected


MAKERS: list[Callable[[], Any]] = [Masked, Chain, Plain, Lazy, Again]
X = [cr.tensor(np.full((n, 3), k + 1, np.float32)) for k, n in enumerate((4, 4, 2, 4, 2))]


@pytest.mark.parametrize("by_size", [False, True])
@pytest.mark.parametrize("make", MAKERS)
def test_what_is_made_once_is_made_once(make: Any, by_size: bool) -> None:
    def run(wrap: Any) -> tuple[list[Any], Any]:
        cr.manual_seed(0)
        it = make()

        def step(x: Any) -> Any:
            return it(x) * (2 if by_size and x.shape[0] == 4 else 1)

        call, found = wrap(step), []
        for x in X:
            found += [call(x).tolist(), kept(it), cr.get_rng_state()["draw"]]
        return found, call

    ours, step = run(cr.compile)
    for y, expected in zip(ours, run(lambda f: f)[0], strict=True):
        same(y, expected)
    assert len(step.graphs) <= (3 if by_size else 2), step.report()


@pytest.mark.parametrize("make", [Masked, Chain, Plain, Lazy])
def test_a_trace_that_is_made_ahead_keeps_nothing(make: Any) -> None:
    cr.manual_seed(0)
    it = make()
    before = set(vars(it)), kept(it)
    step = cr.compile(lambda x: it(x))
    assert step.served(X[0]) is not None
    assert (set(vars(it)) - {"_label"}, kept(it)) == before
    y = step(X[0])
    cr.manual_seed(0)
    same(y.tolist(), make()(X[0]).tolist())
    same(step(X[0]).tolist(), y.tolist())


@pytest.mark.parametrize("make", [Masked, Chain, Lazy])
def test_many_runs_in_one_call_make_it_once(make: Any) -> None:
    def run(*, compiled: bool) -> Any:
        cr.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 3), make())
        optimizer = optim.SGD(model.parameters(), lr=0.01)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = model(x).pow(2).mean()
            loss.backward()
            optimizer.step()
            return loss.detach()

        rows = cr.arange(24.0).reshape(8, 3) / 24
        if compiled:
            return cr.compile(step).over(rows, batch_size=2, passes=2).tolist(), kept(model[1])
        return [step(rows[k : k + 2]).item() for _ in range(2) for k in range(0, 8, 2)], kept(model[1])

    for ours, expected in zip(run(compiled=True), run(compiled=False), strict=True):
        same(ours, expected)


@pytest.mark.parametrize("make", [Masked, Chain, Lazy])
def test_training_makes_it_once(make: Any) -> None:
    def losses(*, compiled: bool) -> list[float]:
        cr.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 3), make())
        x = np.linspace(0, 1, 48, dtype=np.float32).reshape(16, 3)
        options: Any = {"batch_size": 4, "epochs": 4, "progress": False, "compile": compiled}
        return list(cr.fit(model, (x, x * 2), **options)["train_loss"])

    same(losses(compiled=True), losses(compiled=False))


def test_what_is_taken_away_is_made_again() -> None:
    it = Plain()
    step = cr.compile(lambda x: it.forward(x))
    for _ in range(3):
        step(cr.ones(3))
        before = it.second
        assert step(cr.ones(3)).tolist() == before.tolist()
        del it.second
        assert step(cr.ones(3)).tolist() == it.second.tolist() != before.tolist()


def test_nothing_is_kept_where_the_trace_fails() -> None:
    it, model = Plain(), Lazy()
    acts: list[Any] = [cr.ones(3)]
    model.acts = acts

    @cr.compile
    def step(x: Any) -> Any:
        y = model(x) * it.second
        model.acts.append(y)
        if x.shape[-1] == 3:
            raise KeyError("later")
        return y

    for _ in range(2):
        with pytest.raises(KeyError):
            step(cr.ones(2, 3))
        assert vars(it) == {}
        assert "mean" not in model._buffers
        assert model.acts is acts  # the list, with a tensor in it that says that it has no value
