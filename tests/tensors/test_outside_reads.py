"""What is read of objects while a function is traced: that alone is compared, however deep it is, and classes are left as they were."""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
import gc
import logging
import threading
import warnings
import weakref
from collections import UserDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import TraceError

ONE = np.ones(1, np.float32)


class Part:
    """An object with a value, other values, and objects in it."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Net(nn.Module):
    """A layer, a number that it reads, and some that it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.k = 1.0
        self.epoch = 0
        self.history: list[float] = []

    def forward(self, x: Any) -> Any:
        return self.layer(x) * self.k


# -- what is not read ------------------------------------------------------------------------------------------------------


def test_attributes_of_a_module_that_nobody_reads_cause_no_trace() -> None:
    model = Net()
    step = cr.compile(lambda x: model(x))
    for epoch in range(20):
        model.epoch = epoch
        model.best = epoch
        model.history.append(0.0)
        step(ONE[None])
    assert len(step.graphs) == 1, step.report()
    model.k = 2.0
    step(ONE[None])
    assert len(step.graphs) == 2
    assert "Net.k was 1.0 and is 2.0" in step.report()


def test_a_callback_may_set_attributes_of_the_model_that_is_fitted() -> None:
    class Counting(cr.Callback):
        def on_epoch_end(self, *_: Any) -> None:
            model.epoch += 1

    model = Net()
    X = np.random.default_rng(0).normal(size=(64, 1)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cr.fit(model, (X, X), loss="mse", optimizer="sgd", epochs=12, callbacks=[Counting()], progress=False)
    assert model.epoch == 12


def test_a_loss_may_count_between_epochs_what_it_does_not_read() -> None:
    class Loss:
        def __init__(self) -> None:
            self.k, self.calls, self.log = 1.0, 0, list[int]()

        def __call__(self, output: Any, target: Any) -> Any:
            return (output - target).square().mean() * self.k

        def count(self, *_: Any) -> None:
            self.calls += 1
            self.log.append(self.calls)

    loss = Loss()
    X = np.random.default_rng(0).normal(size=(64, 1)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cr.fit(Net(), (X, X), loss=loss, optimizer="sgd", epochs=12, callbacks=[loss.count], progress=False)
    assert loss.calls == 12


def test_an_attribute_matters_where_it_is_read_and_not_where_another_object_has_one_of_that_name() -> None:
    class Training:
        def __init__(self) -> None:
            self.model = Net()
            self.optimizer = cr.optim.SGD(self.model.parameters(), lr=0.1)
            self.step = 0
            self.k = 0

        def train(self, x: Any) -> Any:
            self.optimizer.zero_grad()
            loss = self.model(x).square().sum()
            loss.backward()
            self.optimizer.step()
            return loss * self.model.k

    training = Training()
    train = cr.compile(training.train)
    for _ in range(20):
        training.step += 1
        training.k += 1
        train(ONE[None])
    assert len(train.graphs) == 1, train.report()


def test_train_and_eval_matter_to_the_layers_that_ask() -> None:
    plain = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    dropping = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.5))
    steps = [cr.compile(plain), cr.compile(dropping)]
    for _ in range(3):
        for model, step in zip((plain, dropping), steps, strict=True):
            model.train()
            step(ONE[None])
            model.eval()
            step(ONE[None])
    assert [len(step.graphs) for step in steps] == [1, 2]


# -- what is read, however deep --------------------------------------------------------------------------------------------


class Slots:
    __slots__ = ("s",)

    def __init__(self, s: Any) -> None:
        self.s = s


class Own:
    """A class that answers for all attributes itself."""

    def __init__(self) -> None:
        object.__setattr__(self, "held", {"s": 2.0})
        object.__setattr__(self, "plain", 2.0)

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, name)

    def __getattr__(self, name: str) -> Any:
        return self.held[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self.held[name] = value


class Derived(Own):
    """The same, by its base."""


@dataclasses.dataclass
class Data:
    s: float = 2.0
    inner: Any = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    inner: Data


class Color(enum.Enum):
    RED = 1

    @property
    def s(self) -> Any:
        return COLORS.s


COLORS = Part(s=2.0)


class WithProperty:
    def __init__(self) -> None:
        self._s = 2.0

    @property
    def s(self) -> float:
        return self._s

    def method(self) -> float:
        return self._s


def deep(value: Any, depth: int = 12) -> Any:
    for _ in range(depth):
        value = Part(inner=value, other=0)
    return value


def at(value: Any, depth: int = 12) -> Any:
    for _ in range(depth):
        value = value.inner
    return value


def set_s(owner: Any) -> None:
    owner.s = 4.0


READ: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "an attribute": (lambda: Part(s=2.0), lambda it: it.s, set_s),
    "a slot": (lambda: Slots(2.0), lambda it: it.s, set_s),
    "of a class that answers itself": (Own, lambda it: it.s, set_s),
    "of one derived from that": (Derived, lambda it: it.s, set_s),
    "an attribute of a dataclass": (Data, lambda it: it.s, set_s),
    "in a frozen dataclass": (lambda: Frozen(Data()), lambda it: it.inner.s, lambda it: set_s(it.inner)),
    "through an enumeration": (lambda: Color.RED, lambda it: it.s, lambda it: set_s(COLORS)),
    "a property": (WithProperty, lambda it: it.s, lambda it: setattr(it, "_s", 4.0)),
    "a method": (WithProperty, lambda it: it.method(), lambda it: setattr(it, "_s", 4.0)),
    "of a module": (Net, lambda it: it.k * 2, lambda it: setattr(it, "k", 2.0)),
    "by getattr": (lambda: Part(s=2.0), lambda it: getattr(it, "xs"[1:]), set_s),
    "by vars": (lambda: Part(s=2.0), lambda it: vars(it)["s"], set_s),
    "of a copy": (lambda: Part(s=2.0), lambda it: copy.copy(it).s, set_s),
    "of a deep copy": (lambda: Part(s=2.0), lambda it: copy.deepcopy(it).s, set_s),
    "of a copy of what has slots": (lambda: Slots(2.0), lambda it: copy.copy(it).s, set_s),
    "as a dict": (Data, lambda it: dataclasses.asdict(it)["s"], set_s),
    "by replace": (Data, lambda it: dataclasses.replace(it, inner=1).s, set_s),
    "in a comparison": (Data, lambda it: 2 if it == Data() else 4, set_s),
    "what is not there": (lambda: Part(t=2.0), lambda it: 4 if hasattr(it, "s") else 2, set_s),
    "what is there": (lambda: Part(s=2.0), lambda it: getattr(it, "s", 4), lambda it: delattr(it, "s")),
    "an entry of a dict": (lambda: Part(d={"s": 2.0}), lambda it: it.d["s"], lambda it: it.d.update(s=4.0)),
    "an entry of a dict in a dict": (
        lambda: Part(d={"e": {"s": 2.0}}), lambda it: it.d["e"]["s"], lambda it: it.d["e"].update(s=4.0),
    ),
    "an entry of a list": (lambda: Part(d=[2.0]), lambda it: it.d[0], lambda it: it.d.__setitem__(0, 4.0)),
    "the length of a list": (lambda: Part(d=[1, 1]), lambda it: len(it.d), lambda it: it.d.extend([1, 1])),
    "an element of an array": (
        lambda: Part(d=np.full(1, 2.0)), lambda it: float(it.d[0]), lambda it: it.d.__setitem__(0, 4),
    ),
    "in a set": (lambda: Part(d={2}), lambda it: sum(it.d), lambda it: (it.d.clear(), it.d.add(4))),
    "in a UserDict": (lambda: UserDict(s=2.0), lambda it: it["s"], lambda it: it.update(s=4.0)),
    "in a namespace": (lambda: SimpleNamespace(s=2.0), lambda it: it.s, set_s),
    "of an object in a list": (lambda: [Part(s=2.0)], lambda it: it[0].s, lambda it: set_s(it[0])),
    "of an object in a dict": (lambda: {"a": Part(s=2.0)}, lambda it: it["a"].s, lambda it: set_s(it["a"])),
    "a partial": (
        lambda: Part(f=functools.partial(lambda part: part.s, Part(s=2.0))), lambda it: it.f(), lambda it: set_s(it.f.args[0]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("depth", [0, 6, 12])
@pytest.mark.parametrize(("make", "read", "change"), READ.values(), ids=READ)
def test_what_is_read_is_noticed(make: Any, read: Any, change: Any, depth: int) -> None:
    COLORS.s = 2.0
    it = make()
    held = deep(it, depth)
    step = cr.compile(lambda x: x * read(at(held, depth)))
    assert step(ONE).item() == step(ONE).item() == 2
    assert len(step.graphs) == 1, step.report()
    change(it)
    assert step(ONE).item() == step(ONE).item() == 4, step.report()


def test_an_object_in_the_middle_that_is_replaced_is_noticed() -> None:
    held = deep(Part(s=2.0), 6)
    step = cr.compile(lambda x: x * at(held, 6).s)
    assert step(ONE).item() == 2
    held.inner.inner.inner.inner.inner = Part(inner=Part(s=4.0))
    assert step(ONE).item() == 4
    held.inner.other = 3  # nobody reads it
    assert step(ONE).item() == 4
    assert len(step.graphs) <= 2


def test_a_list_that_is_deep_inside_may_not_be_changed() -> None:
    held = deep(Part(seen=[]))

    @cr.compile
    def step(x: Any) -> Any:
        at(held).seen.append(1)
        return x * 2

    with pytest.raises(TraceError, match=r"the list 'Part\.seen' was changed while 'step' was traced"):
        step(ONE)
    assert at(held).seen == []


def test_a_counter_deep_inside_counts_each_call() -> None:
    held = deep(Part(n=0))

    @cr.compile
    def step(x: Any) -> Any:
        at(held).n += 1
        return x * at(held).n

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert [step(ONE).item() for _ in range(12)] == list(range(1, 13))
    assert len(told) == 1
    assert "Part.n was" in str(told[0].message)


def test_a_value_that_code_sets_is_set_again_once_it_was_changed_outside() -> None:
    held = Part(is_on=False)

    @cr.compile
    def step(x: Any) -> Any:
        held.is_on = True
        return x * 2

    for _ in range(3):
        step(ONE)
        assert held.is_on
        held.is_on = False


def test_what_the_code_itself_makes_may_change() -> None:
    class Out:
        def __init__(self) -> None:
            self.items: list[Any] = []
            self.total = 0
            self.me = self  # lives on until it is collected

        def add(self, item: Any) -> None:
            self.items.append(item)
            self.total += 1

    @cr.compile
    def step(x: Any) -> Any:
        out = Out()
        kept = dataclasses.make_dataclass("Kept", [("items", list)], frozen=True)([])
        for _ in range(3):
            out.add(x)
            kept.items.append(x)
        return sum(out.items) * out.total + sum(kept.items)

    for _ in range(3):
        assert step(ONE).item() == 12
    assert len(step.graphs) == 1, step.report()


# -- classes ---------------------------------------------------------------------------------------------------------------


def members(*kinds: type) -> list[dict[str, Any]]:
    return [dict(vars(kind)) for kind in kinds]


def test_classes_are_what_they_were_once_a_trace_is_over() -> None:
    kinds = (nn.Module, Net, Part, Own, Derived, Slots, Data)
    before = members(*kinds)
    net, held = Net(), [Part(s=1), Own(), Derived(), Slots(1.0), Data()]
    step = cr.compile(lambda x: net(x) * sum(it.s for it in held))
    step(ONE[None])
    assert members(*kinds) == before

    @cr.compile
    def failing(x: Any) -> Any:
        assert members(Part) != before[2:3]  # while it lasts
        raise ValueError(held[0].s)

    with pytest.raises(ValueError, match="1"):
        failing(ONE)
    assert members(*kinds) == before


def test_traces_in_two_threads_share_their_classes() -> None:
    kinds = (nn.Module, Net, Part)
    before = members(*kinds)
    wrong: list[Any] = []

    def work(k: int) -> None:
        held, net = Part(s=float(k), other=Part(s=1.0)), Net()
        for _ in range(15):
            step = cr.compile(lambda x: net(x) * 0 + x * held.s * held.other.s)
            for value in (1.0, 2.0):
                held.other.s = value
                net.epoch += 1
                if step(ONE[None]).item() != k * value:
                    wrong.append((k, value))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert members(*kinds) == before


def test_a_trace_keeps_nothing_alive_that_was_read_or_set() -> None:
    class Big:
        s = 1.0

    held = Part(big=Big(), was=Big(), inner=Part(big=Big()))

    @cr.compile
    def step(x: Any) -> Any:
        held.was = None
        return x * held.big.s * held.inner.big.s

    finds = [weakref.ref(each) for each in (held.big, held.was, held.inner, held.inner.big)]
    step(ONE)
    gc.collect()
    assert finds[1]() is None
    held.inner = held.big = None
    gc.collect()
    assert [find() for find in finds] == [None] * 4


def test_logging_costs_no_trace() -> None:
    log = logging.getLogger("a step")
    config = SimpleNamespace(weight=2.0, epoch=0)

    @cr.compile
    def step(x):
        log.debug("one step")
        return (x * config.weight).sum()

    for epoch in range(12):
        config.epoch = epoch
        logging.getLogger("another").setLevel(20 + epoch)
        logging.disable(50)
        logging.disable(0)
        assert step(cr.ones(2)).item() == 4
    config.weight = 3.0
    assert step(cr.ones(2)).item() == 6
    assert len(step.graphs) == 2
