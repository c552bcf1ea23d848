"""Memory that begins where a cache line does."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.run.lines import CACHE_LINE, empty_in_lines, in_lines
from chainrule.tensors.memory import settle


@pytest.mark.parametrize("shape", [(), (0,), (3,), (5, 7), (2, 0, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.bool_])
def test_an_array_begins_a_line_and_has_its_numbers(shape: tuple[int, ...], dtype: type) -> None:
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    for found in (empty_in_lines(shape, dtype), in_lines(array), in_lines(array.T).T):
        assert found.shape == shape
        assert found.dtype == dtype
    assert empty_in_lines(shape, dtype).ctypes.data % CACHE_LINE == 0 or not array.size
    np.testing.assert_array_equal(in_lines(array), array)


def off_a_line(count: int) -> cr.Tensor:
    """Return a tensor whose memory, its own, begins within a line."""
    for size in range(1, 200):
        x = cr.tensor(np.arange(count + size, dtype=np.float32))
        if x.numpy().ctypes.data % CACHE_LINE:
            return x
    raise AssertionError("every array began a line")


def test_memory_nobody_else_sees_is_moved() -> None:
    x = off_a_line(40)
    before = x.tolist()
    settle(x)
    assert x._value.ctypes.data % CACHE_LINE == 0
    assert x.tolist() == before


def test_memory_that_somebody_sees_stays() -> None:
    for look in (lambda x: x.numpy(), lambda x: x.numpy()[3:], lambda x: x[2:], lambda x: x.detach()):
        x = off_a_line(40)
        seen = look(x)
        settle(x)
        x.fill_(7.0)
        assert np.all(np.asarray(seen) == 7.0)


def test_a_tensor_that_shows_another_ones_memory_stays() -> None:
    x = off_a_line(40)
    y = x[1:]
    settle(y)
    y.fill_(3.0)
    assert x.tolist()[1:] == y.tolist()
