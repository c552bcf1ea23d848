"""Functions with a cache (``functools.cache``, ``lru_cache``) that compiled code calls."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import TraceError

CACHES: dict[str, Callable[[Any], Any]] = {
    "cache": functools.cache,
    "lru_cache": functools.lru_cache,
    "lru_cache with an end": functools.lru_cache(maxsize=2),
}


@pytest.fixture(autouse=True, params=["interpreter", "native"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1" if request.param == "native" else "0")


@pytest.fixture(params=CACHES)
def cached(request: pytest.FixtureRequest) -> Any:
    return CACHES[request.param]


class Holder:
    x: Any = None


def rows(n: int, columns: int = 3) -> Any:
    return np.arange(n * columns, dtype=np.float32).reshape(n, columns)


def test_each_trace_computes_what_is_cached(cached: Any) -> None:
    @cached
    def mask(n: int) -> Any:
        return cr.tril(cr.ones(n, n))

    def masked(x: Any) -> Any:
        return (x @ mask(x.shape[1])).sum()

    first, second = cr.compile(masked), cr.compile(lambda x: masked(x) * 2)
    for x in (rows(3), rows(1), rows(5), rows(4, 2), rows(4, 5), rows(2, 7)):
        expected = float((x @ np.tril(np.ones((x.shape[1], x.shape[1]), np.float32))).sum())
        assert first(x).item() == pytest.approx(expected)
        assert second(x).item() == pytest.approx(2 * expected)
    assert masked(cr.tensor(rows(3))).item() == first(rows(3)).item()
    assert mask(3).tolist() == np.tril(np.ones((3, 3))).tolist()


def test_nests_and_methods_are_looked_into(cached: Any) -> None:
    class Rope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("rates", cr.tensor([1.0, 0.5, 0.25]))

        @cached
        def angles(self, n: int) -> tuple[Any, dict[str, Any]]:
            at = cr.arange(n).reshape(n, 1) * self.rates
            return at.cos(), {"sin": at.sin()}

        @staticmethod
        @cached
        def scale(n: int) -> Any:
            return cr.full((n,), 2.0)

        def forward(self, x: Any) -> Any:
            cos, rest = self.angles(x.shape[1])
            return (x * cos + x.flip(1) * rest["sin"]) * self.scale(3)

    model = Rope()
    x = np.random.default_rng(0).normal(size=(3, 4, 3)).astype(np.float32)
    for size in (3, 1, 2):
        found = cr.compile(model)(x[:size])
        again = cr.compile(lambda x: model(x) + 0)(x[:size])
        np.testing.assert_array_equal(found.numpy(), again.numpy())
        np.testing.assert_allclose(found.numpy(), Rope()(cr.tensor(x[:size])).numpy(), rtol=1e-5, atol=1e-6)


def test_what_a_cache_without_an_end_held_before_stays_in_it() -> None:
    @functools.cache
    def table(n: int) -> Any:
        return cr.arange(n) * 2.0

    held = table(4)
    double = cr.compile(lambda x: x * table(x.shape[1]))
    assert double(rows(2, 4)).tolist() == (rows(2, 4) * [0, 2, 4, 6]).tolist()
    assert double(rows(2, 2)).tolist() == (rows(2, 2) * [0, 2]).tolist()
    assert table(4) is held
    held.fill_(1)
    assert double(rows(2, 4)).tolist() == rows(2, 4).tolist()


def test_a_cache_that_keeps_no_tensors_is_left_alone(cached: Any) -> None:
    @cached
    def factor(n: int) -> float:
        return n / 2

    scale = cr.compile(lambda x: x * factor(x.shape[1]))
    for x in (rows(2), rows(1), rows(2)):
        assert scale(x).tolist() == (x * 1.5).tolist()
    assert factor.cache_info().misses == 1


def test_results_that_are_dicts_are_no_entries(cached: Any) -> None:
    @cached
    def parts(n: int) -> dict[str, Any]:
        return {"ones": cr.ones(n)} if n > 2 else {}

    add = cr.compile(lambda x: x + parts(x.shape[1]).get("ones", 0))
    parts(1)
    for x in (rows(2), rows(1), rows(2, 2), rows(2, 1), rows(1, 4)):
        assert add(x).tolist() == (x + (x.shape[1] > 2)).tolist()
    assert parts(4)["ones"].tolist() == [1.0] * 4


def test_after_a_trace_that_failed_nothing_is_left_in_a_cache(cached: Any) -> None:
    @cached
    def ones(n: int) -> Any:
        return cr.ones(n) + 1

    def fails(x: Any) -> Any:
        return float((x * ones(3)).sum())

    with pytest.raises(TraceError):
        cr.compile(fails)(rows(2))
    assert fails(cr.tensor(rows(2))) == 30
    decides = cr.compile(lambda x: x * ones(3) if x.shape[0] > 2 else x)
    assert decides(rows(4)).tolist() == (rows(4) * 2).tolist()


def test_a_cache_of_what_differs_from_run_to_run_is_refused(cached: Any) -> None:
    weight = nn.Parameter(cr.ones(3))
    holder = Holder()

    @cached
    def noise(n: int) -> Any:
        return cr.randn(n)

    @cached
    def scaled() -> Any:
        return weight / weight.sum()

    @cached
    def mean_of_held() -> Any:
        return holder.x.mean(0)

    def holds(x: Any) -> Any:
        holder.x = x
        return x - mean_of_held()

    def centred(x: Any) -> Any:
        @cached
        def mean() -> Any:
            return x.mean(0)

        return x - mean()

    for code, told in [
        (lambda x: x * noise(3), "'noise' keeps in its cache what it computed of random numbers"),
        (lambda x: x * scaled(), "'scaled' keeps in its cache what it computed of a parameter"),
        (holds, "'mean_of_held' keeps in its cache what it computed of an argument"),
    ]:
        with pytest.raises(TraceError, match=told + ".*Python would compute it once.*Call it before"):
            cr.compile(code)(rows(2))
    before = noise(3)
    assert cr.compile(lambda x: x * noise(3))(rows(2)).tolist() == (cr.tensor(rows(2)) * before).tolist()
    assert cr.compile(centred)(rows(2)).tolist() == [[-1.5] * 3, [1.5] * 3]  # a cache of each call's own


def test_a_cache_by_tensors_is_computed_in_each_run(cached: Any) -> None:
    @cached
    def squared(x: Any) -> Any:
        return (x * x).sum()

    twice = cr.compile(lambda x: squared(x) + squared(x))
    for x in (rows(2), rows(3), rows(1)):
        assert twice(x).item() == pytest.approx(2 * float((x * x).sum()))
    assert squared.cache_info().currsize == 0


def test_a_step_with_a_cached_mask_trains_as_without_compilation(cached: Any) -> None:
    def losses(*, compiled: bool) -> list[float]:
        @cached
        def mask(n: int) -> Any:
            return cr.tril(cr.ones(n, n))

        cr.manual_seed(0)
        model = nn.Linear(3, 3)
        optimizer = cr.optim.SGD(model.parameters(), lr=0.01)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = ((model(x) @ mask(3)) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        run = cr.compile(step) if compiled else step
        return [float(run(cr.tensor(rows(n) / 10))) for n in (4, 1, 4, 2, 1)]

    np.testing.assert_allclose(losses(compiled=True), losses(compiled=False), rtol=1e-5)
