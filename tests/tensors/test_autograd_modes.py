"""Whether a tape is kept: contexts, decorators, calls, generators, threads."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import chainrule as cr


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    assert cr.is_grad_enabled()
    yield
    left = cr.is_grad_enabled()
    cr.set_grad_enabled(True)
    assert left, "the mode was left behind"


def test_contexts_nest_and_restore() -> None:
    with cr.no_grad():
        assert not cr.is_grad_enabled()
        with cr.enable_grad():
            assert cr.is_grad_enabled()
            with cr.set_grad_enabled(False):
                assert not cr.is_grad_enabled()
            assert cr.is_grad_enabled()
        assert not cr.is_grad_enabled()


def test_one_context_may_be_entered_again() -> None:
    off = cr.no_grad()
    with off:
        with cr.enable_grad(), off:
            assert not cr.is_grad_enabled()
        assert not cr.is_grad_enabled()
    assert cr.is_grad_enabled()


def test_results_inside_do_not_require_grad() -> None:
    x = cr.ones(2, requires_grad=True)
    with cr.no_grad():
        assert not (x * 2).requires_grad
        assert cr.ones(2, requires_grad=True).requires_grad, "a leaf may still ask for a gradient"
    assert (x * 2).requires_grad


@pytest.mark.parametrize("context", [cr.no_grad, cr.inference_mode, lambda: cr.set_grad_enabled(False)])
def test_an_error_inside_restores(context: Any) -> None:
    with pytest.raises(ZeroDivisionError), context():
        raise ZeroDivisionError
    assert cr.is_grad_enabled()


def test_set_grad_enabled_is_a_call_too() -> None:
    cr.set_grad_enabled(False)
    assert not cr.is_grad_enabled()
    cr.set_grad_enabled(mode=True)
    assert cr.is_grad_enabled()


@pytest.mark.parametrize(
    "decorate", [cr.no_grad(), cr.no_grad, cr.inference_mode(), cr.inference_mode], ids=["()", "", "inference()", "inference"]
)  # fmt: skip
def test_a_function_is_decorated_with_or_without_parentheses(decorate: Any) -> None:
    @decorate
    def scale(x: Any, by: float = 2.0) -> Any:
        """Scale."""
        return x * by

    x = cr.ones(2, requires_grad=True)
    assert not scale(x, by=3.0).requires_grad
    assert (scale.__name__, scale.__doc__) == ("scale", "Scale.")
    assert "by" in inspect.signature(scale).parameters


def test_enable_grad_decorates_too() -> None:
    @cr.enable_grad
    def bare(x: Any) -> Any:
        return x * 2

    @cr.enable_grad()
    def called(x: Any) -> Any:
        return x * 2

    with cr.no_grad():
        assert bare(cr.ones(1, requires_grad=True)).requires_grad
        assert called(cr.ones(1, requires_grad=True)).requires_grad


def test_set_grad_enabled_as_a_decorator_holds_inside_only() -> None:
    @cr.set_grad_enabled(False)
    def inside() -> bool:
        return cr.is_grad_enabled()

    assert cr.is_grad_enabled(), "decorating sets nothing"
    assert not inside()
    assert cr.is_grad_enabled()


def test_inference_mode_may_be_off() -> None:
    with cr.no_grad(), cr.inference_mode(False):
        assert cr.is_grad_enabled()
    with cr.inference_mode(mode=True):
        assert not cr.is_grad_enabled()


def test_a_decorated_function_may_call_itself() -> None:
    @cr.no_grad()
    def down(n: int) -> list[bool]:
        return [cr.is_grad_enabled()] + (down(n - 1) if n else [])

    assert down(3) == [False] * 4


# -- generators --------------------------------------------------------------------------------------------------------------


def test_a_decorated_generator_is_inside_while_it_runs_and_its_caller_is_not() -> None:
    @cr.no_grad()
    def steps() -> Iterator[bool]:
        yield cr.is_grad_enabled()
        yield cr.is_grad_enabled()

    seen = []
    for inside in steps():
        seen.append((inside, cr.is_grad_enabled()))
    assert seen == [(False, True), (False, True)]


def test_a_decorated_generator_takes_values_errors_and_its_end() -> None:
    @cr.no_grad
    def talk() -> Any:
        heard: list[Any] = []
        try:
            while True:
                try:
                    heard.append(((yield len(heard)), cr.is_grad_enabled()))
                except KeyError as error:
                    heard.append((repr(error), cr.is_grad_enabled()))
                if heard[-1][0] == "stop":
                    return heard
        finally:
            heard.append(("closed", cr.is_grad_enabled()))

    conversation = talk()
    assert next(conversation) == 0
    assert conversation.send("a") == 1
    assert conversation.throw(KeyError("b")) == 2
    assert cr.is_grad_enabled()
    with pytest.raises(StopIteration) as end:
        conversation.send("stop")
    assert end.value.value == [("a", False), ("KeyError('b')", False), ("stop", False), ("closed", False)]


def test_an_error_in_a_decorated_generator_comes_out() -> None:
    @cr.no_grad()
    def failing() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    steps = failing()
    assert next(steps) == 1
    with pytest.raises(ZeroDivisionError):
        next(steps)


def test_closing_a_decorated_generator_closes_it_inside() -> None:
    seen = []

    @cr.no_grad()
    def steps() -> Iterator[int]:
        try:
            yield 1
        finally:
            seen.append(cr.is_grad_enabled())

    running = steps()
    next(running)
    running.close()
    assert seen == [False]


# -- threads, and traces -------------------------------------------------------------------------------------------------------


def test_each_thread_has_its_own_mode_and_begins_with_a_tape() -> None:
    off, checked = threading.Event(), threading.Event()
    seen: dict[str, bool] = {}

    def other() -> None:
        seen["at first"] = cr.is_grad_enabled()
        with cr.no_grad():
            off.set()
            checked.wait(10)
            seen["inside"] = cr.is_grad_enabled()

    with cr.no_grad():
        thread = threading.Thread(target=other)
        thread.start()
        off.wait(10)
        with cr.enable_grad():
            seen["here"] = cr.is_grad_enabled()
        checked.set()
        thread.join()
    assert seen == {"at first": True, "here": True, "inside": False}
    assert cr.is_grad_enabled()


def test_inside_a_compiled_function_the_modes_hold_too() -> None:
    seen: dict[str, bool] = {}

    @cr.compile
    def step(x: Any) -> Any:
        with cr.no_grad():
            seen["inside"] = cr.is_grad_enabled()
            h = (x * 3).sum()
        seen["after"] = cr.is_grad_enabled()
        return cr.autograd.grad((x * x).sum() * h, x)[0]

    x = cr.tensor([1.0, 2.0], requires_grad=True)
    assert step(x).tolist() == [18, 36]
    assert seen == {"inside": False, "after": True}
