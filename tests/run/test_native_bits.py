"""The same bits: any number of threads, AVX2 or AVX-512, any tiles and blocks, forked children, trainings at once.

The sizes are such that sums of every kind are longer than three chunks and no multiple of the lanes.
"""

from __future__ import annotations

import functools
import hashlib
import os
import signal
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compiler import blocking, product_kernel, target, tile
from chainrule.compiler.blocking import Block
from chainrule.compiler.folds import CHUNK_OF_LANES, CHUNK_OF_ROWS
from chainrule.compiler.product import CHUNK
from chainrule.compiler.tile import Tile
from chainrule.compiler.value import LANES
from chainrule.run import threads
from tests.compiler.native import assert_native
from tests.training_step import training_step

pytestmark = pytest.mark.usefixtures("native")

WIDTH, CLASSES = 33, 5


class Problem(NamedTuple):
    """Sizes of the data; the last batch is a smaller one."""

    features: int
    batch: int
    rows: int

    def data(self) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.rows, self.features)).astype(np.float32)
        return x, rng.integers(0, CLASSES, self.rows)


PROBLEMS = {
    "long rows": Problem(1100, 37, 94),  # sums over features, and over all gradients (the clipping)
    "rows with rows": Problem(1001, 37, 94),  # of the first product, whose terms lie side by side in both operands
    "many rows": Problem(37, 12_301, 16_000),  # sums over the batch: of gradients, of losses, of batch norm
}


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    monkeypatch.setattr(threads, "_chosen", None)


@pytest.fixture(params=PROBLEMS)
def problem(request: pytest.FixtureRequest) -> Problem:
    return PROBLEMS[request.param]


def test_sums_of_every_kind_are_longer_than_three_chunks_and_no_multiple_of_the_lanes() -> None:
    long, _, many = PROBLEMS.values()
    lengths = {
        (long.features, CHUNK), (many.batch, CHUNK), (many.batch, CHUNK_OF_LANES), (many.batch, CHUNK_OF_ROWS),
        (long.features * WIDTH, CHUNK_OF_LANES),
    }  # fmt: skip
    for length, chunk in lengths:
        assert length > 3 * chunk
        assert length % LANES
    for p in PROBLEMS.values():
        assert p.features % LANES
        assert p.batch % LANES
        assert p.rows % p.batch
    assert WIDTH % LANES
    assert CLASSES % LANES


class Trained(NamedTuple):
    model: nn.Module
    optimizer: Any
    step: Any

    def bits(self) -> bytes:
        """Parameters, statistics and the optimizer's state."""
        state = [x.detach().numpy().tobytes() for x in self.model.state_dict().values()]
        for part in self.optimizer.state_dict()["state"].values():
            state += [np.asarray(v.numpy() if hasattr(v, "numpy") else v).tobytes() for v in part.values()]
        return b"".join(state)


def build(p: Problem, dropout: float = 0.2) -> Trained:
    cr.manual_seed(3)
    model = nn.Sequential(
        nn.Linear(p.features, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Dropout(dropout), nn.LayerNorm(WIDTH),
        nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, CLASSES),
    )  # fmt: skip
    optimizer = cr.optim.Adam(model.parameters(), lr=0.01)

    return Trained(model, optimizer, training_step(model, optimizer, clip=1.0))


def at_once(step: Any, p: Problem) -> Any:
    return step.over(*p.data(), batch_size=p.batch, passes=2).numpy()


def one_by_one(step: Any, p: Problem) -> Any:
    x, y = (cr.tensor(part) for part in p.data())
    parts = [slice(k, k + p.batch) for _ in range(2) for k in range(0, p.rows, p.batch)]
    return np.array([float(step(x[part], y[part])) for part in parts], np.float32)


def trained(p: Problem, run: Callable[[Any, Problem], Any] = at_once) -> tuple[bytes, bytes]:
    """Return the bits of all that two passes leave, and of their losses; fail unless they were native."""
    made = build(p)
    losses = run(made.step, p)
    assert np.isfinite(losses).all()
    assert_native(made.step.report())
    return made.bits(), losses.tobytes()


@functools.cache
def usual(p: Problem) -> tuple[bytes, bytes]:
    """Return the bits of one thread, the usual tiles and the widest registers."""
    threads.set_num_threads(1)
    return trained(p)


@pytest.mark.parametrize("run", [at_once, one_by_one])
def test_one_to_four_threads(problem: Problem, run: Any) -> None:
    found = []
    for count in (1, 2, 3, 4):
        threads.set_num_threads(count)
        found.append(trained(problem, run))
    assert found == [usual(problem)] * 4


def test_avx2_and_avx512(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    here = target.host()
    if here.machine != "x86_64":
        return  # of ARM and its twin: tests/compiler/test_aarch64.py
    found = {}
    for name in ("avx2", "avx512") if here.avx512 else ("avx2",):
        monkeypatch.setenv(target.VARIABLE, name)
        made = build(problem)
        losses = at_once(made.step, problem)
        assert_native(made.step.report())
        assert ("zmm" in made.step.assembly) == (name == "avx512")
        found[name] = made.bits(), losses.tobytes()
    assert len(set(found.values())) == 1


@pytest.mark.parametrize("width", [20, 48, 64])
def test_avx2_and_avx512_draw_the_same_in_a_product(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if target.host().machine != "x86_64":
        return
    found = set()
    for name in ("avx2", "avx512") if target.host().avx512 else ("avx2",):
        monkeypatch.setenv(target.VARIABLE, name)
        cr.manual_seed(3)
        model = nn.Sequential(nn.Linear(60, width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, CLASSES))
        step = training_step(model, cr.optim.Adam(model.parameters(), lr=0.01))
        random = np.random.default_rng(0)
        x, y = random.standard_normal((130, 60)).astype(np.float32), random.integers(0, CLASSES, 130)
        losses = step.over(x, y, batch_size=32, passes=2).numpy()
        assert_native(step.report())
        found.add(losses.tobytes() + b"".join(p.detach().numpy().tobytes() for p in model.parameters()))
    assert len(found) == 1


TILES = {
    "one row": Tile(1, 1),
    "high": Tile(8, 1),
    "square": Tile(4, 2),
    "wide": Tile(2, 3),
    "deferred": Tile(3, 2, deferred=True),
}


@pytest.mark.parametrize("name", TILES)
def test_other_tiles(problem: Problem, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    expected = usual(problem)
    used = []

    def chosen(m: Any, n: Any, k: Any, *args: Any, **options: Any) -> Tile:
        used.append((m, n, k))
        return TILES[name].with_columns(n)

    monkeypatch.setattr(product_kernel, "choose_tile", chosen)
    assert trained(problem) == expected
    assert len(used) >= 6


def in_blocks(columns: int, terms: int) -> Callable[..., list[Block]]:
    """Return what cuts a product into blocks of ``columns`` and ``terms``, whatever its size."""

    def blocks(n: int, k: int, dtype: Any) -> list[Block]:
        return [
            Block(column, min(columns, n - column), term, min(terms, k - term))
            for column in range(0, max(n, 1), columns)
            for term in range(0, max(k, 1), terms)
        ]

    return blocks


@pytest.mark.parametrize("columns", [16, 48, 512])
@pytest.mark.parametrize("chunks", [1, 2])
@pytest.mark.parametrize("packs", [False, True])
def test_other_blocks(monkeypatch: pytest.MonkeyPatch, columns: int, chunks: int, packs: bool) -> None:
    problem = PROBLEMS["long rows"]
    expected = usual(problem)
    cut: list[int] = []

    def blocks(n: int, k: int, dtype: Any) -> list[Block]:
        found = in_blocks(columns, chunks * CHUNK)(n, k, dtype)
        cut.append(len(found))
        return found

    monkeypatch.setattr(product_kernel, "blocks", blocks)
    monkeypatch.setattr(product_kernel, "pays_to_pack_a", lambda *_: packs)
    monkeypatch.setattr(product_kernel, "pays_to_pack_b", lambda *_: packs)
    assert trained(problem) == expected
    assert max(cut) > 1


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("outer", [False, True])
def test_other_packing_and_another_order_of_tiles(
    problem: Problem, monkeypatch: pytest.MonkeyPatch, packs: bool, outer: bool
) -> None:
    expected = usual(problem)
    monkeypatch.setattr(product_kernel, "pays_to_pack_a", lambda *_: packs)
    monkeypatch.setattr(product_kernel, "pays_to_pack_b", lambda *_: packs)
    monkeypatch.setattr(product_kernel, "columns_outer", lambda *_: outer)
    assert trained(problem) == expected


def test_what_is_replaced_above_is_what_the_compiler_asks() -> None:
    assert product_kernel.blocks is blocking.blocks
    assert product_kernel.choose_tile is tile.choose_tile
    assert product_kernel.columns_outer is blocking.columns_outer


def test_two_trainings_at_once_in_two_threads(problem: Problem) -> None:
    found: dict[int, bytes] = {}
    made = [build(problem) for _ in range(3)]  # one after the other: they draw from one generator

    def train(k: int) -> None:
        with cr.tensors.generator.drawing_from(cr.Generator().manual_seed(3)):
            at_once(made[k].step, problem)
        found[k] = made[k].bits()

    train(2)
    running = [threading.Thread(target=train, args=(k,)) for k in range(2)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert found[0] == found[1] == found[2]
    for one in made:
        assert_native(one.step.report())


def test_twenty_children_forked_after_a_native_call_train_on(problem: Problem) -> None:
    threads.set_num_threads(2)
    made = build(problem, dropout=0.0)
    at_once(made.step, problem)
    answers = []
    for _ in range(20):
        read, write = os.pipe()
        number = os.fork()
        if number == 0:
            try:
                at_once(made.step, problem)
                os.write(write, hashlib.sha256(made.bits()).digest())
            finally:
                os._exit(0)
        os.close(write)
        answers.append(os.read(read, 32))
        os.waitpid(number, 0)
        os.close(read)
    at_once(made.step, problem)
    assert answers == [hashlib.sha256(made.bits()).digest()] * 20
    assert_native(made.step.report())


def test_a_child_runs_what_another_thread_was_running_when_the_process_was_forked(problem: Problem) -> None:
    threads.set_num_threads(1)
    made = build(problem, dropout=0.0)
    at_once(made.step, problem)
    goes_on = True

    def work() -> None:
        while goes_on:
            at_once(made.step, problem)

    running = threading.Thread(target=work)
    running.start()
    answers = []
    try:
        for k in range(6):
            read, write = os.pipe()
            number = os.fork()
            if number == 0:
                try:
                    signal.alarm(20)  # ends the child where it hangs
                    at_once(made.step, problem)
                    fresh = cr.compile(lambda x: x * (k + 0.5) + 1)  # noqa: B023 - compiled here and now
                    os.write(write, str(fresh(cr.ones(5)).sum().item()).encode())
                finally:
                    os._exit(0)
            os.close(write)
            answers.append(os.read(read, 32).decode())
            os.waitpid(number, 0)
            os.close(read)
    finally:
        goes_on = False
        running.join()
    assert answers == [str(5 * (k + 0.5) + 5) for k in range(6)]
