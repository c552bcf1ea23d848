"""Random numbers by counter: the same bits for an element wherever, whenever and in whatever order it is computed.

The generator is Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011): a
keyed function from a counter of four 32-bit words to four random words. There is no state. A draw is read by

====================  =============================================================
counter words 0 and 1  (word index) // 4, low half first: element i is word i % 4
counter word 2         the draw number, one per random node of a graph
counter word 3         the iteration of the enclosing scan
key                    the 64-bit seed, low half first
====================  =============================================================

Elements are counted row by row over the logical shape. What is drawn as float64, or from a wide range of integers,
takes 64-bit words: word j is ``words[2 j] + words[2 j + 1] 2**32``.

Everything after the words uses exactly rounded operations only (+ - * / sqrt, conversions, integer bits), each rounded
on its own: native code that does the same steps without fusing a multiply with an add gets the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:  # numpy.typing costs milliseconds at import
    from numpy.typing import ArrayLike, NDArray

Array = np.ndarray[Any, np.dtype[Any]]

_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)  # added to the key after each round: fractional parts of the golden ratio and of √3
_LOW = 0xFFFFFFFF

_BLOCK = 16384  # counters at a time: the scratch of a block stays in the second-level cache
_MULTIPLIER_COLUMN = np.array(_MULTIPLIERS, np.uint64).reshape(2, 1)
_HALF_WORD = np.uint64(32)


def philox_4x32(counter: ArrayLike, key: ArrayLike) -> NDArray[np.uint32]:
    """Return the four random 32-bit words of each counter (…, 4) under its key (…, 2); leading axes broadcast.

    >>> [f"{word:08x}" for word in philox_4x32([0, 0, 0, 0], [0, 0])]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    counters, keys = np.asarray(counter, np.uint32), np.asarray(key, np.uint32)
    if counters.shape[-1:] != (4,) or keys.shape[-1:] != (2,):
        raise ValueError(f"philox_4x32: got counter {counters.shape} and key {keys.shape}; expected (…, 4) and (…, 2)")
    leading = np.broadcast_shapes(counters.shape[:-1], keys.shape[:-1])
    words = np.broadcast_to(counters, (*leading, 4)).reshape(-1, 4).T.astype(np.uint64)
    halves = np.broadcast_to(keys, (*leading, 2)).reshape(-1, 2).T.astype(np.uint64)
    out = np.empty(2 * words.shape[1], "<u8")
    product = np.empty((2, min(_BLOCK, words.shape[1])), np.uint64)
    for start in range(0, words.shape[1], _BLOCK):
        stop = min(start + _BLOCK, words.shape[1])
        even, odd = words[0::2, start:stop].copy(), words[1::2, start:stop] << _HALF_WORD
        _rounds(even, odd, product[:, : stop - start], _round_keys(halves[:, start:stop]), out[2 * start : 2 * stop])
    return out.view("<u4").astype(np.uint32, copy=False).reshape(*leading, 4)


def random_words(seed: int, draw: int, count: int, *, iteration: int = 0, start: int = 0) -> NDArray[np.uint32]:
    """Return words start … start + count of a draw, uint32 (count,); the seed counts modulo 2**64.

    >>> random_words(0, 0, 5, start=1)[:3] == random_words(0, 0, 4)[1:]
    array([ True,  True,  True])
    """
    return _generate(_copy, np.dtype(np.uint32), 4, 0, seed, draw, count, iteration, start)


def uniform_float32(seed: int, draw: int, count: int, *, iteration: int = 0, start: int = 0) -> NDArray[np.float32]:
    """Return float32 (count,) in [0, 1): (word >> 8) 2**-24, all multiples of 2**-24 equally likely."""
    return _generate(_uniform_float32, np.dtype(np.float32), 4, 0, seed, draw, count, iteration, start)


def uniform_float64(seed: int, draw: int, count: int, *, iteration: int = 0, start: int = 0) -> NDArray[np.float64]:
    """Return float64 (count,) in [0, 1): (64-bit word >> 11) 2**-53."""
    return _generate(_uniform_float64, np.dtype(np.float64), 2, 0, seed, draw, count, iteration, start)


def normal_float32(seed: int, draw: int, count: int, *, iteration: int = 0, start: int = 0) -> NDArray[np.float32]:
    """Return standard normal float32 (count,) of magnitude at most 5.89.

    Words 2k and 2k + 1 give normals 2k (the cosine) and 2k + 1 (the sine).
    """
    return _generate(_normal_float32, np.dtype(np.float32), 4, _SCRATCH, seed, draw, count, iteration, start)


def normal_float64(seed: int, draw: int, count: int, *, iteration: int = 0, start: int = 0) -> NDArray[np.float64]:
    """Return standard normal float64 (count,) of magnitude at most 8.66.

    The 64-bit words 2k and 2k + 1 give normals 2k (the cosine) and 2k + 1 (the sine).
    """
    return _generate(_normal_float64, np.dtype(np.float64), 2, _SCRATCH, seed, draw, count, iteration, start)


def permutation(seed: int, draw: int, count: int, *, iteration: int = 0) -> NDArray[np.int64]:
    """Return 0 … count - 1 in random order, int64: the stable argsort of as many 32-bit words.

    Two equal words keep their order, so a pair is in order with probability ½ + 2**-33. ``count`` is at most 2**32.
    """
    if count > 1 << 32:
        raise ValueError(f"permutation: got {count}; expected at most {1 << 32}")
    words = random_words(seed, draw, count, iteration=iteration)
    # By the lower halves, then by the upper ones: NumPy sorts 16 bits by counting, in half the time of whole words.
    by_low = np.argsort(words.astype(np.uint16), kind="stable")
    high = (words >> 16).astype(np.uint16)
    found: NDArray[np.int64] = by_low[np.argsort(high[by_low], kind="stable")]
    return found


def bounded_integers(
    seed: int, draw: int, count: int, low: int, high: int, *, iteration: int = 0, start: int = 0
) -> NDArray[np.int64]:
    """Return int64 (count,) in low … high - 1: low + floor(word * range / 2**bits).

    The words have 32 bits for a range up to 2**24 and 64 bits above. A value is hit by floor or ceil of 2**bits / range
    words, so that its probability is off by less than 2**-32 (range / 2**32 of itself), above by less than 2**-64.
    """
    bottom, top = -(2**63), 2**63 - 1
    if not bottom <= low < high <= top:
        raise ValueError(f"bounded_integers: got low {low} and high {high}; expected {bottom} <= low < high <= {top}")
    extent = high - low
    if extent <= 2**24:
        words = random_words(seed, draw, count, iteration=iteration, start=start).astype(np.uint64)
        above = (words * np.uint64(extent)) >> _HALF_WORD
    else:
        wide = _generate(_copy, np.dtype(np.uint64), 2, 0, seed, draw, count, iteration, start)
        above = _multiply_high(wide, extent)
    return (above + np.uint64(low % 2**64)).view(np.int64)  # wraps around as two's complement does


def _multiply_high(words: NDArray[np.uint64], factor: int) -> NDArray[np.uint64]:
    """Return the upper 64 bits of the 128-bit products, from four 32-bit multiplications."""
    low, high = np.uint64(factor & _LOW), np.uint64(factor >> 32)
    words_low, words_high = words & np.uint64(_LOW), words >> _HALF_WORD
    middle = words_high * low + ((words_low * low) >> _HALF_WORD)
    carry = words_low * high + (middle & np.uint64(_LOW))
    product: NDArray[np.uint64] = words_high * high + (middle >> _HALF_WORD) + (carry >> _HALF_WORD)
    return product


# ------------------------------------------------------------------------------------------------------- the words

_Transform = Callable[[Array, Array, Array], None]  # (64-bit words, scratch, the part of the result to fill)


def _generate(
    transform: _Transform,
    dtype: np.dtype[Any],
    per_counter: int,
    scratch_rows: int,
    seed: int,
    draw: int,
    count: int,
    iteration: int,
    start: int,
) -> Array:
    """Return elements start … start + count of a draw, block by block through scratch that stays in the cache."""
    if count < 0 or start < 0:
        raise ValueError(f"random numbers: got count {count} and start {start}; expected 0 or more")
    if not (0 <= draw <= _LOW and 0 <= iteration <= _LOW):
        raise ValueError(f"random numbers: got draw {draw} and iteration {iteration}; expected 0 to 2**32 - 1")
    first, stop = start // per_counter, -(-(start + count) // per_counter)
    whole = np.empty((stop - first) * per_counter, dtype)
    scratch = np.empty((scratch_rows, min(stop - first, _BLOCK)), np.uint64)
    for position, words in _word_blocks(seed, draw, iteration, first, stop):
        part = whole[position * per_counter :][: words.size // 2 * per_counter]
        transform(words, scratch[:, : words.size // 2], part)
    ahead = start - first * per_counter
    return whole[ahead : ahead + count]


def _word_blocks(seed: int, draw: int, iteration: int, first: int, stop: int) -> Iterator[tuple[int, Array]]:
    """Yield (position, 64-bit words, two per counter) for counters first … stop, in memory that is used again.

    Within a block only counter word 0 varies, so half of the first two rounds is done once, on Python's integers.
    """
    size = min(stop - first, _BLOCK)
    even, odd, product = (np.empty((2, size), np.uint64) for _ in range(3))
    out = np.empty(2 * size, "<u8")
    key0, key1 = seed & _LOW, (seed >> 32) & _LOW
    next0, next1 = (key0 + _WEYL[0]) & _LOW, (key1 + _WEYL[1]) & _LOW
    keys = _round_keys(np.array([[key0], [key1]], np.uint64))[2:]
    counter = first
    while counter < stop:
        high, low = counter >> 32, counter & _LOW
        n = min(stop - counter, size, 2**32 - low)
        # Round 1: only the product of counter word 0 is an array.
        whole = draw * _MULTIPLIERS[1]
        word0, word1 = (whole >> 32) ^ high ^ key0, whole & _LOW
        varying = np.arange(low, low + n, dtype=np.uint64)
        varying *= np.uint64(_MULTIPLIERS[0])
        word2, word3 = varying >> _HALF_WORD, varying & np.uint64(_LOW)
        word2 ^= np.uint64(iteration ^ key1)
        # Round 2: only the product of word 2 is.
        whole = word0 * _MULTIPLIERS[0]
        word2 *= np.uint64(_MULTIPLIERS[1])
        np.right_shift(word2, _HALF_WORD, out=even[0, :n])
        even[0, :n] ^= np.uint64(word1 ^ next0)
        np.left_shift(word2, _HALF_WORD, out=odd[0, :n])
        np.bitwise_xor(word3, np.uint64((whole >> 32) ^ next1), out=even[1, :n])
        odd[1, :n] = np.uint64((whole & _LOW) << 32)
        _rounds(even[:, :n], odd[:, :n], product[:, :n], keys, out[: 2 * n])
        yield counter - first, out[: 2 * n]
        counter += n


def _round_keys(key: Array) -> Array:
    """Return the keys of the rounds (10, 2, n) in the upper halves of 64-bit words, from the key's words (2, n)."""
    rounds = np.arange(_ROUNDS, dtype=np.uint64).reshape(-1, 1, 1)
    keys: Array = (key + rounds * np.array(_WEYL, np.uint64).reshape(2, 1)) << _HALF_WORD  # the shift cuts to 32 bits
    return keys


def _rounds(even: Array, odd: Array, product: Array, keys: Array, out: Array) -> None:
    """Run one round per key and write words 0 and 1, then 2 and 3, of each counter as two 64-bit words.

    ``even`` (2, n) holds words 0 and 2. ``odd`` holds words 1 and 3 in the upper halves of its elements: there a shift
    to the left is both the cut to 32 bits and the place where the next product's upper half meets them.
    """
    crossed = product[::-1]  # each product feeds the other pair of words
    for key in keys:
        np.multiply(even, _MULTIPLIER_COLUMN, out=product)
        np.bitwise_xor(crossed, odd, out=even)
        np.bitwise_xor(even, key, out=even)
        np.right_shift(even, _HALF_WORD, out=even)
        np.left_shift(crossed, _HALF_WORD, out=odd)
    np.bitwise_or(even[0], odd[0], out=out[0::2])
    np.bitwise_or(even[1], odd[1], out=out[1::2])


# ------------------------------------------------------------------------------------------------- words to numbers


def _copy(words: Array, scratch: Array, out: Array) -> None:
    out[...] = words.view("<u4") if out.itemsize == 4 else words


def _uniform_float32(words: Array, scratch: Array, out: Array) -> None:
    narrow = words.view("<u4")
    narrow >>= 8
    out[...] = narrow.view("<i4")  # signed: the conversion that vector units have
    out *= 2.0**-24


def _uniform_float64(words: Array, scratch: Array, out: Array) -> None:
    words >>= np.uint64(11)
    out[...] = words.view("<i8")
    out *= 2.0**-53


def _normal_float32(words: Array, scratch: Array, out: Array) -> None:
    _box_muller(_FLOAT32, words.view("<u4"), scratch.view(np.uint32), out)


def _normal_float64(words: Array, scratch: Array, out: Array) -> None:
    _box_muller(_FLOAT64, words, scratch, out)


class _Precision(NamedTuple):
    """What Box-Muller needs to know of a float type: its layout, and polynomials long enough for its last bit.

    Coefficients, lowest first, interpolate at the Chebyshev nodes of the interval and are rounded to the type:
    log m = s P(s²) with s = (m - 1) / (m + 1), s² in [0, (√2 - 1)⁴]; and with t in quarter turns, t² in [0, ¼],
    sin = t P(t²) and cos = P(t²).
    """

    float_name: str
    integer_name: str
    bits: int
    fraction_bits: int
    log_two: float
    sqrt_half_bits: int
    log: tuple[float, ...]
    sine: tuple[float, ...]
    cosine: tuple[float, ...]


_FLOAT32 = _Precision(
    float_name="f4",
    integer_name="i4",
    bits=32,
    fraction_bits=23,
    log_two=0.6931472,
    sqrt_half_bits=0x3F3504F3,
    log=(2.0, 0.6666682, 0.3997485, 0.2992439),
    sine=(1.5707964, -0.6459635, 0.07968022, -0.004602149),
    cosine=(1.0, -1.2337005, 0.2536692, -0.02086007, 0.00090362807),
)
_FLOAT64 = _Precision(
    float_name="f8",
    integer_name="i8",
    bits=64,
    fraction_bits=52,
    log_two=0.6931471805599453,
    sqrt_half_bits=0x3FE6A09E667F3BCD,
    log=(
        2.0,
        0.6666666666666765,
        0.3999999999930234,
        0.2857142876064168,
        0.22222197056726048,
        0.18183631680229329,
        0.1531252814836419,
        0.1480971036065531,
    ),
    sine=(
        1.5707963267948966,
        -0.6459640975062443,
        0.07969262624604301,
        -0.004681754132340976,
        0.0001604411507421909,
        -3.59864335298231e-06,
        5.633933781537854e-08,
    ),
    cosine=(
        1.0,
        -1.2337005501361697,
        0.2536695079010467,
        -0.02086348076331121,
        0.0009192602741831558,
        -2.520203677046026e-05,
        4.710609726757823e-07,
        -6.321256869628588e-09,
    ),
)
_SCRATCH = 5  # rows of one 64-bit word per counter: a float32 or two of every pair of normals


def _box_muller(precision: _Precision, words: Array, scratch: Array, out: Array) -> None:
    """Fill ``out`` with r cos φ and r sin φ by turns, from pairs of words (radius, angle).

    r = sqrt(-2 log((u + ½) 2**-p)), u the upper p bits of the first word and u + ½ rounded to the type: never log 0.
    φ is the second word as a fraction of a turn: the nearest quarter turn, and t in [-½, ½) quarters more.
    """
    digits = precision.fraction_bits + 1
    fraction, top = precision.fraction_bits, precision.bits - 1
    floats, integers = scratch.view(precision.float_name), scratch.view(precision.integer_name)
    f0, f1, f2, f3, _ = floats
    i0, i1, _, i3, i4 = integers
    u0, u1, u2, _, u4 = scratch

    # x = u + ½ = m 2**e with m in [√½, √2), read from the bits of x; log = (e - p) log 2 + log m
    np.right_shift(words[0::2], top - fraction, out=u0)
    f1[...] = i0
    f1 += 0.5
    np.subtract(i1, precision.sqrt_half_bits, out=i0)
    i0 >>= fraction
    f2[...] = i0
    f2 -= float(digits)
    f2 *= precision.log_two
    i0 <<= fraction
    i1 -= i0
    np.add(f1, 1.0, out=f3)
    f1 -= 1.0
    f1 /= f3
    np.multiply(f1, f1, out=f3)
    _polynomial(precision.log, f3, out=f0)
    f0 *= f1
    f0 += f2
    f0 *= -2.0
    np.sqrt(f0, out=f0)

    # The upper two bits, the quarter turns, leave to the left; the rest, read as signed, is t.
    angle = words[1::2]
    np.left_shift(angle, 2, out=u1)
    f1[...] = i1
    f1 *= 2.0**-precision.bits
    np.multiply(f1, f1, out=f2)
    _polynomial(precision.sine, f2, out=f3)
    f3 *= f1
    _polynomial(precision.cosine, f2, out=f1)

    # cos and sin of (q quarter turns + t): exchange them if q is odd; cos is negative for q = 1, 2, sin for q = 2, 3.
    np.add(angle, 1 << (top - 2), out=u2)
    np.left_shift(u2, 1, out=u4)
    i4 >>= top
    _exchange_where(i4, i1, i3)
    sign = 1 << top
    np.bitwise_and(u2, sign, out=u4)
    i3 ^= i4
    u2 += 1 << (top - 1)
    u2 &= sign
    u1 ^= u2
    np.multiply(f0, f1, out=out[0::2])
    np.multiply(f0, f3, out=out[1::2])


def _polynomial(coefficients: tuple[float, ...], z: Array, *, out: Array) -> None:
    """Evaluate by Horner's rule, the multiplication and the addition of each step rounded on their own."""
    np.multiply(z, coefficients[-1], out=out)
    for coefficient in coefficients[-2:0:-1]:
        out += coefficient
        out *= z
    out += coefficients[0]


def _exchange_where(mask: Array, a: Array, b: Array) -> None:
    """Exchange the bits of a and b where the mask is all ones; the mask is overwritten."""
    mask &= a ^ b
    a ^= mask
    b ^= mask
