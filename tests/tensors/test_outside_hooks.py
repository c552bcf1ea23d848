"""Hooks of modules and optimizers in a compiled function: traced where they use tensors alone, refused by name where they count."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import TraceError

ONE = np.ones(1, np.float32)

ONE = np.ones(1, np.float32)


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


def test_a_tensor_that_is_kept_in_a_dict_is_refused_and_left_as_it_was() -> None:
    state = {"total": cr.zeros(1)}

    @cr.compile
    def step(x: Any) -> Any:
        state["total"] = state["total"] + x
        return state["total"]

    for _ in range(2):
        with pytest.raises(TraceError, match=r"put a tensor into state\['total'\]"):
            step(ONE)
        assert state["total"].item() == 0


def test_the_line_that_asks_for_a_value_is_named() -> None:
    @cr.compile
    def step(x: Any) -> Any:
        return x if x.mean() > 0 else -x

    with pytest.raises(TraceError, match=r"not known, at test_outside_hooks\.py, line \d+"):
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
