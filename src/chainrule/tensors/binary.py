"""An operation on two operands, of which one at least is a tensor: brought to one dtype, and applied."""

from __future__ import annotations

from typing import Any

from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.graph import Dtype, Primitive, primitive
from chainrule.tensors.apply import apply, apply2, operand, promoted
from chainrule.tensors.dtypes import F32, F64
from chainrule.tensors.tensor import Tensor, numpy_dtype

FULL = primitive("full")


def binary(made_by: Primitive, a: Any, b: Any, *, floating: bool = False) -> Tensor:
    """Apply an operation to two operands, one a tensor, in their common dtype (with ``floating``: a floating one)."""
    if type(b) is float or type(b) is int:  # the two fast paths: nothing to convert
        p = a._value if isinstance(a, Tensor) else None
        if p is not None and (p.dtype is F32 or p.dtype is F64):
            return apply2(made_by, a, b)
    elif isinstance(a, Tensor) and isinstance(b, Tensor):
        p, q = a._value, b._value
        if p is not None and q is not None and p.dtype is q.dtype and (p.dtype is F32 or p.dtype is F64):
            return apply2(made_by, a, b)
    x, y = promoted(*operands(made_by.name, a, b), floating=floating)
    return apply2(made_by, x, y) if isinstance(x, Tensor) else apply(made_by, (x, y))


def operands(name: str, *values: Any) -> list[Any]:
    """Return tensors and numbers as operands; raise for anything else, and if none is a tensor."""
    found = [operand(value) for value in values]
    if NotImplemented in [x for x in found if not isinstance(x, Tensor)]:
        raise ArgumentTypeError(
            f"{name}: got {' and '.join(map(kind_of, values))}",
            expected="tensors or numbers",
            fix=conversion_of(*values),
        )
    if not any(isinstance(x, Tensor) for x in found):
        raise ArgumentTypeError(f"{name}: got only numbers", expected="a tensor at least", fix="wrap one in tensor(…)")
    return found


def checked(x: Any, name: str) -> Tensor:
    """Return ``x``; raise unless it is a tensor."""
    if isinstance(x, Tensor):
        return x
    raise no_tensor(name, x)


def no_tensor(name: str, x: Any, role: str = "input") -> ArgumentTypeError:
    """Return the error about an operand that is no tensor."""
    return ArgumentTypeError(f"{name}: got {kind_of(x)} as {role}", expected="a tensor", fix=conversion_of(x))


def kind_of(x: Any) -> str:
    """Return the type of a value, in words: those of PyTorch are told apart from ours of the same name."""
    return "a torch tensor" if _is_of_torch(x) else type(x).__name__


def conversion_of(*values: Any) -> str:
    """Say how values become tensors, if some are PyTorch's."""
    return "convert it with chainrule.from_numpy(x.numpy())" if any(map(_is_of_torch, values)) else ""


def _is_of_torch(x: Any) -> bool:
    return type(x).__module__.partition(".")[0] == "torch" and hasattr(x, "numpy")


def zero_dimensional(value: float, dtype: Dtype) -> Tensor:
    """Return a number as a 0-d tensor, in a trace too."""
    return apply(FULL, (), {"shape": (), "dtype": dtype, "value": value})


def scaled(x: Any, factor: Any, name: str, *others: Any) -> Any:
    """Return factor · x; a fraction does not scale integers."""
    if isinstance(factor, float) and all(
        numpy_dtype(other).kind != "f" if isinstance(other, Tensor) else not isinstance(other, float)
        for other in (x, *others)
    ):
        raise ArgumentError(f"{name}: got the factor {factor} for integers", expected="an integer factor")
    return x if factor == 1 else x * factor
