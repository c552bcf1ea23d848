"""The stack of recorders: the one on top gives the nodes; each thread has its own stack."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import chainrule  # noqa: F401 - fills the registry
from chainrule.errors import GradientError, NameUnknown
from chainrule.graph import Recording, graph_input, op, recording

X = graph_input("x", (2,), np.dtype(np.float32))


def test_the_recorder_on_top_is_asked() -> None:
    outer, inner = Recording(), Recording()
    outer.label, inner.label = "outer", "inner"
    with recording(outer):
        with recording(inner):
            assert op.exp(X).label == "inner"
        assert (X + 1.0).label == "outer"


def test_a_recorder_is_taken_off_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), recording(Recording()):
        raise ZeroDivisionError
    with pytest.raises(GradientError, match="mul: no recorder is listening"):
        X * 2.0


def test_another_thread_has_a_stack_of_its_own() -> None:
    seen: list[str] = []

    def ask() -> None:
        try:
            op.exp(X)
        except GradientError as error:
            seen.append(str(error))

    with recording(Recording()):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert "exp: no recorder is listening" in seen[0]


def test_an_operation_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(NameUnknown, match="contract"):
        op.contrakt(X)
