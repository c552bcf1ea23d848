"""The checks of gradients find what is wrong, say where, and leave alone what is right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, ArgumentTypeError, DtypeError, GradientError, TraceError
from chainrule.graph import Node, Primitive, Spec, op
from chainrule.graph.primitive import _registry, primitive
from chainrule.tensors.apply import apply
from chainrule.tensors.gradcheck import check_gradients, gradcheck, gradgradcheck

CHECKS = (check_gradients, gradcheck, gradgradcheck)


@pytest.fixture
def wrong() -> Iterator[Any]:
    """Squares with faults: ``wrong(x, fault)``; the fault is in the first gradient, or only in its gradient."""

    class FaultySquare(Primitive):
        name = "faulty_square"
        reads = ("x",)

        def shape(self, x: Any, *, fault: str) -> Spec:
            return Spec(x.shape, x.dtype)

        def evaluate(self, x: Any, *, fault: str) -> Any:
            return x * x

        def vjp(self, g: Node, y: Node, x: Node, *, need: Any, fault: str) -> Any:
            if fault == "factor":
                return g * x * 2.002
            if fault == "one element":
                return g * x * op.where(op.gt(x, 2.5), 2.1, 2.0)
            if fault == "second order":
                return g * op.stop(x) * 2
            if fault == "missing":
                return None
            return g * x * float("nan")

    yield lambda x, fault: apply(primitive("faulty_square"), (x,), {"fault": fault})
    _registry.pop("faulty_square")


def wanting(*values: Any) -> Any:
    return cr.tensor(values if len(values) != 1 else values[0], dtype=cr.float64, requires_grad=True)


def right_functions() -> Any:
    random = np.random.default_rng(0)
    x, m, n = (wanting(random.normal(size=shape)) for shape in ((4,), (3, 4), (4, 2)))
    constant = cr.tensor(random.normal(size=4))
    return (
        (lambda x: x.sin() * x.exp(), x),
        (lambda x: (x * x).sum(), x),
        (lambda a, b: a @ b, (m, n)),
        (lambda a, b: (a @ b, {"more": [a.sum(), (a * 2).tanh()]}), (m, n)),
        (lambda a, c, k: a * c * k, (m, constant, 3)),
        (lambda a: (a[0], a.argmax(), a > 0), m),
        (lambda a: (a, cr.ones(2)), x),
        (lambda a: a * 1e6 + 1e9, x),
        (lambda a: a * 1e-9, x),
        (lambda a: a.softmax(-1).log(), m),
        (lambda a: a * 2, wanting(np.zeros((0, 3)))),
        (lambda a: a.exp(), wanting(np.array(0.5))),
        (lambda a: a.t().exp(), wanting(np.ones((3, 2))).t()[::2]),
    )


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("number", range(len(right_functions())))
def test_a_right_gradient_passes(check: Any, number: int) -> None:
    function, inputs = right_functions()[number]
    with cr.no_grad():
        assert check(function, inputs) is True


def test_nothing_is_collected_in_the_inputs() -> None:
    x = wanting(1.0, 2.0)
    for check in CHECKS:
        check(lambda x: x * x, x)
    assert x.grad is None
    assert x.tolist() == [1, 2]


def test_every_element_is_compared(wrong: Any) -> None:
    x = wanting(1.0, 3.0, 2.0)
    expected = (
        r"gradcheck: output 0 by input 0: the derivative of its element \[1\] by element \[1\] is 6.3 by the chain rule and "
        r"(6|6.0000\d*|5.9999\d*) by differences; they differ by 0.3, more than 0.00601; 1 of 9 derivatives differ. Look at"
    )
    with pytest.raises(GradientError, match=expected):
        gradcheck(lambda x: wrong(x, "one element"), x)
    assert gradcheck(lambda x: wrong(x, "one element"), x, raise_exception=False) is False
    assert gradcheck(lambda x: wrong(x, "one element"), x, rtol=0.06)
    assert gradcheck(lambda x: wrong(x, "one element"), x, atol=0.4)


def test_a_random_direction_finds_it_and_the_worst_place_is_told(wrong: Any) -> None:
    x = wanting([[1.0, 3.0, 2.0]])
    expected = (
        r"check_gradients: input 1: along a random direction the derivative is \S+ by the chain rule and \S+ by differences; "
        r"they differ by \S+, more than \S+; most at its element \[0, 1\], by which the weighted sum of the outputs has the "
        r"derivative \S+ by the chain rule and \S+ by differences. Look at the vjp rule"
    )
    with pytest.raises(GradientError, match=expected):
        check_gradients(lambda a, x: a + wrong(x, "one element"), (wanting(1.0), x))


@pytest.mark.parametrize("fault", ["factor", "missing", "nan"])
def test_each_fault_of_the_first_order_is_found(wrong: Any, fault: str) -> None:
    x = wanting(1.0, 3.0)
    for check in (check_gradients, gradcheck):
        for seed in range(5):
            more = {"seed": seed} if check is check_gradients else {"rtol": 1e-4}
            with pytest.raises(GradientError):
                check(lambda x: wrong(x, fault), x, **more)


def test_a_fault_of_the_second_order_alone_is_found(wrong: Any) -> None:
    x = wanting(1.0, 3.0)

    def function(x: Any) -> Any:
        return wrong(x, "second order")

    assert gradcheck(function, x)
    assert check_gradients(function, x, order=1)
    with pytest.raises(GradientError, match=r"check_gradients, of the gradient .*: input 0: along a random direction"):
        check_gradients(function, x)
    with pytest.raises(
        GradientError, match=r"gradgradcheck .*: output 0 by input 0: .* \[\d\] by element \[\d\] is 0 by"
    ):
        gradgradcheck(function, x)
    assert gradgradcheck(function, x, raise_exception=False) is False
    assert gradgradcheck(lambda x: x * x, x, cr.ones(2, dtype=cr.float64))


def test_many_faults_are_counted_and_the_worst_is_told(wrong: Any) -> None:
    a, b = wanting(1.0, 2.0), wanting(100.0)
    with pytest.raises(GradientError, match=r"output 0 by input 1: .* 1 of 1 .*\(and 1 more pairs of output and input"):
        gradcheck(lambda a, b: (wrong(b, "factor"), wrong(a, "factor")), (a, b), rtol=1e-4)


def test_a_large_input_is_not_searched(wrong: Any) -> None:
    x = cr.linspace(1, 2, 20_001, dtype=cr.float64).requires_grad_()
    with pytest.raises(GradientError) as caught:
        check_gradients(lambda x: wrong(x, "factor"), x)
    assert "most at" not in str(caught.value)


def test_wrong_use_is_told() -> None:
    x = wanting(1.0, 2.0)
    for check in CHECKS:
        with pytest.raises(DtypeError, match=r"input 1 is float32; expected float64.*Convert it with \.double\(\)"):
            check(lambda a, b: a * b, (x, cr.ones(2, requires_grad=True)))
        with pytest.raises(ArgumentError, match="none of the 2 inputs requires grad"):
            check(lambda a, b: a * b, (x.detach(), 3.0))
        with pytest.raises(GradientError, match=r"other values when it is called again.*Seed its random numbers"):
            check(lambda a: a * cr.rand(2), x)
        with pytest.raises(ArgumentTypeError, match="a function that gave a float"):
            check(lambda a: 3.0, x)
    with pytest.raises(ArgumentError, match="order=3; expected 1 or 2"):
        check_gradients(lambda a: a, x, order=3)


def test_inside_a_compiled_function_there_is_nothing_to_compare() -> None:
    w = wanting(1.0)

    @cr.compile
    def step(x: Any) -> Any:
        check_gradients(lambda a: a * a, w)
        return x

    with pytest.raises(TraceError, match=r"check_gradients\(\) asks for the value"):
        step(cr.ones(3))
