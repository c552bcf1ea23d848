"""Compiled methods: each object has its own, under whatever name, in derived classes too; compiled modules pass on what is set."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentTypeError
from chainrule.tensors import methods


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


class Base:
    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.calls: list[int] = []

    @cr.compile
    def step(self, x: Any) -> Any:
        return (x * self.factor).sum()


class Derived(Base):
    def step(self, x: Any) -> Any:
        self.calls.append(len(self.calls))
        return super().step(x) + 100


class BothCompiled(Base):
    @cr.compile
    def step(self, x: Any) -> Any:
        return super().step(x) + 100


@pytest.mark.parametrize("kind", [Derived, BothCompiled])
def test_a_method_that_overrides_a_compiled_one_goes_on_being_called(kind: type[Base]) -> None:
    one = kind(2.0)
    assert [one.step(cr.ones(3)).item() for _ in range(5)] == [106] * 5
    assert len(one.calls) == (5 if kind is Derived else 0)


def test_forward_of_a_derived_module() -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        @cr.compile
        def predict(self, x):
            return self.layer(x)

    class Squashed(Linear):
        def predict(self, x):
            return cr.sigmoid(super().predict(x))

    model, x = Squashed(), cr.ones(1, 2)
    expected = cr.sigmoid(model.layer(x)).detach().numpy()
    for _ in range(3):
        np.testing.assert_allclose(model.predict(x).detach().numpy(), expected, rtol=1e-6)


def test_each_object_has_its_own_method_and_keeps_it() -> None:
    a, b = Base(2.0), Base(3.0)
    assert [a.step(cr.ones(2)).item(), b.step(cr.ones(2)).item()] == [4, 6]
    assert a.step is a.step
    assert a.step is not b.step
    assert "step" not in vars(a)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_runs_its_own_method(copied: Any) -> None:
    one = Base(2.0)
    assert one.step(cr.ones(2)).item() == 4
    other = copied(one)
    other.factor = 5.0
    assert [other.step(cr.ones(2)).item(), one.step(cr.ones(2)).item()] == [10, 4]


def test_a_copy_trains_its_own_model() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.build()

        def build(self) -> None:
            self.model = nn.Linear(2, 1)
            self.optimizer = cr.optim.SGD(self.model.parameters(), lr=0.1)

        @cr.compile
        def step(self, x):
            self.optimizer.zero_grad()
            loss = self.model(x).sum()
            loss.backward()
            self.optimizer.step()
            return loss

    trainer = Trainer()
    trainer.step(cr.ones(2, 2))
    other = copy.copy(trainer)
    other.build()
    before = [m.weight.detach().clone() for m in (trainer.model, other.model)]
    other.step(cr.ones(2, 2))
    assert (trainer.model.weight == before[0]).all()
    assert not (other.model.weight == before[1]).all()


def scaled(self: Any, x: Any) -> Any:
    return (x * self.factor).sum()


def test_a_method_under_another_name_is_traced_once() -> None:
    class Other:
        factor = 2.0
        fast = cr.compile(scaled)
        by_lambda = cr.compile(lambda self, x: (x * self.factor).sum())

        @cr.compile
        def __private(self, x):
            return x.sum()

        def step(self, x):
            return self.__private(x)

        @cr.compile
        def __call__(self, x):
            return x.sum() * 3

    one, x = Other(), cr.ones(3)
    for _ in range(4):
        assert [one.fast(x).item(), one.by_lambda(x).item(), one.step(x).item(), one(x).item()] == [6, 6, 3, 9]
    methods = [one.fast, one.by_lambda, one._Other__private, one.__call__]  # type: ignore[attr-defined]
    assert [len(method.graphs) for method in methods] == [1] * 4


@dataclass(slots=True)
class Slotted:
    factor: float

    @cr.compile
    def step(self, x: Any) -> Any:
        return (x * self.factor).sum()


class Pair(NamedTuple):
    factor: float
    other: float

    @cr.compile
    def step(self, x: Any) -> Any:
        return (x * self.factor).sum()


class OfClass:
    factor = 2.0

    @classmethod
    @cr.compile
    def step(cls, x: Any) -> Any:
        return (x * cls.factor).sum()

    @staticmethod
    @cr.compile
    def double(x: Any) -> Any:
        return x.sum() * 2


@pytest.mark.parametrize("one", [Slotted(2.0), Pair(2.0, 1.0), OfClass(), OfClass], ids=lambda one: type(one).__name__)
def test_objects_without_a_dict_and_classes(one: Any) -> None:
    for _ in range(3):
        assert one.step(cr.ones(3)).item() == 6
    assert len(one.step.graphs) == 1


def test_a_static_method() -> None:
    assert [OfClass.double(cr.ones(3)).item(), OfClass().double(cr.ones(3)).item()] == [6, 6]


def test_another_method_in_the_class_is_used() -> None:
    class Changing:
        @cr.compile
        def f(self, x):
            return x.sum()

    one = Changing()
    assert one.f(cr.ones(2)).item() == 2
    Changing.f = lambda self, x: x.sum() * 50  # type: ignore[assignment,method-assign,misc]
    assert one.f(cr.ones(2)).item() == 100


def test_hundreds_of_objects_without_a_dict_keep_their_methods() -> None:
    objects = [Slotted(float(k)) for k in range(200)]
    kept = [one.step for one in objects]
    for _ in range(2):
        assert [one.step(cr.ones(2)).item() for one in objects] == [2.0 * k for k in range(200)]
    assert all(one.step is method for one, method in zip(objects, kept, strict=True))


class WithDict(Slotted):
    __slots__ = ("__dict__",)


def test_of_more_objects_without_a_dict_the_last_keep_theirs_which_one_warning_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(methods, "MOST_KEPT", 4)
    monkeypatch.setitem(Slotted.step.__dict__, "_apart", methods.MethodsApart())
    objects = [Slotted(float(k)) for k in range(6)]
    for one in objects[:4]:
        one.step(cr.ones(2))
    text = "the compiled method step was called on more than 4 objects of Slotted, which have no __dict__: .* '__dict__' among the __slots__"
    with pytest.warns(UserWarning, match=text) as found:
        assert [one.step(cr.ones(2)).item() for one in objects] == [2.0 * k for k in range(6)]
    assert len(found) == 1
    assert [one.step(cr.ones(2)).item() for one in objects] == [2.0 * k for k in range(6)]
    others = [WithDict(float(k)) for k in range(6)]
    kept = [one.step for one in others]
    assert all(one.step is method for one, method in zip(others, kept, strict=True))


def test_many_classes_are_told_without_advice_on_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "MOST_KEPT", 2)
    monkeypatch.setitem(vars(OfClass)["step"].__func__.__dict__, "_apart", methods.MethodsApart())
    kinds = [type(f"Of{k}", (OfClass,), {"factor": float(k)}) for k in range(3)]
    with pytest.warns(UserWarning, match="the compiled method step was called on more than 2 classes: ") as found:
        assert [kind.step(cr.ones(2)).item() for kind in kinds] == [0, 2, 4]
    assert "slots" not in str(found[0].message)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.scale = 1.0

    def forward(self, x: Any) -> Any:
        return self.layer(x) * self.scale


def test_what_is_set_on_a_compiled_module_is_set_on_the_module() -> None:
    model = Scaled()
    compiled, x = cr.compile(model), cr.ones(1, 2)
    before = compiled(x).detach().numpy()
    compiled.scale = 2.0
    assert model.scale == 2.0
    np.testing.assert_allclose(compiled(x).detach().numpy(), 2 * before, rtol=1e-6)
    compiled.layer = nn.Linear(2, 2)
    np.testing.assert_allclose(compiled(x).detach().numpy(), model(x).detach().numpy(), rtol=1e-6)
    compiled.training = False
    assert not model.training
    compiled.other = 1
    del compiled.other
    assert not hasattr(model, "other")


def test_an_optimizer_takes_the_parameters_of_a_compiled_module() -> None:
    model = cr.compile(Scaled())
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    assert [name for name, _ in model.named_parameters()] == ["layer.weight", "layer.bias"]
    assert len(optimizer.param_groups[0]["params"]) == 2


@pytest.mark.parametrize("kind", [list, dict])
def test_a_module_gathers_features_in_a_new_nest(kind: type) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)
            self.features: Any = kind()

        def forward(self, x):
            self.features = kind()
            h = self.a(x).tanh()
            y = self.b(h)
            for k, part in enumerate((h, y)):
                if kind is list:
                    self.features.append(part)
                else:
                    self.features[k] = part
            return y

    def losses(*, compiled: bool) -> list[float]:
        cr.manual_seed(0)
        model = Model()
        optimizer = cr.optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            y = model(x)
            parts = model.features if kind is list else model.features.values()
            loss = (y**2).mean() + sum((part**2).mean() for part in parts)
            loss.backward()
            optimizer.step()
            return loss

        run = cr.compile(step) if compiled else step
        found = [run(cr.ones(5, 3) * k).item() for k in range(1, 5)]
        parts = model.features if kind is list else model.features.values()
        return [*found, *[part.detach().sum().item() for part in parts]]

    np.testing.assert_allclose(losses(compiled=True), losses(compiled=False), rtol=1e-5)


def test_a_compiled_module_has_the_parts_of_the_module() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    compiled = cr.compile(model)
    assert compiled[0] is model[0]
    assert len(compiled) == 2
    assert list(compiled) == list(model)
    assert model[1] in compiled
    assert bool(cr.compile(nn.Sequential()))
    assert len(copy.deepcopy(compiled)) == 2
    with pytest.raises(TypeError):
        len(cr.compile(nn.ReLU()))


def test_a_compiled_module_is_no_part_of_another_whose_parameters_would_lack_its_own() -> None:
    compiled = cr.compile(nn.Linear(2, 3))
    with pytest.raises(ArgumentTypeError, match="got a compiled module.*compile the function that calls this module"):
        nn.Sequential(compiled, nn.ReLU())
    model = nn.Sequential(nn.ReLU())
    with pytest.raises(ArgumentTypeError, match="module 'head': got a compiled module"):
        model.head = compiled
    assert not hasattr(model, "head")


def test_a_module_may_hold_itself_or_one_of_its_parts_compiled() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    model.fast, model.first = cr.compile(model), cr.compile(model[0])
    x = cr.ones(4, 2)
    assert model.fast(x).tolist() == model(x).tolist()
    assert model.first(x).tolist() == model[0](x).tolist()
    assert len(list(model.parameters())) == 2
