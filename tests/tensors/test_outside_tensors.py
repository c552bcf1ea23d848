"""What a compiled function keeps of tensors, and reads of attributes of objects: noticed, kept, or refused by name."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import TraceError

ONE = np.ones(1, np.float32)

ONE = np.ones(1, np.float32)


class Counting(nn.Module):
    """Adds up its inputs in an attribute that is no buffer."""

    def __init__(self, start: Any) -> None:
        super().__init__()
        self.total = start

    def forward(self, x: Any) -> Any:
        self.total = x if self.total is None else self.total + x
        return self.total * 2


def test_a_tensor_assigned_to_an_attribute_is_there_at_the_next_call() -> None:
    eager, compiled = Counting(cr.zeros(1)), Counting(cr.zeros(1))
    call = cr.compile(compiled)
    for _ in range(3):
        assert call(cr.tensor(ONE)).item() == eager(cr.tensor(ONE)).item()
    assert compiled.total.item() == 3


@pytest.mark.parametrize("start", [None, cr.zeros(2, 1), 1.0], ids=["nothing", "another shape", "a number"])
def test_what_no_attribute_can_take_is_refused_by_name(start: Any) -> None:
    with pytest.raises(TraceError, match=r"Counting\.total.*register_buffer"):
        cr.compile(Counting(start))(cr.tensor(np.ones(2, np.float32)))


def test_a_tensor_through_which_a_gradient_flows_is_no_state() -> None:
    model = nn.Linear(1, 1)
    model.seen = cr.zeros(1, 1)

    @cr.compile
    def step(x: Any) -> Any:
        model.seen = model(x)
        return model.seen

    with pytest.raises(TraceError, match=r"Linear\.seen"):
        step(cr.ones(1, 1))


class Centred(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.mean = cr.zeros(3)

    def forward(self, x: Any) -> Any:
        if self.training:
            self.mean = self.mean * 0.9 + x.detach().mean(0) * 0.1
        return self.linear(x - self.mean)


def test_fit_keeps_what_a_model_remembers() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)).astype(np.float32), rng.integers(0, 2, 60)
    means = []
    for compiled in (True, False):
        cr.manual_seed(0)
        model = Centred()
        cr.fit(model, (X, y), val=(X, y), epochs=2, batch_size=16, compile=compiled, progress=False, seed=0)
        means.append(model.mean.numpy())
    np.testing.assert_allclose(means[0], means[1], rtol=1e-5)
    assert means[0].any()


def test_a_hook_that_keeps_an_output_on_a_module_is_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model[0].register_forward_hook(lambda module, _, y: setattr(module, "kept", y.detach()))
    with pytest.raises(TraceError, match="kept"):
        cr.compile(model)(cr.ones(1, 2))


KEPT: list[Any] = []


@pytest.mark.parametrize(
    "keep",
    [lambda y: y, lambda y: y.detach(), lambda y: y.mean(), lambda y: (y.abs() + 1)[0]],
    ids=["itself", "detached", "its mean", "a view of another"],
)
def test_a_hook_that_keeps_a_tensor_elsewhere_is_refused_by_name(keep: Any) -> None:
    def remember(module: Any, inputs: Any, y: Any) -> None:
        KEPT.append(keep(y))

    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model[0].register_forward_hook(remember)
    with pytest.raises(TraceError, match=r"hook .*remember keeps a tensor"):
        cr.compile(model)(cr.ones(1, 2))
    model(cr.ones(1, 2))  # uncompiled it may


def test_hooks_that_use_tensors_alone_are_traced() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model.register_buffer("peak", cr.zeros(2))
    model[0].register_forward_hook(lambda module, _, y: model.peak.copy_(y.detach().abs().amax(0)))
    model[1].register_forward_hook(lambda module, _, y: y * 2)
    expected = model(cr.ones(1, 2)).numpy(), model.peak.numpy().copy()
    model.peak.zero_()
    found = cr.compile(model)(cr.ones(1, 2)).numpy(), model.peak.numpy()
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


class Scaling:
    """An ordinary object with settings."""

    def __init__(self) -> None:
        self.factor = 2.0
        self.inner = SimpleNamespace(power=1)
        self.unread = 0

    def scaled(self, x: Any) -> Any:
        return x * self.factor

    def step(self, x: Any) -> Any:
        return self.scaled(x) ** self.inner.power

    step_itself = cr.compile(step)


@pytest.mark.parametrize("bound", [True, False])
def test_attributes_that_a_method_reads_are_noticed(bound: bool) -> None:
    settings = Scaling()
    step = cr.compile(settings.step) if bound else settings.step_itself
    assert step(ONE).item() == 2
    settings.factor = 5.0
    assert step(ONE).item() == 5
    settings.inner.power = 2
    assert step(ONE).item() == 25
    settings.inner = SimpleNamespace(power=3)
    assert step(ONE).item() == 125
    assert "factor was 2.0 and is 5.0" in str(step.report())
    settings.unread = 7
    step(ONE)
    assert str(step.report()).count("ran ") == 4


def test_entries_of_a_small_dict_and_attributes_of_an_outside_object_are_noticed() -> None:
    told = {"factor": 2.0, "deep": {"power": 1}}
    settings = SimpleNamespace(shift=1.0)
    step = cr.compile(lambda x: (x * told["factor"]) ** told["deep"]["power"] + settings.shift)
    assert step(ONE).item() == 3
    told["factor"] = 3.0
    assert step(ONE).item() == 4
    told["deep"]["power"] = 2  # type: ignore[index]
    assert step(ONE).item() == 10
    settings.shift = math.pi
    assert step(ONE).item() == pytest.approx(9 + math.pi)
    assert "told['factor'] was 2.0 and is 3.0" in str(step.report())


def test_a_tensor_that_is_replaced_at_each_call_is_told_once() -> None:
    class State:
        weight = cr.ones(1)

    state = State()
    step = cr.compile(lambda x: x * state.weight)

    def replaced() -> None:
        for k in range(12):
            state.weight = cr.full((1,), float(k))
            assert step(ONE).item() == k

    expected = r"traced 8 times for few calls each, since state\.weight was replaced.*copy_\(\)"
    with pytest.warns(UserWarning, match=expected) as told:
        replaced()
    assert len(told) == 1
    for k in range(12):
        state.weight.fill_(float(k))
        assert step(ONE).item() == k
