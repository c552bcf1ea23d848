"""What a compiled function keeps of tensors, and reads of attributes of objects: noticed, kept, or refused by name."""

from __future__ import annotations

import math
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import GradientError, TraceError

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
def test_an_attribute_that_held_something_else_holds_the_tensor_of_each_call(start: Any) -> None:
    eager, compiled = Counting(start), Counting(start)
    call = cr.compile(compiled)
    for k in range(6):
        x = cr.tensor(np.full(2, k, np.float32))
        assert call(x).tolist() == eager(x).tolist()
        assert compiled.total.tolist() == eager.total.tolist()
    assert len(call.graphs) <= 3, call.report()


def test_a_tensor_through_which_a_gradient_flows_is_kept_without_what_made_it() -> None:
    model = nn.Linear(1, 1)
    model.seen = cr.zeros(1, 1)

    @cr.compile
    def step(x: Any) -> Any:
        model.seen = model(x)
        return model.seen * 2

    y = step(cr.ones(1, 1))
    assert y.item() == 2 * model.seen.item() != 0
    with pytest.raises(GradientError, match="its tape stayed inside"):
        model.seen.backward()


class Watching(nn.Module):
    """Keeps what it saw, in every way in which it can."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Any) -> Any:
        y = self.drop(self.linear(x))
        self.last = y.detach()
        self.seen = {"mean": y.detach().mean(0), "both": (x, [y.detach() * 2]), "name": "y", "rows": x.shape[0]}
        self.input = x
        return y * self.last


def test_what_a_module_keeps_is_what_eager_mode_keeps() -> None:
    made = []
    for wrap in (lambda f: f, cr.compile):
        cr.manual_seed(0)
        model = Watching()
        call = wrap(model)
        kept: list[Any] = []
        for k in range(5):
            x = cr.tensor(np.full((3 + k, 2), k, np.float32))
            call(x)
            both = model.seen["both"]
            kept.append(
                [model.last, model.seen["mean"], both[0], both[1][0], model.input, cr.tensor(model.seen["rows"])]
            )
        made.append([x.numpy().tolist() for row in kept for x in row])  # each call made others
    np.testing.assert_equal(made[0], made[1])
    assert len(call.graphs) == 1, call.report()


def test_what_an_object_keeps_is_there_after_each_call() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.model = nn.Linear(1, 1)
            self.optimizer = cr.optim.SGD(self.model.parameters(), lr=0.1)
            self.loss: Any = None

        def step(self, x: Any) -> None:
            self.optimizer.zero_grad()
            self.loss = self.model(x).square().sum()
            self.loss.backward()
            self.optimizer.step()

    losses = []
    for compiled in (False, True):
        cr.manual_seed(0)
        trainer = Trainer()
        step = cr.compile(trainer.step) if compiled else trainer.step
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(12):
                step(cr.ones(1, 1))
                losses.append(trainer.loss.item())
    np.testing.assert_allclose(losses[:12], losses[12:], rtol=1e-5)
    assert len(step.graphs) == 1, step.report()


def test_a_failed_trace_leaves_attributes_as_they_were() -> None:
    model = Watching()
    model.last = 3

    @cr.compile
    def failing(x: Any) -> Any:
        model(x)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing(cr.ones(2, 2))
    assert model.last == 3
    assert not hasattr(model, "seen")


@pytest.mark.parametrize("is_buffer", [False, True])
@pytest.mark.parametrize("is_object", [False, True])
def test_a_state_that_is_replaced_before_each_sequence_is_found_anew(is_object: bool, is_buffer: bool) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)
            self.state: Any = SimpleState() if is_object else None
            if is_buffer:
                self.register_buffer("h", cr.zeros(3, 2))
            self.reset()

        def reset(self) -> None:
            holder = self.state if is_object else self
            holder.h = cr.zeros(3, 2)

        def forward(self, x: Any) -> Any:
            holder = self.state if is_object else self
            holder.h = cr.tanh(self.linear(x) + holder.h).detach()
            return holder.h * 2

    class SimpleState:
        h: Any = None

    outputs = []
    for wrap in (lambda f: f, cr.compile):
        cr.manual_seed(0)
        model = Recurrent()
        call = wrap(model)
        for _ in range(10):
            model.reset()
            for k in range(3):
                outputs.append(call(cr.tensor(np.full((3, 2), k, np.float32))).detach().numpy())
    np.testing.assert_allclose(outputs[:30], outputs[30:], rtol=1e-5, atol=1e-6)
    assert len(call.graphs) <= 3, call.report()


def test_a_tensor_that_is_known_by_two_names_is_not_found_by_one_of_them() -> None:
    shared = cr.full((1,), 2.0)
    holder, other = SimpleNamespace(), Holder()
    holder.h = other.h = shared
    step = cr.compile(lambda x: x * shared + other.h * 10 + holder.h * 100)
    assert step(ONE).item() == 222
    other.h = cr.full((1,), 3.0)
    assert step(ONE).item() == 232
    other.h = cr.full((1,), 4.0)
    assert step(ONE).item() == 242
    holder.h = cr.full((1,), 1.0)
    assert step(ONE).item() == 142
    holder.h = other.h  # one memory by two names again
    assert step(ONE).item() == 442
    other.h = cr.ones(2)
    assert step(ONE).tolist() == [412, 412]
    other.h = cr.ones(1, dtype=cr.float64)
    assert step(ONE).dtype is cr.float64
    other.h = 5.0
    assert step(ONE).item() == 452


class Holder:
    h: Any = None


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


@pytest.mark.parametrize("keep", [lambda y: y, lambda y: y.detach(), lambda y: y.mean()])
def test_a_hook_may_keep_an_output_on_a_module(keep: Any) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model[0].register_forward_hook(lambda module, _, y: setattr(module, "kept", keep(y)))
    call = cr.compile(model)
    for k in range(4):
        x = cr.full((1, 2), float(k))
        call(x)
        kept = model[0].kept.detach().numpy()
        np.testing.assert_allclose(kept, keep(model[0](x)).detach().numpy(), rtol=1e-6)
    assert len(call.graphs) == 1


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
    state = {"weight": cr.ones(1)}
    step = cr.compile(lambda x: x * state["weight"])

    def replaced() -> None:
        for k in range(12):
            state["weight"] = cr.full((1,), float(k))
            assert step(ONE).item() == k

    expected = r"traced 8 times for few calls each, since state\['weight'\] was replaced.*copy_\(\)"
    with pytest.warns(UserWarning, match=expected) as told:
        replaced()
    assert len(told) == 1
    for k in range(12):
        state["weight"].fill_(float(k))
        assert step(ONE).item() == k


def test_sizes_of_what_is_replaced_are_told_to_be_those_of_the_batch() -> None:
    state = {"weight": cr.ones(1)}
    step = cr.compile(lambda x, y: (x * state["weight"]).sum() + y.sum())

    def replaced() -> None:
        for k in range(2, 14):
            state["weight"] = cr.ones(1)
            step(ONE, cr.ones(1, k))

    with pytest.warns(UserWarning, match=r"few calls each, since y has the size 10 in axis 1.*batch_axis") as told:
        replaced()
    assert len(told) == 1
    assert "copy_()" not in str(told[0].message)


def test_many_sizes_are_told_to_be_those_of_the_batch() -> None:
    step = cr.compile(lambda x: x.sum())
    for k in range(2, 10):
        assert step(cr.ones(2, k)).item() == 2 * k
    with pytest.warns(UserWarning, match=r"x has the size 10 in axis 1 \(it was 9\)\. It runs uncompiled.*batch_axis"):
        assert step(cr.ones(2, 10)).item() == 20


def test_a_layer_that_is_replaced_at_each_call_is_no_tensor_to_write_into() -> None:
    model = cr.nn.Sequential(cr.nn.Linear(2, 2), cr.nn.Linear(2, 1))
    step = cr.compile(lambda x: model(x))

    def replaced() -> None:
        for _ in range(12):
            model[1] = cr.nn.Linear(2, 1)
            step(cr.ones(3, 2))

    with pytest.warns(UserWarning, match=r"few calls each, since Sequential.1 was replaced$") as told:
        replaced()
    assert len(told) == 1


def test_fit_keeps_what_a_model_puts_into_attributes() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)).astype(np.float32), rng.normal(size=(60, 2)).astype(np.float32)
    lasts = []
    for compiled in (True, False):
        cr.manual_seed(0)
        model = Watching()
        model.drop.p = 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cr.fit(model, (X, y), loss="mse", epochs=3, batch_size=16, compile=compiled, progress=False, seed=0)
        lasts.append([model.last.numpy(), model.seen["mean"].numpy(), model.input.numpy()])
        assert model.seen["rows"] == len(lasts[-1][0])
    for ours, expected in zip(*lasts, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


def test_a_weight_that_is_replaced_is_not_trained_in_place_of_the_one_that_the_optimizer_has() -> None:
    found = []
    for wrap in (lambda f: f, cr.compile):
        holder = Holder()
        holder.h = old = cr.ones(1, requires_grad=True)
        optimizer = cr.optim.SGD([old], lr=0.5)

        @wrap
        def step(x: Any) -> Any:
            optimizer.zero_grad()  # noqa: B023 - called within the loop
            (holder.h * x).sum().backward()  # noqa: B023
            optimizer.step()  # noqa: B023

        step(ONE)
        weights = []
        for _ in range(3):
            holder.h = cr.full((1,), 7.0, requires_grad=True)
            step(ONE)
            weights += [holder.h.item(), old.item()]
        found.append(weights)
    assert found[0] == found[1]


def test_tensors_in_attributes_are_others_than_the_results() -> None:
    holder = Holder()

    @cr.compile
    def step(x: Any) -> Any:
        y = x * 2
        holder.h = y.clone()
        return y

    for _ in range(3):
        y = step(cr.ones(2))
        y.mul_(10)
        assert holder.h.tolist() == [2, 2]


class Checked:
    """An object whose attributes are set past its own method, and one that has slots."""

    __slots__ = ("count", "h")

    def __init__(self) -> None:
        object.__setattr__(self, "count", 0)

    def __setattr__(self, name: str, value: Any) -> None:
        assert isinstance(value, cr.Tensor)
        object.__setattr__(self, name, value)


def test_an_object_may_set_its_attributes_itself() -> None:
    holder = Checked()

    @cr.compile
    def step(x: Any) -> Any:
        holder.h = x * 2
        return x

    for k in range(3):
        step(cr.full((2,), float(k)))
        assert holder.h.tolist() == [2 * k, 2 * k]
    assert len(step.graphs) == 1
