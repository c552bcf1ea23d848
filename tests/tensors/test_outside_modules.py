"""Modules that code names: their attributes and parts matter to a compiled function also where their forward does not run."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

ONE = np.ones(1, np.float32)


class Scaled(nn.Module):
    """A module with settings, and methods that are called instead of its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.k = 2.0
        self.doubles = False
        self.parts = nn.ModuleList([nn.Identity(), nn.Identity()])
        self.drop = nn.Dropout(0.5)
        self.steps = 0

    def helper(self, x: Any) -> Any:
        return x * self.k

    def branch(self, x: Any) -> Any:
        return x * 4 if self.doubles else x * 2

    @property
    def factor(self) -> float:
        return self.k


def changed_k(model: Any) -> None:
    model.k = 4.0


def changed_flag(model: Any) -> None:
    model.doubles = True


def longer(model: Any) -> None:
    model.parts.append(nn.Identity())
    model.parts.append(nn.Identity())


def changed_p(model: Any) -> None:
    model.drop.p = 1.0


READ: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any], None]]] = {
    "an attribute": (lambda x, m: x * m.k, changed_k),
    "by its name as text": (lambda x, m: x * getattr(m, "k"), changed_k),  # noqa: B009 - what is tested
    "by a name made of parts": (lambda x, m: x * getattr(m, "".join(list("k"))), changed_k),
    "by vars": (lambda x, m: x * vars(m)["k"], changed_k),
    "a method": (lambda x, m: m.helper(x), changed_k),
    "a property": (lambda x, m: x * m.factor, changed_k),
    "a branch": (lambda x, m: m.branch(x), changed_flag),
    "the length of a list of layers": (lambda x, m: x * len(m.parts), longer),
    "a loop over layers": (lambda x, m: x * sum(1 for _ in m.parts), longer),
    "all modules": (lambda x, m: x * (sum(1 for _ in m.modules()) - 3), longer),
    "a setting of a layer": (lambda x, m: x * m.drop.p * 4, changed_p),
}


@pytest.mark.parametrize(("read", "change"), READ.values(), ids=READ)
@pytest.mark.parametrize("way", ["variable", "argument", "dict", "list", "object", "argument in a dict", "default"])
def test_what_code_reads_of_a_module_that_does_not_run_is_noticed(read: Any, change: Any, way: str) -> None:
    model = Scaled()
    in_dict, in_list, in_object = {"model": model}, [model], SimpleNamespace(model=model)
    step: Any
    if way == "variable":
        step = cr.compile(lambda x: read(x, model))
    elif way == "dict":
        step = cr.compile(lambda x: read(x, in_dict["model"]))
    elif way == "list":
        step = cr.compile(lambda x: read(x, in_list[0]))
    elif way == "object":
        step = cr.compile(lambda x: read(x, in_object.model))
    elif way == "default":
        step = cr.compile(lambda x, *, m=model: read(x, m))
    elif way == "argument":
        compiled = cr.compile(lambda x, m: read(x, m))
        step = lambda x: compiled(x, model)  # noqa: E731
    else:
        compiled = cr.compile(lambda x, given: read(x, given["model"]))
        step = lambda x: compiled(x, in_dict)  # noqa: E731
    assert step(ONE).item() == step(ONE).item() == 2
    change(model)
    assert step(ONE).item() == step(ONE).item() == 4


def test_the_report_says_which_attribute_of_a_module_changed() -> None:
    model = Scaled()
    step = cr.compile(lambda x: x * model.k)
    step(ONE)
    model.k = 4.0
    step(ONE)
    assert "model.k was 2.0 and is 4.0" in step.report()


def test_attributes_that_code_does_not_name_cause_no_trace() -> None:
    model = Scaled()
    step = cr.compile(model.helper)
    for _ in range(4):
        step(ONE)
        model.steps += 1
    assert len(step.graphs) == 1


def test_a_compiled_method_of_a_module_reads_its_attributes() -> None:
    class Trainer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()
            self.k = 2.0

        @cr.compile
        def step(self, x: Any) -> Any:
            return self.layer(x) * self.k

    trainer = Trainer()
    assert trainer.step(ONE).item() == trainer.step(ONE).item() == 2
    trainer.k = 4.0
    assert trainer.step(ONE).item() == trainer.step(ONE).item() == 4
    bound = cr.compile(trainer.step.function)
    assert bound(ONE).item() == 4
    trainer.k = 5.0
    assert bound(ONE).item() == 5


def test_a_compiled_method_inside_another_compiled_function_reads_its_module() -> None:
    model = Scaled()
    inner = cr.compile(model.helper)
    step = cr.compile(lambda x: inner(x))
    assert step(ONE).item() == 2
    model.k = 4.0
    assert step(ONE).item() == 4


def test_parts_that_are_called_by_their_forward_are_noticed() -> None:
    model = Scaled()
    model.drop.p = 0.0
    step = cr.compile(lambda x: model.drop.forward(x))
    assert step(ONE).item() == 1
    model.drop.p = 1.0
    assert step(ONE).item() == 0


def test_parameters_that_come_and_go_are_noticed() -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    held = nn.ParameterList([cr.ones(1)])
    count = cr.compile(lambda x: x * len(list(model.parameters())))
    total = cr.compile(lambda x: x * sum(p.sum() for p in model.parameters()) * 0 + x * len(model.state_dict()))
    listed = cr.compile(lambda x: x * sum(p.sum() for p in held))
    assert (count(ONE).item(), total(ONE).item(), listed(ONE).item()) == (2, 2, 1)
    model.append(nn.Linear(1, 1))
    held.append(cr.ones(1))
    assert (count(ONE).item(), total(ONE).item(), listed(ONE).item()) == (4, 4, 2)


def test_a_state_that_a_method_assigns_is_kept_as_before() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.state = cr.zeros(1)

        def count(self, x: Any) -> Any:
            self.state = self.state + x
            return self.state * 1

    model = Counting()
    step = cr.compile(model.count)
    assert [step(ONE).item() for _ in range(4)] == [1, 2, 3, 4]
    model.state = cr.zeros(1)
    assert [step(ONE).item() for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("is_method", [False, True])
def test_a_hook_and_a_loss_may_read_another_module(is_method: bool) -> None:
    other = Scaled()

    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.k = 2.0

        def loss(self, output: Any, target: Any) -> Any:
            return ((output - target) ** 2).mean() * self.k

    weighted = Weighted()
    loss = weighted.loss if is_method else (lambda output, target: ((output - target) ** 2).mean() * weighted.k)
    model = nn.Linear(1, 1)
    model.register_forward_hook(lambda module, args, output: output * other.k)
    step = cr.compile(lambda x: loss(model(x), x * 0))
    with cr.no_grad():
        first = step(ONE[None]).item()
        other.k = 4.0
        assert step(ONE[None]).item() == pytest.approx(4 * first)
        weighted.k = 4.0
        assert step(ONE[None]).item() == pytest.approx(8 * first)


@pytest.mark.parametrize("is_method", [False, True])
def test_fit_notices_what_a_loss_reads_of_a_module(is_method: bool) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(32, 3)).astype(np.float32), rng.normal(size=(32, 2)).astype(np.float32)

    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.k = 1.0

        def loss(self, output: Any, target: Any) -> Any:
            return ((output - target) ** 2).mean() * self.k

    class Weighing(cr.Callback):
        def on_epoch_end(self, *_: Any) -> None:
            weighted.k *= 3

    found = []
    for compiled in (True, False):
        cr.manual_seed(0)
        weighted, model = Weighted(), nn.Linear(3, 2)
        loss = weighted.loss if is_method else (lambda output, target: ((output - target) ** 2).mean() * weighted.k)  # noqa: B023 - the one of this round
        settings = {"epochs": 3, "batch_size": 16, "callbacks": [Weighing()], "progress": False, "seed": 0}
        cr.fit(model, (X, y), loss=loss, optimizer="sgd", lr=0.01, compile=compiled, **settings)
        found.append(model.weight.detach().numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


@pytest.mark.parametrize("count", [40, 200])
def test_attributes_of_many_modules_in_a_container_are_noticed(count: int) -> None:
    row = [Scaled() for _ in range(count)]
    by_number = dict(enumerate(row))
    step = cr.compile(lambda x: x * sum(m.k for m in row) + x * sum(m.k for m in by_number.values()))
    assert step(ONE).item() == 4 * count
    row[7].k = 4.0
    assert step(ONE).item() == step(ONE).item() == 4 * count + 4


def test_attributes_of_a_module_that_another_one_refers_to_are_noticed() -> None:
    class Child(nn.Module):
        def __init__(self, parent: Any) -> None:
            super().__init__()
            self.__dict__["parent"] = parent  # no part of this one

        def forward(self, x: Any) -> Any:
            return x * self.parent.k

    parent = Scaled()
    child = Child(parent)
    step = cr.compile(lambda x: child(x))
    assert step(ONE).item() == 2
    parent.k = 4.0
    assert step(ONE).item() == 4


@pytest.mark.parametrize("how", ["clear", "pop", "item", "update", "popitem"])
def test_what_is_written_into_the_dicts_of_a_module_is_noticed(how: str) -> None:
    model = nn.Sequential(nn.Identity(), nn.Identity())
    handle = model[0].register_forward_hook(lambda layer, _, y: y * 2)
    step = cr.compile(lambda x: model(x))
    assert step(ONE).item() == step(ONE).item() == 2
    if how == "clear":
        model[0]._forward_hooks.clear()
    elif how == "pop":
        model[0]._forward_hooks.pop(handle.id)
    elif how == "popitem":
        model._modules.popitem(last=False)
    elif how == "item":
        model._modules["0"] = nn.Identity()
    else:
        model[0]._forward_hooks.update({handle.id: lambda layer, _, y: y})
    assert step(ONE).item() == model(ONE).item() == 1


def test_a_method_of_a_base_that_is_asked_by_super_may_be_replaced() -> None:
    class Base(nn.Module):
        def forward(self, x: Any) -> Any:
            return x

        def loss(self, x: Any) -> Any:
            return x

    class Derived(Base):
        def forward(self, x: Any) -> Any:
            return super().forward(x) + 1

        def loss(self, x: Any) -> Any:
            return super().loss(x) + 1

    model = nn.Sequential(Derived())
    forward, loss = cr.compile(model), cr.compile(lambda x: model[0].loss(x))
    assert forward(ONE).item() == loss(ONE).item() == 2
    Base.forward = lambda self, x: x * 5  # type: ignore[method-assign]
    Base.loss = lambda self, x: x * 5  # type: ignore[method-assign]
    assert forward(ONE).item() == loss(ONE).item() == 6
