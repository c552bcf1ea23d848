"""A size as code that is being traced sees it: an int that is not known, and says so where the number is needed."""

from __future__ import annotations

import copy
import json
import numbers
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.graph import Graph, Recording, graph_input
from chainrule.graph.primitive import primitive
from chainrule.graph.size_in_code import Asked, plain
from chainrule.graph.sizes import Size, UndecidedSize, symbol

N = symbol("n")


def asked() -> tuple[Any, Asked]:
    found = Asked({"n": 8}, lambda: " here")
    return found.in_code(N), found


def test_it_calculates_as_a_size_does_and_stays_one_of_code() -> None:
    n, of_trace = asked()
    results = [
        n + 1,
        1 + n,
        n - 1,
        9 - n,
        n * 3,
        3 * n,
        n // 2,
        n % 3,
        -n,
        ~n,
        abs(n),
        n**2,
        round(n),
        *divmod(n, 3),
        n * n - n,
    ]
    wanted = [N + 1, N + 1, N - 1, 9 - N, N * 3, N * 3, N // 2, N % 3, -N, ~N, N, N**2, N, *divmod(N, 3), N * N - N]
    for found, size in zip(results, wanted, strict=True):
        assert type(found) is type(n)
        assert type(plain(found)) is Size
        assert repr(plain(found)) == repr(size)
    assert n - n == 0
    assert type(n - n) is int
    assert n > 1
    assert n == N
    assert n != "n"
    assert copy.deepcopy([n])[0] is copy.copy(n) is n
    of_trace.check()


def test_python_takes_it_for_an_int_and_c_does_not() -> None:
    n, of_trace = asked()
    assert isinstance(n, int)
    assert isinstance(n + 1, numbers.Integral)
    assert isinstance(n, Size)
    assert not isinstance(n, (bool, float, str))
    assert not hasattr(n, "__array__")
    of_trace.check()
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(n)


NEEDS_THE_NUMBER: list[Callable[[Any], Any]] = [
    hash,
    int,
    range,
    operator.index,
    pickle.dumps,
    lambda n: {n},
    lambda n: {8: 1}.get(n),
    lambda n: {(8, 4): 1}.get((n, 4)),
    lambda n: n == 8,
    lambda n: n.bit_length(),
    lambda n: "x" * n,
]


@pytest.mark.parametrize("ask", NEEDS_THE_NUMBER)
def test_where_the_number_is_needed_it_raises_and_what_is_caught_is_known(ask: Callable[[Any], Any]) -> None:
    n, of_trace = asked()
    with pytest.raises(UndecidedSize):
        ask(n)
    with pytest.raises(UndecidedSize, match="n.*is not known") as raised:
        of_trace.check()
    assert raised.value.line == " here"


def test_its_text_is_the_number_and_is_known() -> None:
    n, of_trace = asked()
    assert (str(n), repr(n + 1), f"{n:4d}", f"{(n, 4)}") == ("8", "9", "   8", "(8, 4)")
    with pytest.raises(UndecidedSize, match="which number is n"):
        of_trace.check()


def test_after_the_trace_it_is_the_symbol() -> None:
    n, of_trace = asked()
    of_trace.close()
    assert str(n) == "n"
    assert hash(n) == hash(N)
    assert {N: 1}[n] == 1
    assert not isinstance(n, int)
    assert type(n + 1) is Size
    assert pickle.loads(pickle.dumps(n)) == N
    of_trace.check()


def test_a_graph_has_sizes_of_its_own() -> None:
    n, of_trace = asked()
    x = graph_input("x", (N, 6), np.dtype(np.float32))
    recording = Recording()
    y = recording.apply(primitive("reshape"), (x,), {"shape": cr.Size((n * 2, 3))})
    z = recording.apply(primitive("mul"), (y, n), {})
    for node in Graph([x], [z]):
        for value in (*node.attributes.values(), *node.shape):
            for size in value if isinstance(value, tuple) else (value,):
                assert type(size) is Size or not isinstance(size, Size)
    of_trace.check()
