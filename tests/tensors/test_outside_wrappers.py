"""Containers of other kinds: subclasses of Python's, wrappers, arrays of other things; and the environment."""

from __future__ import annotations

import os
from array import array
from collections import ChainMap, OrderedDict, UserDict, UserList, deque
from collections.abc import Callable
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import TraceError

ONE = np.ones(1, np.float32)


class Config(dict[str, Any]):
    """A dict, as users derive it."""


class Attributes(dict[str, Any]):
    """A dict whose entries are attributes too."""

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class Row(list[Any]):
    pass


class Names(set[Any]):
    pass


class InSet:
    def __init__(self, s: float) -> None:
        self.s = s


class Pair(NamedTuple):
    first: Any
    second: Any


BELOW = {"s": 2.0}
MODULE = nn.Module()
MODULE.settings = Config(s=2.0)
READ: dict[str, tuple[Any, Callable[[Any], float], Callable[[Any], Any]]] = {
    "a dict of one's own": (Config(s=2.0), lambda it: it["s"], lambda it: it.update(s=4.0)),
    "its entries as attributes": (Attributes(s=2.0), lambda it: it.s, lambda it: it.update(s=4.0)),
    "a dict in such a dict": (
        Attributes(a=Attributes(s=2.0)), lambda it: it.a.s, lambda it: it.a.update(s=4.0),
    ),
    "such a dict in an object": (
        SimpleNamespace(it=Config(s=2.0)), lambda it: it.it["s"], lambda it: it.it.update(s=4.0),
    ),
    "such a dict in a module": (
        MODULE, lambda it: it.settings["s"], lambda it: it.settings.update(s=4.0),
    ),
    "a list of one's own": (Row([2.0]), lambda it: it[0], lambda it: it.__setitem__(0, 4.0)),
    "its length": (Row([1, 1]), len, lambda it: it.extend([1, 1])),
    "a named tuple": (Pair({"s": 2.0}, 1), lambda it: it.first["s"], lambda it: it.first.update(s=4.0)),
    "UserDict": (UserDict(s=2.0), lambda it: it["s"], lambda it: it.update(s=4.0)),
    "UserList": (UserList([2.0]), lambda it: it[0], lambda it: it.__setitem__(0, 4.0)),
    "ChainMap": (ChainMap({}, {"s": 2.0}), lambda it: it["s"], lambda it: it.update(s=4.0)),
    "MappingProxyType": (MappingProxyType(BELOW), lambda it: it["s"], lambda it: BELOW.update(s=4.0)),
    "a dict of many things": (
        Config({str(k): [2.0] for k in range(100)}), lambda it: it["7"][0], lambda it: it["7"].__setitem__(0, 4.0),
    ),
    "an array of objects": (np.array([2.0, None], object), lambda it: it[0], lambda it: it.__setitem__(0, 4.0)),
    "an array of texts": (np.array(["2", "3"]), lambda it: float(it[0]), lambda it: it.__setitem__(0, "4")),
    "an array of records": (
        np.full(1, 2, [("s", "f4")]), lambda it: float(it["s"][0]), lambda it: it.__setitem__("s", 4),
    ),
    "an object in a set": ({InSet(2.0)}, lambda it: sum(x.s for x in it), lambda it: setattr(next(iter(it)), "s", 4.0)),
    "array.array": (array("d", [2.0]), lambda it: it[0], lambda it: it.__setitem__(0, 4.0)),
    "the sign of zero": (
        [0.0], lambda it: 2 if str(it[0]) == "0.0" else 4, lambda it: it.__setitem__(0, -0.0),
    ),
    "the sign of one zero of many": (
        [0.0] * 50, lambda it: 2 if str(it[0]) == "0.0" else 4, lambda it: it.__setitem__(0, -0.0),
    ),
    "all attributes": (SimpleNamespace(s=2.0), lambda it: sum(vars(it).values()), lambda it: setattr(it, "s", 4.0)),
}  # fmt: skip


@pytest.mark.parametrize(("it", "read", "change"), READ.values(), ids=READ)
def test_what_is_in_containers_of_other_kinds_is_noticed(it: Any, read: Any, change: Any) -> None:
    step = cr.compile(lambda x: x * read(it))
    assert step(ONE).item() == step(ONE).item() == 2
    assert len(step.graphs) == 1
    change(it)
    assert step(ONE).item() == step(ONE).item() == 4
    assert len(step.graphs) == 2


@pytest.mark.parametrize("count", [40, 500])
def test_one_of_many_tensors_or_layers_that_is_replaced_is_noticed(count: int) -> None:
    tensors = [cr.ones(1) for _ in range(count)]
    layers = [nn.Identity() for _ in range(count)]
    by_name = {str(k): cr.ones(1) for k in range(count)}

    def product(x: Any) -> Any:
        for y in (*tensors, *by_name.values()):
            x = x * y
        for layer in layers:
            x = layer(x)
        return x

    step = cr.compile(product)
    assert step(ONE).item() == step(ONE).item() == 1
    assert len(step.graphs) == 1
    tensors[5] = cr.full((1,), 2.0)
    assert step(ONE).item() == 2
    by_name["7"] = cr.full((1,), 2.0)
    assert step(ONE).item() == 4
    layers[count - 1] = nn.Dropout(1.0)
    assert step(ONE).item() == 0


@pytest.mark.parametrize("read", [lambda: os.environ["CHAINRULE_TEST_S"], lambda: os.getenv("CHAINRULE_TEST_S")])
def test_environment_variables_are_noticed(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_TEST_S", "2")
    step = cr.compile(lambda x: x * float(read()))
    assert step(ONE).item() == step(ONE).item() == 2
    monkeypatch.setenv("CHAINRULE_TEST_S", "4")
    assert step(ONE).item() == step(ONE).item() == 4
    assert len(step.graphs) == 2
    assert "the environment variable 'CHAINRULE_TEST_S' changed" in step.report()


@pytest.mark.parametrize(
    ("container", "change", "told"),
    [
        (Row([1]), lambda it: it.append(1), "the Row 'it'"),
        (Names([1]), lambda it: it.add(2), "the Names 'it'"),
        (UserList([1]), lambda it: it.append(1), r"the list 'it.data'"),
        (Config(dict.fromkeys(map(str, range(50)), 0)), lambda it: it.update({"1": 5}), "the Config 'it'"),
        (array("d", [0.0]), lambda it: it.__setitem__(0, it[0] + 1), "the array 'it'"),
        (np.array([0.0, None], object), lambda it: it.__setitem__(0, it[0] + 1), "the array 'it'"),
        (np.zeros(50_000), lambda it: it.__setitem__(0, it[0] + 1), "the array 'it'"),
    ],
    ids=["list", "set", "UserList", "dict", "array.array", "an array of objects", "a large array"],
)
def test_other_containers_that_a_compiled_function_changes_are_refused_and_put_back(
    container: Any, change: Any, told: str
) -> None:
    it = container
    before = list(it)

    def step(x: Any) -> Any:
        change(it)
        return x * 2

    with pytest.raises(TraceError, match=told):
        cr.compile(step)(ONE)
    assert list(it) == before


@pytest.mark.parametrize("it", [Config(n=0), Attributes(n=0), UserDict(n=0)], ids=["dict", "attributes", "UserDict"])
def test_a_counter_in_a_small_dict_of_ones_own_counts(it: Any) -> None:
    @cr.compile
    def step(x: Any) -> Any:
        it["n"] += 1
        return x * it["n"]

    assert [step(ONE).item() for _ in range(3)] == [1, 2, 3]


class Recent(OrderedDict[int, float]):
    """A dict with arguments of its own."""

    def __init__(self, limit: int, name: str) -> None:
        super().__init__()
        self.limit, self.name = limit, name


class Window(deque[float]):
    """A deque with arguments of its own."""

    def __init__(self, limit: int, name: str) -> None:
        super().__init__([], limit)
        self.name = name


@pytest.mark.parametrize("kind", [Recent, Window])
@pytest.mark.parametrize("size", [2, 40])
def test_containers_whose_classes_want_arguments_are_read_compared_and_put_back(kind: Any, size: int) -> None:
    held = kind(50, "held")
    (held.update(dict.fromkeys(range(size), 2.0)) if kind is Recent else held.extend([2.0] * size))
    step = cr.compile(lambda x: x * held[1])
    assert step(ONE).item() == 2
    held[1] = 3.0
    assert step(ONE).item() == 3

    def changing(x: Any) -> Any:
        held.append(1.0)
        return x * held[1]

    if kind is Window:
        with pytest.raises(TraceError, match="the Window 'held' was changed"):
            cr.compile(changing)(ONE)
        assert len(held) == size


def test_an_ordered_dict_that_is_put_back_is_whole() -> None:
    held = OrderedDict(a=1.0, b=2.0)

    @cr.compile
    def step(x: Any) -> Any:
        held["c"] = held["a"] = 3.0
        return x * held["a"] * (2 if len(x) == 3 else 1)  # decides on the size: it is traced again

    assert step(np.ones(3, np.float32)).tolist() == [6, 6, 6]
    assert list(held.items()) == [("a", 3), ("b", 2), ("c", 3)]
    assert list(reversed(held)) == ["c", "b", "a"]
    del held["c"]

    @cr.compile
    def refused(x: Any) -> Any:
        held["c"] = 4.0
        return x.sum().item()

    with pytest.raises(TraceError, match="item"):
        refused(ONE)
    assert list(held.items()) == [("a", 3), ("b", 2)]
    assert list(reversed(held)) == ["b", "a"]
