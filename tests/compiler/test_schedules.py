"""The numbers of an optimizer for many parameters are dealt to kernels that are one; sums of one layer stay apart from others'."""

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compiler.schedules import _number_of_groups


def _trained(layers: int, make_optimizer, compiled: bool):  # type: ignore[no-untyped-def]
    cr.manual_seed(0)
    model = nn.Sequential(*[part for _ in range(layers) for part in (nn.Linear(6, 6), nn.Tanh())])
    optimizer = make_optimizer(model.parameters())

    def step(x, t):  # type: ignore[no-untyped-def]
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), t)
        loss.backward()
        optimizer.step()
        return loss

    run = cr.compile(step) if compiled else step
    rng = np.random.default_rng(1)
    x, t = (cr.from_numpy(rng.standard_normal((8, 6)).astype(np.float32)) for _ in range(2))
    losses = [float(run(x, t)) for _ in range(4)]
    return run, losses, [p.detach().numpy() for p in model.parameters()]


def _kernels_with_powers(llvm: str) -> list[str]:
    functions = re.findall(r"^define [^@]*@(k\w+)\(.*?^}", llvm, re.S | re.M)
    texts = re.findall(r"^define .*?^}", llvm, re.S | re.M)
    return [
        text for text in texts if "@pow" in text and any(f"@{name}(" in text.split("\n", 1)[0] for name in functions)
    ]


@pytest.mark.parametrize("layers", [12, 16, 21])  # 24, 32 and 42 parameters
def test_one_kernel_computes_the_schedules_of_all_parameters(layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    run, losses, parameters = _trained(layers, lambda p: cr.optim.Adam(p, lr=0.01), True)
    assert len(_kernels_with_powers(run.llvm)) == 1
    _, eager_losses, eager_parameters = _trained(layers, lambda p: cr.optim.Adam(p, lr=0.01), False)
    np.testing.assert_allclose(losses, eager_losses, rtol=1e-5)
    for ours, expected in zip(parameters, eager_parameters, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


def test_a_number_of_parameters_that_cannot_be_dealt_evenly_takes_two_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    run, losses, _ = _trained(
        31, lambda p: cr.optim.NAdam(p, lr=0.01), True
    )  # 62 parameters; its numbers are kept in states
    _, eager_losses, _ = _trained(31, lambda p: cr.optim.NAdam(p, lr=0.01), False)
    np.testing.assert_allclose(losses, eager_losses, rtol=1e-5)
    assert len(_kernels_with_powers(run.llvm)) <= 2


def test_sums_of_layers_that_read_nothing_in_common_are_kernels_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    run, _, _ = _trained(8, lambda p: cr.optim.SGD(p, lr=0.01), True)
    kernels = run.loops.split("\n\n")
    sums = [kernel for kernel in kernels if "folding n" in kernel and ".bias›" in kernel]
    assert [kernel.count("= sum(") for kernel in sums] == [1] * 8


@pytest.mark.parametrize(
    ("count", "most", "groups"), [(42, 8, 6), (40, 8, 5), (46, 8, 6), (2, 8, 1), (9, 8, 3), (5, 1, 5)]
)
def test_groups_are_equal_where_they_can_be(count: int, most: int, groups: int) -> None:
    assert _number_of_groups(count, most) == groups
