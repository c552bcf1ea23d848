"""Short rows, 16 side by side: also where the loop that is written out moves along more than one axis."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from tests.compiler.native import assert_native


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")


def numbers(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(-9, 9, shape).astype(np.float32)


@pytest.mark.parametrize("offset", [-1, 0, 1])
@pytest.mark.parametrize("axes", list(itertools.permutations(range(3), 2)))
def test_a_diagonal_is_summed_along_itself_and_across(axes: tuple[int, int], offset: int) -> None:
    first, second = axes
    for shape in [(3, 2, 3), (48, 32, 5), (9, 3, 8), (7, 16, 16), (20, 17, 20), (5, 5, 5)]:
        x = numbers(*shape)
        for fold in (0, 1):
            found = cr.compile(lambda x, fold=fold: cr.diagonal(x, offset, first, second).sum(fold))
            np.testing.assert_array_equal(found(cr.tensor(x)).numpy(), x.diagonal(offset, first, second).sum(fold))
            assert_native(found.report())


FOLDS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "einsum": (lambda x: cr.einsum("iji->j", x), lambda x: np.einsum("iji->j", x)),
    "largest": (lambda x: cr.diagonal(x, 0, 0, 2).amax(-1), lambda x: x.diagonal(0, 0, 2).max(-1)),
    "product": (lambda x: (cr.diagonal(x, 0, 0, 2) * 0.5).prod(-1), lambda x: (x.diagonal(0, 0, 2) * 0.5).prod(-1)),
    "of four": (lambda x: cr.diagonal(x[None], 0, 1, 3).sum(-1), lambda x: x[None].diagonal(0, 1, 3).sum(-1)),
}


@pytest.mark.parametrize("name", FOLDS)
def test_what_is_folded_along_a_diagonal(name: str) -> None:
    ours, theirs = FOLDS[name]
    x = numbers(6, 4, 6)
    compiled = cr.compile(ours)
    np.testing.assert_array_equal(compiled(cr.tensor(x)).numpy(), theirs(x))
    assert_native(compiled.report())


def test_the_gradient_of_a_softmax_along_a_diagonal() -> None:
    x = numbers(6, 4, 6)

    def gradient(x: Any) -> Any:
        x = x.detach().requires_grad_()
        (cr.diagonal(x, 0, 0, 2).softmax(-1) ** 2).sum().backward()
        return x.grad

    np.testing.assert_allclose(cr.compile(gradient)(cr.tensor(x)).numpy(), gradient(cr.tensor(x)).numpy(), atol=1e-6)


@pytest.mark.parametrize("back", [1, 2])  # sizes 0 and 1 have traces of their own
def test_a_place_counted_from_the_end_suits_every_size(back: int) -> None:
    @cr.compile
    def put(x: Any) -> Any:
        z = x * 2
        z[-back : z.shape[0] + 1 - back] = 7
        return z

    for size in (5, 6, 9, 40):
        expected = 2 * numbers(size)
        expected[-back] = 7
        np.testing.assert_array_equal(put(cr.tensor(numbers(size))).numpy(), expected)
    assert_native(put.report())
    assert str(put.report()).count("ran ") == 1, put.report()
