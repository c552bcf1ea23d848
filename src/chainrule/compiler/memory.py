"""Loads and stores of a kernel: addresses, strides, gathers, masks.

Along the lanes elements lie side by side (one load), a stride apart (a gather), or are all the same (one number). What of an
address depends on outer loops alone is computed before the loops inside begin.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from chainrule.compiler.fields import Field, Fixed, Gather, Move, Reshape, Source, is_one
from chainrule.compiler.index import STILL, Index, OpenLoops, key_of, strides_of
from chainrule.compiler.kernel_emitter import KernelEmitter
from chainrule.compiler.readings import Readings
from chainrule.compiler.scopes import Scopes
from chainrule.compiler.value import U8, Dtype, Value, suffix_of, type_of
from chainrule.errors import VerifyError
from chainrule.graph.sizes import Dim

Operand = tuple[str, str]  # type and value


class Memory:
    """Loads and stores of the kernel that computes ``members``."""

    def __init__(
        self, e: KernelEmitter, reads: Readings, members: Container[Field], loops: OpenLoops, scopes: Scopes
    ) -> None:
        self.e = e
        self.reads = reads
        self.members = members
        self.loops = loops
        self.scopes = scopes

    def holds(self, field: Field) -> bool:
        """Say whether a field is read from memory here."""
        return isinstance(field, (Source, Fixed)) or (field in self.reads.computed and field not in self.members)

    # -- addresses -----------------------------------------------------------------------------------------------------------

    def hoist(self, field: Field, index: Index, open_loops: frozenset[int]) -> None:
        """Compute now the part of an address that depends on open loops only."""
        ready = [at.loop is None or at.loop in open_loops for at in index]
        key = (field, key_of(index), "row")
        if any(ready) and self.scopes.find(key) is None:
            place = self.loops.place(field.shape, [at if r else STILL for at, r in zip(index, ready, strict=True)])
            rest = tuple([STILL if r else at for at, r in zip(index, ready, strict=True)])
            self.scopes.innermost[key] = (self.e.offset(self.e.pointer(field), place, field.dtype), rest)

    def address(self, field: Field, index: Index) -> str:
        """Return the address of an element (of the first lane)."""
        found = self.scopes.find((field, key_of(index), "row"))
        if found is not None:
            base, rest = found
            return self.e.offset(base, self.loops.place(field.shape, rest), field.dtype)
        return self.e.offset(self.e.pointer(field), self.loops.place(field.shape, index), field.dtype)

    # -- loads and stores ----------------------------------------------------------------------------------------------------

    def load(self, field: Field, index: Index) -> Value:
        """Return what stands in memory."""
        e = self.e
        stride = self.loops.lane_stride(field.shape, index)
        if stride is None:
            return e.load(self.address(field, index), field.dtype)
        if is_one(stride):
            return e.load(self.address(field, index), field.dtype, e.lanes, e.mask)
        places = e.lane_numbers() * e.wide(e.size(stride))
        return self._load_at(self.address(field, index), places, field.dtype)

    def store(self, value: Value, target: Field, index: Index) -> None:
        """Write a value to the memory of ``target`` at ``index``."""
        e = self.e
        stride = self.loops.lane_stride(target.shape, index)
        if stride is None:
            e.store(value if value.lanes == 1 else e.lane(value, 0), self.address(target, index))
            return
        value = e.wide(value)
        if is_one(stride):
            e.store(value, self.address(target, index), e.mask)
            return
        places = e.lane_numbers() * e.wide(e.size(stride))
        if value.dtype.kind == "b":
            value = e.cast(value, U8)
        self._store_at(value, self.address(target, index), places)

    def load_reshaped(self, field: Reshape, index: Index) -> Value:
        """Return an element of a reshaped field: the same row-major place in its memory."""
        root: Field = field
        while isinstance(root, Reshape) and not self.holds(root):
            root = root.inputs[0]
        if not self.holds(root):
            raise VerifyError(f"compiler: {field!r} is a reshape of what is not in memory")
        e = self.e
        stride = self.loops.lane_stride(field.shape, index)
        base = e.offset(e.pointer(root), self.loops.place(field.shape, index), root.dtype)
        if stride is None:
            return e.load(base, root.dtype)
        if is_one(stride):
            return e.load(base, root.dtype, e.lanes, e.mask)
        return self._load_at(base, e.lane_numbers() * e.wide(e.size(stride)), root.dtype)

    def load_gathered(self, field: Gather, index: Index, place_of: Callable[[int], Value]) -> Value:
        """Return elements at places that are data: ``place_of(k)`` is the place along the k-th axis that has some."""
        e = self.e
        width = max(i.ndim for i in field.inputs[1:])
        rest = [*index[: field.place], *index[field.place + width :]]
        root, strides, offset = view_of(field.inputs[0], self.reads)
        total: Value = e.size(offset)
        lanes_in_rest: Dim | None = None
        for axis, stride in enumerate(strides):
            if axis in field.axes:
                place = place_of(field.axes.index(axis))
            else:
                at = rest.pop(0)
                if at.loop is not None and at.loop == self.loops.lane:
                    lanes_in_rest = at.step * stride if lanes_in_rest is None else lanes_in_rest + at.step * stride
                place = self.loops.start(at)
            total = total + place * (e.size(stride) if place.lanes == 1 else e.wide(e.size(stride)))
        if total.lanes == 1 and lanes_in_rest is None:
            return e.load(e.offset(e.pointer(root), total, root.dtype), root.dtype)
        if total.lanes == 1 and lanes_in_rest is not None and is_one(lanes_in_rest):
            return e.load(e.offset(e.pointer(root), total, root.dtype), root.dtype, e.lanes, e.mask)
        if lanes_in_rest is not None:
            total = e.wide(total) + e.lane_numbers() * e.wide(e.size(lanes_in_rest))
        return self._load_at(e.pointer(root), total, root.dtype)

    # -- lanes that lie anywhere -----------------------------------------------------------------------------------------------

    def _load_at(self, base: str, places: Value, dtype: Dtype) -> Value:
        """Return elements at 16 places, counted from ``base``."""
        e = self.e
        if dtype.kind == "b":
            return e.ne(self._load_at(base, places, U8), 0)
        kind = type_of(dtype, e.lanes)
        pointers, mask = self._lanes_at(base, places, dtype)
        name = f"llvm.masked.gather.{suffix_of(dtype, e.lanes)}.v{e.lanes}p0"
        return e.op(e.module.masked(name, kind, pointers, mask, (kind, "zeroinitializer")), dtype, e.lanes)

    def _store_at(self, value: Value, base: str, places: Value) -> None:
        """Write 16 elements to places counted from ``base``."""
        e = self.e
        pointers, mask = self._lanes_at(base, places, value.dtype)
        name = f"llvm.masked.scatter.{suffix_of(value.dtype, e.lanes)}.v{e.lanes}p0"
        e.line(e.module.masked(name, "void", (value.type, value.name), pointers, mask))

    def _lanes_at(self, base: str, places: Value, dtype: Dtype) -> tuple[Operand, Operand]:
        """Return the addresses of places, and which lanes of them count."""
        e = self.e
        pointers = e.raw(f"getelementptr {type_of(dtype)}, ptr {base}, {places!r}")
        mask = e.mask.name if e.mask is not None else "splat (i1 true)"
        return (f"<{e.lanes} x ptr> align {dtype.itemsize}", pointers), (f"<{e.lanes} x i1>", mask)


def view_of(x: Field, reads: Readings) -> tuple[Field, list[Dim], Dim]:
    """Return the field whose memory ``x`` shows, with a stride for each axis of ``x`` and an offset, in elements."""
    if isinstance(x, (Source, Fixed)) or x in reads.computed:
        return x, strides_of(x.shape), 0
    if isinstance(x, Reshape):
        root, strides, offset = view_of(x.inputs[0], reads)
        return root, strides_of(x.shape), offset
    if isinstance(x, Move):
        root, inner, offset = view_of(x.inputs[0], reads)
        strides = [0] * x.ndim
        for place, stride in zip(x.places, inner, strict=True):
            offset = offset + place.offset * stride
            if place.axis is not None:
                strides[place.axis] = strides[place.axis] + place.step * stride
        return root, strides, offset
    raise VerifyError(f"compiler: {x!r} is read as memory and has none")
