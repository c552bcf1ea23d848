"""Containers that a compiled function reads or changes: what is read of them is noticed, what is done to them refused by name."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict, deque
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import TraceError

ONE = np.ones(1, np.float32)

ONE = np.ones(1, np.float32)


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
    assert "it[5] was True and is 1.0" in step.report()
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


class Bank:
    def __init__(self, bank: Any) -> None:
        self.bank = bank


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("where", ["variable", "attribute"])
def test_a_large_array_that_is_refreshed_is_read_again(where: str, order: Any) -> None:
    bank = np.zeros((300, 200), np.float32, order=order)
    holder = Bank(bank)
    functions = {
        "variable": lambda x: (x * cr.tensor(bank)).sum(),
        "attribute": lambda x: x.sum() + float(holder.bank.mean()),
    }
    plain = functions[where]
    compiled = cr.compile(plain)
    x = cr.ones(300, 200)
    for k in range(3):
        assert compiled(x).item() == plain(x).item(), k
        bank += 0.5
    bank[7] = 100.0
    assert compiled(x).item() == plain(x).item()
