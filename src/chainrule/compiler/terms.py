"""Lists of terms: from a product with data those terms are left out in which all data of a tile are 0.

The background of an image, the words that a text has not, the columns of the categories that a row is not in: where they meet
a weight or an error they add nothing, and a large part of all products is of this kind. So what gathers a batch
(``gather.py``) notes which elements are not 0 (``marks``: a bit each, 16 in a word), a kernel makes lists of them
(``write_lists``), and products go through the terms in the list instead of all. Nothing of a result changes: fma(0, b, sum) is the sum.
Unless b is no finite number; then the lists are not used in that step (``watch``).

A list is memory of 32-bit words: the head (``LIST_HEAD``), whose first word says how far apart its blocks are, then the block that has
all terms, then one for each tile. 0: all tiles use the first. A block has, for each ``CHUNK`` of terms, their number,
then the terms in rising order, with room for all of them.
"""

from __future__ import annotations

from typing import NamedTuple

from .emit import Emitter
from .interface import CHUNK, LIST_HEAD, Kind
from .module import Module
from .value import I32, I64, LANES, Dtype, Value

PIECE = 4096  # elements that are watched at a time


class Terms(NamedTuple):
    """The list that a kernel reads: its address, and whose terms it names."""

    pointer: str
    kind: Kind

    def block(self, e: Emitter, number: Value) -> Block:
        """Return the terms of the tiles that have this number among those of rows or columns."""
        apart = e.cast(e.load(self.pointer, I32), I64)
        return Block(e, e.offset(self.pointer, apart * (number + 1) + LIST_HEAD, I32))


class Block:
    """The terms of a tile."""

    def __init__(self, e: Emitter, pointer: str) -> None:
        self.e, self.pointer = e, pointer

    def chunk(self, number: Value) -> Block:
        """Return those of a chunk."""
        return Block(self.e, self.e.offset(self.pointer, number * (1 + CHUNK), I32))

    def count(self) -> Value:
        """Return how many there are in the (first) chunk."""
        return self.e.cast(self.e.load(self.pointer, I32), I64)

    def term(self, k: Value) -> Value:
        """Return the number of the term at place ``k`` of the (first) chunk."""
        return self.e.cast(self.e.load(self.e.offset(self.pointer, k + 1, I32), I32), I64)


def watch(e: Emitter, terms: str, data: str, count: Value, dtype: Dtype) -> None:
    """Write the kernel that gives up a list (at ``terms``) if one of ``count`` elements at ``data`` is no finite number."""
    lanes = e.lane_numbers()

    def is_bad(start: Value) -> Value:
        stop, sums = e.minimum(start + PIECE, count), [e.wide(e.constant(0, dtype))] * 4
        whole = start + (stop - start & -len(sums) * LANES)

        def some(at: Value, *now: Value) -> list[Value]:
            x = [e.load(e.offset(data, at + k * LANES if k else at, dtype), dtype, LANES) for k in range(len(now))]
            return [e.fma(value, e.constant(0, dtype), old) for value, old in zip(x, now, strict=True)]

        def rest(at: Value, now: Value) -> list[Value]:
            x = e.load(e.offset(data, at, dtype), dtype, LANES, lanes < e.wide(stop - at))
            return [e.fma(x, e.constant(0, dtype), now)]

        a, b, c, d = e.loop(start, whole, len(sums) * LANES, some, sums)
        [a] = e.loop(whole, stop, LANES, rest, [a])
        return e.fold(e.ne((a + b) + (c + d), 0), lambda x, y: x | y)

    def piece(number: Value) -> None:
        e.when(is_bad(number * PIECE), lambda: e.store(e.constant(0, I32), terms))

    begin, end = Value(e, "%begin", I64), Value(e, "%end", I64)
    is_used = e.ne(e.load(terms, I32), 0)
    e.loop(begin, e.select(is_used, end, begin), 1, piece)


def write_lists(module: Module, kind: Kind, block: int) -> str:
    """Write the kernel that makes lists from marks, an item for each block of terms; return its name.

    args: the addresses of the marks and of the list, how many 32-bit words its blocks are apart, rows of the data, marks of a
    row, and how many of them are whole groups of 16 columns.
    """
    name = f"lists.{kind}.{block}"
    e = Emitter(module, name, [("ptr", "frame"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")])
    marks, lists = [e.raw(f"load ptr, ptr {e.offset('%args', k, I64)}, align 8") for k in range(2)]
    apart, rows, groups, whole = [e.load(e.offset("%args", k, I64), I64) for k in range(2, 6)]
    size = block // LANES if kind is Kind.ROWS else block  # marks that decide of a term

    def item(number: Value) -> None:
        if kind is Kind.ROWS:
            places = [e.minimum(number * size + j, groups - 1) for j in range(size)]
            terms, step = rows, groups
        else:
            first = number * size
            if kind is Kind.COLUMNS:  # as product.py: of fewer rows each is a tile, a last tile begins earlier
                few = rows < size
                first = e.select(few, number, e.minimum(first, rows - size))
                places = [(first + e.select(few, 0, e.index(j))) * groups for j in range(size)]
            else:
                places = [e.minimum(first + j, rows - 1) * groups for j in range(size)]
            terms, step = whole if kind is Kind.GROUPS else groups, e.index(1)
        chunk_of_marks = CHUNK // LANES if kind is Kind.COLUMNS else CHUNK

        def found(t: Value) -> Value:
            word = None
            for place in places:
                at = e.raw(f"getelementptr inbounds i16, ptr {marks}, i64 {(place + t * step).name}")
                x = Value(e, e.raw(f"zext i16 {e.raw(f'load i16, ptr {at}, align 2')} to i64"), I64)
                word = x if word is None else word | x
            assert word is not None
            return word

        def chunk(start: Value, to: Value) -> list[Value]:
            target = e.offset(lists, to, I32)

            def term(t: Value, count: Value) -> list[Value]:
                word = found(t)
                if kind is not Kind.COLUMNS:
                    e.store(e.cast(t, I32), e.offset(target, count + 1, I32))
                    return [count + e.cast(e.ne(word, 0), I64)]

                def bits() -> list[Value]:
                    now = count
                    for bit in range(LANES):
                        e.store(e.cast(t * LANES + bit, I32), e.offset(target, now + 1, I32))
                        now = now + (word >> bit & 1)
                    return [now]

                return e.either(e.ne(word, 0), bits, [count])

            [count] = e.loop(start, e.minimum(start + chunk_of_marks, terms), 1, term, [e.index(0)])
            e.store(e.cast(count, I32), target)
            return [to + (1 + CHUNK)]

        e.loop(0, terms, chunk_of_marks, chunk, [apart * (number + 1) + LIST_HEAD])

    e.loop(Value(e, "%begin", I64), Value(e, "%end", I64), 1, item)
    e.store(e.cast(apart, I32), lists)
    e.finish()
    return name
