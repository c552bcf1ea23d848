"""Forks beside other threads: what a child must be able to do, whatever the others were doing."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.forks import rlock_of_process, undisturbed
from chainrule.tensors.sources import RandomSource

SOURCE = Path(cr.__file__).parent
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

COLD = """
import importlib, os, signal, sys, threading, time
import chainrule as cr
began = threading.Event()
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            began.set()
            time.sleep(0.3)
sys.meta_path.insert(0, Slow())
def ask():
    {ask}
thread = threading.Thread(target=ask)
thread.start()
began.wait(10)
child = os.fork()
if not child:
    signal.alarm(10)  # ends the child where it hangs
    ask()
    os._exit(0)
status = os.waitpid(child, 0)[1]
thread.join()
print(began.is_set(), status)
"""


def forked(function: Callable[[], Any]) -> int:
    """Run a function in a child, and return its status: 0 if it came to its end."""
    child = os.fork()
    if not child:
        try:
            signal.alarm(10)  # ends the child where it hangs
            function()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


class Elsewhere:
    """Enter a context in another thread, and stay there for some seconds, or until told to leave."""

    def __init__(self, context: Any, seconds: float = 10.0) -> None:
        self.is_inside, self.leave, self.has_left = threading.Event(), threading.Event(), False
        self.thread = threading.Thread(target=self.stay, args=(context, seconds))
        self.thread.start()
        assert self.is_inside.wait(10)

    def stay(self, context: Any, seconds: float) -> None:
        with context:
            self.is_inside.set()
            self.leave.wait(seconds)
            self.has_left = True

    def end(self) -> None:
        self.leave.set()
        self.thread.join()


def test_a_fork_waits_for_threads_that_must_not_be_disturbed() -> None:
    other = Elsewhere(undisturbed(), seconds=0.3)
    assert forked(lambda: None) == 0
    assert other.has_left
    other.end()


def test_a_thread_does_not_wait_for_itself_and_is_within_in_the_child_too() -> None:
    def within_and_out() -> None:
        with undisturbed(), undisturbed():
            assert forked(lambda: None) == 0

    with undisturbed():
        assert forked(within_and_out) == 0
    assert forked(within_and_out) == 0


def test_threads_are_undisturbed_together() -> None:
    other = Elsewhere(undisturbed())
    with undisturbed():
        assert not other.has_left
    other.end()


def test_a_lock_that_the_forking_thread_holds_is_held_in_the_child() -> None:
    lock = rlock_of_process()

    def release() -> None:
        lock.release()
        assert not lock._is_owned()

    with lock:
        assert forked(release) == 0
    other = Elsewhere(lock)
    assert forked(lambda: lock.acquire()) == 0
    other.end()


def test_a_child_traces_while_a_thread_of_its_parent_held_numpys_generator() -> None:
    held: Any = np.random.mtrand._rand  # type: ignore[attr-defined] # the one of np.random.rand
    other = Elsewhere(held._bit_generator.lock)
    try:
        assert forked(lambda: cr.compile(lambda x: x + 1)(cr.ones(3))) == 0
    finally:
        other.end()


def test_a_fork_waits_until_a_trace_has_looked_at_a_generator() -> None:
    looks, looked = threading.Event(), threading.Event()

    class Slow(np.random.RandomState):
        def get_state(self, legacy: bool = True) -> Any:  # type: ignore[override]
            looks.set()
            time.sleep(0.3)
            looked.set()
            return super().get_state(legacy)

    thread = threading.Thread(target=RandomSource, args=("it", Slow(0)))
    thread.start()
    assert looks.wait(10)
    assert forked(lambda: None) == 0
    assert looked.is_set()
    thread.join()


@pytest.mark.parametrize(
    ("ask", "module"),
    [
        ("cr.fit", "chainrule.training"),
        ("cr.nn", "chainrule.nn.linear"),
        ("cr.optim.Adadelta", "chainrule.optim.adadelta"),
        ("cr.autograd.functional", "chainrule.tensors.autograd_functional"),
        ("cr.compile(lambda x: x + 1)(cr.ones(3))", "chainrule.run.native"),
        ("from chainrule.compiler import estimate", "chainrule.compiler.register_evaluator"),
        ("from chainrule.errors import near_names; near_names('a', ['b'])", "difflib"),
    ],
)
def test_a_child_imports_what_a_thread_of_its_parent_was_importing(ask: str, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COLD.format(ask=ask, module=module)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "CHAINRULE_COMPILE": "1"},
    )
    assert done.stdout.split() == ["True", "0"], done.stderr


def test_what_is_imported_later_is_imported_undisturbed() -> None:
    bare = [
        f"{path.relative_to(SOURCE)}:{line}"
        for path in SOURCE.rglob("*.py")
        for line in imports_within(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not bare


def imports_within(tree: ast.AST, *, is_inside: bool = False, is_held: bool = False) -> list[int]:
    """Return the lines of imports inside functions that a fork may cut short."""
    found = []
    for node in ast.iter_child_nodes(tree):
        is_import = isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Attribute) and node.attr == "import_module"
        )
        if is_import and is_inside and not is_held:
            found.append(getattr(node, "lineno", 0))
        is_held_there = is_held or (isinstance(node, ast.With) and "undisturbed()" in ast.unparse(node.items[-1]))
        is_function = isinstance(node, ast.FunctionDef | ast.Lambda)
        found += imports_within(node, is_inside=is_inside or is_function, is_held=is_held_there)
    return found
