"""The order of a dict's entries, and of a module's parts, is compared: code may go through them."""

from __future__ import annotations

from collections import Counter, OrderedDict, UserDict
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


class Names(dict[str, Any]):
    """A dict of the user's."""


class Ordered(OrderedDict[str, Any]):
    """An ordered dict of the user's."""


class Holder:
    """An object with attributes."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Layer(nn.Module):
    """A module with a dict in an attribute."""

    def __init__(self, table: Any) -> None:
        super().__init__()
        self.table = table


def functions() -> dict[str, Any]:
    return {"p": lambda x: x + 1, "q": lambda x: x * 3}


def through(table: Any, x: Any) -> Any:
    for part in table.values():
        x = part(x) if callable(part) else (x + 1) * part
    return x


def first_last(table: Any) -> None:
    table["p"] = table.pop("p")


def move(table: Any) -> None:
    table.move_to_end("p")


KINDS: dict[str, tuple[Any, Callable[[Any], Any], Callable[[Any], None]]] = {
    "functions": (functions(), lambda it: it, first_last),
    "tensors": ({"p": cr.tensor(2.0), "q": cr.tensor(3.0)}, lambda it: it, first_last),
    "numbers": (Names(p=2.0, q=3.0), lambda it: it, first_last),
    "subclass": (Names(functions()), lambda it: it, first_last),
    "counter": (Counter(p=2, q=3), lambda it: it, first_last),
    "ordered": (OrderedDict(functions()), lambda it: it, move),
    "ordered numbers": (OrderedDict(p=2.0, q=3.0), lambda it: it, move),
    "ordered subclass": (Ordered(functions()), lambda it: it, move),
    "wrapper": (UserDict(functions()), lambda it: it, first_last),
    "nested": ({"a": [functions()]}, lambda it: it["a"][0], first_last),
    "of an object": (Holder(table=functions()), lambda it: it.table, first_last),
    "of a module": (Layer(functions()), lambda it: it.table, first_last),
}


@pytest.mark.parametrize("kind", KINDS)
def test_another_order_of_a_dict_is_another_trace_and_the_old_one_serves_again(kind: str) -> None:
    outside, find, reorder = KINDS[kind]
    before = list(find(outside))

    @cr.compile
    def step(x: Any) -> Any:
        return through(find(outside), x)

    for _ in range(2):  # there, and back again
        for _ in range(2):
            assert step(cr.ones(3)).tolist() == through(find(outside), cr.ones(3)).tolist()
        for key in [before[0], before[1]] if list(find(outside)) != before else ["p"]:
            if reorder is move:
                find(outside).move_to_end(key)
            else:
                find(outside)[key] = find(outside).pop(key)
    assert len(step.graphs) == 2
    assert "order changed" in step.report()


def test_the_order_behind_a_read_only_view_and_of_keys_that_are_tensors_matters() -> None:
    table = functions()
    view = MappingProxyType(table)
    rates = {cr.tensor(2.0): "a", cr.tensor(3.0): "a"}

    @cr.compile
    def step(x: Any) -> Any:
        for rate in rates:
            x = (x + 1) * rate
        return through(view, x)

    assert step(cr.ones(3)).tolist() == [48] * 3
    first_last(table)
    assert step(cr.ones(3)).tolist() == [46] * 3
    first = next(iter(rates))
    rates[first] = rates.pop(first)
    assert step(cr.ones(3)).tolist() == [43] * 3


@pytest.mark.parametrize("make", [dict, OrderedDict, Ordered])
def test_an_order_that_the_code_changes_is_changed_in_each_call(make: Any) -> None:
    def run(wrap: Any) -> list[Any]:
        table = make(functions())

        @wrap
        def step(x: Any) -> Any:
            first = next(iter(table))
            table[first] = table.pop(first)
            return through(table, x)

        found = []
        for _ in range(4):
            found += [step(cr.ones(3)).tolist(), list(table)]
        return found

    assert run(cr.compile) == run(lambda f: f)


def test_an_entry_that_the_code_takes_out_is_taken_out_in_each_call() -> None:
    table = functions()
    q = table["q"]

    @cr.compile
    def step(x: Any) -> Any:
        table.pop("q", None)
        return through(table, x)

    for _ in range(3):
        table["q"] = q
        assert step(cr.ones(3)).tolist() == [2] * 3
        assert list(table) == ["p"]
    assert step(cr.ones(3)).tolist() == [2] * 3


@pytest.mark.parametrize("make", [dict, OrderedDict, Ordered])
def test_the_order_is_put_back_where_a_function_is_traced_twice(make: Any) -> None:
    table = make(functions())

    @cr.compile
    def step(x: Any) -> Any:
        if "done" not in table:
            first_last(table)
            table["done"] = lambda x: x
        return through(table, x) * (2 if x.shape[0] == 3 else 1)

    for _ in range(2):
        assert step(cr.ones(3)).tolist() == [8] * 3
        assert list(table) == ["q", "p", "done"]


def test_the_order_of_a_modules_parts_matters() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    step = cr.compile(lambda x: model(x).detach())
    x = cr.tensor([[1.0, -2.0]])
    for _ in range(2):
        np.testing.assert_allclose(step(x).numpy(), model(x).detach().numpy(), rtol=1e-5)
        model._modules["0"] = model._modules.pop("0")
        np.testing.assert_allclose(step(x).numpy(), model(x).detach().numpy(), rtol=1e-5)
    assert "traced since Sequential._modules have another order" in step.report()

    named = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Tanh()})

    @cr.compile
    def by_name(x: Any) -> Any:
        for part in named.values():
            x = part(x)
        return x.detach()

    for _ in range(2):
        expected = x
        for part in named.values():
            expected = part(expected)
        np.testing.assert_allclose(by_name(x).numpy(), expected.detach().numpy(), rtol=1e-5)
        named["a"] = named.pop("a")


def test_a_parameter_that_is_taken_out_and_put_back_is_no_error() -> None:
    layer = nn.Linear(2, 1)
    step = cr.compile(lambda x: [layer(x).detach(), *[p.detach() * 1 for p in layer.parameters()]])
    for _ in range(2):
        y, *parameters = step(cr.ones(1, 2))
        assert [p.tolist() for p in parameters] == [p.tolist() for p in layer.parameters()]
        np.testing.assert_allclose(y.numpy(), layer(cr.ones(1, 2)).detach().numpy(), rtol=1e-5)
        weight = layer.weight
        del layer.weight
        layer.weight = weight


def test_training_goes_on_where_the_parts_of_the_model_change_their_order() -> None:
    x = np.ones((8, 2), np.float32)

    def losses(*, compiled: bool) -> list[float]:
        cr.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())

        def reorder(*_: Any) -> None:
            model._modules["0"] = model._modules.pop("0")

        options: Any = {"batch_size": 4, "epochs": 3, "progress": False, "compile": compiled, "callbacks": [reorder]}
        return list(cr.fit(model, (x, x * 3), **options)["train_loss"])

    np.testing.assert_allclose(losses(compiled=True), losses(compiled=False), rtol=1e-5)
