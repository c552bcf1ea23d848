"""Calls like the last one: they take the short way, return what the long way does, and notice everything that changes."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compiler.target import unsupported
from chainrule.errors import GradientError
from chainrule.tensors import compile as compiling
from chainrule.tensors.again import DIFFERS
from chainrule.tensors.memory import replace_memory

needs_native = pytest.mark.skipif(unsupported() is not None, reason="the short way is of native code")
CALLS = compiling.ENOUGH + 2
X = np.random.default_rng(0).random((1, 6), np.float32)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(6, 5)
        self.out = nn.Linear(5, 3)

    def forward(self, x: Any) -> Any:
        return self.out(self.hidden(x).relu())


@pytest.fixture
def model() -> Network:
    cr.manual_seed(0)
    return Network()


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    with cr.no_grad():
        yield


def called_often(function: Any, x: Any = X) -> Any:
    """Return the function compiled, and called until it takes the short way."""
    compiled = cr.compile(function)
    for _ in range(CALLS):
        compiled(x)
    return compiled


def assert_agrees(compiled: Any, function: Callable[..., Any], x: Any = X) -> None:
    """Check several calls of ``compiled`` beside eager mode."""
    given = x if isinstance(x, cr.Tensor) else cr.tensor(x)
    expected = function(given)
    for _ in range(CALLS):
        found = compiled(x)
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert found.requires_grad == expected.requires_grad
        np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6)


def takes_short_way(compiled: Any, x: Any = X) -> bool:
    return compiled._again is not None and compiled._again.run(x) is not DIFFERS


@needs_native
@pytest.mark.parametrize(
    "given", [X, cr.tensor(X), cr.tensor(np.concatenate([X, X]))[1:]], ids=["array", "tensor", "row"]
)
def test_the_same_kind_of_call_takes_the_short_way(model: Network, given: Any) -> None:
    compiled = called_often(model, given)
    assert takes_short_way(compiled, given)
    assert_agrees(compiled, model, given)


@needs_native
def test_it_counts_its_runs(model: Network) -> None:
    compiled = called_often(model)
    before = compiled._traces.entries[0].traced.runs
    compiled(X)
    assert compiled._traces.entries[0].traced.runs == before + 1


def test_each_call_has_its_own_numbers_and_its_own_result(model: Network) -> None:
    compiled = called_often(model)
    rows = np.random.default_rng(1).random((20, 1, 6), np.float32)
    found = [compiled(row) for row in rows]
    for row, y in zip(rows, found, strict=True):
        np.testing.assert_allclose(y.numpy(), model(cr.tensor(row)).numpy(), rtol=1e-5, atol=1e-6)


def test_the_bits_are_those_of_the_long_way(model: Network) -> None:
    compiled = cr.compile(model)
    first = compiled(X).numpy()
    for _ in range(CALLS):
        assert np.array_equal(compiled(X).numpy(), first)


OTHERS: dict[str, Any] = {
    "more rows": np.ones((4, 6), np.float32),
    "no rows": np.ones((0, 6), np.float32),
    "float64": np.ones((1, 6)),
    "int64": np.ones((1, 6), np.int64),
    "strided": np.ones((1, 12), np.float32)[:, ::2],
    "other byte order": np.ones((1, 6), ">f4").astype("<f4"),
    "read-only": np.broadcast_to(np.float32(2), (1, 6)),
    "a tensor": cr.ones(1, 6),
    "a parameter": nn.Parameter(cr.ones(1, 6)),
    "wants a gradient": cr.ones(1, 6, requires_grad=True),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_other_arguments_take_the_long_way(other: Any) -> None:
    def function(x: Any) -> Any:
        return (x * 2 + 1).sum(0)

    compiled = called_often(function)
    assert_agrees(compiled, function, other)
    assert_agrees(compiled, function)


def test_a_list_of_a_tensor_is_no_tensor() -> None:
    def function(x: Any) -> Any:
        return (x[0] + 1).sum()

    compiled = called_often(function, [cr.tensor(X)])
    assert compiled([cr.tensor(X)]).shape == ()
    found = compiled(cr.tensor(X))
    assert found.item() == pytest.approx(function(cr.tensor(X)).item())
    with pytest.raises(TypeError):
        compiled()


def test_names_and_more_arguments_take_the_long_way() -> None:
    def function(x: Any, times: int = 2) -> Any:
        return x * times

    compiled = called_often(function)
    assert np.array_equal(compiled(x=X).numpy(), X * 2)
    assert np.array_equal(compiled(X, 3).numpy(), X * 3)
    assert np.array_equal(compiled(X, times=4).numpy(), X * 4)
    assert np.array_equal(compiled(X).numpy(), X * 2)


def replace_parameter(model: Network) -> None:
    model.out.weight = nn.Parameter(cr.ones(3, 5))


def replace_data(model: Network) -> None:
    model.out.weight.data = cr.full((3, 5), 2.0)


def replace_shape(model: Network) -> None:
    model.hidden.weight.data, model.hidden.bias.data = cr.ones(4, 6), cr.ones(4)
    model.out.weight.data = cr.ones(3, 4)


def write(model: Network) -> None:
    model.out.bias.add_(1)


def load(model: Network) -> None:
    model.load_state_dict({name: x + 1 for name, x in model.state_dict().items()})


def load_by_assigning(model: Network) -> None:
    model.load_state_dict({name: x + 1 for name, x in model.state_dict().items()}, assign=True)


def hook(model: Network) -> None:
    model.hidden.register_forward_hook(lambda module, args, y: y * 3)


def pre_hook(model: Network) -> None:
    model.register_forward_pre_hook(lambda module, args: (args[0] * 3,))


CHANGES: dict[str, Callable[[Network], Any]] = {
    "parameter": replace_parameter,
    "data": replace_data,
    "shapes": replace_shape,
    "numbers": write,
    "state": load,
    "state assigned": load_by_assigning,
    "hook": hook,
    "hook before": pre_hook,
    "layer": lambda model: setattr(model, "out", nn.Linear(5, 2)),
    "setting": lambda model: setattr(model, "hidden", nn.Identity()) or setattr(model, "out", nn.Linear(6, 2)),
    "frozen": lambda model: model.requires_grad_(False),
    "no bias": lambda model: setattr(model.out, "bias", None),
    "elsewhere": lambda model: nn.Linear(2, 2).eval(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("tape", [False, True], ids=["plain", "tape"])
def test_what_changes_is_noticed(model: Network, change: Callable[[Network], Any], tape: bool) -> None:
    with cr.set_grad_enabled(tape):
        compiled = called_often(model)
        with cr.no_grad():
            change(model)
        assert_agrees(compiled, model)


def test_float64_and_back_are_noticed(model: Network) -> None:
    compiled = called_often(model)
    model.double()
    assert_agrees(compiled, model, X.astype(np.float64))
    model.float()
    assert_agrees(compiled, model)


def test_training_and_evaluation_are_noticed() -> None:
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5)).eval()
    compiled = called_often(model)
    assert_agrees(compiled, model)
    model.train()
    x = np.random.default_rng(0).random((8, 6), np.float32)
    for _ in range(CALLS):
        assert not np.array_equal(compiled(x).numpy(), compiled(x).numpy()), "dropout draws anew, each time"
    model.eval()
    assert_agrees(compiled, model)
    assert_agrees(compiled, model, x)


def test_running_statistics_are_written_each_time() -> None:
    model = nn.BatchNorm1d(6)
    compiled = cr.compile(model)
    x = np.random.default_rng(0).random((8, 6), np.float32)
    for k in range(1, 8):
        compiled(x)
        assert model.num_batches_tracked is not None
        assert int(model.num_batches_tracked) == k


def test_the_tape_is_noticed(model: Network) -> None:
    compiled = called_often(model)
    assert not compiled(X).requires_grad
    with cr.enable_grad():
        for _ in range(CALLS):
            y = compiled(X)
            assert y.requires_grad
            with pytest.raises(GradientError, match="compiled"):
                y.sum().backward()
    assert not compiled(X).requires_grad


def test_a_name_from_outside_is_noticed() -> None:
    factor = 2.0

    def function(x: Any) -> Any:
        return x * factor

    compiled = called_often(function)
    for factor in (3.0, -0.0, 2.0):  # noqa: B007 - the function reads it
        assert_agrees(compiled, function)


def test_the_default_dtype_is_noticed() -> None:
    def function(x: Any) -> Any:
        return x.sum() + cr.zeros(1)

    compiled = called_often(function)
    cr.set_default_dtype(cr.float64)
    try:
        assert compiled(X).dtype == cr.float64
        assert compiled(X).dtype == cr.float64
    finally:
        cr.set_default_dtype(cr.float32)
    assert compiled(X).dtype == cr.float32


def test_inside_another_trace_it_is_traced(model: Network) -> None:
    compiled = called_often(model)
    outer = cr.compile(lambda x: compiled(x) * 2)
    for _ in range(CALLS):
        np.testing.assert_allclose(outer(X).numpy(), 2 * model(cr.tensor(X)).numpy(), rtol=1e-5, atol=1e-6)


def test_an_argument_that_is_also_outside_is_read() -> None:
    w = cr.ones(1, 6)
    compiled = called_often(lambda x: x + w)
    for x in (w, w[:]):
        for _ in range(CALLS):
            assert np.array_equal(compiled(x).numpy(), 2 * np.ones((1, 6)))
    assert np.array_equal(compiled(X).numpy(), X + 1)


def test_several_results_in_a_form() -> None:
    def function(x: Any) -> Any:
        return {"a": x + 1, "b": (x.sum(), 3), "n": x.shape[0]}

    compiled = cr.compile(function)
    for rows in (1, 5):
        x = np.ones((rows, 6), np.float32)
        for _ in range(CALLS):
            found = compiled(x)
            assert np.array_equal(found["a"].numpy(), x + 1)
            assert found["b"][0].item() == x.sum()
            assert found["b"][1] == 3
            assert found["n"] == rows


def test_a_failed_check_raises_each_time() -> None:
    table = cr.arange(10.0)

    def function(k: Any) -> Any:
        return table[k]

    good, bad = np.array([1, 2]), np.array([1, 20])
    compiled = called_often(function, good)
    for _ in range(CALLS):
        with pytest.raises(IndexError):
            compiled(bad)
        assert compiled(good).numpy().tolist() == [1, 2]


def test_threads_call_at_once(model: Network) -> None:
    compiled = called_often(model)
    rows = np.random.default_rng(2).random((4, 300, 1, 6), np.float32)
    expected = model(cr.tensor(rows)).numpy()
    wrong: list[Any] = []

    def work(k: int) -> None:
        with cr.no_grad():
            for row, right in zip(rows[k], expected[k], strict=True):
                if not np.allclose(compiled(row).numpy(), right, rtol=1e-5, atol=1e-6):
                    wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@needs_native
@pytest.mark.parametrize("results", [1, 2])
def test_threads_that_predict_at_once_do_not_share_what_lies_between(results: int) -> None:
    wide = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 10))
    rows = np.random.default_rng(3).standard_normal((4, 1, 64)).astype(np.float32)
    compiled = called_often(wide if results == 1 else lambda x: (wide(x), x), rows[0])

    def scores(row: Any) -> Any:
        found = compiled(row)
        return (found if results == 1 else found[0]).numpy()

    expected = [scores(row) for row in rows]
    assert takes_short_way(compiled, rows[0])
    wrong: list[int] = []

    def work(k: int) -> None:
        with cr.no_grad():
            wrong.extend(k for _ in range(1000) if not np.array_equal(scores(rows[k]), expected[k]))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_another_thread_has_a_mode_of_its_own(model: Network) -> None:
    compiled = called_often(model)
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(compiled(X).requires_grad))
    thread.start()
    thread.join()
    assert found == [True]
    assert not compiled(X).requires_grad


def test_memory_is_replaced_while_another_thread_calls(model: Network) -> None:
    compiled = called_often(model)
    memories = [np.full((3, 5), c, np.float32) for c in (1, 2, 3)]
    right = []
    for memory in memories:
        replace_memory(model.out.weight, memory.copy())
        right.append(model(cr.tensor(X)).numpy())
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            for memory in memories:
                replace_memory(model.out.weight, memory.copy())

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        found = [compiled(X).numpy() for _ in range(300)]
    finally:
        stop.set()
        thread.join()
    for y in found:
        assert any(np.allclose(y, one, rtol=1e-5) for one in right)


def test_nothing_outside_is_kept_alive(model: Network) -> None:
    compiled = called_often(model)
    layer, memory = weakref.ref(model.out), weakref.ref(model.out.weight._value)
    model.out = nn.Linear(5, 3)
    gc.collect()
    assert layer() is None
    assert memory() is None
    assert_agrees(compiled, model)
    function = weakref.ref(compiled)
    del compiled
    gc.collect()
    assert function() is None


def test_memory_that_was_replaced_goes_with_the_next_call(model: Network) -> None:
    compiled = called_often(model)
    memory = weakref.ref(model.out.weight._value)
    model.load_state_dict({name: x + 1 for name, x in model.state_dict().items()}, assign=True)
    compiled(X)
    gc.collect()
    assert memory() is None
