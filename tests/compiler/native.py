"""Kernels compiled and called directly: a frame of addresses, an array of integers, a range of items."""

from __future__ import annotations

import ctypes
import functools
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from chainrule.compiler.blocking import blocks, columns_outer, pays_to_pack_a, pays_to_pack_b
from chainrule.compiler.dot import Dots, choose_dots, count_dots, dot_product, pays
from chainrule.compiler.emit import Emitter
from chainrule.compiler.module import Module
from chainrule.compiler.pack import PACK_ARGS, PackEntry, count_strips, pack_any, pack_rows, pack_transposed
from chainrule.compiler.product import (
    PRODUCT_ARGS,
    Entry,
    Registers,
    Tile,
    buffer,
    choose_tile,
    count_tiles,
    entry,
    product,
)
from chainrule.compiler.value import I64, Dtype, Value

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
llvm.set_option("", "-disable-lsr")
llvm.set_option("", "-disable-cgp")

HOST = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
HAS_AVX512 = "+avx512f" in HOST[1]
REGISTERS = Registers(512, 32) if HAS_AVX512 else Registers(256, 16)
AVX2 = HOST[0], ",".join(["-" + f[1:] if f[1:].startswith("avx512") else f for f in HOST[1].split(",")])
_jit: list[Any] = []
_serial = itertools.count()


def assert_native(report: str) -> None:
    """Fail unless every trace of a compiled function ran as native code, as its report says."""
    assert "\n     native: " in report, report
    assert "not native" not in report, report


class Native:
    """The functions of a module, compiled for a processor."""

    def __init__(self, module: Module, target: tuple[str, str] = HOST) -> None:
        cpu, features = target
        start = time.thread_time()
        width = 512 if "+avx512f" in features else 256
        attributes = f'nounwind "target-cpu"="{cpu}" "target-features"="{features}" "prefer-vector-width"="{width}"'
        parsed = llvm.parse_assembly(module.text(attributes))
        parsed.verify()
        native = llvm.Target.from_default_triple()
        machine = native.create_target_machine(cpu=cpu, features=features, opt=2, codemodel="jitdefault")
        parsed.triple, parsed.data_layout = llvm.get_default_triple(), str(machine.target_data)
        self.machine, self.parsed = machine, parsed
        self.object = machine.emit_object(parsed)
        self.seconds = time.thread_time() - start  # of the processor, whatever else runs on it
        if not _jit:
            host = native.create_target_machine(cpu=HOST[0], features=HOST[1], opt=2, codemodel="jitdefault")
            _jit.append(llvm.create_lljit_compiler(host))
        builder = llvm.JITLibraryBuilder().add_object_img(self.object).add_current_process()
        for name in module.functions:
            builder.export_symbol(name)
        self.linked = builder.link(_jit[0], f"library{next(_serial)}")

    def assembly(self) -> str:
        return str(self.machine.emit_assembly(self.parsed))

    def __getitem__(self, name: str) -> Callable[..., None]:
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        return kind(self.linked[name])


class Call:
    """A kernel with its frame and its arguments: slot i of the frame is the start of ``arrays[i]``."""

    def __init__(
        self, native: Native, name: str, arrays: Sequence[np.ndarray], args: Sequence[int], count: int
    ) -> None:
        self.function, self.name, self.native = native[name], name, native
        self.arrays, self.count = arrays, count
        self.frame = np.array([a.ctypes.data for a in arrays], np.int64)
        self.args = np.array(args, np.int64)
        self.places = self.frame.ctypes.data, self.args.ctypes.data

    def __call__(self, begin: int = 0, end: int | None = None) -> None:
        self.function(*self.places, begin, self.count if end is None else end)


def aligned(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """Zeros that start on a 64-byte line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def product_args(
    tile: Tile, a: np.ndarray, b: np.ndarray, *, width: int = 0, panel: int = 0, columns_outer: bool = False
) -> list[int]:
    """The entries for a[batch, m, k] in slot 0 and b[batch, k, n] in slot 1; ``panel``: the length of b's packed panels."""
    size = a.itemsize
    args = [0] * PRODUCT_ARGS
    args[Entry.A] = 0
    args[Entry.B] = 1
    args[Entry.BATCHES], args[Entry.M], args[Entry.K] = a.shape
    args[Entry.N] = b.shape[2]
    args[Entry.A_BATCH], args[Entry.A_ROW], args[Entry.A_K] = (s // size for s in a.strides)
    args[Entry.B_BATCH], args[Entry.B_K] = b.strides[0] // size, b.strides[1] // size
    args[Entry.B_PANEL] = tile.width
    args[Entry.COLUMNS_OUTER] = int(columns_outer)
    if panel:
        args[Entry.B_BATCH], args[Entry.B_K], args[Entry.B_PANEL] = panel * -(-b.shape[2] // width), width, panel
    return args


def store(e: Emitter, row: Value, column: Value, value: Value, mask: Value | None, batch: Value) -> None:
    """The plain epilogue: c[batch, row, column], in row-major order; its entries: slot, offset, row and batch stride."""
    place = row * entry(e, PRODUCT_ARGS + 2) + column + batch * entry(e, PRODUCT_ARGS + 3)
    e.store(value, e.offset(buffer(e, PRODUCT_ARGS), place, value.dtype), mask)


class Table:
    """Calls made one after the other by a loop in machine code, ``repeats`` times over."""

    def __init__(self, calls: Sequence[Call], repeats: int = 1) -> None:
        self.calls, self.repeats = calls, repeats
        self.records = np.array(
            [[c.native.linked[c.name], *c.places, 0, c.count] for c in calls], np.int64
        )  # kernel, frame, args, begin, end
        self.native = _runner()
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        self.function, self.place = kind(self.native.linked["run"]), self.records.ctypes.data

    def __call__(self) -> None:
        self.function(self.place, len(self.records), self.repeats)


def planned(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    registers: Registers,
    target: tuple[str, str] = HOST,
    *,
    packs: bool = True,
    dot: bool = True,
) -> list[Call]:
    """The calls for c = a b, all of two dimensions and any strides, cut and packed as ``blocking`` says."""
    (m, k), n, dtype = a.shape, b.shape[1], a.dtype
    size = dtype.itemsize
    if dot and a.strides[1] == b.strides[0] == size and pays(k):
        dots = choose_dots(n, k, registers, dtype)
        args = [*dot_args(a[None], b[None]), 2, 0, c.strides[0] // size, 0]
        return [
            Call(
                dot_kernel(dots, dtype, store, target),
                "kernel",
                [a, b, c],
                args,
                count_dots(dots, m, n, k, dtype).number(),
            )
        ]
    packed_a = packs and pays_to_pack_a(m, n, k, dtype)
    packed_b = b.strides[1] != size or (packs and pays_to_pack_b(m, n, k, dtype))
    tile = choose_tile(m, n, k, registers, dtype)
    if packed_a:
        per_vector = 16 * size * 8 // registers.bits
        tile = Tile(
            max(r for r in (1, 2, 4, 8, 16) if (r + 1) * per_vector < registers.number), 1, deferred=tile.deferred
        )
    cuts, calls, arrays = blocks(n, k, dtype), [], [a, b, c]
    pad = 16  # panels a power of two apart would share places of a cache
    if packed_a:
        panel = 16 * k + pad
        arrays[0] = aligned(-(-m // 16) * panel, dtype=dtype)
        calls.append(pack_call(a.T, arrays[0], 16, panel, target))
    if packed_b:
        width = tile.width
        length = max(cut.terms for cut in cuts) * width + pad
        arrays[1] = aligned(-(-cuts[0].columns // width) * length, dtype=dtype)
    for cut in cuts:
        columns, terms = slice(cut.column, cut.column + cut.columns), slice(cut.term, cut.term + cut.terms)
        part = tile.with_columns(cut.columns)._replace(packed_a=packed_a)
        args = product_args(part, a[None, :, terms], b[None, terms, columns])
        args[Entry.A + 1] = cut.term * (16 * size if packed_a else a.strides[1])
        args[Entry.B + 1] = cut.term * b.strides[0] + cut.column * b.strides[1]
        args[Entry.COLUMNS_OUTER] = int(columns_outer(part))
        if packed_a:
            args[Entry.A_PANEL] = panel
        if packed_b:
            calls.append(pack_call(b[terms, columns], arrays[1], width, length, target))
            args[Entry.B + 1], args[Entry.B_K], args[Entry.B_PANEL] = 0, width, length
        place = [2, cut.column * size, c.strides[0] // size]
        args[Entry.PARTIAL : Entry.PARTIAL_BATCH] = place
        kernel = product_kernel(part, dtype, store, target, cut.term > 0)
        calls.append(Call(kernel, "kernel", arrays, [*args, *place, 0], count_tiles(part, m, cut.columns).number()))
    return calls


def pack_call(b: np.ndarray, panels: np.ndarray, width: int, length: int, target: tuple[str, str] = HOST) -> Call:
    """The packing of a matrix; ``length``: between panels."""
    (k, n), size = b.shape, b.itemsize
    kind = pack_rows if b.strides[1] == size else pack_transposed if b.strides[0] == size else pack_any
    args = [0] * PACK_ARGS
    args[PackEntry.TARGET], args[PackEntry.K], args[PackEntry.N], args[PackEntry.BATCHES] = 1, k, n, 1
    args[PackEntry.SOURCE_K], args[PackEntry.SOURCE_N] = b.strides[0] // size, b.strides[1] // size
    args[PackEntry.TARGET_PANEL], args[PackEntry.WIDTH] = length, width
    return Call(pack_kernel(kind, b.dtype, target), "pack", [b, panels], args, count_strips(n))


@functools.cache
def pack_kernel(kind: Callable[[Module, str, Dtype], None], dtype: Dtype, target: tuple[str, str] = HOST) -> Native:
    module = Module()
    kind(module, "pack", dtype)
    return Native(module, target)


@functools.cache
def product_kernel(
    tile: Tile, dtype: Dtype, epilogue: Any = store, target: tuple[str, str] = HOST, resume: bool = False
) -> Native:
    module = Module()
    product(module, "kernel", tile, dtype, epilogue, resume=resume)
    return Native(module, target)


@functools.cache
def _runner() -> Native:
    module = Module()
    e = Emitter(module, "run", [("ptr", "records"), ("i64", "count"), ("i64", "repeats")])

    def record(i: Value) -> None:
        row = e.offset("%records", i * 5, I64)
        values = [e.load(e.offset(row, k, I64), I64) for k in range(5)]
        pointers = [e.raw(f"inttoptr i64 {v.name} to ptr") for v in values[:3]]
        e.line(
            f"call void {pointers[0]}(ptr {pointers[1]}, ptr {pointers[2]}, i64 {values[3].name}, i64 {values[4].name})"
        )

    def all_records(_: Value) -> None:
        e.loop(0, Value(e, "%count", I64), 1, record)

    e.loop(0, Value(e, "%repeats", I64), 1, all_records)
    e.finish()
    return Native(module)


@functools.cache
def dot_kernel(dots: Dots, dtype: Dtype, epilogue: Any = store, target: tuple[str, str] = HOST) -> Native:
    module = Module()
    dot_product(module, "kernel", dots, dtype, epilogue)
    return Native(module, target)


def dot_args(a: np.ndarray, b: np.ndarray) -> list[int]:
    """The entries for a[batch, m, k] in slot 0 and b[batch, k, n] in slot 1, both of stride 1 along k."""
    args = product_args(Tile(1, 1), a, b)
    args[Entry.B_K] = b.strides[2] // b.itemsize
    return args
