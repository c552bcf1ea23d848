"""backward and grad as a user meets them: where gradients go, how they add up, and what is refused with which words."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, ArgumentTypeError, GradientError, InPlaceError, NameUnknown, ShapeError
from tests.tolerances import assert_close


def wanting(*values: Any) -> Any:
    return cr.tensor(values[0] if len(values) == 1 else values, dtype=cr.float64, requires_grad=True)


def constant(*values: Any) -> Any:
    return cr.tensor(values[0] if len(values) == 1 else values, dtype=cr.float64)


# -- derivatives of any order ----------------------------------------------------------------------------------------------


def derivatives(function: Any, at: float, orders: int) -> list[float]:
    x = wanting(at)
    y = function(x)
    found = [y.item()]
    for _ in range(orders):
        (y,) = cr.autograd.grad(y, x, create_graph=True)
        found.append(y.item())
    return found


def test_a_cube_has_three_derivatives() -> None:
    assert derivatives(lambda x: x**3, 2.0, 3) == [8, 12, 12, 6]
    assert derivatives(lambda x: x * x * x, 2.0, 3) == [8, 12, 12, 6]


def test_the_sine_to_fifth_order() -> None:
    s, c = np.sin(0.7), np.cos(0.7)
    assert_close(np.array(derivatives(cr.sin, 0.7, 5)), np.array([s, c, -s, -c, s, c]))


def test_the_exponential_is_its_own_derivative_to_eighth_order() -> None:
    assert_close(np.array(derivatives(cr.exp, 0.3, 8)), np.full(9, np.exp(0.3)))


# -- where gradients go ----------------------------------------------------------------------------------------------------


def test_backward_collects_at_leaves_that_require_a_gradient() -> None:
    a, b, c = wanting(2.0), wanting(3.0), constant(5.0)
    h = a * b
    (h * c).backward()
    assert (a.grad.item(), b.grad.item(), c.grad, h.grad) == (15, 10, None, None)


def test_gradients_of_several_passes_add_up() -> None:
    x = wanting(1.0, 2.0)
    (x * x).sum().backward()
    (3 * x).sum().backward()
    assert x.grad.tolist() == [5, 7]


def test_whoever_holds_the_gradient_sees_what_is_added() -> None:
    x = wanting(1.0, 2.0)
    (x * x).sum().backward()
    held = x.grad
    (3 * x).sum().backward()
    assert x.grad is held
    assert held.tolist() == [5, 7]


def test_two_leaves_never_share_a_gradient() -> None:
    a, b = wanting(3.0, 4.0), wanting(3.0, 4.0)
    (a + b).backward(constant(3.0, 4.0))
    a.grad.mul_(0.5)  # clipping in place
    assert (a.grad.tolist(), b.grad.tolist()) == ([1.5, 2], [3, 4])
    a, b = wanting(3.0, 4.0), wanting(3.0, 4.0)
    (a + b).sum().backward()  # the gradient of a sum is one number, spread out
    a.grad[0] = 7
    assert (a.grad.tolist(), b.grad.tolist()) == ([7, 1], [1, 1])


@pytest.mark.parametrize("create_graph", [False, True])
def test_the_users_gradient_is_left_alone(create_graph: bool) -> None:
    x, v = wanting(1.0, 2.0), constant(3.0, 4.0)
    y = x + 0
    y.backward(v, retain_graph=True, create_graph=create_graph)
    with cr.no_grad():
        x.grad.mul_(10)
    assert v.tolist() == [3, 4]
    y.backward(v)
    assert v.tolist() == [3, 4]
    assert x.grad.tolist() == [33, 44]


def test_a_gradient_that_two_want_is_copied_when_it_is_recorded_too() -> None:
    x = wanting(1.0, 2.0)
    h = x + 0
    h.retain_grad()
    h.sum().backward(create_graph=True)
    with cr.no_grad():
        x.grad.mul_(10)
    assert (x.grad.tolist(), h.grad.tolist()) == ([10, 10], [1, 1])


def test_a_gradient_has_the_dtype_of_its_tensor() -> None:
    x = cr.ones(2, requires_grad=True)
    w = wanting(1.0, 2.0)
    (x * w).sum().backward()
    assert (x.grad.dtype, w.grad.dtype) == (cr.float32, cr.float64)
    x.grad = None
    (x * 2).backward(cr.ones(2, dtype=cr.float64))
    assert x.grad.dtype is cr.float32


def test_retain_grad_collects_where_an_operation_ended() -> None:
    x = wanting(2.0)
    h = x * 3
    h.retain_grad()
    (h * h).backward()
    assert (h.grad.item(), x.grad.item()) == (12, 36)
    x.retain_grad()  # a leaf collects anyway
    with pytest.raises(GradientError, match="does not require grad"):
        constant(1.0).retain_grad()


def test_a_tensor_that_is_gone_collects_nothing() -> None:
    x, y = wanting(2.0), wanting(3.0)
    z = x * y
    del y
    z.backward()
    assert x.grad.item() == 3


# -- inputs, and grad ------------------------------------------------------------------------------------------------------


def test_backward_to_chosen_inputs_leaves_the_others() -> None:
    a, b = wanting(2.0), wanting(3.0)
    h = a * b
    (h * h).backward(inputs=[a, h])
    assert (a.grad.item(), h.grad.item(), b.grad) == (36, 12, None)
    a.grad = None
    (a * b).backward(inputs=a)
    assert (a.grad.item(), b.grad) == (3, None)


def test_grad_returns_and_collects_nothing() -> None:
    a, b = wanting(2.0), wanting(3.0)
    ga, gb = cr.autograd.grad(a * b, [a, b])
    assert (ga.item(), gb.item(), a.grad, b.grad) == (3, 2, None, None)
    assert not ga.requires_grad


def test_grad_of_several_outputs_is_that_of_their_weighted_sum() -> None:
    x = wanting(1.0, 2.0)
    (g,) = cr.autograd.grad([x * x, x.sum()], x, [constant(10.0, 100.0), None])
    assert g.tolist() == [21, 401]


def test_the_same_input_twice_gets_its_gradient_twice() -> None:
    x = wanting(2.0)
    assert [g.item() for g in cr.autograd.grad(x * x, [x, x])] == [4, 4]


def test_an_input_that_is_not_used_is_told_or_none_or_zeros() -> None:
    x, unused = wanting(1.0), wanting([1.0, 2.0])
    with pytest.raises(GradientError, match=r"grad: input 1 \(shape \(2,\)\) is not used.*allow_unused=True"):
        cr.autograd.grad(x * x, [x, unused])
    assert cr.autograd.grad(x * x, [x, unused], allow_unused=True)[1] is None
    zeros = cr.autograd.grad(x * x, [x, unused], materialize_grads=True)[1]
    assert (zeros.tolist(), zeros.dtype) == ([0, 0], cr.float64)
    with pytest.raises(ArgumentError, match="materialize_grads=True and allow_unused=False"):
        cr.autograd.grad(x * x, [x, unused], allow_unused=False, materialize_grads=True)


def test_zeros_for_an_unused_input_inside_a_compiled_function() -> None:
    @cr.compile
    def gradients(x: Any, unused: Any) -> Any:
        return cr.autograd.grad((x * x).sum(), [x, unused], materialize_grads=True)

    for n in (3, 4):
        found = gradients(cr.ones(n, requires_grad=True), cr.ones(n, 2, requires_grad=True))
        assert [g.tolist() for g in found] == [[2.0] * n, [[0.0, 0.0]] * n]


def test_backward_of_several_tensors() -> None:
    x = wanting(1.0, 2.0)
    cr.autograd.backward([(x * x).sum(), x], [None, constant(5.0, 7.0)])
    assert x.grad.tolist() == [7, 11]


# -- gradient arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_element_of_any_shape_needs_no_gradient_argument(shape: tuple[int, ...]) -> None:
    x = wanting(3.0)
    (x * cr.ones(shape, dtype=cr.float64)).backward()
    assert x.grad.item() == 1


@pytest.mark.parametrize("shape", [(2,), (2, 1), (0,), (1, 0)])
def test_other_shapes_do(shape: tuple[int, ...]) -> None:
    y = wanting(3.0) * cr.ones(shape, dtype=cr.float64)
    with pytest.raises(GradientError, match=r"expected one element, or a gradient.*\.sum\(\)"):
        y.backward()
    y.backward(cr.ones(shape, dtype=cr.float64))


def test_a_gradient_of_another_shape_or_type_is_refused() -> None:
    y = wanting(1.0, 2.0) * 2
    with pytest.raises(ShapeError, match=r"backward: the gradient has shape \(3,\); expected the tensor's \(2,\)"):
        y.backward(cr.ones(3))
    with pytest.raises(ArgumentTypeError, match="backward: got a gradient of type float"):
        y.backward(1.0)
    with pytest.raises(ArgumentTypeError, match="grad: got a gradient of type ndarray"):
        cr.autograd.grad(y, y, [np.ones(2)])
    with pytest.raises(ArgumentError, match="grad: got 1 tensors and 2 gradients"):
        cr.autograd.grad(y, y, [cr.ones(2), cr.ones(2)])


def test_what_needs_no_gradient_is_told_apart() -> None:
    x = wanting(2.0)
    with pytest.raises(GradientError, match=r"backward of a tensor of shape \(\) that does not require grad"):
        constant(1.0).backward()
    with cr.no_grad():
        y = x * x
    with pytest.raises(GradientError, match="no tape leads to it.*outside of no_grad"):
        y.backward()
    with pytest.raises(GradientError, match=r"grad: input 0 \(shape \(\)\) does not require grad"):
        cr.autograd.grad(x * x, constant(1.0))
    with pytest.raises(ArgumentTypeError, match="grad: inputs: number 1 is of type str"):
        cr.autograd.grad(x * x, [x, "x"])
    with pytest.raises(ArgumentError, match="backward: inputs: there are none"):
        (x * x).backward(inputs=[])
    with pytest.raises(ArgumentError, match=r"is_grads_batched=True.*jacrev"):
        cr.autograd.grad(x * x, x, is_grads_batched=True)


def test_a_gradient_argument_may_itself_want_a_gradient() -> None:
    x, v = wanting(1.0, 2.0), wanting(3.0, 4.0)
    (g,) = cr.autograd.grad(x * x, x, v, create_graph=True)
    (h,) = cr.autograd.grad(g.sum(), v)
    assert (g.tolist(), h.tolist()) == ([6, 16], [2, 4])


# -- gradients of gradients ------------------------------------------------------------------------------------------------


def test_a_recorded_gradient_can_be_part_of_a_loss() -> None:
    x, w = constant(1.0, 2.0), wanting(0.5)
    data = x.detach().requires_grad_()
    (g,) = cr.autograd.grad((w * data**3).sum(), data, create_graph=True)
    (g * g).sum().backward()  # Σ (3 w x²)²: by w, 18 w Σ x⁴
    assert w.grad.item() == pytest.approx(18 * 0.5 * 17)


def test_a_recorded_gradient_written_in_place_is_noticed() -> None:
    x = wanting(1.0, 2.0)
    (g,) = cr.autograd.grad((x**3).sum(), x, create_graph=True)
    y = (g * g).sum()
    with cr.no_grad():
        g.mul_(2)
    with pytest.raises(InPlaceError, match="changed in place"):
        y.backward()


def test_recorded_gradients_add_up() -> None:
    x = wanting(2.0)
    (x**3).backward(create_graph=True)
    (x**3).backward(create_graph=True)
    assert x.grad.requires_grad
    total = x.grad
    x.grad = None
    total.backward()
    assert x.grad.item() == 24


def test_a_plain_gradient_is_added_to_a_recorded_one_in_place() -> None:
    x = wanting(2.0)
    (x**3).backward(create_graph=True)
    held = x.grad
    (5 * x).backward()
    assert x.grad is held
    assert held.item() == 17


def test_backward_inside_no_grad_works() -> None:
    x = wanting(2.0)
    y = x**3
    with cr.no_grad():
        y.backward(create_graph=True)
        assert x.grad.requires_grad
        assert not cr.is_grad_enabled()


def test_the_hessian_of_a_small_network_is_symmetric() -> None:
    cr.manual_seed(0)
    x, w1, w2 = cr.randn(5, 3, dtype=cr.float64), cr.randn(3, 2, dtype=cr.float64), cr.randn(2, dtype=cr.float64)

    def loss(flat: Any) -> Any:
        return (((x @ flat[:6].reshape(3, 2)).tanh() @ flat[6:]) ** 2).mean()

    flat = cr.cat([w1.reshape(-1), w2])
    h = cr.func.hessian(loss)(flat)
    assert_close(h, np.asarray(h).T)
    step = 1e-5
    for k in range(8):
        unit = np.zeros(8)
        unit[k] = step
        above, below = (cr.func.grad(loss)(flat + cr.tensor(sign * unit)) for sign in (1, -1))
        np.testing.assert_allclose(np.asarray(h[k]), np.asarray(above - below) / (2 * step), atol=1e-7)


# -- threads, and names ----------------------------------------------------------------------------------------------------


def test_threads_differentiate_side_by_side() -> None:
    found: dict[int, float] = {}

    def work(k: int) -> None:
        x = wanting(float(k))
        for _ in range(20):
            y = x
            for _ in range(50):
                y = y.sin()
            (g,) = cr.autograd.grad(y, x, create_graph=True)
            (h,) = cr.autograd.grad(g, x)
        found[k] = h.item()

    threads = [threading.Thread(target=work, args=(k,)) for k in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = dict(found)
    for k in (1, 2, 3):
        work(k)
    assert found == together


def test_a_name_that_is_not_here_gets_the_nearest() -> None:
    with pytest.raises(NameUnknown, match=r"chainrule\.autograd has no 'gradchek'.*gradcheck"):
        cr.autograd.gradchek


def test_a_function_with_its_own_gradient_is_a_primitive() -> None:
    with pytest.raises(NameUnknown, match=r"has no 'Function'\. Write a Primitive with its rules"):
        cr.autograd.Function
