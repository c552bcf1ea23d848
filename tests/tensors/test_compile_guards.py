"""What a trace takes for granted: when it is traced again, when an earlier trace serves again, and what memory it keeps."""

from __future__ import annotations

import functools
import gc
import tracemalloc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn import functional as F

X = cr.ones(4, 3)


def network() -> nn.Sequential:
    cr.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.BatchNorm1d(3), nn.Linear(3, 2))


def replaced_layer(model: Any) -> None:
    model[0] = nn.Linear(3, 3)


def replaced_parameter(model: Any) -> None:
    model[3].weight = nn.Parameter(cr.ones(2, 3))


def replaced_buffer(model: Any) -> None:
    model[2].running_mean = cr.ones(3)


CHANGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "eval": (lambda m: m.eval(), "training was True and is False"),
    "a part in eval": (lambda m: m[1].eval(), "Dropout"),
    "another probability": (lambda m: setattr(m[1], "p", 0.25), "p was 0.5 and is 0.25"),
    "another layer": (replaced_layer, "Sequential.0 was replaced"),
    "another parameter": (replaced_parameter, "3 (Linear).weight was replaced"),
    "another buffer": (replaced_buffer, "2 (BatchNorm1d).running_mean was replaced"),
    "a layer more": (lambda m: m.append(nn.ReLU()), "Sequential.4 changed"),
    "a frozen parameter": (
        lambda m: m[0].weight.requires_grad_(False),
        "0 (Linear).weight.requires_grad was True and is",
    ),
    "a frozen model": (lambda m: m.requires_grad_(False), "0 (Linear).weight.requires_grad was True and is False"),
    "a hook": (
        lambda m: m[0].register_forward_hook(lambda module, args, y: y * 2),
        "0 (Linear) has hooks that it had not",
    ),
    "no bias": (lambda m: setattr(m[3], "bias", None), "3 (Linear).bias was replaced"),
}
GONE = {told for _, told in CHANGES.values() if "was replaced" in told}  # the trace of what is gone is forgotten


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_model_is_traced_again_and_does_what_it_does_eager(name: str) -> None:
    change, told = CHANGES[name]
    outputs = []
    for wrap in (lambda f: f, cr.compile):
        layers = network()
        forward = wrap(lambda x: layers(x))  # noqa: B023 - called within the loop
        outputs.append([])
        for step in range(4):
            if step == 2:
                change(layers)
            cr.manual_seed(step)
            outputs[-1].append(forward(X).tolist())
    assert outputs[0] == outputs[1]
    assert len(forward.graphs) == 1 + (told not in GONE), forward.report()
    assert told in forward.report()


def test_a_model_of_another_dtype_is_traced_again() -> None:
    layers = network()
    compiled = cr.compile(layers)
    compiled(X)
    layers.double()
    y = compiled(X.double())
    assert y.dtype is cr.float64
    layers.float()
    assert compiled(X).dtype is cr.float32
    assert len(compiled.graphs) == 2


def test_going_back_to_an_earlier_state_serves_the_earlier_trace() -> None:
    model = network()
    compiled = cr.compile(model)
    for _ in range(30):
        model.train()
        compiled(X)
        model.eval()
        compiled(X)
        model[1].p = 0.1
        compiled(X)
        model[1].p = 0.5
    assert len(compiled.graphs) == 3
    handle = model[0].register_forward_hook(lambda module, args, y: y)
    compiled(X)
    handle.remove()
    compiled(X)
    assert len(compiled.graphs) == 4


def test_only_numbers_in_tensors_changed_so_nothing_is_traced_again() -> None:
    model = network().eval()
    compiled = cr.compile(model)
    before = compiled(X)
    state = {name: value + 1 for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    assert cr.equal(compiled(X), model(X))
    assert not cr.equal(compiled(X), before)
    with cr.no_grad():
        model[0].weight.mul_(2)
        model[3].bias.zero_()
    assert cr.equal(compiled(X), model(X))
    model.load_state_dict(state, assign=True)
    assert cr.equal(compiled(X), model(X))
    assert len(compiled.graphs) == 1  # other tensors took their places: the trace of those that are gone is forgotten


def test_an_optimizers_loaded_state_counts() -> None:
    made = []
    for wrap in (lambda f: f, cr.compile):
        model = network()
        optimizer = optim.Adam(model.parameters())

        @wrap
        def step(x: Any) -> Any:
            optimizer.zero_grad()  # noqa: B023 - called within the loop
            model(x).square().sum().backward()  # noqa: B023
            optimizer.step()  # noqa: B023

        step(X)
        saved = optimizer.state_dict()
        saved = {**saved, "state": {k: {n: v.clone() for n, v in s.items()} for k, s in saved["state"].items()}}
        step(X)
        optimizer.load_state_dict(saved)
        step(X)
        optimizer.state.clear()
        step(X)
        step(X)
        made.append([p.detach().numpy().tobytes() for p in model.parameters()])
    assert made[0] == made[1]
    assert len(step.graphs) <= 3, step.report()


def test_a_group_added_to_an_optimizer_is_trained_from_then_on() -> None:
    a, b = cr.ones(2, requires_grad=True), cr.ones(2, requires_grad=True)
    optimizer = optim.SGD([a], lr=0.5)

    @cr.compile
    def step() -> None:
        optimizer.zero_grad()
        (a + 2 * b).sum().backward()
        optimizer.step()

    step()
    b.grad = None
    optimizer.add_param_group({"params": [b]})
    step()
    assert (a.tolist(), b.tolist()) == ([0, 0], [0, 0])


def test_gradients_that_are_there_or_not_are_two_traces() -> None:
    w = cr.ones(2, requires_grad=True)

    @cr.compile
    def step(x: Any) -> None:
        (w * x).sum().backward()

    for k in range(12):
        step(cr.ones(2))
        if k % 3 == 2:
            assert w.grad.tolist() == [3, 3]
            w.grad = None
    assert len(step.graphs) == 2


# -- names -----------------------------------------------------------------------------------------------------------------

factor = 2.0
model = nn.Linear(3, 1)


def scaled_by_the_global(x: Any) -> Any:
    return x * factor


def through_a_function(x: Any) -> Any:
    return scaled_by_the_global(x) + 1


def test_another_value_of_a_global_is_another_trace() -> None:
    global factor
    for function in (scaled_by_the_global, through_a_function, functools.partial(through_a_function)):
        factor = 2.0
        compiled = cr.compile(function)
        expected = {f: function(X) for f in (2.0, 3.0) if not (globals().__setitem__("factor", f))}
        for factor in (2.0, 3.0, 2.0, 3.0):
            assert cr.equal(compiled(X), expected[factor])
        assert len(compiled.graphs) == 2
        assert "'factor' was 2.0 and is 3.0" in compiled.report()


def test_a_model_that_was_made_again_is_the_one_that_is_trained() -> None:
    global model
    model = nn.Linear(3, 1)
    compiled = cr.compile(lambda x: model(x))
    first = compiled(X)
    model = nn.Linear(3, 1)
    assert cr.equal(compiled(X), model(X))
    assert not cr.equal(compiled(X), first)

    def again() -> None:
        global model
        for _ in range(20):  # as in a notebook: the old ones are forgotten
            model = nn.Linear(3, 1)
            assert cr.equal(compiled(X), model(X))

    with pytest.warns(UserWarning, match="traced 8 times for few calls each, since 'model' was replaced"):
        again()
    assert len(compiled.graphs) <= 2, compiled.report()


def test_a_variable_of_an_enclosing_function_counts_too() -> None:
    scale = 1.0
    compiled = cr.compile(lambda x: x * scale)
    for scale in (1.0, 2.0, 1.0):
        assert compiled(cr.ones(2)).tolist() == [scale, scale]
    assert len(compiled.graphs) == 2


calls = 0


def counting(x: Any) -> Any:
    global calls
    calls += 1
    return x * calls


def test_a_global_that_counts_runs_uncompiled_in_the_end_and_is_named() -> None:
    compiled = cr.compile(counting)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        results = [compiled(cr.ones(1)).item() for _ in range(12)]
    assert results == list(range(1, 13))
    assert len(told) == 1
    assert "'calls' was" in str(told[0].message)


def test_names_of_attributes_are_not_names_of_variables() -> None:
    names: dict[str, Any] = {"cr": cr, "data": 1}
    exec("def f(x): return x.data * 2", names)  # noqa: S102 - a function with globals of its own
    compiled = cr.compile(names["f"])
    for k in range(12):
        names["data"] = k
        compiled(X)
    assert len(compiled.graphs) == 1


def test_a_variable_that_is_deleted_or_does_not_exist_yet_is_no_trouble() -> None:
    names: dict[str, Any] = {"cr": cr, "unused": 1}
    exec("def f(x): return x * 2 if x.ndim else unused + later", names)  # noqa: S102 - as above
    compiled = cr.compile(names["f"])
    compiled(X)
    del names["unused"]
    assert compiled(X).sum().item() == 24


# -- defaults --------------------------------------------------------------------------------------------------------------


def test_the_default_dtype_counts() -> None:
    compiled = cr.compile(lambda x: x + cr.zeros(3))
    assert compiled(cr.ones(3)).dtype is cr.float32
    cr.set_default_dtype(cr.float64)
    try:
        assert compiled(cr.ones(3, dtype=cr.float32)).dtype is cr.float64
    finally:
        cr.set_default_dtype(cr.float32)
    assert compiled(cr.ones(3)).dtype is cr.float32
    assert len(compiled.graphs) == 2


def test_gradients_on_and_off_are_two_traces() -> None:
    w = cr.ones(3, requires_grad=True)
    compiled = cr.compile(lambda x: x * w)
    for _ in range(5):
        with cr.no_grad():
            assert not compiled(X).requires_grad
        assert compiled(X).requires_grad
    assert len(compiled.graphs) == 2


# -- memory ----------------------------------------------------------------------------------------------------------------


def used_once() -> list[weakref.ref[Any]]:
    """Train a network in a compiled function; return what could be left of it."""
    layers = network()
    optimizer = optim.Adam(layers.parameters())
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.9)

    @cr.compile
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = layers(x).square().mean()
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss

    step(X)
    step(X)
    return [weakref.ref(x) for x in (layers, optimizer, schedule, step, layers[0].weight, step.graph.nodes[0])]


def test_nothing_is_left_of_a_function_that_is_gone() -> None:
    gone = [find for _ in range(3) for find in used_once()]
    gc.collect()
    assert [find() for find in gone] == [None] * len(gone)


def test_a_trace_keeps_no_layer_alive_that_was_replaced() -> None:
    layers = network()
    compiled = cr.compile(layers)
    compiled(X)
    old = weakref.ref(layers[0].weight)
    layers[0] = nn.Linear(3, 3)
    gc.collect()
    assert old() is None
    assert cr.equal(compiled.eval()(X), layers(X))
    assert len(compiled.graphs) == 1  # the first is forgotten


def test_two_hundred_traces_take_no_memory_once_gone() -> None:
    layers = network().eval()

    def trace_once() -> None:
        compiled = cr.compile(lambda x: layers(x))
        with cr.no_grad():
            compiled(X)

    for _ in range(5):
        trace_once()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            trace_once()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 100_000, f"{grown} bytes"


def test_a_thousand_runs_take_no_memory() -> None:
    layers = network()
    optimizer = optim.Adam(layers.parameters())

    @cr.compile
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(layers(x), y)
        loss.backward()
        optimizer.step()
        return loss

    rng = np.random.default_rng(0)
    batches = [
        (cr.tensor(rng.standard_normal((n, 3)).astype(np.float32)), cr.tensor(rng.integers(0, 2, n)))
        for n in range(2, 30)
    ]
    for x, y in batches:
        step(x, y)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for k in range(1000):
            step(*batches[k % len(batches)])
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(step.graphs) == 1
    assert grown < 100_000, f"{grown} bytes"
