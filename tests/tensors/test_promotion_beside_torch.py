"""Which dtype comes out: every pair of dtypes, of tensors with axes, 0-d tensors and Python numbers, by every operator."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ChainruleError
from tests.tolerances import assert_close

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
NUMBERS = (True, 2, 1.5)
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    name: getattr(operator, name)
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "eq", "and_", "or_", "xor")
}
IN_PLACE = {name: getattr(operator, name) for name in ("iadd", "isub", "imul", "itruediv", "ifloordiv", "iand")}


def operands(library: ModuleType, dtype: str) -> Iterator[Any]:
    """Return a tensor with an axis and a 0-d one."""
    yield library.tensor([1, 1], dtype=getattr(library, dtype))
    yield library.tensor(1, dtype=getattr(library, dtype))


def pairs(library: ModuleType, dtype: str) -> Iterator[tuple[Any, Any]]:
    """Return every pair with one operand of this dtype: tensors, 0-d tensors, numbers, in both orders."""
    for a in operands(library, dtype):
        for other in DTYPES:
            for b in operands(library, other):
                yield a, b
        for number in NUMBERS:
            yield a, number
            yield number, a


def attempt(compute: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    try:
        return compute(a, b)
    except (RuntimeError, TypeError, ValueError) as error:
        return error


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPERATORS)
def test_dtype_and_value_are_pytorchs(name: str, dtype: str) -> None:
    compute = OPERATORS[name]
    for (a, b), (p, q) in zip(pairs(cr, dtype), pairs(torch, dtype), strict=True):
        ours, theirs = attempt(compute, a, b), attempt(compute, p, q)
        where = f"{a!r} {name} {b!r}"
        if isinstance(theirs, Exception):
            assert isinstance(ours, (ChainruleError, TypeError)), f"{where}: {ours} where PyTorch raises {theirs}"
        else:
            assert isinstance(ours, cr.Tensor), f"{where}: {ours} where PyTorch gives {theirs}"
            assert_close(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_the_dtype_stays_or_it_raises(name: str, dtype: str) -> None:
    compute = IN_PLACE[name]
    for (a, b), (p, q) in zip(pairs(cr, dtype), pairs(torch, dtype), strict=True):
        if not isinstance(a, cr.Tensor):
            continue
        ours, theirs = attempt(compute, a.clone(), b), attempt(compute, p.clone(), q)
        if isinstance(theirs, Exception):
            assert isinstance(ours, (ChainruleError, TypeError)), f"{a!r} {name} {b!r}: PyTorch raises {theirs}"
        else:
            assert isinstance(ours, cr.Tensor), f"{a!r} {name} {b!r}: {ours}"
            assert_close(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("name", ["sum", "prod", "cumsum", "mean", "exp", "sqrt", "sigmoid", "abs", "relu", "square"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_of_one_tensor_give_pytorchs_dtype(name: str, dtype: str) -> None:
    def compute(x: Any, _: Any) -> Any:
        return getattr(x, name)(0) if name == "cumsum" else getattr(x, name)()

    ours, theirs = [
        attempt(compute, library.tensor([1, 0, 1], dtype=getattr(library, dtype)), None) for library in (cr, torch)
    ]
    if isinstance(theirs, Exception):
        assert isinstance(ours, ChainruleError)
    else:
        assert_close(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("data", [1, 1.5, True, [1, 2.5], [True, False], [], [[1], [2]], np.float64(1), np.int8([1])])
def test_new_tensors_have_pytorchs_dtype(data: Any) -> None:
    assert str(cr.tensor(data).dtype)[10:] == str(torch.tensor(data).dtype)[6:]
