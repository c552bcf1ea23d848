"""The builtin that runs records on arrays: addresses, references, failed checks."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.compiler import array_call
from chainrule.run import NativeProgram, Prepared, prepare
from tests.compiler.machine_code import needs_native

pytestmark = needs_native


def prepared(function: Any, x: Any) -> Prepared:
    with cr.no_grad():
        compiled = cr.compile(function)
        compiled(x)
        traced, tensors, sizes = compiled.traced_for(x)
    program = NativeProgram(traced.graph, {}, sizes)
    values = traced.inputs(tensors)
    found = prepare(program, sizes, values, [k for k, value in enumerate(values) if value is tensors[0]._value])
    assert found is not None
    return found


@pytest.mark.parametrize("x", [np.ones(3), np.ones((4, 5))[2:], np.array(2.0), np.broadcast_to(1, (2, 2))])
def test_an_address_is_that_of_the_array(x: Any) -> None:
    assert array_call.IS_READ
    assert array_call.address(x) == x.ctypes.data == array_call._asked_address(x)


def test_arrays_keep_their_references_and_so_do_the_answers() -> None:
    x, y = np.ones((1, 4), np.float32), np.empty((1, 4), np.float32)
    one = prepared(lambda x: x * 2 + 1, cr.tensor(x))
    watched = (True, False, x, y, one.run, one.address)
    before = [sys.getrefcount(thing) for thing in watched]
    for _ in range(300_000):
        one.run(one.address, x, y)
    after = [sys.getrefcount(thing) for thing in watched]
    assert all(abs(a - b) < 100 for a, b in zip(after, before, strict=True))  # of True others take and give too
    assert after[2:] == before[2:]
    assert y.tolist() == [[3, 3, 3, 3]]


def test_a_failed_check_is_told_once() -> None:
    table = cr.arange(10.0)
    good, bad, y = np.array([3]), np.array([30]), np.empty(1, np.float32)
    one = prepared(lambda k: table[k], cr.tensor(good))
    assert [one.run(one.address, k, y) for k in (good, bad, good, bad, bad, good)] == [
        False,
        True,
        False,
        True,
        True,
        False,
    ]
    assert y.tolist() == [3]


def test_what_is_no_block_is_refused() -> None:
    run = array_call.run_on_arrays()
    assert run is not None
    for wrong in ("text", None, 1.5):
        with pytest.raises(TypeError, match="integer"):
            run(wrong)  # type: ignore[arg-type]
