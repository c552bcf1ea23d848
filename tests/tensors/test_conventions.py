"""Every convention of docs/conventions.md, beside PyTorch; and what is decided otherwise."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ChainruleError
from tests.tolerances import assert_close

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

INF, NAN = float("inf"), float("nan")

# The function of one or two leaves, and the leaves.
KINKS: dict[str, tuple[str, list[Any]]] = {
    "relu at 0": ("L.relu(x)", [[-1.0, 0.0, -0.0, 2.0]]),
    "abs at 0": ("L.abs(x)", [[-1.0, 0.0, 2.0]]),
    "sign": ("L.sign(x)", [[-1.0, 0.0, 2.0]]),
    "floor, ceil, round, trunc": ("x.floor() + x.ceil() + x.round() + x.trunc()", [[-1.5, 0.0, 0.5, 2.0]]),
    "div with a rounding mode": (
        "L.div(x, z, rounding_mode='floor') + L.div(x, z, rounding_mode='trunc')", [[4.0, -3.0], [2.0, 2.0]],
    ),
    "clamp at its bounds": ("L.clamp(x, -1.0, 1.0)", [[-2.0, -1.0, 0.0, 1.0, 2.0]]),
    "clamp at bounds that are tensors": ("L.clamp(x, z, z + 2)", [[-2.0, -1.0, 0.0, 1.0, 2.0], [-1.0] * 5]),
    "maximum of equal elements": ("L.maximum(x, z)", [[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]]),
    "minimum of equal elements": ("L.minimum(x, z)", [[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]]),
    "amax over equal elements": ("L.amax(x)", [[1.0, 2.0, 2.0, 0.0, 2.0]]),
    "amin over equal elements": ("L.amin(x)", [[1.0, 0.0, 2.0, 0.0]]),
    "max over equal elements": ("L.max(x)", [[1.0, 2.0, 2.0]]),
    "min over equal elements": ("L.min(x)", [[1.0, 1.0, 2.0]]),
    "max of an axis over equal elements": ("L.max(x, 0)[0]", [[1.0, 2.0, 2.0]]),
    "min of an axis over equal elements": ("L.min(x, 0)[0]", [[3.0, 2.0, 2.0]]),
    "median over equal elements": ("L.median(x)", [[1.0, 2.0, 2.0, 5.0, 2.0]]),
    "median of an even number of elements": ("L.median(x)", [[4.0, 1.0, 3.0, 2.0]]),
    "cummax over equal elements": ("L.cummax(x, 0)[0]", [[1.0, 1.0, 0.0, 1.0, 2.0, 2.0]]),
    "cummin over equal elements": ("L.cummin(x, 0)[0]", [[1.0, 1.0, 2.0, 0.0, 0.0]]),
    "sqrt at 0": ("L.sqrt(x)", [[0.0, 4.0]]),
    "0 ** 0.5": ("x ** 0.5", [[0.0, 4.0]]),
    "x ** 0 at 0": ("x ** 0.0", [[0.0, 2.0]]),
    "0 ** y": ("x ** z", [[0.0, 0.0, 0.0], [0.0, 1.0, 2.0]]),
    "norm of zeros": ("L.norm(x)", [[0.0, 0.0]]),
    "norms of zeros of other kinds": ("L.norm(x, 1) + L.norm(x, 3) + L.norm(x, float('inf'))", [[0.0, 0.0]]),
    "std of equal elements": ("L.std(x)", [[2.0, 2.0, 2.0]]),
    "atan2 at (0, 0)": ("L.atan2(x, z)", [[0.0, 1.0], [0.0, 0.0]]),
    "xlogy where x is 0": ("L.xlogy(x, z)", [[0.0, 0.0, 1.0], [0.5, 2.0, 3.0]]),
    "prod where one element is 0": ("L.prod(x)", [[2.0, 0.0, 3.0]]),
    "prod where two elements are 0": ("L.prod(x)", [[0.0, 0.0, 3.0]]),
    "cumprod where elements are 0": ("L.cumprod(x, 0)", [[2.0, 0.0, 3.0, 0.0, 5.0]]),
    "logsumexp where some are -inf": ("L.logsumexp(x, 0)", [[-INF, 1.0, -INF]]),
}  # fmt: skip

VALUES: dict[str, tuple[str, list[Any]]] = {
    "sign of NaN": ("L.sign(x)", [[NAN, 1.0]]),
    "maximum and minimum with NaN": ("L.maximum(x, z) + L.minimum(x, z)", [[NAN, 1.0, 1.0], [1.0, NAN, 2.0]]),
    "amax and amin with NaN": ("L.amax(x) + L.amin(x)", [[1.0, NAN, 2.0]]),
    "relu and clamp of NaN": ("L.relu(x) + L.clamp(x, 0.0, 1.0)", [[NAN, 1.0]]),
    "clamp to a NaN": ("L.clamp(x, NAN)", [[1.0, 2.0]]),
    "median and quantile with NaN": ("L.median(x) + L.quantile(x, 0.5)", [[1.0, NAN, 2.0]]),
    "round of a half": ("L.round(x)", [[-1.5, -0.5, 0.5, 1.5, 2.5]]),
    "logarithms and roots outside": ("L.log(x) + L.sqrt(x)", [[-1.0, 0.0, INF, NAN]]),
    "quotients by 0": ("x / z", [[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]),
    "remainders": ("L.remainder(x, z) + L.fmod(x, z)", [[5.0, -5.0, 5.0, -5.0], [3.0, 3.0, -3.0, -3.0]]),
    "softmax of infinities": ("L.softmax(x, 0)", [[INF, 1.0, -INF]]),
    "softmax of -inf": ("L.softmax(x, 0)", [[-INF, 1.0, -INF]]),
}


def computed(library: ModuleType, code: str, leaves: list[Any], *, gradients: bool) -> list[Any]:
    names: dict[str, Any] = {"L": library, "NAN": NAN}
    made = [library.tensor(values, dtype=library.float64, requires_grad=gradients) for values in leaves]
    names.update(zip("xz", made, strict=False))
    y = eval(code, names)  # noqa: S307 - the functions of this file
    if not gradients:
        return [y.numpy()]
    y.sum().backward()
    return [y.detach().numpy(), *[leaf.grad.numpy() for leaf in made]]


@pytest.mark.parametrize("name", KINKS)
def test_the_gradient_at_a_kink_is_pytorchs(name: str) -> None:
    expected = computed(torch, *KINKS[name], gradients=True)
    for actual, wanted in zip(computed(cr, *KINKS[name], gradients=True), expected, strict=True):
        assert_close(actual, wanted)


@pytest.mark.parametrize("name", VALUES)
def test_the_value_at_a_special_place_is_pytorchs(name: str) -> None:
    expected = computed(torch, *VALUES[name], gradients=False)
    assert_close(computed(cr, *VALUES[name], gradients=False)[0], expected[0])


def test_a_negative_power_of_integers_is_0_but_for_1_and_minus_1() -> None:
    bases, powers = [1, -1, -1, 2, -3, 0], [-2, -2, -3, -1, -2, 3]
    expected = torch.tensor(bases) ** torch.tensor(powers)
    assert (cr.tensor(bases) ** cr.tensor(powers)).tolist() == expected.tolist() == [1, 1, -1, 0, 0, 0]


def test_integers_are_not_divided_by_0() -> None:
    for compute in (lambda x: x // 0, lambda x: x % 0, lambda x: cr.div(x, 0, rounding_mode="trunc")):
        with pytest.raises(ChainruleError, match="an integer is divided by 0"):
            compute(cr.tensor([1, 2]))


def test_what_is_not_set_is_0() -> None:
    assert cr.empty(2, 3).tolist() == cr.zeros(2, 3).tolist()


@pytest.mark.parametrize(("code", "leaves"), [("L.logsumexp(x, 0)", [[-INF, -INF]]), ("L.xlogy(x, z)", [[0.0], [0.0]])])
def test_where_pytorchs_gradient_is_nan_at_nothing_it_is_0_here(code: str, leaves: list[Any]) -> None:
    assert np.isnan(computed(torch, code, leaves, gradients=True)[-1]).all()
    for g in computed(cr, code, leaves, gradients=True)[1:]:
        assert not g.any()


def test_of_equal_elements_the_first_is_taken() -> None:
    x = cr.tensor([2, 1, 2, 1])
    assert cr.argsort(x).tolist() == [1, 3, 0, 2]
    assert cr.argsort(x, descending=True).tolist() == [0, 2, 1, 3]
    assert cr.topk(x, 3).indices.tolist() == [0, 2, 1]
    assert cr.kthvalue(x, 1).indices.item() == 1


def test_a_uint8_index_raises() -> None:
    with pytest.raises(ChainruleError, match="uint8"):
        cr.arange(3)[cr.tensor([0, 1, 1], dtype=cr.uint8)]


def test_infinities_and_nan_appear_without_a_warning() -> None:
    x = cr.tensor(np.array([0.0, -1.0, 3e38], np.float32))
    for y in (x.log(), x * 1e38, x / 0.0, x.sqrt(), x.exp(), (x / 0.0).to(cr.int64)):
        assert y.shape == (3,)
