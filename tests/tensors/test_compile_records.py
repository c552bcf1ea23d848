"""Arguments of compiled functions that are made anew for each call, and models that share one function."""

from __future__ import annotations

import copy
import gc
import weakref
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

FACTOR = 2.0


@pytest.fixture(autouse=True, params=["interpreter", "native"])
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


@dataclass
class Batch:
    x: Any
    y: Any
    more: dict[str, Any] = field(default_factory=dict)

    def scaled(self) -> Any:
        return self.x * FACTOR


@dataclass(frozen=True, slots=True)
class Frozen:
    x: Any
    y: Any

    def scaled(self) -> Any:
        return self.x * FACTOR


class Named(NamedTuple):
    x: Any
    y: Any

    def scaled(self) -> Any:
        return self.x * FACTOR


class Plain:
    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y

    def scaled(self) -> Any:
        return self.x * FACTOR


def _arrays(seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((4, 3)).astype(np.float32), rng.standard_normal((4, 1)).astype(np.float32)


def _training() -> Any:
    cr.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)

    def step(batch: Any) -> Any:
        optimizer.zero_grad()
        loss = ((model(batch.scaled()) - batch.y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    return step


@pytest.mark.parametrize("kind", [Batch, Frozen, Named])
@pytest.mark.parametrize("of", [cr.from_numpy, lambda array: array], ids=["tensors", "arrays"])
def test_records_made_anew_for_each_call_cost_no_traces(kind: Any, of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind is not Named and of is not cr.from_numpy:
        of = lambda array: cr.from_numpy(array.copy())  # noqa: E731 - scaled() is a method of arrays too
    eager, step = _training(), cr.compile(_training())
    for k in range(20):
        if k == 10:
            monkeypatch.setattr(f"{__name__}.FACTOR", 3.0)  # what methods of a record name is noticed
        x, y = _arrays(k)
        assert step(kind(of(x), of(y))).item() == pytest.approx(
            eager(kind(cr.from_numpy(x), cr.from_numpy(y))).item(), rel=1e-5
        )
    assert len(step.graphs) <= 3  # one by its identity, one of what is in it, one more for the factor


def test_a_record_that_is_written_into_stays_the_callers() -> None:
    def put(batch: Any) -> Any:
        batch.double = batch.x * 2
        return batch.double.sum()

    compiled = cr.compile(put)
    batches = [Batch(cr.ones(2) * k, None) for k in range(5)]
    for batch in batches:
        compiled(batch)
    for k, batch in enumerate(batches):
        assert batch.double.tolist() == [2 * k, 2 * k]


def test_a_dict_in_a_record_that_is_changed_is_the_callers() -> None:
    def put(batch: Any) -> Any:
        batch.more["seen"] = True
        return batch.x.sum()

    compiled = cr.compile(put)
    for k in range(4):
        batch = Batch(cr.ones(2) * k, None)
        compiled(batch)
        assert batch.more == {"seen": True}


def test_two_states_that_are_kept_have_two_traces_and_keep_what_is_put_into_them() -> None:
    @dataclass
    class State:
        h: Any
        count: int = 0

    def advance(state: Any, x: Any) -> Any:
        state.h = 0.5 * state.h + x
        return state.h.sum()

    compiled = cr.compile(advance)
    ours, expected = [[State(cr.zeros(3)), State(cr.ones(3))] for _ in range(2)]
    for k in range(12):
        x = cr.full((3,), float(k))
        for a, b in zip(ours, expected, strict=True):
            a.count, b.count = k, k  # nobody reads it
            assert compiled(a, x).item() == advance(b, x).item()
            assert a.h.tolist() == b.h.tolist()
    assert len(compiled.graphs) <= 4


def test_records_with_other_values_in_each_call_are_given_up_as_whole_ones() -> None:
    @dataclass
    class Numbered:
        x: Any
        number: int

    def double(batch: Any) -> Any:
        return batch.x * 2 + batch.number

    compiled = cr.compile(double)
    results = []
    with pytest.warns(UserWarning, match="batch is another Numbered.*made anew for each call is to be a dict"):
        results += [compiled(Numbered(cr.ones(2), k)).tolist() for k in range(20)]
    assert results == [[2 + k, 2 + k] for k in range(20)]


def test_values_of_a_record_are_compared() -> None:
    @dataclass
    class Weighted:
        x: Any
        mode: str

    compiled = cr.compile(lambda batch: batch.x * 2 if batch.mode == "twice" else batch.x)
    for k in range(12):
        assert compiled(Weighted(cr.ones(1), "twice" if k % 2 else "once")).item() == (2 if k % 2 else 1)
    assert len(compiled.graphs) <= 4


def test_a_plain_object_for_each_call_is_told_what_to_be_instead() -> None:
    step = cr.compile(_training())
    batches = [Plain(*map(cr.from_numpy, _arrays(k))) for k in range(10)]
    with pytest.warns(UserWarning, match="batch is another Plain.*is to be a dict, a NamedTuple, or a dataclass"):
        list(map(step, batches))


def test_a_record_with_a_model_in_it_is_one_object() -> None:
    @dataclass
    class Task:
        model: nn.Module
        x: Any

    compiled = cr.compile(lambda task: task.model(task.x).sum())
    tasks = [Task(nn.Linear(2, 1), cr.ones(1, 2)) for _ in range(3)]
    for _ in range(3):
        for task in tasks:
            assert compiled(task).item() == pytest.approx(task.model(task.x).item(), rel=1e-6)
        for task in tasks:
            task.x = task.x + 1
    assert len(compiled.graphs) == len(tasks)


def test_many_models_train_through_one_function_and_are_let_go() -> None:
    @cr.compile
    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    x, y = (cr.from_numpy(part) for part in _arrays(0))
    models = [nn.Linear(3, 1) for _ in range(12)]
    optimizers = [cr.optim.SGD(model.parameters(), lr=0.01) for model in models]
    for _ in range(5):
        losses = [step(model, optimizer, x, y).item() for model, optimizer in zip(models, optimizers, strict=True)]
    assert len(set(losses)) == len(models)
    assert len(step.graphs) == len(models)
    gone = [weakref.ref(model) for model in models]
    del models, optimizers
    gc.collect()
    assert all(find() is None for find in gone)
    model = nn.Linear(3, 1)
    step(model, cr.optim.SGD(model.parameters(), lr=0.01), x, y)
    assert len(step.graphs) == 1  # those of models that are gone went with them


@dataclass(frozen=True)
class Agent:
    name: str
    model: Any = field(compare=False)


class Alike:
    """Equal to all of its kind."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike)

    def __hash__(self) -> int:
        return 1


class Unequal(Alike):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("nobody may ask")

    __hash__ = Alike.__hash__


@pytest.mark.parametrize("wrapped", [lambda x: x, lambda x: [x], lambda x: {"k": (x,)}], ids=["itself", "list", "dict"])
def test_objects_that_are_equal_are_not_one(wrapped: Any) -> None:
    def of(given: Any) -> Any:
        given = given["k"][0] if isinstance(given, dict) else given[0] if isinstance(given, list) else given
        return given.model(cr.ones(1, 2)).sum() if isinstance(given, Agent) else cr.ones(1).sum() * given.factor

    compiled = cr.compile(of)
    things = [
        *[Agent("actor", nn.Linear(2, 1)) for _ in range(3)],
        *map(Alike, (1.0, 2.0, 3.0)),
        *map(Unequal, (4.0, 5.0)),
    ]
    for _ in range(2):
        for thing in things:
            assert compiled(wrapped(thing)).item() == of(wrapped(thing)).item()


def test_records_in_records_and_frozen_configurations_made_anew_cost_few_traces() -> None:
    @dataclass(frozen=True)
    class Configuration:
        factor: float
        name: str = "a"

    compiled = cr.compile(lambda outer, config: outer.x.y.sum() * config.factor)
    for k in range(12):
        inner = Frozen(None, cr.ones(2) * k)
        assert compiled(Frozen(inner, None), Configuration(2.0 + k % 2)).item() == 2 * k * (2.0 + k % 2)
    assert len(compiled.graphs) <= 5


def test_parts_of_a_compiled_module_can_be_replaced_and_it_can_be_copied() -> None:
    compiled = cr.compile(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
    compiled[1] = nn.Tanh()
    assert isinstance(compiled.function[1], nn.Tanh)
    del compiled[1]
    assert len(compiled) == 1
    x = cr.ones(4, 2)
    assert copy.copy(compiled)(x).tolist() == compiled(x).tolist()
    assert copy.copy(cr.compile(lambda x: x * 2))(x).tolist() == (x * 2).tolist()
