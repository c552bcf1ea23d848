"""Random numbers: the same from the same seed, in the right distributions, numbered when they are recorded."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ArgumentTypeError, ShapeError, TraceError
from chainrule.nn import functional as F
from chainrule.tensors.generator import drawing_from

# A right generator fails a test of one fixed seed below this once in ten thousand seeds; it is run with one, found to pass.
LEAST = 1e-4

DRAWS: dict[str, Any] = {
    "rand": lambda **k: cr.rand(5, 3, **k),
    "rand float64": lambda **k: cr.rand(5, 3, dtype=cr.float64, **k),
    "randn": lambda **k: cr.randn(5, 3, **k),
    "randn float64": lambda **k: cr.randn(5, 3, dtype=cr.float64, **k),
    "rand_like": lambda **k: cr.rand_like(cr.ones(5, 3), **k),
    "randn_like": lambda **k: cr.randn_like(cr.ones(5, 3), **k),
    "randint": lambda **k: cr.randint(3, 90, (5, 3), **k),
    "randint_like": lambda **k: cr.randint_like(cr.ones(5, 3), 90, **k),
    "randperm": lambda **k: cr.randperm(15, **k),
    "bernoulli": lambda **k: cr.bernoulli(cr.full((5, 3), 0.4), **k),
    "multinomial": lambda **k: cr.multinomial(cr.arange(1.0, 9.0), 5, **k),
    "multinomial again": lambda **k: cr.multinomial(cr.arange(1.0, 9.0), 15, replacement=True, **k),
    "normal": lambda **k: cr.normal(2.0, 3.0, (5, 3), **k),
    "uniform_": lambda **k: cr.zeros(5, 3).uniform_(1, 2, **k),
    "normal_": lambda **k: cr.zeros(5, 3).normal_(1, 2, **k),
    "exponential_": lambda **k: cr.zeros(5, 3).exponential_(2, **k),
    "bernoulli_": lambda **k: cr.zeros(5, 3).bernoulli_(0.4, **k),
    "random_": lambda **k: cr.zeros(5, 3).random_(3, 90, **k),
}
each_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


# -- seeds and states ------------------------------------------------------------------------------------------------------


@each_draw
def test_the_same_seed_gives_the_same_numbers(draw: Any) -> None:
    cr.manual_seed(7)
    first, second = draw().tolist(), draw().tolist()
    assert first != second, "each draw is a new one"
    cr.manual_seed(7)
    assert [draw().tolist(), draw().tolist()] == [first, second]
    cr.manual_seed(8)
    assert draw().tolist() != first


@each_draw
def test_a_given_generator_is_drawn_from_and_no_other(draw: Any) -> None:
    cr.manual_seed(7)
    expected = draw().tolist()
    before = cr.get_rng_state()
    own = cr.Generator().manual_seed(7)
    assert draw(generator=own).tolist() == expected
    assert own.get_state() == {"seed": 7, "draw": 1}
    assert cr.get_rng_state() == before


@each_draw
def test_numbers_never_require_a_gradient_and_leave_no_tape(draw: Any) -> None:
    assert not draw().requires_grad


def test_a_state_is_two_numbers_and_continues_where_it_was() -> None:
    cr.manual_seed(3)
    cr.rand(4)
    state = cr.get_rng_state()
    assert state == {"seed": 3, "draw": 1}
    after = [cr.randn(3).tolist(), cr.randperm(9).tolist()]
    cr.set_rng_state(state)
    assert [cr.randn(3).tolist(), cr.randperm(9).tolist()] == after
    other = cr.Generator()
    other.set_state(state)
    assert cr.randn(3, generator=other).tolist() == after[0]


def test_generators_go_their_own_ways() -> None:
    a, b = cr.Generator().manual_seed(1), cr.Generator().manual_seed(1)
    in_turn = [cr.rand(2, generator=g).tolist() for g in (a, b, a, b)]
    assert in_turn[0] == in_turn[1] != in_turn[2] == in_turn[3]


def test_unseeded_generators_differ() -> None:
    a, b = cr.Generator(), cr.Generator()
    assert a.initial_seed() != b.initial_seed()
    before = a.initial_seed()
    assert a.seed() == a.initial_seed() != before


def test_the_default_generator_tells_its_seed() -> None:
    assert cr.manual_seed(5) is cr.default_generator
    assert cr.initial_seed() == 5
    assert cr.seed() == cr.initial_seed()


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1, -1, -(2**63), np.int64(5)])
def test_a_seed_is_any_integer_of_64_bits(seed: Any) -> None:
    generator = cr.Generator().manual_seed(seed)
    assert generator.initial_seed() == int(seed) % 2**64
    assert 0 <= cr.rand(1, generator=generator).item() < 1


def test_each_bit_of_a_seed_counts() -> None:
    found = {tuple(cr.rand(4, generator=cr.Generator().manual_seed(1 << k)).tolist()) for k in range(64)}
    assert len(found) == 64


def test_what_is_no_seed_or_state_is_refused() -> None:
    for seed in (1.5, "1", None, True):
        with pytest.raises(ArgumentTypeError, match="manual_seed: got .*; expected an integer"):
            cr.manual_seed(seed)
    for seed in (2**64, -(2**63) - 1):
        with pytest.raises(ArgumentError, match=f"manual_seed: got {seed}; expected an integer from"):
            cr.manual_seed(seed)
    for state in (None, 3, {}, {"seed": 1}, [1, 2]):
        with pytest.raises(ArgumentTypeError, match=r"set_state: got .*; expected what get_state\(\) returned"):
            cr.Generator().set_state(state)
    with pytest.raises(ArgumentTypeError, match="device: got 'cuda'; expected 'cpu'"):
        cr.Generator("cuda")
    assert cr.Generator("cpu").device == cr.device("cpu")


# -- whom functions draw from ------------------------------------------------------------------------------------------------


def test_inside_drawing_from_functions_draw_from_that_generator() -> None:
    cr.manual_seed(0)
    before = cr.get_rng_state()
    own, inner = cr.Generator().manual_seed(4), cr.Generator().manual_seed(5)
    with drawing_from(own):
        first = cr.rand(3).tolist()
        with drawing_from(inner):
            cr.rand(3)
        F.dropout(cr.ones(3))
        cr.rand(3, generator=inner)
    assert (own.draw, inner.draw) == (2, 2)
    assert cr.get_rng_state() == before
    assert first == cr.rand(3, generator=cr.Generator().manual_seed(4)).tolist()


def test_drawing_from_ends_with_an_error_and_is_for_this_thread() -> None:
    own = cr.Generator().manual_seed(4)
    with drawing_from(own):
        thread = threading.Thread(target=lambda: cr.rand(3))
        thread.start()
        thread.join()
    assert own.draw == 0
    with pytest.raises(ZeroDivisionError), drawing_from(own):
        raise ZeroDivisionError
    cr.rand(3)
    assert own.draw == 0


# -- draws are numbered when they are recorded ---------------------------------------------------------------------------------


@each_draw
def test_eager_and_compiled_draws_are_the_same(draw: Any) -> None:
    def twice(x: Any) -> Any:
        return draw(), draw(), x * 2

    compiled = cr.compile(twice)
    for seed in (1, 2):
        cr.manual_seed(seed)
        eager = [t.tolist() for _ in range(2) for t in twice(cr.ones(3))]
        state = cr.get_rng_state()
        cr.manual_seed(seed)
        assert [t.tolist() for _ in range(2) for t in compiled(cr.ones(3))] == eager
        assert cr.get_rng_state() == state


def test_neither_the_batch_nor_unused_draws_shift_a_later_draw() -> None:
    def step(x: Any) -> Any:
        F.dropout(x)  # nobody uses it
        return cr.randn(4)

    compiled = cr.compile(step)
    found = []
    for run in (step, compiled):
        for n in (32, 17, 5):
            cr.manual_seed(9)
            found.append(run(cr.ones(n, 3)).tolist())
    assert len({tuple(numbers) for numbers in found}) == 1


def test_the_first_rows_of_a_batch_are_drawn_as_in_a_smaller_one() -> None:
    large, small = (cr.rand(n, 3, generator=cr.Generator().manual_seed(1)) for n in (8, 5))
    assert large[:5].tolist() == small.tolist()


def test_a_compiled_step_draws_anew_at_each_run_and_follows_the_seed() -> None:
    model = nn.Dropout(0.5)
    step = cr.compile(lambda x: model(x))
    cr.manual_seed(0)
    first, second = step(cr.ones(40)).tolist(), step(cr.ones(40)).tolist()
    assert first != second
    cr.manual_seed(0)
    assert step(cr.ones(40)).tolist() == first
    assert len(step.graphs) == 1


def test_a_compiled_function_draws_from_whom_its_caller_does() -> None:
    step = cr.compile(lambda x: x + cr.rand(3))
    own = cr.Generator().manual_seed(4)
    with drawing_from(own):
        found = step(cr.zeros(3))
    assert own.draw == 1
    assert found.tolist() == cr.rand(3, generator=cr.Generator().manual_seed(4)).tolist()


def test_seeding_inside_a_compiled_function_is_refused() -> None:
    def seeded(x: Any) -> Any:
        cr.manual_seed(0)
        return x

    def restored(x: Any) -> Any:
        cr.set_rng_state({"seed": 0, "draw": 0})
        return x

    for function, name in ((seeded, "manual_seed"), (restored, "set_state")):
        with pytest.raises(TraceError, match=rf"{name}\(\) of a generator inside a compiled function"):
            cr.compile(function)(cr.ones(2))


# -- shapes, dtypes, arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [cr.rand, cr.randn])
def test_a_shape_is_given_in_any_of_pytorchs_ways(make: Any) -> None:
    for args in ((2, 3), ((2, 3),), ([2, 3],), (cr.ones(2, 3).shape,)):
        assert make(*args).shape == (2, 3)
    assert make(size=(2, 3)).shape == (2, 3)
    assert make(()).shape == make(()).shape == ()
    assert make(0, 3).shape == (0, 3)
    assert (make(2).dtype, make(2, dtype=cr.float64).dtype) == (cr.float32, cr.float64)
    assert make(2, requires_grad=True).requires_grad
    with pytest.raises(ArgumentError, match="not negative"):
        make(-1)
    with pytest.raises(ArgumentTypeError, match="random numbers of int64"):
        make(2, dtype=cr.int64)


def test_integers_have_the_dtypes_and_shapes_of_pytorchs() -> None:
    assert (cr.randint(5, (2, 3)).dtype, cr.randint(5, (2, 3)).shape) == (cr.int64, (2, 3))
    assert cr.randint(2, 5, (4,), dtype=cr.float32).dtype is cr.float32
    assert set(cr.randint(2, 3, (9,)).tolist()) == {2}
    assert (cr.randperm(0).tolist(), cr.randperm(1).tolist(), cr.randperm(4).dtype) == ([], [0], cr.int64)
    with pytest.raises(ArgumentError, match="low=5, high=5; expected low < high"):
        cr.randint(5, 5, (2,))


def test_the_arguments_of_the_others_are_checked() -> None:
    with pytest.raises(ArgumentError, match=r"outside \[0, 1\]"):
        cr.bernoulli(cr.tensor([1.5]))
    with pytest.raises(ArgumentError, match="std=-1"):
        cr.normal(0.0, -1.0, (2,))
    with pytest.raises(ArgumentError, match="fewer than 3 weights above 0"):
        cr.multinomial(cr.tensor([1.0, 0.0, 2.0]), 3)
    with pytest.raises(ArgumentError, match="negative or not finite"):
        cr.multinomial(cr.tensor([1.0, -1.0]), 1)
    with pytest.raises(ShapeError, match="one or two axes"):
        cr.multinomial(cr.ones(2, 2, 2), 1)
    with pytest.raises(ArgumentError, match="p=1.5"):
        F.dropout(cr.ones(2), 1.5)


# -- distributions -------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _seeded() -> None:
    cr.manual_seed(20240229)


def fits(sample: Any, distribution: Any) -> None:
    sample = np.asarray(sample, np.float64).reshape(-1)
    assert stats.kstest(sample, distribution.cdf).pvalue > LEAST


def counts_fit(counts: Any, probabilities: Any) -> None:
    counts, probabilities = np.asarray(counts, np.float64), np.asarray(probabilities, np.float64)
    assert stats.chisquare(counts, counts.sum() * probabilities / probabilities.sum()).pvalue > LEAST


@pytest.mark.parametrize("dtype", [cr.float32, cr.float64])
def test_uniform_numbers(dtype: Any) -> None:
    x = cr.rand(200, 500, dtype=dtype)
    fits(x, stats.uniform)
    assert 0 <= x.min().item() <= x.max().item() < 1
    pairs = np.asarray(x).reshape(-1, 2)
    counts_fit(np.histogram2d(*pairs.T, bins=16, range=[[0, 1]] * 2)[0].reshape(-1), np.ones(256))


@pytest.mark.parametrize("dtype", [cr.float32, cr.float64])
def test_normal_numbers(dtype: Any) -> None:
    x = np.asarray(cr.randn(200, 500, dtype=dtype), np.float64)
    fits(x, stats.norm)
    fits((x**2).reshape(-1, 4).sum(1), stats.chi2(4))
    assert abs(np.corrcoef(x.reshape(-1, 2).T)[0, 1]) < 0.02
    assert 3.9 < np.abs(x).max() < 6


def test_normal_numbers_of_a_mean_and_deviation() -> None:
    fits(cr.normal(2.0, 3.0, (50_000,)), stats.norm(2, 3))
    means, deviations = cr.arange(5.0), cr.arange(1.0, 6.0)
    drawn = np.stack([np.asarray(cr.normal(means, deviations)) for _ in range(2000)])
    for k in range(5):
        fits(drawn[:, k], stats.norm(k, k + 1))


@pytest.mark.parametrize(("low", "high"), [(0, 10), (-3, 4), (100, 117)])
def test_integers_are_equally_likely(low: int, high: int) -> None:
    x = np.asarray(cr.randint(low, high, (50_000,)))
    assert (x.min(), x.max()) == (low, high - 1)
    counts_fit(np.bincount(x - low), np.ones(high - low))


def test_integers_of_a_wide_range() -> None:
    x = np.asarray(cr.randint(-(2**60), 2**60, (50_000,)))
    fits(x / 2.0**61 + 0.5, stats.uniform)


def test_permutations_are_equally_likely() -> None:
    orders = [tuple(cr.randperm(4).tolist()) for _ in range(4800)]
    assert {tuple(sorted(order)) for order in orders} == {(0, 1, 2, 3)}
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    counts_fit(counts, np.ones(24))


def test_bernoulli_is_one_with_the_given_probability() -> None:
    p = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    sums = np.asarray(cr.bernoulli(cr.tensor(np.tile(p, (20_000, 1))))).sum(0)
    assert (sums[0], sums[-1]) == (0, 20_000)
    for k in (1, 2, 3):
        counts_fit([sums[k], 20_000 - sums[k]], [p[k], 1 - p[k]])


def test_multinomial_with_replacement_follows_the_weights() -> None:
    weights = np.array([1.0, 0.0, 2.0, 5.0])
    counts = np.bincount(np.asarray(cr.multinomial(cr.tensor(weights), 40_000, replacement=True)), minlength=4)
    assert counts[1] == 0
    counts_fit(counts[[0, 2, 3]], weights[[0, 2, 3]])
    rows = np.asarray(cr.multinomial(cr.tensor([[1.0, 3.0], [4.0, 1.0]]), 20_000, replacement=True))
    counts_fit(np.bincount(rows[0]), [1, 3])
    counts_fit(np.bincount(rows[1]), [4, 1])


def test_multinomial_without_replacement_takes_each_once_in_the_order_of_a_race() -> None:
    weights = np.array([1.0, 2.0, 3.0])
    pairs = [tuple(row) for row in cr.multinomial(cr.tensor(np.tile(weights, (30_000, 1))), 2).tolist()]
    assert all(i != j for i, j in pairs)
    orders = [(i, j) for i in range(3) for j in range(3) if i != j]
    chances = [weights[i] / 6 * weights[j] / (6 - weights[i]) for i, j in orders]
    counts_fit([pairs.count(order) for order in orders], chances)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_dropout_leaves_out_a_share_p_and_scales_the_rest(p: float) -> None:
    y = np.asarray(F.dropout(cr.ones(50_000), p))
    zeros = int((y == 0).sum())
    counts_fit([zeros, 50_000 - zeros], [p, 1 - p])
    np.testing.assert_allclose(y[y != 0], 1 / (1 - p), rtol=1e-6)


def test_the_methods_that_fill_a_tensor_follow_their_distributions() -> None:
    fits(cr.empty(50_000).uniform_(-2, 3), stats.uniform(-2, 5))
    fits(cr.empty(50_000).normal_(1, 2), stats.norm(1, 2))
    fits(cr.empty(50_000).exponential_(4), stats.expon(scale=0.25))
    ones = int(cr.empty(50_000).bernoulli_(0.3).sum().item())
    counts_fit([ones, 50_000 - ones], [0.3, 0.7])


def test_draws_that_follow_each_other_are_independent() -> None:
    first, second = (np.asarray(cr.rand(20_000)) for _ in range(2))
    other = np.asarray(cr.rand(20_000, generator=cr.Generator().manual_seed(20240230)))
    for a, b in ((first, second), (first, other), (first[:-1], first[1:])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.03
