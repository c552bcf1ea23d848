"""What a run needs of a compiled graph, as plain data: records, memory and results, for every size. No pass reads it.

It is kept beside the machine code, so that a graph whose code is on disk runs without the compiler. Sizes may be symbols;
``layout`` works everything out once they are numbers.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.compiler.interface import ARENA, Items, Kind, TermList, as_number
from chainrule.errors import NativeError
from chainrule.graph import Array, Graph
from chainrule.graph.sizes import Dim, Shape, Size, numel

if TYPE_CHECKING:
    from chainrule.compiler.fields import Field
    from chainrule.compiler.plan import Record, Targets

ALIGNMENT = 64
APART = 192  # bytes between values, so that their lines do not fall into the same sets of the cache
NOWHERE = -1  # the number of a value that is not in the arena


class Word(NamedTuple):
    """One of the numbers that a kernel is given: where a value begins in the arena (or 0), and more."""

    value: int
    more: Dim


class Call(NamedTuple):
    """One call of a kernel."""

    kernel: str
    words: tuple[Word, ...]
    items: Items


class Value(NamedTuple):
    """Memory of the arena: from which region on and up to which it is needed, and how many bytes."""

    first: int
    last: int
    size: Dim


class Result(NamedTuple):
    """An output: its slot of the frame, its shape and its dtype."""

    slot: int
    shape: Shape
    dtype: Any


class Fixed(NamedTuple):
    """A constant array: its slot, and which constant of the graph it is, or the array."""

    slot: int
    source: int | Array


class Recipe(NamedTuple):
    """Everything but the machine code.

    ``straight``   how many instructions straight-line code takes for the sizes that the kernels were shaped for, or why
                   there is none; None: not known
    ``lists``      of terms, which kernels read, or could read if they were made so (``terms.py``)
    """

    num_slots: int
    calls: tuple[Call, ...]
    values: tuple[Value, ...]
    results: tuple[Result, ...]
    fixed: tuple[Fixed, ...]
    straight: int | str | None
    lists: tuple[TermList, ...] = ()

    def layout(self, sizes: Mapping[str, int]) -> Layout:
        """Return where everything lies for these sizes."""
        return Layout(self, sizes)

    def offsets(self, sizes: Mapping[str, int]) -> tuple[list[int], int]:
        """Return where each value begins, in bytes, and how large the arena is: lives that overlap share no memory."""
        values = self.values
        offsets = [0] * len(values)
        alive: list[tuple[int, int, int]] = []  # begin, end, last: of those that the next may meet
        end = 0
        for k in sorted(range(len(values)), key=lambda k: values[k].first):
            first, last, size = values[k]
            need = -(-(as_number(size, sizes) + APART) // ALIGNMENT) * ALIGNMENT
            alive = [one for one in alive if one[2] >= first]
            at = 0
            for begin, stop, _ in sorted(alive):
                if at + need <= begin:
                    break
                at = max(at, stop)
            offsets[k] = at
            alive.append((at, at + need, last))
            end = max(end, at + need)
        return offsets, end

    def to_bytes(self) -> bytes:
        """Return the recipe as text."""
        return _Writer().recipe(self)

    def constants(self, graph: Graph) -> list[tuple[int, Array]]:
        """Return slot and array of each constant; ``graph`` is the one that was compiled, or one like it."""
        given = array_constants(graph)
        return [(slot, given[source] if isinstance(source, int) else source) for slot, source in self.fixed]


class Layout:
    """Addresses within the arena, the numbers of all calls, and how much work each is, for given sizes."""

    def __init__(self, recipe: Recipe, sizes: Mapping[str, int]) -> None:
        offsets, self.arena_size = recipe.offsets(sizes)
        starts: list[int] = []
        words: list[int] = []
        for call in recipe.calls:
            starts.append(len(words))
            for value, more in call.words:
                number = more if type(more) is int else as_number(more, sizes)
                words.append(number if value == NOWHERE else offsets[value] + number)
        self.args: Array = np.array(words or [0], dtype=np.int64)
        self.starts = starts
        self.items = [call.items.number(sizes) for call in recipe.calls]


def recipe_of(
    targets: Targets,
    records: Sequence[Record],
    scratch: Sequence[tuple[Field, int]],
    graph: Graph,
    straight: int | str | None,
    lists: Sequence[TermList] = (),
) -> Recipe:
    """Return the recipe of what the passes made of a graph."""
    slot = targets.slot
    wanted = [*targets.lives.items(), *((field, (at, at)) for field, at in scratch)]
    number = {field: k for k, (field, _) in enumerate(wanted)}
    calls = []
    for record in records:
        words = []
        for kind, field, size in record.entries:
            if field is None:
                words.append(Word(NOWHERE, size))
            elif kind == "slot":
                words.append(Word(NOWHERE, slot.get(field, ARENA)))
            else:
                value = NOWHERE if field in slot else number[field]
                words.append(Word(value, size * field.dtype.itemsize))
        calls.append(Call(record.kernel, tuple(words), record.items))
    places = {id(array): k for k, array in enumerate(array_constants(graph))}
    return Recipe(
        targets.num_slots,
        tuple(calls),
        tuple([Value(*life, numel(field.shape) * field.dtype.itemsize) for field, life in wanted]),
        tuple([Result(slot.get(field, 0), field.shape, field.dtype) for field in targets.regions.outputs]),
        tuple([Fixed(slot[field], places.get(id(field.array), field.array)) for field in targets.fixed]),
        straight,
        tuple(lists),
    )


def array_constants(graph: Graph) -> list[Array]:
    """Return the constants of a graph that are arrays."""
    return [node.value for node in graph.nodes if node.primitive is not None and node.primitive.name == "constant"]


# As text.


class _Writer:
    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}  # by their text: the number of each size that is no number
        self.written: list[Any] = []

    def recipe(self, recipe: Recipe) -> bytes:
        calls = [
            [
                call.kernel,
                [self.size(more) if value == NOWHERE else [value, self.size(more)] for value, more in call.words],
                self.items(call.items),
            ]
            for call in recipe.calls
        ]
        found = {
            "slots": recipe.num_slots,
            "calls": calls,
            "values": [[value.first, value.last, self.size(value.size)] for value in recipe.values],
            "results": [[y.slot, [self.size(n) for n in y.shape], y.dtype.str] for y in recipe.results],
            "fixed": [
                [one.slot, one.source if isinstance(one.source, int) else _array(one.source)] for one in recipe.fixed
            ],
            "straight": recipe.straight,
            "lists": recipe.lists,
            "sizes": self.written,
        }
        return json.dumps(found, separators=(",", ":")).encode()

    def items(self, items: Items) -> list[Any]:
        divided = None if items.divided is None else self.size(items.divided)
        return [self.size(items.each), self.size(items.rows), items.tile, items.few, divided]

    def size(self, size: Dim) -> int | str:
        """Return a number, or as a text the number of a size among all."""
        if not isinstance(size, Size):
            return int(size)
        key = str(size)
        if key not in self.sizes:
            terms, floors = size.__reduce__()[1]
            plain = [[*monomial, coefficient] for monomial, coefficient in terms.items()]
            below = {text: [self.size(p), self.size(q)] for text, (p, q) in floors.items()}
            self.sizes[key] = len(self.written)  # what it is made of comes before it
            self.written.append([plain, below])
        return str(self.sizes[key])


def _array(array: Array) -> list[Any]:
    return [array.dtype.str, array.shape, base64.b64encode(array.tobytes()).decode()]


def read_recipe(text: bytes) -> Recipe:
    """Return what ``to_bytes`` wrote.

    Raises:
        NativeError: it is none.
    """
    try:
        return _read(json.loads(text))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise NativeError(f"the plan of a run is damaged ({type(error).__name__}: {error})") from error


def _read(found: Any) -> Recipe:
    sizes: list[Size] = []

    def size(code: int | str) -> Dim:
        return code if type(code) is int else sizes[int(code)]

    for plain, below in found["sizes"]:
        terms = {tuple(monomial): coefficient for *monomial, coefficient in plain}
        sizes.append(Size(terms, {text: (size(p), size(q)) for text, (p, q) in below.items()}))

    def word(code: Any) -> Word:
        kind = type(code)
        if kind is int:
            return Word(NOWHERE, code)
        return Word(NOWHERE, sizes[int(code)]) if kind is str else Word(code[0], size(code[1]))

    calls = []
    for kernel, words, (each, rows, tile, few, divided) in found["calls"]:
        items = Items(size(each), size(rows), tile, few, None if divided is None else size(divided))
        calls.append(Call(kernel, tuple([word(code) for code in words]), items))
    fixed = []
    for slot, source in found["fixed"]:
        if not isinstance(source, int):
            dtype, shape, contents = source
            source = np.frombuffer(base64.b64decode(contents), dtype).reshape(shape)
        fixed.append(Fixed(slot, source))
    return Recipe(
        found["slots"],
        tuple(calls),
        tuple([Value(first, last, size(n)) for first, last, n in found["values"]]),
        tuple(
            [Result(slot, tuple([size(n) for n in shape]), np.dtype(dtype)) for slot, shape, dtype in found["results"]]
        ),
        tuple(fixed),
        found["straight"],
        tuple([TermList(slot, number, Kind(kind), *rest) for slot, number, kind, *rest in found["lists"]]),
    )
