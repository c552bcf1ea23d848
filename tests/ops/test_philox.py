"""Random numbers: the published answers, the right distributions, and bits that never change."""

from __future__ import annotations

import ctypes
import hashlib
import math
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from chainrule.ops import philox
from chainrule.ops.philox import (
    bounded_integers,
    normal_float32,
    normal_float64,
    permutation,
    philox_4x32,
    random_words,
    uniform_float32,
    uniform_float64,
)

STREAMS: list[Callable[..., np.ndarray]] = [
    random_words,
    uniform_float32,
    uniform_float64,
    normal_float32,
    normal_float64,
    lambda *draw, **where: bounded_integers(*draw, -3, 40, **where),
    lambda *draw, **where: bounded_integers(*draw, -(2**40), 2**41, **where),
]
NUMBERS = [uniform_float32, uniform_float64, normal_float32, normal_float64]
every_stream = pytest.mark.parametrize("stream", STREAMS)
every_number = pytest.mark.parametrize("stream", NUMBERS)

PI_COUNTER, PI_KEY = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]
KNOWN = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (PI_COUNTER, PI_KEY, [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
]


class TestWords:
    @pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
    def test_the_published_answers_are_met(self, counter: list[int], key: list[int], words: list[int]) -> None:
        assert philox_4x32(counter, key).tolist() == words

    def test_counters_and_keys_broadcast(self) -> None:
        counters, keys, words = (np.array(part, np.uint32) for part in zip(*KNOWN, strict=True))
        np.testing.assert_array_equal(philox_4x32(counters, keys), words)
        table = philox_4x32(counters[:, None], keys)
        assert table.shape == (3, 3, 4)
        assert table.dtype == np.uint32
        np.testing.assert_array_equal(table[np.arange(3), np.arange(3)], words)
        assert philox_4x32(np.empty((0, 4), np.uint32), KNOWN[0][1]).shape == (0, 4)

    def test_counters_and_keys_of_another_width_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"got counter \(3,\) and key \(2,\)"):
            philox_4x32([0, 0, 0], [0, 0])

    @pytest.mark.parametrize("first", [0, 5, 2**32 - 3, 2**32 * 9 + 2**32 - 1, 2**50])
    def test_word_i_is_word_i_mod_4_of_counter_i_div_4(self, first: int) -> None:
        seed, draw, iteration = 0xFEDCBA9876543210, 0xCAFEBABE, 0x12345678
        blocks = [[block & 0xFFFFFFFF, block >> 32, draw, iteration] for block in range(first, first + 6)]
        expected = philox_4x32(blocks, [seed & 0xFFFFFFFF, seed >> 32]).ravel()
        words = random_words(seed, draw, 19, iteration=iteration, start=4 * first + 3)
        np.testing.assert_array_equal(words, expected[3:22])

    def test_long_draws_are_the_same_as_their_counters_one_by_one(self) -> None:
        count = 4 * 40_000
        counters = np.zeros((count // 4, 4), np.uint32)
        counters[:, 0] = np.arange(count // 4)
        counters[:, 2] = 7
        np.testing.assert_array_equal(random_words(5, 7, count), philox_4x32(counters, [5, 0]).ravel())

    def test_a_seed_counts_modulo_2_to_the_64(self) -> None:
        np.testing.assert_array_equal(random_words(-1, 0, 8), random_words(2**64 - 1, 0, 8))
        np.testing.assert_array_equal(random_words(2**64 + 3, 0, 8), random_words(3, 0, 8))

    @pytest.mark.parametrize(
        "wrong", [{"count": -1}, {"start": -1}, {"draw": 2**32}, {"draw": -1}, {"iteration": 2**32}]
    )
    def test_numbers_that_do_not_fit_the_counter_are_refused(self, wrong: dict[str, int]) -> None:
        with pytest.raises(ValueError, match=f"got .*{next(iter(wrong))} {next(iter(wrong.values()))}"):
            random_words(**{"seed": 0, "draw": 0, "count": 4, **wrong})


class TestStreams:
    @every_stream
    @given(first=st.integers(0, 70_001), more=st.integers(0, 9))
    def test_a_longer_draw_begins_with_the_shorter(self, stream: Callable[..., Any], first: int, more: int) -> None:
        longer = stream(1, 2, first + more)
        assert longer.shape == (first + more,)
        np.testing.assert_array_equal(stream(1, 2, first), longer[:first])

    @every_stream
    @given(start=st.integers(0, 70_001), count=st.integers(0, 40))
    def test_a_part_of_a_draw_has_the_same_bits(self, stream: Callable[..., Any], start: int, count: int) -> None:
        np.testing.assert_array_equal(stream(3, 4, count, start=start), stream(3, 4, 71_000)[start : start + count])

    @every_number
    def test_seeds_draws_and_iterations_are_independent(self, stream: Callable[..., Any]) -> None:
        n = 50_000
        streams = [
            stream(0, 0, n),
            stream(1, 0, n),
            stream(2**32, 0, n),
            stream(0, 1, n),
            stream(0, 0, n, iteration=1),
            stream(0, 0, n, start=n),
        ]
        correlation = np.corrcoef(np.array(streams, np.float64)) - np.eye(len(streams))
        assert np.abs(correlation).max() < 4 / math.sqrt(n)

    @every_number
    def test_neighbours_are_not_correlated(self, stream: Callable[..., Any]) -> None:
        x = stream(11, 0, 200_000).astype(np.float64)
        x -= x.mean()
        for values in (x, x**2 - (x**2).mean(), np.abs(x) - np.abs(x).mean()):
            for lag in (1, 2, 3, 4, 8, 65_536):
                assert abs(np.mean(values[lag:] * values[:-lag])) < 4.5 * values.var() / math.sqrt(len(values) - lag)

    @pytest.mark.parametrize(
        ("stream", "digest"),
        [
            (random_words, "00650965b5a0e4c1de07dbecb3c3be43"),
            (uniform_float32, "7b8ff74250ae9cad42e2fef1014b51fb"),
            (uniform_float64, "26d07925791f1d5bfb47d3d0d6043f5b"),
            (normal_float32, "c6518d87c6b354302bf1b3f2113517b2"),
            (normal_float64, "b63fa618f19edba58225f307d9f0047a"),
        ],
    )
    def test_the_first_million_never_changes(self, stream: Callable[..., Any], digest: str) -> None:
        values = stream(2024, 3, 1_000_000, iteration=1)
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        assert hashlib.sha256(values.tobytes()).hexdigest()[:32] == digest


class TestUniform:
    @pytest.mark.parametrize("stream", [uniform_float32, uniform_float64])
    def test_it_is_uniform_on_0_to_1(self, stream: Callable[..., Any]) -> None:
        for seed in range(3):
            values = stream(seed, 0, 200_000)
            assert 0 <= values.min() < 1e-4
            assert 1 - 1e-4 < values.max() < 1
            assert stats.kstest(values.astype(np.float64), "uniform").pvalue > 0.01

    def test_float32_is_the_upper_24_bits_of_a_word(self) -> None:
        values = uniform_float32(1, 2, 1001)
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values * 2.0**24, random_words(1, 2, 1001) >> 8)

    def test_float64_is_the_upper_53_bits_of_a_pair_of_words(self) -> None:
        values, words = uniform_float64(1, 2, 1001), random_words(1, 2, 2002).astype(np.uint64)
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values * 2.0**53, (words[0::2] + (words[1::2] << np.uint64(32))) >> np.uint64(11))

    def test_pairs_fill_the_square(self) -> None:
        x, y = uniform_float32(5, 0, 400_000).reshape(-1, 2).T
        assert stats.chisquare(np.histogram2d(x, y, bins=20, range=[[0, 1]] * 2)[0].ravel()).pvalue > 0.01


def extreme_words(bits: int) -> np.ndarray:
    """Pairs (radius, angle) of the words at which something turns."""
    top = 1 << bits
    edges = {
        (place + step) % top
        for place in (0, top >> 3, top >> 2, 3 * top >> 3, top >> 1, 5 * top >> 3, 3 * top >> 2, 7 * top >> 3)
        for step in range(-3, 4)
    } | {int(top * math.sqrt(0.5)) + step * top // 2**24 for step in range(-3, 4)}
    return np.array([[a, b] for a in edges for b in edges], np.uint32 if bits == 32 else np.uint64).ravel()


def normals_of(words: np.ndarray) -> np.ndarray:
    """Box-Muller on given words, as the streams do it."""
    precision = philox._FLOAT32 if words.itemsize == 4 else philox._FLOAT64
    out = np.empty(words.size, precision.float_name)
    scratch = np.empty((philox._SCRATCH, words.size // 2), words.dtype)
    philox._box_muller(precision, words, scratch, out)
    return out


def textbook_normals(words: np.ndarray) -> np.ndarray:
    """Box-Muller by NumPy's logarithm, sine and cosine, in the longest float there is, from the same u + ½."""
    bits = 8 * words.itemsize
    digits = 24 if bits == 32 else 53
    u = (words[0::2] >> (bits - digits)).astype(f"f{bits // 8}")
    radius = np.sqrt(-2 * np.log((u + 0.5).astype(np.longdouble) * np.longdouble(2) ** -digits))
    turn = words[1::2].astype(np.longdouble) * np.longdouble(2) ** -bits * (8 * np.arctan(np.longdouble(1)))
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1).ravel()


class TestNormal:
    @pytest.mark.parametrize("stream", [normal_float32, normal_float64])
    def test_it_is_normal(self, stream: Callable[..., Any]) -> None:
        for seed in range(3):
            values = stream(seed, 0, 200_001)
            assert stats.kstest(values.astype(np.float64), "norm").pvalue > 0.01
            for part in (values[0::2], values[1::2]):
                assert stats.kstest(part.astype(np.float64), "norm").pvalue > 0.01

    @pytest.mark.parametrize("stream", [normal_float32, normal_float64])
    def test_the_tails_are_as_heavy_as_they_should_be(self, stream: Callable[..., Any]) -> None:
        values = stream(7, 0, 2_000_000)
        for bound in (2, 3, 4):
            for tail in (values > bound, values < -bound):
                expected = len(values) * stats.norm.sf(bound)
                assert abs(tail.sum() - expected) < 4 * math.sqrt(expected)

    def test_cosine_and_sine_of_a_pair_are_independent(self) -> None:
        x, y = normal_float32(3, 0, 400_000).reshape(-1, 2).T.astype(np.float64)
        assert abs(np.mean(x * y)) < 4 / math.sqrt(len(x))
        assert stats.kstest(np.arctan2(y, x) / (2 * math.pi) + 0.5, "uniform").pvalue > 0.01
        assert stats.kstest(np.exp(-(x**2 + y**2) / 2), "uniform").pvalue > 0.01

    @pytest.mark.parametrize(("bits", "largest"), [(32, 5.89), (64, 8.66)])
    def test_no_word_gives_an_infinity(self, bits: int, largest: float) -> None:
        values = normals_of(extreme_words(bits))
        assert np.isfinite(values).all()
        assert 0.99 * largest < np.abs(values).max() <= largest

    @pytest.mark.parametrize(("stream", "bits", "absolute"), [(normal_float32, 32, 1e-6), (normal_float64, 64, 2e-15)])
    def test_words_2k_and_2k_plus_1_give_its_cosine_and_its_sine(
        self, stream: Callable[..., Any], bits: int, absolute: float
    ) -> None:
        words = random_words(9, 1, 100_000 * bits // 32).astype("<u4").view(f"<u{bits // 8}")
        np.testing.assert_allclose(
            stream(9, 1, 100_000), textbook_normals(words).astype(np.float64), rtol=0, atol=absolute
        )

    @pytest.mark.parametrize(("bits", "absolute"), [(32, 1e-6), (64, 2e-15)])
    def test_it_is_accurate_where_quadrants_and_binades_meet(self, bits: int, absolute: float) -> None:
        words = extreme_words(bits)
        assert np.abs(normals_of(words) - textbook_normals(words)).max() < absolute

    def test_an_odd_start_and_count_cut_pairs_apart(self) -> None:
        np.testing.assert_array_equal(normal_float32(0, 0, 1, start=1), normal_float32(0, 0, 2)[1:])
        np.testing.assert_array_equal(normal_float64(0, 0, 3, start=1), normal_float64(0, 0, 4)[1:])


HALF_PI = Fraction("1.57079632679489661923132169163975144209858469968755291")
# The series of P in s² or t², and the end of its interval from 0: (√2 - 1)⁴, or half a quarter turn squared.
SERIES: dict[str, tuple[Callable[[int], Fraction], Fraction]] = {
    "log": (lambda k: Fraction(2, 2 * k + 1), Fraction(2943725152286, 10**14)),
    "sine": (lambda k: (-1) ** k * HALF_PI ** (2 * k + 1) / math.factorial(2 * k + 1), Fraction(1, 4)),
    "cosine": (lambda k: (-1) ** k * HALF_PI ** (2 * k) / math.factorial(2 * k), Fraction(1, 4)),
}


def series_sum(name: str, z: Fraction) -> Fraction:
    return sum((SERIES[name][0](k) * z**k for k in range(30)), Fraction(0))


def interpolation(name: str, terms: int) -> list[Fraction]:
    """The polynomial that meets the series at the Chebyshev nodes of its interval, by Gauss and Jordan, exactly."""
    end = SERIES[name][1]
    places = [math.cos(math.pi * (2 * i + 1) / (2 * terms)) for i in range(terms)]
    nodes = [end * Fraction(round(10**12 * (1 + place) / 2), 10**12) for place in places]
    rows = [[z**k for k in range(terms)] + [series_sum(name, z)] for z in nodes]
    for column in range(terms):
        pivot = rows[column]
        rows[column] = pivot = [value / pivot[column] for value in pivot]
        for other in range(terms):
            if other != column:
                factor = rows[other][column]
                rows[other] = [a - factor * b for a, b in zip(rows[other], pivot, strict=True)]
    return [row[terms] for row in rows]


class TestPolynomials:
    @pytest.mark.parametrize("name", list(SERIES))
    @pytest.mark.parametrize("precision", [philox._FLOAT32, philox._FLOAT64], ids=["float32", "float64"])
    def test_the_stored_coefficients_are_the_fit_rounded(self, precision: Any, name: str) -> None:
        stored = np.array(getattr(precision, name), precision.float_name)
        fitted = np.array([float(c) for c in interpolation(name, len(stored))], precision.float_name)
        np.testing.assert_array_equal(stored, fitted)

    @pytest.mark.parametrize("name", list(SERIES))
    @pytest.mark.parametrize("precision", [philox._FLOAT32, philox._FLOAT64], ids=["float32", "float64"])
    def test_they_leave_an_error_below_the_last_bit(self, precision: Any, name: str) -> None:
        coefficients = [Fraction(float(c)) for c in np.array(getattr(precision, name), precision.float_name)]
        end = SERIES[name][1]
        for i in range(101):
            z = end * i / 100
            approximation = sum((c * z**k for k, c in enumerate(coefficients)), Fraction(0))
            exact = series_sum(name, z)
            assert abs(approximation / exact - 1) < Fraction(float(np.finfo(precision.float_name).eps)) / 2


class TestIntegers:
    def test_a_permutation_holds_each_index_once(self) -> None:
        order = permutation(1, 2, 1000)
        assert order.dtype == np.int64
        np.testing.assert_array_equal(np.sort(order), np.arange(1000))
        np.testing.assert_array_equal(order, np.argsort(random_words(1, 2, 1000), kind="stable"))
        assert permutation(1, 2, 0).shape == (0,)
        assert not np.array_equal(order, permutation(1, 2, 1000, iteration=1))

    def test_all_orders_of_four_are_equally_likely(self) -> None:
        orders = np.array([permutation(0, draw, 4) for draw in range(4800)])
        _, counts = np.unique(orders @ [64, 16, 4, 1], return_counts=True)
        assert len(counts) == 24
        assert stats.chisquare(counts).pvalue > 0.01

    @pytest.mark.parametrize("extent", [1, 2, 6, 97])
    def test_bounded_integers_are_uniform_and_within(self, extent: int) -> None:
        values = bounded_integers(1, 2, 97_000, -5, extent - 5)
        assert values.dtype == np.int64
        assert (values.min(), values.max()) == (-5, extent - 6)
        assert extent == 1 or stats.chisquare(np.bincount(values + 5)).pvalue > 0.01

    @pytest.mark.parametrize("extent", [2**24, 2**24 + 1, 3 * 2**40, 2**63, 2**64 - 1])
    def test_wide_ranges_are_filled_to_their_ends(self, extent: int) -> None:
        low = -(2**63) if extent >= 2**63 else -7
        values = bounded_integers(1, 2, 100_000, low, low + extent)
        assert all(low <= value < low + extent for value in (int(values.min()), int(values.max())))
        places = (values.astype(np.float64) - low) / extent
        assert stats.kstest(places, "uniform").pvalue > 0.01

    @given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
    def test_the_upper_half_of_a_product_is_exact(self, word: int, factor: int) -> None:
        assert int(philox._multiply_high(np.array([word], np.uint64), factor)[0]) == word * factor >> 64

    @pytest.mark.parametrize(("low", "high"), [(3, 3), (4, 3), (-(2**63) - 1, 0), (0, 2**63)])
    def test_an_empty_or_unrepresentable_range_is_refused(self, low: int, high: int) -> None:
        with pytest.raises(ValueError, match=f"got low {low} and high {high}"):
            bounded_integers(0, 0, 1, low, high)


def c_source(precision: Any) -> str:
    """Box-Muller in C, a line for each rounding: what native code has to do to get the same bits."""
    single = precision.bits == 32
    suffix = "f" if single else ""

    def horner(name: str, variable: str) -> str:
        *rest, last = (f"{c!r}{suffix}" for c in getattr(precision, name))
        return "".join("(" * len(rest)) + last + "".join(f"*{variable}+{c})" for c in reversed(rest))

    return f"""
    #include <math.h>
    #include <stdint.h>
    #include <string.h>
    typedef {"float" if single else "double"} real;
    typedef int{precision.bits}_t integer;
    typedef uint{precision.bits}_t word;
    void normals(const word *words, real *out, long pairs) {{
        for (long k = 0; k < pairs; k++) {{
            real x = (real)(integer)(words[2*k] >> {precision.bits - precision.fraction_bits - 1}) + 0.5{suffix};
            integer i;
            memcpy(&i, &x, sizeof x);
            integer e = (i - {precision.sqrt_half_bits}) >> {precision.fraction_bits};
            i -= e * ((integer)1 << {precision.fraction_bits});
            real m;
            memcpy(&m, &i, sizeof m);
            real s = (m - 1) / (m + 1), z = s * s;
            real binades = ((real)e - {precision.fraction_bits + 1}) * {precision.log_two!r}{suffix};
            real log = {horner("log", "z")} * s + binades;
            real r = sqrt{suffix}(log * -2);
            word a = words[2*k + 1], q = (a + ((word)1 << {precision.bits - 3})) >> {precision.bits - 2};
            real t = (real)(integer)(a << 2) * {2.0**-precision.bits!r}{suffix}, y = t * t;
            real sine = {horner("sine", "y")} * t, cosine = {horner("cosine", "y")};
            out[2*k] = r * (q == 0 ? cosine : q == 1 ? -sine : q == 2 ? -cosine : sine);
            out[2*k + 1] = r * (q == 0 ? sine : q == 1 ? cosine : q == 2 ? -sine : -cosine);
        }}
    }}
    """


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to compile the same normals in C")
@pytest.mark.parametrize("precision", [philox._FLOAT32, philox._FLOAT64], ids=["float32", "float64"])
def test_native_code_gives_the_same_bits(precision: Any, tmp_path: Path) -> None:
    source, library = tmp_path / "normals.c", tmp_path / "normals.so"
    source.write_text(c_source(precision), encoding="utf-8")
    flags = ["-O2", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, "-o", str(library), str(source), "-lm"], check=True)
    stream = normal_float32 if precision.bits == 32 else normal_float64
    words = random_words(4, 2, 1_000_000 * precision.bits // 32).astype("=u4")
    wide = (
        words
        if precision.bits == 32
        else words[0::2].astype(np.uint64) | (words[1::2].astype(np.uint64) << np.uint64(32))
    )
    for drawn, values in (
        (wide, stream(4, 2, 1_000_000)),
        (extreme := extreme_words(precision.bits), normals_of(extreme)),
    ):
        native = np.empty(drawn.size, precision.float_name)
        pointers = (ctypes.c_void_p(array.ctypes.data) for array in (drawn, native))
        ctypes.CDLL(str(library)).normals(*pointers, ctypes.c_long(drawn.size // 2))
        np.testing.assert_array_equal(native.view(precision.integer_name), values.view(precision.integer_name))
