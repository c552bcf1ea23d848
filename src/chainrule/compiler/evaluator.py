"""Writing the value of a field at an index: loads, and the instructions of everything that readers compute themselves.

An index says for each axis of a field where it is: ``offset + step · i`` of a loop, or a fixed offset. One loop may run along
the lanes: what depends on it is a vector, everything else one number, computed before the loop begins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.compiler import vector_math, vector_random
from chainrule.compiler.emit import Emitter
from chainrule.compiler.fields import (
    Field,
    Fixed,
    Gather,
    Iota,
    Map,
    Move,
    Number,
    Random,
    Reshape,
    SizeOf,
    Source,
    is_one,
    same,
)
from chainrule.compiler.interleave import load_columns
from chainrule.compiler.module import Module
from chainrule.compiler.regions import Regions
from chainrule.compiler.value import BOOL, F32, I64, LANES, Dtype, Value
from chainrule.errors import VerifyError
from chainrule.graph.sizes import Dim, Shape, Size

LONG = frozenset(
    ["pow", "exp", "log", "expm1", "log1p", "tanh", "sigmoid", "sin", "cos"]
)  # functions of many instructions
FEW = 3  # turns of a short loop, for all of which a function of many instructions is not written out
KERNEL = "kernel"  # what each is called while it is written; then it is named by what it does


class At(NamedTuple):
    """Where along one axis: ``offset + step · (index of loop ``loop``)``; ``loop`` None stands still."""

    loop: int | None
    offset: Dim = 0
    step: int = 1


Index = tuple[At, ...]
STILL = At(None)


def index_of(axes: Sequence[int | None]) -> Index:
    """Return the index of a field whose axes run along these loops."""
    return tuple([STILL if d is None else At(d) for d in axes])


def operand(x: Field, index: Index) -> Index:
    """Return the index of an operand that broadcasts to a field at ``index``."""
    extra = len(index) - x.ndim
    return tuple([STILL if is_one(n) else index[k + extra] for k, n in enumerate(x.shape)])


def moved(x: Move, index: Index) -> Index:
    """Return the index of what is moved."""
    places = []
    for place in x.places:
        if place.axis is None:
            places.append(At(None, place.offset))
        else:
            outer = index[place.axis]
            places.append(At(outer.loop, place.offset + place.step * outer.offset, place.step * outer.step))
    return tuple(places)


def strides_of(shape: Shape) -> list[Dim]:
    """Return the row-major strides, in elements."""
    strides: list[Dim] = []
    total: Dim = 1
    for n in reversed(shape):
        strides.append(total)
        total = total * n
    return strides[::-1]


class KernelEmitter(Emitter):
    """The emitter of a kernel: ``void kernel(ptr frame, ptr args, i64 begin, i64 end)``.

    ``args`` begins with what ``reserved`` entries hold; then a slot of the frame and an offset in bytes for each buffer,
    and the sizes, in the order in which they were first asked for. ``frame[0]`` is the word that a failed check sets.
    """

    def __init__(self, module: Module, name: str, reserved: int = 0) -> None:
        super().__init__(module, name, [("ptr", "frame"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")])
        self.mask: Value | None = None
        self.calls = False  # functions of vectors
        self.places: list[tuple[str, Any]] = []  # what the entries of args are: ("buffer", field) or ("size", dim)
        self._entries = reserved
        self._pointers: dict[Field, str] = {}
        self._sizes: dict[str, Value] = {}

    def _argument(self) -> str:
        """Load the next entry of args, at the entry of the function."""
        k = self._entries
        self._entries += 1
        self.at_entry.append(f"  %arg{k}.at = getelementptr inbounds i64, ptr %args, i64 {k}")
        self.at_entry.append(f"  %arg{k} = load i64, ptr %arg{k}.at, align 8")
        return f"%arg{k}"

    def pointer(self, field: Field) -> str:
        """Return the address of a field's memory."""
        found = self._pointers.get(field)
        if found is None:
            slot, offset = self._argument(), self._argument()
            k = self._entries
            self.at_entry.append(f"  %base{k}.at = getelementptr inbounds ptr, ptr %frame, i64 {slot}")
            self.at_entry.append(f"  %base{k} = load ptr, ptr %base{k}.at, align 8")
            self.at_entry.append(f"  %buffer{k} = getelementptr inbounds i8, ptr %base{k}, i64 {offset}")
            found = self._pointers[field] = f"%buffer{k}"
            self.places.append(("buffer", field))
        return found

    def size(self, size: Dim) -> Value:
        """Return a size; numbers but 0 and 1 are entries of args too, so that layers of other sizes share the kernel."""
        if not isinstance(size, Size) and size in (0, 1, -1):
            return self.index(int(size))
        key = str(size)
        found = self._sizes.get(key)
        if found is None:
            found = self._sizes[key] = Value(self, self._argument(), I64)
            self.places.append(("size", size))
        return found

    def first_lanes(self, count: Value) -> Value:
        """Return the mask of the first ``count`` lanes, a size that is known at the entry of the function."""
        lines, self.lines = self.lines, []
        mask = self.lane_numbers() < self.wide(count)
        self.at_entry += self.lines
        self.lines = lines
        return mask

    def require(self, condition: Value) -> None:
        """Note a failed check unless ``condition`` holds in all lanes that count: the run stops after this kernel."""
        failed = ~condition
        if failed.lanes > 1:
            if self.mask is not None:
                failed = failed & self.mask
            name = f"llvm.vector.reduce.or.v{failed.lanes}i1"
            self.module.declare(name, f"declare i1 @{name}(<{failed.lanes} x i1>)")
            failed = self.op(f"call i1 @{name}({failed!r})", BOOL)
        word = self.raw("load ptr, ptr %frame, align 8")
        before = self.load(word, I64)
        self.store(before | self.cast(failed, I64), word)

    def math(self, name: str, *operands: Any) -> Value:
        """Return a function of vector_math; of single floats by a call, so that its instructions stand once.

        Of vectors too where ``calls`` is set: in kernels that run once in a step, and of which there are several.

        What divides single integers stands here, where a division by 0 can be noted.
        """
        values = self.together(*operands)
        rule = vector_math.function(name)
        dtype, lanes = values[0].dtype, values[0].lanes
        if dtype.kind != "f" or (lanes > 1 and not self.calls):
            return rule(self, *values)
        full = f"{name}.{dtype.name}" if lanes == 1 else f"{name}.{dtype.name}.{lanes}"
        kind = values[0].type
        if full not in self.module.functions:
            parameters = [(kind, f"x{k}") for k in range(len(values))]
            inner = Emitter(self.module, full, parameters, result=kind, internal=True)
            inner.finish(rule(inner, *[Value(inner, f"%x{k}", dtype, lanes) for k in range(len(values))]))
        return Value(self, self.call(full, *map(repr, values), result=kind), dtype, lanes)


@dataclasses.dataclass
class Columns:
    """A loop that is written out for 16 rows at once, of which ``rows`` exist (None: all); ``known`` of each turn."""

    loop: int
    known: list[dict[Any, Any]]
    rows: Value | None
    turn: int = 0
    loaded: dict[Any, list[Value]] = dataclasses.field(default_factory=dict)

    @property
    def width(self) -> int:
        """How many turns."""
        return len(self.known)


@dataclasses.dataclass
class Neighbours:
    """``count`` vectors side by side, of which the one numbered ``number`` is written: random numbers are drawn for all."""

    count: int
    number: int = 0
    drawn: dict[Any, list[Value]] = dataclasses.field(default_factory=dict)


class Evaluator:
    """Writes values of fields into a kernel. ``lane`` is the loop along the lanes; ``at`` the indices of open loops."""

    def __init__(self, e: KernelEmitter, regions: Regions, members: dict[Field, Index], lane: int | None) -> None:
        self.e = e
        self.regions = regions
        self.members = members  # computed here: at which index
        self.lane = lane
        self.at: dict[int, Value] = {}
        self.neighbours: Neighbours | None = None
        self.columns: Columns | None = None  # where a short loop is written out, turn by turn
        self._scopes: list[dict[Any, Any]] = [{}]
        self._loops: dict[Any, frozenset[int]] = {}

    # -- scopes: what was computed inside a loop is gone after it ------------------------------------------------------------

    def inside(self, write: Callable[[], Any]) -> Any:
        """Write code whose values do not outlive it (the body of a loop)."""
        self._scopes.append({})
        try:
            return write()
        finally:
            self._scopes.pop()

    def within(self, scope: dict[Any, Any], write: Callable[[], Any]) -> Any:
        """Write code that knows, and adds to, what ``scope`` holds."""
        self._scopes.append(scope)
        try:
            return write()
        finally:
            self._scopes.pop()

    def _find(self, key: Any) -> Any:
        for scope in reversed(self._scopes):
            found = scope.get(key)
            if found is not None:
                return found
        return None

    def know(self, field: Field, index: Index, value: Value) -> None:
        """Remember a value in the innermost scope."""
        self._scopes[-1][(field, _key(index))] = value

    def numbers(self, dtype: Dtype) -> list[Value]:
        """Return the single numbers of a dtype that are known now and computed, each once."""
        known = [x for scope in self._scopes for x in scope.values() if isinstance(x, Value)]
        return list({x.name: x for x in known if x.lanes == 1 and x.dtype == dtype and not x.constant}.values())

    # -- what depends on which loops ----------------------------------------------------------------------------------------

    def loops(self, field: Field, index: Index) -> frozenset[int]:
        """Return the loops that a value depends on."""
        key = (field, _key(index))
        found = self._loops.get(key)
        if found is None:
            found = frozenset([at.loop for at in index if at.loop is not None])
            for x, inner in self.parts(field, index):
                found |= self.loops(x, inner)
            self._loops[key] = found
        return found

    def in_memory(self, field: Field) -> bool:
        """Whether a field is read from memory here."""
        return isinstance(field, (Source, Fixed)) or (field in self.regions.computed and field not in self.members)

    def parts(self, field: Field, index: Index) -> list[tuple[Field, Index]]:
        """Return what the value of a field at an index is computed from here."""
        if self.in_memory(field):
            return []
        if isinstance(field, Map):
            return [(x, operand(x, index)) for x in field.inputs]
        if isinstance(field, Move):
            return [(field.inputs[0], moved(field, index))]
        if isinstance(field, Random):
            return [(x, ()) for x in field.inputs]
        if isinstance(field, Gather):
            width = max(x.ndim for x in field.inputs[1:])
            inner = index[field.place : field.place + width]
            return [(x, operand(x, inner)) for x in field.inputs[1:]]
        return []

    def hoist(self, field: Field, index: Index, open_loops: frozenset[int]) -> None:
        """Compute now what depends on open loops only, so that the loops inside do not compute it again."""
        if self._find((field, _key(index))) is not None:
            return
        if self.loops(field, index) <= open_loops:
            self.value(field, index)
            return
        if self.in_memory(field):
            if field not in self.members:
                self._row(field, index, open_loops)
            return
        for x, inner in self.parts(field, index):
            self.hoist(x, inner, open_loops)

    # -- values --------------------------------------------------------------------------------------------------------------

    def value(self, field: Field, index: Index) -> Value:
        """Return the value of ``field`` at ``index``: a vector if it depends on the loop along the lanes."""
        key = (field, _key(index))
        found = self._find(key)
        if found is None:
            found = self._scopes[-1][key] = self._value(field, index)
        result: Value = found
        return result

    def _value(self, field: Field, index: Index) -> Value:
        e = self.e
        if self.in_memory(field):
            return self.load(field, index)
        if isinstance(field, Map):
            if self._is_long(field, index):
                return self._in_turns(field, index)
            values = [self.value(x, inner) for x, inner in self.parts(field, index)]
            result: Value = field.primitive.lower(e, *values, **field.attributes)
            return result
        if isinstance(field, Move):
            return self.value(field.inputs[0], moved(field, index))
        if isinstance(field, Number):
            return e.constant(field.value, field.dtype)
        if isinstance(field, SizeOf):
            return e.cast(e.size(field.size), field.dtype)
        if isinstance(field, Iota):
            return e.cast(self.position(index[0]), field.dtype)
        if isinstance(field, Random):
            return self._random(field, index)
        if isinstance(field, Reshape):
            return self._reshaped(field, index)
        if isinstance(field, Gather):
            return self._gathered(field, index)
        raise VerifyError(f"compiler: {field!r} is read before it is computed")

    def _is_long(self, field: Map, index: Index) -> bool:
        """Say whether a function would be long if it was written out for each turn of a short loop."""
        columns = self.columns
        return (
            columns is not None
            and columns.width >= FEW
            and field.primitive.name in LONG
            and all(x.dtype.kind == "f" for x in (field, *field.inputs))
            and self._scopes[-1] is columns.known[columns.turn]
            and {columns.loop, self.lane} <= self.loops(field, index)
        )

    def _in_turns(self, field: Map, index: Index) -> Value:
        """Compute a function for all turns of a short loop, in a loop over memory; return it for this turn."""
        e, columns = self.e, self.columns
        assert columns is not None
        this, known = columns.turn, self._scopes.pop()

        def operands() -> list[Value]:
            return [self.value(x, inner) for x, inner in self.parts(field, index)]

        rows: list[list[Value]] = []
        for turn, other in enumerate(columns.known):
            columns.turn, self.at[columns.loop] = turn, e.index(turn)
            rows.append(self.within(other, operands))
        columns.turn, self.at[columns.loop] = this, e.index(this)
        self._scopes.append(known)

        memory = []  # of each operand, or the operand if it is the same in all turns
        for first, *others in zip(*rows, strict=True):
            if all(x.name == first.name for x in others):
                memory.append(first)
                continue
            place = e.stack(first.dtype, columns.width * LANES)
            for k, x in enumerate([first, *others]):
                e.store(e.wide(x, LANES), e.offset(place, LANES * k, x.dtype))
            memory.append(place)
        results = e.stack(field.dtype, columns.width * LANES)

        def compute(i: Value) -> None:
            values = [
                e.load(e.offset(x, i, y.dtype), y.dtype, LANES) if isinstance(x, str) else x
                for x, y in zip(memory, field.inputs, strict=True)
            ]
            e.store(field.primitive.lower(e, *values, **field.attributes), e.offset(results, i, field.dtype))

        e.loop(0, columns.width * LANES, LANES, compute, at_least_once=True)
        for k, other in enumerate(columns.known):
            other[field, _key(index)] = e.load(e.offset(results, LANES * k, field.dtype), field.dtype, LANES)
        found: Value = known[field, _key(index)]
        return found

    def position(self, at: At) -> Value:
        """Return the index along one axis: 16 of them where it follows the lanes."""
        e = self.e
        x: Value = e.size(at.offset)
        if at.loop is not None:
            i = self.at[at.loop]
            if at.loop == self.lane:
                i = e.wide(i) + e.lane_numbers()
            if at.step != 1:
                i = i * at.step
            x = i if x.constant and x.name == "0" else i + x
        return x

    def start(self, at: At) -> Value:
        """Return the index along one axis of the first lane."""
        e = self.e
        x: Value = e.size(at.offset)
        if at.loop is None:
            return x
        i = self.at[at.loop]
        if at.step != 1:
            i = i * at.step
        return i if x.constant and x.name == "0" else i + x

    # -- memory --------------------------------------------------------------------------------------------------------------

    def _row(self, field: Field, index: Index, open_loops: frozenset[int]) -> None:
        """Compute now the part of an address that depends on open loops only."""
        ready = [at.loop is None or at.loop in open_loops for at in index]
        key = (field, _key(index), "row")
        if any(ready) and self._find(key) is None:
            offset = self._offset(field, [at if r else STILL for at, r in zip(index, ready, strict=True)])
            rest = tuple([STILL if r else at for at, r in zip(index, ready, strict=True)])
            self._scopes[-1][key] = (self.e.offset(self.e.pointer(field), offset, field.dtype), rest)

    def _offset(self, field: Field, index: Sequence[At]) -> Value:
        e = self.e
        total: Value = e.index(0)
        for at, stride in zip(index, strides_of(field.shape), strict=True):
            if at == STILL:
                continue
            part = self.start(at)
            if not is_one(stride):
                part = part * e.size(stride)
            total = part if total.constant and total.name == "0" else total + part
        return total

    def address(self, field: Field, index: Index) -> str:
        """Return the address of an element (of the first lane)."""
        found = self._find((field, _key(index), "row"))
        if found is not None:
            base, rest = found
            return self.e.offset(base, self._offset(field, rest), field.dtype)
        return self.e.offset(self.e.pointer(field), self._offset(field, index), field.dtype)

    def lane_stride(self, shape: Shape, index: Index) -> Dim | None:
        """Return how far apart in memory neighbouring lanes are; None if the lanes do not matter."""
        stride: Dim | None = None
        for at, n in zip(index, strides_of(shape), strict=True):
            if at.loop is not None and at.loop == self.lane:
                stride = at.step * n if stride is None else stride + at.step * n
        return stride

    def load(self, field: Field, index: Index) -> Value:
        """Return what stands in memory."""
        e = self.e
        columns = self.columns
        if columns is not None and self.in_columns(field, index):
            key = (field, _key(index))
            if key not in columns.loaded:
                start = self.first_column(field, index)
                columns.loaded[key] = load_columns(e, start, columns.width, field.dtype, columns.rows)
            return columns.loaded[key][columns.turn]
        stride = self.lane_stride(field.shape, index)
        if stride is None:
            return e.load(self.address(field, index), field.dtype)
        if is_one(stride):
            return e.load(self.address(field, index), field.dtype, e.lanes, e.mask)
        places = e.lane_numbers() * e.wide(e.size(stride))
        return self.load_at(self.address(field, index), places, field.dtype)

    def load_at(self, base: str, places: Value, dtype: Dtype) -> Value:
        """Return elements at 16 places, counted from ``base``."""
        e = self.e
        if dtype.kind == "b":
            return e.ne(self.load_at(base, places, np.dtype(np.uint8)), 0)
        kind = Value(e, "", dtype, e.lanes).type
        scalar = Value(e, "", dtype).type
        pointers = e.raw(f"getelementptr {scalar}, ptr {base}, {places!r}")
        mask = e.mask.name if e.mask is not None else "splat (i1 true)"
        suffix = {"float": "f32", "double": "f64"}.get(scalar, scalar)
        name = f"llvm.masked.gather.v{e.lanes}{suffix}.v{e.lanes}p0"
        at = (f"<{e.lanes} x ptr> align {dtype.itemsize}", pointers)
        call = e.module.masked(name, kind, at, (f"<{e.lanes} x i1>", mask), (kind, "zeroinitializer"))
        return e.op(call, dtype, e.lanes)

    def in_columns(self, field: Field, index: Index) -> bool:
        """Say whether the loop that is written out goes along the rows of a field, and the lanes from row to row."""
        columns = self.columns
        return (
            columns is not None
            and len(index) > 1
            and index[-1] == At(columns.loop)
            and index[-2] == At(self.lane, index[-2].offset)
            and same(field.shape[-1], columns.width)
            and self.lane not in [at.loop for at in index[:-2]]
        )

    def first_column(self, field: Field, index: Index) -> str:
        """Return the address of the first element of the row of the first lane."""
        return self.address(field, (*index[:-1], STILL))

    def store(self, value: Value, target: Field, index: Index) -> None:
        """Write a value to the memory of ``target`` at ``index``."""
        e = self.e
        stride = self.lane_stride(target.shape, index)
        if stride is None:
            e.store(value if value.lanes == 1 else e.lane(value, 0), self.address(target, index))
            return
        value = e.wide(value)
        if is_one(stride):
            e.store(value, self.address(target, index), e.mask)
            return
        places = e.lane_numbers() * e.wide(e.size(stride))
        if value.dtype.kind == "b":
            value = e.cast(value, np.dtype(np.uint8))
        scalar = Value(e, "", value.dtype).type
        pointers = e.raw(f"getelementptr {scalar}, ptr {self.address(target, index)}, {places!r}")
        mask = e.mask.name if e.mask is not None else "splat (i1 true)"
        suffix = {"float": "f32", "double": "f64"}.get(scalar, scalar)
        name = f"llvm.masked.scatter.v{e.lanes}{suffix}.v{e.lanes}p0"
        at = (f"<{e.lanes} x ptr> align {value.dtype.itemsize}", pointers)
        e.line(e.module.masked(name, "void", (value.type, value.name), at, (f"<{e.lanes} x i1>", mask)))

    def _reshaped(self, field: Reshape, index: Index) -> Value:
        """Return an element of a reshaped field: the same row-major place in its memory."""
        root: Field = field
        while isinstance(root, Reshape) and not self.in_memory(root):
            root = root.inputs[0]
        if not self.in_memory(root):
            raise VerifyError(f"compiler: {field!r} is a reshape of what is not in memory")
        e = self.e
        flat = _Flat(root, field.shape)
        stride = self.lane_stride(field.shape, index)
        base = e.offset(e.pointer(root), self._offset(flat, index), root.dtype)
        if stride is None:
            return e.load(base, root.dtype)
        if is_one(stride):
            return e.load(base, root.dtype, e.lanes, e.mask)
        return self.load_at(base, e.lane_numbers() * e.wide(e.size(stride)), root.dtype)

    def _gathered(self, field: Gather, index: Index) -> Value:
        e = self.e
        x, *_ = field.inputs
        width = max(i.ndim for i in field.inputs[1:])
        rest = [*index[: field.place], *index[field.place + width :]]
        root, strides, offset = self.view(x)
        parts = self.parts(field, index)
        total: Value = e.size(offset)
        lanes_in_rest: Dim | None = None
        for axis, stride in enumerate(strides):
            if axis in field.axes:
                place = self.value(*parts[field.axes.index(axis)])
            else:
                at = rest.pop(0)
                if at.loop is not None and at.loop == self.lane:
                    lanes_in_rest = at.step * stride if lanes_in_rest is None else lanes_in_rest + at.step * stride
                place = self.start(at)
            total = total + place * (e.size(stride) if place.lanes == 1 else e.wide(e.size(stride)))
        if total.lanes == 1 and lanes_in_rest is None:
            return e.load(e.offset(e.pointer(root), total, root.dtype), root.dtype)
        if total.lanes == 1 and lanes_in_rest is not None and is_one(lanes_in_rest):
            return e.load(e.offset(e.pointer(root), total, root.dtype), root.dtype, e.lanes, e.mask)
        if lanes_in_rest is not None:
            total = e.wide(total) + e.lane_numbers() * e.wide(e.size(lanes_in_rest))
        return self.load_at(e.pointer(root), total, root.dtype)

    def view(self, x: Field) -> tuple[Field, list[Dim], Dim]:
        """Return the memory that a field shows, with a stride for each axis and an offset, in elements."""
        return view_of(x, self.regions)

    def _random(self, field: Random, index: Index) -> Value:
        e = self.e
        seed, draw = [self.value(x, ()) for x in field.inputs]
        if field.offset:
            draw = draw + field.offset
        strides = strides_of(field.shape)
        unit = self.lane_stride(field.shape, index)
        rows_of_four = all(
            at == STILL or is_one(stride) or (not isinstance(stride, Size) and stride % 4 == 0)
            for at, stride in zip(index, strides, strict=True)
        ) and all(not isinstance(at.offset, Size) and at.offset == 0 for at in index)
        flat = self._offset(_Flat(field, field.shape), index)
        if unit is not None:
            together = self.neighbours
            if together is not None and is_one(unit) and field.kind == "uniform" and field.dtype == F32:
                key = (field, _key(index))
                if key not in together.drawn:
                    first = flat - LANES * together.number if together.number else flat
                    together.drawn[key] = vector_random.neighbours(
                        e, seed, draw, first, together.count, aligned=rows_of_four
                    )
                return together.drawn[key][together.number]
            if is_one(unit) and rows_of_four and e.lanes == LANES:
                return vector_random.consecutive(e, field.kind, seed, draw, flat, field.dtype, **field.attributes)
            flat = e.wide(flat) + e.lane_numbers() * e.wide(e.size(unit))
        return vector_random.at(e, field.kind, seed, draw, flat, field.dtype, **field.attributes)


class _Flat(Field):
    """Another shape for the same memory."""

    __slots__ = ("root",)

    def __init__(self, root: Field, shape: Shape) -> None:
        super().__init__(shape, root.dtype)
        self.root = root


def view_of(x: Field, regions: Regions) -> tuple[Field, list[Dim], Dim]:
    """Return the field whose memory ``x`` shows, with a stride for each axis of ``x`` and an offset, in elements."""
    if isinstance(x, (Source, Fixed)) or x in regions.computed:
        return x, strides_of(x.shape), 0
    if isinstance(x, Reshape):
        root, strides, offset = view_of(x.inputs[0], regions)
        return root, strides_of(x.shape), offset
    if isinstance(x, Move):
        root, inner, offset = view_of(x.inputs[0], regions)
        strides = [0] * x.ndim
        for place, stride in zip(x.places, inner, strict=True):
            offset = offset + place.offset * stride
            if place.axis is not None:
                strides[place.axis] = strides[place.axis] + place.step * stride
        return root, strides, offset
    raise VerifyError(f"compiler: {x!r} is read as memory and has none")


def _key(index: Index) -> tuple[Any, ...]:
    """Return what stands for an index in a dictionary: sizes by their text."""
    return tuple([(a, str(b) if isinstance(b, Size) else b, c) for a, b, c in index])
