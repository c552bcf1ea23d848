"""What the benchmarks measure: each network once as data, and every way of training it is the same training."""

from __future__ import annotations

import gzip
import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from chainrule.run import engine
from chainrule.run import threads as native_threads

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
NAMES = (
    "networks",
    "random_networks",
    "images",
    "steps",
    "threads",
    "peers.ours",
    "peers.ours_fit",
    "peers.numpy_by_hand",
)


@pytest.fixture(scope="module")
def of() -> Iterator[dict[str, ModuleType]]:
    """The modules of the benchmarks, which are scripts beside each other and no package."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield {name: importlib.import_module(name) for name in NAMES}
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def losses(way: Any, network: Any, passes: int = 3) -> np.ndarray:
    """Return the mean loss of each pass, on few small batches."""
    peer = way(network)
    found = np.array(getattr(peer, "run_in_order", peer.run)(passes))
    return found.reshape(passes, -1).mean(axis=1)


def small(network: Any) -> Any:
    return replace(network, batch=min(network.batch, 16), batches=min(network.batches, 3)).without_dropout()


def test_the_operations_of_xor_are_those_counted_by_hand(of: dict[str, ModuleType]) -> None:
    xor = of["networks"].NETWORKS["xor"]
    # 4 rows; 2-4: forward and weights, 2 · 4·2·4 each; 4-1: forward, weights and what feeds it, 2 · 4·4·1 each
    assert xor.flops() == 2 * 64 + 3 * 32
    assert xor.parameters() == 2 * 4 + 4 + 4 + 1
    assert xor.state_bytes() == 4 * 17  # gradient descent keeps nothing
    assert of["networks"].NETWORKS["expm"].state_bytes() == 3 * 4 * (5 * 32 + 33 * 16 + 17 * 4)


def test_every_network_has_a_title(of: dict[str, ModuleType]) -> None:
    assert of["networks"].NETWORKS.keys() == of["networks"].TITLES.keys()


def test_a_seed_gives_the_same_network_and_rows_each_time(of: dict[str, ModuleType]) -> None:
    network = of["random_networks"].network
    assert network(3) == network(3)
    assert len({network(seed) for seed in range(20)}) == 20
    for first, second in zip(network(3).rows().columns(), network(3).rows().columns(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_random_networks_have_every_optimizer_and_part(of: dict[str, ModuleType]) -> None:
    drawn = [of["random_networks"].network(seed) for seed in of["random_networks"].SEEDS]
    layers = [layer for network in drawn for layer in network.layers]
    assert {network.rule.name for network in drawn} == set(of["networks"].STATE)
    assert {layer.norm for layer in layers} == {"", "batch", "layer"}
    assert any(layer.dropout for layer in layers)
    assert any(network.clip_norm for network in drawn)
    assert any(network.categories for network in drawn)


def test_the_matrix_exponential_of_a_rotation_is_one(of: dict[str, ModuleType]) -> None:
    turn = np.array([[0.0, -0.5], [0.5, 0.0]])
    expected = [[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]
    np.testing.assert_allclose(of["networks"]._expm(turn), expected, atol=1e-12)


@pytest.mark.parametrize("name", ["xor", "xor-squared", "expm", "mnist-32", "covertype", "deep-20", "ratings"])
def test_ours_and_plain_numpy_are_the_same_training(of: dict[str, ModuleType], name: str) -> None:
    network = of["networks"].NETWORKS[name]
    if name not in ("xor", "xor-squared"):
        network = small(network)
    ours, fit, by_hand = of["peers.ours"], of["peers.ours_fit"], of["peers.numpy_by_hand"]
    assert by_hand.refuses(network) == ""
    expected = losses(by_hand.Peer, network)
    for way in (ours.Eager, ours.Compiled, fit.Fit):
        np.testing.assert_allclose(losses(way, network), expected, rtol=of["steps"].TOLERANCE)


@pytest.mark.parametrize("seed", range(20))
def test_our_three_ways_are_the_same_training_of_random_networks(of: dict[str, ModuleType], seed: int) -> None:
    network, ours = small(of["random_networks"].network(seed)), of["peers.ours"]
    fit = of["peers.ours_fit"]
    expected = losses(ours.Eager, network)
    for way in (ours.Compiled, fit.Fit):
        np.testing.assert_allclose(losses(way, network), expected, rtol=of["steps"].TOLERANCE)


def test_images_are_read_from_the_folder_of_the_data(
    of: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path))
    assert of["images"].folder() is None
    pixels, digits = np.arange(3 * 28 * 28).astype(np.uint8), np.array([5, 0, 4], np.uint8)
    (tmp_path / "mnist").mkdir()
    for part in ("train", "t10k"):
        header = b"\0\0\x08\x03" + np.array([3, 28, 28], ">i4").tobytes()
        (tmp_path / "mnist" / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
        header = b"\0\0\x08\x01" + np.array([3], ">i4").tobytes()
        (tmp_path / "mnist" / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + digits.tobytes()))
    found = of["images"].load()
    np.testing.assert_array_equal(found.x, pixels.reshape(3, 784))
    np.testing.assert_array_equal(found.val_y, digits)
    assert of["images"].as_floats(np.array([0, 255], np.uint8)).tolist() == [0.0, 1.0]


def test_threads_are_judged_by_the_rounds_with_two_free_cores(of: dict[str, ModuleType]) -> None:
    def one(probes: tuple[float, float], waited: float, two: float, chosen: float) -> Any:
        seconds = {"one": 4.0, "two": two, "chosen": chosen}
        return of["threads"].Round(probes, waited, seconds, barrier=1e-7, chosen=2)

    free = [one((2.0, 1.95), 0.01, two, chosen) for two, chosen in ((2.0, 2.1), (2.5, 2.5), (2.0, 2.0))]
    others = [one((1.1, 2.0), 0.0, 4.0, 4.0), one((2.0, 1.2), 0.0, 4.0, 4.0), one((2.0, 2.0), 0.3, 8.0, 8.0)]
    told = of["threads"].summary([*others, *free])
    assert (told["counted"], told["rounds"]) == (3, 6)
    assert told["gain"] == 2.0  # of 2, 1.6 and 2
    assert told["away"] == 0.0  # of 0.05, 0 and 0
    assert told["chose_two"] == 1.0
    assert of["threads"].summary(others) == {"counted": 0, "rounds": 3}


def test_a_turn_with_each_number_of_threads(of: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(engine.SWITCH, "1")
    monkeypatch.setattr(native_threads, "_chosen", None)
    monkeypatch.setattr(of["threads"], "BARRIERS", 100)
    assert of["threads"].Barriers().seconds() > 0
    ways = of["threads"].get_ready(small(of["networks"].NETWORKS["mnist-32"]), 1e-3)
    assert all(way.turn() > 0 for way in ways.values())
    assert ways["chosen"].chosen() in (1, 2)
    assert [len(way.runners()) for way in ways.values()] == [1, 1, 1]
