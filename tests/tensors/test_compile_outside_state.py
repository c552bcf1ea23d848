"""What a compiled function reads of, and writes to, objects that are no tensors: noticed, kept, or refused by name."""

from __future__ import annotations

import copy
import functools
import gc
import importlib
import itertools
import math
import random
import re
import subprocess
import sys
import weakref
from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import TraceError

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


# -- containers: what is read of them is noticed, what is done to them refused ------------------------------------------------


def test_entries_of_a_small_list_are_noticed() -> None:
    rates, deep = [2.0, 1.0], deque([[0.0], {"power": 1}])
    step = cr.compile(lambda x: (x * rates[0]) ** deep[1]["power"] + deep[0][0])
    assert step(ONE).item() == 2
    rates[0] = 3.0
    assert step(ONE).item() == 3
    assert "rates[0] was 2.0 and is 3.0" in step.report()
    deep[1]["power"] = 2
    assert step(ONE).item() == 9
    deep[0][0] = 1.0
    assert step(ONE).item() == 10
    assert "deep[0][0] was 0.0 and is 1.0" in step.report()
    deep[0][0] = 0.0
    assert step(ONE).item() == 9
    assert len(step.graphs) == 4
    rates.append(7.0)
    assert step(ONE).item() == 9
    rates = [3.0, 1.0]  # another list with the same in it
    deep[1] = {"power": 1}
    assert step(ONE).item() == 3


def test_tensors_in_a_list_are_inputs_and_another_one_is_noticed() -> None:
    weights = [cr.ones(1), cr.ones(1)]
    step = cr.compile(lambda x: x * weights[0] + weights[1])
    assert step(ONE).item() == 2
    weights[0].mul_(3)
    assert step(ONE).item() == 4
    assert len(step.graphs) == 1
    kept, weights[0] = weights[0], cr.zeros(1)
    assert step(ONE).item() == 1
    assert "weights[0] was replaced" in step.report()
    weights[0] = kept
    assert step(ONE).item() == 4
    assert len(step.graphs) == 2


@pytest.mark.parametrize(
    ("container", "change"),
    [
        ({1, 2}, lambda it: it.add(3)),
        (np.ones(2, np.float32), lambda it: it.__setitem__(0, 5)),
        (Counter(a=2), lambda it: it.update(["a"])),
        (defaultdict(int, a=2), lambda it: it.__setitem__("a", 4)),
    ],
    ids=["set", "array", "Counter", "defaultdict"],
)
def test_what_is_in_other_small_containers_is_noticed(container: Any, change: Any) -> None:
    step = cr.compile(lambda x: x * sum(container.values() if isinstance(container, dict) else container))
    first = step(ONE).item()
    change(container)
    expected = sum(container.values() if isinstance(container, dict) else container)
    assert step(ONE).item() == expected != first
    assert step(ONE).item() == expected
    assert len(step.graphs) == 2


def as_list(container: Any) -> list[Any]:
    return list(container.values()) if isinstance(container, dict) else list(container)


LONG = [
    ([2.0] * 1000, lambda it: it.__setitem__(999, 5.0)),
    ([2] * 100, lambda it: it.append(1)),
    (dict.fromkeys(range(1000), 2.0), lambda it: it.__setitem__(7, 1)),
    (Counter(range(100)), lambda it: it.update([7])),
    (set(range(100)), lambda it: it.add(1000)),
    (deque([1] * 100), lambda it: it.append(3)),
    (np.ones(1 << 14, np.float32), lambda it: it.__setitem__(-1, 5)),
    (bytearray(100), lambda it: it.__setitem__(3, 1)),
]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("container", "change"), LONG, ids=[f"{type(it).__name__} of {len(it)}" for it, _ in LONG])
def test_what_is_in_long_containers_of_simple_values_is_noticed(container: Any, change: Any, inside: bool) -> None:
    it = copy.copy(container)
    held = SimpleNamespace(it=it)
    step = cr.compile((lambda x: x * sum(as_list(held.it))) if inside else (lambda x: x * sum(as_list(it))))
    first = step(ONE).item()
    assert step(ONE).item() == first == sum(as_list(it))
    assert len(step.graphs) == 1
    change(it)
    assert step(ONE).item() == step(ONE).item() == sum(as_list(it)) != first
    assert len(step.graphs) == 2


def test_a_value_of_another_type_in_a_long_list_is_noticed() -> None:
    it: list[Any] = [1] * 100
    step = cr.compile(lambda x: x + (2 if type(it[5]) is int else 3))
    assert step(ONE).item() == 3
    it[5] = True
    assert step(ONE).item() == 4
    it[5] = 1.0
    assert step(ONE).item() == 4
    assert len(step.graphs) == 3
    assert "'it' changed" in step.report()
    it[5] = object()
    assert step(ONE).item() == 4


COUNT = [0]


class Holder:
    def __init__(self) -> None:
        self.seen = [1]


@pytest.mark.parametrize(
    ("container", "change", "told"),
    [
        ([0], lambda it: it.__setitem__(0, it[0] + 1), "the list 'it'"),
        ([0.5] * 1000, lambda it: it.append(1), "the list 'it'"),
        ([[0], [1, 2]], lambda it: it[1].pop(), r"the list 'it\[1\]'"),
        ({"losses": []}, lambda it: it["losses"].append(1), r"the list 'it\['losses'\]'"),
        (deque([1, 2]), lambda it: it.rotate(), "the deque 'it'"),
        ({1, 2}, lambda it: it.add(3), "the set 'it'"),
        (bytearray(b"ab"), lambda it: it.extend(b"c"), "the bytearray 'it'"),
        (np.zeros(3), lambda it: it.__iadd__(1), "the array 'it'"),
        (dict.fromkeys(range(100), 0), lambda it: it.__setitem__(7, 1), "the dict 'it'"),
        (Counter(range(100)), lambda it: it.update([7]), "the Counter 'it'"),
        (Holder(), lambda it: it.seen.clear(), "the list 'it.seen'"),
    ],
    ids=["a counter", "a long list", "a list in a list", "a list in a dict", "deque", "set", "bytearray", "array", "dict",
         "Counter", "a list of an object"],
)  # fmt: skip
def test_a_container_that_a_compiled_function_changes_is_refused_by_name(
    container: Any, change: Any, told: str
) -> None:
    before = copy.deepcopy(vars(container) if isinstance(container, Holder) else container)

    it = container
    step = cr.compile(
        lambda x: (getattr(it, "seen", it), it.seen if isinstance(it, Holder) else 0, change(it), x * 2)[-1]
    )
    with pytest.raises(TraceError, match=f"{told}, which .*|{told} was changed while .*once, and never again"):
        step(ONE)
    now = vars(container) if isinstance(container, Holder) else container
    assert np.array_equal(now, before) if isinstance(before, np.ndarray) else now == before
    assert not step.graphs


def test_a_container_in_which_the_same_is_written_is_none_that_changes() -> None:
    state, flags = ["done", 0.5], np.ones(2)

    @cr.compile
    def step(x: Any) -> Any:
        state[:] = ["done", 1 / 2]
        flags[0] = 1
        return x * 2

    assert step(ONE).item() == step(ONE).item() == 2
    assert len(step.graphs) == 1


def test_what_a_function_called_by_name_changes_is_refused_too() -> None:
    def counted(x: Any) -> Any:
        COUNT[0] += 1
        return x

    @cr.compile
    def step(x: Any) -> Any:
        return counted(x) * 2

    with pytest.raises(TraceError, match="the list 'COUNT' was changed while 'step' was traced"):
        step(ONE)
    assert COUNT == [0]


class Inner(nn.Module):
    """Reads a list of the module's file, and counts in it if it is told to."""

    def __init__(self, counts: bool) -> None:
        super().__init__()
        self.counts = counts

    def forward(self, x: Any) -> Any:
        if self.counts:
            COUNT[0] += 1
        return x * (1 + COUNT[0])


def test_the_forward_of_a_part_is_looked_at_like_the_function_itself() -> None:
    model = cr.compile(nn.Sequential(nn.Identity(), Inner(counts=False)))
    assert model(ONE).item() == 1
    COUNT[0] = 4
    try:
        assert model(ONE).item() == 5
    finally:
        COUNT[0] = 0
    assert "COUNT[0] was 0 and is 4" in model.report()
    with pytest.raises(TraceError, match="the list 'COUNT', which 'Inner.forward' names"):
        cr.compile(nn.Sequential(Inner(counts=True)))(ONE)


class Remembering(nn.Module):
    """Has settings and records in attributes that are no tensors, and a method that uses them."""

    def __init__(self, keep: str) -> None:
        super().__init__()
        self.keep = keep
        self.scales, self.options = [2.0], SimpleNamespace(shift=0.0)
        self.seen, self.counts = [], {"calls": 0}

    def record(self, x: Any) -> None:
        if self.keep == "list":
            self.seen.append(x)
        elif self.keep == "dict":
            self.counts["calls"] += 1

    def forward(self, x: Any) -> Any:
        self.record(x)
        return x * self.scales[0] + self.options.shift


@pytest.mark.parametrize("inside", [False, True])
def test_containers_and_objects_of_a_module_are_noticed(inside: bool) -> None:
    part = Remembering("")
    model = cr.compile(nn.Sequential(part, nn.Identity()) if inside else part)
    assert model(ONE).item() == 2
    part.scales[0] = 3.0
    assert model(ONE).item() == 3
    part.options.shift = 1.0
    assert model(ONE).item() == 4
    assert model(ONE).item() == 4
    assert "self.scales[0] was 2.0 and is 3.0" in model.report()
    assert len(model.graphs) == 3


def test_a_module_that_records_in_a_list_is_refused_by_name() -> None:
    model = nn.Sequential(Remembering("list"))
    with pytest.raises(TraceError, match=r"the list 'self\.seen', which 'Remembering\.forward' names"):
        cr.compile(model)(ONE)
    assert model[0].seen == []


def test_a_module_that_counts_in_a_dict_counts_every_call() -> None:
    model = Remembering("dict")
    compiled = cr.compile(model)
    for _ in range(8):
        compiled(ONE)
    with pytest.warns(UserWarning, match=r"self\.counts\['calls'\] was 7 and is 8"):
        compiled(ONE)
    assert model.counts["calls"] == 9


def test_a_module_that_the_function_makes_anew_may_have_lists() -> None:
    compiled = cr.compile(lambda x: Remembering("list")(x))
    assert compiled(ONE).item() == compiled(ONE).item() == 2
    assert len(compiled.graphs) == 1


def hooked(register: str, hook: Any) -> Any:
    """Return a compiled training step of a model with a hook."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    getattr(optimizer if "step" in register else model[0], f"register_{register}")(hook)

    @cr.compile
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    return step


HOOKS = (
    "forward_hook",
    "forward_pre_hook",
    "full_backward_hook",
    "full_backward_pre_hook",
    "step_pre_hook",
    "step_post_hook",
)


@pytest.mark.parametrize("register", HOOKS)
def test_a_hook_that_counts_in_a_list_is_refused_by_name(register: str) -> None:
    n = [0]

    def count(*_: Any) -> None:
        n[0] += 1

    with pytest.raises(TraceError, match="the list 'n', which 'count' names, was changed while 'step' was traced"):
        hooked(register, count)(cr.ones(3, 2, requires_grad="backward_hook" in register))
    assert n == [0]


class Recorder:
    def __init__(self) -> None:
        self.calls = 0

    def hook(self, *_: Any) -> None:
        self.calls += 1


@pytest.mark.parametrize("register", HOOKS)
@pytest.mark.parametrize("where", ["dict", "variable", "object"])
def test_a_hook_that_counts_elsewhere_counts_every_call_and_is_named_in_the_end(register: str, where: str) -> None:
    told, number, counting = {"n": 0}, 0, Recorder()

    def in_dict(*_: Any) -> None:
        told["n"] += 1

    def in_variable(*_: Any) -> None:
        nonlocal number
        number += 1

    hook, name = {
        "dict": (in_dict, r"told\['n'\] was"),
        "variable": (in_variable, "'number' was"),
        "object": (counting.hook, "self.calls was"),
    }[where]
    step = hooked(register, hook)
    x = cr.ones(3, 2)
    for _ in range(8):
        step(x)
    with pytest.warns(UserWarning, match=f"traced 8 times.*{name}"):
        step(x)
    for _ in range(3):
        step(x)
    assert (told["n"], number, counting.calls)[["dict", "variable", "object"].index(where)] == 12


def test_what_a_hook_reads_is_noticed() -> None:
    scale = [2.0]
    model = nn.Sequential(nn.Identity())
    model[0].register_forward_hook(lambda module, _, y: y * scale[0])
    compiled = cr.compile(model)
    assert compiled(ONE).item() == 2
    scale[0] = 3.0
    assert compiled(ONE).item() == 3
    assert compiled(ONE).item() == 3
    assert len(compiled.graphs) == 2


def test_a_hook_of_an_optimizer_that_came_later_is_called() -> None:
    calls = {"n": 0}
    w = cr.ones(2, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)

    @cr.compile
    def step() -> None:
        optimizer.zero_grad()
        w.sum().backward()
        optimizer.step()

    step()
    handle = optimizer.register_step_post_hook(lambda *_: calls.__setitem__("n", calls["n"] + 1))
    step()
    step()
    assert calls["n"] == 2
    handle.remove()
    step()
    assert calls["n"] == 2
    assert "the optimizer's hooks changed" in step.report()


def test_a_trace_keeps_nothing_alive_that_a_removed_hook_held() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    compiled = cr.compile(model)

    def called_with_a_hook() -> Any:
        held = nn.Linear(2, 2)
        with model[0].register_forward_hook(lambda module, _, y: held(y)):
            compiled(cr.ones(1, 2))
        return weakref.ref(held)

    find = called_with_a_hook()
    gc.collect()
    assert find() is None
    compiled(cr.ones(1, 2))


def test_fit_runs_a_model_uncompiled_whose_hook_counts_and_counts_right(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)).astype(np.float32), rng.integers(0, 2, 60)
    counts = []
    for compiled in (True, False):
        n = [0]

        def counted(*_: Any) -> None:
            n[0] += 1  # noqa: B023 - called within the loop

        model = nn.Sequential(nn.Linear(3, 2))
        model[0].register_forward_hook(counted)
        cr.fit(model, (X, y), epochs=3, batch_size=16, compile=compiled, seed=0)
        counts.append(n[0])
        if compiled:
            told = capsys.readouterr()
            assert "not compiled: the list 'n', which 'counted' names" in told.out + told.err
    assert counts[0] == counts[1] > 12


def test_a_tensor_that_was_put_elsewhere_while_tracing_is_told_at_the_next_call() -> None:
    state = {"total": cr.zeros(1)}

    @cr.compile
    def step(x: Any) -> Any:
        state["total"] = state["total"] + x
        return state["total"]

    step(ONE)
    with pytest.raises(TraceError, match="made while tracing 'step'"):
        step(ONE)


def test_the_line_that_asks_for_a_value_is_named() -> None:
    @cr.compile
    def step(x: Any) -> Any:
        return x if x.mean() > 0 else -x

    with pytest.raises(TraceError, match=r"not known, at test_compile_outside_state\.py, line \d+"):
        step(ONE)


def test_fit_says_in_its_line_why_it_is_not_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x: Any) -> Any:
            return self.linear(x) if x.mean() > 0 else self.linear(-x)

    rng = np.random.default_rng(0)
    cr.fit(Deciding(), (rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 2, 20)), epochs=1)
    told = capsys.readouterr()
    assert "not compiled: Deciding: a truth value" in told.out + told.err
    assert "not called yet" not in told.out + told.err


# -- random numbers that are not chainrule's, and iterators -------------------------------------------------------------------


class Noisy(nn.Module):
    """Draws from a generator in an attribute."""

    def __init__(self, rng: Any) -> None:
        super().__init__()
        self.linear, self.rng = nn.Linear(3, 2), rng

    def forward(self, x: Any) -> Any:
        return self.linear(x) * (1 + self.rng.random())


def test_random_numbers_of_python_and_numpy_are_refused_and_put_back() -> None:
    generator, old, own = np.random.default_rng(3), np.random.RandomState(3), random.Random(3)
    held = SimpleNamespace(rng=np.random.Generator(np.random.MT19937(1)))
    model = Noisy(random.Random(1))

    draws = {
        "module 'random'": lambda x: x if random.random() < 0.5 else x * 2,
        r"NumPy's global generator": lambda x: x * np.random.randn(),
        "the generator 'generator'": lambda x: x * generator.normal(),
        "the generator 'old'": lambda x: x * old.rand(),
        "the generator 'own'": lambda x: x * own.random(),
        r"the generator 'held\.rng'": lambda x: x * held.rng.random(),
        r"the generator 'model\.rng'": lambda x: x * model.rng.random(),
    }
    states = lambda: (  # noqa: E731 - asked twice
        random.getstate(), str(np.random.get_state()), str(generator.bit_generator.state), str(old.get_state()),
        own.getstate(), str(held.rng.bit_generator.state), model.rng.getstate(),
    )  # fmt: skip
    before = states()
    for told, draw in draws.items():
        with pytest.raises(TraceError, match=f"drew random numbers from .*{told}.*same in every call.*cr.rand"):
            cr.compile(draw)(ONE)
    with pytest.raises(TraceError, match=r"drew random numbers from the generator 'self\.rng'"):
        cr.compile(nn.Sequential(model))(cr.ones(1, 3))
    assert states() == before
    read = cr.compile(lambda x: x * len(str(type(generator))))
    assert read(ONE).item() == read(ONE).item() > 0  # named, and not drawn from


LATE = """
import sys
import numpy as np
import chainrule as cr
from chainrule.errors import TraceError

@cr.compile
def reads(x):
    np.random.PCG64
    return x * 2

@cr.compile
def draws(x):
    return x * float(np.random.rand(312)[0])  # as many as the generator makes at a time

assert "numpy.random" not in sys.modules
if {drawn}:
    try:
        draws(cr.ones(1))
    except TraceError as error:
        print(error)
    seed = np.random.mtrand.get_bit_generator().seed_seq
    print(np.random.rand() == np.random.RandomState(np.random.MT19937(seed)).rand())
else:
    print(reads(cr.ones(1)).item(), "numpy.random" in sys.modules)
"""


@pytest.mark.parametrize("drawn", [False, True])
def test_a_generator_of_numpy_that_is_loaded_while_tracing_is_looked_at(drawn: bool) -> None:
    command = [sys.executable, "-c", LATE.replace("{drawn}", str(drawn))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = r"'draws' drew random numbers from NumPy's global generator.*\nTrue\n" if drawn else r"2\.0 True\n"
    assert re.fullmatch(expected, done.stdout)


def test_fit_draws_the_same_noise_as_without_compilation() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 2, 40)
    weights = []
    for compiled in (True, False):
        cr.manual_seed(0)
        model = Noisy(np.random.default_rng(5))
        cr.fit(model, (X, y), epochs=2, batch_size=16, compile=compiled, progress=False, seed=0)
        weights.append(model.linear.weight.detach().numpy())
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-5)


def counted_up() -> Any:
    k = 0
    while True:
        k += 1
        yield k


@pytest.mark.parametrize(
    "make",
    [
        counted_up, itertools.count, lambda: iter([1.0] * 9), lambda: itertools.cycle([1.0, 2.0]),
        lambda: zip([1] * 9, [2] * 9, strict=True), lambda: map(abs, [1] * 9), lambda: enumerate([1] * 9),
        lambda: itertools.product([1, 1], [1, 1], [1]), lambda: itertools.chain(counted_up()), lambda: (1 for _ in range(9)),
        lambda: iter(dict.fromkeys(range(9))),
    ],
    ids=["generator", "count", "list", "cycle", "zip", "map", "enumerate", "product", "chain", "expression", "dict"],
)  # fmt: skip
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_an_iterator_from_which_a_trace_took_is_refused(make: Any, taken: int) -> None:
    it = make()
    for _ in range(taken):
        next(it, None)
    step = cr.compile(lambda x: (next(it, 1), x * 2)[1])
    with pytest.raises(TraceError, match=r"took from the iterator 'it'.*is gone.*pass the item"):
        step(ONE)


def test_an_iterator_that_is_only_named_is_none_that_moved() -> None:
    it, model = counted_up(), nn.Sequential(nn.Identity())
    next(it)
    step = cr.compile(lambda x: x * 2 if it is not None else model(x))
    assert step(ONE).item() == step(ONE).item() == 2
    next(it)
    step(ONE)
    assert len(step.graphs) == 1


# -- classes, the code of objects, and the user's own Python modules ----------------------------------------------------------


class Config:
    l2 = 2.0
    table = {"a": 2.0}  # noqa: RUF012 - the class's own, as users write it

    @classmethod
    def doubled(cls) -> float:
        return cls.l2 * 2


class SubConfig(Config):
    pass


CONFIG = SubConfig()


@pytest.mark.parametrize(
    ("read", "owner"),
    [
        (lambda: Config.l2, Config),
        (lambda: SubConfig.l2, Config),
        (lambda: SubConfig.l2, SubConfig),
        (lambda: CONFIG.l2, Config),
        (lambda: CONFIG.l2, CONFIG),
        (lambda: getattr(CONFIG, "l2"), Config),  # noqa: B009 - this is what is tested
        (lambda: Config.doubled() / 2, Config),
    ],
)
def test_attributes_of_classes_are_noticed(read: Any, owner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    step = cr.compile(lambda x: x * read())
    assert step(ONE).item() == step(ONE).item() == 2
    monkeypatch.setattr(owner, "l2", 3.0, raising=False)
    assert step(ONE).item() == step(ONE).item() == 3
    assert len(step.graphs) == 2
    assert ".l2" in step.report()


def test_a_container_of_a_class_is_noticed_and_may_not_be_changed() -> None:
    step = cr.compile(lambda x: x * Config.table["a"])
    assert step(ONE).item() == 2
    Config.table["a"] = 3.0
    try:
        assert step(ONE).item() == 3
    finally:
        Config.table["a"] = 2.0

    class Seen:
        values: list[int] = []  # noqa: RUF012 - the class's own, as users write it

    with pytest.raises(TraceError, match=r"the list 'Seen\.values'"):
        cr.compile(lambda x: (Seen.values.append(1), x)[1])(ONE)
    assert Seen.values == []


class Scaled(nn.Module):
    scale = 2.0
    calls = 0

    def factor(self) -> float:
        return self.scale

    def forward(self, x: Any) -> Any:
        return x * self.factor()


class ScaledMore(Scaled):
    def factor(self) -> float:
        return super().factor() * SHIFT["by"]


SHIFT = {"by": 1.0}


@pytest.mark.parametrize("kind", [Scaled, ScaledMore])
@pytest.mark.parametrize("inside", [False, True])
def test_class_attributes_of_a_module_are_noticed(kind: Any, inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = cr.compile(nn.Sequential(kind()) if inside else kind())
    assert model(ONE).item() == model(ONE).item() == 2
    monkeypatch.setattr(Scaled, "scale", 3.0)
    assert model(ONE).item() == model(ONE).item() == 3
    if kind is ScaledMore:
        monkeypatch.setitem(SHIFT, "by", 2.0)
        assert model(ONE).item() == 6
    assert len(model.graphs) == 2 + (kind is ScaledMore)


@dataclass(slots=True)
class Slots:
    l2: float = 2.0
    deep: Any = None


class Schedule:
    """Has one number, which every way to ask for it reads."""

    def __init__(self, value: float = 2.0) -> None:
        self.number = value
        self.unread = 0

    def __call__(self, step: int = 0) -> float:
        return self.number

    def __getitem__(self, key: Any) -> float:
        return self.number

    def __float__(self) -> float:
        return self.number

    def __len__(self) -> int:
        return int(self.number)

    def __enter__(self) -> float:
        return self.number

    def __exit__(self, *_: object) -> None:
        pass

    def __rmul__(self, x: Any) -> Any:
        return x * self.number

    def __iter__(self) -> Any:
        yield self.number

    @property
    def rate(self) -> float:
        return self.number

    def method(self, x: Any = None) -> float:
        return self.number


def entered(context: Any) -> Any:
    with context as value:
        return value


def ways(schedule: Schedule) -> dict[str, Any]:
    """Return functions that multiply with the number of a schedule."""
    bound, keywords = schedule.method, functools.partial(lambda x, by: x * by.number, by=schedule)
    several, held = {"f": [schedule.method]}, SimpleNamespace(fn=schedule.method, tuple=(1, schedule))
    given = functools.partial(Schedule.method, schedule)
    called = lambda: schedule.number  # noqa: E731 - a function in a dict
    functions = {"called": called}
    return {
        "call": lambda x: x * schedule(3),
        "item": lambda x: x * schedule[0],
        "float": lambda x: x * float(schedule),
        "len": lambda x: x * len(schedule),
        "with": lambda x: x * entered(schedule),
        "operator": lambda x: schedule.__rmul__(x),
        "loop": lambda x: x * sum(schedule),
        "property": lambda x: x * schedule.rate,
        "bound": lambda x: x * bound(),
        "partial": lambda x: keywords(x),
        "partial of a method": lambda x: x * given(),
        "in a dict and list": lambda x: x * several["f"][0](),
        "attribute": lambda x: x * held.fn(),
        "in a tuple": lambda x: x * held.tuple[1](),
        "function in a dict": lambda x: x * functions["called"](),
        "itself partial": functools.partial(lambda a, x: x * a.number, schedule),
    }


@pytest.mark.parametrize("way", list(ways(Schedule())))
def test_what_the_code_of_an_object_reads_is_noticed(way: str) -> None:
    schedule = Schedule()
    function = ways(schedule)[way]
    step = cr.compile(function)
    assert step(ONE).item() == step(ONE).item() == 2
    schedule.number = 3.0
    assert step(ONE).item() == step(ONE).item() == 3
    schedule.unread += 1
    assert step(ONE).item() == 3
    assert len(step.graphs) == 2


class Applied(nn.Module):
    def __init__(self, fn: Any) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Any) -> Any:
        return self.fn(x)


@pytest.mark.parametrize("make", [lambda s: lambda x: x * s.number, lambda s: functools.partial(scaled_by, by=s),
                                  lambda s: s.__rmul__])  # fmt: skip
def test_a_function_in_an_attribute_of_a_module_is_looked_at(make: Any) -> None:
    schedule = Schedule()
    model = cr.compile(nn.Sequential(Applied(make(schedule))))
    assert model(ONE).item() == 2
    schedule.number = 3.0
    assert model(ONE).item() == model(ONE).item() == 3
    assert len(model.graphs) == 2


def scaled_by(x: Any, by: Any) -> Any:
    return x * by.number


def test_slots_are_noticed() -> None:
    slots = Slots(deep=Slots())
    step = cr.compile(lambda x: x * slots.l2 * slots.deep.l2)
    assert step(ONE).item() == 4
    slots.l2 = 3.0
    assert step(ONE).item() == 6
    slots.deep.l2 = 1.0
    assert step(ONE).item() == step(ONE).item() == 3
    assert "slots.deep.l2 was 2.0 and is 1.0" in step.report()


def test_a_default_argument_is_noticed_and_may_not_be_changed() -> None:
    rates = [2.0]

    def step(x: Any, rates: Any = rates, *, more: Any = rates) -> Any:
        return x * rates[0] * more[0]

    compiled = cr.compile(step)
    assert compiled(ONE).item() == 4
    rates[0] = 3.0
    assert compiled(ONE).item() == compiled(ONE).item() == 9

    @cr.compile
    def remembering(x: Any, seen: Any = []) -> Any:  # noqa: B006 - this is what is tested
        seen.append(1)
        return x

    with pytest.raises(TraceError, match="the list 'seen'"):
        remembering(ONE)


def test_values_of_the_users_own_python_modules_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, inner = ModuleType("settings_of_a_user"), ModuleType("settings_of_a_user.inner")
    settings.l2, settings.table, settings.unread, settings.inner = 2.0, {"a": [1.0]}, 0, inner  # type: ignore[attr-defined]
    inner.power = 1  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "settings_of_a_user", settings)
    step = cr.compile(lambda x: (x * settings.l2 * settings.table["a"][0]) ** settings.inner.power)
    assert step(ONE).item() == 2
    settings.l2 = 3.0  # type: ignore[attr-defined]
    assert step(ONE).item() == 3
    settings.table["a"][0] = 2.0
    assert step(ONE).item() == 6
    inner.power = 2  # type: ignore[attr-defined]
    assert step(ONE).item() == step(ONE).item() == 36
    settings.unread = 5  # type: ignore[attr-defined]
    assert step(ONE).item() == 36
    assert len(step.graphs) == 4
    assert "'settings.l2' was 2.0 and is 3.0" in step.report()
    of_others = cr.compile(lambda x: x * math.pi * np.pi)
    of_others(ONE)
    assert not of_others._traces.entries[0].traced.guards.names


# -- arguments ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "given", "told"),
    [
        (lambda x, it: it.append(x * 2), [], "the list 'it'"),
        (lambda x, it: it.__setitem__(0, x), [cr.ones(1)], "the list 'it'"),
        (lambda x, it: it.__setitem__("out", x), {}, "the dict 'it'"),
        (lambda x, it: it["a"][0].pop(), {"a": ([1, 2],)}, r"the list 'it\['a'\]\[0\]'"),
    ],
    ids=["a list", "a tensor in a list", "a dict", "inside"],
)
@pytest.mark.parametrize("named", [False, True])
def test_an_argument_that_a_compiled_function_changes_is_refused(
    change: Any, given: Any, told: str, named: bool
) -> None:
    def changing(x: Any, it: Any) -> Any:
        change(x, it)
        return x

    step = cr.compile(changing)
    before = copy.copy(given)
    with pytest.raises(TraceError, match=f"'changing' changed {told}, an argument.*[Rr]eturn it instead"):
        step(ONE, it=given) if named else step(ONE, given)
    assert given == before


def test_containers_that_are_read_and_made_anew_may_be_arguments() -> None:
    @cr.compile
    def step(x: Any, losses: Any, **named: Any) -> Any:
        named["more"] = [*losses, x]
        named.pop("by")
        return sum(named["more"])

    for _ in range(2):
        assert step(ONE, [cr.ones(1), 2.0], by=1).item() == 4
    assert len(step.graphs) == 1


@dataclass(frozen=True)
class Fixed:
    number: float


def test_equal_arguments_are_served_by_one_trace() -> None:
    schedule = Schedule()
    step = cr.compile(lambda x, fixed, by: x * fixed.number * by())
    for _ in range(3):
        assert step(ONE, Fixed(2.0), schedule.method).item() == 4
    assert len(step.graphs) == 1
    schedule.number = 3.0
    assert step(ONE, Fixed(2.0), schedule.method).item() == 6


@pytest.mark.parametrize("where", ["itself", "in a dict", "a function"])
def test_what_is_read_of_an_object_that_is_an_argument_is_noticed(where: str) -> None:
    schedule = Schedule()
    read = {
        "itself": lambda x, it: x * it.number,
        "in a dict": lambda x, it: x * it["a"].number,
        "a function": lambda x, it: x * it(),
    }[where]
    given = {"itself": schedule, "in a dict": {"a": schedule}, "a function": lambda: schedule.number}[where]
    step = cr.compile(read)
    assert step(ONE, given).item() == step(ONE, given).item() == 2
    schedule.number = 3.0
    assert step(ONE, given).item() == step(ONE, given).item() == 3
    assert len(step.graphs) == 2


WEIGHT = 1.0


class OwnLoss:
    weight = 1.0

    def __call__(self, output: Any, y: Any) -> Any:
        return (output - y).square().mean() * self.weight


def own_loss(output: Any, y: Any) -> Any:
    return (output - y).square().mean() * WEIGHT


@pytest.mark.parametrize("kind", ["a function", "an object", "a partial"])
def test_fit_notices_what_a_loss_of_the_users_own_reads(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(32, 3)).astype(np.float32), rng.normal(size=(32, 2)).astype(np.float32)
    found = []

    class Weighing(cr.Callback):
        def on_epoch_end(self, *_: Any) -> None:
            monkeypatch.setitem(globals(), "WEIGHT", WEIGHT * 3)
            loss.weight *= 3

    for compiled in (True, False):
        cr.manual_seed(0)
        monkeypatch.setitem(globals(), "WEIGHT", 1.0)
        loss = OwnLoss()
        model = nn.Linear(3, 2)
        given = {"a function": own_loss, "an object": loss, "a partial": functools.partial(own_loss)}[kind]
        settings = {"epochs": 3, "batch_size": 16, "callbacks": [Weighing()], "progress": False, "seed": 0}
        cr.fit(model, (X, y), loss=given, optimizer="sgd", lr=0.01, compile=compiled, **settings)
        found.append(model.weight.detach().numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_a_compiled_object_is_looked_at_like_a_function() -> None:
    schedule = Schedule()
    step = cr.compile(schedule)
    step(3)
    schedule.number = 3.0
    assert step(3) == 3


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scales = [2.0]

    @property
    def scale(self) -> float:
        return self.scales[0]

    def scaled(self, x: Any) -> Any:
        return x * self.scale


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part, self.layers = Part(), nn.ModuleList([Part()])

    def forward(self, x: Any) -> Any:
        return self.layers[0].scaled(x * self.part.scale)


def test_what_a_module_reads_of_its_parts_is_noticed() -> None:
    whole = Whole()
    model = cr.compile(whole)
    assert model(ONE).item() == 4
    whole.part.scales[0] = 3.0
    assert model(ONE).item() == 6
    whole.layers[0].scales[0] = 5.0
    assert model(ONE).item() == model(ONE).item() == 15
    assert len(model.graphs) == 3
    single = Part()
    step = cr.compile(lambda x: single.scaled(x))
    assert step(ONE).item() == 2
    single.scales[0] = 3.0
    assert step(ONE).item() == step(ONE).item() == 3
    assert "single.scales[0] was 2.0 and is 3.0" in step.report()


OTHER_FILE = """
S = 2.0

def scaled(x):
    return x * S

class C:
    v = 1.0

    def get(self):
        return self.v

c = C()
"""


def test_what_functions_of_the_users_other_files_read_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "helpers_of_a_user.py").write_text(OTHER_FILE)
    monkeypatch.syspath_prepend(tmp_path)
    helpers: Any = importlib.import_module("helpers_of_a_user")
    scaled = helpers.scaled
    step = cr.compile(lambda x: scaled(x) * helpers.c.get())
    assert step(ONE).item() == 2
    helpers.S = 3.0
    assert step(ONE).item() == 3
    helpers.C.v = 2.0
    assert step(ONE).item() == step(ONE).item() == 6
    assert len(step.graphs) == 3


def test_a_tensor_that_is_put_into_a_dict_or_attribute_is_told_with_its_place() -> None:
    log: dict[str, Any] = {}
    store = SimpleNamespace(last=None)

    @cr.compile
    def step(x: Any) -> Any:
        log["loss"] = x * 2
        store.last = x * 3
        return x + 1

    step(cr.tensor(ONE))
    with pytest.raises(TraceError, match=r"while tracing 'step' and put into log\['loss'\] is used after it"):
        log["loss"].item()
    with pytest.raises(TraceError, match=r"and put into store\.last is used after it"):
        store.last.item()


def test_a_number_that_changes_at_each_call_is_advised_to_be_a_tensor() -> None:
    options = {"beta": 0.0}

    @cr.compile
    def scaled(x: Any) -> Any:
        return x * options["beta"]

    @cr.compile
    def given(x: Any, beta: float) -> Any:
        return x * beta

    def called(call: Any, beta: float) -> float:
        options["beta"] = beta
        found: float = call(beta).item()
        return found

    for call in (lambda beta: scaled(cr.tensor(ONE)), lambda beta: given(cr.tensor(ONE), beta)):
        assert [called(call, k / 2) for k in range(8)] == [k / 2 for k in range(8)]
        with pytest.warns(UserWarning, match=r"traced 8 times.*is to be a tensor: an argument .*or a buffer"):
            assert called(call, 4.0) == 4
