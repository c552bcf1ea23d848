"""Rates that code reads or sets while it is traced: compared at each call, or refused where it stands."""

from __future__ import annotations

import copy
import functools
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import TraceError

ONES = np.ones((2, 3), np.float32)
ExponentialLR = optim.lr_scheduler.ExponentialLR


class Plain(optim.Optimizer):
    """Gradient descent, written as PyTorch documents it."""

    gain = 1.0

    def __init__(self, params: Any, lr: Any = 0.1) -> None:
        super().__init__(params, {"lr": lr, "own": 1.0})

    def step(self, closure: Any = None) -> Any:
        with cr.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.add_(p.grad, alpha=-group["lr"] * group["own"] * self.gain)


class Heavy(optim.Optimizer):
    """Momentum, with a state that the first step makes."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> Any:
        with cr.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    state = self.state[p]
                    if len(state) == 0:
                        state["step"], state["mean"] = 0, cr.zeros_like(p)
                    state["step"] += 1
                    state["mean"].mul_(0.9).add_(p.grad, alpha=0.1)
                    p.add_(state["mean"], alpha=-group["lr"] / (1 - 0.9 ** state["step"]))


class Damped(optim.SGD):
    scale = 1.0

    def factor(self) -> float:
        return self.scale

    def update(self, p: Any, g: Any, state: Any, hyper: Any) -> Any:
        return super().update(p, g * self.factor(), state, hyper)


class Scaled(optim.SGD):
    scale = 1.0

    def step(self, closure: Any = None) -> Any:
        for p in self.param_groups[0]["params"]:
            p.grad.mul_(self.scale)
        return super().step(closure)


def network() -> nn.Linear:
    model = nn.Linear(3, 1, bias=False)
    model.weight.data.fill_(1.0)
    return model


def step_of(model: Any, optimizer: Any, extra: Callable[[], Any] = lambda: None) -> Callable[[Any], Any]:
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        extra()
        return loss

    return step


def weights_of(
    make: Callable[[Any], Any], change: Callable[[Any, int], None], *, compiled: bool, calls: int = 3
) -> list[float]:
    """Return the first weight after each of some steps, with a change after each."""
    model = network()
    optimizer = make(model.parameters())
    step = step_of(model, optimizer)
    step = cr.compile(step) if compiled else step
    found = []
    for k in range(calls):
        step(cr.tensor(ONES))
        found.append(model.weight[0, 0].item())
        change(optimizer, k)
    return found


def _set(name: str, value: float) -> Callable[[Any, int], None]:
    return lambda o, k: o.param_groups[0].__setitem__(name, value / (k + 1))


CHANGES: dict[str, tuple[Callable[[Any], Any], Callable[[Any, int], None]]] = {
    "the rate": (Plain, _set("lr", 0.05)),
    "an option of its own": (Plain, _set("own", 0.5)),
    "an attribute": (Plain, lambda o, k: setattr(o, "gain", 0.5 / (k + 1))),
    "an attribute of a subclass": (lambda p: Scaled(p, 0.1), lambda o, k: setattr(o, "scale", 0.5 / (k + 1))),
    "an attribute that a rule reads": (
        lambda p: Damped(p, 0.1),
        lambda o, k: setattr(o, "scale", 0.5 / (k + 1)),
    ),
    "a tensor that is the rate": (
        lambda p: Sloped(p, cr.tensor(0.1)),
        lambda o, k: o.param_groups[0]["lr"].fill_(0.05 / (k + 1)),
    ),
    "a tensor in place of another": (
        lambda p: Sloped(p, cr.tensor(0.1)),
        lambda o, k: o.param_groups[0].__setitem__("lr", cr.tensor(0.05 / (k + 1))),
    ),
    "new options at once": (Plain, lambda o, k: o.param_groups[0].update(lr=0.05 / (k + 1))),
    "another group in its place": (
        Plain,
        lambda o, k: o.param_groups.__setitem__(0, {**o.param_groups[0], "lr": 0.05 / (k + 1)}),
    ),
    "loaded options": (Plain, lambda o, k: o.load_state_dict(_with_rate(o.state_dict(), 0.05 / (k + 1)))),
}


class Sloped(Plain):
    def step(self, closure: Any = None) -> Any:
        with cr.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.sub_(group["lr"] * p.grad)


def _with_rate(state: Any, rate: float) -> Any:
    state = copy.deepcopy(state)
    state["param_groups"][0]["lr"] = rate
    return state


@pytest.mark.parametrize("what", CHANGES)
def test_what_a_step_of_ones_own_reads_is_compared_at_each_call(what: str) -> None:
    make, change = CHANGES[what]
    assert weights_of(make, change, compiled=True) == weights_of(make, change, compiled=False)


def test_a_rule_reads_attributes_anew() -> None:
    model = network()
    optimizer = Damped(model.parameters(), lr=0.5)
    for scale, expected in [(1.0, 0.0), (0.5, -0.5), (1.0, -1.5)]:
        optimizer.scale = scale
        step_of(model, optimizer)(cr.tensor(ONES))
        assert model.weight.tolist() == [[expected] * 3]


def test_attributes_that_were_given_to_our_own_optimizers_and_schedules_are_compared() -> None:
    optimizer: Any = optim.SGD(network().parameters(), lr=0.1)
    schedule = ExponentialLR(optimizer, 0.5)
    optimizer.gain = 2.0
    step = cr.compile(lambda x: x.sum() * optimizer.gain * schedule.gamma * optimizer.defaults["lr"])
    for gain, gamma, lr in [(2.0, 0.5, 0.1), (3.0, 0.5, 0.1), (3.0, 0.25, 0.1), (3.0, 0.25, 0.2)]:
        optimizer.gain, schedule.gamma, optimizer.defaults["lr"] = gain, gamma, lr
        assert step(cr.tensor(ONES)).item() == pytest.approx(6 * gain * gamma * lr)


class Held:
    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer


HOLDERS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "an object": (Held, lambda held: held.optimizer),
    "a list": (lambda o: [o], lambda held: held[0]),
    "a dict": (lambda o: {"a": o}, lambda held: held["a"]),
    "an object in a dict": (lambda o: {"a": Held(o)}, lambda held: held["a"].optimizer),
}


@pytest.mark.parametrize("change", [_set("lr", 0.05), lambda o, k: setattr(o, "gain", 0.5 / (k + 1))])
@pytest.mark.parametrize("holder", HOLDERS)
def test_an_optimizer_that_something_holds_is_compared(holder: str, change: Any) -> None:
    found = []
    for compiled in (True, False):
        model = network()
        optimizer = Plain(model.parameters())
        hold, found_in = HOLDERS[holder]
        find = functools.partial(found_in, hold(optimizer))

        def step(x: Any, model: Any = model, find: Any = find) -> Any:
            find().zero_grad()
            loss = model(x).sum()
            loss.backward()
            find().step()
            return loss

        function = cr.compile(lambda x, step=step: step(x)) if compiled else step
        for k in range(3):
            function(cr.tensor(ONES))
            change(optimizer, k)
        found.append(model.weight.tolist())
    assert found[0] == found[1]


class Averaged(optim.Optimizer):
    """Momentum in a dict of its own, by parameter."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.1})
        self.mean = {p: cr.zeros_like(p) for group in self.param_groups for p in group["params"]}

    def step(self, closure: Any = None) -> Any:
        with cr.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    self.mean[p].mul_(0.9).add_(p.grad)
                    p.add_(self.mean[p], alpha=-group["lr"])


def test_means_by_parameter_trace_nothing_anew() -> None:
    model = network()
    optimizer = Averaged(model.parameters())
    step = cr.compile(step_of(model, optimizer))
    for _ in range(3):
        step(cr.tensor(ONES))
    assert len(step.graphs) == 1
    assert weights_of(Averaged, lambda o, k: None, compiled=True) == weights_of(
        Averaged, lambda o, k: None, compiled=False
    )


@pytest.mark.filterwarnings("ignore:step was traced 8 times")
@pytest.mark.parametrize("kind", ["ours", "one's own"])
def test_many_steps_of_one_call_follow_a_schedule_inside(kind: str) -> None:
    found = []
    for at_once in (True, False):
        model = network()
        optimizer = MADE[kind](model.parameters())
        schedule = ExponentialLR(optimizer, 0.5)
        step = step_of(model, optimizer, schedule.step)
        if at_once:
            cr.compile(step).repeat(cr.tensor(ONES), times=10)
        else:
            for _ in range(10):
                step(cr.tensor(ONES))
        found.append((model.weight.tolist(), optimizer.param_groups[0]["lr"]))
    assert found[0] == found[1]


def test_a_plateau_inside_does_as_in_eager_mode() -> None:
    found = []
    for compiled in (True, False):
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        schedule = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        step = step_of(model, optimizer, lambda schedule=schedule: schedule.step(1.0))
        step = cr.compile(step) if compiled else step
        for _ in range(4):
            step(cr.tensor(ONES))
        found.append((model.weight.tolist(), optimizer.param_groups[0]["lr"], schedule.num_bad_epochs))
    assert found[0] == found[1]


def test_an_attribute_of_a_class_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    change = lambda o, k: monkeypatch.setattr(type(o), "gain", 0.5 / (k + 1))  # noqa: E731 - one of two alike
    compiled = weights_of(Plain, change, compiled=True)
    monkeypatch.setattr(Plain, "gain", 1.0)
    assert compiled == weights_of(Plain, change, compiled=False)


def test_the_report_says_which_rate_changed() -> None:
    model = network()
    optimizer = Plain(model.parameters())
    step = cr.compile(step_of(model, optimizer))
    step(cr.tensor(ONES))
    optimizer.param_groups[0]["lr"] = 0.05
    step(cr.tensor(ONES))
    assert "traced since param_groups[0]['lr'] of Plain was 0.1 and is 0.05" in step.report()


def test_options_that_nothing_reads_trace_nothing_anew() -> None:
    model = network()
    optimizer = Plain(model.parameters())
    optimizer.param_groups[0]["note"] = 1
    step = cr.compile(step_of(model, optimizer))
    for k in range(4):
        optimizer.param_groups[0]["note"] = optimizer.param_groups[0]["initial_lr"] = k
        step(cr.tensor(ONES))
    assert len(step.graphs) == 1


def test_a_rate_that_is_a_tensor_traces_nothing_anew() -> None:
    model = network()
    optimizer = Sloped(model.parameters(), cr.tensor(0.1))
    step = cr.compile(step_of(model, optimizer))
    for k in range(4):
        step(cr.tensor(ONES))
        optimizer.param_groups[0]["lr"].fill_(0.1 / (k + 2))
    assert len(step.graphs) == 1


def test_a_rate_of_our_own_optimizers_traces_nothing_anew_where_only_parameters_are_read() -> None:
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    step = cr.compile(step_of(model, optimizer, lambda: optimizer.param_groups[0]["params"]))
    for _ in range(4):
        step(cr.tensor(ONES))
        optimizer.param_groups[0]["lr"] *= 0.5
    assert len(step.graphs) == 1


def test_a_rate_that_changes_at_each_call_is_right_and_the_warning_says_what_to_do() -> None:
    change = lambda o, k: o.param_groups[0].update(lr=0.1 / (k + 2))  # noqa: E731 - used twice
    with pytest.warns(
        UserWarning, match=r"traced 8 times.*since param_groups\[0\]\['lr'\] of Plain was.*init and update"
    ):
        compiled = weights_of(Plain, change, compiled=True, calls=12)
    assert compiled == weights_of(Plain, change, compiled=False, calls=12)


@pytest.mark.parametrize(
    "read", ["lr", "get", "items", "values", "copy", "unpacked", "in a dict", "last_epoch", "get_last_lr"]
)
def test_what_the_traced_code_itself_reads_of_rates_is_compared(read: str) -> None:
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = ExponentialLR(optimizer, 0.5)
    optimizer.step()
    ways: dict[str, Callable[[], float]] = {
        "lr": lambda: optimizer.param_groups[0]["lr"],
        "get": lambda: optimizer.param_groups[-1].get("lr", 0),
        "items": lambda: sum(x for name, x in optimizer.param_groups[0].items() if name == "lr"),
        "values": lambda: sum(x for x in optimizer.param_groups[0].values() if isinstance(x, float)),
        "copy": lambda: optimizer.param_groups[0].copy()["lr"],
        "unpacked": lambda: dict(**optimizer.param_groups[0])["lr"],
        "in a dict": lambda: dict(optimizer.param_groups[0])["lr"],
        "last_epoch": lambda: schedule.last_epoch,
        "get_last_lr": lambda: schedule.get_last_lr()[0],
    }
    way = ways[read]
    step = cr.compile(lambda x: x.sum() * way())
    for _ in range(3):
        assert step(cr.tensor(ONES)).item() == pytest.approx(6 * way())
        schedule.step()


@pytest.mark.filterwarnings("ignore:not compiled:UserWarning")  # its history says it too
@pytest.mark.parametrize("by", ["epoch", "batch"])
@pytest.mark.parametrize("batch_size", [16, 64])
@pytest.mark.parametrize("kind", [Plain, Heavy])
def test_fit_follows_a_schedule_with_a_step_of_ones_own(kind: Any, batch_size: int, by: str) -> None:
    x, y = np.ones((64, 3), np.float32), np.ones((64, 1), np.float32)
    found = []
    for compiled in (True, False):
        model = network()
        optimizer = kind(model.parameters(), lr=0.001)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="step was traced 8 times")
            cr.fit(
                model, (x, y), optimizer=optimizer, epochs=5, batch_size=batch_size, progress=False, compile=compiled,
                keep_best=False, schedule=lambda o: ExponentialLR(o, 0.3), schedule_by=by,
            )  # fmt: skip
        found.append(model.weight.detach().numpy().copy())
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("by", ["epoch", "batch"])
def test_fit_follows_a_loss_that_reads_the_rate(by: str) -> None:
    x, y = np.ones((64, 3), np.float32), np.ones((64, 1), np.float32)
    found = []
    for compiled in (True, False):
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.001)

        def loss(output: Any, target: Any, optimizer: Any = optimizer) -> Any:
            return ((output - target) ** 2).mean() * (1 + 100 * optimizer.param_groups[0]["lr"])

        cr.fit(
            model, (x, y), optimizer=optimizer, loss=loss, epochs=3, batch_size=32, progress=False, compile=compiled,
            keep_best=False, schedule=lambda o: ExponentialLR(o, 0.3), schedule_by=by,
        )  # fmt: skip
        found.append(model.weight.detach().numpy().copy())
    np.testing.assert_array_equal(*found)


@pytest.fixture(params=["alone", "beside a thread"])
def beside(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let another thread run, or not."""
    ends = threading.Event()
    other = threading.Thread(target=ends.wait)
    if request.param != "alone":
        other.start()
    yield
    ends.set()
    if request.param != "alone":
        other.join()


@pytest.mark.usefixtures("beside")
def test_a_state_of_numbers_or_made_in_the_step_is_refused_and_put_back() -> None:
    model = network()
    optimizer = Heavy(model.parameters())
    with pytest.raises(TraceError, match=r"optimizer\.state.*init and update"):
        cr.compile(step_of(model, optimizer))(cr.tensor(ONES))
    assert not optimizer.state[model.weight]
    step_of(model, optimizer)(cr.tensor(ONES))  # it has a state now
    with pytest.raises(TraceError, match=r"optimizer\.state"):
        cr.compile(step_of(model, optimizer))(cr.tensor(ONES))
    assert optimizer.state[model.weight]["step"] == 1


# -- rates that are set inside ---------------------------------------------------------------------------------------------


class Handwritten:
    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] *= 0.5


class OwnSchedule(optim.lr_scheduler.LRScheduler):
    def get_lr(self) -> list[Any]:
        return [0.1 / (1 + self.last_epoch)]

    def step(self, epoch: Any = None) -> None:
        self.last_epoch += 1
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate


def _halve(group: Any) -> None:
    group["lr"] *= 0.5


def _pop(optimizer: Any) -> None:
    optimizer.param_groups[0].pop("lr")


def _replace(optimizer: Any) -> None:
    optimizer.param_groups = [{"params": optimizer.param_groups[0]["params"], "lr": 0.05}]


SETTING: dict[str, Callable[[Any], Callable[[], Any]]] = {
    "lr": lambda o: lambda: _halve(o.param_groups[0]),
    "a name of the group": lambda o: functools_partial_of_group(o),
    "update": lambda o: lambda: o.param_groups[0].update(lr=0.05),
    "setdefault": lambda o: lambda: o.param_groups[0].setdefault("new", 0.05),
    "pop": lambda o: lambda: _pop(o),
    "all groups": lambda o: lambda: _replace(o),
    "one more group": lambda o: lambda: o.param_groups.append({"params": []}),
    "add_param_group": lambda o: lambda: o.add_param_group({"params": [cr.ones(2, requires_grad=True)]}),
    "a scheduler by hand": lambda o: Handwritten(o).step,
    "a schedule with a step of its own": lambda o: OwnSchedule(o).step,
}


def functools_partial_of_group(optimizer: Any) -> Callable[[], Any]:
    group = optimizer.param_groups[0]
    return lambda: _halve(group)


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("kind", [optim.SGD, Plain])
@pytest.mark.parametrize("way", SETTING)
def test_a_rate_that_is_set_inside_is_refused_and_as_it_was(way: str, kind: Any, where: str) -> None:
    model = network()
    optimizer = kind(model.parameters(), lr=0.1)
    change = SETTING[way](optimizer)
    before = copy.deepcopy({name: x for name, x in optimizer.param_groups[0].items() if name != "params"})

    def step(x: Any) -> Any:
        if where == "before":
            change()
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        if where == "after":
            change()
        return loss

    for _ in range(2):
        with pytest.raises(TraceError, match="Call the scheduler outside of the compiled step"):
            cr.compile(step)(cr.tensor(ONES))
        (group,) = optimizer.param_groups
        assert {name: x for name, x in group.items() if name != "params"} == before
        assert model.weight.tolist() == [[1.0, 1.0, 1.0]]


def test_a_tensor_that_is_the_rate_is_not_written_before_the_step_that_reads_it() -> None:
    model = network()
    rate = cr.tensor(0.1)
    optimizer = optim.SGD(model.parameters(), lr=rate)

    @cr.compile
    def step(x: Any) -> Any:
        rate.mul_(0.5)
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        return loss

    with pytest.raises(TraceError, match="writes to 'lr' of SGD before a step"):
        step(cr.tensor(ONES))


MADE: dict[str, Callable[[Any], Any]] = {
    "ours": lambda p: optim.SGD(p, lr=0.1),
    "one's own": Plain,
    "one's own with a tensor": lambda p: Sloped(p, cr.tensor(0.1)),
}


@pytest.mark.filterwarnings("ignore:step was traced 8 times")
@pytest.mark.parametrize("kind", MADE)
def test_a_schedule_inside_does_as_in_eager_mode(kind: str) -> None:
    found = []
    for compiled in (True, False):
        model = network()
        optimizer = MADE[kind](model.parameters())
        schedule = ExponentialLR(optimizer, 0.5)
        step = step_of(model, optimizer, schedule.step)
        step = cr.compile(step) if compiled else step
        weights = []
        for _ in range(10):
            step(cr.tensor(ONES))
            weights.append((model.weight[0, 0].item(), float(optimizer.param_groups[0]["lr"]), schedule.last_epoch))
        found.append(weights)
    assert found[0] == found[1]


@pytest.mark.parametrize("read", ["rate", "get_last_lr", "last_epoch"])
def test_a_rate_that_is_read_after_the_schedule_is_refused(read: str) -> None:
    model = network()
    optimizer = Plain(model.parameters())
    schedule = ExponentialLR(optimizer, 0.5)
    ways: dict[str, Callable[[], Any]] = {
        "rate": optimizer.step, "get_last_lr": schedule.get_last_lr, "last_epoch": lambda: schedule.last_epoch,
    }  # fmt: skip
    way = ways[read]

    @cr.compile
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        schedule.step()
        way()
        return loss

    with pytest.raises(TraceError, match="after a scheduler's step"):
        step(cr.tensor(ONES))
    assert schedule.last_epoch == 0


def test_an_optimizer_that_the_function_makes_is_its_own() -> None:
    model = network()

    @cr.compile
    def step(x: Any) -> Any:
        optimizer = Plain(model.parameters(), lr=0.1)
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        optimizer.param_groups[0]["lr"] = 0.5
        optimizer.step()
        return loss

    for _ in range(3):
        step(cr.tensor(ONES))
    assert len(step.graphs) == 1
    assert model.weight.tolist() == [[-2.0, -2.0, -2.0]]
