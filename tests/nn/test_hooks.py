"""Hooks around forward and backward: when they are called, with what, and what they may replace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentTypeError, ShapeError


def test_hooks_are_called_around_forward_in_their_order() -> None:
    seen: list[Any] = []
    layer = nn.Linear(2, 2)
    layer.register_forward_pre_hook(lambda m, args: seen.append(("before", m is layer, len(args))))
    layer.register_forward_hook(lambda m, args, y: seen.append(("after", m is layer, tuple(y.shape))))
    layer.register_forward_hook(lambda *_: seen.append("first"), prepend=True)
    layer(cr.ones(3, 2))
    assert seen == [("before", True, 1), "first", ("after", True, (3, 2))]


def test_what_a_hook_returns_replaces_input_or_output() -> None:
    layer = nn.Identity()
    layer.register_forward_pre_hook(lambda m, args: args[0] + 1)
    layer.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    layer.register_forward_hook(lambda m, args, y: y + args[0] * 100)
    assert layer(cr.tensor(1.0)).item() == 404.0


def test_hooks_may_see_and_replace_keywords() -> None:
    class Scaled(nn.Module):
        def forward(self, x: cr.Tensor, *, by: float = 1.0) -> cr.Tensor:
            return x * by

    layer = Scaled()
    layer.register_forward_pre_hook(lambda m, args, kwargs: (args, {"by": kwargs["by"] + 1}), with_kwargs=True)
    layer.register_forward_pre_hook(lambda m, args, kwargs: None, with_kwargs=True)
    seen: list[float] = []
    layer.register_forward_hook(lambda m, args, kwargs, y: seen.append(kwargs["by"]), with_kwargs=True)
    assert layer(cr.tensor(1.0), by=2.0).item() == 3.0
    assert seen == [3.0]
    layer.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True)
    with pytest.raises(ArgumentTypeError, match=r"returned tuple; expected None or \(args, kwargs\)"):
        layer(cr.tensor(1.0), by=2.0)


def test_a_hook_is_removed_by_its_handle_or_at_the_end_of_a_with() -> None:
    seen: list[int] = []
    layer = nn.Identity()
    handle = layer.register_forward_hook(lambda *_: seen.append(1))
    with layer.register_forward_hook(lambda *_: seen.append(2)):
        layer(cr.ones(1))
    handle.remove()
    handle.remove()
    layer(cr.ones(1))
    assert seen == [1, 2]
    assert not layer._hooked


def test_a_hook_that_is_always_called_is_called_after_an_error_too() -> None:
    seen: list[str] = []
    layer = nn.Linear(2, 2)
    layer.register_forward_hook(lambda m, args, y: seen.append("always"), always_call=True)
    layer.register_forward_hook(lambda m, args, y: seen.append("else"))
    with pytest.raises(ShapeError):
        layer(cr.ones(1, 3))
    assert seen == ["always"]


def test_something_else_than_a_function_is_no_hook() -> None:
    with pytest.raises(ArgumentTypeError, match="expected a function"):
        nn.Identity().register_forward_hook(3)  # type: ignore[arg-type]  # wrong on purpose


# -- backward ----------------------------------------------------------------------------------------------------------


def test_a_backward_hook_gets_the_gradients_of_inputs_and_outputs() -> None:
    layer = nn.Linear(3, 2)
    seen: list[Any] = []
    layer.register_full_backward_pre_hook(lambda m, of_outputs: seen.append(("before", of_outputs)))
    layer.register_full_backward_hook(lambda m, of_inputs, of_outputs: seen.append((of_inputs, of_outputs)))
    x = cr.ones(4, 3, requires_grad=True)
    (layer(x) * 3).sum().backward()
    (_, before), (of_inputs, of_outputs) = seen
    assert before[0].tolist() == of_outputs[0].tolist() == [[3.0, 3.0]] * 4
    assert x.grad is not None
    assert of_inputs[0].tolist() == x.grad.tolist()
    assert not of_inputs[0].requires_grad


def test_what_a_backward_hook_returns_goes_on() -> None:
    layer = nn.Linear(2, 1, bias=False)
    layer.register_full_backward_pre_hook(lambda m, of_outputs: (of_outputs[0] * 10,))
    layer.register_full_backward_hook(lambda m, of_inputs, of_outputs: (of_inputs[0] * 2,))
    x = cr.ones(1, 2, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[10.0, 10.0]]
    assert x.grad.numpy() == pytest.approx(layer.weight.detach().numpy() * 20)


def test_a_backward_hook_is_called_once_for_several_inputs_and_outputs() -> None:
    class Pairs(nn.Module):
        def forward(self, x: cr.Tensor, n: int, y: cr.Tensor) -> tuple[cr.Tensor, int, cr.Tensor]:
            return x * n, n, (y * y).sum()

    layer, seen = Pairs(), []
    layer.register_full_backward_hook(lambda m, of_inputs, of_outputs: seen.append((of_inputs, of_outputs)))
    x, y = cr.ones(2, requires_grad=True), cr.ones(3, 2, requires_grad=True)
    a, _, b = layer(x, 3, y)
    (a.sum() + 5 * b).backward()
    assert len(seen) == 1
    of_inputs, of_outputs = seen[0]
    assert [g if g is None else g.tolist() for g in of_inputs] == [[3.0, 3.0], None, [[10.0, 10.0]] * 3]
    assert [g if g is None else g.tolist() for g in of_outputs] == [[1.0, 1.0], None, 5.0]
    assert y.grad is not None
    assert y.grad.tolist() == [[10.0, 10.0]] * 3


def test_without_a_gradient_to_the_inputs_the_hook_gets_none_for_them() -> None:
    layer, seen = nn.Linear(2, 1), []
    layer.register_full_backward_hook(lambda m, of_inputs, of_outputs: seen.append((of_inputs, len(of_outputs))))
    layer(cr.ones(1, 2)).sum().backward()
    assert seen == [((None,), 1)]


def test_a_backward_hook_that_returns_a_misfit_is_named() -> None:
    def half(m: Any, of_inputs: Any, of_outputs: Any) -> Any:
        return of_inputs[0], of_inputs[0]

    layer = nn.Linear(2, 1)
    handle = layer.register_full_backward_hook(half)
    x = cr.ones(1, 2, requires_grad=True)
    with pytest.raises(ArgumentTypeError, match=r"half returned 2 gradients; expected None or 1"):
        layer(x).sum().backward()
    handle.remove()
    layer.register_full_backward_hook(lambda m, of_inputs, of_outputs: (of_inputs[0].sum(),))
    with pytest.raises(ShapeError, match=r"gradient of shape \(\); expected \(1, 2\)"):
        layer(x).sum().backward()


def test_gradients_of_gradients_pass_through_backward_hooks() -> None:
    layer = nn.Tanh()
    layer.register_full_backward_hook(lambda m, of_inputs, of_outputs: (of_inputs[0] * 2,))
    x = cr.tensor([0.5], requires_grad=True)
    (g,) = cr.autograd.grad(layer(x).sum(), x, create_graph=True)
    (h,) = cr.autograd.grad(g.sum(), x)
    plain = cr.tensor([0.5], requires_grad=True)
    (first,) = cr.autograd.grad(plain.tanh().sum(), plain, create_graph=True)
    (second,) = cr.autograd.grad(first.sum(), plain)
    assert g.item() == pytest.approx(2 * first.item())
    assert h.item() == pytest.approx(2 * second.item())


def test_an_output_behind_a_backward_hook_can_be_written_in_place() -> None:
    layer = nn.Identity()
    layer.register_full_backward_hook(lambda *_: None)
    x = cr.ones(2, requires_grad=True)
    y = layer(x)
    y.mul_(3.0)
    assert x.tolist() == [1.0, 1.0]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3.0, 3.0]


def test_backward_hooks_are_part_of_a_native_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    x, y = cr.randn(16, 6), cr.randint(0, 3, (16,))
    found = []
    for compiled in (False, True):
        cr.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
        model[1].register_full_backward_hook(lambda module, inputs, outputs: (0.5 * inputs[0],))
        model[2].register_full_backward_pre_hook(lambda module, outputs: (2 * outputs[0],))

        def step(x: Any, y: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        run = cr.compile(step) if compiled else step
        for _ in range(4):
            run(x, y)
        if compiled:
            assert run.engine().startswith("native")
        found.append([p.detach().numpy() for p in model.parameters()])
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
