"""Products with data that leave out what is 0 in them: the same bits as with everything, whatever the data."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compiler import target
from chainrule.compiler.interface import CHUNK, LIST_HEAD, Kind, TermList
from chainrule.errors import NativeError, NotFiniteError
from chainrule.run import terms, threads
from chainrule.run.native import NativeProgram, Ready
from chainrule.run.straight import Straight
from tests.training_step import training_step

pytestmark = pytest.mark.usefixtures("native")


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    monkeypatch.setattr(threads, "_chosen", None)
    monkeypatch.setattr(terms, "WORTH_COMPILING", 0.0)
    monkeypatch.setattr(terms, "WORTH_A_LIST", 5.0)
    monkeypatch.setattr(Straight, "is_out", True)


def blotted(count: int, features: int, dtype: Any = np.float32) -> Any:
    """Return rows most of which is 0: where a picture has its background, other places in each."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((count, features))
    for row in x:
        first, width = rng.integers(0, features), rng.integers(0, features // 4 + 1)
        kept = np.zeros(features, np.bool_)
        kept[first : first + width] = True
        row[~kept] = -0.0 if first % 2 else 0.0
    x[:, features // 2 : features // 2 + 20] = 0
    return x.astype(dtype)


def built(features: int, dtype: Any = cr.float32) -> tuple[nn.Module, Any]:
    cr.manual_seed(1)
    model = nn.Sequential(nn.Linear(features, 37), nn.ReLU(), nn.Linear(37, 4)).to(dtype)
    return model, training_step(model, cr.optim.Adam(model.parameters(), lr=0.01))


def state(model: nn.Module) -> bytes:
    return b"".join([p.detach().numpy().tobytes() for p in model.parameters()])


def assert_left_out(step: Any, *, products: int) -> None:
    found = "the product adds" if products == 1 else f"the {products} products add"
    assert f"left out, {found}" in step.report(), step.report()


# 37, 250: columns of the first product, a part of a chunk; 784, 1000: rows with rows; 1100, 5000: columns in chunks.
@pytest.mark.parametrize("features", [37, 250, 784, 1000, 1100, 5000])
@pytest.mark.parametrize("batch", [2, 7, 64, 300, 600])
def test_results_have_the_bits_of_adding_all_terms(features: int, batch: int) -> None:
    x, y = blotted(2 * batch + 3, features), np.random.default_rng(1).integers(0, 4, 2 * batch + 3)
    model, step = built(features)
    losses = step.over(x, y, batch_size=batch, passes=2)
    assert_left_out(step, products=2)
    other, one_by_one = built(features)
    expected = [
        one_by_one(cr.tensor(x[k : k + batch]), cr.tensor(y[k : k + batch])).item()
        for _ in range(2)
        for k in range(0, len(x), batch)
    ]
    np.testing.assert_array_equal(losses, np.float32(expected))
    assert state(model) == state(other)


@pytest.mark.parametrize("dtype", [cr.float32, cr.float64])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("features", [250, 784, 1100])
def test_bits_are_those_of_any_number_of_threads(features: int, count: int, dtype: Any) -> None:
    x, y = (
        blotted(150, features, np.float32 if dtype == cr.float32 else np.float64),
        np.random.default_rng(1).integers(0, 4, 150),
    )
    found = []
    for threads_now in (1, count):
        cr.set_num_threads(threads_now)
        model, step = built(features, dtype)
        losses = step.over(x, y, batch_size=50, passes=3)
        assert_left_out(step, products=2)
        found.append((np.asarray(losses).tobytes(), state(model)))
    assert found[0] == found[1]


@pytest.mark.parametrize("features", [250, 784, 1100])
def test_bits_are_those_of_a_machine_with_narrower_vectors(features: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = blotted(150, features), np.random.default_rng(1).integers(0, 4, 150)
    found = []
    for name in (target.HOST, "avx2"):
        monkeypatch.setenv(target.VARIABLE, name)
        model, step = built(features)
        losses = step.over(x, y, batch_size=50, passes=3)
        assert_left_out(step, products=2)
        found.append((np.asarray(losses).tobytes(), state(model)))
    assert found[0] == found[1]


def test_bytes_that_are_scaled_are_left_out_where_they_become_0() -> None:
    pixels = np.abs(blotted(300, 784) * 50).astype(np.uint8)
    y = np.random.default_rng(1).integers(0, 4, 300)

    def fitted() -> bytes:
        cr.manual_seed(0)
        model = nn.Sequential(nn.Linear(784, 20), nn.Tanh(), nn.Linear(20, 4))
        cr.fit(model, (pixels, y), epochs=3, batch_size=50, normalize=(0, 255), seed=3, progress=False)
        return state(model)

    with_lists = fitted()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terms, "WORTH_A_LIST", -1.0)
        assert fitted() == with_lists


def test_data_without_zeros_have_no_lists_and_data_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms, "WORTH_A_LIST", 0.9)
    rng = np.random.default_rng(0)
    dense, y = rng.standard_normal((128, 784)).astype(np.float32), rng.integers(0, 4, 128)
    sparse = blotted(128, 784)
    model, step = built(784)
    other, one_by_one = built(784)
    step.over(dense, y, batch_size=32)
    assert "left out" not in step.report()
    for x in (sparse, dense, sparse):
        step.over(x, y, batch_size=32)
    assert_left_out(step, products=2)
    for x in (dense, sparse, dense, sparse):
        for k in range(0, 128, 32):
            one_by_one(cr.tensor(x[k : k + 32]), cr.tensor(y[k : k + 32]))
    assert state(model) == state(other)
    # In place: zeros where there were none, and the other way round.
    sparse[:] = dense
    dense[:, :700] = 0
    for x in (sparse, dense):
        step.over(x, y, batch_size=32)
        for k in range(0, 128, 32):
            one_by_one(cr.tensor(x[k : k + 32]), cr.tensor(y[k : k + 32]))
    assert state(model) == state(other)


def test_straight_line_code_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    monkeypatch.setattr(terms, "WORTH_COMPILING", 0.0)
    cr.manual_seed(1)
    model = nn.Sequential(nn.Linear(20, 4), nn.Tanh(), nn.Linear(4, 2))
    step = training_step(model, cr.optim.SGD(model.parameters(), lr=0.1))
    x, y = blotted(64, 20), np.random.default_rng(1).integers(0, 2, 64)
    step.over(x, y, batch_size=8, passes=1000)
    assert "left out" not in step.report()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("features", [250, 784])
def test_0_times_what_is_not_finite_is_not_left_out(features: int, bad: float) -> None:
    x, y = blotted(64, features), np.random.default_rng(1).integers(0, 4, 64)
    x[:, features // 2 - 20 : features // 2 + 20] = 0
    found = []
    for at_once in (True, False):
        model, step = built(features)

        def losses(step: Any = step, at_once: bool = at_once) -> Any:
            if at_once:
                return np.asarray(step.over(x, y, batch_size=16))
            batches = [(cr.tensor(x[k : k + 16]), cr.tensor(y[k : k + 16])) for k in range(0, 64, 16)]
            return np.float32([step(*batch).item() for batch in batches])

        assert np.isfinite(losses()).all()  # the first call of all, which adds all terms, is among these
        with cr.no_grad():
            next(iter(model.parameters()))[3, features // 2] = bad  # where the data are 0 in every row
        assert np.isnan(losses()).all()
        if at_once:
            assert_left_out(step, products=2)
        found.append([np.isnan(p.detach().numpy()) for p in model.parameters()])
    for with_lists, without in zip(*found, strict=True):
        np.testing.assert_array_equal(with_lists, without)


def test_an_infinite_weight_that_meets_only_zeros_is_found_at_its_batch() -> None:
    x, y = blotted(64, 784), np.random.default_rng(1).integers(0, 4, 64)
    x[:, 400] = 0
    model, step = built(784)
    step.over(x, y, batch_size=16)
    with cr.no_grad():
        next(iter(model.parameters()))[3, 400] = np.inf
    with pytest.raises(NotFiniteError, match=r"0 \(Linear\)"):
        step.over(x, y, batch_size=16, check_finite=True)
    assert_left_out(step, products=2)


def test_images_of_several_axes_and_forward_passes_alone_have_lists_too() -> None:
    x = blotted(90, 784).reshape(90, 1, 28, 28)
    cr.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.Tanh(), nn.Linear(20, 4))
    forward = cr.compile(lambda images: model(images))
    found = np.concatenate(list(forward.over(x, batch_size=30)))
    assert_left_out(forward, products=1)
    with cr.no_grad():
        np.testing.assert_array_equal(
            found, np.concatenate([forward(cr.tensor(x[k : k + 30])).numpy() for k in (0, 30, 60)])
        )


class OverSteps(nn.Module):
    """Reads rows of several steps one by one, and as a whole."""

    def __init__(self, steps: int, features: int) -> None:
        super().__init__()
        self.each, self.all = nn.Linear(features, 8), nn.Linear(steps * features, 8)
        self.out = nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        return self.out(cr.tanh(self.each(x)).mean(1) + self.all(x.flatten(1)))


@pytest.mark.parametrize(("steps", "features"), [(5, 16), (5, 20), (3, 300), (40, 32)])
def test_rows_of_several_axes_have_lists_where_they_are_rows_of_a_product(steps: int, features: int) -> None:
    x = blotted(50, steps * features).reshape(50, steps, features)
    y = np.random.default_rng(1).integers(0, 4, 50)
    found = []
    for at_once in (True, False):
        cr.manual_seed(2)
        model = OverSteps(steps, features)
        step = training_step(model, cr.optim.Adam(model.parameters(), lr=0.01))
        if at_once:
            step.over(x, y, batch_size=16)
            assert_left_out(step, products=2)
        else:
            for k in range(0, 50, 16):
                step(cr.tensor(x[k : k + 16]), cr.tensor(y[k : k + 16]))
        found.append(state(model))
    assert found[0] == found[1]


@pytest.mark.parametrize("features", [250, 784])
def test_what_dropout_leaves_of_the_data_is_0_where_they_are(features: int) -> None:
    x, y = blotted(150, features), np.random.default_rng(1).integers(0, 4, 150)
    found = []
    for at_once in (True, False):
        cr.manual_seed(2)
        model = nn.Sequential(nn.Dropout(0.1), nn.Linear(features, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 4))
        step = training_step(model, cr.optim.Adam(model.parameters(), lr=0.01))
        if at_once:
            step.over(x, y, batch_size=50, passes=2)
            assert_left_out(step, products=2)
        else:
            for k in (0, 50, 100) * 2:
                step(cr.tensor(x[k : k + 50]), cr.tensor(y[k : k + 50]))
        found.append(state(model))
    assert found[0] == found[1]


@pytest.mark.parametrize("scale", [np.inf, np.nan, 1e38])
def test_data_times_what_is_not_bounded_have_no_lists(scale: float) -> None:
    x, y = blotted(64, 784), np.random.default_rng(1).integers(0, 4, 64)
    factor = cr.tensor([scale], dtype=cr.float32)
    linear = nn.Linear(784, 4)
    step = cr.compile(lambda x, y: nn.functional.cross_entropy(linear(x * factor), y))
    losses = np.asarray(step.over(x, y, batch_size=16))
    assert "left out" not in step.report()
    expected = [step(cr.tensor(x[k : k + 16]), cr.tensor(y[k : k + 16])).item() for k in range(0, 64, 16)]
    np.testing.assert_array_equal(losses, np.float32(expected))


@pytest.mark.parametrize("error", [NativeError("there is no compiler"), MemoryError("there is no compiler")])
def test_where_the_other_program_cannot_be_made_all_terms_are_added(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_lists(_: NativeProgram) -> NativeProgram:
        raise error

    monkeypatch.setattr(NativeProgram, "with_lists", with_lists)
    x, y = blotted(200, 784), np.random.default_rng(1).integers(0, 4, 200)
    model, step = built(784)
    step.over(x, y, batch_size=50)
    assert "not left out: there is no compiler" in step.report()
    other, one_by_one = built(784)
    for k in range(0, 200, 50):
        one_by_one(cr.tensor(x[k : k + 50]), cr.tensor(y[k : k + 50]))
    assert state(model) == state(other)


def test_both_programs_share_their_memory_and_lists_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Ready] = []
    layout_with_lists = NativeProgram.layout_with_lists

    def noted(program: NativeProgram, beside: Ready) -> Ready:
        made.append(beside)
        return layout_with_lists(program, beside)

    monkeypatch.setattr(NativeProgram, "layout_with_lists", noted)
    x, y = blotted(200, 784), np.random.default_rng(1).integers(0, 4, 200)
    _, step = built(784)
    for _ in range(2):
        step.over(x, y, batch_size=50)
    [beside] = made
    listed = beside.listed
    assert listed is not None
    assert listed.arena is beside.arena
    batches = 50 * (784 * 4 + 8)
    lists = sum(one.size for one in listed.lists)
    assert lists > 0
    assert beside.size == beside.arena_size + batches + lists


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(("rows", "length", "block"), [(1, 16, 16), (5, 33, 16), (300, 784, 16), (64, 600, 48)])
def test_lists_name_the_terms_that_are_not_0(kind: Kind, rows: int, length: int, block: int) -> None:
    block = block if kind is Kind.ROWS else block // 4
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, length)) * (rng.random((rows, length)) < 0.02)
    memory = terms.ListMemory(TermList(0, 0, kind, block, length, 64), rows)
    padded = np.zeros((rows, memory.groups * 16), np.bool_)
    padded[:, :length] = x != 0
    marks = np.packbits(padded, bitorder="little").view(np.int16).reshape(rows, memory.groups)
    address, args, items = memory.record(marks)
    run_kernel(address, args, items)
    for tile, expected in enumerate(expected_terms(kind, padded, rows, length, block)):
        at = LIST_HEAD + memory.apart * (1 + tile)
        listed = []
        for chunk in range(0, max(memory.terms, 1), CHUNK):
            place = at + chunk // CHUNK * (1 + CHUNK)
            listed += list(memory.memory[place + 1 : place + 1 + memory.memory[place]])
        assert listed == expected
    assert memory.memory[0] == memory.apart
    memory.use_all()
    assert memory.memory[0] == 0


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("length", [15 + 16, 47, 127, 239, 255, 256, 271, 272])
def test_a_list_is_written_within_its_own_block(kind: Kind, length: int) -> None:
    rows = 64 if kind is not Kind.ROWS else 255
    block = 16 if kind is Kind.ROWS else 8
    memory = terms.ListMemory(TermList(0, 0, kind, block, length, 64), rows)
    x = np.zeros((rows, memory.groups * 16), np.bool_)
    x[:, :length] = True  # all terms of all tiles
    marks = np.packbits(x, bitorder="little").view(np.int16).reshape(rows, memory.groups)
    address, args, items = memory.record(marks)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(address)
    for tile in range(items):
        memory.memory[LIST_HEAD:] = -7
        function(None, args, tile, tile + 1)
        changed = np.flatnonzero(memory.memory[LIST_HEAD:] != -7)
        first = memory.apart * (1 + tile)
        assert ((first <= changed) & (changed < first + memory.apart)).all()


@pytest.mark.parametrize("features", [31, 47, 127, 255])
def test_bits_where_dense_rows_meet_sparse_ones_between_two_threads(features: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1024, features)).astype(np.float32)
    is_sparse = (np.arange(1024) % 256 < 112) | (np.arange(1024) % 256 >= 128)
    x[is_sparse] *= rng.random((is_sparse.sum(), features)) < 0.02
    y, found = rng.integers(0, 4, 1024), []
    for count in (1, 2, 3):
        cr.set_num_threads(count)
        model, step = built(features)
        losses = step.over(x, y, batch_size=256, passes=5)
        assert_left_out(step, products=2)
        found.append((np.asarray(losses).tobytes(), state(model)))
    assert found[0] == found[1] == found[2]


def run_kernel(address: int, args: int, items: int) -> None:
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(address)
    function(None, args, 0, items)


def expected_terms(kind: Kind, x: Any, rows: int, length: int, block: int) -> list[list[int]]:
    if kind is Kind.ROWS:
        return [list(np.flatnonzero(x[:, k : k + block].any(axis=1))) for k in range(0, length, block)]
    if kind is Kind.COLUMNS and rows < block:
        tiles = [x[k : k + 1] for k in range(rows)]
    elif kind is Kind.COLUMNS:
        tiles = [x[min(k, rows - block) :][:block] for k in range(0, rows, block)]
    else:
        tiles = [x[k : k + block] for k in range(0, rows, block)]
    found = [tile.any(axis=0) for tile in tiles]
    if kind is Kind.GROUPS:
        found = [columns.reshape(-1, 16).any(axis=1)[: length // 16] for columns in found]
    return [list(np.flatnonzero(columns)) for columns in found]


def test_the_share_of_terms_is_that_of_the_lists() -> None:
    x = blotted(96, 784) != 0
    for kind, block in ((Kind.ROWS, 16), (Kind.COLUMNS, 8), (Kind.GROUPS, 4)):
        lists = expected_terms(kind, x, 96, 784, block)
        of = {Kind.ROWS: 96, Kind.COLUMNS: 784, Kind.GROUPS: 49}[kind]
        assert terms.share(TermList(0, 0, kind, block, 784, 64), x) == pytest.approx(
            np.mean([len(one) / of for one in lists])
        )
