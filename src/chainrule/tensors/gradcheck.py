"""Is a gradient right? The chain rule's figures beside finite differences, for whoever writes a function or a primitive.

``check_gradients``  in a random direction, to second order: a few calls of the function, whatever its size
``gradcheck``        every derivative of every output by every input (PyTorch's name and arguments)
``gradgradcheck``    the same for the gradients of the gradient

>>> import chainrule as cr
>>> x = cr.tensor([0.5, 2.0], dtype=cr.float64, requires_grad=True)
>>> check_gradients(lambda x: x.log() * x.sin(), x)
True

All want float64: in float32 a difference of two values keeps three digits. Stay away from kinks: at 0, relu has a gradient
by convention, and differences give the mean of its two sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, DtypeError, GradientError
from chainrule.graph import Array
from chainrule.tensors import autograd
from chainrule.tensors.autograd import enable_grad
from chainrule.tensors.creation import randn
from chainrule.tensors.dtypes import F64
from chainrule.tensors.generator import Generator
from chainrule.tensors.tensor import Tensor, concrete, numpy_dtype
from chainrule.tensors.variables import leaves

Function = Callable[..., Any]

STEP = (
    6e-6  # about the cube root of float64's rounding: the error of the formula and that of rounding are equally small
)
OF_VALUES, OF_GRADIENTS = 1e-6, 1e-5  # how far a directional derivative may be off, relative to the sum of its parts
ROUNDING = 2.0**-52
MOST_PLACES = 20_000  # elements of an input that are searched for the worst one after a failure


class Disagreement(NamedTuple):
    """What a check found: where, and the two figures."""

    text: str
    difference: float


@enable_grad()
def check_gradients(func: Function, inputs: Any, *, order: int = 2, seed: int = 0) -> bool:
    """Return True if the gradients of ``func`` are those of central differences along a random direction.

    For each input x that requires grad, with random weights w of the outputs and a random direction u:
    ⟨wᵀ ∂func/∂x, u⟩ by the chain rule beside ⟨w, func(x + h u) - func(x - h u)⟩ / 2h, within 1e-6 of the sum of the
    absolute parts. With ``order`` 2, the same for the gradient wᵀ ∂func/∂x itself as a function of inputs and w,
    within 1e-5. A wrong rule passes with probability 0.

    Raises GradientError with the input, both figures, and the element where they differ most; DtypeError for inputs that
    are not float64; ArgumentError if no input requires grad.
    """
    given = _checked_inputs(func, inputs, "check_gradients")
    if order not in (1, 2):
        raise ArgumentError(f"check_gradients: got order={order!r}", expected="1 or 2")
    generator = Generator().manual_seed(seed)
    found = _check_direction(func, given, generator, OF_VALUES)
    if found is not None:
        raise GradientError(f"check_gradients: {found.text}", fix="look at the vjp rule of what computes it")
    if order == 2:
        weights = [_normal(y, generator).requires_grad_() for y in _float_outputs(func(*given))]
        found = _check_direction(_gradient_of(func, len(given)), (*given, *weights), generator, OF_GRADIENTS)
        if found is not None:
            raise GradientError(
                f"check_gradients, of the gradient (outputs are the gradients by the {len(given)} inputs; inputs "
                f"from {len(given)} on are the gradients that arrive at the outputs): {found.text}",
                fix="look at the vjp rules of what the vjp rule calls",
            )
    return True


@enable_grad()
def gradcheck(
    func: Function,
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Return whether every derivative of ``func`` is that of central differences: |a - n| ≤ atol + rtol |n|.

    ``inputs``  a tensor or a tuple of arguments; those tensors that require grad are checked
    ``eps``     the step of the differences; there are two calls of ``func`` per element of an input

    Raises GradientError (with ``raise_exception``) with the numbers of input and output, the worst element and both
    figures; DtypeError for inputs that are not float64; ArgumentError if no input requires grad.

    >>> import chainrule as cr
    >>> gradcheck(lambda a, b: a @ b, (cr.ones(2, 3, dtype=cr.float64, requires_grad=True), cr.ones(3, dtype=cr.float64)))
    True
    """
    given = _checked_inputs(func, inputs, "gradcheck")
    found = _check_all(func, given, eps, atol, rtol)
    if found is not None and raise_exception:
        raise GradientError(f"gradcheck: {found.text}", fix="look at the vjp rule of what computes it")
    return found is None


@enable_grad()
def gradgradcheck(
    func: Function,
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Return whether the derivatives of the gradient are those of central differences: see ``gradcheck``.

    ``grad_outputs``  the gradients that arrive at the outputs (a tensor or a tuple); random ones if left out

    The gradient is taken as a function of the inputs and of ``grad_outputs``, and checked by all of them.
    """
    given = _checked_inputs(func, inputs, "gradgradcheck")
    if grad_outputs is None:
        generator = Generator().manual_seed(0)
        arriving = tuple([_normal(y, generator).requires_grad_() for y in _float_outputs(func(*given))])
    else:
        arriving = grad_outputs if isinstance(grad_outputs, tuple) else (grad_outputs,)
    found = _check_all(_gradient_of(func, len(given)), (*given, *arriving), eps, atol, rtol)
    if found is not None and raise_exception:
        raise GradientError(
            f"gradgradcheck (outputs are the gradients by the {len(given)} inputs; inputs from {len(given)} on are the "
            f"gradients that arrive at the outputs): {found.text}",
            fix="look at the vjp rules of what the vjp rule calls",
        )
    return found is None


# -- the function at places near its inputs ----------------------------------------------------------------------------


def _checked_inputs(func: Function, inputs: Any, name: str) -> tuple[Any, ...]:
    """Return the inputs as a tuple, if they can be checked and the function gives the same values twice."""
    given = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    for k, x in enumerate(given):
        if isinstance(x, Tensor) and x.requires_grad:
            concrete(x, f"{name}()")
            if numpy_dtype(x) != F64:
                raise DtypeError(
                    f"{name}: input {k} is {numpy_dtype(x)}",
                    expected="float64, for differences of values lose half of the digits",
                    fix="convert it with .double(), and make it require grad afterwards",
                )
    if not _wanted(given):
        raise ArgumentError(
            f"{name}: none of the {len(given)} inputs requires grad",
            expected="one at least",
            fix="set requires_grad=True",
        )
    once, twice = _values(func, given), _values(func, given)
    if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(once, twice, strict=True)):
        raise GradientError(
            f"{name}: the function gives other values when it is called again",
            fix="seed its random numbers inside the function, or check it without them (dropout: model.eval())",
        )
    return given


def _wanted(inputs: Sequence[Any]) -> list[int]:
    return [k for k, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]


def _float_outputs(output: Any) -> list[Tensor]:
    """Return the outputs that can have a gradient."""
    outputs = list(leaves(output))
    for y in outputs:
        if not isinstance(y, Tensor):
            raise ArgumentTypeError(f"gradients of a function that gave a {type(y).__name__}", expected="tensors")
    return [y for y in outputs if numpy_dtype(y).kind == "f"]


def _values(func: Function, inputs: Sequence[Any]) -> list[Array]:
    return [np.array(concrete(y, "a check of gradients"), F64) for y in _float_outputs(func(*inputs))]


def _at(inputs: Sequence[Any], k: int, value: Array) -> list[Any]:
    """Return the inputs with input ``k`` at another value."""
    return [*inputs[:k], Tensor(np.asarray(value)).requires_grad_(), *inputs[k + 1 :]]


def _difference(func: Function, inputs: Sequence[Any], k: int, direction: Array, step: float) -> list[Array]:
    """Return (func(x + h u) - func(x - h u)) / 2h for input ``k``, an array per output."""
    x = inputs[k]._value
    above = _values(func, _at(inputs, k, x + step * direction))
    below = _values(func, _at(inputs, k, x - step * direction))
    return [(a - b) / (2 * step) for a, b in zip(above, below, strict=True)]


def _pulled(outputs: Sequence[Tensor], inputs: Sequence[Any], weights: Sequence[Tensor], *, keep: bool) -> list[Any]:
    """Return the gradients of Σ⟨weight, output⟩ at the inputs that require grad, 0 where nothing arrives."""
    wanted = [inputs[k] for k in _wanted(inputs)]
    used = [k for k, y in enumerate(outputs) if y.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(wanted)
    if used:
        found = autograd.grad(
            [outputs[k] for k in used], wanted, [weights[k] for k in used], retain_graph=True, create_graph=keep,
            allow_unused=True,
        )  # fmt: skip
    zeros = [Tensor(np.zeros(x._value.shape, x._value.dtype)) for x in wanted]
    return [zero if g is None else g for g, zero in zip(found, zeros, strict=True)]


def _gradient_of(func: Function, count: int) -> Function:
    """Return the function (inputs, weights) ↦ gradients of Σ⟨weight, output⟩ at those inputs that require grad."""

    def gradient(*inputs_and_weights: Any) -> tuple[Tensor, ...]:
        inputs, weights = inputs_and_weights[:count], inputs_and_weights[count:]
        with enable_grad():
            return tuple(_pulled(_float_outputs(func(*inputs)), inputs, weights, keep=True))

    return gradient


def _normal(like: Tensor, generator: Generator) -> Tensor:
    return randn(tuple(like.shape), generator=generator, dtype=numpy_dtype(like))


# -- the checks --------------------------------------------------------------------------------------------------------


def _check_direction(
    func: Function, inputs: tuple[Any, ...], generator: Generator, tolerance: float
) -> Disagreement | None:
    outputs = _float_outputs(func(*inputs))
    weights = [_normal(y, generator) for y in outputs]
    gradients = _pulled(outputs, inputs, weights, keep=False)
    sizes = sum(float(np.abs(w._value * y._value).sum()) for w, y in zip(weights, outputs, strict=True))
    for k, gradient in zip(_wanted(inputs), gradients, strict=True):
        direction = _normal(inputs[k], generator)._value
        parts = gradient._value * direction
        difference = _difference(func, inputs, k, direction, STEP)
        terms = [w._value * d for w, d in zip(weights, difference, strict=True)]
        analytical, numerical = float(parts.sum()), float(sum(term.sum() for term in terms))
        size = max(float(np.abs(parts).sum()), float(sum(np.abs(term).sum() for term in terms)))
        allowed = tolerance * size + ROUNDING * sizes / STEP + 1e-9
        off = abs(analytical - numerical)
        if not off <= allowed:  # NaN is no agreement
            worst = _worst_place(func, inputs, k, gradient._value, weights)
            text = (
                f"input {k}: along a random direction the derivative is {analytical:.9g} by the chain rule and "
                f"{numerical:.9g} by differences; they differ by {off:.3g}, more than {allowed:.3g}{worst}"
            )
            return Disagreement(text, off)
    return None


def _worst_place(func: Function, inputs: tuple[Any, ...], k: int, gradient: Array, weights: Sequence[Tensor]) -> str:
    """Say at which element of input ``k`` the gradient of Σ⟨weight, output⟩ is furthest from differences."""
    if not 0 < gradient.size <= MOST_PLACES:
        return ""
    numerical = np.zeros(gradient.shape)
    for place, unit in _units(gradient.shape):
        difference = _difference(func, inputs, k, unit, STEP)
        numerical[place] = sum((w._value * d).sum() for w, d in zip(weights, difference, strict=True))
    off = np.abs(gradient - numerical)
    place = _unravel(int(np.argmax(np.where(np.isnan(off), np.inf, off))), gradient.shape)
    return (
        f"; most at its element {list(place)}, by which the weighted sum of the outputs has the derivative "
        f"{gradient[place]:.9g} by the chain rule and {numerical[place]:.9g} by differences"
    )


def _check_all(func: Function, inputs: tuple[Any, ...], eps: float, atol: float, rtol: float) -> Disagreement | None:
    outputs = _float_outputs(func(*inputs))
    found: list[Disagreement] = []
    for k, (x, analytical) in zip(_wanted(inputs), _jacobians(outputs, inputs), strict=True):
        numerical = [np.zeros((*x.shape, *y.shape)) for y in outputs]
        for place, unit in _units(tuple(x.shape)):
            for n, difference in zip(numerical, _difference(func, inputs, k, unit, eps), strict=True):
                n[place] = difference
        for number, (a, n) in enumerate(zip(analytical, numerical, strict=True)):
            entry = _worst_entry(a, n, atol, rtol, x.ndim)
            if entry is not None:
                found.append(Disagreement(f"output {number} by input {k}: {entry.text}", entry.difference))
    if not found:
        return None
    worst = max(found, key=lambda entry: entry.difference)
    others = "" if len(found) == 1 else f" (and {len(found) - 1} more pairs of output and input differ)"
    return Disagreement(worst.text + others, worst.difference)


def _jacobians(outputs: Sequence[Tensor], inputs: tuple[Any, ...]) -> list[tuple[Tensor, list[Array]]]:
    """Return per input that requires grad, per output, the derivatives: the input's axes, then the output's."""
    wanted = [inputs[k] for k in _wanted(inputs)]
    found: list[list[Array]] = [[] for _ in wanted]
    for y in outputs:
        arrays = [np.zeros((*x.shape, *y.shape)) for x in wanted]
        for place, unit in _units(tuple(y.shape)):
            weight = Tensor(unit.astype(numpy_dtype(y)))
            for array, g in zip(arrays, _pulled([y], inputs, [weight], keep=False), strict=True):
                index: tuple[Any, ...] = (..., *place)
                array[index] = g._value
        for mine, array in zip(found, arrays, strict=True):
            mine.append(array)
    return list(zip(wanted, found, strict=True))


def _worst_entry(analytical: Array, numerical: Array, atol: float, rtol: float, axes: int) -> Disagreement | None:
    if analytical.size == 0:
        return None
    with np.errstate(invalid="ignore"):
        off = np.abs(analytical - numerical)
        excess = off - (atol + rtol * np.abs(numerical))
    same = (analytical == numerical) | (np.isnan(analytical) & np.isnan(numerical))
    excess = np.where(same, -np.inf, np.where(np.isnan(excess), np.inf, excess))
    wrong = int((excess > 0).sum())
    if wrong == 0:
        return None
    place = _unravel(int(np.argmax(excess)), excess.shape)
    a, n = float(analytical[place]), float(numerical[place])
    text = (
        f"the derivative of its element {list(place[axes:])} by element {list(place[:axes])} is {a:.9g} by the chain "
        f"rule and {n:.9g} by differences; they differ by {abs(a - n):.3g}, more than {atol + rtol * abs(n):.3g}; "
        f"{wrong} of {analytical.size} derivatives differ"
    )
    return Disagreement(text, float(excess[place]))


def _units(shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Yield each place of an array of that shape, and the array that is 1 there and 0 elsewhere."""
    for place in np.ndindex(*shape):
        unit = np.zeros(shape)
        unit[place] = 1
        yield place, unit


def _unravel(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(flat, shape))
