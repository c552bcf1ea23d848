"""Code behind objects and classes: methods that are replaced, constructors, comparisons, descriptors, modules imported inside."""

from __future__ import annotations

import importlib
import operator
import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

ONE = np.ones(1, np.float32)
FACTOR = 2.0


class Base:
    def s(self) -> float:
        return 2.0

    @staticmethod
    def of_none() -> float:
        return 2.0

    @property
    def seen(self) -> float:
        return 2.0

    def __getitem__(self, key: int) -> float:
        return 2.0


class Derived(Base):
    pass


class Other(Base):
    def s(self) -> float:
        return 4.0


class Double(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * 2.0


class Quadruple(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * 4.0


@pytest.mark.parametrize(
    ("read", "name", "new"),
    [
        (lambda it: it.s(), "s", lambda self: 4.0),
        (lambda it: it.of_none(), "of_none", staticmethod(lambda: 4.0)),
        (lambda it: it.seen, "seen", property(lambda self: 4.0)),
        (lambda it: it[0], "__getitem__", lambda self, key: 4.0),
    ],
    ids=["method", "static method", "property", "operator"],
)
@pytest.mark.parametrize("owner", [Base, Derived])
def test_a_member_of_a_class_that_is_replaced_is_noticed(
    read: Any, name: str, new: Any, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = Derived()
    step = cr.compile(lambda x: x * read(it))
    assert step(ONE).item() == step(ONE).item() == 2
    assert len(step.graphs) == 1
    monkeypatch.setattr(owner, name, new)
    assert step(ONE).item() == step(ONE).item() == 4
    assert len(step.graphs) == 2
    assert f"Derived.{name} was replaced" in step.report()


@pytest.mark.parametrize("inside", [False, True])
def test_the_forward_of_a_class_that_is_replaced_is_noticed(inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(Double()) if inside else Double()
    steps = [cr.compile(model), cr.compile(lambda x: model(x))]
    assert [step(ONE).item() for step in steps] == [2, 2]
    monkeypatch.setattr(Double, "forward", lambda self, x: x * 4.0)
    assert [step(ONE).item() for step in steps] == [4, 4]


def test_the_forward_that_a_class_gets_beside_that_of_a_layer_is_noticed() -> None:
    class Own(nn.Identity):
        pass

    model = nn.Sequential(Own())
    step = cr.compile(model)
    assert step(ONE).item() == 1
    Own.forward = lambda self, x: x * 2  # type: ignore[method-assign]
    assert step(ONE).item() == 2


def test_an_object_or_module_that_gets_another_class_is_noticed() -> None:
    it, model = Base(), Double()
    step, of_model = cr.compile(lambda x: x * it.s()), cr.compile(lambda x: model(x))
    assert step(ONE).item() == of_model(ONE).item() == 2
    it.__class__ = Other
    model.__class__ = Quadruple  # type: ignore[assignment]
    assert step(ONE).item() == of_model(ONE).item() == 4


class Made:
    def __init__(self) -> None:
        self.s = FACTOR


class MadeByNew:
    s: float

    def __new__(cls) -> MadeByNew:
        made = object.__new__(cls)
        made.s = FACTOR
        return made


@dataclass
class MadeAfter:
    k: float = 1.0

    def __post_init__(self) -> None:
        self.s = FACTOR


@dataclass
class MadeOfDefaults:
    s: float = field(default_factory=lambda: FACTOR)


class Told:
    def __eq__(self, other: object) -> bool:
        return FACTOR == 2

    def __hash__(self) -> int:
        return int(FACTOR)

    def __str__(self) -> str:
        return str(FACTOR)

    def __format__(self, spec: str) -> str:
        return str(FACTOR)


class Below:
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else instance._s


class BelowByName:
    def __set_name__(self, owner: Any, name: str) -> None:
        self.name = f"_{name}"

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else getattr(instance, self.name)


class Described:
    first, s = Below(), BelowByName()

    def __init__(self) -> None:
        self._s = 2.0


class Wrapper:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Meta(type):
    @property
    def s(cls) -> Any:
        return cls._s  # type: ignore[attr-defined]


class OfMeta(metaclass=Meta):
    _s = 2.0


class OfClass:
    _s = 2.0

    @classmethod
    def times(cls, x: Any) -> Any:
        return x * cls._s


def set_factor() -> None:
    global FACTOR
    FACTOR = 4.0


TOLD, DESCRIBED, WRAPPER = Told(), Described(), Wrapper(SimpleNamespace(s=2.0))
BY_NAME, TAKE, CONTEXT = SimpleNamespace(w1=2.0), operator.attrgetter("w1"), ContextVar("s", default=2.0)
READ: dict[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    "__init__": (lambda x: x * Made().s, set_factor),
    "__new__": (lambda x: x * MadeByNew().s, set_factor),
    "__post_init__": (lambda x: x * MadeAfter().s, set_factor),
    "a default factory": (lambda x: x * MadeOfDefaults().s, set_factor),
    "__eq__": (lambda x: x * (2 if TOLD == 1 else 4), set_factor),
    "__hash__": (lambda x: x * hash(TOLD), set_factor),
    "__str__": (lambda x: x * float(str(TOLD)), set_factor),
    "__format__": (lambda x: x * float(f"{TOLD}"), set_factor),
    "a descriptor": (lambda x: x * DESCRIBED.first, lambda: setattr(DESCRIBED, "_s", 4.0)),
    "a descriptor by name": (lambda x: x * DESCRIBED.s, lambda: setattr(DESCRIBED, "_s", 4.0)),
    "__getattr__": (lambda x: x * WRAPPER.s, lambda: setattr(WRAPPER._inner, "s", 4.0)),
    "a property of a class": (lambda x: x * OfMeta.s, lambda: setattr(OfMeta, "_s", 4.0)),
    "a class method, compiled": (OfClass.times, lambda: setattr(OfClass, "_s", 4.0)),
    "a name that is made": (lambda x: x * getattr(BY_NAME, f"w{1}"), lambda: setattr(BY_NAME, "w1", 4.0)),
    "an attrgetter": (lambda x: x * TAKE(BY_NAME), lambda: setattr(BY_NAME, "w1", 4.0)),
    "a context variable": (lambda x: x * CONTEXT.get(), lambda: CONTEXT.set(4.0)),
}


@pytest.mark.parametrize(("function", "change"), READ.values(), ids=READ)
def test_what_code_behind_objects_and_classes_reads_is_noticed(function: Any, change: Any) -> None:
    global FACTOR
    FACTOR = DESCRIBED._s = OfMeta._s = OfClass._s = BY_NAME.w1 = 2.0
    step = cr.compile(function)
    assert step(ONE).item() == step(ONE).item() == 2
    assert len(step.graphs) == 1
    change()
    assert step(ONE).item() == step(ONE).item() == 4
    assert len(step.graphs) == 2


@pytest.mark.parametrize("is_loaded", [False, True])
def test_what_code_reads_of_modules_that_it_imports_is_noticed(
    is_loaded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"settings_imported_inside_{is_loaded}"
    (tmp_path / f"{name}.py").write_text("s = 2.0\nt = 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    found: dict[str, Any] = {"__name__": "code_of_a_user"}
    exec(f"def f(x):\n    import {name} as a\n    from {name} import t\n    return x * a.s * t\n", found)  # noqa: S102 - code whose import is not there yet
    if is_loaded:
        __import__(name)
    step = cr.compile(found["f"])
    assert step(ONE).item() == step(ONE).item() == 2
    assert len(step.graphs) == 1
    sys.modules[name].s = 4.0  # type: ignore[attr-defined]
    assert step(ONE).item() == step(ONE).item() == 4
    sys.modules[name].t = 2.0  # type: ignore[attr-defined]
    assert step(ONE).item() == step(ONE).item() == 8
    assert len(step.graphs) == 3


def test_what_code_reads_of_modules_that_it_imports_relatively_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "package_of_a_user" / "inner"
    folder.mkdir(parents=True)
    for place, text in ((folder.parent, ""), (folder, "")):
        (place / "__init__.py").write_text(text)
    (folder.parent / "settings.py").write_text("s = 2.0\n")
    (folder / "code.py").write_text("def f(x):\n    from ..settings import s\n    return x * s\n")
    (folder / "other.py").write_text("def f(x):\n    from .. import settings\n    return x * settings.s\n")
    monkeypatch.syspath_prepend(tmp_path)
    steps = [cr.compile(importlib.import_module(f"package_of_a_user.inner.{name}").f) for name in ("code", "other")]
    assert [step(ONE).item() for step in steps] == [2, 2]
    sys.modules["package_of_a_user.settings"].s = 4.0  # type: ignore[attr-defined]
    assert [step(ONE).item() for step in steps] == [4, 4]


class Meter:
    """Counts, and tells what it counted."""

    def __init__(self, k: float) -> None:
        self.k = k
        self.count = 0
        self.kind = "relu"

    def __repr__(self) -> str:
        return f"Meter({self.count})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Meter) and self.count == other.count

    def __hash__(self) -> int:
        return self.count

    def scaled(self, x: Any) -> Any:
        if self.k is None:
            raise ValueError(f"no k in {self}")
        return getattr(cr, self.kind)(x * (self.k if isinstance(self, Meter) else 1))


def test_what_constructors_texts_and_comparisons_read_is_nothing_to_code_that_does_not_use_them() -> None:
    meter = Meter(2.0)
    for step in (cr.compile(lambda x: meter.scaled(x)), cr.compile(meter.scaled)):
        for _ in range(4):
            assert step(ONE).item() == 2
            meter.count += 1
        assert len(step.graphs) == 1
