"""Sizes, axes, counts and numbers of NumPy's are taken as PyTorch takes them, and are plain from there on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.graph import Node
from tests.tensors.numbers_of_numpy import LAYERS_OF_NUMBERS, OF_LAYERS, OF_NUMBERS, OF_TENSORS, Case

WITH_INTEGERS = {**OF_TENSORS, **{f"nn.{name}": case for name, case in OF_LAYERS.items()}}
WITH_NUMBERS = {**OF_NUMBERS, **{f"nn.{name}": case for name, case in LAYERS_OF_NUMBERS.items()}}
INTEGERS = [np.int64(2), np.int32(2), np.uint8(2)]
NUMBERS = [np.float32(0.5), np.float64(0.5)]
NO_ONE_TENSOR = {"max"}  # a tensor is not an axis there, but the other operand


def told(L: Any, value: Any) -> Any:
    """Return what can be compared of a result."""
    if isinstance(value, L.Tensor):
        array = np.asarray(value.detach())
        return array.dtype, array.shape, array.tolist()
    return repr(value) if isinstance(value, L.nn.Module) else value


def of_numpy(value: Any) -> bool:
    """Say whether there is a number of NumPy's in attributes."""
    if isinstance(value, dict):
        return any(map(of_numpy, value.values()))
    return any(map(of_numpy, value)) if isinstance(value, (tuple, list)) else isinstance(value, np.generic)


def not_plain(value: Any) -> list[Any]:
    """Return where numbers of NumPy's are in the tape of a tensor, or in the attributes of a layer."""
    if isinstance(value, nn.Module):
        return [(name, x) for layer in value.modules() for name, x in vars(layer).items() if of_numpy(x)]
    found, pending, seen = [], [getattr(value, "_node", None)], set()
    while pending:
        node: Node | None = pending.pop()
        if node is not None and id(node) not in seen:
            seen.add(id(node))
            found += [(node.primitive, node.attributes)] if of_numpy(node.attributes) or of_numpy(node.shape) else []
            pending += node.inputs or ()
    return found


@pytest.mark.parametrize("integer", INTEGERS, ids=lambda integer: integer.dtype.name)
@pytest.mark.parametrize("case", WITH_INTEGERS.values(), ids=WITH_INTEGERS)
def test_an_integer_of_numpy_does_what_an_int_does_and_is_plain_from_there_on(case: Case, integer: Any) -> None:
    found = case(cr, integer)
    assert told(cr, found) == told(cr, case(cr, 2))
    assert not_plain(found) == []


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.dtype.name)
@pytest.mark.parametrize("case", WITH_NUMBERS.values(), ids=WITH_NUMBERS)
def test_a_number_of_numpy_does_what_a_float_does_and_is_plain_from_there_on(case: Case, number: Any) -> None:
    found = case(cr, number)
    assert told(cr, found) == told(cr, case(cr, 0.5))
    assert not_plain(found) == []


@pytest.mark.oracle
@pytest.mark.parametrize("name", sorted(WITH_INTEGERS.keys() - NO_ONE_TENSOR))
def test_a_tensor_of_one_integer_and_an_array_of_no_axes_are_taken_where_pytorch_takes_them(name: str) -> None:
    torch = pytest.importorskip("torch")
    case = WITH_INTEGERS[name]
    for of_torch, own in ((torch.tensor(2), cr.tensor(2)), (np.array(2), np.array(2))):
        try:
            case(torch, of_torch)
        except Exception:  # noqa: BLE001 - whatever it says: it is no
            continue
        assert told(cr, case(cr, own)) == told(cr, case(cr, 2))


@pytest.mark.parametrize(
    "wrong", [True, np.True_, 2.0, np.float32(2), cr.tensor(2.0), cr.tensor([2, 2]), "2"], ids=repr
)
def test_what_is_no_integer_is_no_size(wrong: Any) -> None:
    for call in (
        lambda: cr.zeros(wrong),
        lambda: cr.zeros(4).reshape(wrong, 2),
        lambda: nn.Linear(wrong, 2),
        lambda: nn.Linear(2, wrong),
        lambda: nn.Embedding(wrong, 2),
        lambda: nn.BatchNorm1d(wrong),
    ):
        with pytest.raises((cr.errors.ArgumentError, cr.errors.ArgumentTypeError), match="integers|whole number"):
            call()


def test_an_axis_that_is_no_integer_is_refused_by_name() -> None:
    for wrong in (2.0, np.float32(1), cr.tensor(1.0), "1"):
        with pytest.raises(cr.errors.ArgumentTypeError, match="axis: got"):
            cr.zeros(2, 2).sum(wrong)


def test_a_compiled_function_takes_the_largest_label_as_a_size() -> None:
    labels = np.array([0, 2, 1])

    def of(x: cr.Tensor) -> cr.Tensor:
        return x.reshape(labels.max(), -1).sum(labels.max() - 1)

    x = cr.arange(6.0)
    assert cr.compile(of)(x).tolist() == of(x).tolist() == [3.0, 12.0]


def test_batches_repetitions_and_passes_of_a_compiled_function_are_counted_by_integers_of_numpy() -> None:
    double = cr.compile(lambda x: x * 2.0)
    x = cr.arange(400.0)
    twice = double.over(x, batch_size=np.uint8(200), passes=np.int64(2))
    assert twice.reshape(-1).tolist() == (x * 2).tolist() * 2
    assert double.repeat(x[:2], times=np.int64(3)).tolist() == [[0.0, 2.0]] * 3


def test_what_is_counted_or_numbered_elsewhere_is_so_by_integers_of_numpy() -> None:
    one, two, three = map(np.int64, (1, 2, 3))
    of_both = cr.func.grad(lambda a, b: (a * a * b).sum(), argnums=(np.int64(0), one))(cr.ones(2), cr.ones(2))
    assert [g.tolist() for g in of_both] == [[2.0, 2.0], [1.0, 1.0]]
    assert cr.func.jacrev(lambda a, b: a * b, argnums=one)(cr.ones(2), cr.ones(2)).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert repr(nn.summary(nn.Linear(3, 2), (two, three))) == repr(nn.summary(nn.Linear(3, 2), (2, 3)))
    before = cr.get_num_threads()
    try:
        cr.set_num_threads(two)
        assert type(cr.get_num_threads()) is int
    finally:
        cr.set_num_threads(None)
    assert cr.get_num_threads() == before
