"""Names that are not there when a function is traced, and appear later: globals, and attributes of functions, classes, modules."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

X = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run every test on both engines; what it made of this module's globals goes again."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))
    yield
    for name in ("SCALE", "max", "unrelated"):
        globals().pop(name, None)


def scaled(a: Any) -> Any:
    try:
        return a * SCALE  # type: ignore[name-defined]
    except NameError:
        return a


def by_builtin(a: Any) -> Any:
    return a * float(max(1, 2))


def of(function: Any, a: Any) -> float:
    return float(function(a).sum().item())


@pytest.mark.parametrize("is_helper", [False, True])
def test_a_global_that_appears(is_helper: bool) -> None:
    compiled = cr.compile((lambda a: scaled(a)) if is_helper else scaled)
    found = [of(compiled, cr.ones(1))]
    for value in (3.0, 4.0, None):
        if value is None:
            del globals()["SCALE"]
        else:
            globals()["SCALE"] = value
        found.append(of(compiled, cr.ones(1)))
    assert found == [1, 3, 4, 1]
    assert len(compiled.graphs) == 3  # the first serves again
    assert "'SCALE' is a global now, and was none" in compiled.report()


def test_a_builtin_that_a_global_hides() -> None:
    compiled = cr.compile(by_builtin)
    found = [of(compiled, cr.ones(1))]
    globals()["max"] = lambda *_: 7
    found.append(of(compiled, cr.ones(1)))
    del globals()["max"]
    found.append(of(compiled, cr.ones(1)))
    assert found == [2, 7, 2]


def test_other_globals_cost_no_trace() -> None:
    compiled = cr.compile(lambda a: by_builtin(scaled(a)))
    compiled(cr.ones(1))
    globals()["unrelated"] = 3
    compiled(cr.ones(1))
    assert len(compiled.graphs) == 1


def test_an_attribute_of_a_function_that_appears() -> None:
    def g(a: Any) -> Any:
        return a * getattr(g, "s", 1.0)

    compiled = cr.compile(lambda a: g(a))
    found = [of(compiled, cr.ones(1))]
    g.s = 2.0  # type: ignore[attr-defined]
    found.append(of(compiled, cr.ones(1)))
    del g.s  # type: ignore[attr-defined]
    found.append(of(compiled, cr.ones(1)))
    assert found == [1, 2, 1]
    assert "'g.s' is there now, and was not" in compiled.report()


@pytest.mark.parametrize("how", ["getattr", "hasattr", "catch"])
def test_an_attribute_of_a_python_module_that_appears(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: Any = ModuleType("settings_of_a_user")
    monkeypatch.setitem(sys.modules, "settings_of_a_user", settings)

    def by_getattr(a: Any) -> Any:
        return a * getattr(settings, "gain", 1.0)

    def by_hasattr(a: Any) -> Any:
        return a * (settings.gain if hasattr(settings, "gain") else 1.0)

    def by_catching(a: Any) -> Any:
        try:
            return a * settings.gain
        except AttributeError:
            return a

    compiled = cr.compile({"getattr": by_getattr, "hasattr": by_hasattr, "catch": by_catching}[how])
    found = [of(compiled, cr.ones(1))]
    settings.gain = 2.0
    found.append(of(compiled, cr.ones(1)))
    del settings.gain
    found.append(of(compiled, cr.ones(1)))
    assert found == [1, 2, 1]


def test_an_attribute_of_an_objects_class_that_appears() -> None:
    class Base:
        pass

    class Config(Base):
        pass

    config: Any = Config()
    compiled = cr.compile(lambda a: a * getattr(config, "s", 1.0))
    found = [of(compiled, cr.ones(1))]
    Base.s = 2.0  # type: ignore[attr-defined]
    found.append(of(compiled, cr.ones(1)))
    Config.s = 3.0  # type: ignore[attr-defined]
    found.append(of(compiled, cr.ones(1)))
    config.s = 4.0
    found.append(of(compiled, cr.ones(1)))
    assert found == [1, 2, 3, 4]


def test_a_method_of_a_layer_that_appears() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l = nn.Linear(2, 2)

        def forward(self, a: Any) -> Any:
            z = self.l(a)
            return self.post(z) if hasattr(self, "post") else z

    model = Layer()
    compiled = cr.compile(lambda a: model(a))
    x = cr.ones(1, 2)
    compiled(x)
    Layer.post = lambda self, z: z * 0 + 10  # type: ignore[attr-defined]
    assert compiled(x).tolist() == [[10, 10]]


def test_a_global_that_a_callback_of_fit_sets() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l = nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            return scaled(self.l(x))

    def after_epoch(trainer: Any, epoch: int, row: Any) -> None:
        globals()["SCALE"] = float(epoch + 1)

    found = []
    for is_compiled in (True, False):
        globals().pop("SCALE", None)
        cr.manual_seed(0)
        model = Layer()
        cr.fit(
            model, (X, np.arange(8) % 3), epochs=4, batch_size=4, seed=0, keep_best=False, progress=False,
            compile=is_compiled, callbacks=[after_epoch],
        )  # fmt: skip
        found.append(model.l.weight.detach().numpy().copy())
    np.testing.assert_allclose(*found, rtol=2e-4, atol=2e-5)


def test_a_counter_that_code_puts_into_a_class() -> None:
    class Counted(nn.Module):
        def forward(self, a: Any) -> Any:
            kind: Any = type(self)
            kind.n = getattr(kind, "n", 0) + 1
            return a * kind.n

    model = Counted()
    compiled = cr.compile(lambda a: model(a))
    assert [of(compiled, cr.ones(1)) for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("is_nested", [False, True])
def test_a_tensor_that_code_puts_into_a_class_once(is_nested: bool) -> None:
    class Cached(nn.Module):
        def forward(self, a: Any) -> Any:
            kind: Any = type(self)
            if not hasattr(kind, "mask"):
                mask = a.detach() * 0 + 2
                kind.mask = {"a": [mask]} if is_nested else mask
            return a * (kind.mask["a"][0] if is_nested else kind.mask)

    model = Cached()
    compiled = cr.compile(lambda a: model(a))
    assert [of(compiled, cr.ones(1)) for _ in range(3)] == [2, 2, 2]
    assert len(compiled.graphs) == 1
