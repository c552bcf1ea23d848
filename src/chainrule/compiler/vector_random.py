"""Random numbers of native code: the bits that chainrule.ops.philox gives, for sixteen neighbours or for elements anywhere.

Philox 4x32-10 in 64-bit lanes: only the lower half of a lane counts where two words are multiplied, so a word may carry
anything in its upper half. The steps to numbers are those of the interpreter, each rounded on its own: no fma.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from chainrule.compiler.emit import Emitter
from chainrule.compiler.value import F32, F64, I32, I64, LANES, Dtype, Value

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
_ROUNDS = 10
NARROW = 2**24  # integers from a range up to this take words of 32 bits

Words = list[Value]  # of each counter: four of 32 bits, or two of 64


def philox(e: Emitter, seed: Value, draw: Value, counter: Value) -> Words:
    """Return the four random words of each counter, in the lower halves of 64-bit lanes."""
    seed, draw = e.wide(seed, counter.lanes), e.wide(draw, counter.lanes)
    key0, key1 = seed, e.bits("lshr", seed, 32)
    word0, word1, word2 = counter, e.bits("lshr", counter, 32), draw
    word3: Value | int = 0
    for turn in range(_ROUNDS):
        if turn:
            key0, key1 = key0 + _WEYL[0], key1 + _WEYL[1]
        product0 = (word0 & _LOW) * _MULTIPLIERS[0]
        product1 = (word2 & _LOW) * _MULTIPLIERS[1]
        word0 = e.bits("lshr", product1, 32) ^ word1 ^ key0
        word2 = e.bits("lshr", product0, 32) ^ word3 ^ key1 if turn else e.bits("lshr", product0, 32) ^ key1
        word1, word3 = product1, product0
    assert isinstance(word3, Value)
    return [word0, word1, word2, word3]


def at(
    e: Emitter, kind: str, seed: Value, draw: Value, flat: Value, dtype: Dtype, *, low: int = 0, high: int = 0
) -> Value:
    """Return the elements with these indices, one number or 16."""
    wide = _is_wide(kind, dtype, low, high)
    per_counter = 1 if wide else 2  # the binary logarithm of how many elements a counter has
    words = philox(e, seed, draw, e.bits("lshr", flat, per_counter))
    odd = e.ne(flat & 1, 0)
    if kind == "normal":
        if wide:
            radius, angle = _pair(e, words)
        else:
            second = e.ne(flat & 2, 0)
            radius = e.cast(e.select(second, words[2], words[0]), I32)
            angle = e.cast(e.select(second, words[3], words[1]), I32)
        cosine, sine = box_muller(e, radius, angle)
        return e.select(odd, sine, cosine)
    if wide:
        first, second_word = _pair(e, words)
        return _number(e, kind, e.select(odd, second_word, first), dtype, low, high)
    second = e.ne(flat & 2, 0)
    word = e.select(odd, e.select(second, words[3], words[1]), e.select(second, words[2], words[0]))
    return _number(e, kind, word & _LOW, dtype, low, high)


def consecutive(
    e: Emitter, kind: str, seed: Value, draw: Value, first: Value, dtype: Dtype, *, low: int = 0, high: int = 0
) -> Value:
    """Return the 16 elements from index ``first`` on, a multiple of 4: each counter's words are computed once."""
    wide = _is_wide(kind, dtype, low, high)
    counters = LANES // 2 if wide else LANES // 4
    counter = e.wide(e.bits("lshr", first, 1 if wide else 2), counters) + e.lane_numbers(I64, counters)
    words = philox(e, seed, draw, counter)
    if kind == "normal":
        if wide:
            return _interleaved(e, list(box_muller(e, *_pair(e, words))))
        word = [e.cast(w, I32) for w in words]
        both = range(2 * counters)
        cosine, sine = box_muller(e, e.shuffle(word[0], word[2], both), e.shuffle(word[1], word[3], both))
        order = [lane for k in range(counters) for lane in (k, 2 * counters + k, counters + k, 3 * counters + k)]
        return e.shuffle(cosine, sine, order)
    if wide:
        return _number(e, kind, _interleaved(e, list(_pair(e, words))), dtype, low, high)
    if dtype == F32:
        return _number(e, kind, _interleaved(e, [e.cast(w, I32) for w in words]), dtype, low, high)
    return _number(e, kind, _interleaved(e, words) & _LOW, dtype, low, high)


def neighbours(e: Emitter, seed: Value, draw: Value, first: Value, count: int, *, aligned: bool) -> list[Value]:
    """Return ``count`` vectors of uniform numbers of float32, one after the other: the elements from ``first`` on.

    Ten rounds that wait for each other take as long for many counters as for few. ``aligned``: ``first`` is a multiple of 4;
    otherwise one vector more is drawn, and memory shifts them.
    """
    drawn = count if aligned else count + 1
    counters = drawn * LANES // 4
    counter = e.wide(e.bits("lshr", first, 2), counters) + e.lane_numbers(I64, counters)
    words = [e.cast(word, I32) for word in philox(e, seed, draw, counter)]
    found = []
    for start in range(0, counters, LANES // 4):
        lanes = [*range(start, start + LANES // 4), *range(counters + start, counters + start + LANES // 4)]
        low, high = e.shuffle(words[0], words[1], lanes), e.shuffle(words[2], words[3], lanes)
        order = [part * (LANES // 4) + k for k in range(LANES // 4) for part in range(4)]
        found.append(_number(e, "uniform", e.shuffle(low, high, order), F32, 0, 0))
    if aligned:
        return found
    memory = e.stack(F32, drawn * LANES)
    for k, x in enumerate(found):
        e.store(x, e.offset(memory, k * LANES, F32) if k else memory)
    start_of = e.offset(memory, first & 3, F32)
    return [e.load(e.offset(start_of, k * LANES, F32) if k else start_of, F32, LANES) for k in range(count)]


def _is_wide(kind: str, dtype: Dtype, low: int, high: int) -> bool:
    """Say whether a number takes 64 bits."""
    return bool(dtype == F64) if kind in ("uniform", "normal") else kind == "integers" and high - low > NARROW


def _pair(e: Emitter, words: Words) -> tuple[Value, Value]:
    """Return the two 64-bit words of each counter, the lower half first."""
    return (words[0] & _LOW) | (words[1] << 32), (words[2] & _LOW) | (words[3] << 32)


def _interleaved(e: Emitter, parts: Sequence[Value]) -> Value:
    """Return lane 0 of each part, then lane 1 of each, and so on."""
    count, lanes = len(parts), parts[0].lanes
    joined = list(parts)
    while len(joined) > 1:
        joined = [e.shuffle(a, b, range(2 * a.lanes)) for a, b in zip(joined[0::2], joined[1::2], strict=True)]
    return e.shuffle(joined[0], None, [part * lanes + k for k in range(lanes) for part in range(count)])


def _number(e: Emitter, kind: str, word: Value, dtype: Dtype, low: int, high: int) -> Value:
    """Return the uniform number or integer of a word: of 64 bits, or of 32 in the lower half of a lane, or alone."""
    if kind == "words":
        return word
    if kind == "uniform":
        if dtype == F64:
            return e.cast(e.bits("lshr", word, 11), F64) * 2.0**-53
        return e.cast(e.bits("lshr", e.cast(word, I32), 8), F32) * 2.0**-24
    extent = high - low
    above = e.bits("lshr", word * extent, 32) if extent <= NARROW else _multiply_high(e, word, extent)
    return above + e.constant(low, I64)


def _multiply_high(e: Emitter, word: Value, factor: int) -> Value:
    """Return the upper 64 bits of a 128-bit product."""
    low, high = factor & _LOW, factor >> 32
    word_low, word_high = word & _LOW, e.bits("lshr", word, 32)
    middle = word_high * low + e.bits("lshr", word_low * low, 32)
    carry = word_low * high + (middle & _LOW)
    return word_high * high + e.bits("lshr", middle, 32) + e.bits("lshr", carry, 32)


# -------------------------------------------------------------------------------------------------------- normal numbers


class Precision(NamedTuple):
    """What Box-Muller needs of a float type; the numbers are those of the interpreter, to the bit."""

    dtype: Dtype
    integer: Dtype
    fraction: int
    log_two: float
    sqrt_half_bits: int
    log: tuple[float, ...]
    sine: tuple[float, ...]
    cosine: tuple[float, ...]


SINGLE = Precision(
    dtype=F32,
    integer=I32,
    fraction=23,
    log_two=0.6931472,
    sqrt_half_bits=0x3F3504F3,
    log=(2.0, 0.6666682, 0.3997485, 0.2992439),
    sine=(1.5707964, -0.6459635, 0.07968022, -0.004602149),
    cosine=(1.0, -1.2337005, 0.2536692, -0.02086007, 0.00090362807),
)
DOUBLE = Precision(
    dtype=F64,
    integer=I64,
    fraction=52,
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


def box_muller(e: Emitter, radius: Value, angle: Value) -> tuple[Value, Value]:
    """Return r cos φ and r sin φ of two words of the float's size."""
    p = SINGLE if radius.dtype == I32 else DOUBLE
    top = 8 * p.dtype.itemsize - 1
    # x = u + ½ = m 2**n with m in [√½, √2); r = sqrt(-2 log(x 2**-digits))
    x = e.cast(e.bits("lshr", radius, top - p.fraction), p.dtype) + 0.5
    bits = e.bitcast(x, p.integer)
    n = (bits - p.sqrt_half_bits) >> p.fraction
    logarithm = (e.cast(n, p.dtype) - float(p.fraction + 1)) * p.log_two
    m = e.bitcast(bits - (n << p.fraction), p.dtype)
    s = (m - 1) / (m + 1)
    r = e.sqrt((_polynomial(s * s, p.log) * s + logarithm) * -2)
    # φ: the upper two bits of the word are quarter turns, the rest, read as signed, is t
    t = e.cast(angle << 2, p.dtype) * math.ldexp(1, -(top + 1))
    z = t * t
    sine = _polynomial(z, p.sine) * t
    cosine = _polynomial(z, p.cosine)
    q = angle + e.constant(1 << (top - 2), p.integer)
    odd = (q << 1) < 0
    sign = e.constant(-1 << top, p.integer)
    by_sine = _with_sign(e, e.select(odd, cosine, sine), q & sign, p)
    by_cosine = _with_sign(e, e.select(odd, sine, cosine), (q + e.constant(1 << (top - 1), p.integer)) & sign, p)
    return r * by_cosine, r * by_sine


def _with_sign(e: Emitter, x: Value, sign: Value, p: Precision) -> Value:
    return e.bitcast(e.bitcast(x, p.integer) ^ sign, p.dtype)


def _polynomial(z: Value, coefficients: Sequence[float]) -> Value:
    """Evaluate by Horner's rule, the multiplication and the addition of each step rounded on their own."""
    y = z * coefficients[-1]
    for c in coefficients[-2:0:-1]:
        y = (y + c) * z
    return y + coefficients[0]
