"""The programs in examples/ do what they say."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import chainrule as cr

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str) -> ModuleType:
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_worked_example_gives_the_published_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    found = example("worked_example").main()
    assert round(found["before"].item(), 9) == 0.298371109
    assert round(found["after"].item(), 9) == 0.291027774
    weights = [round(w, 9) for w in [*found["W1"].flatten().tolist(), *found["W2"].flatten().tolist()]]
    assert weights == [
        0.149780716, 0.199561432, 0.249751144, 0.299502287, 0.358916480, 0.408666186, 0.511301270, 0.561370121,
    ]  # fmt: skip
    printed = capsys.readouterr().out
    for step in ("1. Forward", "2. Error", "3. Backward", "4. Gradients", "5. Update", "0.291027774"):
        assert step in printed


@pytest.mark.oracle
def test_the_worked_example_equals_pytorch_in_double_precision() -> None:
    torch = pytest.importorskip("torch")
    net = example("worked_example").network()
    x, t, w1, w2, b1, b2 = (
        torch.tensor(net[k].tolist(), dtype=torch.float64) for k in ("x", "t", "W1", "W2", "b1", "b2")
    )
    w1.requires_grad_()
    w2.requires_grad_()

    def error():
        return (0.5 * (t - torch.sigmoid(w2 @ torch.sigmoid(w1 @ x + b1) + b2)) ** 2).sum()

    error().backward()
    with torch.no_grad():
        w1 -= 0.5 * w1.grad
        w2 -= 0.5 * w2.grad
    assert round(error().item(), 9) == 0.291027774


@pytest.mark.parametrize("seed", range(5))
def test_one_layer_of_weights_stays_near_a_half_and_a_hidden_layer_learns_the_table(seed: int) -> None:
    tables = example("truth_tables")
    assert tables.distance(tables.single_layer(seed), [0.5] * 4) < 0.02
    assert tables.distance(tables.hidden_layer(seed), tables.TABLE[1]) < 0.1


def test_a_4_4_4_1_network_learns_the_parity_of_four_bits() -> None:
    tables = example("truth_tables")
    found = [tables.distance(tables.parity(seed), tables.PARITY[1]) for seed in range(5)]
    assert sum(distance < 0.1 for distance in found) >= 4, found  # each seed fails with probability 0.02


@pytest.mark.parametrize("seed", range(20))
def test_a_2_4_1_network_learns_xor_from_every_seed(seed: int) -> None:
    tables = example("truth_tables")
    assert tables.distance(tables.xor(seed), tables.XOR[1]) < 0.1


def test_the_truth_tables_count_from_how_many_seeds_they_are_learned(capsys: pytest.CaptureFixture[str]) -> None:
    example("truth_tables").count(1000, 1000)
    assert capsys.readouterr().out.splitlines() == [
        "3-4-1            1 of 1 seeds; missed: none",
        "XOR, 2-4-1       1 of 1 seeds; missed: none",
        "parity, 4-4-4-1  1 of 1 seeds; missed: none",
    ]


def test_mnist_reaches_98_percent_on_the_test_file(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "CHAINRULE_DATA", str(data_folder))
    scores = example("mnist").main([0, 1, 2])  # prints them: pytest -rA shows what a test that passed has printed
    assert np.median(scores) >= 0.98, scores


def test_the_loop_in_pytorch_style_learns() -> None:
    before = cr.get_rng_state()
    losses = example("training_loop").main()
    assert losses[-1] < 0.2 * losses[0]
    cr.set_rng_state(before)
