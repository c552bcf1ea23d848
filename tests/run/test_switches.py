"""The environment's switches for native code, and a rule ``lower`` that cannot be used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.compiler import cache, target
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


@pytest.mark.parametrize("value", ["1", "", "on", "True", " yes "])
def test_what_leaves_native_code_on(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(engine.SWITCH, value)
    assert not engine.is_off()


@pytest.mark.parametrize(
    ("value", "fix"),
    [("maybe", "Unset CHAINRULE_COMPILE"), ("of", "Did you mean off"), ("2", "Unset CHAINRULE_COMPILE")],
)
def test_another_word_for_the_switch_is_refused_where_it_is_read_first(
    monkeypatch: pytest.MonkeyPatch, value: str, fix: str
) -> None:
    monkeypatch.setenv(engine.SWITCH, value)
    says = f"CHAINRULE_COMPILE is '{value}'; expected 1, on, true, yes or 0, off, false, no.*{fix}"
    compiled = cr.compile(lambda x: x * 2)
    with pytest.raises(ArgumentError, match=says):
        compiled(cr.ones(2))
    with pytest.raises(ArgumentError, match=says):
        engine.engine_name()
    monkeypatch.setenv(engine.SWITCH, "0")
    assert compiled(cr.ones(2)).tolist() == [2, 2]
    assert "1 trace\n" in compiled.report()


def test_the_switch_is_read_where_something_is_traced_and_not_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(engine.SWITCH, "0")
    compiled = cr.compile(lambda x: x * 2)
    compiled(cr.ones(2))
    monkeypatch.setenv(engine.SWITCH, "maybe")
    assert compiled(cr.ones(3)).tolist() == [2, 2, 2]
    with pytest.raises(ArgumentError, match="CHAINRULE_COMPILE is 'maybe'"):
        compiled(cr.ones(2, 2))  # another trace


BAD = {
    engine.SWITCH: "maybe",
    threads.LIMIT: "many",
    target.VARIABLE: "axv2",
    cache.VARIABLE: "on",
}


@pytest.mark.parametrize("name", BAD)
def test_a_variable_that_means_nothing_is_told_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(threads, "_chosen", None)
    monkeypatch.setenv(name, BAD[name])
    says = f"{name} is '{BAD[name]}'.*expected"
    with pytest.raises(ArgumentError, match=says):
        cr.compile(lambda x: x * 2)(cr.ones(2))
    model = cr.nn.Linear(2, 1)
    before = model.weight.tolist()
    for compiled in (True, False):
        with pytest.raises(ArgumentError, match=says):
            cr.fit(model, (np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)), epochs=1, compile=compiled)
    assert model.weight.tolist() == before


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


def test_more_threads_than_make_sense_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_chosen", None)
    with pytest.raises(
        ArgumentError, match=r"set_num_threads: got 100000; expected 1024 at most.*as many as there are"
    ):
        threads.set_num_threads(100000)
    monkeypatch.setenv(threads.LIMIT, "100000")
    with pytest.raises(ArgumentError, match=r"CHAINRULE_THREADS is '100000'; expected 1024 threads at most.*unset it"):
        threads.get_num_threads()


def test_threads_that_the_system_does_not_start_are_told_and_one_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused:
        def __init__(self, core: int | None) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "Worker", Refused)
    pool = threads.Pool()
    with pytest.warns(
        UserWarning, match=r"did not start 3 threads.*only 1.*set_num_threads\(1\) or CHAINRULE_THREADS=1"
    ):
        assert not pool.run(3, lambda k: None)
    assert pool.lock.acquire(blocking=False)
