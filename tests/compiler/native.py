"""Kernels compiled and called directly: a frame of addresses, an array of integers, a range of items."""

from __future__ import annotations

import ctypes
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from chainrule.compiler.emit import Emitter, Module, Value
from chainrule.compiler.product import PRODUCT_ARGS, Entry, Tile, buffer, entry

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
llvm.set_option("", "-disable-lsr")

HOST = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
HAS_AVX512 = "+avx512f" in HOST[1]
AVX2 = HOST[0], ",".join(["-" + f[1:] if f[1:].startswith("avx512") else f for f in HOST[1].split(",")])
_jit: list[Any] = []
_serial = itertools.count()


class Native:
    """The functions of a module, compiled for a processor."""

    def __init__(self, module: Module, target: tuple[str, str] = HOST) -> None:
        cpu, features = target
        start = time.perf_counter()
        width = 512 if "+avx512f" in features else 256
        attributes = f'nounwind "target-cpu"="{cpu}" "target-features"="{features}" "prefer-vector-width"="{width}"'
        parsed = llvm.parse_assembly(module.text(attributes))
        parsed.verify()
        native = llvm.Target.from_default_triple()
        machine = native.create_target_machine(cpu=cpu, features=features, opt=2, codemodel="jitdefault")
        parsed.triple, parsed.data_layout = llvm.get_default_triple(), str(machine.target_data)
        self.machine, self.parsed = machine, parsed
        self.object = machine.emit_object(parsed)
        self.seconds = time.perf_counter() - start
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
        self.function, self.native, self.arrays, self.count = native[name], native, arrays, count
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
    args[Entry.A_FIRST] = args[Entry.A_ROW]
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
