"""Tensors: PyTorch-shaped operations that compute at once, keep a tape, or write a trace.

tensor        the tensor itself; dtypes, state, generator: what it is made with
apply         one operation on tensors (the path every eager operation takes)
memory        views and writes in place
autograd      backward, grad; grad_mode: no_grad and its kin
arithmetic, logic, reductions, orders, views, shaping, indexing, gathering, products, creation, conversion:
              the families of functions
trace         a function as a graph, while it is written; questions: what it asks at each run; ends: where it ends
traced        a finished trace; kept: what it leaves in attributes; makers: the tensors of a run; again: calls like the last one;
              many_runs: many in one call; methods: of objects; traces, compile: the user's door
guards        what a trace takes for granted of the world outside, as guarded_names, facts and plain_data compare it;
              named, code_reads, code_variables: what its code names; reads: what it really asks of objects; reached, contents, sources: what it changes there;
              attributes: tensors that it puts there; toggles: what it changes for a while; overlaps: memory that tensors share;
              caches: what functions keep; other_threads: what others did meanwhile
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule import ops
from chainrule.tensors import (
    apply,
    arithmetic,
    autograd,
    conversion,
    creation,
    dtypes,
    gathering,
    generator,
    indexing,
    memory,
    numpy_functions,
    orders,
    printing,
    products,
    reductions,
    shaping,
    state,
    tensor,
    trace,
    views,
)
from chainrule.tensors.memory import write_result
from chainrule.tensors.tensor import Tensor, attach

FAMILIES = (arithmetic, reductions, orders, views, shaping, gathering, products, creation, conversion)


def _in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the method that writes what ``function`` returns into its first argument."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return write_result(self, function, *args, **kwargs)

    method.__name__ = method.__qualname__ = function.__name__ + "_"
    method.__doc__ = f"Write the result of ``{function.__name__}`` into the tensor."
    return method


def _in_place_operator(name: str) -> Callable[[Tensor, Any], Tensor]:
    compute = arithmetic.OPERATORS[f"__{name}__"]

    def method(self: Tensor, other: Any) -> Tensor:
        return write_result(self, compute, other)

    return method


def _attach_all() -> None:
    for family in FAMILIES:
        attach(getattr(family, "METHODS", family.FUNCTIONS))
        for name, function in getattr(family, "ALIASES", {}).items():
            setattr(Tensor, name, function)
        for function in getattr(family, "IN_PLACE", ()):
            setattr(Tensor, function.__name__ + "_", _in_place(function))
    attach([autograd.retain_grad])
    for name, function in arithmetic.OPERATORS.items():
        setattr(Tensor, name, function)
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor"):
        setattr(Tensor, f"__i{name}__", _in_place_operator(name))
    for name, function in {
        "__matmul__": products.matmul, "__getitem__": indexing.getitem, "__setitem__": indexing.setitem,
        "__deepcopy__": conversion.deep_copy, "__repr__": printing.tensor_repr, "ndimension": conversion.dim, "eq": arithmetic.eq, "where": _where_method,
        "backward": autograd.backward_of, "__array_function__": numpy_functions.array_function,
    }.items():  # fmt: skip
        setattr(Tensor, name, function)
    Tensor.T = Tensor.mT = property(conversion.last_two_exchanged)  # type: ignore[attr-defined]  # attached here
    Tensor.T = property(conversion.transposed)  # type: ignore[attr-defined]  # attached here
    Tensor.data = property(conversion.data, conversion.set_data)  # type: ignore[attr-defined]  # attached here
    Tensor.nbytes = property(conversion.nbytes_of)  # type: ignore[attr-defined]  # attached here


def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """Return the tensor where the condition holds, else other."""
    return arithmetic.where(condition, self, other)


_attach_all()

__all__ = [
    "FAMILIES", "Tensor", "apply", "arithmetic", "autograd", "conversion", "creation", "dtypes", "gathering",
    "generator", "indexing", "memory", "numpy_functions", "ops", "orders", "printing", "products", "reductions", "shaping", "state",
    "tensor", "trace", "views",
]  # fmt: skip
