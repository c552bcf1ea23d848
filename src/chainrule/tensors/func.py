"""Functions of functions, as ``torch.func`` names them: ``grad``, ``vjp``, ``jvp``, ``jacrev``, ``hessian``, …, to any nesting.

>>> import chainrule as cr
>>> cr.func.grad(cr.func.grad(lambda x: x**3))(cr.tensor(2.0))
tensor(12.)

Arguments and results may be tensors, or dicts, lists and tuples of them. Each transformation gives ``f`` variables of its
own in place of its arguments; what it returns wants a gradient if something outside of it does: an argument, or a tensor
that ``f`` reads from around it. A surrounding ``no_grad`` does not stop it; one inside ``f`` does.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chainrule.errors import ArgumentError, ArgumentTypeError, ShapeError
from chainrule.tensors.creation import zeros_like
from chainrule.tensors.shaping import reshape, stack
from chainrule.tensors.tensor import Tensor
from chainrule.tensors.variables import (
    Function,
    Level,
    check_fit,
    leaves,
    linearized,
    map_nest,
    tensors_of,
    units,
    with_aux,
    zeros_of,
)


def grad(func: Function, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Function:
    """Return the function that computes the gradient of ``func``, which returns one number (a 0-d tensor).

    ``argnums``  the argument to differentiate by, or a tuple of several (then the gradients are a tuple)
    ``has_aux``  ``func`` returns (number, something else); the gradient then comes as (gradient, something else)

    >>> import chainrule as cr
    >>> grad(lambda w, x: (w * x).sum(), argnums=(0, 1))(cr.tensor([1.0, 2.0]), cr.tensor([3.0, 4.0]))
    (tensor([3., 4.]), tensor([1., 2.]))
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def grad_and_value(func: Function, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Function:
    """Return the function that computes (gradient, value) of ``func``; with ``has_aux``: (gradient, (value, aux))."""

    @functools.wraps(func)
    def gradient_and_value(*args: Any, **kwargs: Any) -> Any:
        level = Level(func, "grad")
        output = level.call(args, kwargs, argnums)
        value, aux = with_aux(output, has_aux)
        if not isinstance(value, Tensor) or value.ndim != 0:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(
                f"grad: the function gave {got}",
                expected="one number, a 0-d tensor",
                fix="reduce it with .sum() or .mean(), or use vjp or jacrev",
            )
        left = (level.left(value), level.left(aux)) if has_aux else level.left(value)  # before the tape is freed
        return level.gradients([value], None, retain=has_aux), left

    return gradient_and_value


def vjp(func: Function, *primals: Any, has_aux: bool = False) -> Any:
    """Return (func(*primals), pull), where pull(v) gives vᵀ ∂func/∂primal for each primal, in a tuple, any number of times.

    >>> import chainrule as cr
    >>> y, pull = vjp(lambda x: x * x, cr.tensor([1.0, 2.0]))
    >>> y, pull(cr.ones(2))
    (tensor([1., 4.]), (tensor([2., 4.]),))
    """
    level = Level(func, "vjp")
    output, aux = with_aux(level.call(primals, {}, tuple(range(len(primals)))), has_aux)
    outputs = tensors_of(output, "vjp")

    def pull(cotangents: Any) -> tuple[Any, ...]:
        vectors = list(leaves(cotangents))
        check_fit("vjp: the vector", vectors, outputs)
        found: tuple[Any, ...] = level.gradients(outputs, vectors, retain=True)
        return found

    return (level.left(output), pull, level.left(aux)) if has_aux else (level.left(output), pull)


def jvp(func: Function, primals: tuple[Any, ...], tangents: tuple[Any, ...], *, has_aux: bool = False) -> Any:
    """Return (func(*primals), Σ ∂func/∂primal · tangent): the derivative along a direction.

    By the transpose of the transpose: v ↦ vᵀJ is linear, so the gradient of ⟨vᵀJ, tangent⟩ with respect to v is J tangent.

    >>> import chainrule as cr
    >>> jvp(lambda x: x * x, (cr.tensor([1.0, 2.0]),), (cr.tensor([1.0, 0.0]),))
    (tensor([1., 4.]), tensor([2., 0.]))
    """
    for name, value in (("primals", primals), ("tangents", tangents)):
        if not isinstance(value, (tuple, list)):
            raise ArgumentTypeError(f"jvp: got {type(value).__name__} as {name}", expected="a tuple, one per argument")
    output, push, aux = linearized(func, tuple(primals), {}, tuple(range(len(primals))), has_aux, "jvp")
    moved = push(list(leaves(tuple(tangents))))
    return (output, moved, aux) if has_aux else (output, moved)


def jacrev(
    func: Function, argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False, chunk_size: int | None = None
) -> Function:
    """Return the function that computes the Jacobian, a row (one output element) per backward pass.

    Its shape is that of the output followed by that of the argument. ``chunk_size`` is PyTorch's and changes nothing: rows
    are computed one by one.

    >>> import chainrule as cr
    >>> jacrev(lambda x: x * x)(cr.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    @functools.wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        level = Level(func, "jacrev")
        output, aux = with_aux(level.call(args, kwargs, argnums), has_aux)

        def rows(y: Tensor) -> Any:
            parts = [level.gradients([y], [unit], retain=True, flat=True) for unit in units(y)]
            shape = tuple(y.shape)
            jacobians = [
                reshape(stack([part[k] for part in parts]), (*shape, *x.shape))
                if parts
                else zeros_of(shape + tuple(x.shape), x)
                for k, x in enumerate(level.variables)
            ]
            return level.arranged(jacobians)

        tensors_of(output, "jacrev")
        found = map_nest(rows, output)
        return (found, level.left(aux)) if has_aux else found

    return jacobian


def jacfwd(
    func: Function, argnums: int | tuple[int, ...] = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Function:
    """Return the function that computes the Jacobian, a column (one argument element) per pass: see ``jvp``.

    Cheaper than ``jacrev`` where there are fewer argument elements than output elements. ``randomness`` is PyTorch's and
    changes nothing: ``func`` is called once.
    """

    @functools.wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        output, push, aux = linearized(func, args, kwargs, argnums, has_aux, "jacfwd")
        columns: list[list[list[Tensor]]] = []  # by variable, element, output
        zeros = [zeros_like(x) for x in push.level.variables]
        for k, x in enumerate(push.level.variables):
            columns.append([push.flat([*zeros[:k], unit, *zeros[k + 1 :]]) for unit in units(x)])
        numbers = iter(range(len(list(leaves(output)))))

        def of_output(y: Tensor) -> Any:
            number = next(numbers)
            jacobians = [
                reshape(stack([column[number] for column in columns[k]], -1), (*y.shape, *x.shape))
                if columns[k]
                else zeros_of((*y.shape, *x.shape), y)
                for k, x in enumerate(push.level.variables)
            ]
            return push.level.arranged(jacobians)

        found = map_nest(of_output, output)
        return (found, aux) if has_aux else found

    return jacobian


def hessian(func: Function, argnums: int | tuple[int, ...] = 0) -> Function:
    """Return the function that computes the matrix of second derivatives, a row per backward pass of the gradient.

    >>> import chainrule as cr
    >>> hessian(lambda x: (x**3).sum())(cr.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacrev(jacrev(func, argnums), argnums)


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Return module(*args, **kwargs), with tensors put in the place of its parameters and buffers for this call.

    ``parameter_and_buffer_dicts``  tensors by name (``named_parameters`` names them), or several such dicts
    ``args``         the arguments; what is not a tuple is the one argument
    ``tie_weights``  a tensor given for one of several names of a parameter is used for all of them
    ``strict``       raise ArgumentError unless exactly the module's names are given

    >>> import chainrule as cr
    >>> functional_call(cr.nn.Linear(1, 1), {"weight": cr.tensor([[2.0]]), "bias": cr.tensor([1.0])}, cr.tensor([3.0]))
    tensor([7.])
    """
    dicts = (
        [parameter_and_buffer_dicts] if isinstance(parameter_and_buffer_dicts, Mapping) else parameter_and_buffer_dicts
    )
    given: dict[str, Tensor] = {}
    for part in dicts:
        twice = sorted(given.keys() & part.keys())
        if twice:
            raise ArgumentError(f"functional_call: {twice[0]!r} is in two of the dicts", expected="each name once")
        given.update(part)
    places = dict(_places(module, ""))
    if strict and places.keys() != given.keys():
        missing, unknown = sorted(places.keys() - given.keys()), sorted(given.keys() - places.keys())
        raise ArgumentError(
            f"functional_call of {type(module).__name__}: missing names {missing}, unknown names {unknown}",
            expected="the names of its parameters and buffers",
        )
    chosen = {name: tensor for name, tensor in given.items() if name in places}
    if tie_weights:
        by_tensor = {id(places[name][0][places[name][1]]): tensor for name, tensor in chosen.items()}
        for name, (holder, key) in places.items():
            if name not in chosen and id(holder[key]) in by_tensor:
                chosen[name] = by_tensor[id(holder[key])]
    before = [(*places[name], places[name][0][places[name][1]]) for name in chosen]
    try:
        for name, tensor in chosen.items():
            holder, key = places[name]
            holder[key] = tensor
        arguments = () if args is None else args if isinstance(args, tuple) else (args,)
        return module(*arguments, **(kwargs or {}))
    finally:
        for holder, key, tensor in before:
            holder[key] = tensor


def _places(module: Any, prefix: str) -> Iterator[tuple[str, tuple[dict[str, Any], str]]]:
    """Yield the name of each parameter and buffer, with the dict and key that hold it."""
    for holder in (module._parameters, module._buffers):
        for key, value in holder.items():
            if value is not None:
                yield prefix + key, (holder, key)
    for key, child in module._modules.items():
        if child is not None:
            yield from _places(child, f"{prefix}{key}.")
