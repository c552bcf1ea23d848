"""Jacobians, Hessians and their products with vectors at given inputs, as ``torch.autograd.functional`` names them.

Beside ``func``: here the inputs are given with the function, as one tensor or a tuple, and the function is
differentiated by all of them. Results want no gradient unless ``create_graph`` is set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.errors import ShapeError
from chainrule.tensors import func as transforms
from chainrule.tensors.creation import ones_like
from chainrule.tensors.memory import detach
from chainrule.tensors.shaping import reshape
from chainrule.tensors.tensor import Tensor
from chainrule.tensors.variables import leaves, map_nest


def jacobian(func: Callable[..., Any], inputs: Any, create_graph: bool = False) -> Any:
    """Return ∂func/∂inputs: for each output, for each input, a tensor of both shapes.

    >>> import chainrule as cr
    >>> jacobian(lambda x: x.exp(), cr.zeros(2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    return _finished(transforms.jacrev(func, _numbers(inputs))(*_given(inputs, create_graph)), create_graph)


def hessian(func: Callable[..., Any], inputs: Any, create_graph: bool = False) -> Any:
    """Return ∂²func/∂inputs² of a function that gives one number: for each pair of inputs, a tensor of both shapes."""

    def number(*args: Any) -> Tensor:
        return reshape(_one(func(*args), "hessian"), ())

    return _finished(transforms.hessian(number, _numbers(inputs))(*_given(inputs, create_graph)), create_graph)


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """Return (outputs, vᵀ ∂func/∂inputs); ``v`` may be left out where the output is one number."""
    outputs, pull = transforms.vjp(func, *_given(inputs, create_graph))
    if v is None:
        v = ones_like(_one(outputs, "vjp: without v"))
    found = pull(v)
    return _finished((outputs, found if isinstance(inputs, tuple) else found[0]), create_graph)  # type: ignore[no-any-return]  # the pair


def jvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """Return (outputs, ∂func/∂inputs v); ``v`` may be left out where the input is one number."""
    given = _given(inputs, create_graph)
    if v is None:
        v = ones_like(_one(given[0] if len(given) == 1 else inputs, "jvp: without v"))
    return _finished(transforms.jvp(func, given, v if isinstance(v, tuple) else (v,)), create_graph)  # type: ignore[no-any-return]  # the pair


def hvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """Return (output, H v) with the Hessian H of a function that gives one number: two backward passes, and no matrix.

    >>> import chainrule as cr
    >>> hvp(lambda x: (x**3).sum(), cr.tensor([1.0, 2.0]), cr.tensor([1.0, 1.0]))
    (tensor(9.), tensor([ 6., 12.]))
    """
    given = _given(inputs, create_graph)
    if v is None:
        v = ones_like(_one(given[0] if len(given) == 1 else inputs, "hvp: without v"))

    def gradient(*args: Any) -> Any:
        found, value = transforms.grad_and_value(lambda *xs: reshape(_one(func(*xs), "hvp"), ()), _numbers(given))(
            *args
        )
        return found, value

    _, pull, value = transforms.vjp(gradient, *given, has_aux=True)  # H is symmetric: vᵀH is (Hv)ᵀ
    found = pull(v if isinstance(v, tuple) else (v,))
    return _finished((value, found if isinstance(inputs, tuple) else found[0]), create_graph)  # type: ignore[no-any-return]  # the pair


def vhp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """Return (output, vᵀ H): the same numbers as ``hvp``, for H is symmetric."""
    return hvp(func, inputs, v, create_graph)


def _numbers(inputs: Any) -> Any:
    return tuple(range(len(inputs))) if isinstance(inputs, tuple) else 0


def _given(inputs: Any, create_graph: bool) -> tuple[Any, ...]:
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    return given if create_graph else tuple([detach(x) if isinstance(x, Tensor) else x for x in given])


def _finished(results: Any, create_graph: bool) -> Any:
    return results if create_graph else map_nest(lambda y: detach(y) if y.requires_grad else y, results)


def _one(output: Any, name: str) -> Tensor:
    """Return the tensor of one element that a nest consists of."""
    found = list(leaves(output))
    if len(found) != 1 or not isinstance(found[0], Tensor) or any(size != 1 for size in found[0].shape):
        got = " and ".join(str(tuple(y.shape)) if isinstance(y, Tensor) else type(y).__name__ for y in found)
        raise ShapeError(f"{name}: got {got}", expected="one number, a tensor of one element")
    return found[0]
