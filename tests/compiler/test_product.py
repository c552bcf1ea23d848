"""The contraction against NumPy in float64, and against itself: other tiles, processors and ranges give the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from chainrule.compiler import target as machines
from chainrule.compiler.dot import DOT_CHUNK, Dots, choose_dots, count_dots, pays
from chainrule.compiler.emit import Emitter
from chainrule.compiler.pack import (
    PACK_ARGS,
    PackEntry,
    count_strips,
    pack_any,
    pack_rows,
    pack_transposed,
    packed_size,
)
from chainrule.compiler.product import (
    CHUNK,
    PRODUCT_ARGS,
    Entry,
    Registers,
    Tile,
    buffer,
    choose_tile,
    count_tiles,
    entry,
)
from chainrule.compiler.value import F32, F64, Dtype, Value
from tests.compiler.native import (
    AVX2,
    HOST,
    REGISTERS,
    Call,
    dot_args,
    dot_kernel,
    pack_kernel,
    planned,
    product_args,
    product_kernel,
    store,
)

TILES = [Tile(12, 2), Tile(11, 2), Tile(6, 1), Tile(3, 4), Tile(24, 1), Tile(1, 8), Tile(8, 3)]
DTYPES = [F32, F64]
rates = np.array([0.9, 0.999, 1e-3, 1e-8])


def in_order(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The sums as the kernels promise them: chunks in rising order by fma (here rounded from float64: for float32 alone)."""
    total = np.zeros((*a.shape[:2], b.shape[2]), a.dtype)
    for start in range(0, a.shape[2], CHUNK):
        part = np.zeros_like(total)
        for k in range(start, min(start + CHUNK, a.shape[2])):
            exact = a[:, :, k, None].astype(np.longdouble) * b[:, k, None, :] + part
            part = exact.astype(a.dtype)
        total = part if start == 0 else total + part
    return total


def pack(b: np.ndarray, width: int, kind: Any = pack_any, target: tuple[str, str] = HOST) -> np.ndarray:
    batches, k, n = b.shape
    length = packed_size(k, n, width)
    panels = np.full(max(1, batches * length), np.nan, b.dtype)
    args = [0] * PACK_ARGS
    args[PackEntry.TARGET] = 1
    args[PackEntry.K], args[PackEntry.N], args[PackEntry.BATCHES] = k, n, batches
    sizes = (s // b.itemsize for s in b.strides)
    args[PackEntry.SOURCE_BATCH], args[PackEntry.SOURCE_K], args[PackEntry.SOURCE_N] = sizes
    args[PackEntry.TARGET_BATCH], args[PackEntry.TARGET_PANEL], args[PackEntry.WIDTH] = length, k * width, width
    Call(pack_kernel(kind, b.dtype, target), "pack", [b, panels], args, count_strips(n, batches))()
    return panels


def multiply(a, b, tile, *, packed=None, packed_a=None, target=HOST, pieces=1, columns_outer=False, resume=None):  # type: ignore[no-untyped-def]
    """C by a kernel whose ``store`` must leave everything beyond C alone."""
    batches, m, k = a.shape
    n = b.shape[2]
    if tile.masked != tile.vectors:
        tile = tile.with_columns(n)
    c = np.full((batches, m, n + 5), 7, a.dtype)
    panels = b if packed is None else pack(b, tile.width, packed, target)
    args = product_args(tile, a, b, width=tile.width, panel=0 if packed is None else k * tile.width)
    args[Entry.COLUMNS_OUTER] = int(columns_outer)
    arrays = [a, panels, c]
    if packed_a is not None:
        tile = tile._replace(packed_a=True)
        arrays[0] = pack(a.swapaxes(1, 2), 16, packed_a, target)
        args[Entry.A_PANEL], args[Entry.A_BATCH] = 16 * k, 16 * k * -(-m // 16)
    if resume is not None:
        arrays.append(resume)
        args[Entry.PARTIAL], args[Entry.PARTIAL_ROW], args[Entry.PARTIAL_BATCH] = 3, n, m * n
    count = count_tiles(tile, m, n, batches).number()
    call = Call(
        product_kernel(tile, a.dtype, store, target, resume is not None),
        "kernel",
        arrays,
        [*args, 2, 0, n + 5, m * (n + 5)],
        count,
    )
    for piece in range(pieces):
        call(count * piece // pieces, count * (piece + 1) // pieces)
    assert (c[:, :, n:] == 7).all()
    return c[:, :, :n]


def operands(seed: int, shape: tuple[int, ...], dtype: Dtype, kind: str = "NN") -> tuple[np.ndarray, np.ndarray]:
    batches, m, n, k = shape
    random = np.random.default_rng(seed)
    a = random.normal(size=(batches, k, m + 2) if kind[0] == "T" else (batches, m, k + 3)).astype(dtype)
    b = random.normal(size=(batches, n, k + 1) if kind[1] == "T" else (batches, k, n + 4)).astype(dtype)
    a = a[:, :, :m].transpose(0, 2, 1) if kind[0] == "T" else a[:, :, :k]
    b = b[:, :, :k].transpose(0, 2, 1) if kind[1] == "T" else b[:, :, :n]
    return a, b


def assert_product(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    expected, size = a.astype(np.float64) @ b.astype(np.float64), abs(a).astype(np.float64) @ abs(b).astype(np.float64)
    bound = np.finfo(a.dtype).eps * (min(a.shape[2], CHUNK) / 2 + 4) * size + np.finfo(a.dtype).tiny
    assert (abs(c - expected) <= bound).all()


SIZES = [
    (1, 12, 32, 5),
    (1, 13, 33, 7),
    (2, 5, 10, 3),
    (1, 1, 1, 1),
    (3, 25, 65, 20),
    (1, 32, 128, 784),
    (1, 7, 16, 257),
    (1, 30, 784, 32),
    (2, 24, 48, 512),
    (1, 100, 10, 64),
    (1, 12, 32, 1025),
]
EMPTY = [(1, 0, 32, 5), (1, 12, 0, 5), (2, 13, 33, 0), (0, 3, 4, 5), (1, 1, 16, 0)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SIZES + EMPTY, ids=str)
@pytest.mark.parametrize("tile", TILES[:4], ids=str)
def test_a_product_is_right_at_every_edge(shape, dtype, tile):
    a, b = operands(1, shape, dtype)
    assert_product(multiply(a, b, tile), a, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tile", [Tile(4, 1), Tile(6, 2), Tile(2, 3)], ids=str)
def test_a_tile_for_any_number_of_columns_serves_them_all(dtype, tile):
    tile = tile.with_columns(None)
    for n in (0, 1, 15, 16, 17, 31, 32, 33, 48, 64, 95, 96, 97):
        a, b = operands(n, (2, 9, n, 6), dtype)
        assert_product(multiply(a, b, tile), a, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seed", range(12))
def test_products_of_random_shapes_strides_and_packings(seed, dtype):
    random = np.random.default_rng(seed)
    tile = TILES[seed % len(TILES)]
    shape = (random.integers(1, 3), random.integers(1, 40), random.integers(1, 100), random.integers(0, 70))
    for kind in ("NN", "NT", "TN", "TT"):
        a, b = operands(seed, tuple(map(int, shape)), dtype, kind)
        packed = pack_transposed if kind[1] == "T" else [None, pack_rows, pack_any][seed % 3]
        assert_product(multiply(a, b, tile, packed=packed, columns_outer=bool(seed % 2)), a, b)


def test_the_sums_are_added_in_the_promised_order():
    for shape in SIZES:
        a, b = operands(3, shape, F32)
        np.testing.assert_array_equal(multiply(a, b, Tile(12, 2)), in_order(a, b))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SIZES + EMPTY, ids=str)
@pytest.mark.parametrize("tile", [Tile(16, 1), Tile(8, 2), Tile(4, 1), Tile(8, 3, deferred=True)], ids=str)
def test_a_product_with_both_operands_packed_has_the_same_bits(shape, dtype, tile):
    for kind, packed, packed_a in (("NT", pack_transposed, pack_transposed), ("TN", pack_rows, pack_rows)):
        a, b = operands(8, shape, dtype, kind)
        c = multiply(a, b, tile, packed=packed, packed_a=packed_a)
        assert_product(c, a, b)
        np.testing.assert_array_equal(c, multiply(a, b, Tile(6, 2), packed=pack_any))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 31, 80, 300), (2, 13, 21, 33)], ids=str)
def test_every_tile_and_processor_and_range_gives_the_same_bits(shape, dtype):
    a, b = operands(2, shape, dtype)
    first = multiply(a, b, TILES[0])
    for tile in TILES[1:]:
        np.testing.assert_array_equal(multiply(a, b, tile), first)
    for tile in (Tile(6, 1), Tile(12, 2)):
        np.testing.assert_array_equal(multiply(a, b, tile, target=AVX2), first)
    for pieces in (2, 3, 100):
        for columns_outer in (False, True):
            c = multiply(a, b, Tile(5, 2), pieces=pieces, columns_outer=columns_outer)
            np.testing.assert_array_equal(c, first)
    for packed in (pack_rows, pack_any):
        np.testing.assert_array_equal(multiply(a, b, Tile(4, 3), packed=packed), first)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_sum_cut_after_a_chunk_and_resumed_has_the_same_bits(dtype):
    a, b = operands(4, (2, 14, 37, 3 * CHUNK + 10), dtype)
    whole = multiply(a, b, Tile(6, 2))
    for cut in (CHUNK, 2 * CHUNK, 3 * CHUNK):
        part = np.ascontiguousarray(multiply(a[:, :, :cut], b[:, :cut], Tile(6, 2)))
        rest = multiply(a[:, :, cut:], b[:, cut:], Tile(6, 2), resume=part)
        np.testing.assert_array_equal(rest, whole)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [*SIZES, *EMPTY, (1, 9, 20, 2 * DOT_CHUNK + 21), (2, 8, 32, 48)], ids=str)
def test_dot_products_are_right_and_have_the_same_bits_for_all_tiles(shape, dtype):
    batches, m, n, k = shape
    a, b = operands(9, shape, dtype, "NT")
    results = []
    for dots, target, pieces in [
        (choose_dots(n, k, REGISTERS, dtype), HOST, 1),
        (choose_dots(None, None, Registers(256, 16), dtype), AVX2, 3),
        (Dots(2, 8, 4), HOST, 1),
        (Dots(3, 4, 8), AVX2, 7),
    ]:
        c = np.full((batches, m, n + 5), 7, dtype)
        count = count_dots(dots, m, n, k, np.dtype(dtype), batches).number()
        args = [*dot_args(a, b), 2, 0, n + 5, m * (n + 5)]
        call = Call(dot_kernel(dots, dtype, store, target), "kernel", [a, b, c], args, count)
        for piece in range(pieces):
            call(count * piece // pieces, count * (piece + 1) // pieces)
        assert (c[:, :, n:] == 7).all()
        assert_product(c[:, :, :n], a, b)
        results.append(c)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["NN", "NT", "TN"])
def test_a_product_cut_in_blocks_has_the_same_bits(kind, dtype):
    for shape in ((1, 70, 90, 40), (1, 300, 1100, 1100), (1, 257, 600, 2100)):
        a, b = operands(7, shape, dtype, kind)
        c = np.zeros((shape[1], shape[2]), dtype)
        for call in planned(a[0], b[0], c, REGISTERS):
            call()
        assert_product(c[None], a, b)
        if kind != "NT" or not pays(shape[3]):
            np.testing.assert_array_equal(c, multiply(a, b, Tile(12, 1), packed=pack_any)[0])


@pytest.mark.parametrize("target", [HOST, AVX2], ids=["host", "avx2"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", [pack_any, pack_rows, pack_transposed])
def test_panels_hold_the_matrix_column_strip_by_column_strip(kind, dtype, target):
    for batches, k, n in [(1, 784, 128), (2, 16, 16), (1, 15, 10), (3, 35, 33), (1, 1, 1), (1, 0, 5), (1, 5, 0)]:
        b = operands(5, (batches, 1, n, k), dtype, "NT" if kind is pack_transposed else "NN")[1]
        for width in (16, 48):
            panels = pack(b, width, kind, target)[: batches * packed_size(k, n, width)]
            panels = panels.reshape(batches, -(-n // width), k, width).swapaxes(1, 2)
            panels = panels.reshape(batches, k, -(-n // width) * width)
            np.testing.assert_array_equal(panels[:, :, :n], b)


def adam(e: Emitter, row: Value, column: Value, value: Value, mask: Value | None, batch: Value) -> None:
    """Adam on p, m and v in place; its entries: slots and offsets of p, m, v and the rates, and the stride of the rows."""
    dtype = value.dtype
    place = row * entry(e, PRODUCT_ARGS + 8) + column
    rate = buffer(e, PRODUCT_ARGS + 6)
    beta1, beta2, step, epsilon = (e.load(e.offset(rate, k, dtype), dtype) for k in range(4))
    at = [e.offset(buffer(e, PRODUCT_ARGS + 2 * k), place, dtype) for k in range(3)]
    p, m, v = (e.load(pointer, dtype, value.lanes, mask) for pointer in at)
    m = e.fma(value, 1 - beta1, m * beta1)
    v = e.fma(value * (1 - beta2), value, v * beta2)
    p = p - m * step / (e.sqrt(v) + epsilon)
    for x, pointer in zip((p, m, v), at, strict=True):
        e.store(x, pointer, mask)


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(128, 784, 32), (13, 37, 5), (3, 20, 40), (25, 33, 100), (24, 64, 0), (7, 10, 300)])
def test_an_update_in_place_sees_every_element_once(shape, dtype, deferred):
    outputs, inputs, batch = shape
    random = np.random.default_rng(6)
    g, x = random.normal(size=(batch, outputs)).astype(dtype), random.normal(size=(batch, inputs)).astype(dtype)
    state = [random.random((outputs, inputs + 3)).astype(dtype) for _ in range(3)]
    beta1, beta2, step, epsilon = rates
    p, m, v = (s.astype(np.float64)[:, :inputs] for s in state)
    gradient = g.T.astype(np.float64) @ x
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    p = p - step * m / (np.sqrt(v) + epsilon)
    results = []
    for tile, target, pieces in [(Tile(12, 2), HOST, 1), (Tile(6, 1), AVX2, 3), (Tile(8, 3), HOST, 7)]:
        tile = tile.with_columns(inputs)._replace(deferred=deferred)
        arrays = [g, x, *(s.copy() for s in state), rates.astype(dtype)]
        args = product_args(tile, g.T[None], x[None]) + [2, 0, 3, 0, 4, 0, 5, 0, inputs + 3]
        count = count_tiles(tile, outputs, inputs).number()
        call = Call(product_kernel(tile, dtype, adam, target), "kernel", arrays, args, count)
        for piece in range(pieces):
            call(count * piece // pieces, count * (piece + 1) // pieces)
        results.append(arrays[2:5])
        for array, old, new in zip(arrays[2:5], state, (p, m, v), strict=True):
            np.testing.assert_array_equal(array[:, inputs:], old[:, inputs:])
            np.testing.assert_allclose(array[:, :inputs], new, rtol=2e-4 if dtype == F32 else 1e-11, atol=1e-6)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("registers", [Registers(512, 32), Registers(256, 16), Registers(128, 32)], ids=str)
def test_the_chosen_tile_fits_the_registers_and_wastes_few_rows(registers, dtype):
    for m in (None, 1, 2, 10, 32, 100, 128, 1000):
        for n in (None, 1, 10, 16, 784, 1000):
            tile = choose_tile(m, n, 64, registers, dtype, in_place=m == 32)
            per_vector = 16 * dtype.itemsize * 8 // registers.bits
            assert (tile.rows + 1) * tile.vectors * per_vector < registers.number
            assert m is None or -(-m // tile.rows) * tile.rows <= 1.2 * m
            assert tile.only_tail == (n is not None and n < tile.width)


@pytest.mark.parametrize("machine", [machines.avx512, machines.avx2, machines.baseline, machines.aarch64])
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("draws", [3, 4])
def test_every_machine_has_room_for_a_tile_whose_epilogue_draws(machine: Any, dtype: Dtype, draws: int) -> None:
    registers = Registers(machine().vector_bits, machine().num_registers)
    for m, n, k in [(None, None, None), (32, 64, 64), (1, 3, 1), (200, 1000, 784)]:
        tile = choose_tile(m, n, k, registers, dtype, draws=draws)
        per_vector = max(1, 16 * dtype.itemsize * 8 // registers.bits)
        fits = (tile.rows + 1) * tile.vectors * per_vector < registers.number
        assert fits or (tile.rows, tile.vectors) == (1, 1)
