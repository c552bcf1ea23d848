"""Linear and bilinear maps of the last axis."""

from __future__ import annotations

from functools import cache
from typing import Any

from chainrule.errors import ChainruleError, DtypeError, ShapeError
from chainrule.graph import primitive
from chainrule.graph.sizes import same_shape
from chainrule.tensors.apply import apply, apply2
from chainrule.tensors.arithmetic import ADD
from chainrule.tensors.binary import no_tensor
from chainrule.tensors.tensor import Tensor, numpy_dtype

CONTRACT = primitive("contract")


@cache
def _last_axes(ndim: int, axis_of_weight: int) -> dict[str, Any]:
    return {"batch": ((), ()), "contracted": ((ndim - 1,), (axis_of_weight,))}


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return input · weightᵀ + bias.

    ``input`` (…, in_features), ``weight`` (out_features, in_features), ``bias`` (out_features,); the result is
    (…, out_features). A weight of one axis (in_features,) gives (…). It is one contraction of the last axes, so that the
    weight's gradient is born in the weight's layout.
    """
    try:
        if numpy_dtype(input) != numpy_dtype(weight):
            raise _wrong_dtypes(input, weight)
        y = apply(CONTRACT, (input, weight), _last_axes(input.ndim, weight.ndim - 1))
        return y if bias is None else apply2(ADD, y, bias)
    except (ChainruleError, AttributeError, IndexError, ValueError):  # what an input of another kind leads to
        _explain(input, weight, bias)
        raise


def _wrong_dtypes(input: Tensor, weight: Tensor) -> DtypeError:
    got, wanted = numpy_dtype(input), numpy_dtype(weight)
    return DtypeError(
        f"linear: got {got} input for {wanted} weights",
        expected="one dtype",
        fix=f"convert the input, x.to(chainrule.{wanted}), or the model, model.to(chainrule.{got})"
        if got.kind == "f"
        else f"convert the input with x.to(chainrule.{wanted})",
    )


def _explain(input: Any, weight: Any, bias: Any) -> None:
    """Say in the words of a layer why a linear map failed; return if the reason is another."""
    for name, x in (("input", input), ("weight", weight)):
        if not isinstance(x, Tensor):
            raise no_tensor("linear", x, name) from None
    if input.ndim == 0 or weight.ndim not in (1, 2):
        raise ShapeError(
            f"linear: got an input of shape {tuple(input.shape)} and a weight of shape {tuple(weight.shape)}",
            expected="(…, in_features) and (out_features, in_features)",
        ) from None
    features, wanted = input.shape[-1], weight.shape[-1]
    if features is not wanted and features != wanted:
        raise ShapeError(
            f"expected {wanted} features in the last axis, got {features} (input of shape {tuple(input.shape)})"
        ) from None
    if bias is not None and not same_shape(tuple(bias.shape), tuple(weight.shape[:-1])):
        raise ShapeError(
            f"linear: got a bias of shape {tuple(bias.shape)}",
            expected=f"{tuple(weight.shape[:-1])}, the weight's rows",
        ) from None


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return yₖ = input1ᵀ · weightₖ · input2 + biasₖ.

    ``input1`` (…, in1), ``input2`` (…, in2), ``weight`` (out, in1, in2), ``bias`` (out,); the result is (…, out).
    """
    if weight.ndim != 3 or input1.ndim == 0 or input1.ndim != input2.ndim:
        raise ShapeError(
            f"bilinear: got shapes {tuple(input1.shape)}, {tuple(input2.shape)} and a weight {tuple(weight.shape)}",
            expected="(…, in1), (…, in2) and (out, in1, in2)",
        )
    if not same_shape(tuple(input1.shape[:-1]), tuple(input2.shape[:-1])):
        raise ShapeError(
            f"bilinear: got shapes {tuple(input1.shape)} and {tuple(input2.shape)}",
            expected="the same sizes on every axis but the last",
        )
    for name, x, size in (("first", input1, weight.shape[1]), ("second", input2, weight.shape[2])):
        if x.shape[-1] is not size and x.shape[-1] != size:
            raise ShapeError(f"expected {size} features in the last axis of the {name} input, got {x.shape[-1]}")
    half = apply(CONTRACT, (input1, weight), {"batch": ((), ()), "contracted": ((input1.ndim - 1,), (1,))})
    y: Tensor = (half * input2.unsqueeze(-2)).sum(-1)  # half: (…, out, in2)
    return y if bias is None else y + bias
