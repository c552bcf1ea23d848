"""Starting values: distributions, bounds, gains."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ChainruleError
from chainrule.nn import init

stats = pytest.importorskip("scipy.stats")


@pytest.fixture(autouse=True)
def seeded() -> None:
    cr.manual_seed(1)


def drawn(function: Any, *args: Any, shape: tuple[int, ...] = (200, 300), **options: Any) -> Any:
    tensor = cr.zeros(*shape)
    assert function(tensor, *args, **options) is tensor
    assert not tensor.requires_grad
    return tensor.numpy().ravel()


def follows(values: Any, distribution: Any) -> None:
    assert stats.kstest(values, distribution.cdf).pvalue > 1e-3


FAN_IN, FAN_OUT = 300, 200


@pytest.mark.parametrize(
    ("function", "args", "bound"),
    [
        ("uniform_", (-2.0, 2.0), 2.0),
        ("xavier_uniform_", (), math.sqrt(6 / (FAN_IN + FAN_OUT))),
        ("xavier_uniform_", (2.0,), 2 * math.sqrt(6 / (FAN_IN + FAN_OUT))),
        ("kaiming_uniform_", (), math.sqrt(2) * math.sqrt(3 / FAN_IN)),
        ("kaiming_uniform_", (math.sqrt(5),), 1 / math.sqrt(FAN_IN)),
        ("kaiming_uniform_", (0, "fan_out", "relu"), math.sqrt(6 / FAN_OUT)),
    ],
)
def test_uniform_starting_values_fill_their_bounds(function: str, args: tuple[Any, ...], bound: float) -> None:
    follows(drawn(getattr(init, function), *args), stats.uniform(-bound, 2 * bound))


@pytest.mark.parametrize(
    ("function", "args", "mean", "deviation"),
    [
        ("normal_", (), 0.0, 1.0),
        ("normal_", (3.0, 0.5), 3.0, 0.5),
        ("xavier_normal_", (), 0.0, math.sqrt(2 / (FAN_IN + FAN_OUT))),
        ("kaiming_normal_", (), 0.0, math.sqrt(2 / FAN_IN)),
        ("kaiming_normal_", (0, "fan_out", "linear"), 0.0, math.sqrt(1 / FAN_OUT)),
    ],
)
def test_normal_starting_values_have_their_deviation(
    function: str, args: tuple[Any, ...], mean: float, deviation: float
) -> None:
    follows(drawn(getattr(init, function), *args), stats.norm(mean, deviation))


@pytest.mark.parametrize(("mean", "std", "a", "b"), [(0, 1, -2, 2), (1, 2, 0, 1), (0, 0.02, -2, 2), (0, 1, 3, 4)])
def test_truncated_normal_starting_values(mean: float, std: float, a: float, b: float) -> None:
    values = drawn(init.trunc_normal_, mean, std, a, b)
    assert values.min() >= a
    assert values.max() <= b
    follows(values, stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std))


def test_constant_starting_values() -> None:
    assert set(drawn(init.constant_, 0.3)) == {np.float32(0.3)}
    assert set(drawn(init.ones_)) == {1.0}
    assert set(drawn(init.zeros_)) == {0.0}
    assert drawn(init.eye_, shape=(2, 3)).tolist() == [1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("shape", [(5, 5), (4, 7), (7, 4), (3, 2, 4)])
def test_orthogonal_starting_values_have_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    w = drawn(init.orthogonal_, 2.0, shape=shape).reshape(shape[0], -1).astype(np.float64)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    assert np.abs(product - 4 * np.eye(len(product))).max() < 1e-5


def test_orthogonal_starting_values_prefer_no_direction() -> None:
    corners = [drawn(init.orthogonal_, shape=(2, 2))[0] for _ in range(400)]
    follows(np.arccos(np.clip(corners, -1, 1)) / math.pi, stats.uniform())


def test_sparse_starting_values_have_that_many_zeros_in_each_column() -> None:
    w = drawn(init.sparse_, 0.31, shape=(10, 50)).reshape(10, 50)
    assert set((w == 0).sum(0)) == {4}
    assert len({tuple(column == 0) for column in w.T}) > 10
    assert w.std() < 0.02


def test_a_generator_of_its_own_gives_the_same_values_again() -> None:
    for function in (init.uniform_, init.normal_, init.trunc_normal_, init.orthogonal_, init.kaiming_uniform_):
        a = drawn(function, generator=cr.Generator().manual_seed(3), shape=(3, 4))  # type: ignore[arg-type]  # all take one
        b = drawn(function, generator=cr.Generator().manual_seed(3), shape=(3, 4))  # type: ignore[arg-type]  # all take one
        assert a.tolist() == b.tolist()


def test_starting_values_leave_a_parameter_a_leaf() -> None:
    p = cr.nn.Parameter(cr.zeros(2, 2))
    init.xavier_uniform_(p)
    assert p.is_leaf
    assert p.requires_grad


def test_starting_values_keep_the_dtype() -> None:
    p = cr.zeros(3, 3, dtype=cr.float64)
    for function in (init.uniform_, init.normal_, init.trunc_normal_, init.orthogonal_, init.eye_):
        assert function(p).dtype == cr.float64


@pytest.mark.parametrize(
    ("name", "parameter", "gain"),
    [("linear", None, 1), ("tanh", None, 5 / 3), ("relu", None, math.sqrt(2)), ("selu", None, 0.75),
     ("leaky_relu", None, math.sqrt(2 / 1.0001)), ("leaky_relu", 0.5, math.sqrt(2 / 1.25)), ("sigmoid", None, 1)],
)  # fmt: skip
def test_gains_of_activations(name: str, parameter: float | None, gain: float) -> None:
    assert init.calculate_gain(name, parameter) == pytest.approx(gain)


@pytest.mark.parametrize(
    "call",
    [
        lambda: init.calculate_gain("rellu"), lambda: init.calculate_gain("leaky_relu", "x"),  # type: ignore[arg-type]  # wrong on purpose
        lambda: init.kaiming_uniform_(cr.zeros(2, 2), mode="fan"), lambda: init.xavier_uniform_(cr.zeros(3)),
        lambda: init.eye_(cr.zeros(3)), lambda: init.sparse_(cr.zeros(3), 0.1), lambda: init.orthogonal_(cr.zeros(3)),
        lambda: init.trunc_normal_(cr.zeros(3), a=1, b=0),
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense_are_refused(call: Any) -> None:
    with pytest.raises(ChainruleError):
        call()


def test_empty_tensors_stay_empty() -> None:
    for function in (init.kaiming_uniform_, init.kaiming_normal_, init.orthogonal_):
        assert function(cr.zeros(0, 3)).shape == (0, 3)


@pytest.mark.oracle
def test_gains_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    for name in init.GAINS:
        assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name)), name
