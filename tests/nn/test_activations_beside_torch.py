"""Every activation beside PyTorch's: values, both derivatives, at the kinks, far out, at infinity and NaN."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F
from tests.nn.beside_torch import Function, compare, normal

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle
TF = torch.nn.functional

CALLS: list[tuple[str, dict[str, object]]] = [
    ("relu", {}),
    ("relu6", {}),
    ("hardtanh", {}),
    ("hardtanh", {"min_val": -0.5, "max_val": 2.0}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("elu", {}),
    ("elu", {"alpha": 0.7}),
    ("selu", {}),
    ("celu", {}),
    ("celu", {"alpha": 2.5}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("silu", {}),
    ("mish", {}),
    ("softplus", {}),
    ("softplus", {"beta": 2.0, "threshold": 5.0}),
    ("softplus", {"beta": -0.5}),
    ("softsign", {}),
    ("hardsigmoid", {}),
    ("hardswish", {}),
    ("logsigmoid", {}),
    ("tanhshrink", {}),
    ("softshrink", {}),
    ("softshrink", {"lambd": 1.5}),
    ("hardshrink", {}),
    ("hardshrink", {"lambd": 1.0}),
    ("threshold", {"threshold": 0.5, "value": -2.0}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("softmax", {"dim": -1}),
    ("log_softmax", {"dim": 0}),
    ("softmin", {"dim": 0}),
    ("glu", {"dim": 0}),
]
# PyTorch's hardsigmoid has no second derivative, and a first of 1/6 rounded to float32; that of mish is NaN far out.
ORDER = {"hardsigmoid": 0}
ORDER_FAR_OUT = {"hardsigmoid": 0, "mish": 1}
each_call = pytest.mark.parametrize(("name", "options"), CALLS, ids=[f"{n}-{o}" for n, o in CALLS])

KINKS = [-6.0, -3.0, -2.0, -1.5, -1.0, -0.5, -0.3, -0.0, 0.0, 0.3, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 6.0, 10.0, 20.0, 40.0]
FAR = [-400.0, -100.0, -41.0, 41.0, 100.0, 400.0]
BEYOND = [-np.inf, np.inf, np.nan, 0.5]


def both(name: str, options: dict[str, object]) -> tuple[Function, Function]:
    return lambda x: getattr(F, name)(x, **options), lambda x: getattr(TF, name)(x, **options)


@each_call
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_activation_has_pytorchs_values_and_derivatives(name: str, options: dict[str, object], dtype: str) -> None:
    x = 2 * normal(4, 6)
    ours, theirs = both(name, options)
    compare(ours, theirs, x, dtype=dtype, order=ORDER.get(name, 2))


@each_call
def test_an_activation_agrees_with_pytorch_at_its_kinks(name: str, options: dict[str, object]) -> None:
    compare(*both(name, options), KINKS, order=ORDER.get(name, 1))


@each_call
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_activation_far_out_is_as_finite_as_pytorchs(name: str, options: dict[str, object], dtype: str) -> None:
    compare(*both(name, options), FAR, dtype=dtype, order=ORDER_FAR_OUT.get(name, 2))


@each_call
def test_infinities_and_nan_come_out_as_pytorchs(name: str, options: dict[str, object]) -> None:
    compare(*both(name, options), BEYOND, order=0)


@each_call
def test_an_activation_takes_empty_and_0d_tensors(name: str, options: dict[str, object]) -> None:
    ours, theirs = both(name, options)
    compare(ours, theirs, np.zeros((2, 0)), order=ORDER.get(name, 1))
    if "dim" not in options:
        compare(ours, theirs, 0.7, order=ORDER.get(name, 1))


def test_the_slope_of_hardsigmoid_is_a_sixth_between_its_kinks() -> None:
    x = cr.tensor([-4.0, -3.0, -2.9, 0.0, 2.9, 3.0, 4.0], dtype=cr.float64, requires_grad=True)
    F.hardsigmoid(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 1 / 6, 1 / 6, 1 / 6, 0, 0]


@pytest.mark.parametrize(
    "name", ["relu", "relu6", "hardtanh", "leaky_relu", "elu", "selu", "celu", "silu", "mish", "hardswish"]
)
def test_an_activation_in_place_writes_into_its_input(name: str) -> None:
    x = normal(3, 4)
    compare(
        lambda x: getattr(F, name)(x * 1.0, inplace=True),
        lambda x: getattr(TF, name)(x * 1.0, inplace=True),
        x,
        order=1,
    )


def test_prelu_learns_one_slope_or_one_for_each_channel() -> None:
    for weight, shape in (([0.25], (3, 4)), ([0.1, 0.2, 0.3, -0.4], (3, 4)), ([0.1, 0.2], (3, 2, 5)), ([0.3], (5,))):
        compare(F.prelu, TF.prelu, normal(*shape), np.array(weight))


MODULES = [
    ("Sigmoid", ()), ("Tanh", ()), ("ReLU", ()), ("ReLU6", ()), ("LeakyReLU", (0.2,)), ("ELU", (0.5,)), ("SELU", ()),
    ("CELU", (1.5,)), ("GELU", ("tanh",)), ("GELU", ()), ("SiLU", ()), ("Mish", ()), ("Softplus", (2, 3)),
    ("Softsign", ()), ("Hardtanh", (-2, 0.5)), ("Hardsigmoid", ()), ("Hardswish", ()), ("LogSigmoid", ()),
    ("Tanhshrink", ()), ("Softshrink", (0.3,)), ("Hardshrink", (0.3,)), ("Threshold", (0.1, 20)), ("Softmax", (1,)),
    ("LogSoftmax", (1,)), ("Softmin", (1,)), ("PReLU", (6, 0.1)), ("GLU", (0,)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), MODULES, ids=[f"{n}{a}" for n, a in MODULES])
def test_an_activation_module_calls_its_function_and_shows_itself_as_pytorchs(name: str, args: tuple[object]) -> None:
    ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    assert repr(ours) == repr(theirs)
    compare(ours.double(), theirs.double(), normal(4, 6), order=ORDER.get(name.lower(), 1))


@pytest.mark.parametrize(
    "name",
    ["ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "SiLU", "Mish", "Hardtanh", "Hardsigmoid", "Hardswish"],
)
def test_a_module_that_works_in_place_says_so_as_pytorchs(name: str) -> None:
    assert repr(getattr(nn, name)(inplace=True)) == repr(getattr(torch.nn, name)(inplace=True))
