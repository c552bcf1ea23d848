"""Products of 2³² tiles or more are refused: their kernels divide in 32 bits. Loops have no such limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule.compiler.dot import Dots, count_dots
from chainrule.compiler.interface import TOO_MANY, Items
from chainrule.compiler.pipeline import Compilation
from chainrule.compiler.recipe import Recipe, read_recipe
from chainrule.compiler.target import avx2
from chainrule.compiler.tile import Tile, count_tiles
from chainrule.errors import NativeError
from chainrule.graph import Graph, Node, Recording, graph_input, op, recording
from chainrule.graph.sizes import symbol
from chainrule.run.program import late_calls

N = symbol("n")
F32 = np.dtype(np.float32)


def recipe(function: Callable[..., Node], *shapes: Any) -> Recipe:
    """Return the recipe of a function of inputs of these shapes."""
    inputs = [graph_input(f"x{k}", shape, F32) for k, shape in enumerate(shapes)]
    with recording(Recording()):
        graph = Graph(inputs, [function(*inputs)])
    return Compilation(graph, late_calls(graph), {}, avx2(), {}).recipe()


def contract(a: Node, b: Node, of_a: int, of_b: int) -> Node:
    return op.contract(a, b, batch=((), ()), contracted=((of_a,), (of_b,)))


def lay_out(found: Recipe, n: int) -> None:
    """Lay a recipe out for a size, as it was made and as it comes back from the disk."""
    for one in (found, read_recipe(found.to_bytes())):
        one.layout({"n": n})


def assert_refused(found: Recipe, n: int) -> None:
    for one in (found, read_recipe(found.to_bytes())):
        with pytest.raises(NativeError, match=f"too large for native code for n = {n:,}: .* fewer than 4,294,967,296"):
            one.layout({"n": n})


def test_as_many_tiles_as_can_be_divided_are_counted() -> None:
    tile = Tile(4, 1).with_columns(16)
    assert count_tiles(tile, 4 * (TOO_MANY - 1), 16).number() == TOO_MANY - 1
    with pytest.raises(NativeError, match="4,294,967,296 pieces"):
        count_tiles(tile, 4 * TOO_MANY, 16).number()
    with pytest.raises(NativeError, match="pieces"):
        count_tiles(tile, 4 << 16, 16, 1 << 16).number()


def test_what_a_kernel_divides_by_counts_too() -> None:
    dots = Dots(3, 4)
    strips = TOO_MANY // 341  # 341 rows of tiles go together
    assert count_dots(dots, 1, 16 * strips, 256, F32).number() == strips
    with pytest.raises(NativeError, match="pieces"):
        count_dots(dots, 1, 16 * (strips + 1), 256, F32).number()


def test_kernels_that_divide_nothing_have_no_limit() -> None:
    assert Items(1 << 40).number() == 1 << 40
    lay_out(recipe(lambda x: op.mul(x, x), (N, 3)), 1 << 40)


def test_a_product_of_too_many_rows_is_refused() -> None:
    found = recipe(lambda x, w: contract(x, w, 1, 0), (N, 20), (20, 32))
    lay_out(found, 1 << 32)
    assert_refused(found, 1 << 40)


def test_a_factor_of_too_many_columns_to_pack_is_refused() -> None:
    found = recipe(lambda x, w: contract(x, w, 1, 1), (3, 20), (N, 20))  # packed, for its columns lie apart
    lay_out(found, 1 << 31)
    assert_refused(found, 1 << 32)


def test_rows_by_rows_of_too_many_are_refused() -> None:
    found = recipe(lambda x, w: contract(x, w, 1, 1), (3, 300), (N, 300))
    lay_out(found, 1 << 26)
    assert_refused(found, 1 << 32)
