"""The collector of cycles, which waits while a function is traced and compiled."""

from __future__ import annotations

import gc
import os
from typing import Any

import pytest

import chainrule as cr
from chainrule.compiler.garbage import garbage_put_off


class Holder:
    """Holds what the traced code saw."""

    enabled: Any = None


@pytest.mark.parametrize("fails", [False, True])
def test_it_waits_while_a_function_is_traced_and_goes_on_afterwards(fails: bool) -> None:
    box = Holder()

    @cr.compile
    def function(x: Any) -> Any:
        box.enabled = gc.isenabled()
        if fails:
            raise KeyError("on purpose")
        return 2 * x

    if fails:
        with pytest.raises(KeyError):
            function(cr.ones(3))
    else:
        assert function(cr.ones(3)).tolist() == [2, 2, 2]
    assert box.enabled is False
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off() -> None:
    gc.disable()
    try:
        with garbage_put_off(), garbage_put_off():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_of_a_process_that_compiles_collects() -> None:
    with garbage_put_off():
        child = os.fork()
        if not child:
            os._exit(not gc.isenabled())
        _, status = os.waitpid(child, 0)
        assert not gc.isenabled()
    assert os.waitstatus_to_exitcode(status) == 0
    assert gc.isenabled()
