"""Clipping, penalties, parameters as a vector."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, NotFiniteError, ShapeError
from tests.tolerances import assert_close


def with_gradients(*gradients: Any) -> list[nn.Parameter]:
    parameters = []
    for g in gradients:
        p = nn.Parameter(cr.zeros(*np.shape(g)))
        p.grad = None if g is None else cr.tensor(np.asarray(g, np.float32))
        parameters.append(p)
    return parameters


def test_gradients_are_scaled_to_the_norm_of_all_together() -> None:
    p = with_gradients([3.0, 0.0], [[4.0]])
    total = nn.utils.clip_grad_norm_(p, 1.0)
    assert total.item() == 5.0
    assert_close(p[0].grad, [0.6, 0.0])
    assert_close(p[1].grad, [[0.8]])
    assert nn.utils.clip_grad_norm_(p, 10.0).item() == pytest.approx(1.0)
    assert_close(p[1].grad, [[0.8]])


def test_parameters_without_a_gradient_are_left_out() -> None:
    p = nn.Parameter(cr.zeros(2))
    assert nn.utils.clip_grad_norm_(p, 1.0).item() == 0.0
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0.0
    nn.utils.clip_grad_value_(p, 1.0)
    assert p.grad is None


def test_a_norm_that_is_not_finite_is_an_error_when_asked_for() -> None:
    p = with_gradients([math.nan], [1.0])
    with pytest.raises(NotFiniteError, match="the norm of 2 gradients is nan"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert math.isnan(nn.utils.clip_grad_norm_(p, 1.0).item())
    with pytest.raises(ArgumentError, match="max_norm=-1"):
        nn.utils.clip_grad_norm_(p, -1.0)


def test_gradients_are_limited_element_by_element() -> None:
    p = with_gradients([-3.0, 0.5, 2.0])
    nn.utils.clip_grad_value_(p, 1.0)
    assert p[0].grad is not None
    assert p[0].grad.tolist() == [-1.0, 0.5, 1.0]


@pytest.mark.oracle
@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, 0.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.1, 100.0])
def test_clipping_is_pytorchs(norm_type: float, max_norm: float) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=s).astype(np.float32) for s in ((3, 4), (5,), ())]
    ours = with_gradients(*gradients)
    theirs = [torch.nn.Parameter(torch.zeros(g.shape)) for g in gradients]
    for p, g in zip(theirs, gradients, strict=True):
        p.grad = torch.tensor(g)
    total = nn.utils.clip_grad_norm_(ours, max_norm, norm_type)
    assert_close(total, torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type), length=18)
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p.grad, q.grad, length=18)


def test_parameters_become_a_vector_and_back() -> None:
    model = nn.Linear(2, 3)
    vector = nn.utils.parameters_to_vector(model.parameters())
    assert vector.shape == (9,)
    assert vector.tolist() == [*model.weight.reshape(-1).tolist(), *model.bias.tolist()]  # type: ignore[union-attr]  # it has a bias
    vector.sum().backward()
    assert model.weight.grad is not None
    nn.utils.vector_to_parameters(cr.arange(9.0), model.parameters())
    assert model.weight.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert model.weight.is_leaf
    with pytest.raises(ShapeError, match=r"expected \(9,\)"):
        nn.utils.vector_to_parameters(cr.zeros(8), model.parameters())
    with pytest.raises(ArgumentError, match="at least one"):
        nn.utils.parameters_to_vector([])


def test_penalties_are_sums_over_the_weights_and_have_gradients() -> None:
    model = nn.Linear(2, 1)
    with cr.no_grad():
        model.weight.copy_(cr.tensor([[3.0, -4.0]]))
        model.bias.fill_(10.0)  # type: ignore[union-attr]  # it has a bias
    assert nn.utils.l1_penalty(model).item() == 7.0
    assert nn.utils.l2_penalty(model).item() == 25.0
    assert nn.utils.l1_penalty(model, biases=True).item() == 17.0
    assert nn.utils.l2_penalty(model.parameters(), biases=True).item() == 125.0
    (0.5 * nn.utils.l2_penalty(model) + nn.utils.l1_penalty(model)).backward()
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == [[4.0, -5.0]]
    with pytest.raises(ArgumentError, match="without learned weights"):
        nn.utils.l2_penalty(nn.ReLU())
