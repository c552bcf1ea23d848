"""The environment's switches for native code, and a rule ``lower`` that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, RuleMissing
from chainrule.graph import Primitive, Spec, primitive
from chainrule.run import engine, threads
from chainrule.tensors.apply import apply
from tests.own_primitives import own_primitives


@pytest.mark.parametrize("value", ["0", "off", "OFF", "false", "no", " 0 "])
def test_what_switches_native_code_off(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(engine.SWITCH, value)
    assert engine.is_off()
    assert engine.engine_name() == "interpreter"


@pytest.mark.parametrize("value", ["1", "", "on"])
def test_what_leaves_native_code_on(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(engine.SWITCH, value)
    assert not engine.is_off()


def test_threads_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_chosen", None)
    monkeypatch.setenv(threads.LIMIT, "3")
    assert threads.get_num_threads() == 3
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv(threads.LIMIT, wrong)
        with pytest.raises(ArgumentError, match=f"CHAINRULE_THREADS is '{wrong}'.*1 or more"):
            threads.get_num_threads()


def test_a_number_of_threads_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_chosen", None)
    monkeypatch.delenv(threads.LIMIT, raising=False)
    usual = threads.get_num_threads()
    threads.set_num_threads(usual + 1)
    assert threads.is_chosen()
    assert threads.get_num_threads() == usual + 1
    threads.set_num_threads(None)
    assert not threads.is_chosen()
    assert threads.get_num_threads() == usual


def test_a_rule_for_native_code_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(engine.SWITCH, "1")
    with own_primitives():

        class Cube(Primitive):
            """y = x³, without ``elementwise``"""

            name = "cube_without_elementwise"
            reads = ("x",)

            def shape(self, x: Any) -> Spec:
                return Spec(x.shape, x.dtype)

            def evaluate(self, x: Any) -> Any:
                return x * x * x

            def vjp(self, g: Any, y: Any, x: Any, *, need: Any) -> Any:
                return g * 3 * x * x

            def lower(self, e: Any, x: Any) -> Any:
                return x * x * x

        compiled = cr.compile(lambda x: apply(primitive(Cube.name), (x,)))
        with pytest.raises(
            RuleMissing, match="'cube_without_elementwise': its rule lower cannot be used.*elementwise = True"
        ):
            compiled(cr.tensor([1.0, 2.0]))
