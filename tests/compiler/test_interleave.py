"""Rows of a few elements as columns of 16 rows, and back: every width, every number of rows."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from chainrule.compiler.emit import Emitter
from chainrule.compiler.interleave import load_columns, store_columns
from chainrule.compiler.llvm import object_code
from chainrule.compiler.loader import Library
from chainrule.compiler.module import Module
from chainrule.compiler.target import host
from chainrule.compiler.value import I64, Value


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8])
@pytest.mark.parametrize("width", range(1, 17))
def test_columns_are_loaded_and_stored(width: int, dtype: type) -> None:
    kind = np.dtype(dtype)
    machine = host()
    module = Module(machine.masks)
    parameters = [("ptr", "rows"), ("ptr", "columns"), ("ptr", "back"), ("i64", "count")]
    e = Emitter(module, "both", parameters)
    count = Value(e, "%count", I64)
    columns = load_columns(e, "%rows", width, kind, count)
    for k, column in enumerate(columns):
        e.store(column, e.offset("%columns", 16 * k, kind))
    store_columns(e, columns, "%back", count)
    e.finish()
    library = Library(object_code(module.text(machine.attributes()), machine))
    both = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(library["both"])
    for rows in (0, 1, 7, 15, 16, 40):
        there = min(rows, 16)
        x = np.random.default_rng(rows).integers(1, 100, (16, width)).astype(kind)
        found, back = np.full((width, 16), 101, kind), np.full((16, width), 102, kind)
        both(x.ctypes.data, found.ctypes.data, back.ctypes.data, rows)
        np.testing.assert_array_equal(found[:, :there], x[:there].T)
        np.testing.assert_array_equal(back[:there], x[:there])
        assert (back[there:] == 102).all()
