"""Products of one form share a kernel: text and records are those of writing each by itself.

What makes two of them differ in their results makes two forms: results are those of the interpreter, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compiler import build
from chainrule.compiler.pipeline import Compilation
from chainrule.compiler.target import host
from chainrule.nn import functional as F
from chainrule.run.native import NativeProgram
from chainrule.run.program import late_calls
from tests.compiler.native import assert_native
from tests.compiler.random_graphs import random_case
from tests.tolerances import assert_close


class Residual(nn.Module):
    """x + f(x), with the weights of both layers in another order each time."""

    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: Any) -> Any:
        return x + self.b(F.relu(self.a(x)))


def layers(*activations: type[nn.Module]) -> nn.Module:
    return nn.Sequential(*[part for make in activations for part in (nn.Linear(24, 24), make())], nn.Linear(24, 3))


def residual() -> nn.Module:
    a, b = nn.Linear(24, 24), nn.Linear(24, 24)
    return nn.Sequential(Residual(a, b), Residual(b, a), Residual(a, a), nn.Linear(24, 24), nn.Linear(24, 3))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "alike": lambda: layers(nn.Tanh, nn.Tanh, nn.Tanh, nn.Tanh),
    "mixed": lambda: layers(nn.Tanh, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.ReLU, nn.GELU),
    "dropout": lambda: nn.Sequential(layers(nn.ReLU), nn.Dropout(0.5), nn.Linear(3, 24), layers(nn.ReLU, nn.Dropout)),
    "norm": lambda: nn.Sequential(nn.Linear(24, 24), nn.LayerNorm(24), nn.Linear(24, 24), nn.LayerNorm(24), layers()),
    "shared weights": residual,
    "no bias": lambda: nn.Sequential(nn.Linear(24, 24, bias=False), nn.Linear(24, 24), nn.Linear(24, 24, bias=False)),
    "large": lambda: nn.Sequential(
        nn.Linear(24, 1100), nn.Linear(1100, 1100), nn.Linear(1100, 1100), nn.Linear(1100, 3)
    ),
}
OPTIMIZERS: list[Callable[[Any], Any]] = [
    lambda p: cr.optim.SGD(p, lr=0.1),
    lambda p: cr.optim.AdamW(p, lr=0.01, weight_decay=0.1),
]


def compiled(program: NativeProgram) -> tuple[str, bytes, int]:
    """Return text, recipe, and how many products share their kernels with another."""
    made = Compilation(program.graph, late_calls(program.graph), program.in_place, host(), program.hints)
    products = sum(region.product is not None for region in made.regions.all)
    return made.ir, made.recipe().to_bytes(), products - len(made.build._made)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_text_and_records_are_those_of_writing_each(
    name: str, optimizer: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    cr.manual_seed(0)
    model = NETWORKS[name]()
    own = optimizer(model.parameters())

    @cr.compile
    def step(x: Any, y: Any) -> Any:
        own.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0) if name == "mixed" else None
        own.step()
        return loss

    x = np.random.default_rng(0).standard_normal((17, 24)).astype(np.float32)
    step(cr.from_numpy(x), cr.zeros(17, dtype=cr.int64))
    program = step._native()
    text, recipe, shared = compiled(program)
    assert shared > 0
    monkeypatch.setattr(build, "form_of", lambda targets, region: None)
    assert compiled(program)[:2] == (text, recipe)


def test_so_they_are_in_random_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(60):
        case = random_case(seed)
        program = NativeProgram(case.graph, case.in_place, {"n": case.batches[0]} if case.batches[0] else {})
        with monkeypatch.context() as patch:
            expected = compiled(program)[:2]
            patch.setattr(build, "form_of", lambda targets, region: None)
            assert compiled(program)[:2] == expected


def dropouts() -> Callable[..., Any]:
    model = nn.Sequential(*[part for _ in range(4) for part in (nn.Linear(24, 24), nn.ReLU(), nn.Dropout(0.5))])
    return lambda x, z: model(x)


def slices() -> Callable[..., Any]:
    linear = [nn.Linear(24, 24) for _ in range(3)]

    def forward(x: Any, z: Any) -> Any:
        for k, layer in enumerate(linear):
            x = F.relu(layer(x)) + z[:, 24 * k : 24 * k + 24]
        return x

    return forward


def factors() -> Callable[..., Any]:
    linear = [nn.Linear(24, 24) for _ in range(3)]

    def forward(x: Any, z: Any) -> Any:
        for k, layer in enumerate(linear):
            x = layer(x) * (k + 1.5)
        return x

    return forward


@pytest.mark.parametrize("make", [dropouts, slices, factors], ids=lambda make: make.__name__)
def test_layers_that_differ_in_what_follows_them_do_not_share(
    make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, z = (np.random.default_rng(0).standard_normal((8, n)).astype(np.float32) for n in (24, 72))
    found = {}
    for engine in ("0", "1"):
        monkeypatch.setenv("CHAINRULE_COMPILE", engine)
        cr.manual_seed(0)
        forward = cr.compile(make())
        found[engine] = forward(cr.from_numpy(x), cr.from_numpy(z)).detach().numpy()
    assert_native(forward.report())
    assert_close(found["1"], found["0"])
