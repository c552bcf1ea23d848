"""Functions, classes and numbers in attributes of classes and of Python modules: another one there is another trace."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

F = nn.functional


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


def assert_follows(f: Callable[[Any], Any], change: Callable[[], None]) -> None:
    """Check that compiled code does as the code does, before a change and after it."""
    x = cr.tensor([-1.0, 2.0])
    compiled = cr.compile(f)
    before = f(x).item()
    assert [compiled(x).item() for _ in range(2)] == [before] * 2
    change()
    after = f(x).item()
    assert after != before
    assert [compiled(x).item() for _ in range(2)] == pytest.approx([after] * 2, rel=1e-6)


PARTS: dict[str, tuple[Any, Any, Callable[[Any, Any], Any]]] = {
    "function of the library": (cr.relu, cr.tanh, lambda part, x: part(x)),
    "static function of the library": (staticmethod(cr.relu), staticmethod(cr.tanh), lambda part, x: part(x)),
    "loss": (F.mse_loss, F.l1_loss, lambda part, x: part(x * 3, x)),
    "partial": (
        functools.partial(cr.clamp, min=0),
        functools.partial(cr.clamp, min=-0.5),
        lambda part, x: part(x),
    ),
    "class of layers": (nn.ReLU, nn.Tanh, lambda part, x: part()(x)),
    "layer": (nn.ReLU(), nn.Tanh(), lambda part, x: part(x)),
    "number of NumPy's": (np.float32(3), np.float32(4), lambda part, x: x * float(part)),
    "array": (np.ones(2, "f"), np.full(2, 3, "f"), lambda part, x: x * cr.tensor(part)),
    "tensor": (cr.ones(2), cr.full((2,), 3.0), lambda part, x: x * part),
}


@pytest.mark.parametrize("name", PARTS)
def test_attributes_of_classes(name: str) -> None:
    first, second, use = PARTS[name]

    class Holder:
        part = first

    class Derived(Holder):
        pass

    assert_follows(lambda x: use(Holder.part, x).sum(), lambda: setattr(Holder, "part", second))
    Holder.part = first
    assert_follows(lambda x: use(Derived.part, x).sum(), lambda: setattr(Derived, "part", second))


def test_attributes_of_the_class_of_a_model() -> None:
    class Model(nn.Module):
        activation = staticmethod(cr.relu)

        def forward(self, x):
            return self.activation(x).sum()

    assert_follows(Model(), lambda: setattr(Model, "activation", staticmethod(cr.tanh)))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    text = "def double(x):\n    return x * 2\n\n\ndef step(x):\n    return double(x).sum()\n"
    (tmp_path / "module_of_a_user.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("module_of_a_user")
    del sys.modules["module_of_a_user"]


class Triple:
    def __call__(self, x: Any) -> Any:
        return x * 3


@pytest.mark.parametrize("other", [lambda x: x * 3, cr.tanh, Triple()], ids=["function", "library's", "object"])
def test_functions_of_a_python_module(module: Any, other: Any) -> None:
    double = module.double
    assert_follows(lambda x: module.double(x).sum(), lambda: setattr(module, "double", other))
    module.double = double
    assert_follows(module.step, lambda: setattr(module, "double", other))


def test_a_function_of_a_python_module_that_is_called_by_a_local_name(module: Any) -> None:
    def f(x):
        called = module.double
        return called(x).sum()

    assert_follows(f, lambda: setattr(module, "double", cr.tanh))


@pytest.mark.parametrize("name", PARTS)
def test_attributes_of_functions(name: str) -> None:
    first, second, use = PARTS[name]
    first, second = (getattr(part, "__func__", part) for part in (first, second))

    def f(x):
        return use(f.part, x).sum()

    f.part = first  # type: ignore[attr-defined]  # functions take attributes
    assert_follows(f, lambda: setattr(f, "part", second))


def test_attributes_of_classes_in_classes() -> None:
    class Config:
        class Loss:
            beta = 1.0

            class Deep:
                part = staticmethod(cr.relu)

    class Holder:
        loss = Config.Loss

    class Model(nn.Module):
        config = Config

        def forward(self, x):
            return (self.config.Loss.beta * x).sum()

    assert_follows(lambda x: (Config.Loss.beta * x).sum(), lambda: setattr(Config.Loss, "beta", 2.0))
    assert_follows(lambda x: (Holder.loss.beta * x).sum(), lambda: setattr(Config.Loss, "beta", 3.0))
    assert_follows(Model(), lambda: setattr(Config.Loss, "beta", 4.0))
    assert_follows(
        lambda x: Config.Loss.Deep.part(x).sum(), lambda: setattr(Config.Loss.Deep, "part", staticmethod(cr.tanh))
    )


def test_a_class_in_a_class_of_a_python_module(module: Any) -> None:
    class Outer:
        class Inner:
            beta = np.float64(1)

    Outer.__module__ = Outer.Inner.__module__ = module.__name__
    module.Outer = Outer
    assert_follows(lambda x: (module.Outer.Inner.beta * x).sum(), lambda: setattr(Outer.Inner, "beta", np.float64(2)))


def test_a_python_module_that_is_loaded_again(module: Any) -> None:
    def change() -> None:
        path = Path(module.__file__)
        path.write_text(path.read_text().replace("x * 2", "x * 30"))
        importlib.reload(module)

    assert_follows(lambda x: module.step(x), change)
