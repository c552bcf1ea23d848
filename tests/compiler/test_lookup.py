"""Tables looked up in registers: every machine's way finds the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.compiler.emit import Emitter
from chainrule.compiler.lookup import lookup
from chainrule.compiler.module import Module
from chainrule.compiler.target import host
from chainrule.compiler.value import F32, I32, I64, Value
from tests.compiler.native import AVX2, HOST, Call, Native
from tests.compiler.vector_functions import PARAMETERS, Vectors

TABLES = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
WAYS = [("", HOST), ("avx2", AVX2), *([("avx512", HOST)] if host().lookup == "avx512" else [])]


@pytest.mark.parametrize(("way", "target"), WAYS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16])
def test_the_lowest_four_bits_name_the_number(way: str, target: tuple[str, str], lanes: int) -> None:
    module = Module(lookup=way)
    e = Emitter(module, "find", PARAMETERS)
    source, target_at = [e.raw(f"load ptr, ptr {e.offset('%frame', k, I64)}") for k in range(2)]

    def body(i: Value) -> None:
        index = e.load(e.offset(source, i, I32), I32, lanes)
        for k, x in enumerate(lookup(e, TABLES.tolist(), index)):
            e.store(x, e.offset(e.offset(target_at, i, F32), 64 * k, F32))

    e.loop(Value(e, "%begin", I64), Value(e, "%end", I64), lanes, body)
    e.finish()
    index = np.arange(64, dtype=np.int32) * 7 - 100
    found = np.zeros((3, 64), np.float32)
    Call(Native(module, target), "find", [index, found], [0], 64)()
    np.testing.assert_array_equal(found, TABLES[:, index & 15])


def test_tanh_has_the_same_bits_in_every_way() -> None:
    x = np.concatenate([np.linspace(-12, 12, 4001), [0.0, -0.0, 1e-30, np.inf, -np.inf, np.nan]]).astype(np.float32)
    results = [Vectors([("tanh", np.float32)], target, lookup=way)("tanh", x) for way, target in WAYS]
    for result in results[1:]:
        np.testing.assert_array_equal(result.view(np.int32), results[0].view(np.int32))
    assert np.abs(results[0][np.isfinite(x)]).max() <= 1
    assert np.signbit(results[0][4002])
