"""Folds: how the elements of a sum, a product or an extreme are combined, and how where an extreme is.

A loop carries one value for each fold, and two (the best so far, and where it is) for each place. Neither the width of the
registers nor the number of threads decides the order of a sum: vectors of 16 lanes (or rows) are dealt to four chains
(``Chains``) in turn, each adds up in rising order, then the chains in halves; so in chunks of a fixed size, which are dealt to
chains of their own, and the lanes in halves at the end. So many terms meet no more roundings than their square root, about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.compiler.emit import Emitter
from chainrule.compiler.fields import Field, Fold, Place
from chainrule.compiler.value import BOOL, I64, LANES, Value
from chainrule.graph.sizes import Dim, Size

CHUNK_OF_LANES = 4096  # elements of a sum along the lanes: 64 to a lane of a chain, as of rows
CHUNK_OF_ROWS = 256  # of a sum along another axis
CHAINS = 4  # of a sum: an addition takes three or four cycles, in which those of the other chains begin
CHAINS_OF_CHUNKS = 8  # and what the chunks give is dealt to
FEW_FOLDS = 2  # in one loop; of more, the chains of chunks would fill the registers, and be long to compile
FEW = 4  # turns of a loop, for which more than one chain does not pay


# One fold.


def neutral(e: Emitter, f: Fold) -> Value:
    """Return the number that a fold begins with."""
    dtype = f.inputs[0].dtype
    nothing = -0.0 if dtype.kind == "f" else 0  # -0.0 + x = x, whatever x is
    number: Any = {"add": 0, "mul": 1, "or": 0, "and": 1, "pick": nothing}.get(f.kind)
    if number is None:
        number = _lowest(dtype) if f.kind == "max" else _highest(dtype)
    return e.constant(number, dtype)


def combine(e: Emitter, f: Fold, a: Value, b: Value) -> Value:
    """Return what a fold makes of what it has and what comes next."""
    if f.kind == "max":
        return e.maximum(a, b)
    if f.kind == "min":
        return e.minimum(a, b)
    if f.kind == "or":
        return a | b
    if f.kind == "and":
        return a & b
    return a * b if f.kind == "mul" else a + b


def in_halves(e: Emitter, f: Fold, terms: Sequence[Value], *, begun: bool = False) -> Value:
    """Return a few terms combined: those of the lower half of a power of two with those of the upper, and so on.

    ``begun``: they are sums that began with the neutral number.
    """
    first, *others = terms
    if begins_with_zero(f) and not begun:
        first = combine(e, f, e.wide(neutral(e, f), first.lanes), first)
    terms = [first, *others]
    half = 1 << (len(terms) - 1).bit_length() >> 1
    while half:
        terms = [combine(e, f, x, terms[k + half]) if k + half < len(terms) else x for k, x in enumerate(terms[:half])]
        half //= 2
    return terms[0]


def begins_with_zero(f: Fold) -> bool:
    """Say whether it matters that a fold begins with its neutral number: 0 + -0.0 is 0."""
    return f.kind == "add" and f.dtype.kind == "f"


def is_sum(f: Field) -> bool:
    """Say whether a fold is a sum of floats: it alone is cut. A product's parts could be an infinity and a zero."""
    return isinstance(f, Fold) and begins_with_zero(f)


def in_chains(f: Field, size: Dim, *, along_lanes: bool, most: int = CHAINS) -> int:
    """Return how many chains a fold along ``size`` elements has, ``most`` or one; the shape decides."""
    if not is_sum(f):
        return 1
    turns = None if isinstance(size, Size) else -(-size // LANES) if along_lanes else size
    return most if turns is None or turns > FEW else 1


# What a loop carries for several folds and places.


def shares(folds: Sequence[Field]) -> list[tuple[Field, slice]]:
    """Return each fold or place with its part of what a loop carries for all of them."""
    found = []
    at = 0
    for f in folds:
        width = 1 if isinstance(f, Fold) else 2
        found.append((f, slice(at, at + width)))
        at += width
    return found


def nothing(e: Emitter, folds: Sequence[Field], lanes: int) -> list[Value]:
    """Return what a loop begins with."""
    found: list[Value] = []
    for f in folds:
        x = f.inputs[0]
        if isinstance(f, Place):
            value = _lowest(x.dtype) if f.kind == "max" else _highest(x.dtype)
            found += [e.wide(e.constant(value, x.dtype), lanes), e.wide(e.constant(-1, I64), lanes)]
        else:
            assert isinstance(f, Fold)
            found.append(e.wide(neutral(e, f), lanes))
    return found


def with_value(e: Emitter, f: Fold, carry: Value, value: Value, mask: Value | None) -> Value:
    """Return a fold with the value of one turn; lanes outside of ``mask`` count nothing."""
    if mask is not None:
        value = e.select(mask, value, e.wide(neutral(e, f), value.lanes))
    return combine(e, f, carry, value)


def with_place(
    e: Emitter, f: Place, carry: Sequence[Value], value: Value, place: Value, mask: Value | None
) -> list[Value]:
    """Return the best and its place after a value at ``place``; lanes outside of ``mask`` count nothing."""
    place = e.wide(place, value.lanes)
    better = _is_better(e, f, value, carry[0]) | (e.eq(carry[1], -1))
    if mask is not None:
        better = better & mask
    return [e.select(better, value, carry[0]), e.select(better, place, carry[1])]


def joined(e: Emitter, folds: Sequence[Field], carry: Sequence[Value], found: Sequence[Value]) -> list[Value]:
    """Return what a loop carried before combined with what the loops inside, or a chunk, gave."""
    result: list[Value] = []
    for f, own in shares(folds):
        if isinstance(f, Fold):
            result.append(combine(e, f, carry[own][0], found[own][0]))
        else:
            result.extend(_better(e, f, carry[own], found[own]))
    return result


class Chains:
    """What the loop of some folds carries, with sums in several chains: the first takes a term and becomes the last."""

    def __init__(self, e: Emitter, folds: Sequence[Field], size: Dim, *, along_lanes: bool, most: int = CHAINS) -> None:
        self.e = e
        self.shares = [(f, own, in_chains(f, size, along_lanes=along_lanes, most=most)) for f, own in shares(folds)]

    @property
    def several(self) -> bool:
        """Whether any fold has more than one."""
        return any(count > 1 for *_, count in self.shares)

    def begin(self, carry: Sequence[Value]) -> list[Value]:
        """Return what the loop begins with: in the first chain what was before."""
        found: list[Value] = []
        for f, own, count in self.shares:
            found += carry[own]
            found += nothing(self.e, [f], carry[own][0].lanes) * (count - 1)
        return found

    def turn(self, write: Callable[[Sequence[Value]], Sequence[Value]], now: Sequence[Value]) -> list[Value]:
        """Return what the loop carries after one turn, of which ``write`` knows one chain only."""
        parts = self._parts(now)
        after = write(
            [x for part, (_, own, _) in zip(parts, self.shares, strict=True) for x in part[: own.stop - own.start]]
        )
        found: list[Value] = []
        for part, (_, own, _) in zip(parts, self.shares, strict=True):
            found += [*part[own.stop - own.start :], *after[own]]
        return found

    def end(self, values: Sequence[Value]) -> list[Value]:
        """Return what the chains give together."""
        found: list[Value] = []
        for part, (f, _, count) in zip(self._parts(values), self.shares, strict=True):
            found += [in_halves(self.e, f, part, begun=True)] if count > 1 and isinstance(f, Fold) else part
        return found

    def _parts(self, values: Sequence[Value]) -> list[Sequence[Value]]:
        """Return what is carried for each fold."""
        parts, at = [], 0
        for _, own, count in self.shares:
            size = (own.stop - own.start) * count
            parts.append(values[at : at + size])
            at += size
        return parts


def across_lanes(e: Emitter, f: Field, values: Sequence[Value]) -> Value:
    """Return the lanes of what a loop gave combined: halves with halves."""
    if isinstance(f, Fold):
        return e.fold(values[0], lambda a, b: combine(e, f, a, b))
    best, place = values
    width = best.lanes
    while width > 1:
        half = width // 2
        pick = (lambda x, at, half=half: e.shuffle(x, None, range(at, at + half))) if half > 1 else e.lane
        a = [pick(best, 0), pick(place, 0)]
        b = [pick(best, half), pick(place, half)]
        best, place = _better(e, f, a, b)
        width = half
    return place


def _is_better(e: Emitter, f: Field, a: Value, b: Value) -> Value:
    """Return whether ``a`` beats ``b``: NaN beats all but NaN."""
    assert isinstance(f, Place)
    better = a > b if f.kind == "max" else a < b
    if a.dtype.kind == "f":
        better = better | (e.is_nan(a) & ~e.is_nan(b))
    return better


def _better(e: Emitter, f: Field, a: Sequence[Value], b: Sequence[Value]) -> list[Value]:
    """Return the better of two (value, place) pairs; at a tie the smaller place; place -1 is none yet."""
    none_a, none_b = e.eq(a[1], -1), e.eq(b[1], -1)
    tie = ~_is_better(e, f, a[0], b[0]) & ~_is_better(e, f, b[0], a[0])
    takes_b = ~none_b & (none_a | _is_better(e, f, b[0], a[0]) | (tie & (b[1] < a[1])))
    return [e.select(takes_b, b[0], a[0]), e.select(takes_b, b[1], a[1])]


def _lowest(dtype: Any) -> Any:
    if dtype.kind == "f":
        return -np.inf
    return 0 if dtype == BOOL else np.iinfo(dtype).min


def _highest(dtype: Any) -> Any:
    if dtype.kind == "f":
        return np.inf
    return 1 if dtype == BOOL else np.iinfo(dtype).max
