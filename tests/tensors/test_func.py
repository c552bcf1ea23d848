"""Functions of functions: worked examples, what is refused, memory, traces."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, ArgumentTypeError, DtypeError, InPlaceError, ShapeError
from chainrule.tensors import autograd_functional, func
from tests.tolerances import assert_close


def cube(x: Any) -> Any:
    return (x**3).sum()


def test_derivatives_of_a_cube_by_hand() -> None:
    x = cr.tensor(2.0)
    assert func.grad(cube)(x).item() == 12  # 3x²
    assert func.grad(func.grad(cube))(x).item() == 12  # 6x
    assert func.grad(func.grad(func.grad(cube)))(x).item() == 6
    assert func.hessian(cube)(cr.tensor([1.0, 2.0])).tolist() == [[6, 0], [0, 12]]
    assert func.grad_and_value(cube)(x)[1].item() == 8
    y, moved = func.jvp(lambda a, b: a * b, (x, x * 2), (cr.tensor(1.0), cr.tensor(10.0)))
    assert (y.item(), moved.item()) == (8, 24)  # d(ab) = b da + a db = 4·1 + 2·10


def test_a_variable_of_an_inner_level_is_not_one_of_an_outer() -> None:
    # d/dx (x · d/dy (x + y)) = d/dx x = 1; the confusion of x with y gives 2
    found = func.grad(lambda x: x * func.grad(lambda y: x + y)(cr.tensor(1.0)))(cr.tensor(1.0))
    assert found.item() == 1


def test_nothing_is_collected_and_nothing_outside_is_changed() -> None:
    w = cr.tensor([1.0, 2.0], requires_grad=True)
    x = cr.tensor([3.0, 4.0])
    func.grad(lambda x: (w * x).sum())(x)
    func.hessian(lambda x: (w * x * x).sum())(x)
    assert w.grad is None
    assert x.grad is None
    assert not x.requires_grad
    assert x.is_leaf


def test_the_kind_of_a_container_is_kept() -> None:
    Pair = namedtuple("Pair", "a b")
    given = OrderedDict(p=Pair(cr.ones(2), cr.zeros(2)), q=[cr.ones(1)], r=())
    found = func.grad(lambda d: (d["p"].a * 2 + d["p"].b * 3).sum() + d["q"][0].sum())(given)
    assert type(found) is OrderedDict
    assert type(found["p"]) is Pair
    assert [found["p"].a.tolist(), found["p"].b.tolist(), found["q"][0].tolist()] == [[2, 2], [3, 3], [1]]
    assert found["r"] == ()


def test_empty_arguments_and_outputs_have_empty_jacobians() -> None:
    for name in ("jacrev", "jacfwd"):
        made = getattr(func, name)
        assert made(lambda x: x * 2)(cr.zeros(0)).shape == (0, 0)
        assert made(lambda x: x.sum())(cr.zeros(0, 2)).shape == (0, 2)
        assert made(lambda x: x[:0])(cr.zeros(3)).shape == (0, 3)


def test_float32_and_float64_stay_themselves() -> None:
    for dtype in (cr.float32, cr.float64):
        x = cr.ones(2, dtype=dtype)
        y, moved = func.jvp(lambda x: x.sin(), (x,), (x,))
        for found in (func.grad(cube)(x), func.jacfwd(lambda x: x * x)(x), func.hessian(cube)(x), y, moved):
            assert found.dtype is dtype
    a, b = func.grad(lambda a, b: (a * b).sum(), argnums=(0, 1))(cr.ones(2), cr.ones(2, dtype=cr.float64))
    assert (a.dtype, b.dtype) == (cr.float32, cr.float64)


def test_pull_and_push_may_be_used_many_times() -> None:
    _, pull = func.vjp(lambda x: x.exp(), cr.zeros(2))
    for k in range(3):
        assert pull(cr.full((2,), float(k)))[0].tolist() == [k, k]


def test_a_pull_whose_argument_was_written_since_raises() -> None:
    x = cr.ones(2)
    _, pull = func.vjp(lambda x: x * x, x)
    x.add_(1)
    with pytest.raises(InPlaceError, match="was changed in place"):
        pull(cr.ones(2))


def test_a_function_may_not_write_to_its_argument_and_may_write_to_a_copy() -> None:
    with pytest.raises(InPlaceError, match="leaf that requires grad"):
        func.grad(lambda x: x.mul_(2).sum())(cr.ones(2))
    assert func.grad(lambda x: x.clone().mul_(2).sum())(cr.ones(2)).tolist() == [2, 2]


def test_the_value_that_comes_out_may_be_written() -> None:
    x = cr.tensor([1.0, 2.0])
    y, pull = func.vjp(lambda x: x.exp(), x)
    y.mul_(0)
    with pytest.raises(InPlaceError):  # d e^x reads e^x, which is gone
        pull(cr.ones(2))
    y, pull = func.vjp(lambda x: x * 3, x)
    y.mul_(0)
    assert pull(cr.ones(2))[0].tolist() == [3, 3]


def test_a_compiled_function_may_differentiate_inside() -> None:
    @cr.compile
    def step(x: Any) -> Any:
        first = func.grad(cube)(x)
        _, moved = func.jvp(lambda x: x * x, (x,), (cr.ones_like(x),))
        return first, func.grad(lambda x: func.grad(cube)(x).sum())(x), moved

    for n in (3, 4, 5):
        x = cr.randn(n, 2, dtype=cr.float64)
        found = step(x)
        for ours, expected in zip(found, (3 * x * x, 6 * x, 2 * x), strict=True):
            assert not ours.requires_grad
            assert_close(ours, expected)


def test_functional_call_gives_back_what_it_replaced() -> None:
    layer = cr.nn.Linear(2, 1)
    weight, bias = layer.weight, layer.bias
    x = cr.ones(3, 2)
    y = func.functional_call(layer, {"weight": cr.ones(1, 2)}, x)
    assert_close(y, np.float32(2) + bias.detach().expand(3, 1))
    assert layer.weight is weight
    assert layer.bias is bias
    with pytest.raises(ShapeError):
        func.functional_call(layer, {"weight": cr.ones(1, 5)}, (x,))
    assert layer.weight is weight
    both = func.functional_call(layer, ({"weight": cr.ones(1, 2)}, {"bias": cr.zeros(1)}), (), {"input": x})
    assert both.tolist() == [[2], [2], [2]]


def test_functional_call_ties_what_is_tied() -> None:
    class Tied(cr.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = cr.nn.Linear(1, 1, bias=False)
            self.b = cr.nn.Linear(1, 1, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x: Any) -> Any:
            return self.b(self.a(x))

    net, x, w = Tied(), cr.ones(1), cr.tensor([[3.0]])
    assert func.functional_call(net, {"a.weight": w}, x).item() == 9
    alone = func.functional_call(net, {"a.weight": w}, x, tie_weights=False)
    assert alone.item() == pytest.approx(3 * net.a.weight.item())


def test_functional_call_says_what_is_wrong_with_the_names() -> None:
    layer = cr.nn.Linear(2, 1)
    with pytest.raises(ArgumentError, match=r"missing names \['bias'\], unknown names \['wieght'\]"):
        func.functional_call(layer, {"weight": cr.ones(1, 2), "wieght": cr.ones(1)}, cr.ones(2), strict=True)
    with pytest.raises(ArgumentError, match="'weight' is in two of the dicts"):
        func.functional_call(layer, ({"weight": cr.ones(1, 2)}, {"weight": cr.ones(1, 2)}), cr.ones(2))


def test_wrong_use_is_told() -> None:
    x = cr.ones(2)
    for wrong, error, expected in (
        (lambda: func.grad(lambda x: x * 2)(x), ShapeError, r"gave shape \(2,\); expected one number"),
        (lambda: func.grad(lambda x: 2.0)(x), ShapeError, "gave float; expected one number"),
        (lambda: func.grad(cube)(cr.tensor([1, 2])), DtypeError, r"is of int64.*\.float\(\)"),
        (lambda: func.grad(cube)(2.0), ArgumentTypeError, "is a float; expected tensors"),
        (lambda: func.grad(lambda d: x.sum())(defaultdict(int)), ArgumentTypeError, "is a defaultdict"),
        (lambda: func.grad(cube, argnums=1)(x), ArgumentError, "argnums has 1, but the function is called with 1"),
        (lambda: func.grad(lambda a, b: a.sum(), (0, -2))(x, x), ArgumentError, "names an argument twice"),
        (lambda: func.grad(cube, has_aux=True)(x), ArgumentTypeError, "has_aux=True: the function gave a Tensor"),
        (lambda: func.jacrev(lambda x: 3)(x), ArgumentTypeError, "jacrev: the function gave a int"),
        (lambda: func.jacfwd(lambda x: "s")(x), ArgumentTypeError, "jacfwd: the function gave a str"),
        (lambda: func.vjp(lambda x: x, x)[1](cr.ones(3)), ShapeError, r"number 0 has shape \(3,\); expected \(2,\)"),
        (lambda: func.vjp(lambda x: x, x)[1]((x, x)), ArgumentError, "got 2 tensors; expected 1"),
        (lambda: func.vjp(lambda x: x, x)[1](3.0), ArgumentTypeError, "number 0 is a float"),
        (lambda: func.jvp(cube, (x,), (cr.ones(3),)), ShapeError, r"tangent: number 0 has shape \(3,\)"),
        (lambda: func.jvp(cube, x, x), ArgumentTypeError, "got Tensor as primals; expected a tuple"),
        (lambda: autograd_functional.vjp(lambda x: x, x), ShapeError, r"without v: got \(2,\)"),
        (lambda: autograd_functional.jvp(lambda x: x, (x, x)), ShapeError, r"without v: got \(2,\) and \(2,\)"),
        (lambda: autograd_functional.hessian(lambda x: x, x), ShapeError, r"hessian: got \(2,\)"),
        (lambda: autograd_functional.hvp(lambda x: (x.sum(), 3), x, x), ShapeError, r"hvp: got \(\) and int"),
    ):
        with pytest.raises(error, match=expected):
            wrong()
