"""What code only sets: global variables, attributes of functions, classes and Python modules. It has to be what the code left."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import TraceError


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


VALUE: Any = "start"
OTHER: Any = None


class Kind:
    """A class whose attributes code sets."""


class Base:
    """A class with an attribute."""

    last = "of the base"


class Derived(Base):
    """One that inherits it."""


settings: Any = ModuleType("settings_of_the_user")


def helper(x: Any) -> Any:
    helper.last = "ran"  # type: ignore[attr-defined]
    return x


def sets_a_global(x: Any) -> Any:
    global VALUE
    VALUE = "ran"
    return x


class SetsAGlobal(nn.Module):
    """Sets a global in its forward."""

    def forward(self, x: Any) -> Any:
        return sets_a_global(x)


def sets_an_attribute_of_a_class(x: Any) -> Any:
    Kind.last = "ran"  # type: ignore[attr-defined]
    return x


def sets_one_by_setattr(x: Any) -> Any:
    setattr(Kind, "last", "ran")  # noqa: B010 - on purpose
    return x


def sets_an_inherited_one(x: Any) -> Any:
    Derived.last = "ran"
    return x


def sets_one_of_a_python_module(x: Any) -> Any:
    settings.last = "ran"
    return x


WAYS: dict[str, tuple[Callable[[Any], Any], Callable[[], dict[str, Any]], Any, str]] = {
    "global": (sets_a_global, globals, None, "VALUE"),
    "global in a layer": (nn.Sequential(SetsAGlobal()), globals, None, "VALUE"),
    "function": (helper, lambda: vars(helper), helper, "last"),
    "class": (sets_an_attribute_of_a_class, lambda: dict(vars(Kind)), Kind, "last"),
    "class by setattr": (sets_one_by_setattr, lambda: dict(vars(Kind)), Kind, "last"),
    "inherited": (sets_an_inherited_one, lambda: dict(vars(Derived)), Derived, "last"),
    "python module": (sets_one_of_a_python_module, lambda: vars(settings), settings, "last"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_code_sets_is_set_again_after_it_was_reset(way: str) -> None:
    function, held, owner, name = WAYS[way]
    step = cr.compile(lambda x: function(x) * 2)
    for _ in range(3):
        assert step(cr.ones(3)).tolist() == [2] * 3
        assert held()[name] == "ran"
    assert len(step.graphs) == 1, step.report()
    for k in range(2):
        if owner is None:
            globals()[name] = f"reset {k}"
        else:
            setattr(owner, name, f"reset {k}")
        step(cr.ones(3))
        assert held()[name] == "ran"
    if owner is None:
        del globals()[name]
    else:
        delattr(owner, name)
    step(cr.ones(3))
    assert held()[name] == "ran"
    assert len(step.graphs) == 4


def test_a_variable_that_was_not_there_is_gone_after_a_trace_ahead_or_one_that_fails() -> None:
    globals().pop("NEW", None)
    if "last" in vars(Derived):
        del Derived.last

    def step(x: Any) -> Any:
        global NEW
        NEW = [1, 2]
        Derived.last = "ran"
        return (x * 2, float(x.sum()) if fails else 0)[0]

    fails = True
    with pytest.raises(TraceError):
        cr.compile(step)(cr.ones(3))
    assert "NEW" not in globals()
    assert "last" not in vars(Derived)
    fails = False
    compiled = cr.compile(step)
    compiled.served(cr.ones(3))
    assert "NEW" not in globals()
    assert "last" not in vars(Derived)
    compiled(cr.ones(3))
    left = globals()["NEW"]
    for _ in range(9):
        compiled(cr.ones(3))
    assert globals()["NEW"] is left  # and no trace for each new list
    assert len(compiled.graphs) <= 2
    del globals()["NEW"], Derived.last


def test_a_variable_that_one_function_sets_and_another_reads_is_compared_as_it_was() -> None:
    def run(wrap: Any) -> list[Any]:
        global VALUE
        VALUE = 0

        def sets() -> None:
            global VALUE
            VALUE = 7

        @wrap
        def step(x: Any) -> Any:
            y = x * VALUE
            sets()
            return y

        found = []
        for k in range(5):
            if k == 3:
                VALUE = 2
            found += [step(cr.ones(3)).tolist(), VALUE]
        return found

    assert run(cr.compile) == run(lambda f: f)


def test_a_variable_that_code_deletes_is_missed_by_the_next_call() -> None:
    global OTHER
    OTHER = 1

    @cr.compile
    def step(x: Any) -> Any:
        global OTHER
        del OTHER
        return x * 2

    for _ in range(2):
        OTHER = 1
        step(cr.ones(3))
        assert "OTHER" not in globals()
        with pytest.raises(NameError):
            step(cr.ones(3))
    OTHER = None


def test_a_tensor_put_there_is_refused_by_name() -> None:
    def keeps(x: Any) -> Any:
        keeps.last = x * 2  # type: ignore[attr-defined]
        return x

    def in_a_global(x: Any) -> Any:
        global OTHER
        OTHER = {"last": [x.detach()]}
        return x

    def in_a_class(x: Any) -> Any:
        Kind.tensor = x * 2  # type: ignore[attr-defined]
        return x

    for function, name in ((keeps, "keeps.last"), (in_a_global, "OTHER"), (in_a_class, "Kind.tensor")):
        with pytest.raises(TraceError, match=f"put a tensor into '{name}', a variable from outside"):
            cr.compile(lambda x, function=function: function(x) * 2)(cr.ones(3))
    assert OTHER is None
    assert not hasattr(keeps, "last")
    assert not hasattr(Kind, "tensor")


def test_a_function_that_the_code_makes_may_have_any_attributes() -> None:
    @cr.compile
    def step(x: Any) -> Any:
        def inner(y: Any) -> Any:
            inner.last = y * 2  # type: ignore[attr-defined]
            inner.count = 1  # type: ignore[attr-defined]
            return inner.last * inner.count  # type: ignore[attr-defined]

        return inner(x)

    for _ in range(3):
        assert step(cr.ones(3)).tolist() == [2] * 3
    assert len(step.graphs) == 1
