"""The text of tensors where it is ours alone: what made them, traces, options."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError
from chainrule.tensors.printing import set_printoptions, tensor_repr
from chainrule.tensors.trace import Trace, tracing


@pytest.fixture(autouse=True)
def default_options() -> Iterator[None]:
    yield
    set_printoptions(profile="default")


def test_another_default_dtype_is_the_one_left_out() -> None:
    x = np.array([1.5, 2.0])
    cr.set_default_dtype(cr.float64)
    try:
        assert tensor_repr(cr.tensor(x)) == "tensor([1.5000, 2.0000])"
        assert tensor_repr(cr.tensor(x, dtype=cr.float32)) == "tensor([1.5000, 2.0000], dtype=chainrule.float32)"
        assert tensor_repr(cr.zeros(0)) == "tensor([])"
    finally:
        cr.set_default_dtype(cr.float32)


def test_a_result_names_the_operation_that_made_it() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    assert tensor_repr(x) == "tensor([1., 2.], requires_grad=True)"
    assert tensor_repr(x * 2) == "tensor([2., 4.], grad_fn=<mul>)"
    assert tensor_repr((x * 2).detach()) == "tensor([2., 4.])"
    long = cr.tensor([0.123456] * 8, requires_grad=True)
    assert tensor_repr(long * 1.0).endswith("0.1235, 0.1235],\n       grad_fn=<mul>)")
    y = (x * 2).sum()
    y.backward()
    assert tensor_repr(y) == "tensor(6., grad_fn=<sum>)"  # its tape is gone, its origin is not


def test_a_large_tensor_is_not_read_beyond_its_edges() -> None:
    x = cr.zeros(1).expand(30_000, 30_000, 30_000)
    text = tensor_repr(x)
    assert text.startswith("tensor([[[0., 0., 0.,  ..., 0., 0., 0.],\n")
    assert text.count("...") == 6 * 7 + 1  # six blocks of six rows, one between the rows, one between the blocks
    assert len(text.splitlines()) == 6 * 7 + 1 + 6


def test_inside_a_trace_dtype_and_shape_are_shown() -> None:
    x, w = cr.zeros(2, 3), cr.ones(3)
    trace = Trace("step")
    with tracing(trace):
        y = x * w
        texts = [tensor_repr(x), tensor_repr(y), tensor_repr(y.t())]
        bound = len(trace.bound)
        tensor_repr(cr.Tensor(np.zeros(4)))
        assert len(trace.bound) == bound, "printing made a tensor an input of the trace"
    assert texts == ["<traced float32[2, 3]>", "<traced float32[2, 3]>", "<traced float32[3, 2]>"]
    assert tensor_repr(y) == "<traced float32[2, 3]>"


def test_an_unknown_profile_gets_the_nearest_name() -> None:
    with pytest.raises(ArgumentError, match="Did you mean short"):
        set_printoptions(profile="shrt")


def test_options_stay_until_they_are_set_again() -> None:
    x = cr.tensor([1 / 3, 2000.0])
    assert tensor_repr(x) == "tensor([3.3333e-01, 2.0000e+03])"
    set_printoptions(precision=2, sci_mode=False)
    assert tensor_repr(x) == "tensor([   0.33, 2000.00])"
    set_printoptions(linewidth=14)
    assert tensor_repr(x) == "tensor([3.33e-01,\n        2.00e+03])"
    set_printoptions(profile="default")
    assert tensor_repr(x) == "tensor([3.3333e-01, 2.0000e+03])"
