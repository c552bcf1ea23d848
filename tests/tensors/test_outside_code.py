"""Classes, the code of objects, and the user's own Python modules: what a compiled function reads of them is noticed."""

from __future__ import annotations

import functools
import math
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import TraceError

ONE = np.ones(1, np.float32)

ONE = np.ones(1, np.float32)


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
    assert [name.text for name in of_others._traces.entries[0].traced.guards.names] == ["<lambda>"]


def test_defaults_and_code_that_are_set_are_noticed() -> None:
    def scaled(x: Any, by: float = 2.0, *, also: float = 1.0) -> Any:
        return x * by * also

    def other(x: Any, by: float = 2.0, *, also: float = 1.0) -> Any:
        return x * by + also

    step = cr.compile(lambda x: scaled(x))
    assert step(ONE).item() == step(ONE).item() == 2
    scaled.__defaults__ = (3.0,)
    assert step(ONE).item() == step(ONE).item() == 3
    assert "the default of a parameter of 'scaled' changed" in step.report()
    scaled.__kwdefaults__["also"] = 2.0
    assert step(ONE).item() == step(ONE).item() == 6
    scaled.__kwdefaults__ = {"also": 3.0}
    assert step(ONE).item() == 9
    scaled.__code__ = other.__code__
    assert step(ONE).item() == 6
    assert "the code of 'scaled' changed" in step.report()
